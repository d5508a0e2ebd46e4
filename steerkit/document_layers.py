"""A finished scan as one document: every band of blocks, what each block's direction is like, and the band to use."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from steerkit.document import origin
from steerkit.records import Band, DirectionLayer, Effect, Record, Run
from steerkit.spec_compare import ScanSpec
from steerkit.stages.assemble import only

READ = ("d_auth", "d_target", "separation", "coherence")
"""Quantities of every band, with their 95% intervals over vignettes."""
Effects = Mapping[tuple[str, str], Effect]


def document_layers(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything a scan says, from its records alone.

    `bands`: figures on the half of the vignettes that the band is chosen on, and for the chosen and the default one
    also on the other half. `blocks`: norm and half-split cosine of the direction at each block.
    """
    run = only(Run, records)[0]
    spec = msgspec.json.decode(run.spec, type=ScanSpec)
    effects = {(effect.arm_id, effect.quantity): effect for effect in only(Effect, records)}
    bands = [_band(band, effects) for band in only(Band, records)]
    chosen = next((band for band in bands if band["chosen"]), None)
    tested = [band for band in bands if band["test"] is not None and not band["chosen"]]
    return {
        **origin(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "scale": spec.contest.scale,
        "dose": spec.contest.doses[0],
        "vignettes": spec.vignettes,
        "lowest_coherence": float(msgspec.json.decode(run.thresholds)["coherence"]),
        "bands": bands,
        "chosen": chosen,
        "default": next(iter(tested), chosen),
        "blocks": _blocks(only(DirectionLayer, records)),
        "use": None if chosen is None else f"--blocks {chosen['first_block']}-{chosen['last_block']}",
    }


def _band(band: Band, effects: Effects) -> dict[str, Any]:
    """One band on either half."""
    return {
        "first_block": band.first_block,
        "last_block": band.last_block,
        "width": band.last_block - band.first_block + 1,
        "direction_id": band.direction_id,
        "strength": band.strength,
        "reached": band.reached,
        "chosen": band.chosen,
        "choice": _figures(band.arm_id, effects),
        "test": _figures(band.test_arm_id, effects),
    }


def _figures(arm: str | None, effects: Effects) -> dict[str, dict[str, float | None]] | None:
    if arm is None:
        return None
    found = {name: effects.get((arm, name)) for name in READ}
    return {
        name: {"value": None, "low": None, "high": None}
        if effect is None
        else {"value": effect.value, "low": effect.low, "high": effect.high}
        for name, effect in found.items()
    }


def _blocks(layers: Sequence[DirectionLayer]) -> list[dict[str, Any]]:
    """Each block once: what is fitted there is the same in every band of most methods."""
    first: dict[int, DirectionLayer] = {}
    for layer in layers:
        first.setdefault(layer.block, layer)
    return [
        {
            "block": block,
            "norm": layer.norm,
            "relative_norm": layer.relative_norm,
            "half_split_cosine": layer.half_split_cosine,
        }
        for block, layer in sorted(first.items())
    ]
