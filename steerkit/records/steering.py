"""Fitted directions, and how strongly each strength of them disturbs the model."""

from typing import Literal

from steerkit.records.base import Record
from steerkit.records.compare import DoseScale


class Direction(Record, frozen=True, kw_only=True):
    """A fitted steering direction over a band of blocks."""

    direction_id: str
    method: str
    kind: Literal["real", "random", "shuffled"]
    config: str
    """Method config as canonical JSON."""
    artifact: str
    """sha256 of the safetensors file that holds its tensors."""
    extraction: str
    """Facts about the capture as canonical JSON: contexts, the token that was read, truncation, doubled start."""


class DirectionLayer(Record, frozen=True, kw_only=True):
    """Quality of one direction at one block."""

    direction_id: str
    block: int
    norm: float
    """Residual norm of the natural step (strength 1)."""
    relative_norm: float
    """That norm over the mean residual norm at the same token (fraction)."""
    half_split_cosine: float | None
    """Cosine between the directions of two disjoint halves of the contexts."""


class Dose(Record, frozen=True, kw_only=True):
    """Per-token KL(steered || base) over generated tokens at one strength of one direction (nats)."""

    direction_id: str
    strength: float
    tokens: int
    kl_mean: float
    kl_rmse: float
    kl_p50: float
    kl_p90: float
    kl_p95: float
    kl_max: float


class Calibration(Record, frozen=True, kw_only=True):
    """The strength at which a direction disturbs the model by the target."""

    direction_id: str
    target: float
    """On the scale: nats, or the fraction of answer mass lost."""
    strength: float | None
    """None when the ladder never reached the target: uncalibrated."""
    status: Literal["calibrated", "uncalibrated"]
    scale: DoseScale | None = None
    """None: the 95th percentile of the per-token KL."""
