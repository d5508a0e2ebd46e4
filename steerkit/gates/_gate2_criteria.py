"""What must hold for gate 2 to pass: the filter bites where texts break, and what it keeps is coherent and on trait."""

import numpy as np

from steerkit.gates._gate2_config import Config
from steerkit.gates._gate2_data import prompt_skew, scorer_mismatch
from steerkit.gates._gate2_figures import excess
from steerkit.gates._gate2_leaks import leaks_loops, leaks_narration
from steerkit.gates._gate2_measured import (
    GAIN,
    Measured,
    at_weakest,
    distinct,
    kept_by_prompt,
    log_perplexities,
    next_dose,
    perplexity_by_dose,
    perplexity_rise,
    random_gain,
    rises,
    share,
    survival,
    survival_by_dose,
    weakest_dose,
)
from steerkit.gates._result import Result, criterion, figures
from steerkit.stats import interval

NOTHING_KEPT = "no text was kept"
MORE_BATCHES = "collect more batches, for example --set control.batches=12"


def enough_kept(study: Measured, config: Config) -> Result:
    """As many texts were kept as were wanted, and never fewer than anything may be trained on."""
    name, evidence = "enough kept", study.evidence
    needed, kept, dose = float(max(evidence.wanted, config.floor)), len(study.kept), next_dose(study)
    if not study.steered:
        return criterion(name, None, None, needed, "no steered text was written and filtered", "write texts first")
    detail = f"{kept} of {len(study.steered)} steered texts are kept; {evidence.wanted} were wanted"
    if needed > evidence.wanted:
        detail += f", and fewer than {config.floor} say too little"
    short = kept < min(evidence.wanted, config.floor)
    step = "lower the dose" if short else MORE_BATCHES
    if not short and needed > evidence.wanted:
        step = f"ask for more texts: --keep {config.floor}"
    if not kept and dose is not None:
        step = f"nothing survives at dose {2 * dose:g} or above: probe dose {dose:g} next"
    return criterion(name, kept >= needed, float(kept), needed, detail, step, not short)


def kept_fraction_falls(study: Measured, config: Config) -> Result:
    """Fewer texts survive at the strongest probed dose than at the weakest.

    A ladder so mild that perplexity does not rise either, or so strong that nothing survives anywhere, leaves the
    filter untested: that is noise and no fault.
    """
    name, step = (
        "kept fraction falls with dose",
        "probe higher doses; if broken texts are kept, lower the thresholds",
    )
    probed = [found for texts in study.probes.values() if (found := survival(texts)) is not None]
    if len(probed) < 2:
        return criterion(name, None, None, config.survival_fall, f"{len(probed)} doses were probed", "probe a ladder")
    fall = excess(probed[0], probed[-1])
    met = fall.value >= config.survival_fall and fall.low > 0
    untested = not rises(study, config) or probed[0].value < config.survival_fall
    noisy = untested or fall.high >= config.survival_fall
    detail = f"survival is {survival_by_dose(study)}; its fall is {share(fall)}"
    return criterion(name, met, fall.value, config.survival_fall, detail, step, noisy)


def perplexity_rises(study: Measured, config: Config) -> Result:
    """Some probed dose makes texts clearly less likely under the base than the weakest does; else nothing is tested."""
    name, step, risen = "perplexity rises with dose", "probe higher doses", perplexity_rise(study)
    if risen is None:
        detail = f"{len(study.probes)} doses were probed, or on too few prompts"
        return criterion(name, None, None, config.perplexity_rise, detail, "probe a ladder of doses on more prompts")
    dose, found = risen
    detail = f"median perplexity is {perplexity_by_dose(study)}; at dose {dose:g} {share(found)} times the weakest's"
    return criterion(name, rises(study, config), found.value, config.perplexity_rise, detail, step, True)


def base_texts_are_kept(study: Measured, config: Config) -> Result:
    """Unsteered texts survive the filter: it raises few false alarms."""
    name, step = "base texts are kept", "raise the threshold of the check that drops most base texts"
    found = survival(study.evidence.base)
    if found is None:
        detail = "no unsteered text was written and filtered"
        return criterion(name, None, None, config.base_survival, detail, "write base texts to the same prompts")
    reasons = _reasons(study)
    detail = f"survival of {len(study.evidence.base)} base texts is {share(found)}; {reasons}"
    met = found.value >= config.base_survival
    return criterion(name, met, found.value, config.base_survival, detail, step, found.high >= config.base_survival)


def _reasons(study: Measured) -> str:
    """Which checks drop base texts, and how many."""
    found = [name for text in study.evidence.base for name in text.dropped_by]
    counts = {name: found.count(name) for name in sorted(set(found))}
    return "dropped by " + ", ".join(f"{name} {count}" for name, count in counts.items()) if counts else "none dropped"


