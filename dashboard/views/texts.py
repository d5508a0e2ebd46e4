"""What the models wrote, what the checks say of it, and what people say."""

from collections.abc import Callable, Mapping

from dashboard import empty, link, runs, written
from dashboard.reading import Reader
from dashboard.runs import Run
from dashboard.views import _texts_beside, _texts_label, _texts_read, _texts_redecide

TITLE = "Texts"
ICON = ":material/article:"
ORDER = 30
SENTENCE = (
    "What the models wrote, and which checks keep it. Good: texts that enact the trait in plain, coherent language are "
    "kept; loops, babble and texts that only talk about the trait are dropped."
)
PARTS: Mapping[str, tuple[str, Callable[[Reader, Run], None]]] = {
    "read": ("Read", _texts_read.show),
    "label": ("Label", _texts_label.show),
    "redecide": ("Move thresholds", _texts_redecide.show),
    "beside": ("Side by side", _texts_beside.show),
}
"""What can be done with texts, by its name in the address."""


def show(reader: Reader) -> None:
    """Choose a run and what to do with its texts."""
    having = runs.having(reader, "completion")
    if not having:
        empty.nothing("No run has written texts yet.", "steerkit gate2 --from RUN")
        return
    run = runs.pick(reader, having)
    assert run is not None, "a run with texts is registered"
    runs.state(run)
    written.style()
    part = link.part("What to do", "part", [*PARTS], shown=lambda name: PARTS[name][0])
    PARTS[part][1](reader, run)
