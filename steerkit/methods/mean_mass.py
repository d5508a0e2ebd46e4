"""Add the difference of the two poles' mean activations.

    shift  = mean_i(positive_i - negative_i)                      [dim]
    vector = shift                                                whiten=False
    vector = |shift| * unit(shrunk^-1 shift)                      whiten=True
    shrunk = (1 - s) * covariance + s * trace(covariance)/dim * I [dim dim], covariance pooled within poles
    steer  : hidden + strength * vector                           [batch token dim]

Its nearest relative is `svd`, which takes the direction that the pairs share rather than their average; the two agree
when one shift dominates every pair. Whitening turns the shift away from directions in which contexts vary anyway: it is
the direction that *separates* the poles best, which need not be the one that moves the model best.

It fails when a few outlier contexts or dimensions carry the mean, and it degenerates to noise when the poles hardly
differ. With far fewer pairs than dimensions the whitened vector rests on the shrinkage s: towards 0 it follows
directions in which these few contexts happen not to vary, and at 1 it is the plain shift.

Source: CAA 2312.06681 (mean of paired differences); whitening: Marks & Tegmark 2310.06824 (mass-mean probing).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import mean_difference, pushed, with_norm
from steerkit.spec import Setting

SITE = "residual"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `mean_mass`."""

    whiten: bool = False
    shrinkage: float = 0.5
    """Weight of the identity in the whitening covariance (fraction); used when `whiten` is on."""

    def __post_init__(self) -> None:
        """Raise UsageError unless the shrinkage leaves an invertible covariance."""
        if not 0 < self.shrinkage <= 1:
            raise UsageError(f"shrinkage must be above 0 and at most 1, but got shrinkage={self.shrinkage}")


def _shrunk_covariance(contrast: Contrast, shrinkage: float) -> Float[Tensor, "dim dim"]:
    """Covariance within the poles, shrunk towards a multiple of the identity; float64.

    Raises RunError when nothing varies within the poles.
    """
    sides = (contrast.positive.double(), contrast.negative.double())
    centred = torch.cat([side - side.mean(0) for side in sides])
    if not centred.any():
        raise RunError("whitening needs at least 2 different contexts, but got activations that do not vary")
    covariance = centred.T @ centred / len(centred)
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().mean() * identity


def fit(contrast: Contrast, config: Config) -> State:
    """The (whitened) mean difference: `vector` `[dim]`, of the raw mean difference's norm.

    Raises RunError when the poles do not differ, or nothing varies and whitening was asked for.
    """
    shift = mean_difference(contrast)
    if not config.whiten:
        return {"vector": shift}
    direction = torch.linalg.solve(_shrunk_covariance(contrast, config.shrinkage), shift.double())
    return {"vector": with_norm(direction.to(shift.dtype), shift.norm())}


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
