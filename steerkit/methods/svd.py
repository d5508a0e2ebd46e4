"""Add the one direction that explains most of all pair differences.

    differences = positive - negative                             [pair dim]
    U S V^T     = differences                                     not centred
    vector      = |shift| * sign(shift . V[:, 0]) * V[:, 0]       [dim], shift = mean of the differences
    steer       : hidden + strength * vector                      [batch token dim]

Its nearest relative is `mean_mass`: both agree when one shift dominates every pair, and this one is less moved by pairs
that differ little. It is *not* PCA of the differences: centring would delete the shift that all pairs share.

It fails when another axis varies more between the poles than the trait does (style, length): then that axis is the
vector. It degenerates when that axis is orthogonal to the mean difference (the sign means nothing: an error) or when
the first two singular values are equal. Exchanging the sides of single pairs leaves V as it is, so this method fitted
on shuffled labels finds the true axis again, with either sign: take label-shuffled nulls from `null`, never from
here.

Source: RepE 2310.01405 (linear artificial tomography: principal component of pair differences; here uncentred).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.errors import RunError
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"
UNSIGNED = 1e-4
"""Below this cosine with the mean difference the sign of the axis is rounding."""


class Config(Setting, frozen=True, kw_only=True):
    """`svd` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The first right singular vector: `vector` `[dim]`, of the mean difference's norm and signed by it.

    Raises RunError when the poles do not differ, or the axis is orthogonal to the mean difference.
    """
    shift = mean_difference(contrast)
    axis = torch.linalg.svd(contrast.positive - contrast.negative, full_matrices=False).Vh[0]
    cosine = axis @ shift / shift.norm()
    if cosine.abs() < UNSIGNED:
        raise RunError(
            f"the first singular direction must have a sign, but its cosine with the mean difference is "
            f"{cosine.item():.1e}; the poles vary more along another axis: change the persona pair or use mean_mass"
        )
    return {"vector": axis * cosine.sign() * shift.norm()}


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
