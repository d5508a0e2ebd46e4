"""Add the positive pole's mean activation, measured from the mean of everything seen.

    centre = mean of all positive and negative activations        [dim]
    vector = mean_i(positive_i) - centre                          [dim]
    steer  : hidden + strength * vector                           [batch token dim]

Its nearest relative is `mean_mass`: with as many activations under one pole as under the other, the centre is half-way
between the poles and this vector is exactly half of that one. At equal dose the two are then one method; mean-centring
says something of its own only where the centre comes from a separate, neutral set. It stands here so that published
figures can be compared.

It fails where `mean_mass` does (any difference between the poles, style and length too, is in the vector), and it
degenerates, as an error, when the poles have one mean.

Source: Mean-centring 2312.03813 (mean of the target set less the mean of all activations).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"


class Config(Setting, frozen=True, kw_only=True):
    """`mean_centred` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The positive mean less the mean of both sides: `vector` `[dim]`.

    Raises RunError when the poles do not differ.
    """
    mean_difference(contrast)
    centre = torch.cat([contrast.positive, contrast.negative]).mean(0)
    return {"vector": contrast.positive.mean(0) - centre}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to every token."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` natural steps to every token of a row."""
    return pushed(hidden, state["vector"][None, None], strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same push as a bias on what the block writes."""
    return WeightEdit(bias=strength * state["vector"])
