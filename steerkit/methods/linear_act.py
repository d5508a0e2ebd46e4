"""Carry each coordinate from where the negative pole has it to where the positive one does, one line per coordinate.

    a, b  = negative's and positive's values of one coordinate, both sorted      [pair]
    omega = sum(a~ b~) / sum(a~^2), a~ = a - mean(a), b~ = b - mean(b)           [dim]
    beta  = mean(b) - omega * mean(a)                                            [dim]
    steer : (1 - strength) * hidden + strength * (omega * hidden + beta)         [batch token dim], a norm's output
    bake  : in every Linear that reads it, W <- W diag(1 + strength * (omega - 1)) and b <- b + W_old (strength * beta)

Sorting matches the two poles' distributions, not the pairs: this is the optimal map between two bells, coordinate by
coordinate. Its nearest relative is `mean_mass`, which is beta with omega = 1; here a coordinate that varies more under
the positive pole is spread too. It acts on the outputs of the norms that only Linears read, where the method's authors
found it to work best and where weights can hold it; on the residual stream it would rescale what all earlier blocks
wrote.

It fails when few pairs stand behind each line: omega is then noise, in every coordinate at once. Strengths outside 0 to
1 leave the map behind and only go on in its direction. It degenerates where a coordinate never varies: omega is 1
there.

Source: Linear-AcT 2410.23054 (equations 5 to 7; maps estimated at all sites at once rather than one after another).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._vectors import ROUNDING, mean_difference, replaced
from steerkit.spec import Setting

SITE = "norms"


class Config(Setting, frozen=True, kw_only=True):
    """`linear_act` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The lines `omega` and `beta` `[dim]`, and the mean difference, `vector` `[dim]`.

    Raises RunError when the poles do not differ.
    """
    vector = mean_difference(contrast)
    start, goal = (side.sort(0).values for side in (contrast.negative, contrast.positive))
    before, after = start - start.mean(0), goal - goal.mean(0)
    spread = before.square().sum(0)
    varies = spread.sqrt() > ROUNDING * start.norm(dim=0)
    omega = torch.where(varies, (before * after).sum(0) / torch.where(varies, spread, 1), 1)
    return {"omega": omega, "beta": goal.mean(0) - omega * start.mean(0), "vector": vector}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to a token that lies at the negative pole's mean."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Go `strength` of the way that the lines lead, in their precision."""
    token = hidden.to(state["omega"].dtype)
    way = (state["omega"] - 1) * token + state["beta"]
    return replaced(hidden, token + strength[:, None, None] * way, strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same map of what the norm writes; whoever reads the norm holds it."""
    return WeightEdit(bias=strength * state["beta"], matrix=torch.diag(1 + strength * (state["omega"] - 1)))
