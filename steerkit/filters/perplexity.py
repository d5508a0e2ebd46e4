"""How surprising the whole text is to the untouched base: exp of the mean NLL of its tokens.

A text that fell apart surprises the base at every token. An empty text is infinitely surprising, so it is never kept.

It fails both ways: fluent but unusual text is dropped, the more of it the more of a trait a model has already learned;
and a loop, once it runs, is easy to predict and passes, which is what `loops` and `compression` are there for. The
default suits a small model whose own sampled text has a perplexity of about 5 and at most 11.

Source: perplexity under a reference model as a filter of text: CCNet 1911.00359
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
