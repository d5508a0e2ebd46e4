"""Gate 1: a direction must move its target foundation, and little else, before anything is built on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steerkit.evidence import ArmEvidence, Gate1Evidence
from steerkit.gates._gate1_config import Config as Config
from steerkit.gates._gate1_criteria import CRITERIA
from steerkit.gates._gate1_measured import (
    SAME_DOSE,
    Check,
    Measured,
    judged_arm,
    measured,
    null_p,
    nulls_at,
    operating_point,
)
from steerkit.gates._gate1_sweep import SWEEP
from steerkit.gates._gate1_validity import VALIDITY
from steerkit.gates._result import EffectValue, Result, figures, next_steps, open_criteria, outcome
from steerkit.metrics import ArmMetrics
from steerkit.records import Outcome
from steerkit.stats import front_probability, intervals, permutation_p

QUESTION = "Does this direction move its target foundation while the model stays coherent?"
CHECKS: tuple[Check, ...] = (*CRITERIA, *SWEEP, *VALIDITY)


@dataclass(frozen=True)
class Judgement:
    """What gate 1 says of one method and trait.

    `verdicts`: every check in the order of `CHECKS`, then the gate itself. `operating`: the arm to go on with; None
    where no coherent, surgical dose separates enough. `p_null`: permutation p against nulls at the judged dose.
    """

    effects: list[EffectValue]
    verdicts: list[Result]
    outcome: Outcome
    operating: ArmEvidence | None
    p_null: float | None


def judge(evidence: Gate1Evidence, config: Config) -> Judgement:
    """Measure every arm, run every check, and decide."""
    study = measured(evidence, config.resamples)
    results = [check(study, config) for check in CHECKS]
    verdict = outcome(results)
    operating, judged = operating_point(study, config), judged_arm(study, config)
    return Judgement(
        effects=list(_effects(study)),
        verdicts=[*results, _gate(verdict, results, judged)],
        outcome=verdict,
        operating=None if operating is None else operating.arm,
        p_null=None if judged is None else null_p(study, judged),
    )


def _gate(verdict: Outcome, results: list[Result], judged: ArmMetrics | None) -> Result:
    """The gate's own verdict, with what stands in the way of a PASS."""
    found = None if judged is None else judged.interval("separation")
    detail = f"{figures('separation', found)}; {open_criteria(results)}"
    steps = next_steps(results) or ["operate at this dose"] * (verdict == "PASS")
    step = "; ".join(steps) or "measure what is missing"
    return Result("gate 1", "gate", verdict, None if found is None else found.value, None, detail, step)


def _effects(study: Measured) -> Iterator[EffectValue]:
    """Every quantity of every arm, and each steered arm's probability to lie on the Pareto front."""
    for arm in study.arms:
        nulls = _nulls_beside(study, arm)
        for quantity, found in intervals(arm.draws).items():
            value = arm.value(quantity)
            low, high = (None, None) if found is None else (found.low, found.high)
            yield EffectValue(arm.arm.arm_id, quantity, value, low, high, _effect_p(nulls, quantity, value))
        yield EffectValue(arm.arm.arm_id, "resolution", arm.resolution(), None, None, None)
    steered = (*study.negative, *study.positive)
    if steered:
        cost = np.stack([1 - arm.draws["coherence"] for arm in steered], axis=1)
        gain = np.stack([arm.draws["separation"] for arm in steered], axis=1)
        for arm, chance in zip(steered, front_probability(cost, gain), strict=True):
            yield EffectValue(arm.arm.arm_id, "front_probability", float(chance), None, None, None)


def _nulls_beside(study: Measured, arm: ArmMetrics) -> list[ArmMetrics]:
    """The null directions at exactly a steered arm's abs(dose); none beside any other arm."""
    dose = abs(arm.arm.dose)
    found = nulls_at(study, dose) if arm.arm.kind == "steered" else ()
    return [null for null in found if abs(null.arm.dose - dose) <= SAME_DOSE]


def _effect_p(nulls: Sequence[ArmMetrics], quantity: str, value: float | None) -> float | None:
    """Share of null directions that move the quantity at least as far, either way; None where it is not a change."""
    if value is None or not (quantity.startswith("d_") or quantity == "separation"):
        return None
    values = [null.value(quantity) for null in nulls]
    moved = [abs(null) for null in values if null is not None]
    return permutation_p(abs(value), moved) if moved else None
