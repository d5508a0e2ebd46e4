"""Add the axes along which the pair differences vary most among themselves.

    differences = positive - negative                             [pair dim]
    U S V^T     = differences - mean_i(differences_i)             centred
    sign_k      = side of V[:, k] on which most differences lie; at a tie, the one with the longest
    vector      = |shift| * unit(sum_k sign_k * V[:, k])          [dim], shift = mean of the differences
    steer       : hidden + strength * vector                      [batch token dim]

Its nearest relative is `svd`, which does not centre. Centring deletes the shift that all pairs share, and with it,
often, the trait: what is left is the axis along which the contrast is strong for one context and weak for another.
Where the trait's size varies from context to context the two agree; where every pair shifts alike, this one finds an
accident of the contexts, and its vector can be orthogonal to the mean difference. Expect it to fail there, and read the
half-split cosine before its scores.

It degenerates when all differences are equal (nothing varies: an error). The sign is a majority vote, which says little
when the votes are split.

Source: RepE 2310.01405 (principal components of pair differences); centring and majority sign: common practice.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import ROUNDING, mean_difference, pushed, with_norm
from steerkit.spec import Setting

SITE = "residual"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `pca`."""

    components: int = 1
    """How many axes are summed, the strongest first."""

    def __post_init__(self) -> None:
        """Raise UsageError unless there is an axis."""
        if self.components < 1:
            raise UsageError(f"components must be at least 1, but got components={self.components}")


def fit(contrast: Contrast, config: Config) -> State:
    """The signed sum of the first axes: `vector` `[dim]`, of the mean difference's norm.

    Raises RunError when the poles do not differ, or fewer axes vary than are asked for.
    """
    shift = mean_difference(contrast)
    differences = contrast.positive - contrast.negative
    _, spread, axes = torch.linalg.svd(differences - shift, full_matrices=False)
    varying = int((spread > ROUNDING * differences.norm()).sum())
    if varying < config.components:
        raise RunError(
            f"the pair differences must vary along at least {config.components} axes, but got {varying} over "
            f"{len(differences)} pairs; add contexts, ask for fewer components, or use svd or mean_mass"
        )
    signed = torch.stack([_majority(differences @ axis) * axis for axis in axes[: config.components]])
    return {"vector": with_norm(signed.sum(0), shift.norm())}


def _majority(projections: Float[Tensor, "pair"]) -> Float[Tensor, ""]:
    """+1 or -1: the sign of most projections; at a tie, of the largest."""
    votes = projections.sign().sum()
    return votes.sign() if votes != 0 else projections[projections.abs().argmax()].sign()


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
