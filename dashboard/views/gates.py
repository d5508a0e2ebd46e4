"""What each gate said of each run, and why: criteria, known ways to fail, thresholds and when they were registered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link, runs
from dashboard.commands import again
from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.report.markup import DASH, Markup, element, joined, table

TITLE = "Gates"
ICON = ":material/gavel:"
ORDER = 10
SENTENCE = (
    "Each gate tests a run against thresholds that were registered before any of its data existed. Good is a PASS "
    "whose known ways to fail were all measured and none observed. A FAIL says what was seen and what to try next."
)
SIGNS: Mapping[str, str] = {
    "PASS": "✓ PASS",
    "FAIL": "✗ FAIL",
    "INCONCLUSIVE": "? INCONCLUSIVE",
    "met": "✓ met",
    "not met": "✗ not met",
    "observed": "✗ observed",
    "not observed": "✓ not observed",
    "not measured": "? not measured",
}
"""A sign beside each word, so that no colour is needed to tell them apart."""
COLOURS: Mapping[str, str] = {"✓": "green", "✗": "orange", "?": "gray"}
CLASSES: Mapping[str, str] = {"✓": "good", "✗": "bad", "?": "unsure"}
STYLE = Path(__file__).parent.parent / "findings.css"


def show(reader: Reader) -> None:
    """The verdicts of all runs, and the findings of one."""
    known = reader.ask("runs")
    overview(known)
    verdicts = reader.ask("verdicts")
    chosen = runs.pick(reader, set(known["run_id"]))
    if chosen is None:
        return
    runs.state(chosen)
    own = verdicts.filter(verdicts["run_id"] == chosen["run_id"])
    if own.is_empty():
        unjudged(reader, chosen)
    else:
        verdict(own)
        criteria(own.filter(own["kind"] == "criterion"))
        hypotheses(reader.ask("hypotheses", run=chosen["run_id"]))
    thresholds(reader, chosen)


def overview(known: polars.DataFrame) -> None:
    """One row per run, the newest first."""
    columns = [
        "outcome",
        "gate",
        "method",
        "trait",
        "model",
        "seed",
        "state",
        "registered_at",
        "units",
        "seconds",
        "run_id",
    ]
    rows = known.select(columns).with_columns(signed("outcome").fill_null("no verdict yet"))
    wide = {
        "registered_at": st.column_config.TextColumn("registered (UTC)"),
        "seconds": st.column_config.NumberColumn("time (s)", format="%.0f"),
    }
    figure.table(rows, "runs", column_config=wide, height=min(300, 38 + 35 * rows.height))


def signed(column: str) -> polars.Expr:
    """A column of outcomes with a sign before each."""
    return polars.col(column).replace(SIGNS)


def verdict(own: polars.DataFrame) -> None:
    """What the gate said as a whole, with its label where it gives one."""
    for row in own.filter(own["kind"] != "criterion").sort("kind").iter_rows(named=True):
        word = SIGNS.get(row["status"], row["status"])
        colour = COLOURS.get(word[0], "gray")
        size = "###" if row["kind"] == "gate" else "#####"
        st.markdown(f"{size} {plain(row['name'])}: :{colour}[{plain(word)}]")
        if row["detail"]:
            st.markdown(plain(row["detail"]))
        if row["next_step"]:
            st.markdown(f":material/arrow_forward: **Next:** {plain(row['next_step'])}")


def criteria(rows: polars.DataFrame) -> None:
    """What must hold, and whether it does."""
    st.subheader("Criteria")
    st.caption("All must be met for a PASS.")
    listed(rows, "criteria")


def hypotheses(rows: polars.DataFrame) -> None:
    """Every known way to fail, those that were seen first."""
    st.subheader("Known ways to fail")
    counts = {word: int((rows["status"] == word).sum()) for word in ("observed", "not observed", "not measured")}
    st.caption(
        ", ".join(f"{count} {word}" for word, count in counts.items()) + ". What was not measured may still be so."
    )
    seen = link.picks(
        "Show", "status", [word for word, count in counts.items() if count], shown=lambda word: SIGNS[word]
    )
    listed(rows.filter(rows["status"].is_in(seen)), "hypotheses")


def listed(rows: polars.DataFrame, name: str) -> None:
    """Findings as a table; numbers and thresholds are in the check's own unit, which its detail names."""
    if rows.is_empty():
        st.info("There are none.")
        return
    heads = ("status", "check", "value", "threshold", "what was seen, and what to try next")
    body = table(heads, [finding(row) for row in rows.iter_rows(named=True)], ("value", "threshold"))
    st.html(STYLE)
    st.html(element("div", body, class_="findings"))
    figure.files(name, rows)


def finding(row: Mapping[str, Any]) -> tuple[Markup | str, ...]:
    """The cells of one check; all of them are text."""
    word = SIGNS.get(row["status"], row["status"])
    told = [row["detail"], advice(row)]
    status = element("span", word, class_=CLASSES.get(word[0], "unsure"))
    return status, row["name"], plain_number(row["value"]), plain_number(row["threshold"]), joined(told)


def advice(row: Mapping[str, Any]) -> Markup | None:
    """What to do: about what was seen, or what is missing; of what was not seen, what to do if it were."""
    if not row["next_step"] or row["status"] == "met":
        return None
    when = "If it were: " if row["status"] == "not observed" else "Next: "
    return element("span", when + row["next_step"], class_="next")


def plain_number(value: float | None) -> str:
    """A figure of four digits; a dash for what was not measured."""
    return DASH if value is None else f"{value:.4g}"


def thresholds(reader: Reader, run: Mapping[str, Any]) -> None:
    """The thresholds of a run, with the time they were registered."""
    with st.expander("Thresholds, and when they were registered"):
        rows = reader.ask("thresholds", run=run["run_id"])
        if rows.is_empty():
            st.info("This run registered no thresholds.")
            return
        first = rows.row(0, named=True)
        st.caption(
            f"Registered at {plain(first['registered_at'])} (UTC), before any data of the run existed; hash "
            f"{plain(first['thresholds_hash'])}."
        )
        figure.table(rows.select("name", "value"), "thresholds")


def unjudged(reader: Reader, run: Mapping[str, Any]) -> None:
    """Say when a verdict is to be expected, or what goes on with a run that has stopped."""
    if run["state"] == "started":
        st.info("Its verdict comes when it ends.", icon=":material/hourglass_top:")
        return
    lines = again(reader, run["run_id"])
    asked = f"{lines[-1]} --resume" if lines else f"steerkit {run['gate']} --resume"
    empty.nothing("This run has no verdict: it stopped before its end.", asked)
