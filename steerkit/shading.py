"""A text cut where its shade changes: at tokens, for their divergence, and at the ends of a span that is marked."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, repeat

REDDEST = 2.0
"""KL at and above which a token is shaded most (nats)."""
Span = tuple[int, int]


def tokens(text: str, pieces: Sequence[str] | None, token_kl: Sequence[float]) -> Iterable[tuple[str, float]]:
    """Every token's text with its KL (nats); the whole text without any where its tokens were not stored."""
    if pieces is None:
        return [(text, 0.0)]
    return zip(pieces, chain(token_kl, repeat(0.0)), strict=False)


def cut(parts: Iterable[tuple[str, float]], span: Span | None) -> Iterator[tuple[str, float, bool]]:
    """The text cut at tokens and at the ends of the span (characters), with the KL and whether it lies in the span."""
    inside, place = range(*(span or (0, 0))), 0
    for piece, kl in parts:
        inner = (edge - place for edge in (inside.start, inside.stop) if place < edge < place + len(piece))
        for first, last in pairwise([0, *inner, len(piece)]):
            if first < last:
                yield piece[first:last], kl, place + first in inside
        place += len(piece)


def redness(kl: float) -> float:
    """How far a token is shaded, 0 to 1; what is no number is shaded most."""
    return min(1.0, kl / REDDEST) if kl >= 0 else float(kl != kl)
