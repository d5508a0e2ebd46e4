"""Gate 3's evidence measured once: every arm against the base, and the students against what they learned from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from steerkit.errors import RunError
from steerkit.evidence import ArmEvidence, Gate3Evidence, HealEvidence
from steerkit.gates._arms import at_least, number
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_front import Offer, offered
from steerkit.gates._result import Result
from steerkit.metrics import ArmMetrics, Draws, measure
from steerkit.records import FOUNDATIONS
from steerkit.spec_heal import HealSpec
from steerkit.stats import Interval, Resamples, interval, resample

PERSONA = "control-persona"
"""The one control whose texts carry the trait: it says whether a prompt would do, not whether the shift is specific."""


@dataclass(frozen=True)
class Measured:
    """Every arm's quantities with the bootstrap draws they share.

    `raw`: raw steering by rising dose. `since`: in later rounds, each arm measured against the student the round
    started from, by arm id; empty in the first round, where that is the base.
    """

    evidence: Gate3Evidence
    draw: Resamples
    base: ArmMetrics
    previous: ArmMetrics | None
    raw: tuple[ArmMetrics, ...]
    steered: ArmMetrics | None
    healed: ArmMetrics | None
    plain: ArmMetrics | None
    controls: tuple[ArmMetrics, ...]
    prompt: ArmMetrics | None
    weights: ArmMetrics | None
    swept: tuple[ArmMetrics, ...]
    since: dict[str, ArmMetrics]

    @property
    def arms(self) -> tuple[ArmMetrics, ...]:
        """All arms, each once, base first."""
        single = (self.previous, *self.raw, self.steered, self.healed, self.plain, *self.controls)
        found = [self.base, *(arm for arm in (*single, self.prompt, self.weights, *self.swept) if arm is not None)]
        return tuple({arm.arm.arm_id: arm for arm in found}.values())

    @property
    def start(self) -> ArmMetrics:
        """What the round started from."""
        return self.base if self.previous is None else self.previous

    @property
    def students(self) -> tuple[ArmMetrics, ...]:
        """The arms that could take the healed student's place, that one first."""
        return tuple(arm for arm in (self.healed, self.plain, self.weights, *self.swept) if arm is not None)

    @property
    def nulls(self) -> tuple[ArmMetrics, ...]:
        """The control adapters whose texts do not carry the trait."""
        return tuple(arm for arm in self.controls if arm.arm.kind != PERSONA)

    def moved(self, arm: ArmMetrics) -> Draws:
        """How far the target went in the intended direction since the round's start, per resample (nats)."""
        return self.since.get(arm.arm.arm_id, arm).draws["separation"]


Check = Callable[[Measured, Config], Result]


def measured(evidence: Gate3Evidence, resamples: int = 2000) -> Measured:
    """Measure every arm against the base, and in later rounds against the round's start, over one set of resamples.

    Raises RunError for an arm that does not have one row per vignette.
    """
    _check_shapes(evidence)
    draw = resample(evidence.labels, evidence.seed, resamples)

    def against(other: ArmEvidence, arm: ArmEvidence) -> ArmMetrics:
        return measure(arm, other, evidence.labels, evidence.target, evidence.sign, draw)

    found = {arm.arm_id: against(evidence.base, arm) for arm in _arms(evidence)}
    start = evidence.previous

    def one(arm: ArmEvidence | None) -> ArmMetrics | None:
        return None if arm is None else found[arm.arm_id]

    return Measured(
        evidence=evidence,
        draw=draw,
        base=found[evidence.base.arm_id],
        previous=one(evidence.previous),
        raw=tuple(found[arm.arm_id] for arm in sorted(evidence.raw, key=lambda arm: arm.dose)),
        steered=one(evidence.steered),
        healed=one(evidence.healed),
        plain=one(evidence.plain),
        controls=tuple(found[arm.arm_id] for arm in evidence.controls),
        prompt=one(evidence.prompt),
        weights=one(evidence.weights),
        swept=tuple(found[arm.arm_id] for arm in evidence.swept),
        since={} if start is None else {arm.arm_id: against(start, arm) for arm in _arms(evidence)},
    )


def _arms(evidence: Gate3Evidence) -> Iterator[ArmEvidence]:
    single = (evidence.previous, evidence.steered, evidence.healed, evidence.plain, evidence.prompt, evidence.weights)
    several = (*evidence.raw, *evidence.controls, *evidence.swept)
    yield from (evidence.base, *several, *(arm for arm in single if arm is not None))


def _check_shapes(evidence: Gate3Evidence) -> None:
    expected = (len(evidence.labels), len(FOUNDATIONS))
    for arm in _arms(evidence):
        if arm.choice.shape != expected:
            raise RunError(f"arm {arm.arm_id} must have answers of shape {expected}, but got {arm.choice.shape}")


def lost(arm: ArmMetrics) -> Draws:
    """The coherence the arm lost beside the base, per resample (fraction)."""
    return np.asarray(1 - arm.draws["coherence"])


