from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import assert_whole, named, status
from planted_gate1 import World, texts, unreadable
from scipy.optimize import brentq

from steerkit.errors import RunError, UsageError
from steerkit.evidence import ArmEvidence, Gate1Evidence
from steerkit.gates.gate1_steer import CHECKS, Config, Judgement, judge
from steerkit.records import FOUNDATIONS
from steerkit.stats import log_softmax
from steerkit.testing import GateContract

HYPOTHESES = {
    "vector too weak",
    "too strong",
    "bad Pareto",
    "wrong target",
    "general collapse",
    "format break",
    "non-specific drift",
    "wrong sign",
    "bidirectional disruption",
    "metric noise",
    "vignette-count artefact",
    "diagonal/marginal disagreement",
    "log-tail illusion",
    "persona pair improper",
    "extraction bug",
    "saturated axis",
    "prompting as good",
    "instrument mismatch",
    "uncalibrated dose",
}
CRITERIA = {
    "separates while coherent",
    "interval excludes zero",
    "surgical",
    "monotone in dose",
    "minus dose differs",
    "beats null directions",
    "instrument fits the model",
    "coherence channels hold",
    "measurement is sound",
}
QUICK = Config(resamples=200)


class TestGate1(GateContract):
    name = "gate1_steer"


def observed(evidence: Gate1Evidence) -> set[str]:
    return named(judge(evidence, QUICK), "hypothesis", "observed")


def each_steered(evidence: Gate1Evidence, change: Callable[[ArmEvidence], ArmEvidence]) -> Gate1Evidence:
    return replace(evidence, steered=tuple(change(arm) for arm in evidence.steered))


# The well-behaved run


@pytest.fixture(scope="module")
def good() -> Judgement:
    return judge(World().build(), Config())


def test_a_planted_effect_passes_with_nothing_to_complain_of(good: Judgement) -> None:
    assert good.outcome == "PASS"
    assert named(good, "criterion", "met") == CRITERIA
    assert named(good, "hypothesis", "observed") == set()
    assert good.operating is not None and good.operating.dose == 2.0
    assert good.p_null == pytest.approx(1 / 6)


def test_every_criterion_and_hypothesis_is_there_once_and_in_words_and_the_gate_comes_last(good: Judgement) -> None:
    assert_whole(good, "gate 1", len(CHECKS), CRITERIA, HYPOTHESES)


def test_effects_cover_every_arm_with_an_interval_around_the_value(good: Judgement) -> None:
    evidence = World().build()
    arms = {arm.arm_id for arm in (evidence.base, *evidence.steered, *evidence.nulls)} | {evidence.prompt.arm_id}
    wanted = {"d_auth", "d_target", "coherence", "d_marginal", "coh_cost", "not_wrong", "d_social_norms", "auth_nats"}
    assert {effect.arm_id for effect in good.effects} == arms
    for arm in arms:
        assert wanted <= {effect.quantity for effect in good.effects if effect.arm_id == arm}
    found = [effect for effect in good.effects if effect.low is not None and effect.quantity.startswith("d_")]
    assert all(effect.low - 1e-9 <= effect.value <= effect.high + 1e-9 for effect in found)


def test_p_null_compares_with_null_directions_at_the_same_dose_only(good: Judgement) -> None:
    p = {effect.arm_id: effect.p_null for effect in good.effects if effect.quantity == "d_target"}
    assert p["steered+1"] == pytest.approx(1 / 6) and p["steered-1"] == pytest.approx(1 / 6)
    assert p["steered+0.25"] is None and p["base+0"] is None and p["randoma+1"] is None


def test_judging_twice_gives_the_same(good: Judgement) -> None:
    again = judge(World().build(), Config())
    assert (again.effects, again.verdicts, again.p_null) == (good.effects, good.verdicts, good.p_null)


# One planted fault per hypothesis: what else it implies is listed, and nothing beyond that may be observed


def weak() -> Gate1Evidence:
    world = World()
    world.shift = lambda dose: 0.15 * world.intended(dose)
    return world.build()


def strong() -> Gate1Evidence:
    world = World(coherence=lambda dose: 0.99 if abs(dose) < 0.4 else 0.4, healthy=lambda dose: abs(dose) < 0.4)
    return world.build()


def costly() -> Gate1Evidence:
    return World(coherence=lambda dose: 1 - 0.09 * abs(dose), healthy=lambda dose: abs(dose) < 0.6).build()


