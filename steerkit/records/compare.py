"""Methods side by side: what each was fitted on, every method at every dose as one point, and the bands of a scan."""

from typing import Literal

from steerkit.records.base import Record

DoseScale = Literal["p95-kl", "rmse-kl", "answer-mass"]
"""What a dose is an amount of: KL per generated token (nats), or answer mass lost (fraction of the base's)."""
Standing = Literal["compared", "raced out", "uncalibrated", "failed", "missing"]
PointState = Literal["full", "screened", "uncalibrated", "failed"]
Part = Literal["screen", "all", "choice", "test"]
"""Vignettes a figure is of: the screen's, all, the half that strengths are chosen on, the half they are reported on."""


class Capture(Record, frozen=True, kw_only=True):
    """Activations under both poles, captured once per model, trait, contexts, site and blocks."""

    capture_id: str
    """Hash of all that decides them: whoever asks for the same finds them here."""
    trait: str
    site: str
    seed: int
    """Which draw of contexts, from 0."""
    contexts: int
    blocks: list[int]
    artifact: str
    """sha256 of the safetensors file that holds them."""
    extraction: str
    """Facts about the capture as canonical JSON."""
    reused: bool
    """Whether an earlier run had captured them."""


class Contender(Record, frozen=True, kw_only=True):
    """How one method fared."""

    method: str
    distribution: str
    """Package that brought it, with its version."""
    standing: Standing
    detail: str
    """Why it was not compared and what to do; empty where it was."""
    dose: float | None
    """The dose chosen on the choosing half; None where none is coherent there, or it was not read in full."""
    hypervolume: float | None
    """Area that its fully read doses dominate (nats times fraction)."""
    hypervolume_low: float | None
    hypervolume_high: float | None


class Point(Record, frozen=True, kw_only=True):
    """One method at one dose, over all seeds."""

    point_id: str
    method: str
    dose: float | None
    """Amount on the scale; None for the persona as a prompt."""
    scale: DoseScale
    strength: float | None
    """Mean over seeds, in natural steps."""
    reached: float | None
    """What was measured at those strengths, mean over seeds, on the scale."""
    seeds: int
    """How many draws of contexts were read in full."""
    state: PointState


class PointEffect(Record, frozen=True, kw_only=True):
    """A quantity of a point with its 95% interval over vignettes and seeds."""

    point_id: str
    part: Part
    quantity: str
    value: float | None
    low: float | None
    high: float | None
    p_null: float | None
    """Share of null directions at the same dose that move at least as much (with the +1 correction)."""


class Comparison(Record, frozen=True, kw_only=True):
    """A comparison as a whole."""

    hypervolume: float | None
    """Area that all points together dominate (nats times fraction)."""
    hypervolume_low: float | None
    hypervolume_high: float | None
    readings: int
    """Vignettes read, over all arms (readings)."""
    readings_unraced: int
    """What it would have been without racing (readings)."""


class Band(Record, frozen=True, kw_only=True):
    """One cell of a scan: a band of blocks, steered at the matched dose."""

    direction_id: str
    first_block: int
    last_block: int
    scale: DoseScale
    dose: float
    strength: float | None
    """None where the dose was not reached."""
    reached: float | None
    arm_id: str | None
    """On the half of the vignettes that the band is chosen on."""
    test_arm_id: str | None
    """On the other half: of the chosen band and of the default one."""
    chosen: bool
