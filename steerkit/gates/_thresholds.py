"""What must hold of a gate's thresholds, and the words for it when it does not."""

import math
from collections.abc import Collection, Mapping

import msgspec

from steerkit.errors import UsageError
from steerkit.spec import Setting


def require_in_range(config: Setting, fractions: Collection[str], at_least: Mapping[str, int]) -> None:
    """Every threshold is finite and in its range; one that is named in neither argument must be above 0.
    Settings of several values are checked elsewhere.

    Raises UsageError for a threshold out of range.
    """
    for name, value in msgspec.structs.asdict(config).items():
        if isinstance(value, tuple):
            continue
        rule, holds = _rule(name, float(value), fractions, at_least)
        if not (math.isfinite(value) and holds):
            raise UsageError(f"{name} must be {rule}, but got {value}")


def _rule(name: str, value: float, fractions: Collection[str], at_least: Mapping[str, int]) -> tuple[str, bool]:
    """What must hold of a threshold, in words, and whether it does."""
    if name in fractions:
        return "a fraction from 0 to 1", 0 <= value <= 1
    if name in at_least:
        return f"at least {at_least[name]}", value >= at_least[name]
    return "above 0", value > 0
