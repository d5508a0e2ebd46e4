"""Gate 2's thresholds: registered before any data of a run exist."""

from steerkit.errors import UsageError
from steerkit.gates._thresholds import require_in_range
from steerkit.spec import Setting

FRACTIONS = frozenset(
    (
        "survival_fall",
        "full_survival",
        "base_survival",
        "distinct_share",
        "prompt_coverage",
        "prompt_share",
        "weakest_share",
        "one_reason",
        "coherent_recall",
        "loop_distinct",
        "leak_share",
        "narration_share",
        "refusal_share",
        "dose_share",
        "operating_survival",
        "length_change",
        "proxy_correlation",
        "null_share",
    )
)
AT_LEAST = {
    "floor": 1,
    "few_texts": 1,
    "few_prompts": 2,
    "resamples": 100,
    "gain_margin": 0,
    "perplexity_rise": 1,
    "perplexity_ratio": 1,
    "near": 1,
    "loop_compression": 1,
    "narration_ratio": 1,
    "scorer_gap": 0,
}


class Config(Setting, frozen=True, kw_only=True):
    """Thresholds of gate 2; those marked † are proposals, the others are in use by published runs of the method."""

    floor: int = 30
    """Fewest kept texts anything may be trained on (texts)."""
    few_texts: int = 8
    """† Fewest texts a share or a median of a part of them is read from (texts)."""
    few_prompts: int = 4
    """† Fewest prompts an interval over prompts is read from (prompts)."""
    survival_fall: float = 0.1
    """† Smallest loss of survival from the weakest to the strongest probe that counts as falling (fraction)."""
    full_survival: float = 0.95
    """† Survival at and above which nothing was filtered out (fraction)."""
    base_survival: float = 0.9
    """Smallest share of unsteered texts the filter must keep (fraction)."""
    gain_margin: float = 0.02
    """† The kept texts' gain over base texts of their prompts must exceed this at its interval's lower end (nats)."""
    base_like: float = 0.05
    """† Gain over base texts up to which texts that cannot be told from the base's are called base-like (nats)."""
    perplexity_rise: float = 1.5
    """† Highest median perplexity of a probed dose over the weakest's, from which on perplexity rises (ratio)."""
    perplexity_ratio: float = 4.0
    """† Median perplexity of the kept texts over the base's, above which they do not read coherent (ratio)."""
    distinct_share: float = 0.8
    """† Median distinct trigrams of the kept texts over the base's, below which they repeat themselves (fraction)."""
    prompt_coverage: float = 0.5
    """Smallest share of the prompts that must have a kept text (fraction)."""
    prompt_share: float = 0.25
    """† Largest share of the kept texts one prompt may hold; twice an equal share is always allowed (fraction)."""
    weakest_share: float = 0.6
    """† Largest share of the kept texts that may come from the weakest dose (fraction)."""
    one_reason: float = 0.5
    """† A check that alone causes more of the drops than this is looked at for being too strict (fraction)."""
    near: float = 1.5
    """† A dropped text is just dropped when its value is within this factor of the threshold (ratio)."""
    coherent_recall: float = 0.8
    """† Smallest share of the texts labelled coherent that must be kept (fraction)."""
    loop_distinct: float = 0.75
    """† Distinct trigrams over the base's median, below which a kept text loops (fraction)."""
    loop_compression: float = 1.2
    """† Compression over the base's median, above which a kept text loops (ratio)."""
    leak_share: float = 0.05
    """† Largest excess over the base of looping texts among the kept (fraction)."""
    narration_ratio: float = 1.5
    """† Mean reading of persona words in kept over base texts, above which they narrate the trait (ratio)."""
    narration_share: float = 0.1
    """† Largest share of labelled kept texts that may narrate (fraction)."""
    refusal_share: float = 0.1
    """† Largest share of the steered texts that may refuse or speak as an AI (fraction)."""
    dose_share: float = 0.5
    """Chosen over operating dose, below which the operating dose is over-driven (fraction)."""
    operating_survival: float = 0.25
    """Survival at the operating dose, below which it is over-driven (fraction)."""
    length_change: float = 0.2
    """Largest relative difference in length between kept and base texts of the same prompts (fraction)."""
    proxy_correlation: float = 0.5
    """† Rank correlation of gain and perplexity among the kept, above which it may be mere style (correlation)."""
    null_share: float = 0.7
    """† A random direction with this share of the kept texts' gain makes it non-specific (fraction)."""
    scorer_gap: float = 0.01
    """† Largest difference between a text's perplexity and the mean of its tokens' NLL (nats per token)."""
    resamples: int = 2000
    """Bootstrap resamples of the prompts (resamples)."""

    def __post_init__(self) -> None:
        """Raise UsageError for a threshold out of range."""
        require_in_range(self, FRACTIONS, AT_LEAST)
        if self.gain_margin > self.base_like:
            raise UsageError(
                f"gain_margin must be at most base_like, {self.base_like}, but got gain_margin={self.gain_margin}"
            )
