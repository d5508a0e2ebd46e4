"""Labels whose answer is known, on both sides of every boundary, and the front against a line drawn by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_gate3 import ELSE, FIGURES, Planted, World, mirrored

from steerkit.evidence import Gate3Evidence
from steerkit.gates._gate3_conditions import conditions
from steerkit.gates._gate3_front import offered
from steerkit.gates._gate3_label import table, truth
from steerkit.gates._gate3_measured import measured
from steerkit.gates.gate3_heal import Config, Judgement, judge

QUICK = Config(resamples=100)
STILL = FIGURES | {"kl_base_mean": 0.001, "kl_previous_mean": 0.001}
HALF = 0.5
CLEAN_TAUGHT = {0.25: Planted(0.25, 1.0), 0.5: Planted(0.5, 1.002), 1.0: Planted(1.0, 1.001)}
Effects = dict[tuple[str, str], tuple[float | None, float | None, float | None]]


def exact(**knobs: object) -> World:
    """A world without noise: every interval is a point."""
    return World(noise=0.0, mass_noise=0.0, **knobs)  # type: ignore[arg-type]


def student(shift: float, coherence: float, **more: object) -> World:
    return exact(healed=Planted(shift, coherence, text=ELSE), **more)


def said(world: World) -> Judgement:
    return judge(world.build(), QUICK)


def effects(judgement: Judgement) -> Effects:
    return {(e.arm_id, e.quantity): (e.value, e.low, e.high) for e in judgement.effects}


def numbers(judgement: Judgement) -> dict[str, float]:
    """Every effect's value, NaN where it is undefined."""
    found = ((f"{e.arm_id} {e.quantity}", e.value) for e in judgement.effects)
    return {name: float("nan") if value is None else value for name, value in found}


# One world for each label

LABELS = [
    ("HEALED", World()),
    ("NO-OP", World(healed=Planted(0.02, 1.0), figures=STILL)),
    ("UNDONE", World(healed=Planted(0.1, 1.0))),
    ("COPIED", World(healed=Planted(1.0, 0.92, text=ELSE))),
    ("OVERSHOT", World(healed=Planted(1.3, 0.9, text=ELSE))),
    ("OVERSHOT", World(healed=Planted(1.3, 0.99, off=1.5, text=ELSE))),
    ("NON-SPECIFIC", World(unsteered=Planted(0.8, 0.99))),
    ("NON-SPECIFIC", World(random=Planted(-1.2, 0.99))),
    ("UNCLEAR", World(noise=1.5)),
]


@pytest.mark.parametrize(("label", "world"), LABELS)
def test_a_planted_student_gets_its_label(label: str, world: World) -> None:
    judgement = said(world)
    assert judgement.label == label and judgement.why
    gate = judgement.verdicts[-1]
    assert gate.detail.startswith(f"{label}: ") and gate.next_step.startswith(f"{label}: ")
    assert judgement.possible == (label,) or label == "UNCLEAR"
    assert judgement.outcome == {"HEALED": "PASS", "UNCLEAR": "INCONCLUSIVE"}.get(label, "FAIL")


# Both sides of every boundary

