"""The dose controller in planted worlds: it finds the dose, fills every quota and gives up where it must."""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from steerkit.inputs import Dilemma
from steerkit.spec import ControlSpec
from steerkit.stages.control import (
    Kept,
    Wanted,
    chosen_dose,
    counted,
    lowered,
    missing,
    next_batch,
    next_to_try,
    planned_doses,
    rows_needed,
    smoothed,
)

PROMPTS = tuple(Dilemma(id=f"p{number}", text=f"Question {number}?") for number in range(16))
CONTROL = ControlSpec(keep=64, survival=0.75, ladder=(0.5, 1.0, 1.5, 2.0, 2.5), per_dose=8, shares=(0.6, 0.8, 1.0))
DOSES = [0.6, 0.8, 1.0]


def kept(dose: float, count: int, prompt: str = "p0") -> list[Kept]:
    return [Kept(dose, prompt)] * count


def probed(survived: Sequence[int], made: int = 8) -> tuple[dict[float, int], dict[float, int]]:
    doses = [0.5 * (number + 1) for number in range(len(survived))]
    return dict.fromkeys(doses, made), dict(zip(doses, survived, strict=True))


@pytest.mark.parametrize(
    ("survived", "dose"),
    [
        ((8, 8, 7, 2, 0), 1.5),
        ((8, 8, 6, 0, 0), 1.5),
        # A single bad dose between good ones is noise, and so is a single good one among bad ones.
        ((8, 5, 8, 8, 2), 2.0),
        ((8, 8, 3, 6, 0), 1.0),
        ((8, 2, 1, 8, 0), 0.5),
        # All alike: the highest.
        ((6, 6, 6, 6, 6), 2.5),
        ((8, 8, 8, 8, 8), 2.5),
        ((5, 5, 5, 5, 5), None),
        ((0, 0, 0, 0, 0), None),
    ],
)
def test_the_highest_dose_that_keeps_enough_is_chosen(survived: tuple[int, ...], dose: float | None) -> None:
    assert chosen_dose(*probed(survived), 0.75) == dose


def test_a_dose_at_which_nothing_survived_need_not_be_named() -> None:
    assert chosen_dose({1.0: 4, 2.0: 4}, {1.0: 4}, 0.75) == 1.0


def test_smoothing_weighs_doses_by_their_texts() -> None:
    shares = smoothed({1.0: 10, 2.0: 30, 3.0: 5}, {1.0: 5, 2.0: 24, 3.0: 1})
    assert shares == pytest.approx({1.0: 29 / 40, 2.0: 29 / 40, 3.0: 0.2})


@given(st.lists(st.integers(0, 8), min_size=1, max_size=9), st.floats(0.05, 1))
def test_smoothed_survival_falls_and_keeps_its_sum(survived: list[int], target: float) -> None:
    made, alive = probed(survived)
    shares = [share for _, share in sorted(smoothed(made, alive).items())]
    assert all(earlier >= later - 1e-9 for earlier, later in pairwise(shares))
    assert sum(shares) == pytest.approx(sum(survived) / 8)
    chosen = chosen_dose(made, alive, target)
    assert [dose for dose, share in zip(sorted(made), shares, strict=True) if share >= target - 1e-9][-1:] == (
        [] if chosen is None else [chosen]
    )


def test_doses_are_shares_of_the_chosen_one() -> None:
    assert planned_doses(1.5, CONTROL) == [0.9, 1.2, 1.5]
    assert planned_doses(2.0, replace(CONTROL, shares=(1.0, 0.5))) == [1.0, 2.0]


def test_a_text_counts_for_the_nearest_dose_at_or_below_its_own() -> None:
    texts = [*kept(0.6, 2), *kept(0.7, 3), *kept(1.0, 1), *kept(0.5, 9), *kept(1.5, 9)]
    assert counted(texts, DOSES) == texts[:6]
    assert missing(counted(texts, DOSES), DOSES, 12) == {0.6: 0, 0.8: 4, 1.0: 3}


def test_quotas_are_rounded_up_and_never_negative() -> None:
    assert missing([], DOSES, 64) == {0.6: 22, 0.8: 22, 1.0: 22}
    assert missing(kept(0.8, 30), DOSES, 64) == {0.6: 22, 0.8: 0, 1.0: 22}
    assert missing([], [1.0], 5) == {1.0: 5} and missing([], DOSES, 1) == dict.fromkeys(DOSES, 1)


