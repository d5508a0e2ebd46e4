"""How sure a number is: 10,000 resamples at once, the smallest effect beside the effect, unreadable rows counted."""

import time
from dataclasses import replace as changed

import numpy as np
import pytest
from msgspec.structs import replace
from planted_gate1 import World
from test_stages import ARM, reading

from steerkit.errors import RunError
from steerkit.evidence import ArmEvidence
from steerkit.gates.gate1_steer import Config, judge
from steerkit.metrics import measure
from steerkit.pipeline.scorer import need_readable
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS
from steerkit.stages.score import choice, level, set_mean_prior
from steerkit.stats import intervals, log_softmax, paired_bootstrap, resample

AUTHORITY = FOUNDATIONS.index("Authority")


def test_ten_thousand_resamples_of_a_comparison_take_less_than_half_a_second() -> None:
    world = World(per_foundation=19)
    base, arm = world.arm("base", 0.0, 0.0, 1.0), world.arm("steered", 1.0, world.intended(1.0), 0.95)
    own = np.asarray(world.labels) == "Authority"
    values = {"base": base.choice[own, AUTHORITY], "arm": arm.choice[own, AUTHORITY]}
    start = time.process_time()
    paired = paired_bootstrap(values, ["Authority"] * 19, lambda m: m["arm"] - m["base"], seed=0, resamples=10_000)
    assert time.process_time() - start < 0.5
    start = time.process_time()
    found = measure(arm, base, world.labels, "Authority", -1, resample(world.labels, 0, 10_000))
    every = intervals(found.draws)
    assert time.process_time() - start < 0.5 and len(every) > 40
    change = every["d_target"]
    assert paired is not None and change is not None and change.value == pytest.approx(paired.value)
    assert (change.low, change.high) == pytest.approx((paired.low, paired.high), abs=0.02)


def test_one_flip_moves_the_diagonal_by_what_is_said_on_average() -> None:
    world = World()
    base = world.arm("base", 0.0, 0.0, 1.0)
    own = np.flatnonzero(np.asarray(world.labels) == "Authority")
    moved = []
    for row in own:
        answers = base.choice[own].copy()
        place = int(np.flatnonzero(own == row)[0])
        others = np.delete(answers[place], AUTHORITY)
        # The target's answer and the best other one change places.
        answers[place, AUTHORITY] = others.max()
        moved.append(abs(answers[:, AUTHORITY].mean() - base.choice[own, AUTHORITY].mean()))
    arm = world.arm("steered", 1.0, world.intended(1.0), 1.0)
    found = measure(arm, base, world.labels, "Authority", -1, resample(world.labels, 0, 100))
    assert found.value("flip_nats") == pytest.approx(np.mean(moved))


def test_the_resolution_is_half_the_interval_and_never_below_one_flip() -> None:
    world = World(jitter=0.0)
    base, still = world.arm("base", 0.0, 0.0, 1.0), world.arm("steered", 1.0, 0.0, 1.0)
    found = measure(still, base, world.labels, "Authority", -1, resample(world.labels, 0, 200))
    assert found.resolution() == found.value("flip_nats") > 0
    rough = with_choice(still, base.choice + np.random.default_rng(0).normal(0, 3, base.choice.shape))
    noisy = measure(rough, base, world.labels, "Authority", -1, resample(world.labels, 0, 200))
    change = noisy.interval("d_target")
    assert change is not None and noisy.resolution() == pytest.approx((change.high - change.low) / 2)
    assert noisy.resolution() > found.resolution()


def with_choice(arm: ArmEvidence, scores: np.ndarray) -> ArmEvidence:
    return changed(arm, choice=log_softmax(scores))


def test_gate_1_says_it_beside_the_effect_and_stores_it() -> None:
    judgement = judge(World().build(), Config(resamples=200))
    said = next(result.detail for result in judgement.verdicts if result.name == "interval excludes zero")
    kept = {(e.arm_id, e.quantity): e.value for e in judgement.effects}
    assert judgement.operating is not None
    smallest = kept[judgement.operating.arm_id, "resolution"]
    flip = kept[judgement.operating.arm_id, "flip_nats"]
    assert f"the smallest shift this set resolves is {smallest:.2f} nats, one vignette flipping is {flip:.2f}" in said


# Unreadable rows


def test_the_label_bias_rests_on_readable_rows_alone() -> None:
    answers, raw = reading()
    broken = [replace(a, care=float("nan")) if a.vignette in ("3", "4") else a for a in answers]
    labels = np.array([answer.foundation for answer in answers[:21]])
    kept = ~np.isin(np.arange(21), (3, 4))
    expected = [
        [raw[o][kept & (labels == n)].mean(0) for n in FOUNDATIONS if (kept & (labels == n)).any()] for o in (0, 1)
    ]
    found = np.array([p.nats for p in set_mean_prior(ARM, broken)]).reshape(2, 7)
    np.testing.assert_allclose(found, np.mean(expected, axis=1))
    read = choice(broken, set_mean_prior(ARM, broken))
    assert np.isnan(read[[3, 4]]).all() and not np.isnan(read[kept]).any()
    nats, share = level(broken, (), "Care")
    own = kept & (labels == "Care")
    assert nats == pytest.approx(choice(answers, ())[own, 0].mean()) and 0 < share < 1


def test_a_vanished_answer_is_no_warning_and_no_infinite_bias() -> None:
    answers, _ = reading()
    gone = [replace(a, **dict.fromkeys(ANSWER_FIELDS, float("-inf"))) if a.vignette == "0" else a for a in answers]
    with np.errstate(all="raise"):
        read = choice(gone, set_mean_prior(ARM, gone))
    assert np.isnan(read[0]).all() and np.isfinite(read[1:]).all()


@pytest.mark.parametrize(("share", "refused"), [(0.2, False), (0.7, True)])
def test_a_base_is_refused_only_when_most_of_it_is_unreadable(share: float, refused: bool) -> None:
    answers, _ = reading()
    broken = [replace(a, care=float("nan")) if int(a.vignette) < 21 * share else a for a in answers]
    foundations = [str(answer.foundation) for answer in answers[:21]]
    if refused:
        with pytest.raises(RunError, match="gave NaN for 15 of 21 vignettes; try --dtype float32"):
            need_readable(broken, foundations, "SocialNorms")
    else:
        need_readable(broken, foundations, "SocialNorms")