MILD = {"taught": 0.5, "random": None, "unsteered": Planted(0.0)}
BOUNDARIES = [
    # The student's shift against 0.3 nats.
    (student(0.31, 0.999, **MILD), "HEALED"),
    (student(0.29, 0.999, **MILD), "UNCLEAR"),
    # The steering's shift against 0.3 nats.
    (student(0.9, 0.99, raw={1.0: Planted(0.31, 0.9)}), "HEALED"),
    (student(0.9, 0.99, raw={1.0: Planted(0.29, 0.9)}), "UNCLEAR"),
    # Half of a steering's shift of 1 nat.
    (student(0.51, 0.99), "HEALED"),
    (student(0.49, 0.99), "UNDONE"),
    # Coherence of 0.95: below it a student may be above raw steering and yet not coherent.
    (student(0.9, 0.951), "HEALED"),
    (student(0.9, 0.949), "UNCLEAR"),
    # An undone student that is not coherent has lost both.
    (student(0.4, 0.951), "UNDONE"),
    (student(0.4, 0.949), "UNCLEAR"),
    # Raw steering's coherence at the same separation, 0.985.
    (student(0.5, 0.986, **MILD), "HEALED"),
    (student(0.5, 0.984, **MILD), "COPIED"),
    # Half of the loss of the steering, 0.0075, where raw steering at the student's shift loses 0.007.
    (student(0.3001, 0.9924, **MILD), "COPIED"),
    (student(0.3001, 0.9926, **MILD), "UNCLEAR"),
    # One answer slot, where the steering lost nothing.
    (student(1.0, 0.9959, raw=CLEAN_TAUGHT), "COPIED"),
    (student(1.0, 0.9961, raw=CLEAN_TAUGHT), "UNCLEAR"),
    # As far as the steering.
    (student(0.99, 0.91), "COPIED"),
    (student(1.01, 0.91), "OVERSHOT"),
    # As far off target as on it.
    (exact(healed=Planted(1.1, 0.97, off=1.09, text=ELSE)), "HEALED"),
    (exact(healed=Planted(1.1, 0.97, off=1.11, text=ELSE)), "OVERSHOT"),
    # 0.7 of the student's shift, 0.63 nats.
    (student(0.9, 0.99, unsteered=Planted(0.62)), "HEALED"),
    (student(0.9, 0.99, unsteered=Planted(0.64)), "NON-SPECIFIC"),
    (student(0.9, 0.99, unsteered=Planted(-0.64)), "NON-SPECIFIC"),
    # The KL below which a student writes as the one it started from, and the shift it may not have then.
    (student(0.0, 1.0, figures=FIGURES | {"kl_previous_mean": 0.0099}), "NO-OP"),
    (student(0.0, 1.0, figures=FIGURES | {"kl_previous_mean": 0.0101}), "UNDONE"),
    (student(0.29, 1.0, figures=STILL), "NO-OP"),
    (student(-0.29, 1.0, figures=STILL), "NO-OP"),
    (student(0.31, 1.0, figures=STILL), "UNDONE"),
]


@pytest.mark.parametrize(("world", "label"), BOUNDARIES)
def test_a_boundary_has_two_sides(world: World, label: str) -> None:
    assert said(world).label == label


# Corners


def test_a_steering_more_coherent_than_the_base_leaves_nothing_to_recover() -> None:
    judgement = said(student(0.9, 1.0, raw=CLEAN_TAUGHT))
    found = effects(judgement)
    assert found["healed+0", "recover"] == (None, None, None)
    assert found["healed+0", "steered_coherence"][0] == pytest.approx(1.001)
    assert judgement.label == "UNCLEAR" and judgement.possible == ()
    assert "its coherence over raw steering's" in judgement.why


def test_a_student_more_coherent_than_the_base_is_healed() -> None:
    judgement = said(student(0.9, 1.01))
    assert judgement.label == "HEALED" and judgement.outcome == "PASS"
    assert effects(judgement)["healed+0", "recover"][0] == pytest.approx(1 + 0.01 / 0.08)


def test_a_student_beyond_all_raw_steering_is_held_against_its_strongest_arm() -> None:
    judgement = said(student(1.3, 0.97))
    assert judgement.label == "HEALED" and "the strongest raw steering's, a lower bound," in judgement.why
    assert effects(judgement)["healed+0", "front_coherence"][0] == pytest.approx(0.92)


@pytest.mark.parametrize("shift", [0.95, 1.3])
def test_a_broken_raw_arm_is_no_point_of_the_front(shift: float) -> None:
    """At dose 1.5 steering is broken; a line to it would make any student look good."""
    assert said(student(shift, 0.951)).label == "HEALED"
    with_line = effects(said(student(shift, 0.951)))["healed+0", "front_gain"][0]
    raw = {dose: planted for dose, planted in World().raw.items() if dose < 1.5}
    without = effects(said(student(shift, 0.951, raw=raw)))["healed+0", "front_gain"][0]
    assert with_line == pytest.approx(without)


def test_without_controls_healed_is_impossible_and_says_why() -> None:
    judgement = said(World(unsteered=None, random=None))
    assert judgement.label == "UNCLEAR" and judgement.possible == ("NON-SPECIFIC", "HEALED")
    assert "the largest control's was not measured" in judgement.why and judgement.outcome == "INCONCLUSIVE"


def test_an_adapter_on_persona_texts_is_no_control_of_specificity() -> None:
    strong = World(persona=Planted(1.2, 0.99))
    assert said(strong).label == "HEALED"
    assert said(replace(strong, unsteered=None, random=None)).label == "UNCLEAR"
    assert effects(said(strong))["healed+0", "excess_persona"][0] == pytest.approx(-0.3, abs=0.05)


