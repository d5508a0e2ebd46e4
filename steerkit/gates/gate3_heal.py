"""Gate 3: a student trained on steered texts must keep their trait and not their damage: healed, or only undone?

One label, from 95 % intervals alone: *surely* means that the whole interval lies on one side. Shifts count from the
round's start, the base or the student before; coherence is relative to the base.

| label | what must surely hold, for a student that is not NO-OP |
| --- | --- |
| NO-OP | it writes as it did at the start (KL below `still_kl`) and its shift is below `separation` |
| UNDONE | steering moved the target; the student keeps less than `retain` of it and is coherent |
| COPIED | it keeps `retain`; it gave back less than `recover` of the coherence that steering lost, and lost a slot or \
more itself; it is not shown to be above raw steering, nor OVERSHOT |
| OVERSHOT | it moved, and further than the steering; it is incoherent, or moved more off target than on it |
| HEALED | steering and student moved; `retain` is kept; coherent; more coherent than raw steering at the same \
separation; no control reaches `control_share` of its shift; no OVERSHOT |
| NON-SPECIFIC | as HEALED, but a control reaches `control_share` of its shift |
| UNCLEAR | anything else: an interval allows more than one, or what decides was not measured |

No two rows can hold at once. Where steering lost nothing there is nothing to recover: a student that lost nothing
either is no COPIED, and HEALED only if it moved beyond what raw steering reaches at its coherence. Without a control
HEALED is impossible. A broken steered arm teaches no shift that could be read. A persona control carries the trait
itself, so it shows whether a prompt would do, not whether the shift is specific.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from steerkit.evidence import Gate3Evidence
from steerkit.gates._gate3_config import Config as Config
from steerkit.gates._gate3_constraint import CONSTRAINT
from steerkit.gates._gate3_criteria import CRITERIA
from steerkit.gates._gate3_label import Label, Labelled, labelled
from steerkit.gates._gate3_measured import Check, Measured, comparisons, shift, since_previous
from steerkit.gates._gate3_measured import measured as measured
from steerkit.gates._gate3_reading import READING
from steerkit.gates._gate3_rivals import RIVALS
from steerkit.gates._gate3_training import TRAINING
from steerkit.gates._result import EffectValue, Result, finite, next_steps, open_criteria, outcome
from steerkit.metrics import ArmMetrics
from steerkit.records import Outcome
from steerkit.stats import intervals, permutation_p

QUESTION = "Did the student learn the trait without the damage, or only undo it?"
CHECKS: tuple[Check, ...] = (*CRITERIA, *CONSTRAINT, *TRAINING, *READING, *RIVALS)
ADVICE: dict[Label, str] = {
    "HEALED": "go on to the next round, or keep this adapter",
    "UNDONE": "weaken the constraint; if the plain adapter is undone too, the texts do not carry the trait",
    "COPIED": "strengthen the constraint (rmse, lower tau), or train on texts of a lower dose",
    "NO-OP": "weaken the constraint or train longer; if the plain adapter is one too, change the texts",
    "OVERSHOT": "train for fewer epochs or at a lower rate, or strengthen the constraint",
    "NON-SPECIFIC": "claim only the excess over the controls; re-extract the direction",
    "UNCLEAR": "score more vignettes, and measure what is missing",
}


@dataclass(frozen=True)
class Judgement:
    """What gate 3 says of one round.

    `verdicts`: every check in the order of `CHECKS`, then the gate itself. `label`: healed, undone, or what else;
    `why`: the figures it rests on; `possible`: the labels that the intervals leave.
    """

    effects: list[EffectValue]
    verdicts: list[Result]
    outcome: Outcome
    label: Label
    why: str
    possible: tuple[Label, ...]


def judge(evidence: Gate3Evidence, config: Config) -> Judgement:
    """Measure every arm, run every check, and decide."""
    study = measured(evidence, config.resamples)
    results = [check(study, config) for check in CHECKS]
    verdict, said = outcome(results), labelled(study, config)
    verdicts = [*results, _gate(verdict, results, said, study)]
    return Judgement(list(effects(study, config)), verdicts, verdict, said.label, said.why, said.possible)


def _gate(verdict: Outcome, results: list[Result], said: Labelled, study: Measured) -> Result:
    """The gate's own verdict: the label, and what stands in the way of a PASS."""
    found, evidence = shift(study, study.healed), study.evidence
    detail = f"{said.label}: {said.why}; {open_criteria(results)}"
    for gate, before in (("gate 1", evidence.gate1_verdict), ("gate 2", evidence.gate2_verdict)):
        if before != "PASS":
            detail += f"; {gate} said {before}"
    steps = [f"{said.label}: {ADVICE[said.label]}", *next_steps(results)]
    return Result("gate 3", "gate", verdict, None if found is None else found.value, None, detail, "; ".join(steps))


def effects(study: Measured, config: Config) -> Iterator[EffectValue]:
    """Every quantity of every arm; of students also what they are beside steering, controls and the round's start."""
    students = {arm.arm.arm_id for arm in study.students}
    for arm in study.arms:
        own = arm.draws | since_previous(study, arm)
        beside = comparisons(study, arm, config) if arm.arm.arm_id in students else {}
        draws, p_values = own | beside, _p_values(study, arm)
        for quantity, found in intervals(draws).items():
            low, high = (None, None) if found is None else (finite(found.low), finite(found.high))
            value = finite(float(draws[quantity][0]))
            yield EffectValue(arm.arm.arm_id, quantity, value, low, high, p_values.get(quantity))
        yield EffectValue(arm.arm.arm_id, "resolution", arm.resolution(), None, None, None)


def _p_values(study: Measured, arm: ArmMetrics) -> dict[str, float]:
    """Of the healed student's changes: the share of control adapters that move the quantity at least as far."""
    if study.healed is None or arm.arm.arm_id != study.healed.arm.arm_id or not study.nulls:
        return {}
    changes = [name for name in arm.draws if (name.startswith("d_") or name == "separation")]
    found = {}
    for name in changes:
        own, moved = arm.value(name), [null.value(name) for null in study.nulls]
        if own is not None:
            found[name] = permutation_p(abs(own), [abs(value) for value in moved if value is not None])
    return found