def elsewhere() -> Gate1Evidence:
    world = World()
    world.shift = lambda dose: world.on("Fairness", -dose) + 0.3 * world.intended(dose)
    return replace(world.build(), layers=())


def collapse() -> Gate1Evidence:
    world = World(coherence=lambda dose: 1 - 0.25 * abs(dose), healthy=lambda dose: abs(dose) < 0.2)
    world.shift = lambda dose: -min(1.0, 0.5 * abs(dose)) * world.base_logits
    return world.build()


def broken_format() -> Gate1Evidence:
    return World(coherence=lambda dose: 1 - 0.4 * abs(dose)).build()


def drift() -> Gate1Evidence:
    world = World()
    world.shift = lambda dose: world.on("SocialNorms", 1.5 * dose)
    return replace(world.build(), layers=())


def nulls_as_good() -> Gate1Evidence:
    world = World()
    evidence = world.build()
    drifted = [world.arm(arm.kind, arm.dose, world.intended(arm.dose), 1.0, arm.arm_id) for arm in evidence.nulls]
    return replace(evidence, nulls=tuple(drifted))


def flipped() -> Gate1Evidence:
    world = World()
    world.shift = lambda dose: -world.intended(dose)
    return world.build()


def both_ways() -> Gate1Evidence:
    world = World()
    world.shift = lambda dose: world.intended(abs(dose))
    return replace(world.build(), layers=())


def noisy() -> Gate1Evidence:
    world = World(jitter=0.01)
    wild = world.random.normal(0, 1.0, (len(world.labels), 1))
    own = world.rows("Authority")[:, 0] == 1

    def even(dose: float) -> np.ndarray:
        """Rows move by up to a nat either way, and by very little in the mean."""
        push = world.on("Authority", 1.0, "Authority") * wild * dose
        column = FOUNDATIONS.index("Authority")

        def mean_shift(offset: float) -> float:
            moved = log_softmax(world.base_logits + push + world.on("Authority", offset, "Authority"))
            return float((moved - log_softmax(world.base_logits))[own, column].mean()) + 0.08 * dose

        return push + world.on("Authority", brentq(mean_shift, -9, 9), "Authority")

    world.shift = even
    return world.build()


def zigzag() -> Gate1Evidence:
    world = World()
    swing = {0.25: 0.1, 0.5: -0.2, 0.75: 0.3, 1.0: -0.3, 1.5: 0.3, 2.0: 1.0}
    world.shift = lambda dose: np.sign(dose) * world.intended(swing[abs(dose)])
    return world.build()


def few_vignettes() -> Gate1Evidence:
    return World(per_foundation=8).build()


def without_a_foundation() -> Gate1Evidence:
    kept = [name for name in FOUNDATIONS if name != "Sanctity"]
    return World(labels=tuple(np.repeat(kept, 22).tolist())).build()


def diagonal_only() -> Gate1Evidence:
    world = World()
    others = [name for name in FOUNDATIONS if name != "Authority"]
    world.shift = lambda dose: (
        world.on("Authority", -0.6 * dose, "Authority") + world.on("Authority", 0.63 * dose, *others)
    )
    return world.build()


def tail_only() -> Gate1Evidence:
    world = World()
    world.base_logits[:, FOUNDATIONS.index("Authority")] -= 4.6
    return world.build()


def bad_pair() -> Gate1Evidence:
    return replace(World().build(), pair_findings=("the negative pole is a negation",))


def wrong_token() -> Gate1Evidence:
    evidence = World().build()
    assert evidence.extraction is not None
    return replace(evidence, extraction=replace(evidence.extraction, token="\n", truncated=3, doubled_bos=True))


def jagged() -> Gate1Evidence:
    evidence = World().build()
    first, *rest = evidence.layers
    return replace(evidence, layers=(type(first)(**{**_fields(first), "norm": 0.5}), *rest))


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def saturated() -> Gate1Evidence:
    world = World(sign=1, along=(), prompt=0.05)
    world.base_logits[:, FOUNDATIONS.index("Authority")] += world.rows("Authority")[:, 0] * 6
    world.shift = lambda dose: world.on("Authority", dose, "Authority")
    return world.build()


def unmoved() -> Gate1Evidence:
    world = World(prompt=0.02)
    world.shift = lambda dose: 0.1 * world.intended(dose)
    return world.build()


