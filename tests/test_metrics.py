from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_gate1 import World, unreadable

from steerkit.evidence import ArmEvidence
from steerkit.metrics import FLOOR, ArmMetrics, measure, picks, quantity_name, scorable
from steerkit.records import FOUNDATIONS
from steerkit.stats import log_softmax, resample

AUTHORITY, NOT_WRONG = FOUNDATIONS.index("Authority"), FOUNDATIONS.index("SocialNorms")


def pair(seed: int = 0, per_foundation: int = 5) -> tuple[ArmEvidence, ArmEvidence, tuple[str, ...]]:
    """A base and a steered arm over five vignettes per foundation."""
    world = World(per_foundation=per_foundation)
    world.random = np.random.default_rng(seed)
    return (
        world.arm("base", 0.0, 0.0, 1.0),
        world.arm("steered", 1.0, world.intended(1.0), 0.9),
        world.labels,
    )


def read(
    arm: ArmEvidence, base: ArmEvidence, labels: tuple[str, ...], sign: int = -1, target: str = "Authority"
) -> ArmMetrics:
    return measure(arm, base, labels, target, sign, resample(labels, 0, 200))


def test_diagonal_marginal_and_their_changes_by_hand() -> None:
    base, arm, labels = pair()
    found, own = read(arm, base, labels), np.asarray(labels) == "Authority"
    diagonal = [side.choice[own, AUTHORITY].mean() for side in (arm, base)]
    marginal = [np.log(np.exp(side.choice[:, AUTHORITY]).mean()) for side in (arm, base)]
    assert found.value("auth_nats") == found.value("target_nats") == pytest.approx(diagonal[0])
    assert found.value("d_auth") == found.value("d_target") == pytest.approx(diagonal[0] - diagonal[1])
    assert found.value("separation") == pytest.approx(diagonal[1] - diagonal[0])
    assert found.value("marginal") == pytest.approx(marginal[0])
    assert found.value("d_marginal") == pytest.approx(marginal[0] - marginal[1])
    assert found.value("median_target_nats") == pytest.approx(np.median(arm.choice[own, AUTHORITY]))


@pytest.mark.parametrize("foundation", FOUNDATIONS)
def test_every_foundation_s_diagonal_is_measured(foundation: str) -> None:
    base, arm, labels = pair()
    rows, column = np.asarray(labels) == foundation, FOUNDATIONS.index(foundation)
    found = read(arm, base, labels)
    assert found.value(f"{quantity_name(foundation)}_nats") == pytest.approx(arm.choice[rows, column].mean())
    gap = (arm.choice - base.choice)[rows, column].mean()
    assert found.value(f"d_{quantity_name(foundation)}") == pytest.approx(gap)


def test_the_marginal_s_split_adds_up_and_not_wrong_is_read_on_target_rows() -> None:
    base, arm, labels = pair()
    found, own = read(arm, base, labels), np.asarray(labels) == "Authority"
    parts = found.value("marginal_on_target") + found.value("marginal_off_target")
    assert np.log(parts) == pytest.approx(found.value("marginal"))
    assert found.value("not_wrong") == pytest.approx(np.exp(arm.choice[own, NOT_WRONG]).mean())
    elsewhere = ~own & (np.asarray(labels) != "SocialNorms")
    assert found.value("not_wrong_elsewhere") == pytest.approx(np.exp(arm.choice[elsewhere, NOT_WRONG]).mean())
    assert found.value("d_not_wrong") > 0


def test_coherence_is_relative_to_the_base_and_its_cost_keeps_both_parts() -> None:
    base, arm, labels = pair()
    found = read(arm, base, labels)
    assert found.value("mass") == pytest.approx(0.54) and found.value("coherence") == pytest.approx(0.9)
    assert found.value("d_coherence") == pytest.approx(-0.1)
    assert found.value("coh_cost") == pytest.approx(0.1 / abs(found.value("d_target")))


def test_the_cost_is_blank_where_the_target_hardly_moves() -> None:
    base, arm, labels = pair()
    still = replace(arm, choice=base.choice + 0.01)
    assert read(still, base, labels).value("coh_cost") is None
    assert read(still, base, labels).interval("coh_cost") is None
    assert read(still, base, labels).value("d_coherence") == pytest.approx(-0.1)


def test_the_base_beside_itself_has_changed_in_nothing() -> None:
    base, _, labels = pair()
    found = read(base, base, labels)
    assert found.value("coherence") == 1
    assert all(np.nan_to_num(draws).any() == False for name, draws in found.draws.items() if name.startswith("d_"))  # noqa: E712


def test_probabilities_are_floored_at_a_millionth() -> None:
    base, arm, labels = pair()
    vanished = arm.choice.copy()
    vanished[:, AUTHORITY] = -np.inf
    found = read(replace(arm, choice=vanished), base, labels)
    assert found.value("auth_nats") == pytest.approx(np.log(1e-6)) == FLOOR
    assert found.value("marginal") == FLOOR


