"""Gate 2: what a filter keeps of the steered texts must be coherent and on trait before anything is trained on it."""

from collections.abc import Iterator
from dataclasses import dataclass

from steerkit.evidence import Gate2Evidence
from steerkit.gates._gate2_config import Config as Config
from steerkit.gates._gate2_criteria import CRITERIA
from steerkit.gates._gate2_data import DATA
from steerkit.gates._gate2_figures import Draws
from steerkit.gates._gate2_leaks import LEAKS
from steerkit.gates._gate2_measured import (
    Check,
    Measured,
    Texts,
    distinct,
    gains,
    log_perplexities,
    measured,
    next_dose,
    survival,
    words,
)
from steerkit.gates._gate2_selection import SELECTION
from steerkit.gates._result import EffectValue, Result, finite, next_steps, open_criteria
from steerkit.gates._result import outcome as overall
from steerkit.records import Outcome
from steerkit.stats import Interval, interval

QUESTION = "Does the filter keep enough coherent texts that carry the trait?"
CHECKS: tuple[Check, ...] = (*CRITERIA, *SELECTION, *LEAKS, *DATA)


@dataclass(frozen=True)
class Judgement:
    """What gate 2 says of one direction's texts.

    `verdicts`: every check in the order of `CHECKS`, then the gate itself. `effects`: quantities of the groups `kept`,
    `dropped`, `base`, `random` and `probe:DOSE`, which stand where gate 1 has arms.
    """

    effects: list[EffectValue]
    verdicts: list[Result]
    outcome: Outcome


def judge(evidence: Gate2Evidence, config: Config) -> Judgement:
    """Sort the texts, run every check, and decide; a run that keeps nothing shows nothing about the filter."""
    study = measured(evidence, config)
    results = [check(study, config) for check in CHECKS]
    verdict = overall(results) if study.kept else "INCONCLUSIVE"
    return Judgement(list(_effects(study)), [*results, _gate(verdict, results, study)], verdict)


def _gate(verdict: Outcome, results: list[Result], study: Measured) -> Result:
    """The gate's own verdict, with what stands in the way of a PASS."""
    evidence, dose = study.evidence, next_dose(study)
    detail = f"{len(study.kept)} of {len(study.steered)} steered texts are kept; {open_criteria(results)}"
    if evidence.gate1_verdict != "PASS":
        detail += f"; gate 1 said {evidence.gate1_verdict}"
    steps = next_steps(results) or ["train on the kept texts"] * (verdict == "PASS") or ["measure what is missing"]
    if study.steered and not study.kept and dose is not None:
        steps = [f"nothing survives at dose {2 * dose:g} or above: probe dose {dose:g} next", *steps]
    kept = float(len(study.kept))
    return Result("gate 2", "gate", verdict, kept, float(evidence.wanted), detail, "; ".join(steps))


def _effects(study: Measured) -> Iterator[EffectValue]:
    """Every quantity of every group; survival only of groups that were not chosen by it."""
    for group, texts in study.groups.items():
        if group not in ("kept", "dropped"):
            found = survival(texts)
            yield _effect(group, "survival", None if found is None else found.value, found)
        for quantity, draws in _draws(study, group, texts).items():
            yield _effect(group, quantity, float(draws[0]), interval(draws))


def _draws(study: Measured, group: str, texts: Texts) -> dict[str, Draws]:
    """Means of gain, of gain over base (not of the base) and of words; medians of log perplexity and of trigrams."""
    draws = {
        "gain": study.prompts.mean(texts, gains(texts)),
        "log_perplexity": study.prompts.median(texts, log_perplexities(texts)),
        "distinct_tail": study.prompts.median(texts, distinct(texts)),
        "words": study.prompts.mean(texts, words(texts)),
    }
    return draws if group == "base" else {**draws, "d_gain": study.d_gain(texts)}


def _effect(group: str, quantity: str, value: float | None, found: Interval | None) -> EffectValue:
    low, high = (None, None) if found is None else (finite(found.low), finite(found.high))
    return EffectValue(group, quantity, finite(value), low, high, None)
