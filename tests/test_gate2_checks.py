from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import assert_whole, named, status
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
from steerkit.gates._gate2_figures import excess, fraction, prompts
from steerkit.gates.gate2_filter import CHECKS, Config, Judgement, judge
from steerkit.stats import interval, wilson
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


def test_every_criterion_and_hypothesis_is_there_once_and_in_words_and_the_gate_comes_last(good: Judgement) -> None:
    assert_whole(good, "gate 2", len(CHECKS), CRITERIA, HYPOTHESES)


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


HARMLESS = {short, odd_not_on_trait, collapsed_and_dropped, refusing, over_driven, breaks_at_the_operating_dose}
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


# Outcomes


def hopeless() -> Gate2Evidence:
    """Nothing survives, at any dose."""
    return World(change=lambda text, *_: replace(text, log_perplexity=6.0), chosen=None).build()


def test_no_survivor_is_inconclusive_and_names_the_next_dose() -> None:
    judgement = judge(hopeless(), QUICK)
    gate = judgement.verdicts[-1]
    assert judgement.outcome == "INCONCLUSIVE" and gate.value == 0.0
    assert "nothing survives at dose 0.25 or above: probe dose 0.125 next" in gate.next_step
    assert status(judgement, "data starvation") == "observed"
    assert status(judgement, "kept texts carry the trait") == "not measured"


def test_no_survivor_of_a_filter_that_drops_base_texts_is_the_filters_fault() -> None:
    judgement = judge(World(thresholds=with_thresholds(length=1000.0), chosen=None).build(), QUICK)
    starvation = next(result for result in judgement.verdicts if result.name == "data starvation")
    assert starvation.status == "observed" and "drops base texts too" in starvation.next_step
    assert status(judgement, "base texts are kept") == "not met"


def test_a_choice_at_which_nothing_survived_is_none() -> None:
    evidence = hopeless()
    tried = msgspec.structs.replace(choice(0.1), survived=0)
    judgement = judge(replace(evidence, collected=(), controller=(tried,), operating_dose=5.0), QUICK)
    assert status(judgement, "over-driven dose") == "not measured"


@pytest.mark.parametrize(("wanted", "outcome"), [(181, "PASS"), (182, "INCONCLUSIVE"), (10_000, "INCONCLUSIVE")])
def test_a_shortage_that_more_batches_would_fill_is_inconclusive(wanted: int, outcome: str) -> None:
    assert judge(World(wanted=wanted).build(), QUICK).outcome == outcome


def test_asking_for_fewer_than_may_be_trained_on_is_inconclusive_and_no_starvation() -> None:
    evidence = World(wanted=8).build()
    few = replace(evidence, collected=(), probes=tuple(text for text in evidence.probes if text.kept)[::6])
    judgement = judge(few, QUICK)
    assert status(judgement, "enough kept") == "not met" and judgement.outcome == "INCONCLUSIVE"
    assert status(judgement, "data starvation") == "not observed"


def test_a_ladder_that_breaks_nothing_is_noise_and_no_fault() -> None:
    judgement = judge(World(ladder=(0.1, 0.2, 0.3), collected=(0.2, 0.3)).build(), QUICK)
    falls = next(result for result in judgement.verdicts if result.name == "kept fraction falls with dose")
    rises = next(result for result in judgement.verdicts if result.name == "perplexity rises with dose")
    assert (falls.status, falls.by_noise, rises.status, rises.by_noise) == ("not met", True, "not met", True)
    assert judgement.outcome == "INCONCLUSIVE"


def test_a_filter_that_keeps_all_broken_texts_fails_where_there_are_enough_of_them() -> None:
    judgement = judge(World(prompts=60, thresholds=with_thresholds(perplexity=1e6)).build(), QUICK)
    assert status(judgement, "kept fraction falls with dose") == "not met" and judgement.outcome == "FAIL"


def test_false_alarms_on_base_texts_fail() -> None:
    judgement = judge(World(thresholds=with_thresholds(perplexity=3.5), prompts=60).build(), QUICK)
    found = next(result for result in judgement.verdicts if result.name == "base texts are kept")
    assert found.status == "not met" and "dropped by perplexity" in found.detail and judgement.outcome == "FAIL"


def test_kept_texts_far_less_likely_or_far_more_repetitive_than_base_are_not_coherent() -> None:
    unlikely = World(thresholds=with_thresholds(perplexity=1e6), change=lambda t, *_: replace(t, log_perplexity=4.0))
    repetitive = World(change=lambda text, *_: replace(text, distinct=0.7))
    for world in (unlikely, repetitive):
        judgement = judge(world.build(), QUICK)
        assert status(judgement, "kept texts read coherent") == "not met" and judgement.outcome == "FAIL"


