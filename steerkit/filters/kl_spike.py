"""How far the steered model ran from the base: the largest mean KL(steered || base) of 8 tokens in a row.

Where steering is strong enough to break a text, the two models stop agreeing about what comes next, and stay apart. One
token where they differ is steering at work; a stretch of them is a push off the road.

It fails to see text that breaks in a way that the base would go on with: once the context is broken, both agree. An
unsteered text has none by definition; a steered one without measurements is never kept.

Source: KL to the base as a limit on steering: Arditi et al. 2406.11717 (drops directions by it); the window is ours
"""

from math import nan
from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.filters._words import of_tokens
from steerkit.health import highest_mean
from steerkit.records import Completion

UNIT = "nats"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 1.0
WIDTH = 8
"""Tokens in the window."""


def measure(completion: Completion, background: Background) -> Measurement:
    """The mean divergence of the worst window, and where it is."""
    worst = highest_mean(completion.token_kl, WIDTH)
    if worst is None:
        nothing = completion.strength == 0 or completion.tokens == 0
        return Measurement(0.0, "not steered") if nothing else Measurement(nan, "the divergence was not measured")
    reason = f"mean KL {worst.value:.2f} nats over tokens {worst.start} to {worst.stop}"
    return Measurement(worst.value, reason, *of_tokens(completion, worst))
