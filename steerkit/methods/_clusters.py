"""Cosine k-means, shared by the methods that know more than one direction."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import ROUNDING

ROUNDS = 30


class Clusters(NamedTuple):
    """Mean of each cluster's points, and the share of all points that it holds (fraction)."""

    centres: Float[Tensor, "cluster dim"]
    shares: Float[Tensor, "cluster"]


def check_count(clusters: int, seed: int) -> None:
    """Raise UsageError unless there is a cluster and the seed can be one."""
    if clusters < 1:
        raise UsageError(f"clusters must be at least 1, but got clusters={clusters}")
    if seed < 0:
        raise UsageError(f"seed must be at least 0, but got seed={seed}")


def clustered(points: Float[Tensor, "point dim"], clusters: int, seed: int) -> Clusters:
    """At most that many clusters by direction: a point belongs to the centre with which it has the largest cosine.

    Starts from points drawn with the seed, each the likelier the further it is from those before it (k-means++); a
    cluster that loses all its points is dropped.
    Raises RunError when there are fewer points than clusters.
    """
    if len(points) < clusters:
        raise RunError(
            f"{clusters} clusters need at least as many pairs, but got {len(points)}; add contexts or lower clusters"
        )
    directions = torch.nn.functional.normalize(points, dim=-1)
    centres = points[_spread_out(directions, clusters, torch.Generator().manual_seed(seed))]
    found = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for number in range(ROUNDS):
        nearest = (directions @ torch.nn.functional.normalize(centres, dim=-1).T).argmax(-1)
        if number and torch.equal(nearest, found):
            break
        kept, found = torch.unique(nearest, return_inverse=True)
        centres = torch.stack([points[found == place].mean(0) for place in range(len(kept))])
    shares = torch.bincount(found, minlength=len(centres)) / len(points)
    return Clusters(centres, shares.to(points.dtype))


def _spread_out(directions: Float[Tensor, "point dim"], count: int, random: torch.Generator) -> list[int]:
    """Indices of up to that many points; fewer where all others point as these do."""
    chosen = [int(torch.randint(len(directions), (1,), generator=random))]
    while len(chosen) < count:
        apart = (1 - (directions @ directions[chosen].T).amax(-1)).clamp(min=0).cpu()
        apart[chosen] = 0
        if not apart.sum() > ROUNDING:
            break
        chosen.append(int(torch.multinomial(apart, 1, generator=random)))
    return chosen