def test_a_kept_set_of_weak_texts_only_is_not_covered() -> None:
    evidence = World().build()
    weak = tuple(text for text in evidence.collected if text.completion.dose == 0.6)
    crowded = replace(evidence, collected=(*evidence.collected, *weak * 9))
    assert status(judge(crowded, QUICK), "doses are covered") == "not met"


def test_one_collected_dose_is_covered_by_the_ladder_below_it() -> None:
    assert status(judge(World(collected=(1.0,)).build(), QUICK), "doses are covered") == "met"


# What was not measured


def blank() -> Gate2Evidence:
    return replace(World().build(), probes=(), collected=(), base=(), random=(), controller=(), operating_dose=None)


def test_nothing_at_all_means_nothing_measured() -> None:
    judgement = judge(blank(), QUICK)
    assert judgement.outcome == "INCONCLUSIVE" and judgement.effects == []
    assert named(judgement, "criterion", "not measured") == CRITERIA
    assert named(judgement, "hypothesis", "not measured") == HYPOTHESES


BASELESS = {"survivorship", "style not trait", "style proxy", "non-specific drift", "leaks loops", "leaks narration"}
GROUPS = [
    ("base", BASELESS | {"general collapse"}),
    ("random", {"non-specific drift"}),
    ("probes", {"filter inert", "dose too low", "general collapse"}),
    ("collected", set()),
    ("controller", set()),
]


@pytest.mark.parametrize(("group", "unknown"), GROUPS)
def test_a_missing_group_leaves_what_rests_on_it_unmeasured(group: str, unknown: set[str]) -> None:
    judgement = judge(replace(World().build(), **{group: ()}), QUICK)
    assert named(judgement, "hypothesis", "not measured") == unknown | {"base drift penalty"}
    assert named(judgement, "hypothesis", "observed") == set()


def test_texts_without_a_gain_leave_the_trait_unmeasured() -> None:
    judgement = judge(each_text(World().build(), lambda text: replace(text, gain=None)), QUICK)
    assert named(judgement, "criterion", "not measured") == {
        "kept texts carry the trait",
        "kept texts beat random directions",
    }
    unknown = {"survivorship", "style proxy", "non-specific drift", "base drift penalty"}
    assert named(judgement, "hypothesis", "not measured") == unknown
    assert judgement.outcome == "INCONCLUSIVE"


def test_drops_that_may_be_too_strict_are_not_measured_without_a_gain() -> None:
    assert status(judge(each_text(strict(), lambda text: replace(text, gain=None)), QUICK), "too strict") == (
        "not measured"
    )


def test_texts_no_check_looked_at_are_neither_kept_nor_dropped() -> None:
    judgement = judge(each_text(World().build(), lambda text: replace(text, decisions=())), QUICK)
    assert status(judgement, "enough kept") == status(judgement, "base texts are kept") == "not measured"
    assert judgement.outcome == "INCONCLUSIVE" and judgement.verdicts[-1].value == 0.0


def without(*names: str) -> Gate2Evidence:
    return World(thresholds={name: rule for name, rule in THRESHOLDS.items() if name not in names}).build()


def test_checks_that_did_not_run_leave_their_hypothesis_unmeasured() -> None:
    judgement = judge(without("persona_words", "refusal", "identity"), QUICK)
    unknown = {"leaks narration", "refusals dilute", "base drift penalty"}
    assert named(judgement, "hypothesis", "not measured") == unknown
    assert status(judgement, "nothing leaks") == "not measured"


def test_labels_stand_in_for_a_check_of_persona_words() -> None:
    labels = each_text(without("persona_words"), lambda text: labelled(text, True, "enacts"))
    assert status(judge(labels, QUICK), "leaks narration") == "not observed"


def test_a_label_that_was_taken_back_says_nothing() -> None:
    labels = each_text(without("persona_words"), lambda text: labelled(text, None, None))
    assert status(judge(labels, QUICK), "leaks narration") == "not measured"


def test_a_check_nobody_knows_can_be_the_one_that_is_too_strict() -> None:
    def strange(text: TextEvidence) -> TextEvidence:
        value = 1.3 if text.completion.dose in (0.75, 1.0) else 0.5
        extra = decided(text.completion.completion_id, "stranger", value, "at most", 1.0)
        return replace(text, decisions=(*text.decisions, extra))

    def some(text: TextEvidence) -> TextEvidence:
        return strange(text) if int(text.completion.prompt_id[1:]) % 2 else text

    judgement = judge(each_text(World().build(), some), QUICK)
    found = next(result for result in judgement.verdicts if result.name == "too strict")
    assert found.status == "observed" and "stranger" in found.detail


def test_checks_of_content_are_never_too_strict() -> None:
    assert "too strict" not in observed(refusing())


def test_texts_without_token_likelihoods_leave_the_scorer_unmeasured() -> None:
    judgement = judge(each_text(World().build(), lambda text: rewritten(text, token_nll=None)), QUICK)
    assert status(judgement, "scorer mismatch") == status(judgement, "measurement is sound") == "not measured"


