"""What a point of a comparison is: one method at one dose, its seeds taken together, with bootstrap draws.

A resample draws vignettes and, independently, seeds; every method of a resample is read on the same vignettes and the
same seeds, so that two methods are compared pair by pair. A quantity is averaged over the drawn seeds; ratios are taken
of averages. Source of the two-way resampling: Owen 2007, doi 10.1214/07-AOAS122 (the pigeonhole bootstrap).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from steerkit.evidence import PartEvidence, PointEvidence
from steerkit.gates._arms import surgical_excess
from steerkit.metrics import SMALLEST_SHIFT, Draws, measure, selectivity
from steerkit.stats import Interval, Resamples, front_probability, interval, permutation_p, resample, seed_weights

Places = Float[np.ndarray, "resample point"]
SeedWeights = Float[np.ndarray, "resample seed"]
MOVES = ("d_target", "d_auth", "d_care", "d_fairness", "d_loyalty", "d_authority", "d_sanctity", "d_liberty")
QUANTITIES = (*MOVES, "d_social_norms", "d_marginal", "d_clr", "separation", "coherence", "d_coherence", "coh_cost")
PAIRED = ("gated_selectivity", "si_flips", "selectivity_on", "selectivity_off")
KEPT = (*QUANTITIES, "surgical_excess", *PAIRED, "not_wrong", "pick_rate", "frac_unscorable")
"""Quantities of a point that are stored."""


@dataclass(frozen=True)
class Weighed:
    """A point with its draws; draw 0 is the value as measured. `p_null`: of its separation, None without nulls."""

    point: PointEvidence
    draws: dict[str, Draws]
    p_null: float | None

    def value(self, quantity: str) -> float | None:
        """The quantity as measured; None where it is undefined or was not read."""
        if quantity not in self.draws or not np.isfinite(self.draws[quantity][0]):
            return None
        return float(self.draws[quantity][0])

    def interval(self, quantity: str) -> Interval | None:
        """Its 95% interval over vignettes and seeds; None where it is undefined."""
        return interval(self.draws[quantity]) if quantity in self.draws else None

    def at_least(self, floor: float) -> bool:
        """Whether its shift and its coherence are finite, and the coherence reaches a floor."""
        coherence = self.value("coherence")
        return self.value("separation") is not None and coherence is not None and coherence >= floor


def weigh(part: PartEvidence, seed: int, resamples: int) -> list[Weighed]:
    """Every point of a part, over the same resamples of its vignettes and of the seeds."""
    draw = resample(part.labels, seed, resamples)
    seeds = max((len(point.readings) for point in part.points), default=1)
    weights, moved = seed_weights(seeds, seed, resamples), null_moves(part)
    return [_weighed(part, point, draw, weights, moved) for point in part.points]


def null_moves(part: PartEvidence) -> dict[float, list[float]]:
    """How far each null direction moves the target, either way, by dose (nats)."""
    once = resample(part.labels, 0, 1)
    found: dict[float, list[float]] = {}
    for null in part.nulls:
        shift = measure(null, part.base, part.labels, part.target, part.sign, once).value("d_target")
        if shift is not None:
            found.setdefault(null.dose, []).append(abs(shift))
    return found


def _weighed(
    part: PartEvidence, point: PointEvidence, draw: Resamples, weights: SeedWeights, moved: Mapping[float, list[float]]
) -> Weighed:
    shared = (part.base, part.labels, part.target, part.sign, draw)
    arms = [measure(reading.plus, *shared) for reading in point.readings]
    own = weights if len(arms) == weights.shape[1] else np.ones((len(weights), len(arms)))
    draws = {name: _over_seeds([arm.draws[name] for arm in arms], own) for name in arms[0].draws}
    shift = np.abs(draws["d_target"])
    with np.errstate(divide="ignore", invalid="ignore"):
        draws["coh_cost"] = np.where(shift < SMALLEST_SHIFT, np.nan, np.abs(draws["d_coherence"]) / shift)
    draws["surgical_excess"] = surgical_excess(part, replace(arms[0], draws=draws))
    pairs = [selectivity(r.plus, r.minus, *shared) for r in point.readings if r.minus is not None]
    if len(pairs) == len(arms):
        draws |= {name: _over_seeds([pair[name] for pair in pairs], own) for name in PAIRED}
    kept = {name: draws[name] for name in KEPT if name in draws}
    nulls, separation = moved.get(point.dose or 0.0, []), float(draws["separation"][0])
    return Weighed(point, kept, permutation_p(separation, nulls) if nulls and np.isfinite(separation) else None)


def _over_seeds(draws: Sequence[Draws], weights: SeedWeights) -> Draws:
    """The mean over the drawn seeds, per resample; a seed that is undefined makes it undefined where it is drawn."""
    values = np.stack(draws, axis=1)
    total = np.where(weights > 0, weights * values, 0.0).sum(axis=1)
    return np.asarray(total / weights.sum(axis=1))


def plane(points: Sequence[Weighed], resolution: float) -> tuple[Places, Places]:
    """Cost (fraction of answer mass lost, at least 0) and gain (separation, nats), `[resample point]`.

    Costs are rounded to `resolution`, and more answer mass than the base's is no gain in coherence: differences below
    one answer slot would else put every weak dose on the front.
    """
    lost = np.stack([1 - point.draws["coherence"] for point in points], axis=1)
    cost = np.maximum(np.round(lost / resolution) * resolution, 0.0)
    return cost, np.stack([point.draws["separation"] for point in points], axis=1)


def on_front(points: Sequence[Weighed], resolution: float) -> Mapping[str, float]:
    """Each point's bootstrap probability to lie on the Pareto front, on which the untouched base stands too."""
    if not points:
        return {}
    cost, gain = plane(points, resolution)
    base = np.zeros((len(cost), 1))
    chances = front_probability(np.hstack([cost, base]), np.hstack([gain, base]))
    return {point.point.point_id: float(chance) for point, chance in zip(points, chances, strict=False)}


def may_be_on_front(points: Sequence[Weighed], resolution: float, slack: float) -> Mapping[str, float]:
    """Each point's bootstrap probability that no other beats it by more than `slack` of gain (nats).

    The slack stands for what a read of one draw of contexts does not see: how much other draws would move a point.
    """
    if not points:
        return {}
    cost, gain = plane(points, resolution)
    base = np.zeros((len(cost), 1))
    rival_cost, rival_gain = np.hstack([cost, base]), np.hstack([gain, base])
    beaten = (rival_cost[1:, :, None] <= cost[1:, None, :]) & (rival_gain[1:, :, None] > gain[1:, None, :] + slack)
    chances = (~beaten.any(axis=1) & np.isfinite(cost[1:]) & np.isfinite(gain[1:])).mean(axis=0)
    return {point.point.point_id: float(chance) for point, chance in zip(points, chances, strict=True)}


def choose(points: Sequence[Weighed], floor: float) -> Weighed | None:
    """The point that separates most while it is coherent; None where none that separates at all is."""
    pool = [point for point in points if point.at_least(floor) and (point.value("separation") or 0.0) > 0]
    return max(pool, key=lambda point: point.value("separation") or 0.0, default=None)
