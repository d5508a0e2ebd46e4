"""Gate 4: baked in and steered anew, round after round, must a trait grow while the student stays coherent?

A loop stops after a round whose texts were too few ('starvation') or whose training broke, whose student falls below
the floor of coherence, or whose gain cannot be told from 0. Its result is the *best* round: the student that separates
most of those that are coherent. The best of several is chosen by what it is judged by, which flatters it; leads below
what two seeds differ by say nothing, and one round is the rival that published loops did not beat.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from steerkit.evidence import LoopEvidence
from steerkit.gates._gate4_config import Config as Config
from steerkit.gates._gate4_course import Course, course
from steerkit.gates._gate4_criteria import CRITERIA
from steerkit.gates._gate4_growth import GROWTH
from steerkit.gates._gate4_measured import Check, Measured, levels, measured
from steerkit.gates._gate4_reading import READING
from steerkit.gates._gate4_teaching import TEACHING
from steerkit.gates._result import EffectValue, Result, finite, next_steps, open_criteria, outcome
from steerkit.records import Outcome
from steerkit.stats import intervals

QUESTION = "Baked in and steered anew, does the trait grow round by round at held coherence?"
CHECKS: tuple[Check, ...] = (*CRITERIA, *GROWTH, *TEACHING, *READING)
SINCE = {"d_target_previous": "d_target", "separation_previous": "separation", "coherence_previous": "coherence"}
"""What is counted from the student a round started from, by the name of what it is."""


@dataclass(frozen=True)
class Judgement:
    """What gate 4 says of a loop: every check in the order of `CHECKS`, then the gate itself."""

    effects: list[EffectValue]
    verdicts: list[Result]
    outcome: Outcome
    course: Course


def judge(evidence: LoopEvidence, config: Config) -> Judgement:
    """Measure every arm, run every check, and decide."""
    study = measured(evidence, config.resamples)
    results = [check(study, config) for check in CHECKS]
    verdict, where = outcome(results), course(study, config)
    said = _gate(verdict, results, study, where)
    return Judgement(list(effects(study)), [*results, said], verdict, where)


def _gate(verdict: Outcome, results: list[Result], study: Measured, where: Course) -> Result:
    best = "no round has a coherent student" if where.best is None else f"round {where.best} is the best"
    detail = f"{best}; stopped: {where.stop}, {where.why}; {levels(study) or 'no student'}; {open_criteria(results)}"
    value = next((each.student.value("separation") for each in study.trained if each.row.round == where.best), None)
    steps = next_steps(results) or [f"keep the adapters up to round {where.best}, or ask for more rounds"]
    return Result("gate 4", "gate", verdict, value, None, detail, "; ".join(steps))


def effects(study: Measured) -> Iterator[EffectValue]:
    """Every quantity of every arm; of the rounds' arms also what they are beside the student before."""
    since = {
        arm.arm.arm_id: arm
        for found in study.rounds
        for arm in (found.steered_since, found.healed_since, found.plain_since)
        if arm is not None
    }
    for arm in study.arms:
        draws, beside = dict(arm.draws), since.get(arm.arm.arm_id)
        if beside is not None:
            draws |= {name: beside.draws[own] for name, own in SINCE.items()}
        for quantity, found in intervals(draws).items():
            low, high = (None, None) if found is None else (finite(found.low), finite(found.high))
            yield EffectValue(arm.arm.arm_id, quantity, finite(float(draws[quantity][0])), low, high, None)
        yield EffectValue(arm.arm.arm_id, "resolution", arm.resolution(), None, None, None)