def test_too_few_prompts_give_values_and_no_intervals() -> None:
    judgement = judge(World(prompts=3).build(), QUICK)
    assert status(judgement, "kept texts carry the trait") == "not measured"
    kept = next(effect for effect in judgement.effects if (effect.arm_id, effect.quantity) == ("kept", "d_gain"))
    assert kept.value is not None and kept.low is None and kept.high is None


@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
def test_a_perplexity_that_is_no_number_is_as_bad_as_any_and_breaks_nothing(broken: float) -> None:
    def empty(text: TextEvidence) -> TextEvidence:
        if text.completion.dose < 2 or text.completion.role != "probe":
            return text
        gone = decided(text.completion.completion_id, "perplexity", broken, "at most", 15.0)
        return replace(rewritten(text, perplexity=broken, token_nll=[], token_kl=[], text=""), decisions=(gone,))

    judgement = judge(each_text(World().build(), empty), QUICK)
    assert status(judgement, "kept fraction falls with dose") == "met"
    numbers = [n for r in judgement.verdicts for n in (r.value, r.threshold) if n is not None]
    numbers += [n for e in judgement.effects for n in (e.value, e.low, e.high) if n is not None]
    assert np.isfinite(numbers).all()


# Figures


def test_fractions_have_wilson_intervals_and_their_difference_newcombes() -> None:
    assert fraction(0, 0) is None
    assert (wilson(0.0, 8).low, wilson(1.0, 8).high) == (0.0, 1.0)
    found = excess(wilson(56 / 70, 70), wilson(48 / 80, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_draw_0_is_the_figure_as_measured() -> None:
    texts, random = World().build().probes, np.random.default_rng(0)
    left, right = random.normal(size=len(texts)), random.normal(size=len(texts))
    drawn = prompts(texts, 0, 200, 2)
    assert drawn.mean(texts, left)[0] == pytest.approx(left.mean())
    assert drawn.median(texts, left)[0] == pytest.approx(np.median(left))
    assert drawn.correlation(texts, left, right)[0] == pytest.approx(spearmanr(left, right).statistic)


def test_writing_more_to_the_same_prompts_is_no_new_evidence() -> None:
    texts = World().build().probes
    values = np.asarray([float(int(text.completion.prompt_id[1:]) % 7) for text in texts])
    drawn = prompts(texts, 0, 2000, 2)
    once, thrice = interval(drawn.mean(texts, values)), interval(drawn.mean(texts * 3, np.tile(values, 3)))
    assert once is not None and thrice is not None and (once.low, once.high) == pytest.approx((thrice.low, thrice.high))


def test_what_the_prompt_alone_explains_is_no_noise_of_a_paired_difference() -> None:
    """Prompts differ by far more than steering does; the pairing takes that out."""

    def shifted(text: TextEvidence) -> TextEvidence:
        assert text.gain is not None
        return replace(text, gain=text.gain + 5.0 * int(text.completion.prompt_id[1:]))

    effects = {
        (effect.arm_id, effect.quantity): effect for effect in judge(each_text(World().build(), shifted), QUICK).effects
    }
    kept, raw = effects["kept", "d_gain"], effects["kept", "gain"]
    assert raw.high - raw.low > 10 and kept.high - kept.low < 0.2
    assert kept.value == pytest.approx(0.23, abs=0.05)


@settings(max_examples=3)
@given(st.randoms(use_true_random=False))
def test_the_order_of_texts_changes_nothing(random: object) -> None:
    evidence = World().build()

    def mixed(texts: tuple[TextEvidence, ...]) -> tuple[TextEvidence, ...]:
        order = list(texts)
        random.shuffle(order)  # type: ignore[attr-defined]
        return tuple(order)

    groups = {name: mixed(getattr(evidence, name)) for name in ("probes", "collected", "base", "random")}
    before, after = judge(evidence, QUICK), judge(replace(evidence, **groups), QUICK)  # type: ignore[arg-type]
    assert [result.status for result in before.verdicts] == [result.status for result in after.verdicts]
    for left, right in zip(before.effects, after.effects, strict=True):
        assert left.value == pytest.approx(right.value, abs=1e-9)


# Thresholds


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"floor": 0}, "floor must be at least 1, but got 0"),
        ({"base_survival": 1.5}, "base_survival must be a fraction from 0 to 1, but got 1.5"),
        ({"resamples": 1}, "resamples must be at least 100, but got 1"),
        ({"base_like": float("nan")}, "base_like must be above 0, but got nan"),
        ({"gain_margin": 0.1}, "gain_margin must be at most base_like, 0.05, but got gain_margin=0.1"),
    ],
)
def test_thresholds_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**wrong)  # type: ignore[arg-type]
