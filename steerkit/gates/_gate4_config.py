"""Gate 4's thresholds: registered before any data of a loop exist."""

from steerkit.errors import UsageError
from steerkit.gates._channels import CHANNEL_FRACTIONS, Channels
from steerkit.gates._thresholds import require_in_range

FRACTIONS = frozenset(
    (
        "slot",
        "cosine_first",
        "norm_share",
        "drift",
        "kept_share",
        "fired_share",
        "alike",
    )
)
AT_LEAST = {"growing": 1, "patience": 1, "resamples": 100, "perplexity_ratio": 1, "kl_growth": 1, "alike_growth": 1}


class Config(Channels, frozen=True, kw_only=True):
    """Thresholds of gate 4; those marked † are proposals, the others are in use by published loops."""

    slot: float = 0.004
    """Changes of coherence below this are less than one answer in one order (fraction)."""
    noise: float = 0.1
    """Shifts smaller than this are not told from noise (nats)."""
    growing: int = 3
    """Rounds beyond the first whose gain must surely be above 0 (rounds)."""
    patience: int = 1
    """† After so many rounds in a row whose gain cannot be told from 0 a loop stops (rounds)."""
    cosine_first: float = 0.5
    """Cosine with the first round's direction at and below which the direction has wandered off (cosine)."""
    norm_share: float = 0.5
    """† Norm of the direction over the first round's, below which the contrast is exhausted (fraction)."""
    drift: float = 0.02
    """† Coherence lost since the first round that counts as drift (fraction)."""
    kl_growth: float = 1.5
    """† KL to the base over the largest KL to a student before, from which on small steps have added up (ratio)."""
    kept_share: float = 0.5
    """† Kept texts over the first round's, below which the loop starves (fraction)."""
    fired_share: float = 0.5
    """† Share of the trained sequences over tau, from which on the barrier is a leash (fraction)."""
    wobble: float = 0.5
    """How far two runs of one setting may lie apart: smaller leads may be the seed's (nats)."""
    alike: float = 0.05
    """† Word trigrams that answers to different prompts share, from which on they may be of one mould (fraction)."""
    alike_growth: float = 2.0
    """† The same over the base's, from which on they are (ratio)."""
    base_shift: float = 0.001
    """† Spread of the base's level between rounds above which they have different bases (nats)."""
    resamples: int = 2000
    """Bootstrap resamples of the vignettes (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        require_in_range(self, FRACTIONS | CHANNEL_FRACTIONS, AT_LEAST)
        self.need_known_channels()
        if self.broken > self.coherence:
            raise UsageError(f"broken must be at most coherence, {self.coherence}, but got broken={self.broken}")
