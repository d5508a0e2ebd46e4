"""Steps that methods share: measure the mean difference, give a direction a norm, push rows along it, replace rows."""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast
from steerkit.errors import RunError

ROUNDING = 1e-6
"""A mean difference below this fraction of the activations' own norm is float32 rounding."""


def mean_difference(contrast: Contrast) -> Float[Tensor, "dim"]:
    """Mean of (positive - negative) over pairs, `[dim]`, residual units.

    Raises RunError when it is zero up to rounding, or overflows.
    """
    shift = (contrast.positive - contrast.negative).mean(0)
    if not shift.norm().isfinite():
        raise RunError("the mean difference must be finite, but it overflowed; the activations are too large")
    if shift.norm() <= ROUNDING * contrast.positive.norm(dim=-1).mean():
        raise RunError(
            f"the two poles must differ on average, but got a mean difference of norm {shift.norm().item():.3g} "
            f"over {len(contrast.positive)} pairs; choose a persona pair that the model tells apart"
        )
    return shift


def with_norm(direction: Float[Tensor, "dim"], norm: Float[Tensor, ""]) -> Float[Tensor, "dim"]:
    """The same direction, of the given norm."""
    scale: Tensor = norm / direction.norm()
    return direction * scale


def pushed(
    hidden: Float[Tensor, "batch token dim"],
    push: Float[Tensor, "#batch #token dim"],
    strength: Float[Tensor, "batch"],
) -> Float[Tensor, "batch token dim"]:
    """`hidden + strength * push`, one strength per row; summed in the push's precision and rounded once.

    A row of strength 0 is returned as it came: adding zero would turn -0.0 into 0.0.
    """
    per_row = strength[:, None, None]
    return torch.where(per_row == 0, hidden, (hidden + per_row * push).to(hidden.dtype))


def replaced(
    hidden: Float[Tensor, "batch token dim"],
    changed: Float[Tensor, "batch token dim"],
    strength: Float[Tensor, "batch"],
) -> Float[Tensor, "batch token dim"]:
    """The changed rows, rounded once; a row of strength 0 is returned as it came."""
    return torch.where(strength[:, None, None] == 0, hidden, changed.to(hidden.dtype))


def ablated(
    hidden: Float[Tensor, "batch token dim"],
    vector: Float[Tensor, "dim"],
    strength: Float[Tensor, "batch"],
    share: Float[Tensor, "batch"],
) -> Float[Tensor, "batch token dim"]:
    """A share of each token's part along the vector taken away, and `strength` vectors added."""
    unit = vector / vector.norm()
    token = hidden.to(vector.dtype)
    part = (token @ unit)[..., None] * unit
    return replaced(hidden, token - share[:, None, None] * part + strength[:, None, None] * vector, strength)
