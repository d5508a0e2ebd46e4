"""Gate 2's texts sorted into groups, and the figures its checks read from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steerkit.evidence import Gate2Evidence, TextEvidence
from steerkit.gates._gate2_config import Config
from steerkit.gates._gate2_figures import Draws, Prompts, Values, fraction, prompts
from steerkit.gates._result import Result
from steerkit.records import FilterDecision
from steerkit.stats import Interval, interval

SAME_DOSE = 1e-9
WORST = 700.0
"""Mean NLL of an empty text, and of one whose perplexity is no number: as bad as any, yet finite (nats per token)."""
Texts = tuple[TextEvidence, ...]
GAIN = "nats per token"


@dataclass(frozen=True)
class Measured:
    """A run's texts by what became of them; a text of which no check said anything is in no group of decided ones.

    `steered`: decided texts of the direction, probes before collected. `kept`, `dropped`: those of them. `probes`: the
    ladder by rising dose. `base_gain`: mean gain of the base's texts, by prompt (nats per token).
    """

    evidence: Gate2Evidence
    prompts: Prompts
    steered: Texts
    kept: Texts
    dropped: Texts
    probes: dict[float, Texts]
    base_gain: dict[str, float]

    @property
    def groups(self) -> dict[str, Texts]:
        """Every group that has a text, by the name its effects carry."""
        named = {"kept": self.kept, "dropped": self.dropped, "base": self.evidence.base, "random": self.evidence.random}
        named |= {f"probe:{dose:g}": texts for dose, texts in self.probes.items()}
        return {name: texts for name, texts in named.items() if texts}

    @property
    def doses(self) -> list[float]:
        """Every dose a decided text was written at, rising."""
        return sorted({text.completion.dose for text in self.steered})

    def mean(self, texts: Texts, values: Values) -> Interval | None:
        """The mean with its interval over prompts; None where it is undefined."""
        return interval(self.prompts.mean(texts, values))

    def d_gain(self, texts: Texts) -> Draws:
        """The mean gain less that of the base's texts of the same prompts, per resample (nats per token)."""
        return self.prompts.mean(texts, self.gains_over_base(texts))

    def gains_over_base(self, texts: Texts) -> Values:
        """Each text's gain less the mean of the base's texts of its prompt; NaN where one is missing."""
        base = [self.base_gain.get(text.completion.prompt_id, np.nan) for text in texts]
        return np.asarray(gains(texts) - np.asarray(base, dtype=float))


Check = Callable[[Measured, Config], Result]


def measured(evidence: Gate2Evidence, config: Config) -> Measured:
    """Sort the texts, and draw the prompts once for every figure."""
    steered = decided((*evidence.probes, *evidence.collected))
    everything = (*evidence.probes, *evidence.collected, *evidence.base, *evidence.random)
    doses = sorted({text.completion.dose for text in decided(evidence.probes)})
    return Measured(
        evidence=evidence,
        prompts=prompts(everything, evidence.seed, config.resamples, config.few_prompts),
        steered=steered,
        kept=tuple(text for text in steered if text.kept),
        dropped=tuple(text for text in steered if not text.kept),
        probes={d: tuple(t for t in decided(evidence.probes) if t.completion.dose == d) for d in doses},
        base_gain=_by_prompt(evidence.base),
    )


def _by_prompt(texts: Texts) -> dict[str, float]:
    """The mean gain of each prompt's texts that have one (nats per token)."""
    found: dict[str, list[float]] = {}
    for text, gain in zip(texts, gains(texts), strict=True):
        if np.isfinite(gain):
            found.setdefault(text.completion.prompt_id, []).append(float(gain))
    return {prompt: float(np.mean(values)) for prompt, values in found.items()}


def decided(texts: Texts) -> Texts:
    """The texts of which some check said something."""
    return tuple(text for text in texts if text.decisions)


def gains(texts: Texts) -> Values:
    """Each text's gain (nats per token); NaN where it was not measured."""
    return np.asarray([np.nan if text.gain is None else text.gain for text in texts], dtype=float)


def log_perplexities(texts: Texts) -> Values:
    """Each text's mean NLL under the base (nats per token), at most `WORST`."""
    found = np.asarray([text.completion.perplexity for text in texts], dtype=float)
    return np.minimum(np.log(np.where(found > 0, found, np.inf)), WORST)


def distinct(texts: Texts) -> Values:
    """Each text's share of distinct trigrams in its worst window (fraction)."""
    return np.asarray([text.completion.distinct_tail for text in texts], dtype=float)


def compressions(texts: Texts) -> Values:
    """Each text's compression ratio in its worst window."""
    return np.asarray([text.completion.compression for text in texts], dtype=float)


def words(texts: Texts) -> Values:
    """Each text's length (words)."""
    return np.asarray([len(text.completion.text.split()) for text in texts], dtype=float)


def survival(texts: Sequence[TextEvidence]) -> Interval | None:
    """Share of the decided texts that every check keeps."""
    found = decided(tuple(texts))
    return fraction(sum(text.kept for text in found), len(found))


