"""How much of a text the base says too, to the same prompt: the share of its runs of four words, of the nearest text.

Text that the base writes anyway teaches nothing, and a kept set full of it passes for a healthy one. Shared openings
are normal, the more the colder the sampling, so only a text that is mostly the base's own is dropped.

It fails where the base answers a prompt in one way only, and cannot see that the base *could* have written a text: the
likelihood of the text under both models says that.

Source: shingles and containment: Broder 1997, doi 10.1109/SEQUEN.1997.666900
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import share_in
from steerkit.records import Completion

UNIT = "fraction"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 0.7


def measure(completion: Completion, background: Background) -> Measurement:
    """The share that the nearest base text of the same prompt holds too."""
    texts = background.base.get(completion.prompt_id, ())
    value = max((share_in(completion.text, text) for text in texts), default=0.0)
    return Measurement(value, f"{value:.0%} of it the base says too" if texts else "no base text to compare with")
