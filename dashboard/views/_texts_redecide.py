"""Thresholds that move: what would be kept, at once, and the command that decides so for good."""

import json
import math
from collections.abc import Mapping
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link, written
from dashboard.charts import texts as charts
from dashboard.reading import Reader
from dashboard.runs import Run
from steerkit.plugins import load_filters

ACROSS = 3
"""Sliders in a row."""
FIRST = 3
"""Checks that have a slider until others are chosen: those that drop most."""
SHOWN = 20
"""Texts whose fate changes that are shown."""


def show(reader: Reader, run: Run) -> None:
    """Sliders, what they change, and the texts whose fate changes."""
    ranges = {row["name"]: row for row in reader.ask("check_ranges", run=run["run_id"]).iter_rows(named=True)}
    if not ranges:
        empty.nothing("This run has no steered texts that were decided on.", "steerkit gate2 --from RUN")
        return
    moved = _sliders(reader, run, ranges)
    asked = {"run": run["run_id"], "thresholds": json.dumps(moved)}
    st.caption(
        "Blue: kept by every check, orange: dropped by some. The line is the threshold in force, dashed one tried."
    )
    counts = reader.ask("redecide_counts", **asked)
    _counted(counts)
    figure.show(charts.doses(counts), counts, "doses")
    if not moved:
        return
    st.caption(
        "The values stay as measured, also of near_copy, which depends on what else is kept. To decide so for good:"
    )
    st.code(
        f"steerkit refilter {run['run_id']} " + " ".join(f"--set {n}={v:g}" for n, v in moved.items()), language="bash"
    )
    _changed(reader, asked, counts)


def _sliders(reader: Reader, run: Run, ranges: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The thresholds that were moved, by check."""
    movable = [name for name, row in ranges.items() if row["lowest"] is not None and row["lowest"] < row["highest"]]
    if not movable:
        st.info("Every check gives all texts the same value: there is no threshold to move.")
        return {}
    drops = lambda name: f"{name}, drops {ranges[name]['dropped']}"  # noqa: E731
    chosen = link.picks("Checks to move", "checks", movable, movable[:FIRST], shown=drops)
    found = {}
    for place, name in enumerate(chosen):
        if place % ACROSS == 0:
            columns = st.columns(ACROSS)
        with columns[place % ACROSS]:
            at = _slider(reader, run, name, ranges[name])
            if at != ranges[name]["threshold"]:
                found[name] = at
    return found


def _slider(reader: Reader, run: Run, name: str, row: Mapping[str, Any]) -> float:
    """One check's threshold over the values it takes."""
    known = load_filters()
    unit = known[name].UNIT if name in known else "value"
    low, high = min(row["lowest"], row["threshold"]), max(row["highest"], row["threshold"])
    step = 10.0 ** math.floor(math.log10((high - low) / 100))
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    at = link.number(f"{name}: keep {row['direction']} ({unit})", f"at_{name}", low, high, row["threshold"], step)
    bins = reader.ask("check_values", run=run["run_id"], check=name)
    figure.show(charts.values(bins, unit, row["threshold"], at), bins, f"values_{name}")
    return at


def _counted(counts: polars.DataFrame) -> None:
    """How many are kept now and would be."""
    made, kept, would = (int(counts[name].sum()) for name in ("made", "kept", "would_be_kept"))
    first, second, third = st.columns(3)
    first.metric("steered texts", made)
    second.metric("kept now", f"{kept} ({kept / made:.0%})")
    third.metric("kept if moved", f"{would} ({would / made:.0%})", would - kept if would != kept else None)


def _changed(reader: Reader, asked: Mapping[str, Any], counts: polars.DataFrame) -> None:
    """The texts whose fate changes."""
    added, lost = int(counts["added"].sum()), int(counts["lost"].sum())
    st.subheader(f"{added} would come in, {lost} would go out")
    found = reader.ask("redecide", **asked, changed=True, limit=SHOWN)
    steered = found.filter(polars.col("role").is_in(["probe", "collected"]))
    written.scale()
    for row in steered.iter_rows(named=True):
        page = reader.ask("text_page", run=asked["run"], completion=row["completion_id"], limit=1)
        st.html(written.card(page.row(0, named=True)))
    if steered.height < added + lost:
        st.caption(f"The first {steered.height} of {added + lost}.")
