"""Add, to each token, the one of a few shifts that points most nearly where the token does.

    centre_k = mean of the k-th cluster of (positive_i - negative_i), clustered by cosine     [cluster dim]
    centre_k : turned round where it points away from the mean difference
    steer    : hidden + strength * centre_j, j = argmax_k cos(hidden, centre_k)               [batch token dim]

Its nearest relative is `mean_mass`, which is this with one cluster. `chars` weighs all its shifts smoothly and says
where each leads from; here a token jumps from one shift to another.

It fails when clusters are of style or length rather than of kinds of context: every one of them is steered along, and
which one a token gets is then an accident. With few pairs a cluster is the mean of a handful, so its shift is noise. It
degenerates to `mean_mass` when all pairs differ alike.

Source: https://github.com/wassname/steering-lite (topk_clusters; an internal baseline there, no paper).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.methods._clusters import check_count, clustered
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = "which shift a token gets depends on its activation, so no fixed weight holds it"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `topk_clusters`."""

    clusters: int = 4
    seed: int = 0
    """Draws the clusters' starting points."""

    def __post_init__(self) -> None:
        """Raise UsageError unless there is a cluster."""
        check_count(self.clusters, self.seed)


def fit(contrast: Contrast, config: Config) -> State:
    """The shifts: `centres` `[cluster dim]`, none against the mean difference; and that one, `vector` `[dim]`.

    Raises RunError when the poles do not differ, or there are fewer pairs than clusters.
    """
    vector = mean_difference(contrast)
    centres = clustered(contrast.positive - contrast.negative, config.clusters, config.seed).centres
    against = (centres @ vector < 0)[:, None]
    return {"centres": torch.where(against, -centres, centres), "vector": vector}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """The mean difference; what a token gets is its own cluster's shift."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` times the nearest shift to each token of a row; cosines in the shifts' precision."""
    centres = state["centres"]
    nearest = (hidden.to(centres.dtype) @ torch.nn.functional.normalize(centres, dim=-1).T).argmax(-1)
    return pushed(hidden, centres[nearest], strength)
