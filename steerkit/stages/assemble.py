"""Put a run's records together into the evidence that a gate's checks look at; needs no model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from steerkit.evidence import (
    ArmEvidence,
    Extraction,
    Gate1Evidence,
    Gate2Evidence,
    Gate3Evidence,
    HealEvidence,
    LoopEvidence,
    RoundEvidence,
    TextEvidence,
)
from steerkit.personas import Persona, lint
from steerkit.records import (
    Adapter,
    AdapterFigure,
    Answer,
    Arm,
    Calibration,
    Completion,
    ControllerStep,
    Direction,
    DirectionLayer,
    Dose,
    FilterDecision,
    FilterSet,
    FreeAnswer,
    HealEpoch,
    HealStep,
    Label,
    Prior,
    Record,
    Round,
    TextGain,
)
from steerkit.spec import Gate2Spec
from steerkit.spec_heal import Gate3Spec
from steerkit.spec_loop import LoopSpec
from steerkit.stages.score import choice, mass, prefill_nll

R = TypeVar("R", bound=Record)


def only(kind: type[R], records: Iterable[Record]) -> list[R]:
    """The records of one kind, in order."""
    return [record for record in records if isinstance(record, kind)]


def arm_evidence(
    arm: Arm,
    answers: Sequence[Answer],
    prior: Sequence[Prior],
    texts: Sequence[Completion],
    free: Sequence[FreeAnswer] = (),
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
        json_valid=sum(answer.valid for answer in free) / len(free) if free else None,
    )


def arms_evidence(records: Sequence[Record]) -> list[ArmEvidence]:
    """Every arm of a run with its answers and texts."""
    answers: dict[str, list[Answer]] = {}
    for answer in only(Answer, records):
        answers.setdefault(answer.arm_id, []).append(answer)
    prior, texts, free = only(Prior, records), only(Completion, records), only(FreeAnswer, records)

    def own(kept: Sequence[Any], arm: Arm) -> list[Any]:
        return [each for each in kept if each.arm_id == arm.arm_id]

    return [
        arm_evidence(arm, answers[arm.arm_id], prior, own(texts, arm), own(free, arm)) for arm in only(Arm, records)
    ]


def labels_of(base: ArmEvidence, records: Sequence[Record]) -> tuple[str, ...]:
    """The foundation of each vignette, in the order of the arm's rows."""
    own = (answer for answer in only(Answer, records) if answer.arm_id == base.arm_id)
    return tuple(answer.foundation for answer in own if answer.ordering == 0)


