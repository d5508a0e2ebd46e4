"""Gate 4's checks: a planted loop for each stop and each known way to fail, and what was not measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from judged import assert_whole, named, status
from msgspec.structs import replace as replace_record
from planted_gate3 import ELSE, Planted
from planted_gate4 import GROWING, Loop, Turn, turn

from steerkit.errors import RunError, UsageError
from steerkit.gates._gate4_course import course
from steerkit.gates._gate4_measured import measured
from steerkit.gates.gate4_loop import CHECKS, Config, Judgement, judge
from steerkit.health import shared
from steerkit.testing import GateContract

CRITERIA = {
    "trait grows round by round",
    "coherence is held",
    "direction holds",
    "beats one round",
    "beats prompting",
    "surgical",
    "coherence channels hold",
}
HYPOTHESES = {
    "compounding drift",
    "history erasure",
    "stall",
    "loop idles",
    "trait wash-out",
    "saturation",
    "steering turns antagonistic",
    "data starvation",
    "filter contamination",
    "direction wander",
    "contrast exhausted",
    "broad permissivising",
    "off-target dominates",
    "coherence too generous",
    "answers converge",
    "seed wobble",
    "baseline shift",
    "prompting as good",
}
QUICK = Config(resamples=200)
FLAT = Planted(0.62, 0.991, text=ELSE)
"""A student that hardly differs from the first round's."""


class TestGate4(GateContract):
    name = "gate4_loop"


def said(loop: Loop) -> Judgement:
    return judge(loop.build(), QUICK)


def course_of(*turns: Turn, wanted: int = 4, config: Config = QUICK) -> tuple[int | None, str]:
    found = course(measured(Loop(turns, wanted=wanted).build(), config.resamples), config)
    return found.best, found.stop


def first_and(*turns: Turn) -> tuple[Turn, ...]:
    """The first round of the growing loop, then these."""
    return (GROWING[0], *turns)


# The well-behaved loop


@pytest.fixture(scope="module")
def good() -> Judgement:
    return judge(Loop().build(), Config())


def test_a_growing_loop_passes_with_nothing_to_complain_of(good: Judgement) -> None:
    assert (good.outcome, good.course.best, good.course.stop) == ("PASS", 3, "all rounds")
    assert named(good, "criterion", "met") == CRITERIA
    assert named(good, "hypothesis", "not observed") == HYPOTHESES


def test_every_check_is_there_once_and_in_words_and_the_gate_comes_last(good: Judgement) -> None:
    assert_whole(good, "gate 4", len(CHECKS), CRITERIA, HYPOTHESES)


def test_effects_cover_every_arm_beside_the_base_and_the_student_before(good: Judgement) -> None:
    found = {(effect.arm_id, effect.quantity): effect for effect in good.effects}
    assert len(found) == len(good.effects)
    arms = {arm for arm, _ in found}
    assert arms == {"base+0", "prompt+0", "steered+0.5", "steered+1"} | {
        f"{kind} {number}" for kind in ("steered", "healed", "plain") for number in range(4)
    }
    assert found["healed 2", "d_target"].value == pytest.approx(-1.8, abs=0.05)
    assert found["healed 2", "d_target_previous"].value == pytest.approx(-0.6, abs=0.05)
    assert found["healed 0", "d_target_previous"].value == found["healed 0", "d_target"].value
    assert found["healed 2", "coherence_previous"].value == pytest.approx(0.987 / 0.991, abs=0.002)


def test_judging_twice_gives_the_same(good: Judgement) -> None:
    again = judge(Loop().build(), Config())
    assert (again.effects, again.verdicts) == (good.effects, good.verdicts)


def test_the_opposite_trait_is_judged_alike() -> None:
    assert said(Loop(sign=1)).outcome == "PASS"


# Stop rules


def test_it_goes_on_while_each_round_surely_gains() -> None:
    assert course_of(*GROWING[:1]) == (0, "")
    assert course_of(*GROWING[:3]) == (2, "")


def test_it_stops_with_the_last_round_that_was_asked_for() -> None:
    assert course_of(*GROWING[:2], wanted=2) == (1, "all rounds")


@pytest.mark.parametrize(("coherence", "stop"), [(0.955, ""), (0.945, "coherence floor")])
def test_it_stops_below_the_floor_of_coherence(coherence: float, stop: str) -> None:
    assert course_of(*first_and(turn(1, 1.2, coherence))) == (1 if not stop else 0, stop)


def test_it_stops_when_a_gain_cannot_be_told_from_0() -> None:
    assert course_of(*first_and(turn(1, 0.58, 0.99)))[1] == "no gain"
    assert course_of(*first_and(turn(1, 0.3, 0.99))) == (0, "no gain")
    assert course_of(turn(0, -0.02, 0.99))[1] == "no gain"


def test_patience_waits_for_another_round_without_gain() -> None:
    patient = replace_config(patience=2)
    still = turn(1, 0.58, 0.99)
    assert course_of(*first_and(still), config=patient)[1] == ""
    assert course_of(*first_and(still, turn(2, 0.56, 0.99)), config=patient)[1] == "no gain"
    assert course_of(*first_and(still, turn(2, 1.2, 0.99)), config=patient)[1] == ""


