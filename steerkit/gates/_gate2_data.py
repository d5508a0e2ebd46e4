"""Known ways for gate 2's data to fail: too few, at the wrong dose, from few prompts, or misread by the scorer."""

from math import isclose

import numpy as np

from steerkit.evidence import TextEvidence
from steerkit.gates._gate2_config import Config
from steerkit.gates._gate2_figures import fraction
from steerkit.gates._gate2_measured import (
    GAIN,
    SAME_DOSE,
    Measured,
    Texts,
    base_like,
    distinct,
    kept_by_prompt,
    most_per_prompt,
    next_dose,
    perplexity_by_dose,
    share,
    survival,
    turning_point,
)
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.health import perplexity
from steerkit.stats import interval

NO_TEXT = "no steered text was written and filtered"


def data_starvation(study: Measured, config: Config) -> Result:
    """Fewer texts are kept than anything may be trained on, though more were wanted."""
    name, kept, needed = "data starvation", len(study.kept), float(min(config.floor, study.evidence.wanted))
    if not study.steered:
        return hypothesis(name, None, None, needed, NO_TEXT, "write texts first")
    base, dose = survival(study.evidence.base), next_dose(study)
    broken = base is not None and base.high < config.base_survival
    lower = "lower the dose" if dose is None else f"lower the dose: probe {dose:g}"
    step = "the filter drops base texts too: raise its thresholds" if broken else lower
    passed = share(survival(study.steered))
    detail = f"{kept} texts are kept, {passed} of {len(study.steered)}; of the base's {share(base)}"
    return hypothesis(name, kept < needed, float(kept), needed, detail, step)


def over_driven_dose(study: Measured, config: Config) -> Result:
    """The dose that survives lies far below gate 1's operating dose, or few texts survive there."""
    name, operating = "over-driven dose", study.evidence.operating_dose
    step = "begin lower: let gate 1 operate at the dose that survives"
    if operating is None or operating <= 0:
        detail = "gate 1 found no operating dose"
        return hypothesis(name, None, None, config.dose_share, detail, "find an operating dose in gate 1")
    chosen, there = _chosen_dose(study), _written_at(study, operating)
    found = survival(there)
    few = found is not None and found.value < config.operating_survival
    if chosen is None:
        detail = f"no dose was chosen; survival at the operating dose {operating:g} is {share(found)}"
        value, seen = (None, None) if found is None else (found.value, few or None)
        return hypothesis(name, seen, value, config.operating_survival, detail, step)
    part = chosen / operating
    low = part < config.dose_share
    detail = f"dose {chosen:g} was chosen, gate 1 operates at {operating:g}; survival there is {share(found)}"
    if few and not low and found is not None:
        return hypothesis(name, True, found.value, config.operating_survival, detail, step)
    return hypothesis(name, low, part, config.dose_share, detail, step)


def _chosen_dose(study: Measured) -> float | None:
    """The controller's last choice of a dose that survives, or else the strongest dose collected at."""
    chosen = [step.dose for step in study.evidence.controller if step.phase == "choose" and step.survived]
    collected = [text.completion.dose for text in study.evidence.collected]
    return chosen[-1] if chosen else max(collected, default=None)


def _written_at(study: Measured, dose: float) -> Texts:
    """The steered texts of exactly this dose."""
    return tuple(text for text in study.steered if abs(text.completion.dose - dose) <= SAME_DOSE)


def dose_too_low(study: Measured, config: Config) -> Result:
    """At the top of the ladder nothing is dropped and texts are no more on trait than the base's."""
    name, step = "dose too low", "raise the doses: the ladder ends before anything happens"
    if not study.probes:
        return hypothesis(name, None, None, config.full_survival, "no dose was probed", "probe a ladder of doses")
    dose = max(study.probes)
    found, gained = survival(study.probes[dose]), interval(study.d_gain(study.probes[dose]))
    value = None if found is None else found.value
    detail = f"at dose {dose:g} survival is {share(found)}; {figures('the gain over base texts', gained, GAIN)}"
    if found is not None and found.high < config.full_survival:
        return hypothesis(name, False, value, config.full_survival, detail, step)
    seen = None if gained is None else base_like(gained, config)
    return hypothesis(name, seen, value, config.full_survival, detail, step)