def kept_texts_carry_the_trait(study: Measured, config: Config) -> Result:
    """The steered model prefers the kept texts more than it prefers base texts of the same prompts."""
    name, step = "kept texts carry the trait", "raise the dose, or keep by trait margin; score more texts and prompts"
    found = interval(study.d_gain(study.kept))
    if found is None:
        detail = NOTHING_KEPT if not study.kept else "too few prompts have a gain for both kept and base texts"
        return criterion(name, None, None, config.gain_margin, detail, "measure the gain of kept and of base texts")
    detail = figures(f"the gain of {len(study.kept)} kept texts over base texts of their prompts", found, GAIN)
    met = found.low > config.gain_margin
    return criterion(name, met, found.low, config.gain_margin, detail, step, found.high > config.gain_margin)


def kept_texts_beat_random_directions(study: Measured, config: Config) -> Result:
    """The kept texts gain more over base texts than texts along random directions at equal KL do."""
    name, step = "kept texts beat random directions", "write more random texts; if it stays, re-extract the direction"
    drawn, which = random_gain(study)
    found = interval(study.d_gain(study.kept) - drawn)
    if found is None:
        detail = NOTHING_KEPT if not study.kept else f"{len(study.evidence.random)} random texts; too few have a gain"
        return criterion(name, None, None, 0.0, detail, "write texts along random directions and score their gain")
    detail = f"{which} gain {float(drawn[0]):+.2f} over base; {figures('the difference', found, GAIN)}"
    return criterion(name, found.low > 0, found.low, 0.0, detail, step, found.high > 0)


def kept_texts_read_coherent(study: Measured, config: Config) -> Result:
    """Beside the base's texts the kept ones are neither far less likely nor far more repetitive."""
    name, step = "kept texts read coherent", "lower the perplexity threshold or the dose; read the just-kept texts"
    kept, base, median = study.kept, study.evidence.base, study.prompts.median
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = interval(np.exp(median(kept, log_perplexities(kept)) - median(base, log_perplexities(base))))
        distinctness = interval(median(kept, distinct(kept)) / median(base, distinct(base)))
    if ratio is None or distinctness is None:
        detail = NOTHING_KEPT if not kept else "too few prompts have kept and base texts"
        return criterion(name, None, None, config.perplexity_ratio, detail, "write base texts to the same prompts")
    detail = (
        f"beside base texts, the median perplexity is {share(ratio)} times as high and the median share of distinct "
        f"trigrams {share(distinctness)} times"
    )
    if ratio.value <= config.perplexity_ratio and distinctness.value < config.distinct_share:
        noisy = distinctness.high >= config.distinct_share
        return criterion(name, False, distinctness.value, config.distinct_share, detail, step, noisy)
    met = ratio.value <= config.perplexity_ratio
    return criterion(
        name, met, ratio.value, config.perplexity_ratio, detail, step, ratio.low <= config.perplexity_ratio
    )


def prompts_are_covered(study: Measured, config: Config) -> Result:
    """At least half of the prompts have a kept text, and none holds more than its share of them."""
    name, skew = "prompts are covered", prompt_skew(study, config)
    met = None if skew.status == "not measured" else skew.status == "not observed"
    scarce = len(study.kept) < len(kept_by_prompt(study))
    return criterion(name, met, skew.value, skew.threshold, skew.detail, skew.next_step, scarce)


def doses_are_covered(study: Measured, config: Config) -> Result:
    """The kept texts do not come from the weakest dose alone."""
    name, step = "doses are covered", "collect by a quota for each dose; lower the strongest dose until it survives"
    found, dose = at_weakest(study), weakest_dose(study)
    if found is None or dose is None:
        detail = "texts were written at one dose at most" if dose is None else NOTHING_KEPT
        return criterion(name, None, None, config.weakest_share, detail, "write texts at several doses")
    detail = f"{share(found)} of the kept texts come from dose {dose:g}, the weakest, or below"
    met = found.value <= config.weakest_share
    return criterion(name, met, found.value, config.weakest_share, detail, step, found.low <= config.weakest_share)


def nothing_leaks(study: Measured, config: Config) -> Result:
    """Neither loops nor narration of the trait are observed among the kept texts."""
    return _none_observed("nothing leaks", [leaks_loops(study, config), leaks_narration(study, config)])


def measurement_is_sound(study: Measured, config: Config) -> Result:
    """The perplexities that decided are those of the tokens that were written."""
    return _none_observed("measurement is sound", [scorer_mismatch(study, config)])


def _none_observed(name: str, faults: list[Result]) -> Result:
    """Met when none of the faults is observed; not measured when one of them was not."""
    seen = [fault for fault in faults if fault.status == "observed"]
    unknown = [fault for fault in faults if fault.status == "not measured"]
    telling = seen or unknown or faults
    met = False if seen else None if unknown else True
    detail = "; ".join(f"{fault.name} {fault.status}: {fault.detail}" for fault in telling)
    return criterion(name, met, float(len(seen)), 0.0, detail, telling[0].next_step)


CRITERIA = (
    enough_kept,
    kept_fraction_falls,
    perplexity_rises,
    base_texts_are_kept,
    kept_texts_carry_the_trait,
    kept_texts_beat_random_directions,
    kept_texts_read_coherent,
    prompts_are_covered,
    doses_are_covered,
    nothing_leaks,
    measurement_is_sound,
)
