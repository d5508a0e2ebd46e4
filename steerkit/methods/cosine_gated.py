"""Add the mean difference only where the token already speaks about it, in proportion to how much.

    vector = mean_i(positive_i - negative_i)                      [dim]
    gate   = max(0, |cos(hidden, vector)| - tau)                  [batch token], a fraction
    steer  : hidden + strength * gate * vector                    [batch token dim]

Its nearest relative is `mean_mass`, which pushes every token alike. CAST proper has a second, condition vector and
switches the whole prompt on or off; here the behaviour vector is its own condition, per token, and the sign of the
cosine does not matter.

A cosine with a residual stream is small, so the gate is: expect strengths of 5 to 20 where `mean_mass` needs 1. It
fails when one massive dimension of the residual stream dominates every norm (all gates are alike, and it is a weaker
`mean_mass`); it degenerates to no steering at all when tau exceeds every token's cosine.

Source: CAST 2409.05907 (gating by cosine similarity); vector: CAA 2312.06681.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steerkit.contrast import Contrast, State
from steerkit.errors import UsageError
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = "the gate's size depends on each token's activation, so no fixed weight holds it"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `cosine_gated`."""

    tau: float = 0.0
    """Cosine below which a token is left alone (fraction)."""

    def __post_init__(self) -> None:
        """Raise UsageError unless some cosine can pass the gate."""
        if not 0 <= self.tau < 1:
            raise UsageError(f"tau must be at least 0 and below 1, but got tau={self.tau}")


def fit(contrast: Contrast, config: Config) -> State:
    """The mean difference: `vector` `[dim]`.

    Raises RunError when the poles do not differ.
    """
    return {"vector": mean_difference(contrast)}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 would add to a token with the gate fully open."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` times the gated vector to each token of a row; cosines in the vector's precision."""
    vector = state["vector"]
    gate = (cosine_similarity(hidden.to(vector.dtype), vector, dim=-1).abs() - config.tau).clamp(min=0)
    return pushed(hidden, gate[..., None] * vector, strength)
