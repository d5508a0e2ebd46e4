"""What a comparison of methods, or a scan over bands of blocks, was asked to do."""

import math
from typing import Any

from steerkit.errors import UsageError
from steerkit.records import DoseScale
from steerkit.spec import RunSpec, Setting

DOSES: dict[DoseScale, tuple[float, ...]] = {
    "p95-kl": (0.3, 1.0, 2.0),
    "rmse-kl": (0.1, 0.4, 0.8),
    "answer-mass": (0.01, 0.05, 0.1),
}
"""Amounts that are compared unless others are asked for: nats per token, or the fraction of answer mass lost."""


class Limits(Setting, frozen=True, kw_only=True):
    """Thresholds of a comparison, registered before any data of it exist."""

    coherence: float = 0.95
    """Answer mass relative to the base's at and above which a point may be chosen (fraction)."""
    broken: float = 0.85
    """Relative answer mass at which the dominated area ends: beyond it no ratio is read (fraction)."""
    front_chance: float = 0.02
    """A point is raced out when it may be on the front in fewer of the screen's resamples than this (fraction)."""
    slack: float = 0.05
    """By how much another point must beat it in the screen, so that other draws of contexts cannot turn it (nats)."""
    resolution: float = 0.001
    """Costs are compared in steps of this: less is no difference in coherence that can be told (fraction)."""
    resamples: int = 2000
    """Bootstrap resamples, of vignettes and seeds together (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        if not 0 < self.broken <= self.coherence <= 1:
            raise UsageError(
                f"coherence and broken must be fractions with 0 < broken <= coherence <= 1, but got {self.coherence} "
                f"and {self.broken}"
            )
        if not 0 <= self.front_chance < 1 or not self.slack >= 0:
            raise UsageError(
                f"front_chance must be at least 0 and below 1 and slack at least 0, but got {self.front_chance} and "
                f"{self.slack}"
            )
        if not 0 < self.resolution < 0.1:
            raise UsageError(f"resolution must be above 0 and below 0.1, but got {self.resolution}")
        if self.resamples < 100:
            raise UsageError(f"resamples must be at least 100, but got {self.resamples}")


class Contest(Setting, frozen=True, kw_only=True):
    """How doses are matched and points are read."""

    scale: DoseScale = "p95-kl"
    doses: tuple[float, ...] = DOSES["p95-kl"]
    """Amounts on the scale."""
    seeds: int = 3
    """Draws of contexts; every method is fitted on each."""
    race: bool = True
    """Whether points that the screen rules out are spared the full read."""
    mass_vignettes: int = 14
    """Vignettes of the choosing half that answer mass is matched on."""

    def __post_init__(self) -> None:
        """Raise UsageError for a dose or a number of seeds that cannot be."""
        top = 1.0 if self.scale == "answer-mass" else math.inf
        for dose in self.doses:
            if not 0 < dose < top:
                within = "a fraction above 0 and below 1" if top == 1 else "finite nats above 0"
                raise UsageError(f"a dose on the scale {self.scale} must be {within}, but got {dose:g}")
        if not self.doses or len(set(self.doses)) < len(self.doses):
            raise UsageError(f"doses must be different numbers, at least one, but got {self.doses}")
        if self.seeds < 1 or self.mass_vignettes < 7:
            raise UsageError(
                f"seeds must be at least 1 and mass_vignettes at least 7, but got {self.seeds} and "
                f"{self.mass_vignettes}"
            )


class Absent(Setting, frozen=True, kw_only=True):
    """A method that was asked for and cannot be used."""

    method: str
    distribution: str
    fault: str


class CompareSpec(RunSpec, frozen=True, kw_only=True):
    """Everything that decides the numbers of a comparison; `method` sums up `methods`."""

    gate: str = "compare"
    methods: dict[str, dict[str, Any]]
    """Method to its settings, in the order they run."""
    contest: Contest
    absent: tuple[Absent, ...] = ()


class ScanSpec(RunSpec, frozen=True, kw_only=True):
    """Everything that decides the numbers of a scan over bands of blocks."""

    gate: str = "layers"
    contest: Contest
    """One dose, one seed."""
    widths: tuple[int, ...]
    """How many blocks a band has."""
    stride: int | None = None
    """Blocks between the starts of two bands of a width; None: so that a width has about ten."""
