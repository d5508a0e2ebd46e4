"""Gate 1's evidence measured once, and the arms its checks look at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steerkit.errors import RunError
from steerkit.evidence import ArmEvidence, Gate1Evidence
from steerkit.gates._gate1_config import Config
from steerkit.gates._result import Result
from steerkit.metrics import NOT_WRONG, ArmMetrics, Draws, measure, quantity_name
from steerkit.records import FOUNDATIONS, Completion
from steerkit.stats import Resamples, permutation_p, resample

SAME_DOSE = 1e-9


@dataclass(frozen=True)
class Measured:
    """Every arm's quantities with the bootstrap draws they share.

    `positive`, `negative`: steered arms by rising abs(dose).
    """

    evidence: Gate1Evidence
    draw: Resamples
    base: ArmMetrics
    positive: tuple[ArmMetrics, ...]
    negative: tuple[ArmMetrics, ...]
    nulls: tuple[ArmMetrics, ...]
    prompt: ArmMetrics | None

    @property
    def arms(self) -> tuple[ArmMetrics, ...]:
        """All arms, base first."""
        return (self.base, *self.negative, *self.positive, *self.nulls, *([self.prompt] if self.prompt else []))


Check = Callable[[Measured, Config], Result]


@dataclass(frozen=True)
class TextHealth:
    """An arm's generations beside the base's: medians over prompts of distinct trigrams and of tail perplexity."""

    distinct: float
    base_distinct: float
    perplexity: float
    base_perplexity: float

    def loops(self, config: Config) -> bool:
        """Whether trigrams repeat far more than in the base's texts."""
        return not self.distinct >= config.distinct_share * self.base_distinct

    def babbles(self, config: Config) -> bool:
        """Whether the base finds the texts far less likely than its own; a non-finite perplexity counts as babble."""
        return not self.perplexity <= config.perplexity_ratio * self.base_perplexity

    def healthy(self, config: Config) -> bool:
        """Neither looping nor babbling."""
        return not self.loops(config) and not self.babbles(config)


def measured(evidence: Gate1Evidence, resamples: int = 2000) -> Measured:
    """Measure every arm against the base over one set of bootstrap resamples.

    Raises RunError for an arm that does not have one row per vignette.
    """
    _check_shapes(evidence)
    draw = resample(evidence.labels, evidence.seed, resamples)
    steered = sorted((_metrics(arm, evidence, draw) for arm in evidence.steered), key=lambda m: abs(m.arm.dose))
    return Measured(
        evidence=evidence,
        draw=draw,
        base=_metrics(evidence.base, evidence, draw),
        positive=tuple(m for m in steered if m.arm.dose > 0),
        negative=tuple(m for m in steered if m.arm.dose < 0),
        nulls=tuple(_metrics(arm, evidence, draw) for arm in evidence.nulls),
        prompt=None if evidence.prompt is None else _metrics(evidence.prompt, evidence, draw),
    )


def _check_shapes(evidence: Gate1Evidence) -> None:
    expected = (len(evidence.labels), len(FOUNDATIONS))
    prompt = () if evidence.prompt is None else (evidence.prompt,)
    for arm in (evidence.base, *evidence.steered, *evidence.nulls, *prompt):
        if arm.choice.shape != expected:
            raise RunError(f"arm {arm.arm_id} must have answers of shape {expected}, but got {arm.choice.shape}")


def _metrics(arm: ArmEvidence, evidence: Gate1Evidence, draw: Resamples) -> ArmMetrics:
    return measure(arm, evidence.base, evidence.labels, evidence.target, evidence.sign, draw)


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


def off_target(evidence: Gate1Evidence, arm: ArmMetrics) -> dict[str, Draws]:
    """How far each foundation that should stay put moves, per resample (nats).

    "Not wrong" is exempt: it takes what the target gives up. A foundation that may move along is exempt too, except
    that it must not fall together with a target that is meant to fall.
    """
    sizes = {}
    for name in FOUNDATIONS:
        change = arm.draws[f"d_{quantity_name(name)}"]
        exempt = name in (evidence.target, NOT_WRONG) or (name in evidence.along and evidence.sign > 0)
        if not exempt and np.isfinite(change[0]):
            sizes[name] = np.maximum(-change, 0.0) if name in evidence.along else np.abs(change)
    return sizes


