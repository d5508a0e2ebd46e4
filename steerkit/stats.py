"""Intervals, permutation p, Pareto fronts and classification figures: arrays in, numbers out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from steerkit.errors import UsageError

NORMAL_95 = 1.959963984540054
"""Standard deviations that 95% of a normal distribution lie within."""
UNDEFINED_SHARE = 0.025
"""An interval with more undefined resamples than one of its tails holds is not reported (fraction)."""


@dataclass(frozen=True)
class Interval:
    """A value with its percentile-bootstrap 95% interval, in the value's own unit."""

    value: float
    low: float
    high: float

    def covers(self, point: float) -> bool:
        """Whether the point lies inside the interval, ends included."""
        return self.low <= point <= self.high


@dataclass(frozen=True)
class Resamples:
    """How often each vignette is drawn in each bootstrap resample; one matrix serves every arm and quantity of a run.

    `weights`: `[resample vignette]`, counts. Row 0 is all ones: the data as measured, so a quantity's value and its
    interval come from the same code.
    """

    weights: Float[np.ndarray, "resample vignette"]

    def means(
        self, values: Shaped[np.ndarray, "vignette column"], rows: Bool[np.ndarray, "vignette column"]
    ) -> Float[np.ndarray, "resample column"]:
        """Each column's mean over its own rows, per resample; NaN where a resample drew none of them."""
        masks = {rows[:, column].tobytes(): column for column in range(rows.shape[1])}
        place = {mask: index for index, mask in enumerate(masks)}
        group = [values.shape[1] + place[rows[:, column].tobytes()] for column in range(rows.shape[1])]
        sums = self.weights @ np.hstack([np.where(rows, values, 0.0), rows[:, list(masks.values())]])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(sums[:, : values.shape[1]] / sums[:, group])

    def mean(
        self, values: Shaped[np.ndarray, "vignette"], rows: Bool[np.ndarray, "vignette"]
    ) -> Float[np.ndarray, "resample"]:
        """`means` of a single column."""
        return self.means(values[:, None], rows[:, None])[:, 0]


