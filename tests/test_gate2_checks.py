import inspect
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_gate2 import (
    THRESHOLDS,
    Planted,
    Random,
    World,
    chance,
    choice,
    decided,
    each_text,
    labelled,
    rewritten,
)
from scipy.stats import spearmanr

from steerkit.errors import UsageError
from steerkit.evidence import Gate2Evidence, TextEvidence
from steerkit.gates._gate2_figures import excess, fraction, prompts, wilson
from steerkit.gates.gate2_filter import CHECKS, Config, Judgement, judge
from steerkit.stats import interval
from steerkit.testing import GateContract

CRITERIA = {
    "enough kept",
    "kept fraction falls with dose",
    "perplexity rises with dose",
    "base texts are kept",
    "kept texts carry the trait",
    "kept texts beat random directions",
    "kept texts read coherent",
    "prompts are covered",
    "doses are covered",
    "nothing leaks",
    "measurement is sound",
}
HYPOTHESES = {
    "filter inert",
    "survivorship",
    "too strict",
    "style not trait",
    "style proxy",
    "non-specific drift",
    "leaks loops",
    "leaks narration",
    "refusals dilute",
    "data starvation",
    "over-driven dose",
    "dose too low",
    "prompt skew",
    "scorer mismatch",
    "base drift penalty",
    "general collapse",
}
QUICK = Config(resamples=200)


class TestGate2(GateContract):
    name = "gate2_filter"


def status(judgement: Judgement, name: str) -> str:
    return next(result.status for result in judgement.verdicts if result.name == name)


def named(judgement: Judgement, kind: str, wanted: str) -> set[str]:
    return {result.name for result in judgement.verdicts if result.kind == kind and result.status == wanted}


def observed(evidence: Gate2Evidence) -> set[str]:
    return named(judge(evidence, QUICK), "hypothesis", "observed")


def with_thresholds(**changed: float) -> dict[str, tuple[str, float]]:
    return {name: (way, changed.get(name, value)) for name, (way, value) in THRESHOLDS.items()}


# The well-behaved run


@pytest.fixture(scope="module")
def good() -> Judgement:
    return judge(World().build(), Config())


def test_a_planted_filter_passes_with_nothing_to_complain_of(good: Judgement) -> None:
    assert good.outcome == "PASS"
    assert named(good, "criterion", "met") == CRITERIA
    assert named(good, "hypothesis", "observed") == set()
    assert named(good, "hypothesis", "not measured") == {"base drift penalty"}


def test_every_criterion_and_hypothesis_is_there_once_and_the_gate_comes_last(good: Judgement) -> None:
    names = [(result.kind, result.name) for result in good.verdicts]
    assert names[-1] == ("gate", "gate 2") and good.verdicts[-1].status == "PASS"
    assert len(names) - 1 == len(CHECKS) == len(set(names[:-1]))
    assert {name for kind, name in names if kind == "criterion"} == CRITERIA
    assert {name for kind, name in names if kind == "hypothesis"} == HYPOTHESES


def test_every_verdict_says_why_and_what_to_do(good: Judgement) -> None:
    assert all(result.detail and result.next_step for result in good.verdicts)


def test_effects_recover_the_planted_gain_of_each_group(good: Judgement) -> None:
    effects = {(effect.arm_id, effect.quantity): effect for effect in good.effects}
    assert {group for group, _ in effects} == {"kept", "dropped", "base", "random"} | {
        f"probe:{dose:g}" for dose in World().ladder
    }
    for dose in World().ladder:
        found = effects[f"probe:{dose:g}", "d_gain"]
        assert found.low is not None and found.low - 0.03 <= 0.3 * dose <= found.high + 0.03
    assert effects["random", "d_gain"].value == pytest.approx(0.02, abs=0.04)
    assert effects["base", "log_perplexity"].value == pytest.approx(1.2, abs=0.2)
    assert effects["base", "survival"].value == 1.0 and effects["base", "survival"].low < 1.0
    assert ("kept", "survival") not in effects and ("base", "d_gain") not in effects
    intervals = [effect for effect in good.effects if effect.low is not None]
    assert all(effect.low - 1e-9 <= effect.value <= effect.high + 1e-9 for effect in intervals)


