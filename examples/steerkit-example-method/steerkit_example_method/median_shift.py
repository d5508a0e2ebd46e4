"""Add the median of the pair differences, coordinate by coordinate.

    shift  = mean_i(positive_i - negative_i)                      [dim]
    vector = |shift| * unit(median_i(positive_i - negative_i))    [dim]
    steer  : hidden + strength * vector                           [batch token dim]

Its nearest relative is `mean_mass`: a few contexts that the persona derails pull a mean along and leave a median where
it was. It fails when the trait shows in fewer than half of the contexts, and degenerates, as an error, when the median
is zero in every coordinate.

Source: breakdown point of the median: https://en.wikipedia.org/wiki/Robust_statistics.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.errors import RunError
from steerkit.spec import Setting

SITE = "residual"


class Config(Setting, frozen=True, kw_only=True):
    """`median_shift` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The median difference with the mean difference's norm: `vector` `[dim]`.

    Raises RunError when it is zero.
    """
    differences = contrast.positive - contrast.negative
    # Not torch.median, which takes the lower of two middle values: exchanging the poles must flip the sign alone.
    median = differences.quantile(0.5, dim=0)
    if not median.norm() > 1e-6 * contrast.positive.norm(dim=-1).mean():
        raise RunError("the poles must differ in most contexts, but their median difference is zero")
    return {"vector": median * (differences.mean(0).norm() / median.norm())}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to every token."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` natural steps to every token of a row; strength 0 changes no bit."""
    per_row = strength[:, None, None]
    return torch.where(per_row == 0, hidden, (hidden + per_row * state["vector"]).to(hidden.dtype))


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same push as a bias on what the block writes."""
    return WeightEdit(bias=strength * state["vector"])
