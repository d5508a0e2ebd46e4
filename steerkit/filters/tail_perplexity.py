"""How surprising a text's worst stretch is to the untouched base: exp of the largest mean NLL of 16 tokens in a row.

A text that falls apart late hides in the mean over the whole of it, and one that recovers hides in its last quarter; a
sliding window sees both, and can point at the place. Texts whose tokens were not recorded are judged by the perplexity
of their last quarter.

It fails, like `perplexity`, on rare names and quotations, which are surprising and healthy, and on loops, which are not
surprising.

Source: perplexity under a reference model as a filter of text: CCNet 1911.00359; the sliding window is ours
"""

from math import exp, isfinite
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import of_tokens
from steerkit.health import highest_mean
from steerkit.records import Completion

UNIT = "perplexity"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 40.0
WIDTH = 16
"""Tokens in the window."""
LARGEST = 700.0
"""Nats above which exp overflows."""


def measure(completion: Completion, background: Background) -> Measurement:
    """The perplexity of the worst window, and where it is."""
    worst = highest_mean(completion.token_nll or [], WIDTH)
    if worst is None:
        return Measurement(completion.tail_perplexity, f"perplexity {completion.tail_perplexity:.1f} at the end")
    value = exp(min(worst.value, LARGEST)) if isfinite(worst.value) else worst.value
    reason = f"perplexity {value:.1f} over tokens {worst.start} to {worst.stop}"
    return Measurement(value, reason, *of_tokens(completion, worst))
