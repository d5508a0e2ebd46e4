"""The dose controller: which dose to collect at, what to write next, and when to give up. Numbers in, orders out."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from sklearn.isotonic import IsotonicRegression

from steerkit.inputs import Dilemma
from steerkit.spec import ControlSpec

DIGITS = 6
"""Decimals of a planned dose."""
SAME = 10.0**-DIGITS
"""Doses nearer than this are the same."""


@dataclass(frozen=True)
class Wanted:
    """One text to be written: at which dose, to which prompt."""

    dose: float
    prompt: Dilemma


@dataclass(frozen=True)
class Kept:
    """One text that every check keeps."""

    dose: float
    prompt_id: str


def chosen_dose(made: Mapping[float, int], survived: Mapping[float, int], target: float) -> float | None:
    """The highest probed dose whose smoothed survival reaches the target, or None."""
    return max((dose for dose, share in smoothed(made, survived).items() if share >= target - 1e-9), default=None)


def smoothed(made: Mapping[float, int], survived: Mapping[float, int]) -> dict[float, float]:
    """Survival by dose, made to fall with the dose, because a handful of texts per dose is noisy.

    Isotonic regression, weighted by counts.
    """
    doses = sorted(made)
    shares = [survived.get(dose, 0) / made[dose] for dose in doses]
    falling = IsotonicRegression(increasing=False).fit_transform(
        doses, shares, sample_weight=[made[dose] for dose in doses]
    )
    return dict(zip(doses, map(float, falling), strict=True))


def planned_doses(chosen: float, control: ControlSpec) -> list[float]:
    """The doses that are collected at, rising."""
    return sorted(float(round(chosen * share, DIGITS)) for share in control.shares)


def missing(kept: Sequence[Kept], doses: Sequence[float], keep: int) -> dict[float, int]:
    """How many more texts each dose owes its quota; a kept text counts for the nearest dose at or below its own."""
    quota = ceil(keep / len(doses))
    have = Counter(_home(text.dose, doses) for text in kept)
    return {dose: max(0, quota - have[dose]) for dose in doses}


def _home(dose: float, doses: Sequence[float]) -> float | None:
    return max((planned for planned in doses if planned <= dose + SAME), default=None)


def counted(kept: Sequence[Kept], doses: Sequence[float]) -> list[Kept]:
    """Kept texts of doses that are collected at: weaker ones are not what was asked for."""
    return [text for text in kept if _home(text.dose, doses) is not None and text.dose <= max(doses) + SAME]


def next_batch(
    kept: Sequence[Kept],
    doses: Sequence[float],
    survival: Mapping[float, float],
    prompts: Sequence[Dilemma],
    control: ControlSpec,
    size: int,
    seed: int,
) -> list[Wanted]:
    """A full batch that fills the doses' quotas, more rows where less survives, prompts with the fewest kept first."""
    owed = missing(kept, doses, control.keep)
    if not any(owed.values()):
        owed = dict.fromkeys(doses, 1)
    weights = {dose: owed[dose] / max(survival.get(dose, control.survival), 0.1) for dose in doses}
    return _spread(_rows(weights, size), kept, prompts, seed)


def rows_needed(
    kept: Sequence[Kept], doses: Sequence[float], survival: Mapping[float, float], control: ControlSpec
) -> int:
    """How many texts will fill the doses' quotas at these survivals, with a tenth to spare and 8 at least."""
    owed = missing(kept, doses, control.keep)
    expected = sum(count / max(survival.get(dose, control.survival), 0.1) for dose, count in owed.items())
    return max(8, ceil(1.1 * expected))


def _rows(weights: Mapping[float, float], size: int) -> dict[float, int]:
    """`size` rows in proportion to the weights, by largest remainder."""
    whole = sum(weights.values())
    exact = {dose: size * weight / whole for dose, weight in weights.items()}
    rows = {dose: int(number) for dose, number in exact.items()}
    for dose in sorted(exact, key=lambda d: rows[d] - exact[d])[: size - sum(rows.values())]:
        rows[dose] += 1
    return rows


def _spread(rows: Mapping[float, int], kept: Sequence[Kept], prompts: Sequence[Dilemma], seed: int) -> list[Wanted]:
    """Give each row a prompt, the least served first, ties in a seeded order; doses come in a seeded order too.

    Were they sorted, the prompts of which least is kept would always get the strongest dose, or the weakest.
    """
    draw = random.Random(seed)
    served = Counter(text.prompt_id for text in kept)
    order = {prompt.id: place for place, prompt in enumerate(draw.sample(list(prompts), len(prompts)))}
    doses = [dose for dose in sorted(rows) for _ in range(rows[dose])]
    batch = []
    for dose in draw.sample(doses, len(doses)):
        prompt = min(prompts, key=lambda p: (served[p.id], order[p.id]))
        served[prompt.id] += 1
        batch.append(Wanted(dose, prompt))
    return batch


def lowered(doses: Sequence[float], chosen: float, survival: float, control: ControlSpec) -> list[float] | None:
    """The doses after a batch of that survival: the same, lowered, or None for giving up."""
    if survival >= control.floor:
        return list(doses)
    smaller = [dose * control.shrink for dose in doses]
    return smaller if max(smaller) >= control.lowest * chosen else None


def next_to_try(made: Mapping[float, int], survived: Mapping[float, int]) -> float:
    """The dose to try next after giving up: the weakest that was probed where anything survived, else half of it."""
    weakest = min(made)
    return weakest if any(survived.values()) else weakest / 2
