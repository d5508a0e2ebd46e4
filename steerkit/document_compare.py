"""A finished comparison as one document: every method with its dose-response, its chosen strength, and its standing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from steerkit.document import origin
from steerkit.records import Capture, Comparison, Contender, Part, Point, PointEffect, Record, Run
from steerkit.spec_compare import CompareSpec
from steerkit.stages.assemble import only

READ = (
    "d_auth",
    "d_target",
    "separation",
    "coherence",
    "coh_cost",
    "gated_selectivity",
    "si_flips",
    "surgical_excess",
    "d_care",
    "d_fairness",
)
"""Quantities of every point, with their 95% intervals."""
PARTS: tuple[Part, ...] = ("screen", "all", "choice", "test")
STANDINGS = ("compared", "raced out", "uncalibrated", "failed", "missing")
Effects = Mapping[tuple[str, Part, str], PointEffect]


def document_compare(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything a comparison says, from its records alone.

    `methods` are sorted: those read in full first, by the separation of the chosen strength on the test half.
    """
    run = only(Run, records)[0]
    spec = msgspec.json.decode(run.spec, type=CompareSpec)
    effects = {(one.point_id, one.part, one.quantity): one for one in only(PointEffect, records)}
    points: dict[str, list[Point]] = {}
    for point in only(Point, records):
        points.setdefault(point.method, []).append(point)
    methods = [_method(one, points.get(one.method, []), effects) for one in only(Contender, records)]
    whole = only(Comparison, records)[0]
    return {
        **origin(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "scale": spec.contest.scale,
        "doses": list(spec.contest.doses),
        "seeds": spec.contest.seeds,
        "race": spec.contest.race,
        "vignettes": spec.vignettes,
        "lowest_coherence": float(msgspec.json.decode(run.thresholds)["coherence"]),
        "broken": float(msgspec.json.decode(run.thresholds)["broken"]),
        "nulls": spec.contest.seeds * (spec.dose.random_directions + spec.dose.shuffled_directions),
        "hypervolume": _span(whole.hypervolume, whole.hypervolume_low, whole.hypervolume_high),
        "readings": whole.readings,
        "readings_unraced": whole.readings_unraced,
        "captures_reused": sum(capture.reused for capture in only(Capture, records)),
        "methods": sorted(methods, key=_best_first),
    }


def _best_first(method: Mapping[str, Any]) -> tuple[int, float, str]:
    chosen = method["chosen"]
    gain = None if chosen is None else chosen["test"]["separation"]["value"]
    return STANDINGS.index(method["standing"]), math.inf if gain is None else -gain, method["method"]


def _method(contender: Contender, points: Sequence[Point], effects: Effects) -> dict[str, Any]:
    """One method: how it fared, each of its doses, and the one that was chosen without looking at the test half."""
    rows = [_row(point, effects) for point in points]
    chosen = next((row for row in rows if row["dose"] == contender.dose and row["state"] == "full"), None)
    if contender.dose is None and contender.method != "prompt":
        chosen = None
    return {
        "method": contender.method,
        "distribution": contender.distribution,
        "standing": contender.standing,
        "detail": contender.detail,
        "hypervolume": _span(contender.hypervolume, contender.hypervolume_low, contender.hypervolume_high),
        "chosen": chosen,
        "points": rows,
    }


def _row(point: Point, effects: Effects) -> dict[str, Any]:
    """One point over each part of the vignettes that it was read on."""

    def figures(part: Part) -> dict[str, Any] | None:
        if (point.point_id, part, "separation") not in effects:
            return None
        found = {name: _figure(effects.get((point.point_id, part, name))) for name in READ}
        shift = effects[point.point_id, part, "separation"]
        chance = effects[point.point_id, part, "front_probability"].value
        excess = found["surgical_excess"]["value"]
        return {
            **found,
            "p_null": shift.p_null,
            "front_probability": chance,
            "surgical": None if excess is None else excess > 0,
        }

    return {
        "point_id": point.point_id,
        "dose": point.dose,
        "strength": point.strength,
        "reached": point.reached,
        "seeds": point.seeds,
        "state": point.state,
        **{part: figures(part) for part in PARTS},
    }


def _figure(effect: PointEffect | None) -> dict[str, float | None]:
    return _span(None, None, None) if effect is None else _span(effect.value, effect.low, effect.high)


def _span(value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}