def gate1_evidence(
    records: Sequence[Record], persona: Persona, extraction: Extraction | None, seed: int
) -> Gate1Evidence:
    """Everything gate 1 measured so far, paired by vignette; what is missing stays None or empty."""
    arms = arms_evidence(records)
    base = next(arm for arm in arms if arm.kind == "base")
    real = {d.direction_id for d in only(Direction, records) if d.kind == "real"}
    return Gate1Evidence(
        trait=persona.name,
        target=persona.target,
        sign=persona.sign,
        along=tuple(persona.along),
        labels=labels_of(base, records),
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


def texts_evidence(records: Sequence[Record]) -> list[TextEvidence]:
    """Every text of a run with its newest round of decisions, its gain, and the newest label of each labeller."""
    newest = max(only(FilterSet, records), key=lambda found: found.seq, default=None)
    decisions: dict[str, list[FilterDecision]] = {}
    for decision in only(FilterDecision, records):
        if newest is None or decision.filter_id == newest.filter_id:
            decisions.setdefault(decision.completion_id, []).append(decision)
    gains = {gain.completion_id: gain.gain for gain in only(TextGain, records)}
    labels: dict[str, dict[str, Label]] = {}
    for label in sorted(only(Label, records), key=lambda found: found.seq):
        labels.setdefault(label.completion_id, {})[label.labeller] = label
    return [
        TextEvidence(
            text,
            tuple(decisions.get(text.completion_id, ())),
            gains.get(text.completion_id),
            tuple(label for label in labels.get(text.completion_id, {}).values() if label.coherent is not None),
        )
        for text in only(Completion, records)
    ]


def gate2_evidence(records: Sequence[Record], spec: Gate2Spec, gate1_verdict: str) -> Gate2Evidence:
    """Everything gate 2 measured so far."""
    texts = texts_evidence(records)

    def of(role: str) -> tuple[TextEvidence, ...]:
        return tuple(text for text in texts if text.completion.role == role)

    return Gate2Evidence(
        trait=spec.trait,
        target=spec.target,
        probes=of("probe"),
        collected=of("collected"),
        base=of("base"),
        random=of("random"),
        controller=tuple(only(ControllerStep, records)),
        wanted=spec.control.keep,
        target_survival=spec.control.survival,
        operating_dose=spec.operating_dose,
        gate1_verdict=gate1_verdict,
        seed=spec.seed,
    )


def gate3_evidence(
    records: Sequence[Record],
    spec: Gate3Spec,
    persona: Persona,
    dose: float,
    texts: Mapping[str, Sequence[Completion]],
    gate1_verdict: str,
    gate2_verdict: str,
) -> Gate3Evidence:
    """Everything gate 3 measured so far; `dose`: where the kept texts come from, `texts`: trained on, by role."""
    arms = arms_evidence(records)
    base = next(arm for arm in arms if arm.kind == "base")
    raw = sorted((arm for arm in arms if arm.kind == "steered" and arm.dose > 0), key=lambda arm: arm.dose)
    weights = [arm for arm in arms if arm.kind == "weights"]

    def first(kind: str) -> ArmEvidence | None:
        return next((arm for arm in arms if arm.kind == kind), None)

    return Gate3Evidence(
        trait=spec.trait,
        target=spec.target,
        sign=spec.sign,
        along=tuple(persona.along),
        labels=labels_of(base, records),
        round=spec.round,
        base=base,
        previous=first("previous"),
        raw=tuple(raw),
        steered=next((arm for arm in raw if arm.dose == dose), None),
        healed=first("healed"),
        plain=first("plain"),
        controls=tuple(arm for arm in arms if arm.kind.startswith("control-")),
        prompt=first("prompt"),
        weights=weights[-1] if weights else None,
        swept=tuple(arm for arm in arms if arm.kind == "swept"),
        heals=heals_evidence(records),
        texts={role: tuple(given) for role, given in texts.items()},
        fewest_texts=spec.heal.fewest_texts,
        gate1_verdict=gate1_verdict,
        gate2_verdict=gate2_verdict,
        seed=spec.seed,
    )


def loop_evidence(records: Sequence[Record], rows: Sequence[Round], spec: LoopSpec, persona: Persona) -> LoopEvidence:
    """Everything a loop measured so far: its rows, and the arms they name."""
    arms = {arm.arm_id: arm for arm in arms_evidence(records)}
    base = next(arm for arm in arms.values() if arm.kind == "base")

    of_rounds = {row.steered_arm for row in rows}
    raw = [arm for name, arm in arms.items() if arm.kind == "steered" and name not in of_rounds]

    def one(name: str | None) -> ArmEvidence | None:
        return None if name is None else arms[name]

    return LoopEvidence(
        trait=spec.trait,
        target=spec.target,
        sign=spec.sign,
        along=tuple(persona.along),
        labels=labels_of(base, records),
        base=base,
        prompt=next((arm for arm in arms.values() if arm.kind == "prompt"), None),
        raw=tuple(sorted(raw, key=lambda arm: arm.dose)),
        rounds=tuple(
            RoundEvidence(row, one(row.steered_arm), one(row.healed_arm), one(row.plain_arm))
            for row in sorted(rows, key=lambda row: row.round)
        ),
        wanted=spec.rounds,
        seed=spec.seed,
    )


def heals_evidence(records: Sequence[Record]) -> dict[str, HealEvidence]:
    """Each adapter's training by its role."""
    steps, epochs, figures = only(HealStep, records), only(HealEpoch, records), only(AdapterFigure, records)

    def own(kept: Sequence[Any], adapter: Adapter) -> Any:
        return [each for each in kept if each.adapter_id == adapter.adapter_id]

    return {
        adapter.role: HealEvidence(
            adapter,
            tuple(own(steps, adapter)),
            tuple(own(epochs, adapter)),
            {figure.quantity: figure.value for figure in own(figures, adapter)},
        )
        for adapter in only(Adapter, records)
    }
