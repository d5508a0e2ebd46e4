"""Gate 3's checks: one planted fault for each known way to fail, what was not measured, and the thresholds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from judged import assert_whole, named, status
from planted_gate3 import ELSE, FIGURES, SAID, Planted, World

from steerkit.errors import RunError, UsageError
from steerkit.evidence import Gate3Evidence
from steerkit.gates._gate3_measured import measured
from steerkit.gates._gate3_texts import change, length_change
from steerkit.gates.gate3_heal import CHECKS, Config, Judgement, judge
from steerkit.spec_heal import HealSpec
from steerkit.testing import GateContract

CRITERIA = {
    "student separates",
    "shift is retained",
    "student is coherent",
    "more coherent than raw steering",
    "surgical",
    "controls move less",
    "coherence channels hold",
    "texts differ from the base's",
    "enough training texts",
    "bake is exact",
}
HYPOTHESES = {
    "over-regularised",
    "undo",
    "copies incoherence",
    "barrier never fires",
    "KL mean dilution",
    "barrier spends on trait tokens",
    "worse than plain",
    "weight decay misread",
    "adapter does nothing",
    "data near base",
    "cannot express",
    "over-fitting",
    "data starvation",
    "direction unlike the teacher's",
    "cannot see",
    "context mismatch",
    "style not trait",
    "narration learned",
    "declining learned",
    "answers converge",
    "slope artefact",
    "format break",
    "metric noise",
    "bake mismatch",
    "nothing to learn",
    "non-specific drift",
    "prompting as good",
    "weight steering as good",
}
QUICK = Config(resamples=100)
QUIET: dict[str, Any] = {"prompt": Planted(0.0), "persona": Planted(0.0)}
"""No prompt does as well as a student that learned nothing."""


class TestGate3(GateContract):
    name = "gate3_heal"


def said(world: World) -> Judgement:
    return judge(world.build(), QUICK)


# The well-behaved run


@pytest.fixture(scope="module")
def good() -> Judgement:
    return judge(World(weights=Planted(0.5, 0.97)).build(), Config())


def test_a_healed_student_passes_with_nothing_to_complain_of(good: Judgement) -> None:
    assert (good.outcome, good.label, good.possible) == ("PASS", "HEALED", ("HEALED",))
    assert named(good, "criterion", "met") == CRITERIA
    assert named(good, "hypothesis", "not observed") == HYPOTHESES


def test_every_criterion_and_hypothesis_is_there_once_and_in_words_and_the_gate_comes_last(good: Judgement) -> None:
    assert_whole(good, "gate 3", len(CHECKS), CRITERIA, HYPOTHESES)


def test_effects_cover_every_arm_once_with_an_interval_around_the_value(good: Judgement) -> None:
    evidence = World(weights=Planted(0.5, 0.97)).build()
    single = (evidence.base, evidence.healed, evidence.plain, evidence.prompt, evidence.weights)
    arms = {arm.arm_id for arm in (*single, *evidence.raw, *evidence.controls) if arm is not None}
    found = [(effect.arm_id, effect.quantity) for effect in good.effects]
    assert {arm for arm, _ in found} == arms and len(found) == len(set(found))
    wanted = {"separation", "coherence", "coh_cost", "d_care", "d_fairness", "d_social_norms", "d_target"}
    assert all(wanted <= {quantity for arm, quantity in found if arm == own} for own in arms)
    beside = {"retain", "recover", "front_gain", "front_coherence", "excess", "excess_persona", "largest_control"}
    beside |= {"steered_separation", "steered_coherence"}
    students = {arm for arm, quantity in found if quantity in beside}
    assert students == {"healed+0", "plain+0", "weights+0"}
    assert all((arm, quantity) in found for arm in students for quantity in beside)
    shown = [effect for effect in good.effects if effect.low is not None and effect.quantity != "excess"]
    assert all(effect.low - 1e-9 <= effect.value <= effect.high + 1e-9 for effect in shown)


def test_p_is_the_share_of_controls_that_move_as_far(good: Judgement) -> None:
    p = {(effect.arm_id, effect.quantity): effect.p_null for effect in good.effects}
    assert p["healed+0", "separation"] == p["healed+0", "d_target"] == pytest.approx(1 / 3)
    assert p["healed+0", "d_care"] is not None and p["healed+0", "coherence"] is None
    assert p["plain+0", "separation"] is None and p["healed+0", "front_gain"] is None


def test_judging_twice_gives_the_same(good: Judgement) -> None:
    again = judge(World(weights=Planted(0.5, 0.97)).build(), Config())
    assert (again.effects, again.verdicts, again.label) == (good.effects, good.verdicts, good.label)


# One planted fault per hypothesis: what else it implies is listed, and nothing beyond that may be observed


def figures(**changed: float) -> dict[str, float]:
    return FIGURES | changed


def held_back() -> World:
    return World(healed=Planted(0.05, 0.999), gradients=(1.0, 9.0), **QUIET)


def data_undone() -> World:
    return World(healed=Planted(0.3, 0.999), plain=Planted(0.32, 0.999), **QUIET)


def copying() -> World:
    return World(healed=Planted(1.0, 0.92, text=ELSE), plain=Planted(1.0, 0.92, text=ELSE))


def looping() -> World:
    return World(healed=Planted(0.9, 0.99, text=ELSE, healthy=False))


def silent() -> World:
    return World(over=0.02)


def diluted() -> World:
    return World(spec=HealSpec(aggregate="mean"), divergences=(0.3, 0.9, 2.0, 9.0))


def wasted() -> World:
    return World(healed=Planted(0.6, 0.985, text=ELSE), plain=Planted(1.0, 0.985, text=ELSE))


def harmed() -> World:
    return World(healed=Planted(0.9, 0.965, text=ELSE), plain=Planted(0.9, 0.99, text=ELSE))


def decayed() -> World:
    same = Planted(0.9, 0.99, text=ELSE)
    return World(healed=same, plain=same, spec=HealSpec(divergence="none", weight_decay=0.01))


def tiny_update() -> World:
    return World(update={"healed": 0.1})


def writes_as_before() -> World:
    still = figures(kl_base_mean=0.001, kl_previous_mean=0.001)
    return World(healed=Planted(0.02, 1.0), plain=Planted(0.02, 1.0), figures=still, **QUIET)


def near_base() -> World:
    course = {"healed": (1.55, 1.5, 1.45, 1.4)}
    return World(healed=Planted(0.1, 0.999), plain=Planted(0.1, 0.999), validation=course, **QUIET)


def stuck() -> World:
    return World(train={"plain": (1.6, 1.59, 1.58)})


def not_by_heart() -> World:
    return World(figures=figures(overfit_first=2.0, overfit_last=1.8))


def overfitted() -> World:
    return World(validation={"healed": (2.2, 1.6, 1.5, 1.6)})


def starved() -> World:
    return World(texts=(20, 3))


def elsewhere() -> World:
    return World(figures=figures(cosine_teacher=0.05))


def unseen() -> World:
    return World(healed=Planted(0.05, 0.999, text=ELSE), plain=Planted(0.05, 0.999, text=ELSE), **QUIET)


def one_context() -> World:
    return World(healed=Planted(0.9, 0.99, text=ELSE, second=SAID))


def long_winded() -> World:
    return World(healed=Planted(0.9, 0.99, text=f"{ELSE} and then go home to write it all down once more"))


def off_target() -> World:
    return World(healed=Planted(0.9, 0.99, off=1.0, text=ELSE))


def narrating() -> World:
    return World(figures=figures(narrated_share=0.4))


def declining() -> World:
    return World(figures=figures(declined_share=0.25, declined_share_base=0.1))


def one_mould() -> World:
    return World(base=Planted(0.0, varied=True))


def nothing_lost() -> World:
    clean = {dose: Planted(planted.shift, 0.9985) for dose, planted in World().raw.items()}
    return World(raw=clean, healed=Planted(0.9, 0.9985, text=ELSE), plain=Planted(0.9, 0.9985, text=ELSE))


def broken_format() -> World:
    return World(healed=Planted(0.9, 0.9, text=ELSE, prefill=2.0), plain=Planted(0.9, 0.9, text=ELSE))


def drowned() -> World:
    return World(healed=Planted(0.0, 0.99), noise=1.5, **QUIET)


def misbaked() -> World:
    return World(figures=figures(kl_hooked_baked=0.02))


def empty_lesson() -> World:
    return World(taught=0.25)


def broken_lesson() -> World:
    return World(taught=1.5)


def any_training() -> World:
    return World(unsteered=Planted(0.8, 0.99))


def prompted() -> World:
    return World(prompt=Planted(1.0, 0.98))


def persona_taught() -> World:
    return World(persona=Planted(1.0, 0.98))


def weights_alone() -> World:
    return World(weights=Planted(1.0, 0.97))


SOUND = {
    silent,
    diluted,
    wasted,
    harmed,
    decayed,
    tiny_update,
    stuck,
    not_by_heart,
    overfitted,
    elsewhere,
    one_context,
    long_winded,
    narrating,
    declining,
    one_mould,
    prompted,
    persona_taught,
    weights_alone,
}
"""Faults that leave the student healed: they say what else to know of it."""
PLANTED = [
    (held_back, "over-regularised", {"undo"}),
    (data_undone, "undo", set()),
    (copying, "copies incoherence", set()),
    (looping, "copies incoherence", set()),
    (silent, "barrier never fires", set()),
    (diluted, "KL mean dilution", set()),
    (wasted, "barrier spends on trait tokens", {"worse than plain"}),
    (harmed, "worse than plain", set()),
    (decayed, "weight decay misread", set()),
    (tiny_update, "adapter does nothing", set()),
    (writes_as_before, "adapter does nothing", set()),
    (near_base, "data near base", {"undo"}),
    (stuck, "cannot express", set()),
    (not_by_heart, "cannot express", set()),
    (overfitted, "over-fitting", set()),
    (starved, "data starvation", set()),
    (elsewhere, "direction unlike the teacher's", set()),
    (unseen, "cannot see", {"undo"}),
    (one_context, "context mismatch", set()),
    (long_winded, "style not trait", set()),
    (off_target, "style not trait", set()),
    (narrating, "narration learned", set()),
    (declining, "declining learned", set()),
    (one_mould, "answers converge", set()),
    (nothing_lost, "slope artefact", set()),
    (broken_format, "format break", {"copies incoherence"}),
    (drowned, "metric noise", {"over-regularised", "undo", "style not trait", "prompting as good", "slope artefact"}),
    (misbaked, "bake mismatch", set()),
    (empty_lesson, "nothing to learn", set()),
    (broken_lesson, "nothing to learn", set()),
    (any_training, "non-specific drift", set()),
    (prompted, "prompting as good", set()),
    (persona_taught, "prompting as good", set()),
    (weights_alone, "weight steering as good", set()),
]


@pytest.mark.parametrize(("plant", "name", "implied"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_observed_and_nothing_unrelated(
    plant: Callable[[], World], name: str, implied: set[str]
) -> None:
    judgement = said(plant())
    seen = named(judgement, "hypothesis", "observed")
    assert name in seen
    assert seen <= {name} | implied
    assert (judgement.outcome == "PASS") == (plant in SOUND) == (judgement.label == "HEALED" and plant in SOUND)
    assert f"{name}: " in judgement.verdicts[-1].next_step


def test_every_hypothesis_has_a_planted_fault() -> None:
    assert {name for _, name, _ in PLANTED} == HYPOTHESES


def test_an_undone_student_is_told_from_undone_texts_by_the_plain_one() -> None:
    by_constraint, by_data = (
        next(result for result in said(world).verdicts if result.name == "undo")
        for world in (held_back(), data_undone())
    )
    assert "the constraint undid it" in by_constraint.next_step
    assert "the plain adapter is undone too" in by_data.next_step
    alone = next(r for r in said(replace(held_back(), plain=None)).verdicts if r.name == "undo")
    assert "train a plain adapter" in alone.next_step


def test_a_no_op_is_no_undo() -> None:
    judgement = said(writes_as_before())
    assert judgement.label == "NO-OP" and status(judgement, "undo") == "not observed"


@pytest.mark.parametrize("spec", [HealSpec(aggregate="rmse"), HealSpec(aggregate="p95"), HealSpec(divergence="none")])
def test_only_a_mean_dilutes(spec: HealSpec) -> None:
    assert status(said(replace(diluted(), spec=spec)), "KL mean dilution") == "not observed"


def test_without_a_barrier_no_fault_of_a_barrier_is_observed() -> None:
    judgement = said(replace(held_back(), spec=HealSpec(divergence="none"), over=0.0))
    for name in ("over-regularised", "barrier never fires", "KL mean dilution", "barrier spends on trait tokens"):
        assert status(judgement, name) == "not observed"


def test_a_barrier_that_buys_coherence_is_not_spent_on_the_trait() -> None:
    bought = World(healed=Planted(0.6, 0.999, text=ELSE), plain=Planted(1.0, 0.96, text=ELSE))
    assert status(said(bought), "barrier spends on trait tokens") == "not observed"


def test_low_nll_before_training_is_no_fault_of_texts_that_move_a_student() -> None:
    judgement = said(World(validation={"healed": (1.55, 1.5, 1.45, 1.4)}))
    assert status(judgement, "data near base") == "not observed"


def test_a_validation_nll_that_rises_with_the_training_nll_is_no_over_fitting() -> None:
    course = World(validation={"healed": (2.2, 1.6, 1.5, 1.6)}, train={"healed": (1.6, 1.2, 1.3)})
    assert status(said(course), "over-fitting") == "not observed"


def test_an_incoherent_student_without_a_strange_scaffold_is_no_format_break() -> None:
    assert status(said(copying()), "format break") == "not observed"


@pytest.mark.parametrize("coherence", [0.9, 0.2])
def test_an_incoherent_prompt_is_not_as_good(coherence: float) -> None:
    assert status(said(World(prompt=Planted(2.0, coherence))), "prompting as good") == "not observed"


def test_a_plain_student_that_moved_further_at_the_same_front_is_not_better() -> None:
    judgement = said(World(healed=Planted(0.5, 0.995, text=ELSE), plain=Planted(1.0, 0.93, text=ELSE)))
    assert status(judgement, "worse than plain") == "not observed"


# Criteria


@pytest.mark.parametrize(
    ("world", "criterion"),
    [
        (World(healed=Planted(0.25, 0.999, text=ELSE), raw={1.0: Planted(0.35, 0.98)}), "student separates"),
        (World(healed=Planted(0.4, 0.99, text=ELSE)), "shift is retained"),
        (World(healed=Planted(0.9, 0.945, text=ELSE)), "student is coherent"),
        (World(healed=Planted(0.75, 0.952, text=ELSE)), "more coherent than raw steering"),
        (off_target(), "surgical"),
        (any_training(), "controls move less"),
        (looping(), "coherence channels hold"),
        (World(healed=Planted(0.9, 0.99)), "texts differ from the base's"),
        (starved(), "enough training texts"),
        (misbaked(), "bake is exact"),
    ],
)
def test_each_criterion_alone_can_fail_the_gate(world: World, criterion: str) -> None:
    judgement = said(world)
    assert named(judgement, "criterion", "not met") == {criterion}
    assert judgement.outcome == "FAIL" and criterion in judgement.verdicts[-1].detail


def test_what_noise_decides_is_inconclusive() -> None:
    judgement = said(World(noise=1.5))
    missed = [result for result in judgement.verdicts if result.kind == "criterion" and result.status == "not met"]
    assert missed and all(result.by_noise for result in missed) and judgement.outcome == "INCONCLUSIVE"


def test_earlier_gates_that_did_not_pass_are_named() -> None:
    evidence = replace(World().build(), gate1_verdict="FAIL", gate2_verdict="INCONCLUSIVE")
    detail = judge(evidence, QUICK).verdicts[-1].detail
    assert "gate 1 said FAIL" in detail and "gate 2 said INCONCLUSIVE" in detail


# What was not measured


def bare() -> Gate3Evidence:
    """Nothing but the base."""
    nothing = dict.fromkeys(("healed", "plain", "steered", "prompt", "weights", "previous"))
    return replace(World().build(), raw=(), controls=(), heals={}, texts={}, **nothing)  # type: ignore[arg-type]


def test_nothing_but_the_base_means_nothing_measured() -> None:
    judgement = judge(bare(), QUICK)
    assert (judgement.outcome, judgement.label) == ("INCONCLUSIVE", "UNCLEAR")
    assert named(judgement, "criterion", "not measured") == CRITERIA
    assert named(judgement, "hypothesis", "not measured") == HYPOTHESES
    assert {effect.arm_id for effect in judgement.effects} == {"base+0"}


PLAIN = {"over-regularised", "barrier spends on trait tokens", "worse than plain", "weight decay misread"}
TRAINED = {"barrier never fires", "KL mean dilution", "over-fitting", "data starvation", "cannot express"}
FIGURED = {"direction unlike the teacher's", "narration learned", "declining learned", "bake mismatch"}
MISSING: list[tuple[World, set[str], set[str]]] = [
    (World(plain=None), PLAIN | {"data near base"}, set()),
    (World(unsteered=None, random=None), {"non-specific drift"}, {"controls move less"}),
    (World(prompt=None, persona=None), {"prompting as good"}, set()),
    (
        World(raw={}),
        {"undo", "worse than plain", "slope artefact", "nothing to learn"},
        {"shift is retained", "more coherent than raw steering"},
    ),
    (World(figures={}), FIGURED, {"bake is exact"}),
    (World(validation={"healed": ()}), {"over-fitting"}, set()),
]


@pytest.mark.parametrize(("world", "unknown", "open_criteria"), MISSING)
def test_what_is_missing_leaves_what_rests_on_it_unmeasured(
    world: World, unknown: set[str], open_criteria: set[str]
) -> None:
    judgement = said(world)
    assert named(judgement, "hypothesis", "not measured") == unknown | {"weight steering as good"}
    assert named(judgement, "hypothesis", "observed") == set()
    assert named(judgement, "criterion", "not measured") == open_criteria


def test_without_training_records_nothing_is_said_of_training() -> None:
    judgement = judge(replace(World().build(), heals={}), QUICK)
    unknown = named(judgement, "hypothesis", "not measured")
    assert unknown == TRAINED | FIGURED | (PLAIN - {"worse than plain"}) | {
        "adapter does nothing",
        "weight steering as good",
    }
    assert named(judgement, "criterion", "not measured") == {"enough training texts", "bake is exact"}


def silenced(evidence: Gate3Evidence, *names: str) -> Gate3Evidence:
    """Without the texts of these arms."""
    return replace(evidence, **{name: replace(getattr(evidence, name), texts=()) for name in names})


@pytest.mark.parametrize("name", ["base", "healed"])
def test_without_texts_nothing_is_said_of_texts(name: str) -> None:
    judgement = judge(silenced(World().build(), name), QUICK)
    assert named(judgement, "criterion", "not measured") == {"coherence channels hold", "texts differ from the base's"}
    unknown = {"cannot see", "context mismatch", "style not trait", "answers converge", "weight steering as good"}
    assert named(judgement, "hypothesis", "not measured") == unknown


def test_an_incoherent_student_without_scaffold_or_texts_may_be_a_format_break() -> None:
    blind = replace(broken_format(), healed=Planted(0.9, 0.9, text=ELSE, prefill=None))
    assert status(said(blind), "format break") == "not measured"
    assert status(judge(silenced(broken_format().build(), "healed"), QUICK), "format break") == "not measured"


def test_a_figure_that_is_no_number_was_not_measured() -> None:
    judgement = said(World(figures=dict.fromkeys(FIGURES, float("nan"))))
    assert named(judgement, "hypothesis", "not measured") >= FIGURED
    assert status(judgement, "bake is exact") == "not measured"


def test_flat_students_without_a_first_nll_may_be_near_the_base() -> None:
    flat = replace(near_base(), validation={"healed": (1.5, 1.4), "control-unsteered": ()})
    assert status(said(flat), "data near base") == "not measured"


def test_every_number_is_finite_or_none_whatever_breaks() -> None:
    world = World(healed=Planted(0.0, 0.0), unsteered=Planted(0.0, 0.0), validation={"healed": ()})
    judgement = said(world)
    numbers = [n for r in judgement.verdicts for n in (r.value, r.threshold) if n is not None]
    numbers += [n for e in judgement.effects for n in (e.value, e.low, e.high, e.p_null) if n is not None]
    assert np.isfinite(numbers).all() and judgement.label != "HEALED"


def test_an_unscorable_student_is_unclear() -> None:
    evidence = World().build()
    assert evidence.healed is not None
    gone = replace(evidence.healed, choice=np.full_like(evidence.healed.choice, np.nan))
    judgement = judge(replace(evidence, healed=gone), QUICK)
    assert judgement.label == "UNCLEAR" and judgement.outcome != "PASS"


def test_arms_must_have_one_row_per_vignette() -> None:
    evidence = World().build()
    with pytest.raises(RunError, match="must have answers of shape"):
        judge(replace(evidence, labels=evidence.labels[:-1]), QUICK)


# Texts


def test_text_change_is_the_share_of_new_trigrams() -> None:
    base, half = "a b c d e f", "a b c d x y"
    world = World(healed=Planted(0.9, 0.99, text=half))
    evidence = world.build()
    assert evidence.healed is not None
    own = tuple(text_of(text, half) for text in evidence.healed.texts)
    usual = tuple(text_of(text, base) for text in evidence.base.texts)
    study = measured(
        replace(evidence, healed=replace(evidence.healed, texts=own), base=replace(evidence.base, texts=usual)), 100
    )
    assert study.healed is not None
    assert change(study, study.healed) == pytest.approx(2 / 4)
    assert length_change(study, study.healed) == pytest.approx(0.0)


def text_of(completion: Any, text: str) -> Any:
    return msgspec.structs.replace(completion, text=text)


def test_the_context_of_training_is_the_adapters_own() -> None:
    """Trained behind the second context's system prompt, and changed there alone."""
    spec = HealSpec(system_prompt="Answer briefly.")
    judgement = said(World(spec=spec, healed=Planted(0.9, 0.99, second=ELSE)))
    assert status(judgement, "context mismatch") == "observed"
    assert status(judgement, "texts differ from the base's") == "met"


# Thresholds


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"retain": 1.5}, "retain must be a fraction from 0 to 1, but got 1.5"),
        ({"separation": 0.0}, "separation must be above 0, but got 0.0"),
        ({"resamples": 1}, "resamples must be at least 100, but got 1"),
        ({"slot": float("nan")}, "slot must be a fraction from 0 to 1, but got nan"),
        ({"broken": 0.97}, "broken must be at most coherence, 0.95, but got broken=0.97"),
    ],
)
def test_thresholds_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**wrong)  # type: ignore[arg-type]
