"""Put a run's records together into the evidence that gate 1's checks look at; needs no model."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from steerkit.evidence import ArmEvidence, Extraction, Gate1Evidence
from steerkit.personas import Persona, lint
from steerkit.records import Answer, Arm, Calibration, Completion, Direction, DirectionLayer, Dose, Prior, Record
from steerkit.stages.score import choice, mass, prefill_nll

R = TypeVar("R", bound=Record)


def only(kind: type[R], records: Iterable[Record]) -> list[R]:
    """The records of one kind, in order."""
    return [record for record in records if isinstance(record, kind)]


def arm_evidence(
    arm: Arm, answers: Sequence[Answer], prior: Sequence[Prior], texts: Sequence[Completion]
) -> ArmEvidence:
    """One arm's answers as arrays, `[vignette 7]` and `[vignette]`."""
    return ArmEvidence(
        arm_id=arm.arm_id,
        kind=arm.kind,
        method=arm.method,
        direction_id=arm.direction_id,
        strength=arm.strength,
        dose=arm.dose,
        choice=choice(answers, prior),
        raw_choice=choice(answers, ()),
        mass=mass(answers),
        prefill_nll=prefill_nll(answers),
        texts=tuple(texts),
    )


def gate1_evidence(
    records: Sequence[Record], persona: Persona, extraction: Extraction | None, seed: int
) -> Gate1Evidence:
    """Everything gate 1 measured so far, paired by vignette; what is missing stays None or empty."""
    answers: dict[str, list[Answer]] = {}
    for answer in only(Answer, records):
        answers.setdefault(answer.arm_id, []).append(answer)
    prior, texts = only(Prior, records), only(Completion, records)
    arms = [
        arm_evidence(arm, answers[arm.arm_id], prior, [t for t in texts if t.arm_id == arm.arm_id])
        for arm in only(Arm, records)
    ]
    base = next(arm for arm in arms if arm.kind == "base")
    real = {d.direction_id for d in only(Direction, records) if d.kind == "real"}
    base_answers = [a for a in answers[base.arm_id] if a.ordering == 0]
    return Gate1Evidence(
        trait=persona.name,
        target=persona.target,
        sign=persona.sign,
        along=tuple(persona.along),
        labels=tuple(answer.foundation for answer in base_answers),
        base=base,
        steered=tuple(arm for arm in arms if arm.kind == "steered"),
        nulls=tuple(arm for arm in arms if arm.kind in ("random", "shuffled")),
        prompt=next((arm for arm in arms if arm.kind == "prompt"), None),
        layers=tuple(layer for layer in only(DirectionLayer, records) if layer.direction_id in real),
        ladder=tuple(dose for dose in only(Dose, records) if dose.direction_id in real),
        calibration=next((c for c in only(Calibration, records) if c.direction_id in real), None),
        extraction=extraction,
        pair_findings=tuple(f"{finding.rule}: {finding.why}" for finding in lint(persona)),
        seed=seed,
    )