def surgical_excess(evidence: Gate1Evidence, arm: ArmMetrics) -> Draws:
    """The target's movement less the largest movement off target, per resample (nats)."""
    sizes = list(off_target(evidence, arm).values())
    moved = np.abs(arm.draws["d_target"])
    return np.asarray(moved - np.max(sizes, axis=0)) if sizes else moved


def nulls_at(study: Measured, dose: float) -> tuple[ArmMetrics, ...]:
    """The readable null arms at this dose, one for each direction; where there are none, those at the next larger."""
    usable = [null for null in study.nulls if null.value("d_target") is not None and null.arm.dose >= dose - SAME_DOSE]
    nearest = min((null.arm.dose for null in usable), default=0.0)
    return tuple(null for null in usable if abs(null.arm.dose - nearest) <= SAME_DOSE)


def largest_null(study: Measured, dose: float) -> Draws | None:
    """The largest movement of the target by any null direction, in either direction, per resample (nats).

    A random direction's sign is arbitrary, so its size counts. The maximum of noisy nulls is biased upwards, which
    makes the comparison stricter, not looser.
    """
    nulls = nulls_at(study, dose)
    return np.max([np.abs(null.draws["d_target"]) for null in nulls], axis=0) if nulls else None


def null_p(study: Measured, arm: ArmMetrics) -> float | None:
    """Permutation p of the arm's separation: each null direction is one permutation; None without nulls."""
    nulls = nulls_at(study, abs(arm.arm.dose))
    if not nulls or not readable(arm):
        return None
    return permutation_p(number(arm, "separation"), [abs(number(null, "d_target")) for null in nulls])


def text_health(arm: ArmEvidence, base: ArmEvidence) -> TextHealth | None:
    """The arm's generations beside the base's; None when either has none."""
    if not arm.texts or not base.texts:
        return None
    distinct, perplexity = _medians(arm.texts)
    base_distinct, base_perplexity = _medians(base.texts)
    return TextHealth(distinct, base_distinct, perplexity, base_perplexity)


def _medians(texts: tuple[Completion, ...]) -> tuple[float, float]:
    distinct = np.median([text.distinct_tail for text in texts])
    return float(distinct), float(np.median([text.tail_perplexity for text in texts]))


def operating_point(study: Measured, config: Config) -> ArmMetrics | None:
    """The coherent, surgical arm of positive dose with the largest separation; None where none separates enough.

    Doses whose texts are known to be broken, and doses that no null direction reached, give way to others where there
    are others: a dose nobody could use, or nobody compared, is not one to operate at.
    """
    pool = [arm for arm in study.positive if at_least(arm, config.coherence)]
    pool = [arm for arm in pool if number(arm, "separation") >= config.separation]
    pool = [arm for arm in pool if surgical_excess(study.evidence, arm)[0] > 0]
    pool = [arm for arm in pool if _texts_not_broken(study, arm, config)] or pool
    pool = [arm for arm in pool if nulls_at(study, arm.arm.dose)] or pool
    return max(pool, key=lambda arm: number(arm, "separation"), default=None)


def _texts_not_broken(study: Measured, arm: ArmMetrics, config: Config) -> bool:
    health = text_health(arm.arm, study.evidence.base)
    return health is None or health.healthy(config)


def judged_arm(study: Measured, config: Config) -> ArmMetrics | None:
    """The arm the criteria are read at: the operating point, or else what comes nearest to one.

    That is the largest separation among coherent positive doses, then among all readable ones.
    """
    found = operating_point(study, config)
    readables = [arm for arm in study.positive if readable(arm)]
    pool = [arm for arm in readables if at_least(arm, config.coherence)] or readables
    return found or max(pool, key=lambda arm: number(arm, "separation"), default=None)


def strongest_arm(study: Measured, config: Config) -> ArmMetrics | None:
    """The arm hypotheses about direction are read at: the operating point, or else the largest shift of the target.

    Either way round, among the positive doses that are coherent (or, where none is, not broken).
    """
    found = operating_point(study, config)
    whole = [arm for arm in study.positive if at_least(arm, config.broken)]
    pool = [arm for arm in whole if at_least(arm, config.coherence)] or whole
    return found or max(pool, key=lambda arm: abs(number(arm, "separation")), default=None)


def mirror(study: Measured, arm: ArmMetrics, config: Config) -> ArmMetrics | None:
    """The unbroken arm of the opposite dose, or else of the largest smaller one."""
    pool = [
        other
        for other in study.negative
        if at_least(other, config.broken) and abs(other.arm.dose) <= arm.arm.dose + SAME_DOSE
    ]
    return pool[-1] if pool else None
