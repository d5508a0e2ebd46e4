"""Whether there is enough of a text to learn from: its tokens; a text of nothing but space has none.

An empty answer, or one word and an end, passes most other checks because there is nothing to find fault with.

It fails on prompts whose right answer is short.

Source: minimum length as a filter: Gopher 2112.11446 (appendix A.1)
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.records import Completion

UNIT = "tokens"
KEEP: Literal["at most", "at least"] = "at least"
THRESHOLD = 8.0


def measure(completion: Completion, background: Background) -> Measurement:
    """How many tokens the text has."""
    tokens = completion.tokens if completion.text.strip() else 0
    return Measurement(float(tokens), f"{tokens} tokens" if tokens else "an empty text")
