"""What the models wrote, what the checks say of it, and what people say."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import streamlit as st

from dashboard import empty, link, runs, written
from dashboard.reading import Reader
from dashboard.runs import Run
from dashboard.views import _texts_beside, _texts_borderline, _texts_label, _texts_read, _texts_redecide

TITLE = "Texts"
ICON = ":material/article:"
ORDER = 30
SENTENCE = (
    "What the models wrote, and which checks keep it. Good: texts that enact the trait in plain, coherent language are "
    "kept; loops, babble and texts that only talk about the trait are dropped."
)
DECIDED = (
    "SELECT DISTINCT run_id FROM filter_set WHERE run_id IN "
    "(SELECT run_id FROM completion WHERE role IN ('probe', 'collected'))"
)
"""Runs whose steered texts were decided on."""


class Part(NamedTuple):
    """Something that can be done with texts; `decided` where it needs what the checks said of them."""

    title: str
    show: Callable[[Reader, Run], None]
    decided: bool


PARTS: Mapping[str, Part] = {
    "read": Part("Read", _texts_read.show, False),
    "borderline": Part("Borderline", _texts_borderline.show, True),
    "label": Part("Label", _texts_label.show, True),
    "redecide": Part("Move thresholds", _texts_redecide.show, True),
    "beside": Part("Side by side", _texts_beside.show, False),
}
"""By its name in the address."""


def show(reader: Reader) -> None:
    """Choose a run and what to do with its texts."""
    if not runs.having(reader, "completion"):
        empty.nothing("No run has written texts yet.", "steerkit gate2 --from RUN")
        return
    above = st.container()
    part = PARTS[link.part("What to do", "part", [*PARTS], shown=lambda name: PARTS[name].title)]
    with above:
        run = _run(reader, part.decided)
    if run is None:
        empty.nothing("No run has steered texts that were decided on yet.", "steerkit gate2 --from RUN")
        return
    written.style()
    runs.state(run)
    part.show(reader, run)


def _run(reader: Reader, decided: bool) -> Run | None:
    """A run that has what is to be shown: what was chosen for another part, or the run that one went on from."""
    having = {*reader.query(DECIDED)["run_id"]} if decided else runs.having(reader, "completion")
    before = st.session_state.get("run")
    if before is not None and before not in having:
        parent = reader.query("SELECT parent_run FROM run WHERE run_id = $run LIMIT 1", {"run": before})
        return runs.pick(reader, having, default=None if parent.is_empty() else parent.item())
    return runs.pick(reader, having)
