"""Take a Linear's output along the mean difference, as its own weight sees it, away and put a chosen one in its place.

    U diag(sigma) V^T = weight of a Linear that writes to the residual stream   [dim mode] [mode] [mode inputs]
    x     = (hidden - bias) U / sqrt(sigma)                                     [batch token mode]
    shift = mean(x of positive) - mean(x of negative), its `rank` largest kept  [mode]
    delta = -min(|strength|, 1) * (x . unit(shift)) unit(shift) + strength * shift
    steer : hidden + (delta * sqrt(sigma)) U^T                                  [batch token dim], a Linear's output
    bake  : W <- (I - P) W, b <- b + strength * U (sqrt(sigma) * shift),
            P = min(|strength|, 1) * U diag(sqrt(sigma)) unit unit' diag(1 / sqrt(sigma)) U'

Its nearest relatives are `sspace`, which adds in proportion to a gate, and `local_ablation`, which does this to the
residual stream. Because it is affine in what one Linear writes, that Linear's weight and bias hold it exactly on any
architecture, at any strength.

It fails when the direction is one that every token needs. P is an oblique projection: where quiet modes carry the
shift, it adds to loud ones what it takes from the direction. It degenerates, as an error, when the poles differ only
where the weight does not reach.

Source: https://github.com/wassname/steering-lite (sspace_ablate, an internal method there, without a paper).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._sspace import check_rank, coordinates, left, mode_state, push, unit_shift
from steerkit.methods._vectors import replaced
from steerkit.spec import Setting

SITE = "writers"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `sspace_ablate`."""

    rank: int = -1
    """How many modes are kept, those in which the poles differ most; -1 keeps all."""

    def __post_init__(self) -> None:
        """Raise UsageError unless a mode is kept."""
        check_rank(self.rank)


def fit(contrast: Contrast, config: Config) -> State:
    """The kept modes and the mean difference in them.

    Raises RunError when the poles do not differ, or the contrast has no weight.
    """
    return mode_state(contrast, *left(contrast, "sspace_ablate"), config.rank)


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 puts in place of what it takes."""
    return push(state)


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Ablate a share of the part along the shift, all of it from strength 1 on, and add `strength` shifts."""
    per_row = strength[:, None, None]
    part = (coordinates(hidden, state) @ unit_shift(state))[..., None] * _lifted(state)
    return replaced(hidden, hidden - per_row.abs().clamp(max=1) * part + per_row * push(state), strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same map of what the Linear writes: beyond its bias it loses its part along the shift; shifts are added."""
    reading = state["modes"] @ (unit_shift(state) / state["root"])
    taken = min(abs(strength), 1.0) * torch.outer(_lifted(state), reading)
    identity = torch.eye(len(taken), dtype=taken.dtype, device=taken.device)
    return WeightEdit(bias=strength * push(state) + taken @ state["origin"], matrix=identity - taken)


def _lifted(state: State) -> Float[Tensor, "dim"]:
    """The unit shift back in the site's units."""
    return state["modes"] @ (unit_shift(state) * state["root"])
