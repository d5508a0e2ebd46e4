import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import recall_score, roc_auc_score

from steerkit.errors import UsageError
from steerkit.stats import (
    Interval,
    front_probability,
    informedness,
    interval,
    intervals,
    log_softmax,
    one_vs_rest_auc,
    paired_bootstrap,
    pareto_front,
    permutation_p,
    resample,
)

LABELS = ("a",) * 20 + ("b",) * 30
finite = st.floats(-50, 50)


def values(seed: int = 0, shift: float = 0.5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    base = random.normal(0, 2, len(LABELS))
    return {"base": base, "steered": base + shift + random.normal(0, 0.3, len(LABELS))}


def difference(means: dict[str, np.ndarray]) -> np.ndarray:
    return means["steered"] - means["base"]


# Bootstrap


def test_weights_keep_each_stratum_s_size_and_row_0_is_the_data() -> None:
    weights = resample(LABELS, seed=1, resamples=50).weights
    assert weights.shape == (51, 50) and (weights[0] == 1).all()
    assert (weights[:, :20].sum(1) == 20).all() and (weights[:, 20:].sum(1) == 30).all()


def test_means_equal_resampling_the_rows_by_hand() -> None:
    draw, data = resample(LABELS, seed=2, resamples=20), values()["steered"]
    rows = np.asarray(LABELS) == "a"
    by_hand = [np.repeat(data[rows], counts[rows].astype(int)).mean() for counts in draw.weights]
    assert draw.mean(data, rows) == pytest.approx(by_hand)


def test_a_mean_over_no_rows_is_nan_and_its_interval_none() -> None:
    draw = resample(LABELS, seed=2, resamples=20)
    empty = draw.mean(values()["base"], np.zeros(len(LABELS), bool))
    assert np.isnan(empty).all() and interval(empty) is None


def test_the_paired_interval_agrees_with_scipy() -> None:
    labels = ("a",) * 200
    random = np.random.default_rng(5)
    base = random.normal(0, 2, 200)
    arms = {"base": base, "steered": base + random.normal(0.5, 0.3, 200)}
    ours = paired_bootstrap(arms, labels, difference, seed=3, resamples=4000)
    gaps = (arms["steered"] - arms["base"],)
    theirs = stats.bootstrap(gaps, np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert ours is not None and ours.value == pytest.approx(gaps[0].mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_pairing_makes_the_interval_narrower_than_the_arms_own_spread() -> None:
    arms = values()
    paired = paired_bootstrap(arms, LABELS, difference, seed=1)
    alone = paired_bootstrap(arms, LABELS, lambda means: means["steered"], seed=1)
    assert paired is not None and alone is not None
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_stratifying_removes_the_variance_between_strata() -> None:
    far = np.where(np.asarray(LABELS) == "a", -100.0, 100.0)
    found = paired_bootstrap({"x": far}, LABELS, lambda means: means["x"], seed=1)
    assert found == Interval(20.0, 20.0, 20.0)


def test_a_seed_fixes_the_interval_and_another_changes_it() -> None:
    first, again, other = (paired_bootstrap(values(), LABELS, difference, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_row_that_is_nan_in_one_arm_is_left_out_of_both() -> None:
    arms = values()
    arms["base"][3] = np.nan
    found = paired_bootstrap(arms, LABELS, difference, seed=1)
    kept = np.delete(arms["steered"] - arms["base"], 3)
    assert found is not None and found.value == pytest.approx(kept.mean())


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        found = paired_bootstrap(values(seed), LABELS, difference, seed=seed, resamples=300)
        hits += found is not None and found.covers(0.5)
    assert 0.88 <= hits / 200 <= 0.99


def test_an_interval_with_too_many_undefined_resamples_is_none() -> None:
    draws = np.concatenate([[1.0], np.linspace(0, 1, 90), np.full(10, np.nan)])
    assert interval(draws) is None
    assert interval(np.concatenate([[1.0], np.linspace(0, 1, 99), [np.nan]])) is not None


def test_many_intervals_at_once_are_the_single_ones() -> None:
    random = np.random.default_rng(0)
    draws = {"x": random.normal(size=101), "y": random.normal(size=101), "z": np.full(101, np.nan)}
    draws["y"][5] = np.nan
    assert intervals(draws) == {name: interval(each) for name, each in draws.items()}


@pytest.mark.parametrize(("labels", "resamples"), [((), 100), (("a",), 0)])
def test_a_bootstrap_of_nothing_is_refused(labels: tuple[str, ...], resamples: int) -> None:
    with pytest.raises(UsageError, match="a bootstrap needs vignettes"):
        resample(labels, 0, resamples)


def test_thirty_arms_of_fifteen_quantities_take_less_than_two_seconds() -> None:
    labels = tuple(np.repeat(list("abcdefg"), 22).tolist())
    start = time.perf_counter()
    draw = resample(labels, seed=0)
    columns, rows = np.random.default_rng(0).normal(size=(154, 15)), np.ones((154, 15), bool)
    for _ in range(30):
        intervals(dict(zip("abcdefghijklmno", draw.means(columns, rows).T, strict=True)))
    assert time.perf_counter() - start < 2


# Permutation p


def test_p_counts_the_observation_itself() -> None:
    assert permutation_p(3.0, [1.0, 2.0]) == pytest.approx(1 / 3)
    assert permutation_p(1.5, [1.0, 2.0]) == pytest.approx(2 / 3)
    assert permutation_p(2.0, [2.0, 2.0]) == 1.0
    assert permutation_p(1.0, []) == 1.0


def test_p_is_that_of_scipy_s_exact_test_over_the_same_permutations() -> None:
    sample = ([1.2, 2.5, 3.1], [0.3, 0.9, 1.1, 2.2])
    test = stats.permutation_test(
        sample, lambda x, y: np.mean(x) - np.mean(y), alternative="greater", n_resamples=20, rng=1
    )
    assert permutation_p(test.statistic, test.null_distribution.tolist()) == pytest.approx(test.pvalue)


@given(finite, st.lists(finite, max_size=30))
def test_p_lies_between_its_resolution_and_one(observed: float, nulls: list[float]) -> None:
    assert 1 / (1 + len(nulls)) <= permutation_p(observed, nulls) <= 1


# Pareto front


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_that_of_pairwise_comparison(points: list[tuple[int, int]]) -> None:
    def beats(p: tuple[int, int], q: tuple[int, int]) -> bool:
        return p[0] <= q[0] and p[1] >= q[1] and p != q

    cost, gain = np.asarray(points, float).T
    by_hand = [not any(beats(other, point) for other in points) for point in points]
    assert pareto_front(cost, gain).tolist() == by_hand and any(by_hand)


def test_a_point_with_nan_is_not_on_the_front() -> None:
    assert pareto_front(np.asarray([0.0, np.nan]), np.asarray([0.0, 9.0])).tolist() == [True, False]


def test_the_front_s_probability_is_the_share_of_resamples() -> None:
    cost = np.asarray([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    gain = np.asarray([[1.0, 2.0], [1.0, 0.5], [1.0, 2.0]])
    assert front_probability(cost, gain).tolist() == [1.0, 0.5]


# Choices


@settings(max_examples=50)
@given(st.lists(st.lists(st.floats(-700, 700), min_size=7, max_size=7), min_size=1, max_size=5))
def test_log_softmax_is_scipy_s(rows: list[list[float]]) -> None:
    scores = np.asarray(rows, float)
    assert log_softmax(scores) == pytest.approx(special.log_softmax(scores, axis=-1))
    assert np.exp(log_softmax(scores)).sum(axis=-1) == pytest.approx(1)


def test_an_unscorable_row_stays_nan_and_alone() -> None:
    result = log_softmax(np.asarray([[0.0, np.nan], [0.0, 0.0]]))
    assert np.isnan(result[0]).all() and result[1] == pytest.approx(np.log(0.5))


def test_auc_is_sklearn_s_with_ties() -> None:
    random = np.random.default_rng(4)
    labels = [str(label) for label in random.choice(list("abc"), 60)]
    scores = random.integers(0, 6, (60, 4)).astype(float)
    ours = one_vs_rest_auc(scores, labels, "abcd")
    assert ours == {
        name: pytest.approx(roc_auc_score(np.asarray(labels) == name, scores[:, i])) for i, name in enumerate("abc")
    }


def test_auc_leaves_out_rows_with_nan() -> None:
    scores = np.asarray([[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0]])
    assert one_vs_rest_auc(scores, ["a", "a", "b"], "ab") == {"a": 1.0, "b": 1.0}


def test_informedness_is_the_mean_of_recall_and_specificity_less_one() -> None:
    random = np.random.default_rng(8)
    labels = [str(label) for label in random.choice(list("abc"), 90, p=(0.6, 0.3, 0.1))]
    picks = random.integers(0, 3, 90)
    youden = [
        recall_score(np.asarray(labels) == name, picks == i) + recall_score(np.asarray(labels) != name, picks != i) - 1
        for i, name in enumerate("abc")
    ]
    draws = informedness(picks, labels, "abc", resample(labels, 0, 10))
    assert draws[0] == pytest.approx(np.mean(youden)) and draws.shape == (11,)


def test_informedness_is_1_when_right_0_for_a_constant_answer_and_counts_no_answer_as_a_miss() -> None:
    labels, draw = list("aabb"), resample(list("aabb"), 0, 10)
    right, constant, silent = np.asarray([0, 0, 1, 1]), np.zeros(4, int), np.asarray([0, -1, 1, 1])
    assert [informedness(p, labels, "ab", draw)[0] for p in (right, constant, silent)] == [1.0, 0.0, 0.75]


def test_informedness_of_one_foundation_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 foundations"):
        informedness(np.zeros(2, int), ["a", "a"], "ab", resample(["a", "a"], 0, 10))
