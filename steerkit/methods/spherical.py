"""Turn each token's direction towards the mean difference along the sphere, and keep its length.

    pole  = sign(strength) * unit(mean_i(positive_i - negative_i))          [dim]
    angle = atan2(|side|, unit(hidden) . pole), side = pole - (pole . unit(hidden)) unit(hidden)
    steer : |hidden| * (cos(t angle) unit(hidden) + sin(t angle) unit(side)), t = min(|strength|, 1)

This is spherical interpolation in the plane of token and pole. Its nearest relative is `angular`, which turns inside
one plane for all tokens. Strength is the share of the way: at 1 every token lies at the pole and says nothing else, so
useful strengths are a few hundredths. Beyond 1 there is nowhere to go, and a dose may stay out of reach.

It degenerates at the poles: a token at the pole has arrived, a zero token has no direction, and for a token exactly
opposite every way is equally short. All three are left as they are (the usual formula divides by sin(angle) there). The
published method also fades steering out for tokens of low confidence (a von Mises-Fisher gate), which is left out.

Source: Spherical steering 2602.08169.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.methods._vectors import mean_difference, replaced
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = "how far a token turns depends on where it points and how long it is, so no fixed weight holds it"
AT_POLE = 1e-5
"""Sine of the angle below which the way to the pole is rounding."""


class Config(Setting, frozen=True, kw_only=True):
    """`spherical` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The mean difference: `vector` `[dim]`, of which only the direction is used.

    Raises RunError when the poles do not differ.
    """
    return {"vector": mean_difference(contrast)}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """The mean difference, which is where a turn leads."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Turn each token by `strength` of its angle, in the vector's precision."""
    vector = state["vector"]
    share = strength[:, None, None].clamp(-1, 1)
    pole = share.sign() * vector / vector.norm()
    token = hidden.to(vector.dtype)
    # Squares of very large or small numbers leave float32's range; squares relative to the largest do not.
    largest = token.abs().amax(-1, keepdim=True)
    relative = token / largest.clamp(min=torch.finfo(vector.dtype).tiny)
    unit = torch.nn.functional.normalize(relative, dim=-1)
    length = largest * relative.norm(dim=-1, keepdim=True)
    along = (unit * pole).sum(-1, keepdim=True)
    side = pole - along * unit
    sine = side.norm(dim=-1, keepdim=True)
    angle = share.abs() * torch.atan2(sine, along)
    turned = length * (angle.cos() * unit + angle.sin() * side / sine.clamp(min=AT_POLE))
    lost = (length == 0) | (sine < AT_POLE)
    return replaced(hidden, torch.where(lost, token, turned), strength)
