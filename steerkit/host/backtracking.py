"""Notice that a text is breaking while it is written; say how far to rewind it with how much less strength to go on.

The unsteered twin that reads the same tokens gives the divergence at each of them; a repeating tail shows in the tokens
themselves. A broken row is rewound to before the break, and that stretch is replayed with a fraction of the strength;
each further retry of the stretch takes the fraction again, and the last one goes on whatever comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

UNMOVED = 0.01
"""Nats. A text that never diverged further is not steered: its loops are the model's own, and stay."""


@dataclass(frozen=True)
class Backtracking:
    """When a text counts as broken, and what is done about it.

    `kl`: highest mean divergence over the last `window` tokens (nats). `distinct`: lowest share of distinct bigrams
    over the last `tail` tokens (fraction). `rewind`: tokens taken back. `factor`: what is left of the strength on the
    replayed stretch (fraction). `retries`: most retries of one text.
    """

    kl: float = 0.9
    window: int = 8
    distinct: float = 0.5
    tail: int = 24
    rewind: int = 12
    factor: float = 0.5
    retries: int = 3


@dataclass(frozen=True)
class Retry:
    """One rewinding: how long the text was, how much of it was kept (tokens), what was seen, and the factors."""

    at: int
    to: int
    why: Literal["kl", "loop"]
    value: float
    before: float
    after: float


@dataclass
class Watch:
    """One row's watch: the factor on its strength, up to which position it holds, and the retries so far."""

    rules: Backtracking
    factor: float = 1.0
    until: int = 0
    retries: list[Retry] = field(default_factory=list)

    def strength(self, position: int) -> float:
        """The factor on the strength at a position (fraction); behind the replayed stretch it is 1 again."""
        return self.factor if position < self.until else 1.0

    def broken(self, tokens: Sequence[int], kl: Sequence[float]) -> Retry | None:
        """The rewinding that the newest token calls for, or None; it is written down, and the strength falls."""
        found = self._seen(tokens, kl)
        if found is None or len(self.retries) >= self.rules.retries:
            return None
        why, value = found
        # What was fed before the newest token had its say in it.
        before = self.strength(len(tokens) - 2)
        self.factor = before * self.rules.factor if len(self.retries) < self.rules.retries - 1 else 0.0
        self.until = max(self.until, len(tokens) + self.rules.window)
        self.retries.append(
            Retry(len(tokens), max(1, len(tokens) - self.rules.rewind), why, value, before, self.factor)
        )
        return self.retries[-1]

    def _seen(self, tokens: Sequence[int], kl: Sequence[float]) -> tuple[Literal["kl", "loop"], float] | None:
        rules = self.rules
        if len(kl) >= rules.window:
            running = sum(kl[-rules.window :]) / rules.window
            if not running <= rules.kl:
                return "kl", running
        if len(tokens) >= rules.tail:
            last = tokens[-rules.tail :]
            distinct = len(set(pairwise(last))) / (rules.tail - 1)
            if distinct < rules.distinct and not max(kl) <= UNMOVED:
                return "loop", distinct
        return None
