"""Two runs, or two rounds of a loop, side by side: what they were asked, what came out, and how far apart they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars
import streamlit as st

from dashboard import empty, figure, link, runs
from dashboard.charts.compare import foundations, vignettes
from dashboard.look import plain
from dashboard.reading import Reader
from dashboard.runs import Run
from steerkit.stats import Interval, paired_bootstrap

TITLE = "Compare runs"
ICON = ":material/compare_arrows:"
ORDER = 60
SENTENCE = (
    "Two runs or rounds beside each other, what they were asked differently first. A difference between two arms is "
    "shown where both answered the same vignettes in the same way; it is one where its interval does not cover 0."
)
SIDES = ("first", "second")
SEED, RESAMPLES = 0, 2000
"""Of the bootstrap over vignettes."""
ARMS = ("healed", "steered", "plain", "prompt", "previous", "base")
"""Which kind of arm a side shows until another is chosen."""
FIGURES = (
    "kind",
    "dose",
    "d_target",
    "d_target_low",
    "d_target_high",
    "d_auth",
    "coherence",
    "coherence_low",
    "coherence_high",
    "coh_cost",
    "p_null",
    "band",
)


def show(reader: Reader) -> None:
    """Choose two; differences of spec, arms beside each other, and how far apart."""
    known = reader.ask("runs")
    scored = runs.having(reader, "arm")
    if not scored:
        empty.nothing("No run has scored anything yet.", "steerkit gate1 --method svd")
        return
    newest = known.filter(known["run_id"].is_in(list(scored)))
    alike = newest.filter(newest["gate"] == newest["gate"][0])["run_id"]
    other = alike[1] if len(alike) > 1 else newest["run_id"][-1]
    left, right = st.columns(2)
    with left:
        first = runs.pick(reader, scored, "First", "first", default=other)
        one = _arm(reader, first, "first") if first else None
    with right:
        second = runs.pick(reader, scored, "Second", "second", default=newest["run_id"][0])
        two = _arm(reader, second, "second") if second else None
    assert first is not None and second is not None, "there are runs with arms"
    _specs(reader, first, second)
    if one is not None and two is not None:
        _side_by_side(one, two)
        _apart(reader, one, two)
    _verdicts(reader, first, second)


def _arm(reader: Reader, run: Run, side: str) -> Mapping[str, Any] | None:
    """The arm that stands for a run; in a loop, of one of its rounds."""
    arms = {row["arm_id"]: row for row in reader.ask("comparable_arms", run=run["run_id"]).iter_rows(named=True)}
    if not arms:
        st.info("This run has no scored arms yet.")
        return None
    ranked = sorted(arms, key=lambda arm: _rank(arms[arm]))
    chosen = link.pick(f"Arm of the {side}", f"{side}_arm", [*arms], ranked[0], shown=lambda arm: _title(arms[arm]))
    return arms[chosen or ranked[0]]


def _rank(arm: Mapping[str, Any]) -> tuple[int, int, float]:
    """A student before a steered model, the newest round first, and of doses the one nearest to 1."""
    place = ARMS.index(arm["kind"]) if arm["kind"] in ARMS else len(ARMS)
    return place, -(arm["round"] or 0), abs((arm["dose"] or 0.0) - 1)


def _title(arm: Mapping[str, Any]) -> str:
    parts = [f"round {arm['round']}" if arm["round"] is not None else "", arm["kind"]]
    parts += [f"dose {arm['dose']:g}" if arm["dose"] else ""]
    parts += [f"{arm['d_target']:+.2f} nats" if arm["d_target"] is not None else "", arm["arm_id"][:8]]
    return " · ".join(part for part in parts if part)


def _specs(reader: Reader, first: Run, second: Run) -> None:
    """What the two were asked differently."""
    found = reader.ask("spec_differences", first=first["run_id"], second=second["run_id"])
    st.subheader("What they were asked")
    if first["run_id"] == second["run_id"]:
        st.caption("The same run on both sides.")
    elif found.is_empty():
        st.caption("Nothing differs.")
    else:
        if first["gate"] != second["gate"]:
            st.caption(f"Two gates ask different things: {plain(first['gate'])} and {plain(second['gate'])}.")
        names = {"first_run": first["run_id"][:8], "second_run": second["run_id"][:8]}
        if names["first_run"] == names["second_run"]:
            names = {"first_run": "first", "second_run": "second"}
        figure.table(found.rename(names), "differences", height=min(420, 38 + 35 * found.height))


def _side_by_side(one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    """The figures of both arms."""
    st.subheader("What came out")
    rows = [
        {"side": side, **{name: arm[name] for name in FIGURES}} for side, arm in zip(SIDES, (one, two), strict=True)
    ]
    figure.table(polars.DataFrame(rows, infer_schema_length=None), "figures")
    st.caption(
        "Each against the base of its own run: shifts in nats, coherence as a fraction of the base's, 95% intervals."
    )


def _apart(reader: Reader, one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    """The paired difference of the two arms, or why there is none."""
    st.subheader("How far the second is from the first")
    if one["eval_hash"] != two["eval_hash"]:
        st.warning(
            "No difference can be told: the two arms were not scored in the same way. Their evaluations "
            f"({plain(one['eval_hash'][:12])} and {plain(two['eval_hash'][:12])}) differ in vignettes, instrument, "
            "model, dtype or tokenizer, so that a difference would look like an effect without being one. Score both "
            "with the same settings; what differs is listed above.",
            icon=":material/block:",
        )
        return
    if one["arm_id"] == two["arm_id"]:
        st.caption("The same arm on both sides: nothing lies between them.")
        return
    found = reader.ask("compare_vignettes", base=one["arm_id"], arm=two["arm_id"])
    if found.is_empty():
        st.info("No vignette was answered readably by both.")
        return
    rows = polars.DataFrame([_difference(found, name) for name in sorted(set(found["foundation"]))])
    figure.show(foundations(rows), rows, "foundations")
    mass = _interval(found, "arm_mass", "base_mass")
    told = "" if mass is None else f" Answer mass: {mass.value:+.3f} [{mass.low:+.3f}, {mass.high:+.3f}]."
    st.caption(plain(f"{found.height} vignettes answered by both, paired; bars: 95% paired-bootstrap intervals.{told}"))
    with st.expander("Vignette by vignette"):
        figure.show(vignettes(found), found, "vignettes")
        figure.table(found, "movers", height=320)


def _difference(found: polars.DataFrame, foundation: str) -> dict[str, Any]:
    mine = found.filter(found["foundation"] == foundation)
    span = _interval(mine, "arm_nats", "base_nats")
    ends = {"low": None, "high": None} if span is None else {"low": span.low, "high": span.high}
    return {
        "foundation": foundation,
        "d_nats": float(np.mean(mine["d_nats"].to_numpy())),
        **ends,
        "paired": mine.height,
    }


def _interval(found: polars.DataFrame, column: str, base: str) -> Interval | None:
    """The mean difference of two columns over vignettes, with its interval; foundations keep their number."""
    values = {name: np.asarray(found[name], dtype=float) for name in (column, base)}
    return paired_bootstrap(values, found["foundation"].to_list(), lambda m: m[column] - m[base], SEED, RESAMPLES)


def _verdicts(reader: Reader, first: Run, second: Run) -> None:
    """What the gates said of both, criterion by criterion."""
    frames = [reader.ask("verdicts", run=run["run_id"]) for run in (first, second)]
    if all(frame.is_empty() for frame in frames):
        return
    st.subheader("What the gates say")
    for side, run, frame in zip(st.columns(2), (first, second), frames, strict=True):
        with side:
            st.caption(plain(f"{run['gate']} {run['run_id'][:8]}"))
            name = "verdicts_first" if run is first else "verdicts_second"
            figure.table(frame.select("name", "status", "value", "threshold", "detail"), name)
