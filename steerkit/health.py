"""How healthy a text is: windows over its tail that see loops of any period, which a mean or an n-gram count misses."""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from math import exp, isfinite

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


def shared(texts: Sequence[tuple[str, str]], size: int = 3) -> float | None:
    """How much answers to different prompts have in common: the mean over their pairs of the word n-grams they share.

    `texts`: (prompt, text). Of a pair, the share of the shorter one's distinct n-grams (fraction); None without a pair.
    """
    split = ((prompt, text.lower().split()) for prompt, text in texts)
    grams = [(prompt, {tuple(w[i : i + size]) for i in range(len(w) - size + 1)}) for prompt, w in split]
    read = [(prompt, found) for prompt, found in grams if found]
    overlaps = [len(one & two) / min(len(one), len(two)) for (p, one), (q, two) in combinations(read, 2) if p != q]
    return sum(overlaps) / len(overlaps) if overlaps else None


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


REPEAT_WIDTHS = (12, 15, 18, 24, 30, 36, 48)
"""Words in the windows that are searched for repeats: three rounds of a period of 4 to 12 words fill one of them."""


@dataclass(frozen=True)
class Stretch:
    """A part of a sequence that stands out: its value, its first place and the place behind its last."""

    value: float
    start: int
    stop: int


def most_repetitive(words: Sequence[str], size: int = 3, widths: Sequence[int] = REPEAT_WIDTHS) -> Stretch:
    """The window with the smallest share of distinct n-grams (fraction), over windows of several widths (words).

    A loop of any period p that goes round r times has the share p / (r * p - size + 1) in the window it fills: about
    1/r, whatever the period. A window is cut to the length of the text; without an n-gram the share is 1.
    """
    grams = list(zip(*(words[offset:] for offset in range(size)), strict=False))
    if not grams:
        return Stretch(1.0, 0, len(words))
    counts = sorted({min(width - size + 1, len(grams)) for width in widths})
    share, start, count = min(
        (distinct / count, start, count) for count in counts for start, distinct in enumerate(_distinct(grams, count))
    )
    return Stretch(share, start, start + count + size - 1)


def _distinct(grams: Sequence[tuple[str, ...]], count: int) -> Iterator[int]:
    """How many different n-grams each window of `count` of them holds."""
    held = Counter(grams[:count])
    yield len(held)
    for old, new in zip(grams, grams[count:], strict=False):
        held[new] += 1
        held[old] -= 1
        if not held[old]:
            del held[old]
        yield len(held)


def most_compressible(text: str, window: int = 160, step: int = 40) -> Stretch:
    """The window of characters that zlib shortens most: length over compressed length (ratio; loops are high)."""
    last = max(0, len(text) - window)
    windows = (
        Stretch(len(part) / len(zlib.compress(part, 9)), start, min(start + window, len(text)))
        for start in sorted({*range(0, last, step), last})
        if (part := text[start : start + window].encode(errors="surrogatepass"))
    )
    return max(windows, key=lambda stretch: stretch.value, default=Stretch(1.0, 0, 0))


def highest_mean(values: Sequence[float], width: int) -> Stretch | None:
    """The window with the largest mean, cut to the sequence's length; None of an empty sequence.

    A value that is not finite is itself the answer: no window hides it.
    """
    if not values:
        return None
    for place, value in enumerate(values):
        if not isfinite(value):
            return Stretch(value, place, place + 1)
    width = min(width, len(values))
    sums = list(accumulate(values, initial=0.0))
    means = [(after - before) / width for before, after in zip(sums, sums[width:], strict=False)]
    start = max(range(len(means)), key=means.__getitem__)
    return Stretch(means[start], start, start + width)
