"""Turn up the modes of a weight in which the positive pole is larger, and turn down those in which it is smaller.

    U diag(sigma) V^T = weight of a Linear that writes to the residual stream, each U_i turned so that most activations
                        lie on its positive side                                [dim mode] [mode] [mode inputs]
    x     = (hidden - bias) U / sqrt(sigma)                                     [batch token mode]
    shift = mean(x of positive) - mean(x of negative), its `rank` largest kept  [mode]
    scale = exp(clip(strength * unit(shift), -4, 4))                            [mode]
    steer : hidden + (((hidden - bias) U) * (scale - 1)) U^T                    [batch token dim], a Linear's output
    bake  : sigma <- sigma * scale, the bias as it was

Its nearest relative is `sspace`, which adds; this one only rescales what the Linear writes anyway, never turns a mode's
sign, and its size is that of the token. One strength unit is spread over all modes, so that expect strengths of 5 and
more. `step` is the mean difference in these modes: what it favours, not what it adds.

It fails when the poles differ by sign rather than by size in the modes that matter: there is nothing to rescale. The
turning matters: without it, which modes go up would depend on signs that a singular value decomposition leaves open. It
degenerates to no steering for a token that the modes do not see, and saturates where the clip is reached.

Source: https://github.com/wassname/steering-lite (sspace_damp_amp, an internal method there, without a paper).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._sspace import check_rank, left, mode_state, push, unit_shift
from steerkit.methods._vectors import replaced
from steerkit.spec import Setting

SITE = "writers"
CLIP = 4.0
"""Largest |log| of a mode's factor: exp(4) is 55."""


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `sspace_damp_amp`."""

    rank: int = -1
    """How many modes are rescaled, those in which the poles differ most; -1 rescales all."""

    def __post_init__(self) -> None:
        """Raise UsageError unless a mode is kept."""
        check_rank(self.rank)


def fit(contrast: Contrast, config: Config) -> State:
    """The kept modes, turned towards the activations, and the mean difference in them.

    Raises RunError when the poles do not differ, or the contrast has no weight.
    """
    modes, values = left(contrast, "sspace_damp_amp")
    seen = torch.cat([contrast.positive, contrast.negative])
    origin = 0 if contrast.bias is None else contrast.bias
    behind = ((seen - origin) @ modes).sign().sum(0) < 0
    return mode_state(contrast, torch.where(behind, -modes, modes), values, config.rank)


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """The mean difference in the kept modes, which is what it favours."""
    return push(state)


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Rescale each mode of what the Linear writes, in the state's precision."""
    modes = state["modes"]
    more = _log_scale(state, strength[:, None]).expm1()[:, None]
    token = hidden.to(modes.dtype)
    return replaced(hidden, token + ((token - state["origin"]) @ modes * more) @ modes.T, strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same rescaling of the weight's singular values; the Linear's bias is left as it was."""
    modes = state["modes"]
    change = modes * _log_scale(state, modes.new_tensor([strength])).expm1() @ modes.T
    identity = torch.eye(len(change), dtype=change.dtype, device=change.device)
    return WeightEdit(bias=-change @ state["origin"], matrix=identity + change)


def _log_scale(state: State, strength: Float[Tensor, "... 1"]) -> Float[Tensor, "... mode"]:
    return (strength * unit_shift(state)).clamp(-CLIP, CLIP)
