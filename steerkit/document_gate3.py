"""A finished run of gate 3 as one document: what `--json` prints, what the table shows and what the picture draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from steerkit.document import arm_row, outline
from steerkit.evidence import HealEvidence
from steerkit.records import Adapter, Arm, Completion, Effect, Record, Run, Verdict
from steerkit.spec_heal import Gate3Spec
from steerkit.stages.assemble import heals_evidence, only

ORDER = (
    "base",
    "previous",
    "prompt",
    "steered",
    "plain",
    "healed",
    "control-unsteered",
    "control-random",
    "control-persona",
    "weights",
    "random",
    "shuffled",
)
COMPARED = {
    "retain": "retained of the steered shift",
    "recover": "recovered of the coherence it cost",
    "front_gain": "coherence beyond raw steering of the same shift",
    "excess": "shift beyond the largest control (nats)",
    "d_target_previous": "shift from the student before (nats)",
    "coherence_previous": "coherence relative to the student before",
}
"""What sets the healed arm against the others, and what each figure is."""


def document_gate3(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything gate 3 says about one run, from its records alone."""
    spec = msgspec.json.decode(only(Run, records)[0].spec, type=Gate3Spec)
    effects = {(effect.arm_id, effect.quantity): effect for effect in only(Effect, records)}
    arms = sorted(only(Arm, records), key=lambda arm: (ORDER.index(arm.kind), arm.dose, arm.arm_id))
    dose = _dose(arms, records)
    label = next((verdict for verdict in only(Verdict, records) if verdict.kind == "label"), None)
    healed = next((arm for arm in arms if arm.kind == "healed"), None)
    return {
        **outline(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "round": spec.round,
        "label": label.status if label else "",
        "label_why": label.detail if label else "",
        "parent_run": spec.parent_run,
        "dose": dose,
        "aggregate": spec.heal.aggregate,
        "arms": [{**arm_row(arm, effects), "adapter_id": arm.adapter_id} for arm in arms],
        "compared": {} if healed is None else _compared(healed, effects),
        "adapters": [_adapter(heal) for heal in heals_evidence(records).values()],
        "texts": [_text(text, arms) for text in only(Completion, records) if text.arm_id],
    }


def _dose(arms: Sequence[Arm], records: Sequence[Record]) -> float | None:
    """Dose of the steered arm that was scored by this run itself: where the texts come from."""
    own = [arm for arm in arms if arm.kind == "steered"]
    answered = {text.arm_id for text in only(Completion, records)}
    return next((arm.dose for arm in own if arm.arm_id in answered), None)


def _compared(healed: Arm, effects: Mapping[tuple[str, str], Effect]) -> dict[str, dict[str, float | None]]:
    """What sets the healed arm against the others, with 95% intervals."""
    found = {}
    for quantity in COMPARED:
        effect = effects.get((healed.arm_id, quantity))
        if effect is not None:
            found[quantity] = {"value": effect.value, "low": effect.low, "high": effect.high}
    return found


def _adapter(heal: HealEvidence) -> dict[str, Any]:
    """One adapter: how its training went and what was measured of it."""
    own: Adapter = heal.adapter
    first, last = (heal.steps[0], heal.steps[-1]) if heal.steps else (None, None)
    return {
        "adapter_id": own.adapter_id,
        "role": own.role,
        "artifact": own.artifact,
        "texts": own.train_texts,
        "validation_texts": own.validation_texts,
        "tau": own.tau,
        "steps": len(heal.steps),
        "first_nll": first.nll if first else None,
        "last_nll": last.nll if last else None,
        "over": sum(step.over for step in heal.steps) / len(heal.steps) if heal.steps else None,
        "update_norm": last.update_norm if last else None,
        "epochs": [
            {"epoch": e.epoch, "validation_nll": e.validation_nll, "divergence": e.validation_divergence}
            for e in heal.epochs
        ],
        "curve": [
            {"step": s.step, "nll": s.nll, "d_mean": s.d_mean, "d_rmse": s.d_rmse, "d_p95": s.d_p95, "d_max": s.d_max}
            for s in heal.steps
        ],
        "figures": heal.figures,
    }


def _text(text: Completion, arms: Sequence[Arm]) -> dict[str, Any]:
    return {
        "arm_id": text.arm_id,
        "kind": next((arm.kind for arm in arms if arm.arm_id == text.arm_id), ""),
        "prompt_id": text.prompt_id,
        "prompt": text.prompt,
        "system_prompt": text.system_prompt,
        "text": text.text,
        "perplexity": text.perplexity,
        "distinct_tail": text.distinct_tail,
    }
