"""Known ways for a filter to select wrongly: all, too little, or something other than the trait."""

from collections import Counter

import numpy as np

from steerkit.evidence import TextEvidence
from steerkit.gates._gate2_config import Config
from steerkit.gates._gate2_figures import excess, fraction
from steerkit.gates._gate2_measured import (
    GAIN,
    SAME_DOSE,
    Measured,
    Texts,
    at_weakest,
    base_like,
    compressions,
    decision,
    distinct,
    log_perplexities,
    perplexity_by_dose,
    random_gain,
    rises,
    share,
    survival,
    survival_by_dose,
    words,
)
from steerkit.gates._result import Result, figures, hypothesis
from steerkit.stats import interval

BY_CONTENT = frozenset(("narration", "persona_words", "refusal", "identity", "near_copy", "base_copy"))
"""Checks that drop coherent texts on purpose; every other one drops what is broken."""


def filter_inert(study: Measured, config: Config) -> Result:
    """Even the strongest probes survive as the weakest do: broken texts pass, or the ladder breaks no text."""
    name = "filter inert"
    probed = [found for texts in study.probes.values() if (found := survival(texts)) is not None]
    if len(probed) < 2:
        detail = f"{len(probed)} doses were probed"
        return hypothesis(name, None, None, config.survival_fall, detail, "probe a ladder of doses")
    fall = excess(probed[0], probed[-1])
    flat = fall.value < config.survival_fall and probed[-1].value >= study.evidence.target_survival
    step = "lower the thresholds: texts break and pass" if rises(study, config) else "raise the dose: no text breaks"
    detail = f"survival is {survival_by_dose(study)}; median perplexity is {perplexity_by_dose(study)}"
    return hypothesis(name, flat, fall.value, config.survival_fall, detail, step)


def survivorship(study: Measured, config: Config) -> Result:
    """The filter drops some texts, and those it keeps are no more on trait than the base's."""
    name, step = "survivorship", "keep by trait margin, with a quota for each dose; raise the perplexity threshold"
    found, passed = interval(study.d_gain(study.kept)), survival(study.steered)
    if found is None or passed is None:
        detail = "the gain of kept over base texts was not measured"
        return hypothesis(name, None, None, config.base_like, detail, "measure the gain of kept and of base texts")
    dropped, top = float(study.d_gain(study.dropped)[0]), _top(study)
    seen = base_like(found, config) and passed.value < config.full_survival
    detail = (
        f"{figures('the gain of kept over base texts', found, GAIN)}, of dropped ones {dropped:+.2f}; "
        f"survival at the strongest dose is {share(survival(top))}, at the weakest or below are "
        f"{share(at_weakest(study))} of the kept"
    )
    return hypothesis(name, seen, found.value, config.base_like, detail, step)


def _top(study: Measured) -> Texts:
    """The steered texts of the strongest dose."""
    strongest = max(study.doses, default=None)
    return tuple(text for text in study.steered if text.completion.dose == strongest)


def too_strict(study: Measured, config: Config) -> Result:
    """One check alone decides most drops, and what it just drops is as good as what is kept; or labels say so.

    Only doses up to gate 1's operating dose are looked at, where there is one: beyond it texts are expected to break.
    """
    name, step = "too strict", "raise that check's threshold, read the tail only, or score under the current student"
    if not study.steered:
        return hypothesis(name, None, None, config.one_reason, "no steered text was filtered", "write texts first")
    dropped = tuple(text for text in study.dropped if not _beyond(study, text))
    alone = Counter(text.dropped_by[0] for text in dropped if len(text.dropped_by) == 1)
    broken = {check: count for check, count in alone.items() if check not in BY_CONTENT}
    check = max(sorted(broken), key=lambda name: broken[name], default="")
    dominance = fraction(broken.get(check, 0), len(dropped))
    by_labels, said = _labelled_recall(study, config)
    if dominance is None or broken.get(check, 0) < config.few_texts or dominance.value <= config.one_reason:
        value = 0.0 if dominance is None else dominance.value
        detail = f"no check alone decides most of the {len(dropped)} drops of usable doses{said}"
        return hypothesis(name, by_labels, value, config.one_reason, detail, step)
    just = tuple(text for text in dropped if text.dropped_by == (check,))
    good, why = _as_good(study, just, check, config)
    detail = f"{check} alone decides {share(dominance)} of the {len(dropped)} drops of usable doses: {why}{said}"
    return hypothesis(name, by_labels or good, dominance.value, config.one_reason, detail, step)


def _beyond(study: Measured, text: TextEvidence) -> bool:
    """Whether a text was written above gate 1's operating dose."""
    operating = study.evidence.operating_dose
    return operating is not None and text.completion.dose > operating + SAME_DOSE


def _as_good(study: Measured, just: Texts, check: str, config: Config) -> tuple[bool | None, str]:
    """Whether what one check alone drops is near its threshold and has the kept texts' other figures and gain."""
    more = _gain_over_kept(study, just)
    if more is None:
        return None, "their gain or that of texts kept at the same doses was not measured"
    off = float(np.median([_distance(text, check) for text in just]))
    repetitive = float(np.median(distinct(just)) / np.median(distinct(study.kept)))
    unlikely = float(np.exp(np.median(log_perplexities(just)) - np.median(log_perplexities(study.kept))))
    squeezed = float(np.median(compressions(just)) / np.median(compressions(study.kept)))
    fresh = check == "loops" or repetitive >= config.distinct_share
    fresh = fresh and (check == "compression" or squeezed <= config.loop_compression)
    likely = check in ("perplexity", "tail_perplexity") or unlikely <= config.near
    why = (
        f"they lie {off:.2g} times beyond the threshold, with {repetitive:.2f} times the kept texts' distinct trigrams "
        f"and {unlikely:.2g} times their perplexity, and gain {more:+.2f} {GAIN} more than those kept at the same doses"
    )
    return off <= config.near and fresh and likely and more >= -config.gain_margin, why