def prompted() -> Gate1Evidence:
    return World(prompt=3.5).build()


def uncalibrated() -> Gate1Evidence:
    evidence = World().build()
    assert evidence.calibration is not None
    known = {**_fields(evidence.calibration), "status": "uncalibrated", "strength": None}
    return replace(evidence, calibration=type(evidence.calibration)(**known))


HARMLESS = (few_vignettes, without_a_foundation, bad_pair, prompted, uncalibrated)
"""Faults that put the meaning of an effect in doubt, not the effect."""
SHAPELESS = {"too strong", "bad Pareto", "prompting as good", "bidirectional disruption", "persona pair improper"}
"""A collapse is the same for both signs, and nothing coherent is left of it."""
PLANTED = [
    (weak, "vector too weak", set()),
    (strong, "too strong", {"prompting as good"}),
    (costly, "bad Pareto", set()),
    (elsewhere, "wrong target", set()),
    (collapse, "general collapse", SHAPELESS),
    (broken_format, "format break", {"too strong", "bad Pareto", "prompting as good"}),
    (drift, "non-specific drift", {"wrong target", "prompting as good"}),
    (nulls_as_good, "non-specific drift", set()),
    (flipped, "wrong sign", {"prompting as good"}),
    (both_ways, "bidirectional disruption", set()),
    (noisy, "metric noise", set()),
    (zigzag, "metric noise", {"bidirectional disruption"}),
    (few_vignettes, "vignette-count artefact", set()),
    (without_a_foundation, "vignette-count artefact", set()),
    (diagonal_only, "diagonal/marginal disagreement", set()),
    (tail_only, "log-tail illusion", set()),
    (bad_pair, "persona pair improper", set()),
    (wrong_token, "extraction bug", set()),
    (jagged, "extraction bug", set()),
    (saturated, "saturated axis", {"vector too weak"}),
    (unmoved, "saturated axis", {"vector too weak"}),
    (prompted, "prompting as good", set()),
    (uncalibrated, "uncalibrated dose", set()),
]


