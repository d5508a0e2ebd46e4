"""Follows a run: looks at the store's times every so often, and draws the page anew only when they have changed."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.errors import SteerkitError

SHORTEST = 2.0
"""Between two looks at the store's times (seconds); a look costs two calls of stat."""
LONGEST = 30.0
"""Nor does it rest longer than this (seconds)."""
MOST = 3
"""How many runs the sidebar shows."""
SHARE = 20
"""A page rests this many times as long as it took to draw, so that it leaves the machine to the run."""


def began(reader: Reader) -> None:
    """Note when drawing began, and of which store: what is written meanwhile is drawn next time."""
    st.session_state["_began"] = (reader.stamp(), time.monotonic())


def ended(late: bool) -> None:
    """Note how long drawing took; a page that shows what was is drawn again as soon as the store is free."""
    stamp, start = st.session_state["_began"]
    st.session_state["_took"] = time.monotonic() - start
    st.session_state["_drawn"] = (None if late else stamp, time.monotonic())


def follow(reader: Reader) -> None:
    """Under the navigation: what runs, how far it is, how long it will take; and the switch that stops following."""
    with st.sidebar:
        following = st.toggle("Live", True, key="live", help="Draw the page anew when a run has written something.")
        _running(reader)
    st.fragment(_look, run_every=SHORTEST if following else None)(reader)


def _look(reader: Reader) -> None:
    stamp, at = st.session_state.get("_drawn", (reader.stamp(), 0.0))
    rested = time.monotonic() - at >= min(LONGEST, SHARE * st.session_state.get("_took", 0.0))
    if at and rested and stamp != reader.stamp():
        st.rerun()


def _running(reader: Reader) -> None:
    try:
        runs = reader.ask("underway")
    except SteerkitError:
        # The page itself says what is wrong.
        return
    for run in runs.head(MOST).iter_rows(named=True):
        _progress(run)


def _progress(run: Mapping[str, Any]) -> None:
    """One run under way: its bar where the end is known, and what it did last."""
    done, expected = int(run["units"]), run["expected"]
    name = f"**{plain(run['gate'])}** {plain(run['method'])} · {plain(run['run_id'][:8])}"
    if gone(run):
        st.caption(f":material/warning: {name}: its process is gone. The same command with --resume goes on with it.")
        return
    count = f"{done} of {expected}" if expected and expected >= done else str(done)
    st.caption(f"{name}: {count} units{left(run['seconds_left'])}. Last: {plain(run['newest'] or 'nothing yet')}.")
    if expected:
        st.progress(min(1.0, done / expected))


def left(seconds: float | None) -> str:
    """How long a run will take, in words."""
    if seconds is None:
        return ""
    return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"


def gone(run: Mapping[str, Any]) -> bool:
    """Whether a run that never said it ended has no process any more; a run on another machine is taken at its word."""
    if run["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(run["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