def decision(text: TextEvidence, name: str) -> FilterDecision | None:
    """What the check of that name said of a text; None where it said nothing."""
    return next((decision for decision in text.decisions if decision.name == name), None)


def checked(texts: Texts, *names: str) -> list[tuple[FilterDecision, ...]]:
    """For each text of which one of these checks said something, what they said."""
    found = [tuple(said for name in names if (said := decision(text, name)) is not None) for text in texts]
    return [said for said in found if said]


def readings(texts: Texts, name: str) -> Values:
    """What the check of that name measured of each text, in its own unit; NaN where it said nothing."""
    found = [decision(text, name) for text in texts]
    return np.asarray([np.nan if said is None else said.value for said in found], dtype=float)


def weakest_dose(study: Measured) -> float | None:
    """The lowest dose that was collected at, or that was tried, where all was collected at one; None for one dose."""
    collected = sorted({text.completion.dose for text in decided(study.evidence.collected)})
    doses = collected if len(collected) > 1 else study.doses
    return doses[0] if len(study.doses) > 1 else None


def at_weakest(study: Measured) -> Interval | None:
    """Share of the kept texts that were written at the weakest dose or below it."""
    dose = weakest_dose(study)
    if dose is None:
        return None
    return fraction(sum(text.completion.dose <= dose + SAME_DOSE for text in study.kept), len(study.kept))


def kept_by_prompt(study: Measured) -> dict[str, int]:
    """How many kept texts each prompt has that a steered text was written to."""
    found = {text.completion.prompt_id: 0 for text in study.steered}
    for text in study.kept:
        found[text.completion.prompt_id] += 1
    return found


def most_per_prompt(prompts: int, config: Config) -> float:
    """The largest share of the kept texts that one of so many prompts may hold (fraction)."""
    return max(config.prompt_share, 2 / prompts)


def random_gain(study: Measured) -> tuple[Draws, str]:
    """The gain over base of texts along random directions, and which texts those are: survivors, or else all."""
    survivors = tuple(text for text in decided(study.evidence.random) if text.kept)
    texts = survivors or study.evidence.random
    which = "survivors" if survivors else "texts, none of which survives,"
    return study.d_gain(texts), f"{len(texts)} {which}"


def perplexity_rise(study: Measured) -> tuple[float, Interval] | None:
    """The probed dose of the highest median perplexity, and how many times the weakest's that is.

    The highest, not the strongest: texts that collapse into loops at the top are likely again. None where that cannot
    be said.
    """
    medians = _medians_by_dose(study)
    if len(medians) < 2:
        return None
    peak = max(medians, key=lambda dose: float(medians[dose][0]))
    found = interval(np.exp(medians[peak] - medians[min(medians)]))
    return None if found is None else (peak, found)


def rises(study: Measured, config: Config) -> bool | None:
    """Whether perplexity rises over the ladder, beyond noise; None where that cannot be said."""
    found = perplexity_rise(study)
    return None if found is None else found[1].value >= config.perplexity_rise and found[1].low > 1


def _medians_by_dose(study: Measured) -> dict[float, Draws]:
    """The probes' median log perplexity, per resample (nats per token)."""
    return {dose: study.prompts.median(texts, log_perplexities(texts)) for dose, texts in study.probes.items()}


def turning_point(study: Measured) -> tuple[float, Interval | None] | None:
    """The probed dose of the highest median perplexity, and how far the strongest dose's log lies from it (nats).

    None where no other dose of at least three has a higher one than the strongest.
    """
    medians = _medians_by_dose(study)
    peak = max(medians, key=lambda dose: float(medians[dose][0]), default=None)
    if peak is None or len(medians) < 3 or peak == max(medians):
        return None
    return peak, interval(medians[max(medians)] - medians[peak])


def perplexity_by_dose(study: Measured) -> str:
    """The probes' median perplexities, for a sentence."""
    found = {dose: float(np.exp(np.median(log_perplexities(texts)))) for dose, texts in study.probes.items()}
    return ", ".join(f"{value:.3g} at {dose:g}" for dose, value in found.items())


def survival_by_dose(study: Measured) -> str:
    """The probes' survival, for a sentence."""
    found = {dose: survival(texts) for dose, texts in study.probes.items()}
    return ", ".join(f"{value.value:.2f} at {dose:g}" for dose, value in found.items() if value is not None)


def base_like(gained: Interval, config: Config) -> bool:
    """Whether texts gain so little over base texts that they cannot be told from them."""
    return gained.low <= config.gain_margin and gained.value <= config.base_like


def share(found: Interval | None) -> str:
    """A fraction with its interval, for a sentence."""
    return "undefined" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def next_dose(study: Measured) -> float | None:
    """Half of the lowest dose tried: what to probe when nothing survives; None where nothing was tried."""
    tried = [dose for dose in study.doses if dose > 0]
    return tried[0] / 2 if tried else None