def test_without_a_kl_no_op_and_undone_cannot_be_told_apart() -> None:
    figures = {name: value for name, value in FIGURES.items() if not name.startswith("kl_")}
    judgement = said(World(healed=Planted(0.02, 1.0), figures=figures))
    assert judgement.label == "UNCLEAR" and judgement.possible == ("NO-OP", "UNDONE")
    assert "its KL to where it started was not measured" in judgement.why


def test_in_the_first_round_the_kl_to_the_base_will_do() -> None:
    figures = {name: value for name, value in STILL.items() if name != "kl_previous_mean"}
    assert said(World(healed=Planted(0.02, 1.0), figures=figures)).label == "NO-OP"
    later = World(healed=Planted(0.02, 1.0), figures=figures, previous=Planted(0.0))
    assert said(later).label == "UNCLEAR"


@pytest.mark.parametrize("world", [World(taught=9.0), World(taught=1.5)], ids=["not scored", "broken"])
def test_without_an_unbroken_steered_arm_there_is_no_telling(world: World) -> None:
    judgement = said(world)
    assert judgement.label == "UNCLEAR" and {"HEALED", "UNDONE"} <= set(judgement.possible)
    assert effects(judgement).get(("healed+0", "retain"), (None, None, None)) == (None, None, None)


def test_without_any_raw_arm_there_is_no_front() -> None:
    judgement = said(World(raw={}))
    assert judgement.label == "UNCLEAR" and ("healed+0", "front_gain") not in effects(judgement)


def test_without_a_student_nothing_is_said() -> None:
    judgement = said(World(healed=None))
    assert (judgement.label, judgement.why, judgement.possible) == ("UNCLEAR", "no healed student was scored", ())


@pytest.mark.parametrize("prompt", [None, Planted(2.0, 0.99), Planted(-1.0, 0.2)])
def test_the_prompt_decides_no_label(prompt: Planted | None) -> None:
    assert said(World(prompt=prompt)).label == "HEALED"


# Noise


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_a_healed_student_in_noise_is_unclear_and_healed_stays_possible(noise: float) -> None:
    """Each boundary is 0.15 nats away: a spread of 0.5 over 20 vignettes hides it."""
    noisy = World(healed=Planted(0.45, 0.99, text=ELSE), taught=0.75, noise=noise)
    assert said(replace(noisy, noise=0.01)).label == "HEALED"
    judgement = said(noisy)
    assert judgement.label == "UNCLEAR" and "HEALED" in judgement.possible
    assert judgement.outcome != "PASS"


def test_noise_in_coherence_is_noise_too() -> None:
    near = World(healed=Planted(0.9, 0.955, text=ELSE))
    assert said(replace(near, mass_noise=0.002)).label == "HEALED"
    judgement = said(replace(near, mass_noise=0.2))
    assert judgement.label == "UNCLEAR" and "HEALED" in judgement.possible


# Later rounds

SECOND = {"previous": Planted(0.8, 0.98), "raw": {0.5: Planted(1.2, 0.96), 1.0: Planted(1.6, 0.92)}}
"""The round starts at 0.8 nats; its steering adds 0.8."""


@pytest.mark.parametrize(
    ("shift", "coherence", "label"),
    [(1.5, 0.975, "HEALED"), (1.25, 0.975, "HEALED"), (1.15, 0.975, "UNDONE"), (0.8, 0.98, "UNDONE")],
)
def test_a_later_round_is_judged_by_what_it_adds(shift: float, coherence: float, label: str) -> None:
    """A student that keeps all that earlier rounds gave has more than half of the whole and nothing of the round."""
    world = student(shift, coherence, unsteered=Planted(0.8), random=Planted(0.75), **SECOND)
    judgement = said(world)
    found = effects(judgement)
    assert judgement.label == label
    assert found["healed+0", "retain"][0] == pytest.approx(shift / 1.6)
    assert found["healed+0", "retain_previous"][0] == pytest.approx((shift - 0.8) / 0.8)
    assert found["healed+0", "separation_previous"][0] == pytest.approx(shift - 0.8)
    assert found["healed+0", "d_target_previous"][0] == pytest.approx(0.8 - shift)
    assert found["healed+0", "coherence_previous"][0] == pytest.approx(coherence / 0.98)
    assert found["healed+0", "largest_control"][0] == pytest.approx(0.05)