@pytest.mark.parametrize("stop", ["starvation", "training broke"])
def test_a_round_without_a_student_ends_the_loop_and_the_best_stays(stop: str) -> None:
    missing = Turn(None, None, None, {"stop": stop, "stop_why": "why", "adapter_id": None})
    assert course_of(*GROWING[:2], missing) == (1, stop)
    assert course_of(missing) == (None, stop)


def test_a_loop_without_any_student_fails_without_breaking() -> None:
    found = said(Loop([Turn(None, None, None, {"stop": "starvation", "kept": 3, "kept_distinct": None})]))
    assert found.outcome != "PASS" and status(found, "data starvation") == "observed"
    assert found.verdicts[-1].detail.startswith("no round has a coherent student; stopped: starvation")


def replace_config(**given: Any) -> Config:
    return Config(resamples=200, **given)


# Criteria


def test_too_few_rounds_are_no_failure() -> None:
    found = said(Loop(GROWING[:2], wanted=2))
    assert status(found, "trait grows round by round") == "not measured" and found.outcome == "INCONCLUSIVE"
    assert "--rounds 4" in next(v.next_step for v in found.verdicts if v.name == "trait grows round by round")


@pytest.mark.parametrize(
    ("turns", "criterion"),
    [
        ((*GROWING[:3], turn(3, 1.4, 0.98)), "trait grows round by round"),
        ((GROWING[0], turn(1, 1.2, 0.94), *GROWING[2:]), "coherence is held"),
        ((*GROWING[:3], turn(3, 2.4, 0.98, cosine_first=0.4)), "direction holds"),
        ((turn(0, 3.0, 0.99), *GROWING[1:]), "beats one round"),
        ((replace(GROWING[0], plain=Planted(2.6, 0.99)), *GROWING[1:]), "beats one round"),
    ],
)
def test_a_criterion_that_does_not_hold(turns: Sequence[Turn], criterion: str) -> None:
    assert status(said(Loop(turns)), criterion) == "not met"


def test_an_incoherent_first_round_is_no_rival() -> None:
    broken = replace(GROWING[0], plain=Planted(2.6, 0.6))
    assert status(said(Loop((broken, *GROWING[1:]))), "beats one round") == "met"


@pytest.mark.parametrize(
    ("prompt", "found"), [(Planted(2.6, 0.98), "not met"), (Planted(2.6, 0.6), "met"), (None, "not measured")]
)
def test_the_best_round_must_beat_a_coherent_prompt(prompt: Planted | None, found: str) -> None:
    assert status(said(Loop(prompt=prompt)), "beats prompting") == found


def test_a_foundation_off_target_that_moves_as_far_is_not_surgical() -> None:
    last = GROWING[3]
    assert last.healed is not None
    wide = replace(last, healed=replace(last.healed, off=-2.6))
    found = said(Loop((*GROWING[:3], wide)))
    assert status(found, "surgical") == "not met" and status(found, "off-target dominates") == "observed"


def test_looping_texts_of_a_coherent_student_are_seen() -> None:
    last = GROWING[3]
    assert last.healed is not None
    found = said(Loop((*GROWING[:3], replace(last, healed=replace(last.healed, healthy=False)))))
    assert (
        status(found, "coherence channels hold") == "not met" and status(found, "coherence too generous") == "observed"
    )


def test_a_student_that_answers_everything_in_one_mould_is_seen() -> None:
    """In the planted loop all arms write one sentence, so the base is given answers of its own."""
    made = Loop().build()
    own = [replace_record(t, text=" ".join(f"{t.prompt_id}w{i}" for i in range(9))) for t in made.base.texts]
    varied = replace(made, base=replace(made.base, texts=tuple(own)))
    assert status(judge(made, QUICK), "answers converge") == "not observed"
    assert status(judge(varied, QUICK), "answers converge") == "observed"
    silent = replace(made, base=replace(made.base, texts=()))
    assert status(judge(silent, QUICK), "answers converge") == "not measured"


def test_what_answers_share_is_counted_between_prompts_alone() -> None:
    assert shared([("a", "one two three four"), ("a", "one two three four")]) is None
    assert shared([("a", "one two three four"), ("b", "One two three five")]) == 0.5
    assert shared([("a", "one two three"), ("b", "one two three"), ("c", "six seven eight")]) == pytest.approx(1 / 3)
    assert shared([("a", "short"), ("b", "one two three")]) is None


# Hypotheses

HELD = Turn(FLAT, Planted(1.3, 0.96), FLAT, {"over": 0.9, "kl_base": 0.4, "kl_previous": 0.3})
FREE = replace(HELD, row={**HELD.row, "over": 0.1})
BASED = {"reference": "base", "tau": 0.5}
ERASED = Turn(
    Planted(0.2, 0.99), Planted(0.9, 0.96), Planted(0.5, 0.99), {**BASED, "start_divergence": 0.9, "kl_base": 0.4}
)


