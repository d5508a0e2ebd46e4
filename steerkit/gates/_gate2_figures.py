"""Figures over texts that share prompts: fractions, and means, medians and correlations resampled by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from steerkit.evidence import TextEvidence
from steerkit.stats import Interval, Resamples, resample, wilson

Draws = Float[np.ndarray, "resample"]
Values = Float[np.ndarray, "text"]


def fraction(count: int, of: int) -> Interval | None:
    """A share with its 95% interval; None of nothing."""
    return wilson(count / of, of) if of else None


def excess(first: Interval, second: Interval) -> Interval:
    """The first fraction less the second, from their Wilson intervals. Newcombe 1998, method 10.

    Texts of the same prompts make it wider than it need be, never narrower.
    """
    value = first.value - second.value
    low = value - hypot(first.value - first.low, second.high - second.value)
    return Interval(value, low, value + hypot(first.high - first.value, second.value - second.low))


@dataclass(frozen=True)
class Prompts:
    """Bootstrap draws over prompts: texts of one prompt are drawn together, in every group, so groups stay paired.

    `few`: with fewer prompts than this a figure has a value and no interval.
    """

    place: dict[str, int]
    draw: Resamples
    few: int

    def _weights(self, texts: Sequence[TextEvidence], finite: Sequence[bool]) -> Float[np.ndarray, "resample text"]:
        """How often each text is drawn; NaN in all resamples where there are too few prompts."""
        places = [self.place[text.completion.prompt_id] for text, kept in zip(texts, finite, strict=True) if kept]
        weights = self.draw.weights[:, places]
        if len(set(places)) < self.few:
            weights = weights.copy()
            weights[1:] = np.nan
        return weights

    def mean(self, texts: Sequence[TextEvidence], values: Values) -> Draws:
        """The mean over the texts that have a value."""
        finite = np.isfinite(values)
        weights = self._weights(texts, finite.tolist())
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(weights @ values[finite] / weights.sum(axis=1))

    def median(self, texts: Sequence[TextEvidence], values: Values) -> Draws:
        """The median over the texts whose value is not NaN; an infinite value is as large as any."""
        known = ~np.isnan(values)
        weights, values = self._weights(texts, known.tolist()), values[known]
        if not len(values):
            return np.full(len(weights), np.nan)
        order = np.argsort(values, kind="stable")
        below = np.cumsum(weights[:, order], axis=1)
        half = below[:, -1:] / 2
        middle = [values[order][(reached).argmax(axis=1)] for reached in (below >= half, below > half)]
        return np.where(half[:, 0] > 0, (middle[0] + middle[1]) / 2, np.nan)

    def correlation(self, texts: Sequence[TextEvidence], left: Values, right: Values) -> Draws:
        """The rank correlation of two values of the texts that have both; ranks are those of all texts. Spearman."""
        known = ~(np.isnan(left) | np.isnan(right))
        weights = self._weights(texts, known.tolist())
        one, other = rankdata(left[known]), rankdata(right[known])

        def averaged(values: Values) -> Draws:
            return np.asarray(weights @ values / weights.sum(axis=1))

        with np.errstate(divide="ignore", invalid="ignore"):
            spread = averaged(one * one) - averaged(one) ** 2, averaged(other * other) - averaged(other) ** 2
            together = averaged(one * other) - averaged(one) * averaged(other)
            return np.asarray(together / np.sqrt(np.maximum(spread[0], 0.0) * np.maximum(spread[1], 0.0)))


def prompts(texts: Sequence[TextEvidence], seed: int, resamples: int, few: int) -> Prompts:
    """One set of draws for every figure of a run; which texts come first does not matter."""
    names = sorted({text.completion.prompt_id for text in texts})
    # Without a text nothing is ever averaged; one unnamed prompt stands in, because a bootstrap needs one.
    draw = resample(["prompt"] * max(1, len(names)), seed, resamples)
    return Prompts({name: index for index, name in enumerate(names)}, draw, few)
