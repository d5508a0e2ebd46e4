"""What gate 3's label rests on: conditions that intervals decide, never values alone."""

from dataclasses import dataclass, replace

import numpy as np

from steerkit.gates._arms import at_least, surgical_excess
from steerkit.gates._gate3_config import Config
from steerkit.gates._gate3_measured import Measured, figure, front_gain, largest_control, lost, raw_offer
from steerkit.gates._result import figures
from steerkit.metrics import ArmMetrics, Draws
from steerkit.stats import Interval, interval

Truth = bool | None
"""Surely so, surely not, or None: the interval holds both, or nothing was measured."""


@dataclass(frozen=True)
class Condition:
    """Something that is surely so, surely not so, or undecided; the figure that says it, in words and as an interval.

    `found`: None where nothing was measured; `floor`: what it must surely exceed, in its own unit.
    """

    truth: Truth
    figure: str
    found: Interval | None = None
    floor: float = 0.0

    def no(self) -> "Condition":
        """The opposite."""
        return replace(self, truth=None if self.truth is None else not self.truth)


@dataclass(frozen=True)
class Conditions:
    """What the label rests on; shifts count from the round's start.

    `still`: the student writes as the one it started from does and has not moved the target. `further`: it moved more
    than the steering. `surgical`: the target moved more than anything off target. `recovered`: enough of the coherence
    that steering lost came back. `gains`: more coherent than raw steering at the same separation. `specific`: no
    control reaches the share of the shift.
    """

    still: Condition
    steered_moved: Condition
    moved: Condition
    retained: Condition
    further: Condition
    coherent: Condition
    surgical: Condition
    recovered: Condition
    gains: Condition
    specific: Condition


def above(found: Interval | None, floor: float = 0.0) -> Truth:
    """Whether a quantity exceeds the floor: decided only where its whole interval lies on one side of it."""
    if found is None or not np.isfinite([found.low, found.high]).all():
        return None
    return True if found.low > floor else False if found.high <= floor else None


def every(*parts: Truth) -> Truth:
    """Whether all of them are so."""
    return False if False in parts else None if None in parts else True


def some(*parts: Truth) -> Truth:
    """Whether any of them is so."""
    return True if True in parts else None if None in parts else False


def fine(name: str, found: Interval | None) -> str:
    """A small fraction with its interval, to the answer slot, for a sentence."""
    if found is None:
        return f"{name} is undefined"
    return f"{name} is {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def conditions(study: Measured, healed: ArmMetrics, config: Config) -> Conditions:
    """Every condition of the label, decided by its interval; a broken steered arm decides none."""
    moved, steered = study.moved(healed), study.steered
    taught = None if steered is None or not at_least(steered, config.broken) else study.moved(steered)
    share = f"the student's shift less {config.retain:g} of the steering's"
    part = None if taught is None else moved - config.retain * taught
    more = None if taught is None else moved - taught
    aim = surgical_excess(study.evidence, healed)
    return Conditions(
        still=_still(study, moved, config),
        steered_moved=_shift(taught, config.separation, "the steering's shift"),
        moved=_shift(moved, config.separation, "the student's shift"),
        retained=_shift(part, 0.0, share),
        further=_shift(more, 0.0, "the student's shift less the steering's"),
        coherent=_loss(healed.draws["coherence"], config.mass_floor(), "its coherence"),
        surgical=_shift(aim, 0.0, "the target's shift less the largest off target"),
        recovered=_recovered(study, healed, config),
        gains=_gains(study, healed, config),
        specific=_specific(study, moved, config),
    )


def _shift(draws: Draws | None, floor: float, name: str) -> Condition:
    found = None if draws is None else interval(draws)
    said = f"{name} was not measured" if draws is None else figures(name, found)
    return Condition(above(found, floor), said, found, floor)


def _loss(draws: Draws | None, floor: float, name: str) -> Condition:
    found = None if draws is None else interval(draws)
    said = f"{name} was not measured" if draws is None else fine(name, found)
    return Condition(above(found, floor), said, found, floor)


def _still(study: Measured, moved: Draws, config: Config) -> Condition:
    kl = start_kl(study)
    small = above(interval(config.separation - np.abs(moved)))
    alike = None if kl is None else kl < config.still_kl
    said = "was not measured" if kl is None else f"is {kl:.4f} nats per token"
    return Condition(every(small, alike), f"its KL to where it started {said}")


def start_kl(study: Measured) -> float | None:
    """Mean KL of the healed student to the one it started from (nats per token); None where it was not measured."""
    kl = figure(study, "kl_previous_mean")
    return figure(study, "kl_base_mean") if kl is None and study.previous is None else kl


def not_recovered(healed: ArmMetrics, steered: ArmMetrics, config: Config) -> Draws:
    """The student's loss of coherence less what it may keep of the steering's, per resample (fraction).

    It may always keep one answer slot, so that a steering that cost nothing leaves nothing to give back.
    """
    return np.asarray(lost(healed) - np.maximum((1 - config.recover) * lost(steered), config.slot))


def _recovered(study: Measured, healed: ArmMetrics, config: Config) -> Condition:
    draws = None if study.steered is None else -not_recovered(healed, study.steered, config)
    return _loss(draws, 0.0, "the loss it may keep less its loss of coherence")


def _gains(study: Measured, healed: ArmMetrics, config: Config) -> Condition:
    draws, offer = front_gain(study, healed, config), raw_offer(study, healed, config)
    bound = offer is not None and bool(offer.beyond[0])
    where = "the strongest raw steering's, a lower bound," if bound else "raw steering's at the same separation"
    return _loss(draws, 0.0, f"its coherence over {where}")


def _specific(study: Measured, moved: Draws, config: Config) -> Condition:
    largest = largest_control(study)
    share = f"{config.control_share:g} of the student's shift less the largest control's"
    return _shift(None if largest is None else config.control_share * moved - largest, 0.0, share)