@pytest.mark.parametrize(
    ("turns", "hypothesis"),
    [
        ((GROWING[0], turn(1, 1.2, 0.98), turn(2, 1.8, 0.965)), "compounding drift"),
        (first_and(ERASED), "history erasure"),
        (first_and(HELD), "stall"),
        (first_and(FREE), "saturation"),
        (first_and(Turn(FLAT, Planted(0.61, 0.995), FLAT, {"chosen_dose": 0.25})), "loop idles"),
        (first_and(turn(1, 1.2, 0.98), turn(2, 0.7, 0.975)), "trait wash-out"),
        (first_and(replace(turn(1, 1.2, 0.98), steered=Planted(0.1, 0.95))), "steering turns antagonistic"),
        (first_and(turn(1, 1.2, 0.98, kept=20)), "data starvation"),
        (first_and(turn(1, 1.2, 0.98, kept_distinct=0.3, kept_perplexity=2.5)), "filter contamination"),
        (first_and(turn(1, 1.2, 0.98, cosine_first=0.45)), "direction wander"),
        (first_and(turn(1, 1.2, 0.98, direction_norm=0.9)), "contrast exhausted"),
        (first_and(turn(1, 1.2, 0.98, cosine_last=-0.3)), "contrast exhausted"),
        (first_and(turn(1, 0.8, 0.98)), "seed wobble"),
        (first_and(turn(1, 1.2, 0.98, base_nats=-0.2)), "baseline shift"),
    ],
)
def test_a_planted_way_to_fail_is_observed(turns: Sequence[Turn], hypothesis: str) -> None:
    assert status(said(Loop(turns)), hypothesis) == "observed"


def test_a_prompt_that_does_as_well_is_observed() -> None:
    assert status(said(Loop(prompt=Planted(2.5, 0.98))), "prompting as good") == "observed"
    assert status(said(Loop(prompt=Planted(2.5, 0.7))), "prompting as good") == "not observed"


def test_every_foundation_falling_with_the_target_is_observed() -> None:
    evidence = Loop().build()
    last = evidence.rounds[-1]
    assert last.healed is not None
    everything = replace(last.healed, choice=evidence.base.choice - 0.5)
    found = judge(replace(evidence, rounds=(*evidence.rounds[:-1], replace(last, healed=everything))), QUICK)
    assert status(found, "broad permissivising") == "observed"


@pytest.mark.parametrize(
    ("turns", "hypothesis"),
    [
        # The same loss with a barrier from the base that adds up to no more than one step is no drift.
        (first_and(turn(1, 1.2, 0.98), turn(2, 1.8, 0.965, kl_base=0.3)), "compounding drift"),
        # Nothing was inherited that the barrier would have to undo.
        (first_and(replace(ERASED, row={**ERASED.row, "start_divergence": 0.2})), "history erasure"),
        # Training without the barrier lost as much.
        (first_and(replace(ERASED, plain=Planted(0.2, 0.99))), "history erasure"),
        (first_and(replace(ERASED, row={**ERASED.row, "reference": "previous"})), "history erasure"),
        # A flat round at the weakest dose idles; it is not saturated.
        (first_and(replace(FREE, row={**FREE.row, "chosen_dose": 0.25})), "saturation"),
        (first_and(Turn(FLAT, Planted(0.61, 0.995), FLAT, {"chosen_dose": 1.0})), "loop idles"),
        (first_and(turn(1, 1.2, 0.98), turn(2, 0.7, 0.995)), "trait wash-out"),
    ],
)
def test_a_look_alike_is_not_observed(turns: Sequence[Turn], hypothesis: str) -> None:
    assert status(said(Loop(turns)), hypothesis) == "not observed"


def test_after_one_round_what_needs_two_is_not_measured() -> None:
    found = said(Loop(GROWING[:1]))
    needs_two = {"compounding drift", "history erasure", "stall", "saturation", "loop idles", "trait wash-out"}
    needs_two |= {"steering turns antagonistic", "direction wander", "contrast exhausted", "seed wobble"}
    assert needs_two <= named(found, "hypothesis", "not measured")


def test_arms_of_other_vignettes_are_refused() -> None:
    evidence = Loop().build()
    prompt = evidence.prompt
    assert prompt is not None
    rows = {name: getattr(prompt, name)[:5] for name in ("choice", "raw_choice", "mass", "prefill_nll")}
    short = replace(prompt, **rows)
    with pytest.raises(RunError, match="must have answers of shape"):
        judge(replace(evidence, prompt=short), QUICK)


@pytest.mark.parametrize(
    ("given", "said_"),
    [
        ({"coherence": 1.2}, "a fraction from 0 to 1"),
        ({"patience": 0}, "at least 1"),
        ({"broken": 0.99}, "broken must be at most coherence"),
        ({"wobble": float("nan")}, "above 0"),
    ],
)
def test_a_threshold_out_of_range_is_refused(given: dict[str, Any], said_: str) -> None:
    with pytest.raises(UsageError, match=said_):
        Config(**given)
