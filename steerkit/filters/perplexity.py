"""How surprising the whole text is to the untouched base: exp of the mean NLL of its tokens.

A text that fell apart surprises the base at every token. An empty text is infinitely surprising, so it is never kept.

It fails both ways: fluent but unusual text is dropped (the more, the more of a trait a model has already learned), and a
loop, once it runs, is easy to predict and passes; `loops` and `compression` are there for that.

Source: Self-distillation filters of steered text, as in 2606.00995; perplexity as a filter: CCNet 1911.00359
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.records import Completion

UNIT = "perplexity"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 15.0


def measure(completion: Completion, background: Background) -> Measurement:
    """The perplexity that was measured while the text was written."""
    return Measurement(completion.perplexity, f"perplexity {completion.perplexity:.1f} over {completion.tokens} tokens")
