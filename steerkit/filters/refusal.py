"""How often a text declines to help: "I'm sorry, but I can't assist with that".

Refusals are no example of any trait and dilute what is kept. The phrases ask for an object (assist *with this request*,
provide *advice*), so that somebody's defiance inside an answer ("I won't sign this form") is none.

It fails on refusals in other words, and on an answer that quotes one.

Source: refusal phrases as a test: Zou et al. 2307.15043 (appendix), Arditi et al. 2406.11717; the phrases are ours
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._phrases import counted, find
from steerkit.records import Completion

UNIT = "hits"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.0


def measure(completion: Completion, background: Background) -> Measurement:
    """How many phrases were found; the first is named and pointed at."""
    return counted(completion.text, find(completion.text, "refusal"))
