"""What a set of arms offers: the mean shift one can buy within a coherence budget."""

from collections.abc import Iterable, Sequence


def hypervolume(places: Iterable[tuple[float, float]], budget: float) -> float:
    """The largest gain at no more than a cost, averaged over costs from 0 to `budget`; in the gain's unit.

    It is the area under the front's stairs over the budget. A cost below 0 counts as 0: more coherence than the base's
    is not what is bought. Gains below 0 count as 0: one may buy nothing. Source: Zitzler and Thiele 1998,
    doi 10.1007/BFb0056872, with the reference point (budget, 0).
    """
    kept = sorted((max(cost, 0.0), gain) for cost, gain in places if cost <= budget and gain > 0)
    area, best = 0.0, 0.0
    for (cost, gain), after in zip(kept, _ends(kept, budget), strict=True):
        best = max(best, gain)
        area += best * (after - cost)
    return area / budget


def _ends(kept: Sequence[tuple[float, float]], budget: float) -> list[float]:
    return [cost for cost, _ in kept[1:]] + [budget] * bool(kept)
