"""Which method should be used: what each offers within the coherence that may be lost, and what its gate says."""

from collections.abc import Mapping
from typing import Any

import polars
import streamlit as st

from dashboard import figure, link
from dashboard.axes import FLOOR
from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.fronts import hypervolume

COHERENT = 0.95
"""Coherence above which a model counts as whole (fraction of the base's)."""
COLUMNS: Mapping[str, Any] = {
    "method": st.column_config.TextColumn("method", pinned=True),
    "hypervolume": st.column_config.NumberColumn(
        "hypervolume (nats)",
        format="%.3f",
        help=f"Mean shift one can buy over coherence costs from 0 to {1 - FLOOR:.2f}: the area under the front.",
    ),
    "students": st.column_config.NumberColumn(
        "with healing (nats)", format="%.3f", help="The same, with healed students among what one can have."
    ),
    "shift": st.column_config.NumberColumn(
        "best while coherent (nats)", format="%+.3f", help=f"Largest shift at a coherence of at least {COHERENT}."
    ),
    "interval": st.column_config.TextColumn("95% interval"),
    "dose": st.column_config.NumberColumn("at dose", format="%.3g"),
    "coherence": st.column_config.NumberColumn("coherence", format="%.3f"),
    "p_null": st.column_config.NumberColumn(
        "p against nulls", format="%.3f", help="Share of null directions at that dose that move the trait as much."
    ),
    "gate 1": st.column_config.TextColumn("gate 1"),
    "healed": st.column_config.TextColumn("gate 3"),
    "arms": st.column_config.NumberColumn("arms"),
}


def ranking(reader: Reader, arms: polars.DataFrame) -> None:
    """A sentence that answers the question, and the table behind it."""
    rows = ranked(arms, outcomes(reader, arms))
    if not rows:
        return
    st.markdown(answer(rows[0], len(rows)))
    texts_of(reader, rows[0]["method"])
    with st.expander("All methods: hypervolume, best shift while coherent, verdicts", expanded=len(rows) > 1):
        figure.table(polars.DataFrame(rows, infer_schema_length=None), "methods", column_config=COLUMNS)


def ranked(arms: polars.DataFrame, verdicts: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """One row per method, the one that offers most first."""
    rows = [_row(str(name), of, verdicts) for (name,), of in arms.group_by("method", maintain_order=True)]
    return sorted(rows, key=lambda row: -max(row["hypervolume"], row["students"] or 0.0))


def outcomes(reader: Reader, arms: polars.DataFrame) -> dict[tuple[str, str], str]:
    """What the newest run of each gate said of each method."""
    runs = reader.ask("runs").filter(polars.col("trait").is_in(arms["trait"].unique().to_list()))
    said = runs.filter(polars.col("model").is_in(arms["model"].unique().to_list())).sort("registered_at")
    return {(row["method"], row["gate"]): row["outcome"] or row["state"] or "" for row in said.iter_rows(named=True)}


def answer(best: Mapping[str, Any], count: int) -> str:
    """The sentence above the plane."""
    name = f"**{plain(best['method'])}**"
    if best["shift"] is None:
        return f"{name} is the best of {count}, but no dose of it moves the trait while the model stays coherent."
    known = f" {plain(best['interval'])}" if best["interval"] else ""
    gate = f" Gate 1 says **{plain(best['gate 1'])}**." if best["gate 1"] else ""
    which = f"Of {count} methods, {name} offers most: " if count > 1 else f"{name}: "
    bought = f"{best['shift']:+.2f} nats{known} at dose {best['dose']:.3g}, where coherence is {best['coherence']:.3f}."
    return which + bought + gate


def texts_of(reader: Reader, method: str) -> None:
    """Links to the verdict of the method's newest run of gate 1, and to what its newest run of gate 2 wrote."""
    runs = reader.ask("runs")
    newest = {gate: runs.filter((runs["gate"] == gate) & (runs["method"] == method)) for gate in ("gate1", "gate2")}
    with st.container(horizontal=True):
        if not newest["gate2"].is_empty():
            run = str(newest["gate2"]["run_id"][0])
            link.to("texts", "Its borderline texts", ":material/rule:", run=run, part="borderline")
            link.to("texts", "Its texts", ":material/article:", run=run)
        if not newest["gate1"].is_empty():
            link.to("gates", "Its verdict", ":material/gavel:", run=str(newest["gate1"]["run_id"][0]))


def _row(method: str, arms: polars.DataFrame, verdicts: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    steered = [row for row in arms.iter_rows(named=True) if row["kind"] == "steered" and _read(row)]
    healed = [row for row in arms.iter_rows(named=True) if row["kind"] == "healed" and _read(row)]
    whole = [row for row in steered if row["coherence"] >= COHERENT and row["separation"] > 0]
    best = max(whole, key=lambda row: row["separation"], default=None)
    places = [(1 - row["coherence"], row["separation"]) for row in steered]
    trained = [(1 - row["coherence"], row["separation"]) for row in healed]
    return {
        "method": method,
        "hypervolume": hypervolume(places, 1 - FLOOR),
        "students": hypervolume([*places, *trained], 1 - FLOOR) if trained else None,
        "shift": best["separation"] if best else None,
        "interval": _interval(best) if best else None,
        "dose": best["dose"] if best else None,
        "coherence": best["coherence"] if best else None,
        "p_null": best["p_null"] if best else None,
        "gate 1": verdicts.get((method, "gate1"), ""),
        "healed": ", ".join(sorted({row["label"] for row in healed if row["label"]})),
        "arms": arms.height,
    }


def _read(row: Mapping[str, Any]) -> bool:
    return row["separation"] is not None and row["coherence"] is not None


def _interval(row: Mapping[str, Any]) -> str | None:
    """Its interval, where the plane's gain is the shift itself."""
    if row["gain"] != row["separation"] or row["gain_low"] is None:
        return None
    return f"[{row['gain_low']:+.2f}, {row['gain_high']:+.2f}]"
