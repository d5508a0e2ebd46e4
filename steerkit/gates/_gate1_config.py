"""Gate 1's thresholds: registered before any data of a run exist."""

from steerkit.errors import UsageError
from steerkit.gates._channels import CHANNEL_FRACTIONS, Channels
from steerkit.gates._thresholds import require_in_range

FRACTIONS = frozenset(
    (
        "p_null",
        "null_ceiling",
        "null_share",
        "not_wrong_rise",
    )
) | {"half_split_cosine"}
AT_LEAST = {"target_rows": 1, "resamples": 100, "null_margin": 0, "perplexity_ratio": 1, "norm_jump": 1}


class Config(Channels, frozen=True, kw_only=True):
    """Thresholds of gate 1; those marked † are proposals, the others are in use by published runs of the method."""

    separation: float = 0.3
    """Smallest shift of the target foundation, in the intended direction, that counts as steering (nats)."""
    coh_cost: float = 0.05
    """Coherence lost per nat of target shift at which a dose stops being cheap (fraction per nat)."""
    noise: float = 0.1
    """Shifts smaller than this are not told from noise (nats)."""
    null_margin: float = 0.0
    """† The separation must exceed the largest null's by more than this at its interval's lower end (nats)."""
    p_null: float = 0.2
    """† Largest permutation p against null directions; just above the 1/6 of five nulls (probability)."""
    null_ceiling: float = 0.5
    """† No null direction may reach this share of the separation (fraction)."""
    null_share: float = 0.7
    """† A null, or the other vignettes, with this share of the shift makes it non-specific (fraction)."""
    tail: float = 4.9
    """Below minus this, log p[target] is tail: less than one vignette of 132 holds the answer (nats)."""
    target_rows: int = 17
    """Fewest readable vignettes of the target foundation (vignettes)."""
    not_wrong_rise: float = 0.05
    """† Smallest rise of p["not wrong"] that counts as a drift towards it (probability)."""
    half_split_cosine: float = 0.8
    """† Cosine between two half-context directions from which on a direction is stable (cosine)."""
    norm_jump: float = 3.0
    """† Ratio of direction norms at adjacent blocks above which the profile is jagged (ratio)."""
    resamples: int = 2000
    """Bootstrap resamples of the vignettes (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        require_in_range(self, FRACTIONS | CHANNEL_FRACTIONS, AT_LEAST)
        self.need_known_channels()
        if self.broken > self.coherence:
            raise UsageError(f"broken must be at most coherence, {self.coherence}, but got broken={self.broken}")
