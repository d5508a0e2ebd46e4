"""Follows a run: looks at the store's times every so often, and draws the page anew only when they have changed."""

import time
from typing import Any

import streamlit as st

from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.errors import SteerkitError

SHORTEST = 2.0
"""Between two looks at the store's times (seconds); a look costs two calls of stat."""
SHARE = 20
"""A page rests this many times as long as it took to draw, so that it leaves the machine to the run."""


def began() -> None:
    """Note when drawing began."""
    st.session_state["_began"] = time.monotonic()


def ended(reader: Reader) -> None:
    """Note how long drawing took, and of which store."""
    st.session_state["_took"] = time.monotonic() - st.session_state["_began"]
    st.session_state["_drawn"] = (reader.stamp(), time.monotonic())


def follow(reader: Reader) -> None:
    """Under the navigation: what runs, how far it is, how long it will take; and the switch that stops following."""
    with st.sidebar:
        following = st.toggle("Live", True, key="live", help="Draw the page anew when a run has written something.")
        _running(reader)
    st.fragment(_look, run_every=SHORTEST if following else None)(reader)


def _look(reader: Reader) -> None:
    stamp, at = st.session_state.get("_drawn", (reader.stamp(), 0.0))
    rested = time.monotonic() - at >= SHARE * st.session_state.get("_took", 0.0)
    if at and rested and stamp != reader.stamp():
        st.rerun()


def _running(reader: Reader) -> None:
    try:
        runs = reader.ask("runs")
    except SteerkitError:
        return
    for run in runs.filter(runs["state"] == "started").head(3).iter_rows(named=True):
        _progress(run)


def _progress(run: dict[str, Any]) -> None:
    done = int(run["units"] or 0)
    st.caption(f"{plain(run['gate'])} {plain(run['method'])}, {plain(run['run_id'][:8])}: {done} units done")
