"""Gate 1's thresholds: registered before any data of a run exist."""

from steerkit.errors import UsageError
from steerkit.gates._thresholds import require_in_range
from steerkit.spec import Setting

FRACTIONS = frozenset(
    (
        "coherence",
        "broken",
        "p_null",
        "null_ceiling",
        "null_share",
        "margin_share",
        "unscorable",
        "not_wrong_rise",
        "distinct_share",
    )
) | {"half_split_cosine"}
AT_LEAST = {"target_rows": 1, "resamples": 100, "null_margin": 0, "perplexity_ratio": 1, "norm_jump": 1}


class Config(Setting, frozen=True, kw_only=True):
    """Thresholds of gate 1; those marked † are proposals, the others are in use by published runs of the method."""

    separation: float = 0.3
    """Smallest shift of the target foundation, in the intended direction, that counts as steering (nats)."""
    coherence: float = 0.95
    """Answer mass relative to the base's at and above which an arm is coherent (fraction)."""
    broken: float = 0.85
    """Relative answer mass below which an arm is broken and no ratio of it is read (fraction)."""
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
    margin_share: float = 0.5
    """Share of the base's answer margin at and below which the choice has collapsed (fraction)."""
    not_wrong_rise: float = 0.05
    """† Smallest rise of p["not wrong"] that counts as a drift towards it (probability)."""
    unscorable: float = 0.05
    """† Rise of the share of unreadable rows that means a broken answer format (fraction)."""
    prefill_rise: float = 0.5
    """† Rise of the scaffold's NLL that means a broken answer format (nats per token)."""
    distinct_share: float = 0.7
    """† Median distinct trigrams of the texts over the base's, below which they loop (fraction)."""
    perplexity_ratio: float = 10.0
    """† Median tail perplexity of the texts over the base's, above which they babble (ratio)."""
    half_split_cosine: float = 0.8
    """† Cosine between two half-context directions from which on a direction is stable (cosine)."""
    norm_jump: float = 3.0
    """† Ratio of direction norms at adjacent blocks above which the profile is jagged (ratio)."""
    resamples: int = 2000
    """Bootstrap resamples of the vignettes (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        require_in_range(self, FRACTIONS, AT_LEAST)
        if self.broken > self.coherence:
            raise UsageError(f"broken must be at most coherence, {self.coherence}, but got broken={self.broken}")