def _gain_over_kept(study: Measured, just: Texts) -> float | None:
    """How much more these texts gain than those kept at the same doses; None where neither can be said."""
    gained = study.gains_over_base(study.kept)
    kept: dict[float, list[float]] = {}
    for text, gain in zip(study.kept, gained, strict=True):
        kept.setdefault(text.completion.dose, []).append(float(gain))
    usual = [float(np.mean(kept.get(text.completion.dose, [np.nan]))) for text in just]
    more = study.gains_over_base(just) - np.asarray(usual)
    return float(np.nanmean(more)) if np.isfinite(more).any() else None


def _distance(text: TextEvidence, check: str) -> float:
    """How many times beyond the threshold a check's value lies; 1 for a threshold of 0, which has no scale."""
    said = decision(text, check)
    if said is None or said.threshold <= 0:
        return 1.0
    pair = (said.value, said.threshold) if said.direction == "at most" else (said.threshold, said.value)
    return pair[0] / pair[1] if pair[1] > 0 else float("inf")


def _labelled_recall(study: Measured, config: Config) -> tuple[bool, str]:
    """Whether too few are kept of the texts that people call coherent and no check of content drops."""
    able = [text for text in study.steered if not BY_CONTENT & set(text.dropped_by)]
    coherent = [text for text in able if (verdict := _mostly(text)) is not None and verdict]
    found = fraction(sum(text.kept for text in coherent), len(coherent))
    if found is None or len(coherent) < config.few_texts:
        return False, ""
    said = f"; of {len(coherent)} texts labelled coherent {share(found)} are kept"
    return found.high < config.coherent_recall, said


def _mostly(text: TextEvidence) -> bool | None:
    """Whether most who labelled a text call it coherent; None where nobody did."""
    said = [label.coherent for label in text.labels if label.coherent is not None]
    return 2 * sum(said) > len(said) if said else None


def style_not_trait(study: Measured, config: Config) -> Result:
    """Kept texts are much shorter or longer than base texts of the same prompts, so length can be learned instead."""
    name, step = "style not trait", "match lengths: one cap and one ending for all; drop the shortest texts"
    kept, base = study.kept, study.evidence.base
    shared = {text.completion.prompt_id for text in kept} & {text.completion.prompt_id for text in base}
    pair = [tuple(text for text in group if text.completion.prompt_id in shared) for group in (kept, base)]
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = [study.prompts.mean(texts, words(texts)) for texts in pair]
        found = interval(draws[0] / draws[1] - 1)
    if found is None:
        detail = "too few prompts have both a kept and a base text"
        return hypothesis(name, None, None, config.length_change, detail, "write base texts to the same prompts")
    seen = abs(found.value) > config.length_change and not found.covers(0.0)
    detail = f"kept texts have {float(draws[0][0]):.0f} words, base texts {float(draws[1][0]):.0f}: {share(found)} more"
    return hypothesis(name, seen, found.value, config.length_change, detail, step)


def style_proxy(study: Measured, config: Config) -> Result:
    """Among kept texts the gain rises with perplexity, and the likelier half of them has none: oddness, not trait."""
    name, step = "style proxy", "compare methods at equal KL; lower the dose; raise the perplexity threshold last"
    kept, unlikely = study.kept, log_perplexities(study.kept)
    found = interval(study.prompts.correlation(kept, study.gains_over_base(kept), unlikely))
    fluent = tuple(t for t, value in zip(kept, unlikely, strict=True) if value <= np.median(unlikely)) if kept else ()
    gained = interval(study.d_gain(fluent))
    if found is None or gained is None:
        detail = "the gain of kept and base texts was not measured on enough prompts"
        return hypothesis(name, None, None, config.proxy_correlation, detail, "measure the gain of all texts")
    seen = found.value > config.proxy_correlation and found.low > 0 and base_like(gained, config)
    detail = (
        f"gain and perplexity of kept texts have rank correlation {share(found)}; "
        f"{figures('the gain of the likelier half over base texts', gained, GAIN)}"
    )
    return hypothesis(name, seen, found.value, config.proxy_correlation, detail, step)


def non_specific_drift(study: Measured, config: Config) -> Result:
    """Texts along random directions gain nearly as much as the kept ones."""
    name, step = "non-specific drift", "re-extract the direction; claim only the excess over random directions"
    drawn, which = random_gain(study)
    found, kept = interval(drawn), interval(study.d_gain(study.kept))
    if found is None or kept is None:
        detail = f"{len(study.evidence.random)} random texts and {len(study.kept)} kept ones; too few have a gain"
        return hypothesis(name, None, None, config.null_share, detail, "write texts along random directions")
    detail = f"{which} gain {found.value:+.2f} over base, kept ones {kept.value:+.2f} {GAIN}"
    if kept.value <= config.gain_margin:
        return hypothesis(name, None, None, config.null_share, f"{detail}: nothing to compare", "find a trait first")
    part = found.value / kept.value
    return hypothesis(name, part >= config.null_share, part, config.null_share, detail, step)


SELECTION = (
    filter_inert,
    survivorship,
    too_strict,
    style_not_trait,
    style_proxy,
    non_specific_drift,
)
