"""The front of raw steering: what coherence it offers at a separation, against which a student is held."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from steerkit.metrics import Draws

Points = Float[np.ndarray, "point resample"]
Steps = Float[np.ndarray, "step resample"]


@dataclass(frozen=True)
class Offer:
    """What raw steering offers at a level of separation, per resample.

    `coherence`: the best at that separation or a larger one. `beyond`: whether no point reaches the level; then
    `coherence` is that of the strongest point, and a student's gain over it is a lower bound, because more steering
    would not be more coherent.
    """

    coherence: Draws
    beyond: Bool[np.ndarray, "resample"]


def offered(path: Sequence[tuple[Draws, Draws]], others: Sequence[tuple[Draws, Draws]], level: Draws) -> Offer:
    """The best coherence that raw steering has at `level` of separation or more, per resample.

    `path`: separation and coherence of raw steering by rising dose, its start first; doses between two neighbours lie
    on the straight line between them. `others`: points that stand alone, such as the untouched base. There is no
    extrapolation. A point that is NaN in a resample does not exist there.
    """
    separation = np.stack([point[0] for point in (*path, *others)])
    coherence = np.stack([point[1] for point in (*path, *others)])
    known = np.isfinite(separation) & np.isfinite(coherence)
    reaching = np.where(known & (separation >= level), coherence, -np.inf)
    between = _crossings(separation[: len(path)], coherence[: len(path)], level)
    best = np.concatenate([reaching, between]).max(axis=0)
    strongest = np.where(known, separation, -np.inf).argmax(axis=0)
    last = np.take_along_axis(coherence, strongest[None], axis=0)[0]
    beyond = ~(known & (separation >= level)).any(axis=0)
    best = np.where(beyond, last, best)
    return Offer(np.where(np.isfinite(level) & known.any(axis=0), best, np.nan), beyond)


def _crossings(separation: Points, coherence: Points, level: Draws) -> Steps:
    """The coherence where each step of the path crosses the level; minus infinity where it does not."""
    low, high = separation[:-1], separation[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (level - low) / (high - low)
        crossed = coherence[:-1] + part * (coherence[1:] - coherence[:-1])
    return np.where((part >= 0) & (part <= 1) & np.isfinite(crossed), crossed, -np.inf)