@given(st.floats(0.001, 5), st.lists(st.sampled_from([0.5, 0.6, 0.8]), unique=True, max_size=3))
def test_what_was_probed_at_the_chosen_dose_counts_for_it(chosen: float, shares: list[float]) -> None:
    doses = planned_doses(chosen, replace(CONTROL, shares=(*shares, 1.0)))
    texts = kept(chosen, 3)
    assert counted(texts, doses) == texts and missing(texts, doses, 3 * len(doses))[doses[-1]] == 0


@given(
    have=st.lists(st.tuples(st.sampled_from([*DOSES, 0.7]), st.integers(0, 15)), max_size=90),
    survival=st.dictionaries(st.sampled_from(DOSES), st.floats(0, 1)),
    size=st.integers(1, 70),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_a_batch_is_full_and_serves_the_least_served(
    have: list[tuple[float, int]], survival: dict[float, float], size: int, seed: int
) -> None:
    texts = [Kept(dose, f"p{prompt}") for dose, prompt in have]
    batch = next_batch(texts, DOSES, survival, PROMPTS, CONTROL, size, seed)
    assert len(batch) == size and {wanted.dose for wanted in batch} <= set(DOSES)
    owed = missing(texts, DOSES, CONTROL.keep)
    assert not any(owed.values()) or all(owed[wanted.dose] for wanted in batch)
    before = Counter(text.prompt_id for text in texts)
    after = before + Counter(wanted.prompt.id for wanted in batch)
    most = max(after[wanted.prompt.id] for wanted in batch)
    # Nobody got a row while somebody else had two fewer texts.
    assert min(after[prompt.id] for prompt in PROMPTS) >= most - 1
    assert batch == next_batch(texts, DOSES, survival, PROMPTS, CONTROL, size, seed)


def rows(batch: list[Wanted]) -> list[int]:
    found = Counter(wanted.dose for wanted in batch)
    return [found[dose] for dose in DOSES]


def test_doses_get_rows_for_what_they_owe_and_for_what_will_be_lost() -> None:
    even = next_batch([], DOSES, dict.fromkeys(DOSES, 0.5), PROMPTS, CONTROL, 64, 0)
    assert sorted(rows(even)) == [21, 21, 22]
    assert rows(next_batch([], DOSES, {0.6: 1.0, 0.8: 0.5, 1.0: 0.25}, PROMPTS, CONTROL, 70, 0)) == [10, 20, 40]
    # A dose of which nothing survived so far is tried ten times as often as it owes, no more.
    assert rows(next_batch([], DOSES, {0.6: 1.0, 0.8: 1.0, 1.0: 0.0}, PROMPTS, CONTROL, 60, 0)) == [5, 5, 50]
    # A dose that nothing is known of is expected to meet the target.
    assert rows(next_batch([], DOSES, {0.6: 0.75, 0.8: 0.375}, PROMPTS, CONTROL, 40, 0)) == [10, 20, 10]
    half = [*kept(0.6, 22), *kept(0.8, 11)]
    assert rows(next_batch(half, DOSES, dict.fromkeys(DOSES, 0.5), PROMPTS, CONTROL, 30, 0)) == [0, 10, 20]


def test_the_seed_decides_which_prompts_come_first() -> None:
    drawn = [tuple(w.prompt.id for w in next_batch([], [1.0], {}, PROMPTS, CONTROL, 5, seed)) for seed in range(20)]
    assert len(set(drawn)) > 15 and {prompt for batch in drawn for prompt in batch} == {p.id for p in PROMPTS}


def test_rows_are_asked_for_with_a_tenth_to_spare() -> None:
    assert rows_needed([], DOSES, dict.fromkeys(DOSES, 0.5), CONTROL) == math.ceil(1.1 * 3 * 22 / 0.5)
    assert rows_needed(kept(1.0, 66), [1.0], {}, CONTROL) == 8
    assert rows_needed(kept(0.6, 22) + kept(0.8, 22), DOSES, {1.0: 0.0}, CONTROL) == math.ceil(1.1 * 220)


def test_a_bad_batch_lowers_the_doses_down_to_the_floor() -> None:
    control = replace(CONTROL, floor=0.25, shrink=0.5, lowest=0.2)
    assert lowered([0.5, 1.0], 1.0, 0.25, control) == [0.5, 1.0]
    assert lowered([0.5, 1.0], 1.0, 0.24, control) == [0.25, 0.5]
    assert lowered([0.25, 0.5], 1.0, 0.0, control) == [0.125, 0.25]
    assert lowered([0.125, 0.25], 1.0, 0.0, control) is None


def test_after_giving_up_a_weaker_dose_is_named() -> None:
    made = {0.5: 8, 1.0: 8}
    assert next_to_try(made, {0.5: 1, 1.0: 0}) == 0.5 and next_to_try(made, {}) == 0.25


class World:
    """Texts that survive by chance, less likely at higher doses; the controller's loop over it."""

    def __init__(self, survival: Callable[[float, str], float], control: ControlSpec, seed: int) -> None:
        self.survival, self.control, self.random = survival, control, random.Random(seed)
        self.made: Counter[float] = Counter()
        self.alive: Counter[float] = Counter()
        self.kept: list[Kept] = []
        self.batches = 0
        self.doses: list[float] | None = None

    def write(self, wanted: Sequence[Wanted]) -> int:
        before = len(self.kept)
        for each in wanted:
            self.made[each.dose] += 1
            if self.random.random() < self.survival(each.dose, each.prompt.id):
                self.alive[each.dose] += 1
                self.kept.append(Kept(each.dose, each.prompt.id))
        return len(self.kept) - before

    def run(self, most: int, size: int = 64) -> None:
        prompts = PROMPTS[: self.control.per_dose]
        self.write([Wanted(dose, prompt) for dose in self.control.ladder for prompt in prompts])
        self.chosen = chosen_dose(self.made, self.alive, self.control.survival)
        self.doses = None if self.chosen is None else planned_doses(self.chosen, self.control)
        self.made.clear(), self.alive.clear()
        while self.doses and any(self.owed().values()) and self.batches < most:
            self.collect(self.doses, size)

    def owed(self) -> dict[float, int]:
        return missing(self.counted(), self.doses or [], self.control.keep)

    def counted(self) -> list[Kept]:
        return counted(self.kept, self.doses or [])

    def collect(self, doses: Sequence[float], size: int) -> None:
        rates = {dose: self.alive[dose] / made for dose, made in self.made.items()}
        size = min(size, rows_needed(self.counted(), doses, rates, self.control))
        wanted = next_batch(self.counted(), doses, rates, PROMPTS, self.control, size, self.batches)
        survived = self.write(wanted)
        self.batches += 1
        self.doses = lowered(doses, self.chosen or 0.0, survived / len(wanted), self.control)


def falling(middle: float) -> Callable[[float, str], float]:
    return lambda dose, _: 1 / (1 + math.exp(4 * (dose - middle)))


@given(middle=st.floats(1.2, 2.5), seed=st.integers(0, 10_000), keep=st.integers(16, 96))
@settings(max_examples=40)
def test_the_controller_collects_at_every_dose_and_from_every_prompt(middle: float, seed: int, keep: int) -> None:
    world = World(falling(middle), replace(CONTROL, keep=keep), seed)
    world.run(most=30)
    assert world.doses is not None and not any(world.owed().values())
    assert len(world.counted()) >= keep and world.batches <= math.ceil(8 * keep / 64) + 4
    served = Counter(text.prompt_id for text in world.counted())
    # The probed prompts have a text per probed dose, whether or not anything more had to be collected.
    assert max(served.values()) <= max(len(CONTROL.ladder), 2 * len(world.counted()) / len(PROMPTS))


def test_a_prompt_that_never_survives_does_not_starve_the_others() -> None:
    fall = falling(2.0)
    world = World(lambda dose, prompt: 0.0 if prompt == "p3" else fall(dose, prompt), CONTROL, 1)
    world.run(most=30)
    served = Counter(text.prompt_id for text in world.counted())
    assert not any(world.owed().values()) and served["p3"] == 0
    assert len(served) == 15 and max(served.values()) <= 2 * len(world.counted()) / len(PROMPTS)


def test_a_world_in_which_nothing_survives_is_given_up() -> None:
    world = World(lambda *_: 0.0, CONTROL, 0)
    world.run(most=30)
    assert (world.chosen, world.doses, world.batches) == (None, None, 0)


def test_a_world_that_turns_bad_after_the_probes_is_given_up_at_the_floor() -> None:
    control = replace(CONTROL, keep=200, floor=0.25, shrink=0.7, lowest=0.2)
    world = World(lambda *_: 1.0 if world.doses is None else 0.0, control, 0)
    world.run(most=30)
    assert world.chosen == 2.5 and world.doses is None
    # 0.7 of the dose each time: the fifth step would be below a fifth of it.
    assert world.batches == 5