def test_margin_entropy_pick_rate_and_clr_by_hand() -> None:
    base, arm, labels = pair()
    found, own = read(arm, base, labels), np.asarray(labels) == "Authority"
    best = np.sort(arm.choice, axis=1)
    assert found.value("margin") == pytest.approx((best[:, -1] - best[:, -2]).mean())
    assert found.value("entropy") == pytest.approx(-(np.exp(arm.choice) * arm.choice).sum(axis=1).mean())
    assert found.value("pick_rate") == pytest.approx((arm.choice.argmax(axis=1) == AUTHORITY)[own].mean())
    assert found.value("clr") == pytest.approx((arm.choice[:, AUTHORITY] - arm.choice.mean(axis=1))[own].mean())
    assert found.value("prefill_nll") == pytest.approx(1.0)


def test_an_instrument_without_a_scaffold_has_no_prefill_nll() -> None:
    base, arm, labels = pair()
    assert read(replace(arm, prefill_nll=None), base, labels).value("prefill_nll") is None


def test_unscorable_rows_are_counted_and_changes_rest_on_rows_scorable_in_both() -> None:
    base, arm, labels = pair()
    own = np.flatnonzero(np.asarray(labels) == "Authority")
    holed_base, holed = unreadable(base, own[:1]), unreadable(arm, own[1:3])
    found, kept = read(holed, holed_base, labels), own[3:]
    assert (found.unscorable, found.paired, found.paired_target) == (2, len(labels) - 3, 2)
    assert found.value("frac_unscorable") == pytest.approx(2 / len(labels))
    assert found.value("d_auth") == pytest.approx((arm.choice - base.choice)[kept, AUTHORITY].mean())
    assert found.value("auth_nats") == pytest.approx(arm.choice[own[[0, 3, 4]], AUTHORITY].mean())
    assert found.value("mass") == pytest.approx(0.54 * (len(labels) - 2) / len(labels))


def test_an_unreadable_arm_has_no_nats_but_a_coherence_of_zero() -> None:
    base, arm, labels = pair()
    found = read(unreadable(arm, slice(None)), base, labels)
    assert found.value("auth_nats") is None and found.value("d_auth") is None and found.value("coh_cost") is None
    assert found.value("coherence") == 0 and found.value("frac_unscorable") == 1
    assert (picks(found.arm) == -1).all() and not scorable(found.arm).any()


def test_auth_is_always_authority_s_and_target_is_the_trait_s() -> None:
    base, arm, labels = pair()
    found = read(arm, base, labels, sign=1, target="Care")
    assert found.value("target_nats") == found.value("care_nats") != found.value("auth_nats")
    assert found.value("separation") == found.value("d_target") == found.value("d_care")


def test_the_change_without_the_prior_is_read_from_the_raw_choice() -> None:
    base, arm, labels = pair()
    own = np.asarray(labels) == "Authority"
    gap = (arm.raw_choice - base.raw_choice)[own, AUTHORITY].mean()
    assert read(arm, base, labels).value("d_target_raw") == pytest.approx(gap)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_swapping_arm_and_base_turns_every_change_of_the_choice_round(seed: int) -> None:
    base, arm, labels = pair(seed)
    there, back = read(arm, base, labels), read(base, arm, labels)
    kept = [name for name in there.draws if name.startswith("d_") and name != "d_coherence"]
    for name in kept:
        assert there.draws[name] == pytest.approx(-back.draws[name], abs=1e-9)
    assert there.value("coherence") == pytest.approx(1 / back.value("coherence"))


@settings(max_examples=25)
@given(st.permutations(range(35)))
def test_the_order_of_vignettes_changes_no_value(order: list[int]) -> None:
    base, arm, labels = pair()

    def moved(side: ArmEvidence) -> ArmEvidence:
        nll = None if side.prefill_nll is None else side.prefill_nll[order]
        return replace(
            side, choice=side.choice[order], raw_choice=side.raw_choice[order], mass=side.mass[order], prefill_nll=nll
        )

    before = read(arm, base, labels)
    after = read(moved(arm), moved(base), tuple(labels[i] for i in order))
    for name in before.draws:
        assert after.value(name) == pytest.approx(before.value(name), abs=1e-9)


@settings(max_examples=25)
@given(st.floats(-5, 5))
def test_a_constant_on_all_answers_changes_nothing(constant: float) -> None:
    base, arm, labels = pair()
    lifted = replace(arm, choice=log_softmax(arm.choice + constant))
    assert read(lifted, base, labels).value("d_auth") == pytest.approx(read(arm, base, labels).value("d_auth"))


@settings(max_examples=25)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_coherence_does_not_depend_on_the_base_s_level(level: float, share: float) -> None:
    base, arm, labels = pair()
    low = replace(base, mass=np.full(len(labels), level))
    found = read(replace(arm, mass=np.full(len(labels), level * share)), low, labels)
    assert found.value("coherence") == pytest.approx(share)
