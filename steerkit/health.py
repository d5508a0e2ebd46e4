"""How healthy a text is: windows over its tail that see loops of any period, which a mean or an n-gram count misses."""

import zlib
from collections.abc import Sequence
from math import exp

WINDOW = 40
"""Words in a sliding window."""


def distinct_share(text: str, size: int = 3, window: int = WINDOW) -> float:
    """The smallest share of unique word n-grams in any window (fraction; 1 is no repetition, a loop is near 0)."""
    words = text.split()
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if not grams:
        return 1.0
    width = min(window, len(grams))
    return min(len(set(grams[i : i + width])) / width for i in range(len(grams) - width + 1))


def compression(text: str, window: int = 240) -> float:
    """The largest ratio of length to zlib-compressed length over windows of characters (1 and up; loops are high)."""
    data = text.encode()
    if not data:
        return 1.0
    starts = range(0, max(1, len(data) - window + 1), window // 4)
    return max(len(part) / len(zlib.compress(part, 9)) for part in (data[i : i + window] for i in starts))


def perplexity(nll: Sequence[float]) -> float:
    """exp of the mean negative log-likelihood (nats per token); infinite for an empty text."""
    return exp(min(sum(nll) / len(nll), 700.0)) if nll else float("inf")


def tail(values: Sequence[float]) -> Sequence[float]:
    """The last quarter, at least one value."""
    return values[-max(1, len(values) // 4) :]