def prompt_skew(study: Measured, config: Config) -> Result:
    """Few of the prompts have a kept text, or one prompt holds most of them."""
    name, step = "prompt skew", "collect by a quota for each prompt; replace prompts that never survive"
    counts = kept_by_prompt(study)
    if not study.kept:
        detail = f"nothing is kept of {len(counts)} prompts"
        return hypothesis(name, None, None, config.prompt_coverage, detail, "keep some texts first")
    covered = fraction(sum(count > 0 for count in counts.values()), len(counts))
    most, limit = max(counts.values()) / len(study.kept), most_per_prompt(len(counts), config)
    value = 0.0 if covered is None else covered.value
    detail = f"{value:.2f} of {len(counts)} prompts have a kept text; one holds {most:.2f} of them (limit {limit:.2f})"
    if value >= config.prompt_coverage and most > limit:
        return hypothesis(name, True, most, limit, detail, step)
    return hypothesis(name, value < config.prompt_coverage, value, config.prompt_coverage, detail, step)


def scorer_mismatch(study: Measured, config: Config) -> Result:
    """A text's perplexity is not that of its tokens, or its tokens were counted in two ways."""
    name, step = "scorer mismatch", "tokenise prompt and text apart, in one place, and score again"
    evidence = study.evidence
    texts = (*study.evidence.probes, *evidence.collected, *evidence.base, *evidence.random)
    read = [text for text in texts if text.completion.token_nll is not None]
    if not read:
        detail = "no text has the likelihood of its tokens"
        return hypothesis(name, None, None, config.scorer_gap, detail, "store the likelihood of each token")
    off = [text for text in read if not _gap(text) <= config.scorer_gap]
    uneven = [text for text in read if _uneven(text)]
    worst = max(_gap(text) for text in read)
    detail = (
        f"{len(off)} of {len(read)} texts have a perplexity that differs from their tokens', by up to {worst:.3g} "
        f"{GAIN}; {len(uneven)} have another number of divergences than of likelihoods"
    )
    return hypothesis(name, bool(off or uneven), worst, config.scorer_gap, detail, step)


def _gap(text: TextEvidence) -> float:
    """How far a text's perplexity lies from its tokens' mean NLL (nats per token); infinite where it is no number."""
    told, own = (np.log(p) if p > 0 else np.inf for p in (text.completion.perplexity, _own_perplexity(text)))
    gap = 0.0 if isclose(told, own) else abs(float(told - own))
    return gap if np.isfinite(gap) else float("inf")


def _own_perplexity(text: TextEvidence) -> float:
    """The perplexity of the likelihoods of a text's tokens."""
    return perplexity(text.completion.token_nll or [])


def _uneven(text: TextEvidence) -> bool:
    """Whether a text has another number of divergences than of likelihoods; one without any has none to compare."""
    kl, nll = text.completion.token_kl, text.completion.token_nll or []
    return bool(kl) and len(kl) != len(nll)


def base_drift_penalty(study: Measured, config: Config) -> Result:
    """Later rounds read odd to the untouched base though their texts are fine; one round cannot show it."""
    detail = "a first round has no earlier student; compare perplexity under base and student from the second on"
    step = "in later rounds score the texts under the previous student too"
    return hypothesis("base drift penalty", None, None, None, detail, step)


def general_collapse(study: Measured, config: Config) -> Result:
    """Perplexity rises with dose and falls again at the top, where texts repeat themselves."""
    name, step = "general collapse", "discard the doses above the peak of perplexity; drop by distinct trigrams"
    base = study.evidence.base
    if len(study.probes) < 3 or not base:
        detail = f"{len(study.probes)} doses were probed, with {len(base)} base texts; three doses are needed"
        return hypothesis(name, None, None, 0.0, detail, "probe at least three doses")
    turn, top = turning_point(study), study.probes[max(study.probes)]
    part = float(np.median(distinct(top)) / np.median(distinct(base)))
    said = f"median perplexity is {perplexity_by_dose(study)}; the strongest has {part:.2f} times base's trigrams"
    if turn is None:
        return hypothesis(name, False, None, 0.0, said, step)
    dose, found = turn
    seen = None if found is None else found.high < 0 and part < config.distinct_share
    detail = f"{said}; {figures(f'log perplexity less that at dose {dose:g}', found, GAIN)}"
    return hypothesis(name, seen, None if found is None else found.value, 0.0, detail, step)


DATA = (
    data_starvation,
    over_driven_dose,
    dose_too_low,
    prompt_skew,
    scorer_mismatch,
    base_drift_penalty,
    general_collapse,
)
