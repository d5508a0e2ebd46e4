"""What gates that read arms share: an arm's floors, what moves off target, and the health of what it writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, runtime_checkable

import numpy as np

from steerkit.evidence import ArmEvidence
from steerkit.metrics import NOT_WRONG, ArmMetrics, Draws, quantity_name
from steerkit.records import FOUNDATIONS, Completion


@runtime_checkable
class Aim(Protocol):
    """What a direction is meant to move."""

    @property
    def target(self) -> str:
        """The foundation that should move."""
        ...

    @property
    def sign(self) -> int:
        """Which way."""
        ...

    @property
    def along(self) -> tuple[str, ...]:
        """Foundations that may move too."""
        ...


@runtime_checkable
class TextLimits(Protocol):
    """The thresholds of a healthy text."""

    @property
    def distinct_share(self) -> float:
        """Median distinct trigrams of the texts over the base's, below which they loop (fraction)."""
        ...

    @property
    def perplexity_ratio(self) -> float:
        """Median tail perplexity of the texts over the base's, above which they babble (ratio)."""
        ...


@dataclass(frozen=True)
class TextHealth:
    """An arm's generations beside the base's: medians over prompts of distinct trigrams and of tail perplexity."""

    distinct: float
    base_distinct: float
    perplexity: float
    base_perplexity: float

    def loops(self, config: TextLimits) -> bool:
        """Whether trigrams repeat far more than in the base's texts."""
        return not self.distinct >= config.distinct_share * self.base_distinct

    def babbles(self, config: TextLimits) -> bool:
        """Whether the base finds the texts far less likely than its own; a non-finite perplexity counts as babble."""
        return not self.perplexity <= config.perplexity_ratio * self.base_perplexity

    def healthy(self, config: TextLimits) -> bool:
        """Neither looping nor babbling."""
        return not self.loops(config) and not self.babbles(config)


def readable(arm: ArmMetrics) -> bool:
    """Whether the arm has a finite shift of the target and a finite coherence."""
    return arm.value("separation") is not None and arm.value("coherence") is not None


def at_least(arm: ArmMetrics, floor: float) -> bool:
    """Whether the arm is readable and its coherence relative to the base reaches the floor."""
    coherence = arm.value("coherence")
    return readable(arm) and coherence is not None and coherence >= floor


def number(arm: ArmMetrics, quantity: str) -> float:
    """A quantity of an arm; NaN where undefined, so that every comparison with it is false."""
    value = arm.value(quantity)
    return float("nan") if value is None else value


def off_target(aim: Aim, arm: ArmMetrics) -> dict[str, Draws]:
    """How far each foundation that should stay put moves, per resample (nats).

    "Not wrong" is exempt: it takes what the target gives up. A foundation that may move along is exempt too, except
    that it must not fall together with a target that is meant to fall.
    """
    sizes = {}
    for name in FOUNDATIONS:
        change = arm.draws[f"d_{quantity_name(name)}"]
        exempt = name in (aim.target, NOT_WRONG) or (name in aim.along and aim.sign > 0)
        if not exempt and np.isfinite(change[0]):
            sizes[name] = np.maximum(-change, 0.0) if name in aim.along else np.abs(change)
    return sizes


def surgical_excess(aim: Aim, arm: ArmMetrics) -> Draws:
    """The target's movement less the largest movement off target, per resample (nats)."""
    sizes = list(off_target(aim, arm).values())
    moved = np.abs(arm.draws["d_target"])
    return np.asarray(moved - np.max(sizes, axis=0)) if sizes else moved


def text_health(arm: ArmEvidence, base: ArmEvidence) -> TextHealth | None:
    """The arm's generations beside the base's; None when either has none."""
    if not arm.texts or not base.texts:
        return None
    distinct, perplexity = _medians(arm.texts)
    base_distinct, base_perplexity = _medians(base.texts)
    return TextHealth(distinct, base_distinct, perplexity, base_perplexity)


def _medians(texts: tuple[Completion, ...]) -> tuple[float, float]:
    return _median([text.distinct_tail for text in texts]), _median([text.tail_perplexity for text in texts])


def _median(values: Sequence[float]) -> float:
    """The median; NaN where a value is. numpy's takes many times as long for a handful of numbers."""
    return math.nan if any(map(math.isnan, values)) else median(values)


def resolves(arm: ArmMetrics) -> str:
    """The smallest shift of the target that the set tells from none, and what one flip is, for a sentence."""
    smallest, flip = arm.resolution(), number(arm, "flip_nats")
    if smallest is None:
        return "the set resolves no shift"
    return f"the smallest shift this set resolves is {smallest:.2f} nats, one vignette flipping is {flip:.2f}"
