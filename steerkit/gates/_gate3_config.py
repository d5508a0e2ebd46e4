"""Gate 3's thresholds: registered before any data of a run exist."""

from steerkit.errors import UsageError
from steerkit.gates._channels import CHANNEL_FRACTIONS, Channels
from steerkit.gates._thresholds import require_in_range

FRACTIONS = frozenset(
    (
        "slot",
        "retain",
        "recover",
        "control_share",
        "text_change",
        "fired_share",
        "update_share",
        "nll_fall",
        "by_heart",
        "context_share",
        "length_change",
        "narrated_share",
        "declined_share",
        "alike",
        "cosine_teacher",
    )
)
AT_LEAST = {"resamples": 100, "perplexity_ratio": 1, "dilution": 1, "alike_growth": 1}


class Config(Channels, frozen=True, kw_only=True):
    """Thresholds of gate 3; those marked † are proposals, the others are in use by published runs of the method."""

    separation: float = 0.3
    """Smallest shift of the target foundation, in the intended direction, that counts as moved (nats)."""
    noise: float = 0.1
    """Shifts smaller than this are not told from noise (nats)."""
    slot: float = 0.004
    """Changes of coherence below this are less than one answer in one order (fraction)."""
    retain: float = 0.5
    """† Share of the steering's shift that a healed student must keep (fraction)."""
    recover: float = 0.5
    """† Share of the coherence lost by steering that must come back, or the loss was copied (fraction)."""
    control_share: float = 0.7
    """† A control adapter with this share of the student's shift makes it non-specific (fraction)."""
    still_kl: float = 0.01
    """† Mean KL to the student before, below which the two write alike (nats per token)."""
    bake_kl: float = 0.001
    """Largest mean KL between the hooked and the baked student (nats per token)."""
    text_change: float = 0.2
    """† Smallest share of a student's trigrams that are not in the base's text of the same prompt (fraction)."""
    fired_share: float = 0.05
    """† Share of the trained sequences over tau, up to which the barrier never fires (fraction)."""
    dilution: float = 20.0
    """Largest over mean divergence of a step, above which a mean hides its worst tokens (ratio)."""
    update_share: float = 0.1
    """† Norm of the update over that of the adapter without a constraint, below which it is tiny (fraction)."""
    near_base: float = 0.1
    """† NLL of the texts before training, over unsteered texts', up to which they are base-like (nats per token)."""
    nll_fall: float = 0.05
    """† Smallest share of the training NLL that training must take away (fraction)."""
    by_heart: float = 0.5
    """† Share of the NLL of one batch that may be left when it was learned by heart (fraction)."""
    validation_rise: float = 0.02
    """† Rise of the validation NLL from its best epoch to the last that means over-fitting (nats per token)."""
    gain: float = 0.02
    """† Mean gain of the trained texts, steered over base, from which on they are on trait (nats per token)."""
    context_share: float = 0.5
    """† Text change in the other context over that in the trained one, below which only one was learned (fraction)."""
    length_change: float = 0.2
    """Largest relative difference in length between the student's and the base's texts (fraction)."""
    narrated_share: float = 0.1
    """† Largest share of the student's texts that may narrate the trait (fraction)."""
    declined_share: float = 0.1
    """† Share of texts by which a student may decline, or speak as an AI, more often than the base, by the checks' own
    thresholds whatever the run's are (fraction)."""
    alike: float = 0.05
    """† Word trigrams that answers to different prompts share, from which on they may be of one mould (fraction)."""
    alike_growth: float = 2.0
    """† The same over the base's, from which on they are (ratio)."""
    cosine_teacher: float = 0.2
    """† Cosine of the student's own shift with the teaching direction, below which it learned another (cosine)."""
    resamples: int = 2000
    """Bootstrap resamples of the vignettes (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        require_in_range(self, FRACTIONS | CHANNEL_FRACTIONS, AT_LEAST)
        self.need_known_channels()
        if self.broken > self.coherence:
            raise UsageError(f"broken must be at most coherence, {self.coherence}, but got broken={self.broken}")
