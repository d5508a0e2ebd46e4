"""The texts that stand nearest to a threshold, with the value that decided on each."""

from typing import Any

import polars
import streamlit as st

from dashboard import empty, link, written
from dashboard.look import plain
from dashboard.reading import Reader
from dashboard.runs import Run

SHOWN = 12
"""Texts shown at once."""
ANY = "any check"


def show(reader: Reader, run: Run) -> None:
    """Choose a check; the nearest texts on either side of its threshold."""
    ranges = reader.ask("check_ranges", run=run["run_id"])
    if ranges.is_empty():
        empty.nothing("This run has no steered texts that were decided on.", "steerkit gate2 --from RUN")
        return
    check = choose(ranges)
    found = reader.ask("borderline", run=run["run_id"], check=check, limit=SHOWN)
    if found.is_empty():
        st.info(
            "No check decides on a text alone: each that is dropped is dropped by several.", icon=":material/done_all:"
        )
        return
    st.caption(
        f"The {found.height} nearest of {found['found'][0]} texts that one check decides on alone, from both sides of "
        "its threshold. Good: those just kept read well, and those just dropped do not."
    )
    if found["keep"].all():
        st.caption("None of them is dropped: whatever fails here fails another check too.")
    more = {} if check is None else {"check": check}
    link.to("texts", "Read and label them blind", ":material/keyboard:", run=run["run_id"], part="label", **more)
    written.scale()
    for near in found.iter_rows(named=True):
        _text(reader, run, near)


def choose(ranges: polars.DataFrame) -> str | None:
    """A check that drops something; None for any."""
    deciding = {row["name"]: row["dropped"] for row in ranges.iter_rows(named=True) if row["dropped"]}
    told = lambda name: f"{name} (drops {deciding[name]})" if name in deciding else name  # noqa: E731
    chosen = link.pick("Threshold of", "check", [ANY, *deciding], shown=told)
    return None if chosen == ANY else chosen


def _text(reader: Reader, run: Run, near: dict[str, Any]) -> None:
    """One text under what decided on it."""
    side = "just kept" if near["keep"] else "just dropped"
    told = f"{side}, {near['value']:.4g} (keeps {near['direction']} {near['threshold']:g})"
    st.markdown(f"**{plain(near['name'])}**: {plain(told)}")
    found = reader.ask("text_page", run=run["run_id"], completion=near["completion_id"], limit=1)
    st.html(written.card(found.row(0, named=True)))