def test_judging_twice_gives_the_same(good: Judgement) -> None:
    again = judge(World().build(), Config())
    assert (again.effects, again.verdicts) == (good.effects, good.verdicts)


# One planted fault per hypothesis: what else it implies is listed, and nothing beyond that may be observed


def inert() -> Gate2Evidence:
    return World(thresholds=with_thresholds(perplexity=1e6)).build()


def base_like() -> Gate2Evidence:
    """Half of the texts ignore the steering, the others are on trait and odd: only those are dropped."""

    def split(text: Planted, dose: float, random: Random, prompt: int) -> Planted:
        if chance(random, 0.5):
            return replace(text, gain=-0.1 + random.normal(0, 0.05), log_perplexity=1.2 + random.normal(0, 0.2))
        return replace(text, log_perplexity=4.0 + dose)

    return World(change=split).build()


def strict() -> Gate2Evidence:
    """Perplexity hardly rises, and the threshold lies in the midst of good texts."""
    return World(
        log_perplexity=lambda dose: 1.2 + 0.6 * dose, spread=0.2, thresholds=with_thresholds(perplexity=5.2)
    ).build()


def strict_by_labels() -> Gate2Evidence:
    """Two checks drop what people call coherent, so that neither is the only reason."""
    evidence = World(
        log_perplexity=lambda dose: 1.2 + 0.6 * dose, spread=0.2, thresholds=with_thresholds(perplexity=5.2)
    ).build()

    def dropped_twice(text: TextEvidence) -> TextEvidence:
        if text.kept:
            return labelled(text, True, "enacts")
        extra = decided(text.completion.completion_id, "stranger", 3.0, "at most", 1.0)
        return labelled(replace(text, decisions=(*text.decisions, extra)), True, "enacts")

    return each_text(evidence, dropped_twice)


