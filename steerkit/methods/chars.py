"""Add to each token the shift from its own part of the negative pole to the matching part of the positive one.

    a, p    = centres and shares of negative's clusters (by cosine)         [from dim], [from]
    b, q    = centres and shares of positive's clusters                     [to dim], [to]
    plan    = argmin_P <P, cost> - entropy * H(P), with marginals p and q   [from to], cost = |a_i - b_j|^2 / mean
    shift_i = sum_j plan_ij / p_i * b_j - a_i                               [from dim]
    w_i     = softmax_i(log p_i - |hidden - a_i|^2 / (2 * median_k |hidden - a_k|^2))       [batch token from]
    steer   : hidden + strength * sum_i w_i shift_i                         [batch token dim]

With one cluster this is `mean_mass` exactly; its nearest relative with more is `topk_clusters`, which clusters the
differences and jumps between them. Weighted by p the shifts add up to the mean difference, so that a token far from all
centres gets about that.

It fails when the two poles' clusters are of different things (topics here, style there): the plan then matches what
does not belong together. The plan is computed in logarithms: exp(-cost / entropy) underflows to 0 in float32 for large
costs, and everything after that is NaN. Costs count relative to their mean, so that the entropy means the same at every
block. It degenerates to a nearest-neighbour plan as the entropy goes to 0.

Source: CHaRS 2603.02237 (clusters, entropic transport plan, RBF weights with a token's own bandwidth).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.errors import UsageError
from steerkit.methods._clusters import check_count, clustered
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = "the weights of the shifts depend on where each token lies, so no fixed weight holds it"
ROUNDS = 50
"""Sinkhorn iterations."""


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `chars`."""

    clusters: int = 4
    entropy: float = 0.1
    """Weight of the plan's entropy, relative to the mean cost (fraction)."""
    seed: int = 0
    """Draws the clusters' starting points."""

    def __post_init__(self) -> None:
        """Raise UsageError unless there are clusters and a plan is defined."""
        check_count(self.clusters, self.seed)
        if not 0 < self.entropy < float("inf"):
            raise UsageError(f"entropy must be finite and above 0, but got entropy={self.entropy}")


def fit(contrast: Contrast, config: Config) -> State:
    """`centres` and `shifts` `[from dim]`, `shares` `[from]`, and the mean difference, `vector` `[dim]`.

    Raises RunError when the poles do not differ, or there are fewer pairs than clusters.
    """
    vector = mean_difference(contrast)
    start = clustered(contrast.negative, config.clusters, config.seed)
    goal = clustered(contrast.positive, config.clusters, config.seed)
    cost = torch.cdist(start.centres, goal.centres).square()
    tiny = torch.finfo(cost.dtype).tiny
    given = plan(cost / cost.mean().clamp(min=tiny), start.shares, goal.shares, config.entropy)
    shifts = given / start.shares[:, None] @ goal.centres - start.centres
    return {"centres": start.centres, "shares": start.shares, "shifts": shifts, "vector": vector}


def plan(
    cost: Float[Tensor, "from to"], rows: Float[Tensor, "from"], columns: Float[Tensor, "to"], entropy: float
) -> Float[Tensor, "from to"]:
    """The entropic transport plan by Sinkhorn's iterations in logarithms; its row sums are exact."""
    kernel = -cost / entropy
    left, right = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(ROUNDS):
        right = columns.log() - (kernel + left[:, None]).logsumexp(0)
        left = rows.log() - (kernel + right[None]).logsumexp(1)
    return rows[:, None] * (kernel + right).softmax(1)


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """The mean difference, which the shifts add up to."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` times each token's own mixture of shifts, in the shifts' precision."""
    centres = state["centres"]
    # Differences rather than |x|^2 - 2xa + |a|^2: one massive dimension would leave nothing of the latter.
    token = hidden.to(centres.dtype)
    apart = torch.stack([(token - centre).square().sum(-1) for centre in centres], dim=-1)
    width = apart.median(-1, keepdim=True).values.clamp(min=torch.finfo(apart.dtype).tiny)
    weights = (state["shares"].log() - apart / (2 * width)).softmax(-1)
    return pushed(hidden, weights @ state["shifts"], strength)
