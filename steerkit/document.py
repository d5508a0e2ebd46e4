"""A finished run as one document: what `--json` prints, what the table shows and what the picture draws."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from steerkit.records import (
    FOUNDATIONS,
    Arm,
    Calibration,
    Completion,
    Direction,
    DirectionLayer,
    Effect,
    Picture,
    Record,
    Run,
    Unit,
    Verdict,
)
from steerkit.spec import RunSpec
from steerkit.stages.assemble import only

SHIFTS = {name: f"d_{'social_norms' if name == 'SocialNorms' else name.lower()}" for name in FOUNDATIONS}
KIND_ORDER = ("base", "steered", "prompt", "random", "shuffled")


def document(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything gate 1 says about one run, from its records alone."""
    spec = msgspec.json.decode(only(Run, records)[0].spec, type=RunSpec)
    effects = {(effect.arm_id, effect.quantity): effect for effect in only(Effect, records)}
    operating = next((e for e in only(Effect, records) if e.quantity == "operating"), None)
    calibration = next(iter(only(Calibration, records)), None)
    return {
        **outline(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "blocks": _blocks(records),
        "operating_dose": operating.value if operating else None,
        "p_null": operating.p_null if operating else _best_p(effects.values()),
        "calibration": _calibration(calibration),
        "arms": [arm_row(arm, effects) for arm in in_order(only(Arm, records))],
        "texts": [_text(text) for text in only(Completion, records)],
    }


def _blocks(records: Sequence[Record]) -> list[int]:
    """The steered blocks."""
    real = {direction.direction_id for direction in only(Direction, records) if direction.kind == "real"}
    return sorted({layer.block for layer in only(DirectionLayer, records) if layer.direction_id in real})


def outline(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """What every gate's document says: the verdict with its checks, and where it came from."""
    verdicts = only(Verdict, records)
    gate = next(verdict for verdict in verdicts if verdict.kind == "gate")
    return {
        "verdict": gate.status,
        "summary": gate.detail,
        "next_step": gate.next_step,
        "criteria": [_said(v) for v in verdicts if v.kind == "criterion"],
        "hypotheses": [_said(v) for v in verdicts if v.kind == "hypothesis"],
        **origin(records, store, pictures),
    }


def origin(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Where a run's figures come from."""
    run = only(Run, records)[0]
    return {
        "gate": run.gate,
        "method": run.method,
        "trait": run.trait,
        "run_id": run.run_id,
        "model": run.model,
        "fingerprint": run.fingerprint,
        "dtype": run.dtype,
        "device": run.device,
        "seed": run.seed,
        "thresholds_hash": run.thresholds_hash,
        "registered_at": run.registered_at,
        "store": store,
        "pictures": list(pictures) or [picture.path for picture in only(Picture, records)],
        "seconds": round(sum(unit.seconds for unit in only(Unit, records)), 2),
    }


def in_order(arms: Sequence[Arm]) -> list[Arm]:
    """Base, then doses from most negative to most positive, the prompt and the nulls."""
    return sorted(arms, key=lambda arm: (KIND_ORDER.index(arm.kind), arm.dose, arm.arm_id))


def _said(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "status": verdict.status,
        "value": verdict.value,
        "threshold": verdict.threshold,
        "detail": verdict.detail,
        "next_step": verdict.next_step,
    }


def arm_row(arm: Arm, effects: Mapping[tuple[str, str], Effect]) -> dict[str, Any]:
    """One arm with its headline quantities; an undefined one is null."""

    def value(quantity: str, bound: str = "value") -> float | None:
        effect = effects.get((arm.arm_id, quantity))
        found: float | None = getattr(effect, bound) if effect else None
        return found

    pairs = {
        f"{name}{suffix}": value(name, bound)
        for name in ("d_auth", "d_target", "coherence")
        for suffix, bound in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    separation = effects.get((arm.arm_id, "separation"))
    return {
        "arm_id": arm.arm_id,
        "kind": arm.kind,
        "method": arm.method,
        "direction_id": arm.direction_id,
        "strength": arm.strength,
        "dose": arm.dose,
        "auth_nats": value("auth_nats"),
        "auth_marginal": value("auth_marginal"),
        "target_nats": value("target_nats"),
        **pairs,
        "d_coherence": value("d_coherence"),
        "coh_cost": value("coh_cost"),
        "not_wrong": value("not_wrong"),
        "resolution": value("resolution"),
        "flip_nats": value("flip_nats"),
        "p_null": separation.p_null if separation else None,
        "front_probability": value("front_probability"),
        "shifts": {name: value(quantity) for name, quantity in SHIFTS.items()},
    }


def _best_p(effects: Iterable[Effect]) -> float | None:
    """Without an operating point: the p of the largest separation that was compared with nulls."""
    compared = [e for e in effects if e.quantity == "separation" and e.p_null is not None and e.value is not None]
    return max(compared, key=lambda effect: effect.value or 0.0).p_null if compared else None


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {"status": calibration.status, "strength": calibration.strength, "target_nats": calibration.target}


def _text(text: Completion) -> dict[str, Any]:
    return {
        "arm_id": text.arm_id,
        "dose": text.dose,
        "prompt_id": text.prompt_id,
        "text": text.text,
        "perplexity": text.perplexity,
        "tail_perplexity": text.tail_perplexity,
        "distinct_tail": text.distinct_tail,
        "compression": text.compression,
        "ended": text.ended,
    }
