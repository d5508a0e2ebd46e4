"""The form of what a gate says: one result per check, quantities with intervals, and the verdict they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steerkit.records import Outcome
from steerkit.stats import Interval


@dataclass(frozen=True)
class Result:
    """What one check says: the fields of a `Verdict`, and whether noise rather than the data decided it."""

    name: str
    kind: Literal["criterion", "hypothesis", "gate"]
    status: str
    value: float | None
    threshold: float | None
    detail: str
    next_step: str
    by_noise: bool = False
    """A criterion that is not met but whose interval reaches the threshold."""


@dataclass(frozen=True)
class EffectValue:
    """A quantity of one arm or group: the fields of an `Effect`, in the quantity's own unit."""

    arm_id: str
    quantity: str
    value: float | None
    low: float | None
    high: float | None
    p_null: float | None


def criterion(
    name: str,
    met: bool | None,
    value: float | None,
    threshold: float | None,
    detail: str,
    next_step: str,
    by_noise: bool = False,
) -> Result:
    """A thing that must hold; None is not measured."""
    status = "not measured" if met is None else "met" if met else "not met"
    noisy = by_noise and met is False
    return Result(name, "criterion", status, finite(value), finite(threshold), detail, next_step, noisy)


def hypothesis(
    name: str, seen: bool | None, value: float | None, threshold: float | None, detail: str, next_step: str
) -> Result:
    """A known way to fail; None is not measured."""
    status = "not measured" if seen is None else "observed" if seen else "not observed"
    return Result(name, "hypothesis", status, finite(value), finite(threshold), detail, next_step)


def finite(value: float | None) -> float | None:
    """The value; None where it is not a finite number."""
    return value if value is not None and np.isfinite(value) else None


def figures(name: str, found: Interval | None, unit: str = "nats") -> str:
    """A quantity with its interval, for a sentence."""
    if found is None:
        return f"{name} is undefined"
    return f"{name} is {found.value:+.2f} {unit} [{found.low:+.2f}, {found.high:+.2f}]"


def outcome(results: Sequence[Result]) -> Outcome:
    """PASS when all criteria are met; FAIL when one is not met beyond noise; INCONCLUSIVE otherwise."""
    criteria = [result for result in results if result.kind == "criterion"]
    if all(result.status == "met" for result in criteria):
        return "PASS"
    return "FAIL" if any(result.status == "not met" and not result.by_noise for result in criteria) else "INCONCLUSIVE"


def open_criteria(results: Sequence[Result]) -> str:
    """The criteria that stand in the way of a PASS, in words."""
    names = [f"{r.name} ({r.status})" for r in results if r.kind == "criterion" and r.status != "met"]
    return ", ".join(names) or "all criteria are met"


def next_steps(results: Sequence[Result]) -> list[str]:
    """What the observed hypotheses advise, each under its name."""
    return [f"{result.name}: {result.next_step}" for result in results if result.status == "observed"]
