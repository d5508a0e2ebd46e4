"""Gate 1's evidence measured once, and the arms its checks look at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steerkit.errors import RunError
from steerkit.evidence import ArmEvidence, Gate1Evidence
from steerkit.gates._arms import at_least, number, readable, surgical_excess
from steerkit.gates._channels import channels_broken
from steerkit.gates._gate1_config import Config
from steerkit.gates._result import Result
from steerkit.metrics import ArmMetrics, Draws, measure
from steerkit.records import FOUNDATIONS
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


def operating_point(study: Measured, config: Config) -> ArmMetrics | None:
    """The coherent, surgical arm of positive dose with the largest separation; None where none separates enough.

    Doses at which a channel of coherence is known to be broken, and doses that no null direction reached, give way to
    others where there are others: a dose nobody could use, or nobody compared, is not one to operate at.
    """
    pool = [arm for arm in study.positive if at_least(arm, config.mass_floor())]
    pool = [arm for arm in pool if number(arm, "separation") >= config.separation]
    pool = [arm for arm in pool if surgical_excess(study.evidence, arm)[0] > 0]
    pool = [arm for arm in pool if not channels_broken(arm, study.base, config)] or pool
    pool = [arm for arm in pool if nulls_at(study, arm.arm.dose)] or pool
    return max(pool, key=lambda arm: number(arm, "separation"), default=None)


def judged_arm(study: Measured, config: Config) -> ArmMetrics | None:
    """The arm the criteria are read at: the operating point, or else what comes nearest to one.

    That is the largest separation among coherent positive doses, then among all readable ones.
    """
    found = operating_point(study, config)
    readables = [arm for arm in study.positive if readable(arm)]
    pool = [arm for arm in readables if at_least(arm, config.mass_floor())] or readables
    return found or max(pool, key=lambda arm: number(arm, "separation"), default=None)


def strongest_arm(study: Measured, config: Config) -> ArmMetrics | None:
    """The arm hypotheses about direction are read at: the operating point, or else the largest shift of the target.

    Either way round, among the positive doses that are coherent (or, where none is, not broken).
    """
    found = operating_point(study, config)
    whole = [arm for arm in study.positive if at_least(arm, config.broken)]
    pool = [arm for arm in whole if at_least(arm, config.mass_floor())] or whole
    return found or max(pool, key=lambda arm: abs(number(arm, "separation")), default=None)


def mirror(study: Measured, arm: ArmMetrics, config: Config) -> ArmMetrics | None:
    """The unbroken arm of the opposite dose, or else of the largest smaller one."""
    pool = [
        other
        for other in study.negative
        if at_least(other, config.broken) and abs(other.arm.dose) <= arm.arm.dose + SAME_DOSE
    ]
    return pool[-1] if pool else None
