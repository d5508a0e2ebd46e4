"""How the methods of a comparison fare: figures of every point, the strength of each method, and who is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steerkit.evidence import ArmEvidence, PartEvidence
from steerkit.metrics import Draws, measure
from steerkit.records import Comparison, Contender, Effect, Point, PointState, Record, Standing
from steerkit.spec_compare import CompareSpec, Limits
from steerkit.stages.contest import effects_of
from steerkit.stages.points import KEPT, Weighed, choose, plane, weigh
from steerkit.stats import hypervolume, interval, intervals, resample

OF_ARMS = ("target_nats", "d_target", "d_auth", "separation", "coherence")
"""What is stored of every single arm."""
ADVICE: Mapping[Standing, str] = {
    "raced out": "the screen saw no dose that can be on the front; --no-race reads every point in full",
    "uncalibrated": "no dose was reached on every draw of contexts; give other --doses or --dose-scale",
    "failed": "its answers were not finite; give smaller --doses, or --dtype float32",
}


@dataclass(frozen=True)
class Placed:
    """A point before anything is measured of it: where it stands and how it was calibrated, means over seeds.

    `strength`, `reached`: None where the first seed never reached the dose. `whole`: whether all of them reached it;
    seeds of points that were ruled out are not asked. `ruled_out`: by the screen.
    """

    point_id: str
    method: str
    dose: float | None
    strength: float | None
    reached: float | None
    whole: bool
    ruled_out: bool


@dataclass(frozen=True)
class Parts:
    """The same arms over all vignettes, over the half that strengths are chosen on, and over the other."""

    all: PartEvidence
    choice: PartEvidence
    test: PartEvidence


def ranked(
    parts: Parts,
    placed: Sequence[Placed],
    spec: CompareSpec,
    limits: Limits,
    origins: Mapping[str, str],
    readings: tuple[int, int],
    run: str,
    unit: str,
) -> list[Record]:
    """Every point with its figures, every method's strength and standing, and what all of them dominate.

    `origins`: method to the package that brought it, for those that did not fail before anything was read. `readings`:
    vignettes read, and what it would have been without racing.
    """
    whole = weigh(parts.all, spec.seed, limits.resamples)
    choice = weigh(parts.choice, spec.seed, limits.resamples)
    test = weigh(parts.test, spec.seed, limits.resamples)
    read = {point.point.point_id: point for point in whole}
    points = [_point(one, read.get(one.point_id), spec, run, unit) for one in placed]
    own: dict[str, Any] = {"run_id": run, "unit_id": unit}
    contenders = [_contender(method, origin, points, choice, whole, limits, own) for method, origin in origins.items()]
    missing = [lost(one.method, one.distribution, "missing", one.fault, run, unit) for one in spec.absent]
    value, low, high = _area(whole, limits)
    return [
        *points,
        *effects_of(whole, "all", KEPT, limits.resolution, run, unit),
        *effects_of(choice, "choice", KEPT, limits.resolution, run, unit),
        *effects_of(test, "test", KEPT, limits.resolution, run, unit),
        *contenders,
        *missing,
        Comparison(
            **own,
            hypervolume=value,
            hypervolume_low=low,
            hypervolume_high=high,
            readings=readings[0],
            readings_unraced=readings[1],
        ),
        *arm_effects(parts.all, spec.seed, limits.resamples, run, unit),
    ]


def _point(placed: Placed, read: Weighed | None, spec: CompareSpec, run: str, unit: str) -> Point:
    state: PointState = "screened" if placed.ruled_out else "uncalibrated"
    if read is not None:
        state = "failed" if read.value("separation") is None else "full"
    return Point(
        run_id=run,
        unit_id=unit,
        point_id=placed.point_id,
        method=placed.method,
        dose=placed.dose,
        scale=spec.contest.scale,
        strength=placed.strength,
        reached=placed.reached,
        seeds=0 if read is None else len(read.point.readings),
        state=state,
    )


def _contender(
    method: str,
    origin: str,
    points: Sequence[Point],
    choice: Sequence[Weighed],
    whole: Sequence[Weighed],
    limits: Limits,
    own: dict[str, Any],
) -> Contender:
    """One method's standing, the dose that is chosen on the choosing half alone, and the area it dominates."""
    states = {point.state for point in points if point.method == method}
    order: tuple[tuple[PointState, Standing], ...] = (
        ("full", "compared"),
        ("screened", "raced out"),
        ("failed", "failed"),
    )
    standing: Standing = next((name for state, name in order if state in states), "uncalibrated")
    chosen = choose([point for point in choice if point.point.method == method], limits.coherence)
    value, low, high = _area([point for point in whole if point.point.method == method], limits)
    return Contender(
        **own,
        method=method,
        distribution=origin,
        standing=standing,
        detail=ADVICE.get(standing, ""),
        dose=None if chosen is None else chosen.point.dose,
        hypervolume=value,
        hypervolume_low=low,
        hypervolume_high=high,
    )


def lost(method: str, distribution: str, standing: Standing, detail: str, run: str, unit: str) -> Contender:
    """A method of which there is nothing to compare, and why."""
    return Contender(
        run_id=run,
        unit_id=unit,
        method=method,
        distribution=distribution,
        standing=standing,
        detail=detail,
        dose=None,
        hypervolume=None,
        hypervolume_low=None,
        hypervolume_high=None,
    )


def _area(points: Sequence[Weighed], limits: Limits) -> tuple[float | None, float | None, float | None]:
    """The area that some points dominate, with its interval (nats times fraction)."""
    if not points:
        return None, None, None
    cost, gain = plane(points, limits.resolution)
    found = interval(hypervolume(cost, gain, 1 - limits.broken))
    return (None, None, None) if found is None else (found.value, found.low, found.high)


def arm_effects(part: PartEvidence, seed: int, resamples: int, run: str, unit: str) -> list[Effect]:
    """The main quantities of every single arm with their intervals over vignettes."""
    draw, found = resample(part.labels, seed, resamples), []
    for arm in (*_arms(part), *part.nulls):
        measured = measure(arm, part.base, part.labels, part.target, part.sign, draw)
        drawn: dict[str, Draws] = {name: measured.draws[name] for name in OF_ARMS}
        for quantity, span in intervals(drawn).items():
            low, high = (None, None) if span is None else (span.low, span.high)
            value = measured.value(quantity)
            found.append(
                Effect(
                    run_id=run,
                    unit_id=unit,
                    arm_id=arm.arm_id,
                    quantity=quantity,
                    value=value,
                    low=low,
                    high=high,
                    p_null=None,
                )
            )
    return found


def _arms(part: PartEvidence) -> list[ArmEvidence]:
    pairs = [(reading.plus, reading.minus) for point in part.points for reading in point.readings]
    return [arm for pair in pairs for arm in pair if arm is not None]
