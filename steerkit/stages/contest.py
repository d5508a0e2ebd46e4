"""A comparison's arms as points, and which of them the screen rules out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from steerkit.evidence import ArmEvidence, PartEvidence, PointEvidence, ReadingEvidence
from steerkit.personas import Persona
from steerkit.records import Answer, Arm, Part, PointEffect, Prior, Record
from steerkit.spec import digest
from steerkit.spec_compare import Limits
from steerkit.stages.assemble import arm_evidence, only
from steerkit.stages.points import Weighed, may_be_on_front, on_front, weigh
from steerkit.stages.score import set_mean_prior
from steerkit.stats import intervals

PROMPT = "prompt"
MAY_BE_ON_FRONT = "may_be_on_front"
SCREENED = ("separation", "d_target", "d_auth", "coherence", "d_coherence", "coh_cost")
"""What is stored of a point that only the screen has read."""


@dataclass(frozen=True)
class Source:
    """Which method a direction is of, and which seed."""

    method: str
    seed: int


def point_id(run: str, method: str, dose: float | None) -> str:
    """The name of a point of a run."""
    return digest(run, method, dose)


def joined(arm: Arm, parts: Iterable[Answer], vignettes: Sequence[str]) -> list[Answer]:
    """An arm's answers put together from those of arms over parts of its vignettes, in the order of the whole set."""
    had = {(answer.ordering, answer.vignette): answer for answer in parts}
    rows = [(order, vignette) for order in sorted({order for order, _ in had}) for vignette in vignettes]
    return [structs.replace(had[row], arm_id=arm.arm_id, unit_id=arm.unit_id) for row in rows]


def readings(records: Sequence[Record], full: str, screen: str, whole: int, *, reused: bool) -> tuple[int, int]:
    """Vignettes read, and what it would have been had all points been read in full, which takes `whole`.

    `full`, `screen`: the eval hashes of all vignettes and of the screen's; `reused`: whether what the screen read
    became part of a point's full arms instead of being read again.
    """
    counts: dict[str, int] = {}
    for answer in only(Answer, records):
        counts[answer.arm_id] = counts.get(answer.arm_id, 0) + (answer.ordering == 0)
    arms = only(Arm, records)
    contest = [arm for arm in arms if arm.kind == "steered" and arm.eval_hash == full]
    cheap = [arm for arm in arms if arm.eval_hash == screen]
    shared = {(arm.direction_id, arm.dose) for arm in contest} if reused else set()
    twice = [arm for arm in cheap if arm.kind == "steered" and (arm.direction_id, arm.dose) in shared]

    def read(some: Iterable[Arm]) -> int:
        return sum(counts[arm.arm_id] for arm in some)

    return read(arms) - read(twice), read(arms) - read(cheap) - read(contest) + whole


def part_evidence(
    records: Sequence[Record],
    persona: Persona,
    places: Mapping[str, Source],
    eval_hash: str,
    keep: Callable[[str], bool],
    corrected: bool,
) -> PartEvidence:
    """The arms of one evaluation over the vignettes that `keep` says yes to.

    `places`: of the real directions. `corrected`: whether the base's label bias over these vignettes is taken off.
    """
    answers: dict[str, list[Answer]] = {}
    for answer in only(Answer, records):
        if keep(answer.vignette):
            answers.setdefault(answer.arm_id, []).append(answer)
    arms = [arm for arm in only(Arm, records) if arm.eval_hash == eval_hash]
    base = next(arm for arm in arms if arm.kind == "base")
    prior: Sequence[Prior] = set_mean_prior(base, answers[base.arm_id]) if corrected else ()
    read = {arm.arm_id: arm_evidence(arm, answers[arm.arm_id], prior, ()) for arm in arms}
    return PartEvidence(
        target=persona.target,
        sign=persona.sign,
        along=tuple(persona.along),
        labels=tuple(a.foundation for a in answers[base.arm_id] if a.ordering == 0),
        base=read[base.arm_id],
        points=tuple(_points(arms, read, places, persona)),
        nulls=tuple(read[arm.arm_id] for arm in arms if arm.kind in ("random", "shuffled")),
    )


def _points(
    arms: Sequence[Arm], read: Mapping[str, ArmEvidence], places: Mapping[str, Source], persona: Persona
) -> Iterable[PointEvidence]:
    """Steered arms by method and dose, in the order they were read, and the prompt of either pole.

    Directions without a place are of methods that failed.
    """
    signed = {
        (places[arm.direction_id], arm.dose): read[arm.arm_id]
        for arm in arms
        if arm.kind == "steered" and arm.direction_id is not None and arm.direction_id in places
    }
    groups: dict[tuple[str, float], list[ReadingEvidence]] = {}
    for (place, dose), plus in signed.items():
        if dose > 0:
            reading = ReadingEvidence(plus, signed.get((place, -dose)))
            groups.setdefault((place.method, dose), []).append(reading)
    run = arms[0].run_id
    for (method, dose), readings in groups.items():
        yield PointEvidence(point_id(run, method, dose), method, dose, tuple(readings))
    poles = {arm.system_prompt: read[arm.arm_id] for arm in arms if arm.kind == "prompt"}
    positive = poles.get(persona.system_prompt("positive"))
    if positive is not None:
        pair = ReadingEvidence(positive, poles.get(persona.system_prompt("negative")))
        yield PointEvidence(point_id(run, PROMPT, None), PROMPT, None, (pair,))


def screened(part: PartEvidence, seed: int, limits: Limits, run: str, unit: str) -> list[PointEffect]:
    """What the screen saw of every point, and how likely it is that it may be on the front when all is read."""
    points = weigh(part, seed, limits.resamples)
    chances = may_be_on_front(points, limits.resolution, limits.slack)
    own: dict[str, Any] = {"run_id": run, "unit_id": unit, "part": "screen", "quantity": MAY_BE_ON_FRONT}
    allowed = [
        PointEffect(**own, point_id=name, value=chance, low=None, high=None, p_null=None)
        for name, chance in chances.items()
    ]
    return allowed + effects_of(points, "screen", SCREENED, limits.resolution, run, unit)


def survivors(effects: Iterable[PointEffect], chance: float) -> set[str]:
    """Points that the screen cannot rule out."""
    seen = [effect for effect in effects if effect.part == "screen" and effect.quantity == MAY_BE_ON_FRONT]
    return {effect.point_id for effect in seen if effect.value is not None and effect.value >= chance}


def effects_of(
    points: Sequence[Weighed], part: Part, quantities: Sequence[str], resolution: float, run: str, unit: str
) -> list[PointEffect]:
    """Quantities of points with their intervals, and each point's probability to be on their front."""
    chances, found = on_front(points, resolution), []
    for point in points:
        name = point.point.point_id
        own: dict[str, Any] = {"run_id": run, "unit_id": unit, "point_id": name, "part": part}
        drawn = {quantity: point.draws[quantity] for quantity in quantities if quantity in point.draws}
        for quantity, span in intervals(drawn).items():
            ends = (None, None) if span is None else (span.low, span.high)
            p_null = point.p_null if quantity == "separation" else None
            value = point.value(quantity)
            found.append(PointEffect(**own, quantity=quantity, value=value, low=ends[0], high=ends[1], p_null=p_null))
        chance = chances[name] if point.value("separation") is not None else None
        found.append(PointEffect(**own, quantity="front_probability", value=chance, low=None, high=None, p_null=None))
    return found
