"""Which run a page is about: chosen from those that have what the page shows, and kept in its address."""

from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

from dashboard import link
from dashboard.look import plain
from dashboard.reading import Reader

Run = Mapping[str, Any]


def pick(
    reader: Reader, having: Collection[str], label: str = "Run", name: str = "run", default: str | None = None
) -> Run | None:
    """One of the runs whose ids are in `having`, the newest first; None when there are none."""
    rows = {row["run_id"]: row for row in reader.ask("runs").iter_rows(named=True) if row["run_id"] in having}
    chosen = link.pick(label, name, [*rows], default, shown=lambda run: titled(rows[run]))
    return None if chosen is None else rows[chosen]


def having(reader: Reader, table: str) -> set[str]:
    """The runs that have rows in a table of ours."""
    return set(reader.query(f"SELECT DISTINCT run_id FROM {table}")["run_id"])


def titled(run: Run) -> str:
    """A run in a line: what it asked, what came out, when, and the beginning of its id."""
    when = str(run["registered_at"] or "")[:16].replace("T", " ")
    said = run["outcome"] or run["state"] or "under way"
    return " · ".join(str(part) for part in (run["gate"], run["method"], run["trait"], said, when, run["run_id"][:8]))


def state(run: Run) -> None:
    """Say of a run that is not finished that what follows is half of it, and of a broken one that it is."""
    if run["state"] == "started":
        st.caption(f":material/hourglass_top: This run is under way: {int(run['units'] or 0)} units of work are done.")
    elif run["state"] not in (None, "finished"):
        st.caption(f":material/warning: This run has stopped ({plain(run['state'])}): what it had stored is shown.")
