"""Turn each token's part in one plane towards the mean difference, and leave everything outside the plane alone.

    first  = unit(mean_i(positive_i - negative_i))                          [dim]
    second = unit of (first principal axis of unit(positive_i - negative_i), less its part along `first`)   [dim]
    angle  = atan2(hidden . second, hidden . first)                         [batch token]
    steer  : angle + min(|strength|, 1) * (target - angle), target 0 for strength > 0 and the nearer of +-pi for < 0

The part outside the plane and the length of the part inside it stay as they are. The published form sets every token to
one angle whatever it was; that is this one at strength 1, and at no strength near 0 is it near the identity, so that a
dose could not be turned down. Here strength is the share of the way to that angle. Its nearest relative is `spherical`,
which turns each token in a plane of its own, all the way to the vector.

It fails when tokens have little in the plane (nothing turns, however strong), and saturates at strength 1: a dose may
stay out of reach. It degenerates when all pairs differ by the same direction (there is no second axis: an error).

Source: Angular Steering 2510.26243.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.errors import RunError
from steerkit.methods._vectors import mean_difference, replaced
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = "a turn keeps the length of each token's part in the plane, which is not linear, so no weight holds it"
NO_PLANE = 1e-4
"""Below this length the second axis, orthogonal to the first, is rounding."""


class Config(Setting, frozen=True, kw_only=True):
    """`angular` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The mean difference and the plane's second axis: `vector` and unit `second` `[dim]`.

    Raises RunError when the poles do not differ, or all pairs differ along one line.
    """
    vector = mean_difference(contrast)
    differences = contrast.positive - contrast.negative
    directions = torch.nn.functional.normalize(differences, dim=-1)
    axis = torch.linalg.svd(directions - directions.mean(0), full_matrices=False).Vh[0]
    first = vector / vector.norm()
    second = axis - (axis @ first) * first
    varies = (directions - directions.mean(0)).norm() > NO_PLANE
    if not varies or second.norm() < NO_PLANE:
        raise RunError(
            f"a plane needs pairs that differ in more than one direction, but all {len(differences)} differ along one "
            "line; add contexts, or use spherical or mean_mass"
        )
    return {"vector": vector, "second": second / second.norm()}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """The mean difference, which is where a turn leads."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Turn each token's part in the plane by `strength` of its angle, in the vector's precision."""
    first, second = state["vector"] / state["vector"].norm(), state["second"]
    token = hidden.to(first.dtype)
    across, up = (token @ first)[..., None], (token @ second)[..., None]
    angle, length = torch.atan2(up, across), torch.hypot(up, across)
    share = strength[:, None, None].clamp(-1, 1)
    target = torch.where(share > 0, 0.0, torch.where(angle < 0, -math.pi, math.pi))
    turned = angle + share.abs() * (target - angle)
    change = (length * turned.cos() - across) * first + (length * turned.sin() - up) * second
    return replaced(hidden, token + change, strength)
