"""How often a text says that a machine wrote it: "as an AI language model", "I don't have personal opinions".

Such talk answers about the model, not the question, and a model that learns from it talks of itself.

It fails on texts about machines, in which a character rightly says such a thing.

Source: identity phrases in refusal tests: Zou et al. 2307.15043 (appendix); the phrases are ours
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
    return counted(completion.text, find(completion.text, "identity"))
