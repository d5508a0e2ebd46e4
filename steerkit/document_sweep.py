"""A finished sweep as one document: every point of its grid, the best first."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from steerkit.document import origin
from steerkit.records import Adapter, Arm, Effect, HealStep, Record, Run
from steerkit.spec_heal import HealSpec, SweepSpec
from steerkit.stages.assemble import only

READ = ("d_target", "coherence", "front_gain", "retain")
"""Quantities of every point, with their 95% intervals."""
SETTINGS = ("divergence", "aggregate", "reference", "lam", "tau", "weight_decay", "spectral")
SILENT = "barrier never fires: identical to plain"
WEIGHTLESS = "lam is 0: identical to plain"


def document_sweep(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything a sweep says, from its records alone.

    `points` are sorted by `front_gain`, those of which `coherent` is false after all others.
    """
    run = only(Run, records)[0]
    spec = msgspec.json.decode(run.spec, type=SweepSpec)
    lowest = float(msgspec.json.decode(run.thresholds)["coherence"])
    adapters = {adapter.adapter_id: adapter for adapter in only(Adapter, records)}
    effects = {(effect.arm_id, effect.quantity): effect for effect in only(Effect, records)}
    steps: dict[str, list[HealStep]] = {}
    for step in only(HealStep, records):
        steps.setdefault(step.adapter_id, []).append(step)
    rows = [
        (arm.kind, _row(arm, adapters[arm.adapter_id], steps.get(arm.adapter_id, []), effects, lowest))
        for arm in only(Arm, records)
        if arm.kind in ("plain", "swept") and arm.adapter_id is not None
    ]
    return {
        **origin(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "round": spec.round,
        "parent_run": spec.parent_run,
        "gate3_run": spec.gate3_run or None,
        "lowest_coherence": lowest,
        "plain": next(row for kind, row in rows if kind == "plain"),
        "points": sorted((row for kind, row in rows if kind == "swept"), key=_best_first),
    }


def _best_first(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    gain = row["front_gain"]["value"]
    return not row["coherent"], math.inf if gain is None else -gain, row["adapter_id"]


def _row(
    arm: Arm,
    adapter: Adapter,
    steps: Sequence[HealStep],
    effects: Mapping[tuple[str, str], Effect],
    lowest: float,
) -> dict[str, Any]:
    """One adapter: its settings, how its training went, and what its student is."""
    heal = msgspec.json.decode(adapter.config, type=HealSpec)
    found = {name: _figure(effects.get((arm.arm_id, name))) for name in READ}
    coherence = found["coherence"]["value"]
    over = sum(step.over for step in steps) / len(steps) if steps and adapter.tau is not None else None
    return {
        "adapter_id": adapter.adapter_id,
        "arm_id": arm.arm_id,
        **{name: getattr(heal, name) for name in SETTINGS},
        "tau_nats": adapter.tau,
        **found,
        "coherent": coherence is not None and coherence >= lowest,
        "steps": len(steps),
        "last_nll": steps[-1].nll if steps else None,
        "over": over,
        "alarm": _alarm(heal, adapter, len(steps), over),
    }


def _figure(effect: Effect | None) -> dict[str, float | None]:
    if effect is None:
        return {"value": None, "low": None, "high": None}
    return {"value": effect.value, "low": effect.low, "high": effect.high}


def _alarm(heal: HealSpec, adapter: Adapter, steps: int, over: float | None) -> str | None:
    """What is wrong with a training, in a few words; None where nothing is."""
    whole = heal.epochs * math.ceil(adapter.train_texts / heal.batch)
    if steps < whole:
        return f"training broke after step {steps} of {whole}: not finite"
    if adapter.tau is None:
        return None
    return SILENT if over == 0 else WEIGHTLESS if heal.lam == 0 else None