def short() -> Gate2Evidence:
    return World(change=lambda text, *_: replace(text, words=text.words * 2 // 3)).build()


def odd_not_on_trait() -> Gate2Evidence:
    """Gain is nothing but perplexity beyond what the likelier half of the texts has."""
    return World(
        gain=lambda dose: -0.1,
        gain_spread=0.02,
        change=lambda text, *_: replace(text, gain=text.gain + max(0.0, text.log_perplexity - 1.9)),
    ).build()


def any_direction() -> Gate2Evidence:
    return World(random_gain=lambda dose: 0.25 * dose - 0.1).build()


def kept_loops() -> Gate2Evidence:
    """A fifth of the texts loops, just short of both thresholds, and reads as likely as the base's."""

    def loop(text: Planted, dose: float, random: Random, prompt: int) -> Planted:
        return replace(text, distinct=0.62, compression=1.7, log_perplexity=1.2) if chance(random, 0.2) else text

    return World(change=loop).build()


def collapsed_and_kept() -> Gate2Evidence:
    """At the top texts are predictable, and a check of loops that never fires lets them pass."""

    def collapse(text: Planted, dose: float, random: Random, prompt: int) -> Planted:
        return (
            replace(text, log_perplexity=0.7 + random.normal(0, 0.1), distinct=0.3, compression=2.5)
            if dose >= 2
            else text
        )

    return World(change=collapse, thresholds=with_thresholds(loops=0.0, compression=99.0)).build()


def collapsed_and_dropped() -> Gate2Evidence:
    def collapse(text: Planted, dose: float, random: Random, prompt: int) -> Planted:
        return (
            replace(text, log_perplexity=0.9 + random.normal(0, 0.1), distinct=0.3, compression=2.5)
            if dose >= 2
            else text
        )

    return World(change=collapse).build()


def narrating() -> Gate2Evidence:
    return World(
        change=lambda text, dose, random, prompt: replace(text, persona_words=float(random.integers(1, 4)))
    ).build()


def narrating_by_labels() -> Gate2Evidence:
    evidence, random = World().build(), np.random.default_rng(2)
    return each_text(evidence, lambda text: labelled(text, True, "narrates" if chance(random, 0.4) else "enacts"))


def refusing() -> Gate2Evidence:
    return World(change=lambda text, dose, random, prompt: replace(text, refusal=float(chance(random, 0.25)))).build()


def starved() -> Gate2Evidence:
    """Nearly everything breaks at every dose."""
    return World(
        change=lambda text, dose, random, prompt: text if chance(random, 0.06) else replace(text, log_perplexity=5.0)
    ).build()


def over_driven() -> Gate2Evidence:
    return World(operating_dose=2.5).build()


def breaks_at_the_operating_dose() -> Gate2Evidence:
    return World(operating_dose=2.0, chosen=1.2).build()


def too_low() -> Gate2Evidence:
    small = tuple(dose / 20 for dose in World().ladder)
    return World(ladder=small, collected=(0.06, 0.08, 0.1), chosen=0.1, operating_dose=0.1, gain=lambda _: -0.1).build()


def skewed() -> Gate2Evidence:
    return World(
        change=lambda text, dose, random, prompt: text if prompt < 8 else replace(text, distinct=0.3, compression=2.5)
    ).build()


def one_prompt_holds_most() -> Gate2Evidence:
    evidence = World().build()
    first = tuple(text for text in evidence.collected if text.completion.prompt_id == "p0")
    return replace(evidence, collected=(*evidence.collected, *first * 30))


def misread() -> Gate2Evidence:
    return each_text(World().build(), lambda text: rewritten(text, perplexity=text.completion.perplexity * 1.3))


def miscounted() -> Gate2Evidence:
    return each_text(World().build(), lambda text: rewritten(text, token_kl=text.completion.token_kl[1:]))


HARMLESS = {strict, strict_by_labels, short, odd_not_on_trait, refusing, over_driven, breaks_at_the_operating_dose}
"""Faults that put the use of the kept texts in doubt, not what was counted of them."""
PLANTED = [
    (inert, "filter inert", set()),
    (base_like, "survivorship", set()),
    (strict, "too strict", set()),
    (strict_by_labels, "too strict", set()),
    (short, "style not trait", set()),
    (odd_not_on_trait, "style proxy", set()),
    (any_direction, "non-specific drift", set()),
    (kept_loops, "leaks loops", set()),
    (collapsed_and_kept, "leaks loops", {"general collapse", "filter inert"}),
    (collapsed_and_dropped, "general collapse", set()),
    (narrating, "leaks narration", set()),
    (narrating_by_labels, "leaks narration", set()),
    (refusing, "refusals dilute", set()),
    (starved, "data starvation", {"over-driven dose", "prompt skew"}),
    (over_driven, "over-driven dose", set()),
    (breaks_at_the_operating_dose, "over-driven dose", set()),
    (too_low, "dose too low", {"filter inert"}),
    (skewed, "prompt skew", set()),
    (one_prompt_holds_most, "prompt skew", set()),
    (misread, "scorer mismatch", set()),
    (miscounted, "scorer mismatch", set()),
]


@pytest.mark.parametrize(("plant", "name", "implied"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_observed_and_nothing_unrelated(
    plant: Callable[[], Gate2Evidence], name: str, implied: set[str]
) -> None:
    judgement = judge(plant(), QUICK)
    seen = named(judgement, "hypothesis", "observed")
    assert name in seen
    assert seen <= {name} | implied
    assert (judgement.outcome == "PASS") == (plant in HARMLESS)
    assert f"{name}: " in judgement.verdicts[-1].next_step


def test_every_hypothesis_has_a_planted_fault() -> None:
    assert {name for _, name, _ in PLANTED} == HYPOTHESES - {"base drift penalty"}
