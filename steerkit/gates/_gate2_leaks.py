"""Known ways for a filter to leak: loops, narration of the trait, and refusals that dilute the rest."""

import numpy as np

from steerkit.evidence import TextEvidence
from steerkit.gates._gate2_config import Config
from steerkit.gates._gate2_figures import excess, fraction
from steerkit.gates._gate2_measured import (
    GAIN,
    Measured,
    Texts,
    checked,
    compressions,
    distinct,
    readings,
    share,
    survival,
    turning_point,
)
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.stats import interval, wilson


def leaks_loops(study: Measured, config: Config) -> Result:
    """Kept texts repeat themselves where the base's do not, or the strongest dose reads likelier and passes."""
    name, step = "leaks loops", "raise the threshold of distinct trigrams on the tail, lower that of compression"
    base, kept = study.evidence.base, study.kept
    if not base or not kept:
        detail = f"{len(kept)} kept texts and {len(base)} base texts"
        return hypothesis(name, None, None, config.leak_share, detail, "write base texts; keep some")
    looping, usual = _looping(kept, base, config), _looping(base, base, config)
    found, expected = (wilson(float(loops.mean()), len(loops)) for loops in (looping, usual))
    more = excess(found, expected)
    leaked = more.value > config.leak_share and more.low > 0
    ended = sum(text.completion.ended for text, loops in zip(kept, looping, strict=True) if loops)
    collapsed, said = _likelier_and_kept(study)
    detail = (
        f"{share(found)} of {len(kept)} kept texts loop, of the base's {share(expected)}; "
        f"{ended} of {int(looping.sum())} end before the cap; {said}"
    )
    return hypothesis(name, leaked or collapsed, more.value, config.leak_share, detail, step)


def _looping(texts: Texts, base: Texts, config: Config) -> np.ndarray:
    """Which texts have far fewer distinct trigrams, or compress far better, than the base's median text."""
    few = distinct(texts) < config.loop_distinct * np.median(distinct(base))
    return np.asarray(few | (compressions(texts) > config.loop_compression * np.median(compressions(base))))


def _likelier_and_kept(study: Measured) -> tuple[bool, str]:
    """Whether the strongest probe is likelier under the base than a middle one, and passes as often."""
    turn = turning_point(study)
    if turn is None:
        return False, "perplexity does not turn down at the top of the ladder"
    dose, found = turn
    top, middle = survival(study.probes[max(study.probes)]), survival(study.probes[dose])
    seen = found is not None and found.high < 0 and top is not None and middle is not None and top.value >= middle.value
    said = figures(f"log perplexity of the strongest probe less that of dose {dose:g}", found, GAIN)
    return seen, f"{said}, survival {share(top)} against {share(middle)}"


def leaks_narration(study: Measured, config: Config) -> Result:
    """Kept texts use the persona's own words far more than the base's, or people say that they narrate."""
    name, step = "leaks narration", "add such sentences to data/narration.toml, or let a reader drop what narrates"
    labelled = [narrates for text in study.kept if (narrates := _narrates(text)) is not None]
    found = fraction(sum(labelled), len(labelled)) if len(labelled) >= config.few_texts else None
    if found is not None and found.low > config.narration_share:
        detail = f"of {len(labelled)} labelled kept texts {share(found)} narrate"
        return hypothesis(name, True, found.value, config.narration_share, detail, step)
    by_words, excess_words, said = _persona_words(study, config)
    if by_words is None and found is not None:
        detail = f"of {len(labelled)} labelled kept texts {share(found)} narrate; {said}"
        return hypothesis(name, False, found.value, config.narration_share, detail, step)
    told = "" if found is None else f", of which {share(found)} narrate"
    detail = f"{said}; {len(labelled)} kept texts are labelled{told}"
    return hypothesis(name, by_words, excess_words, config.narration_ratio, detail, step)


def _persona_words(study: Measured, config: Config) -> tuple[bool | None, float | None, str]:
    """Whether the check of persona words reads far more in kept than in base texts, and how many times as much.

    None where it did not read both.
    """
    name, base = "persona_words", study.evidence.base
    kept_draws, base_draws = (study.prompts.mean(texts, readings(texts, name)) for texts in (study.kept, base))
    found, kept, usual = interval(kept_draws - base_draws), float(kept_draws[0]), float(base_draws[0])
    if found is None:
        return None, None, "no check of persona words read kept and base texts of enough prompts"
    threshold = max(said.threshold for (said,) in checked((*study.kept, *base), name))
    # A base without any such word would make a single one an excess; a tenth of what is allowed is none to speak of.
    expected = max(usual, threshold / 10)
    times = kept / expected if expected > 0 else float("inf") if kept > 0 else 0.0
    said = f"persona words read {kept:.3g} in kept and {usual:.3g} in base texts"
    return found.low > 0 and times > config.narration_ratio, times, said


def _narrates(text: TextEvidence) -> bool | None:
    """Whether most who labelled a text say that it narrates the trait; None where nobody did."""
    said = [label.trait for label in text.labels if label.trait is not None]
    return 2 * said.count("narrates") > len(said) if said else None


def refusals_dilute(study: Measured, config: Config) -> Result:
    """Many steered texts decline, or speak of themselves as an AI."""
    name, step = "refusals dilute", "change the prompts that are refused; extend the phrases of the refusal check"
    said, base = (checked(texts, "refusal", "identity") for texts in (study.steered, study.evidence.base))
    found, usual = (fraction(sum(not all(d.keep for d in of) for of in group), len(group)) for group in (said, base))
    if found is None:
        detail = "no check of refusals or of AI identity read the steered texts"
        return hypothesis(name, None, None, config.refusal_share, detail, "run the refusal and identity checks")
    detail = f"{share(found)} of {len(said)} steered texts refuse or speak as an AI, of the base's {share(usual)}"
    return hypothesis(name, found.value > config.refusal_share, found.value, config.refusal_share, detail, step)


LEAKS = (
    leaks_loops,
    leaks_narration,
    refusals_dilute,
)
