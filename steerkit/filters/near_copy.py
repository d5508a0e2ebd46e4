"""How much of a text stands in one that is already kept: the share of its runs of four words, of the nearest text.

Copies weigh one answer as if it were many, and a model that learns from them learns them by heart.

It fails on copies with a word changed in every four, and depends on the order of the texts: of two copies the first is
kept.

Source: shingles and containment: Broder 1997, doi 10.1109/SEQUEN.1997.666900; near-copies in training: 2107.06499
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import share_in
from steerkit.records import Completion

UNIT = "fraction"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.5


def measure(completion: Completion, background: Background) -> Measurement:
    """The share that the nearest kept completion holds too."""
    shares = [(share_in(completion.text, kept.text), kept.completion_id) for kept in background.kept]
    value, name = max(shares, default=(0.0, ""), key=lambda share: share[0])
    return Measurement(value, f"{value:.0%} of it stands in {name}" if value else "like no kept text")