def raw_offer(study: Measured, arm: ArmMetrics, config: Config) -> Offer | None:
    """The best coherence raw steering has at the arm's separation; None without a raw arm.

    A broken raw arm is no point of the front: its separation says nothing, and a line to it would flatter the student.
    """
    steered = [study.steered] if study.steered is not None else []
    arms = {raw.arm.arm_id: raw for raw in (*study.raw, *steered) if at_least(raw, config.broken)}
    if not (study.raw or steered):
        return None
    path = [study.start, *sorted(arms.values(), key=lambda raw: raw.arm.dose)]
    points = [(raw.draws["separation"], raw.draws["coherence"]) for raw in path]
    base = (study.base.draws["separation"], study.base.draws["coherence"])
    return offered(points, [base], arm.draws["separation"])


def front_gain(study: Measured, arm: ArmMetrics, config: Config) -> Draws | None:
    """The arm's coherence less what raw steering has at the same separation, per resample (fraction)."""
    offer = raw_offer(study, arm, config)
    return None if offer is None else np.asarray(arm.draws["coherence"] - offer.coherence)


def largest_control(study: Measured) -> Draws | None:
    """The largest shift by any control adapter without the trait, either way, per resample (nats).

    The maximum of noisy controls is biased upwards, which makes the comparison stricter, not looser.
    """
    return np.max([np.abs(study.moved(arm)) for arm in study.nulls], axis=0) if study.nulls else None


def excess(study: Measured, arm: ArmMetrics) -> Draws | None:
    """The arm's shift less the largest of any control, per resample (nats)."""
    largest = largest_control(study)
    return None if largest is None else np.asarray(study.moved(arm) - largest)


def comparisons(study: Measured, arm: ArmMetrics, config: Config) -> dict[str, Draws]:
    """What a student is beside what it learned from, beside raw steering and beside the controls, per resample."""
    found: dict[str, Draws | None] = {"front_gain": front_gain(study, arm, config), "excess": excess(study, arm)}
    offer = raw_offer(study, arm, config)
    found["front_coherence"] = None if offer is None else offer.coherence
    found["largest_control"] = largest_control(study)
    persona = next((control for control in study.controls if control.arm.kind == PERSONA), None)
    found["excess_persona"] = None if persona is None else study.moved(arm) - study.moved(persona)
    if study.steered is not None:
        found |= _beside_steered(study, arm, study.steered, config)
    return {name: draws for name, draws in found.items() if draws is not None}


def _beside_steered(study: Measured, arm: ArmMetrics, steered: ArmMetrics, config: Config) -> dict[str, Draws]:
    """What is kept and what came back of the steering's shift and loss, with both ratios' denominators."""
    kept, gone = {"retain": arm.draws["separation"]}, lost(steered)
    taught = {"retain": steered.draws["separation"]}
    if study.previous is not None:
        kept["retain_previous"], taught["retain_previous"] = study.moved(arm), study.moved(steered)
    whole = np.minimum(arm.draws["coherence"], steered.draws["coherence"]) >= config.broken
    with np.errstate(divide="ignore", invalid="ignore"):
        out = {
            name: np.where(whole & (np.abs(taught[name]) >= config.separation), kept[name] / taught[name], np.nan)
            for name in kept
        }
        out["recover"] = np.where(gone >= config.slot, 1 - lost(arm) / gone, np.nan)
    return out | {"steered_separation": taught["retain"], "steered_coherence": steered.draws["coherence"]}


def since_previous(study: Measured, arm: ArmMetrics) -> dict[str, Draws]:
    """Shift and coherence against the student the round started from; nothing in the first round."""
    beside = study.since.get(arm.arm.arm_id)
    names = {"d_target_previous": "d_target", "separation_previous": "separation", "coherence_previous": "coherence"}
    return {} if beside is None else {name: beside.draws[own] for name, own in names.items()}


def shift(study: Measured, arm: ArmMetrics | None) -> Interval | None:
    """The arm's shift since the round's start, with its interval (nats)."""
    return None if arm is None else interval(study.moved(arm))


def moved_by(study: Measured, arm: ArmMetrics | None) -> float:
    """The arm's shift since the round's start (nats); NaN where undefined, so that every comparison is false."""
    return float("nan") if arm is None else float(study.moved(arm)[0])


def coherence_of(arm: ArmMetrics | None) -> float:
    """The arm's coherence (fraction); NaN where undefined."""
    return float("nan") if arm is None else number(arm, "coherence")


def heal_of(study: Measured, role: str = "healed") -> HealEvidence | None:
    """The training of that role's adapter."""
    return study.evidence.heals.get(role)


def figure(study: Measured, quantity: str, role: str = "healed") -> float | None:
    """What was measured of an adapter; None where it was not, or is no finite number."""
    heal = heal_of(study, role)
    value = None if heal is None else heal.figures.get(quantity)
    return value if value is not None and np.isfinite(value) else None


def asked(heal: HealEvidence) -> HealSpec:
    """How the adapter was trained."""
    return msgspec.json.decode(heal.adapter.config, type=HealSpec)