def resample(labels: Sequence[str], seed: int, resamples: int = 2000) -> Resamples:
    """Bootstrap weights over vignettes, stratified: every label keeps its number of vignettes in every resample.

    Raises UsageError for no vignettes or fewer than 1 resample.
    """
    if resamples < 1 or not labels:
        raise UsageError(f"a bootstrap needs vignettes and resamples >= 1, but got {len(labels)} and {resamples}")
    generator = np.random.default_rng(seed)
    names = np.asarray(labels)
    weights = np.ones((resamples + 1, len(names)))
    for name in sorted(set(labels)):
        members = np.flatnonzero(names == name)
        weights[1:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return Resamples(weights)


def interval(draws: Float[np.ndarray, "resample"]) -> Interval | None:
    """The value of row 0 with the 2.5th and 97.5th percentile of the rest; None where it is undefined."""
    value, rest = float(draws[0]), draws[1:]
    defined = rest[np.isfinite(rest)]
    if not np.isfinite(value) or len(defined) < (1 - UNDEFINED_SHARE) * len(rest):
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def intervals(draws: Mapping[str, Float[np.ndarray, "resample"]]) -> dict[str, Interval | None]:
    """`interval` of many quantities at once."""
    whole = [name for name, values in draws.items() if np.isfinite(values).all()]
    block = np.stack([draws[name] for name in whole], axis=1) if whole else np.zeros((2, 0))
    low, high = np.quantile(block[1:], (0.025, 0.975), axis=0)
    found = {name: Interval(float(block[0, i]), float(low[i]), float(high[i])) for i, name in enumerate(whole)}
    return {name: found[name] if name in found else interval(values) for name, values in draws.items()}


def across_seeds(draws: Float[np.ndarray, "seed resample"], seed: int) -> Float[np.ndarray, "resample"]:
    """The mean over seeds, per resample of vignettes and of seeds; row 0 is the mean as measured.

    Every resample draws as many seeds as there are, with replacement; all of them share its vignettes.
    """
    count, resamples = draws.shape
    picked = np.random.default_rng(seed).integers(count, size=(count, resamples))
    picked[:, 0] = np.arange(count)
    return np.asarray(np.take_along_axis(draws, picked, axis=0).mean(axis=0))


def paired_bootstrap(
    values_by_arm: Mapping[str, Float[np.ndarray, "vignette"]],
    labels: Sequence[str],
    statistic: Callable[[dict[str, Float[np.ndarray, "resample"]]], Float[np.ndarray, "resample"]],
    seed: int,
    resamples: int = 2000,
) -> Interval | None:
    """Interval of a statistic of several arms' means; every resample draws the same vignettes in all arms.

    `statistic` maps each arm's means `[resample]` to one figure per resample. A vignette that is NaN in one arm is
    left out of all of them, so the comparison stays paired.
    """
    values = np.stack(list(values_by_arm.values()), axis=1)
    shared = np.isfinite(values).all(axis=1)
    means = resample(labels, seed, resamples).means(values, np.broadcast_to(shared[:, None], values.shape))
    return interval(statistic(dict(zip(values_by_arm, means.T, strict=True))))


def permutation_p(observed: float, nulls: Sequence[float]) -> float:
    """Share of nulls at least as large as the observation, itself and ties up to rounding included.

    The +1 correction: never below 1 / (nulls + 1), which is the test's resolution. Phipson & Smyth 2010, equation 2.
    """
    as_large = sum(null >= observed or math.isclose(null, observed) for null in nulls)
    return (1 + as_large) / (1 + len(nulls))


def pareto_front(
    cost: Float[np.ndarray, "*resample point"], gain: Float[np.ndarray, "*resample point"]
) -> Bool[np.ndarray, "*resample point"]:
    """Which points no other point beats: none has at most their cost and at least their gain, and one of both strictly.

    Lower cost and higher gain are better; a point with a NaN is never on the front.
    """
    no_dearer = cost[..., :, None] <= cost[..., None, :]
    no_worse = gain[..., :, None] >= gain[..., None, :]
    better = (cost[..., :, None] < cost[..., None, :]) | (gain[..., :, None] > gain[..., None, :])
    beaten = (no_dearer & no_worse & better).any(axis=-2)
    return np.asarray(~beaten & np.isfinite(cost) & np.isfinite(gain))


def front_probability(
    cost: Float[np.ndarray, "resample point"], gain: Float[np.ndarray, "resample point"]
) -> Float[np.ndarray, "point"]:
    """Share of bootstrap resamples in which each point lies on the Pareto front (fraction); row 0 is not a resample."""
    return np.asarray(pareto_front(cost[1:], gain[1:]).mean(axis=0))


def hypervolume(
    cost: Float[np.ndarray, "*resample point"], gain: Float[np.ndarray, "*resample point"], limit: float
) -> Float[np.ndarray, "*resample"]:
    """The area above zero gain and below `limit` of cost that some point beats, in units of gain times cost.

    A point with a NaN, a loss, or a cost beyond the limit beats nothing.
    """
    usable = np.isfinite(cost) & np.isfinite(gain) & (gain > 0) & (cost < limit)
    at = np.where(usable, np.maximum(cost, 0.0), limit)
    order = np.argsort(at, axis=-1)
    edge = np.take_along_axis(at, order, axis=-1)
    best = np.maximum.accumulate(np.take_along_axis(np.where(usable, gain, 0.0), order, axis=-1), axis=-1)
    following = np.concatenate([edge[..., 1:], np.full_like(edge[..., :1], limit)], axis=-1)
    return np.asarray(((following - edge) * best).sum(axis=-1))


def seed_weights(seeds: int, generator_seed: int, resamples: int) -> Float[np.ndarray, "resample seed"]:
    """How often each seed is drawn in each bootstrap resample; row 0 is all ones: the data as measured."""
    draws = np.random.default_rng([generator_seed, seeds]).multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    return np.concatenate([np.ones((1, seeds)), draws])


def log_softmax(scores: Float[np.ndarray, "*row answer"]) -> Float[np.ndarray, "*row answer"]:
    """Log-probabilities over the last axis (nats); a row with a NaN, or of -inf alone, becomes NaN."""
    with np.errstate(invalid="ignore"):
        shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def likeliest(choice: Float[np.ndarray, "vignette answer"]) -> Int[np.ndarray, "vignette"]:
    """Index of each row's largest value; -1 where the row has a NaN."""
    return np.where(np.isnan(choice).any(axis=1), -1, np.nan_to_num(choice, nan=-np.inf).argmax(axis=1))


def one_vs_rest_auc(
    scores: Float[np.ndarray, "vignette answer"], labels: Sequence[str], names: Sequence[str]
) -> dict[str, float]:
    """Area under the ROC curve of each answer's score against "this is the label", over rows without a NaN.

    The Mann-Whitney statistic over the product of both group sizes; names without a row on either side are left out.
    """
    finite = ~np.isnan(scores).any(axis=1)
    truth = np.asarray(labels)[finite]
    areas = {}
    for column, name in enumerate(names):
        positive = truth == name
        inside, outside = int(positive.sum()), int((~positive).sum())
        if inside and outside:
            below = np.sort(scores[finite, column][~positive])
            mine = scores[finite, column][positive]
            # Half of a tie counts.
            wins = np.searchsorted(below, mine, "left") + np.searchsorted(below, mine, "right")
            areas[name] = float(wins.sum() / (2 * inside * outside))
    return areas


def informedness(
    picks: Int[np.ndarray, "vignette"], labels: Sequence[str], names: Sequence[str], draw: Resamples
) -> Float[np.ndarray, "resample"]:
    """Mean over the labels present of recall less false-alarm rate (macro one-vs-rest Youden J), per resample.

    `picks`: `[vignette]`, index into `names` of the chosen answer, -1 for none (a miss). 0 is chance, 1 is perfect.
    """
    truth = np.asarray(labels)
    present = [column for column, name in enumerate(names) if (truth == name).any() and not (truth == name).all()]
    if not present:
        raise UsageError("informedness needs vignettes of at least 2 foundations, but got fewer")
    hits = (picks[:, None] == np.asarray(present)).astype(float)
    inside = truth[:, None] == np.asarray(list(names))[present]
    return np.asarray((draw.means(hits, inside) - draw.means(hits, ~inside)).mean(axis=1))


def wilson(share: float, count: float | int) -> Interval:
    """A share (fraction) of `count` draws with Wilson's 95% interval; `count` may be an effective number.

    Raises UsageError for no draws. Source: Wilson 1927, doi 10.1080/01621459.1927.10502953.
    """
    if not count > 0:
        raise UsageError(f"a share needs at least one draw, but got {count:g}")
    square = NORMAL_95**2 / count
    middle = (share + square / 2) / (1 + square)
    reach = NORMAL_95 * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))