@pytest.mark.parametrize(("plant", "name", "implied"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_observed_and_nothing_unrelated(
    plant: Callable[[], Gate1Evidence], name: str, implied: set[str]
) -> None:
    judgement = judge(plant(), QUICK)
    seen = named(judgement, "hypothesis", "observed")
    assert name in seen
    assert seen <= {name} | implied
    assert (judgement.outcome == "PASS") == (plant in HARMLESS)


def test_every_hypothesis_has_a_planted_fault() -> None:
    assert {name for _, name, _ in PLANTED} == HYPOTHESES - {"instrument mismatch"}


def test_a_broad_stable_direction_is_blamed_on_the_pair() -> None:
    stable = replace(elsewhere(), layers=World().build().layers)
    assert observed(stable) == {"wrong target", "persona pair improper"}


# Random directions


@pytest.mark.parametrize("seed", range(3))
def test_a_random_direction_never_passes(seed: int) -> None:
    world = World(null_scale=0.5)
    push = np.random.default_rng(100 + seed).normal(0, 0.5, 7)
    world.shift = lambda dose: push * dose
    assert judge(world.build(), QUICK).outcome != "PASS"


@pytest.mark.parametrize("along", [("Care",), ()])
def test_a_broad_shift_is_surgical_only_where_others_may_move_up(along: tuple[str, ...]) -> None:
    world = World(along=along)
    world.shift = lambda dose: 0.4 * world.intended(dose) + world.on("Care", 2 * dose, "Care")
    assert status(judge(world.build(), QUICK), "surgical") == ("met" if along else "not met")


def test_a_foundation_that_may_move_along_must_not_fall_with_the_target() -> None:
    world = World()
    world.shift = lambda dose: world.intended(dose) + world.on("Care", -2 * dose, "Care")
    assert "wrong target" in observed(world.build())


def nulls_of_share(share: float) -> Gate1Evidence:
    """Null directions that all do what steering does, at a smaller scale."""
    world = World(doses=(0.5, 1.0))
    evidence = world.build()
    scaled = [world.arm(arm.kind, arm.dose, share * world.intended(arm.dose), 1.0) for arm in evidence.nulls]
    return replace(evidence, nulls=tuple(scaled))


@pytest.mark.parametrize(("share", "status_of_it"), [(0.2, "met"), (0.7, "not met"), (1.3, "not met")])
def test_nulls_must_stay_below_half_of_the_separation(share: float, status_of_it: str) -> None:
    assert status(judge(nulls_of_share(share), QUICK), "beats null directions") == status_of_it


def test_nulls_that_move_the_target_the_other_way_count_by_their_size() -> None:
    judgement = judge(nulls_of_share(-3.0), QUICK)
    assert status(judgement, "beats null directions") == "not met" and judgement.p_null == 1.0


# Operating point


def test_the_operating_point_is_the_largest_dose_whose_text_can_be_read() -> None:
    judgement = judge(World(healthy=lambda dose: abs(dose) < 1.2).build(), QUICK)
    assert judgement.outcome == "PASS" and judgement.operating is not None and judgement.operating.dose == 1.0


def test_a_dose_no_null_reached_gives_way_to_one_that_was_compared() -> None:
    evidence = World().build()
    compared = replace(evidence, nulls=tuple(null for null in evidence.nulls if null.dose <= 1.0))
    judgement = judge(compared, QUICK)
    assert judgement.outcome == "PASS" and judgement.operating is not None and judgement.operating.dose == 1.0


def test_a_collapsed_dose_is_never_the_operating_point() -> None:
    world = World(coherence=lambda dose: 0.99 if abs(dose) < 1.8 else 0.1)
    judgement = judge(world.build(), QUICK)
    assert judgement.operating is not None and judgement.operating.dose == 1.5
    assert named(judgement, "hypothesis", "observed") == set()


# What was not measured


def stripped() -> Gate1Evidence:
    evidence = World().build()
    bare = {"nulls": (), "prompt": None, "layers": (), "ladder": (), "calibration": None, "extraction": None}
    positive = tuple(replace(arm, texts=()) for arm in evidence.steered if arm.dose > 0)
    return replace(evidence, steered=positive, **bare)  # type: ignore[arg-type]


def test_what_was_not_measured_is_said_so_and_never_false() -> None:
    judgement = judge(stripped(), QUICK)
    missing = {"beats null directions", "minus dose differs", "coherence channels hold", "measurement is sound"}
    assert named(judgement, "criterion", "not measured") == missing
    unknown = {"non-specific drift", "bidirectional disruption", "extraction bug", "prompting as good"}
    unknown |= {"instrument mismatch", "uncalibrated dose"}
    assert named(judgement, "hypothesis", "not measured") == unknown
    assert judgement.outcome == "INCONCLUSIVE" and judgement.p_null is None


def test_nothing_steered_means_nothing_measured() -> None:
    judgement = judge(replace(World().build(), steered=()), QUICK)
    assert judgement.outcome == "INCONCLUSIVE" and judgement.operating is None
    assert named(judgement, "hypothesis", "observed") == set()
    assert status(judgement, "vector too weak") == "not measured"


def test_too_few_nulls_for_the_wanted_p_are_not_measured() -> None:
    evidence = World().build()
    few = replace(evidence, nulls=tuple(null for null in evidence.nulls if null.kind == "random"))
    assert status(judge(few, QUICK), "beats null directions") == "not measured"
    assert judge(few, Config(resamples=300, p_null=0.25)).outcome == "PASS"


def test_a_wrong_sign_without_a_negative_dose_is_not_measured() -> None:
    evidence = flipped()
    positive = replace(evidence, steered=tuple(arm for arm in evidence.steered if arm.dose > 0))
    assert status(judge(positive, QUICK), "wrong sign") == "not measured"


def test_a_broken_readout_without_texts_is_not_measured() -> None:
    bare = each_steered(broken_format(), lambda arm: replace(arm, texts=()))
    assert status(judge(bare, QUICK), "format break") == "not measured"


# Noise, instruments and unreadable rows


def test_noise_makes_it_inconclusive_and_a_clear_zero_makes_it_fail() -> None:
    assert judge(noisy(), QUICK).outcome == "INCONCLUSIVE"
    assert judge(weak(), QUICK).outcome == "FAIL"


def test_an_instrument_at_chance_cannot_pass() -> None:
    judgement = judge(World(confidence=0.0).build(), QUICK)
    assert status(judgement, "instrument fits the model") == "not met" and judgement.outcome != "PASS"


def test_looping_text_fails_the_health_criterion() -> None:
    judgement = judge(World(healthy=lambda dose: dose == 0).build(), QUICK)
    assert status(judgement, "coherence channels hold") == "not met" and judgement.outcome == "FAIL"


def test_a_non_finite_perplexity_is_unhealthy() -> None:
    babble = tuple(type(text)(**{**_fields(text), "tail_perplexity": float("nan")}) for text in texts(True))
    judgement = judge(each_steered(World().build(), lambda arm: replace(arm, texts=babble)), QUICK)
    assert status(judgement, "coherence channels hold") == "not met"


def test_an_unreadable_arm_is_no_operating_point_and_breaks_nothing() -> None:
    evidence = World(healthy=lambda dose: True).build()
    dead = each_steered(evidence, lambda arm: unreadable(arm, slice(None)) if abs(arm.dose) > 1.2 else arm)
    judgement = judge(dead, QUICK)
    assert judgement.outcome == "PASS" and judgement.operating is not None and judgement.operating.dose == 1.0
    effects = {(effect.arm_id, effect.quantity): effect for effect in judgement.effects}
    assert effects["steered+2", "frac_unscorable"].value == 1.0
    assert effects["steered+2", "d_target"].value is None


def test_all_arms_unreadable_is_a_format_break() -> None:
    dead = each_steered(World().build(), lambda arm: unreadable(arm, slice(None)))
    judgement = judge(dead, QUICK)
    assert status(judgement, "format break") == "observed"
    assert all(result.value is None or np.isfinite(result.value) for result in judgement.verdicts)
    assert judgement.outcome != "PASS"


def test_an_arm_of_another_length_is_an_error() -> None:
    evidence, short = World().build(), World(per_foundation=21).build()
    with pytest.raises(RunError, match="must have answers of shape"):
        judge(replace(evidence, base=short.base), QUICK)


# Invariants


@settings(max_examples=3)
@given(st.randoms(use_true_random=False))
def test_the_order_of_vignettes_changes_no_value_and_no_status(random: object) -> None:
    evidence = World().build()
    order = list(range(len(evidence.labels)))
    random.shuffle(order)  # type: ignore[attr-defined]

    def moved(arm: ArmEvidence) -> ArmEvidence:
        return replace(
            arm,
            choice=arm.choice[order],
            raw_choice=arm.raw_choice[order],
            mass=arm.mass[order],
            prefill_nll=None if arm.prefill_nll is None else arm.prefill_nll[order],
        )

    assert evidence.prompt is not None
    mixed = replace(
        each_steered(evidence, moved),
        labels=tuple(evidence.labels[i] for i in order),
        base=moved(evidence.base),
        nulls=tuple(moved(null) for null in evidence.nulls),
        prompt=moved(evidence.prompt),
    )
    before, after = judge(evidence, QUICK), judge(mixed, QUICK)
    assert [result.status for result in before.verdicts] == [result.status for result in after.verdicts]
    for left, right in zip(before.effects, after.effects, strict=True):
        if left.quantity != "resolution":  # It is the width of an interval, and other orders draw other resamples.
            assert left.value == (None if right.value is None else pytest.approx(right.value, abs=1e-9))


def test_swapping_poles_and_intended_sign_gives_the_same_verdict() -> None:
    up, down = World(sign=1, along=()), World(sign=-1, along=())
    results = [judge(world.build(), QUICK) for world in (up, down)]
    assert results[0].outcome == results[1].outcome == "PASS"
    swapped = each_steered(down.build(), lambda arm: replace(arm, dose=-arm.dose, arm_id=arm.arm_id + "~"))
    reread = judge(replace(swapped, sign=1), QUICK)
    assert reread.outcome == "PASS"


@pytest.mark.parametrize(("foundation", "sign"), list(zip(FOUNDATIONS, (1, -1, 1, 1, -1, 1, -1), strict=True)))
def test_every_foundation_can_be_a_target_either_way(foundation: str, sign: int) -> None:
    assert judge(World(target=foundation, sign=sign, along=()).build(), QUICK).outcome == "PASS"


# Thresholds


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"separation": -1.0}, "separation must be above 0, but got -1.0"),
        ({"coherence": 1.5}, "coherence must be a fraction from 0 to 1, but got 1.5"),
        ({"resamples": 1}, "resamples must be at least 100, but got 1"),
        ({"noise": float("nan")}, "noise must be above 0, but got nan"),
        ({"broken": 0.99}, "broken must be at most coherence, 0.95, but got broken=0.99"),
    ],
)
def test_thresholds_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**wrong)