def test_where_the_round_started_is_a_point_of_the_front() -> None:
    found = effects(said(student(0.6, 0.975, **SECOND)))
    assert found["healed+0", "front_coherence"][0] == pytest.approx(0.98)


def test_a_first_round_has_no_quantity_against_a_previous_student() -> None:
    assert not [name for _, name in effects(said(World())) if name.endswith("_previous")]


# The front, by hand


def draws(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=float)


PATH = [(draws(0.0, 0.0), draws(1.0, 1.0)), (draws(0.4, 0.5), draws(0.98, 0.97)), (draws(1.0, 0.9), draws(0.9, 0.95))]


@pytest.mark.parametrize(
    ("level", "coherence"),
    [
        ((0.0, 0.0), (1.0, 1.0)),
        ((0.2, 0.25), (0.99, 0.985)),
        ((0.4, 0.5), (0.98, 0.97)),
        ((0.7, 0.6), (0.94, 0.965)),
        ((1.0, 0.9), (0.9, 0.95)),
        ((-0.5, -9.0), (1.0, 1.0)),
    ],
)
def test_between_two_doses_the_front_is_their_line(level: tuple[float, float], coherence: tuple[float, float]) -> None:
    offer = offered(PATH, [], draws(*level))
    assert offer.coherence == pytest.approx(draws(*coherence)) and not offer.beyond.any()


def test_beyond_the_last_dose_the_front_is_its_strongest_point_and_says_so() -> None:
    offer = offered(PATH, [], draws(1.2, 0.8))
    assert offer.coherence == pytest.approx(draws(0.9, 0.955)) and offer.beyond.tolist() == [True, False]


def test_more_separation_at_more_coherence_is_on_offer_too() -> None:
    """The second dose is better in both: nobody would take the first."""
    path = [(draws(0.0), draws(1.0)), (draws(0.5), draws(0.9)), (draws(0.8), draws(0.97)), (draws(0.6), draws(0.2))]
    for level, coherence in ((0.5, 0.97), (0.8, 0.97), (0.25, 0.97), (0.1, 0.98)):
        assert offered(path, [], draws(level)).coherence == pytest.approx(draws(coherence))


def test_a_point_apart_counts_without_a_line_to_it() -> None:
    start = [(draws(0.8), draws(0.9)), (draws(1.2), draws(0.8))]
    base = [(draws(0.0), draws(1.0))]
    assert offered(start, base, draws(0.0)).coherence == pytest.approx(draws(1.0))
    assert offered(start, base, draws(0.4)).coherence == pytest.approx(draws(0.9))


def test_a_point_that_is_undefined_is_not_there() -> None:
    path = [(draws(0.0), draws(1.0)), (draws(np.nan), draws(0.99)), (draws(1.0), draws(0.9))]
    offer = offered(path, [], draws(0.5))
    assert offer.coherence == pytest.approx(draws(0.9)) and not offer.beyond.any()
    assert np.isnan(offered(path[1:2], [], draws(0.5)).coherence).all()
    assert np.isnan(offered(path, [], draws(np.nan)).coherence).all()


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-1, 3), st.floats(0, 1)), min_size=1, max_size=6), st.floats(-2, 4), st.floats(0, 2)
)
def test_asking_for_more_separation_never_finds_more_coherence(
    points: list[tuple[float, float]], level: float, more: float
) -> None:
    path = [(draws(s), draws(c)) for s, c in points]
    less, further = offered(path, [], draws(level)), offered(path, [], draws(level + more))
    assert further.beyond[0] or further.coherence[0] <= less.coherence[0] + 1e-9


def test_the_gain_over_the_front_is_what_was_planted() -> None:
    """At 0.9 nats raw steering lies 0.6 of the way from 0.96 to 0.92."""
    found = effects(said(student(0.9, 0.99)))
    assert found["healed+0", "front_coherence"][0] == pytest.approx(0.936)
    assert found["healed+0", "front_gain"] == pytest.approx((0.054, 0.054, 0.054))
    assert found["healed+0", "retain"][0] == pytest.approx(0.9)
    assert found["healed+0", "recover"][0] == pytest.approx(1 - 0.01 / 0.08)
    assert found["healed+0", "steered_separation"][0] == pytest.approx(1.0)
    assert found["healed+0", "excess"][0] == pytest.approx(0.8)
    assert found["healed+0", "coh_cost"][0] == pytest.approx(0.01 / 0.9)


@pytest.mark.parametrize(("shift", "defined"), [(0.31, True), (0.29, False)])
def test_retain_of_a_steering_that_hardly_moved_is_undefined(shift: float, defined: bool) -> None:
    found = effects(said(student(0.3, 0.99, raw={1.0: Planted(shift, 0.95)})))
    assert (found["healed+0", "retain"][0] is not None) == defined


@pytest.mark.parametrize(("coherence", "defined"), [(0.9959, True), (0.9961, False)])
def test_recover_of_less_than_a_slot_is_undefined(coherence: float, defined: bool) -> None:
    found = effects(said(student(0.9, 0.99, raw={1.0: Planted(1.0, coherence)})))
    assert (found["healed+0", "recover"][0] is not None) == defined


def test_a_broken_student_retains_nothing_that_could_be_read() -> None:
    found = effects(said(student(0.9, 0.84)))
    assert found["healed+0", "retain"] == (None, None, None)
    assert found["healed+0", "recover"][0] == pytest.approx(-1.0)


# What must not matter


def shuffled(evidence: Gate3Evidence, random: object) -> Gate3Evidence:
    def mixed(arms: tuple[object, ...]) -> tuple[object, ...]:
        order = list(arms)
        random.shuffle(order)  # type: ignore[attr-defined]
        return tuple(order)

    return replace(evidence, raw=mixed(evidence.raw), controls=mixed(evidence.controls))  # type: ignore[arg-type]


STUDENTS = st.builds(Planted, st.floats(-0.5, 2.0), st.floats(0.6, 1.02), st.floats(-1.0, 1.0))
NOISE = st.sampled_from([0.0, 0.2, 1.0])


@settings(max_examples=8)
@given(STUDENTS, st.floats(-1.0, 1.0), NOISE, st.randoms(use_true_random=False))
def test_the_order_of_arms_changes_no_label(healed: Planted, control: float, noise: float, random: object) -> None:
    evidence = World(healed=healed, unsteered=Planted(control), noise=noise).build()
    before, after = judge(evidence, QUICK), judge(shuffled(evidence, random), QUICK)
    assert (before.label, before.possible, before.why) == (after.label, after.possible, after.why)
    assert [r.status for r in before.verdicts] == [r.status for r in after.verdicts]
    assert numbers(before) == pytest.approx(numbers(after), nan_ok=True)


@settings(max_examples=8)
@given(STUDENTS, st.floats(-1.0, 1.0), NOISE, st.booleans())
def test_a_trait_and_its_mirror_image_get_the_same_label(
    healed: Planted, control: float, noise: float, later: bool
) -> None:
    previous = Planted(0.2, 0.99) if later else None
    evidence = World(healed=healed, unsteered=Planted(control), noise=noise, previous=previous).build()
    before, after = judge(evidence, QUICK), judge(mirrored(evidence), QUICK)
    assert (before.label, before.possible) == (after.label, after.possible)
    assert [result.status for result in before.verdicts] == [result.status for result in after.verdicts]


@settings(max_examples=40)
@given(STUDENTS, STUDENTS, st.floats(-1.0, 1.0), NOISE, st.sampled_from([0.0, 0.02, None]), st.booleans())
def test_two_labels_never_hold_at_once(
    healed: Planted, steered: Planted, control: float, noise: float, kl: float | None, later: bool
) -> None:
    world = World(
        raw={0.5: Planted(0.4, 0.98), 1.0: steered},
        healed=healed,
        unsteered=Planted(control),
        noise=noise,
        figures={} if kl is None else {"kl_previous_mean": kl},
        previous=Planted(0.3, 0.99) if later else None,
    )
    study = measured(world.build(), 100)
    assert study.healed is not None
    rows = table(conditions(study, study.healed, QUICK))
    assert sum(truth(row) is True for row in rows.values()) <= 1


@settings(max_examples=8)
@given(STUDENTS, st.floats(-1.0, 1.0), NOISE)
def test_a_pass_is_a_healed_student(healed: Planted, control: float, noise: float) -> None:
    world = World(healed=replace(healed, text=ELSE), unsteered=Planted(control), noise=noise)
    judgement = said(world)
    assert judgement.label == "HEALED" or judgement.outcome != "PASS"
