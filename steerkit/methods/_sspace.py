"""The coordinates of a weight's singular directions, shared by the methods that steer there.

    U diag(sigma) V^T = weight, of which the output side U is used            [dim mode]
    coordinates       = (hidden - bias) U / sqrt(sigma)                       [... mode]
    back              = (coordinates * sqrt(sigma)) U^T                       [... dim]

All values are float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import ROUNDING, mean_difference

SILENT = 1e-5
"""Singular values below this share of the largest are rounding; dividing by their root would make noise of it."""


def check_rank(rank: int) -> None:
    """Raise UsageError unless the rank is a number of modes or -1 for all."""
    if rank != -1 and rank < 1:
        raise UsageError(f"rank must be at least 1, or -1 for all modes, but got rank={rank}")


def left(contrast: Contrast, name: str) -> tuple[Float[Tensor, "dim mode"], Float[Tensor, "mode"]]:
    """The output-side singular directions of the site's Linear and their singular values.

    Raises RunError where the contrast comes without a weight.
    """
    modes, values, _ = torch.linalg.svd(needed_weight(contrast, name), full_matrices=False)
    return _audible(modes, values)


def right(contrast: Contrast, name: str) -> tuple[Float[Tensor, "dim mode"], Float[Tensor, "mode"]]:
    """The input-side singular directions of a root of the blocks' Gram matrix, and its singular values.

    Raises RunError where the contrast comes without one.
    """
    _, values, modes = torch.linalg.svd(needed_weight(contrast, name), full_matrices=False)
    return _audible(modes.T, values)


def needed_weight(contrast: Contrast, name: str) -> Float[Tensor, "out in"]:
    """The contrast's weight.

    Raises RunError where there is none.
    """
    if contrast.weight is None:
        raise RunError(f"{name} needs the weights at its site, but the contrast has none; capture at the method's SITE")
    return contrast.weight.float()


def _audible(
    modes: Float[Tensor, "dim mode"], values: Float[Tensor, "mode"]
) -> tuple[Float[Tensor, "dim loud"], Float[Tensor, "loud"]]:
    loud = values > SILENT * values.max()
    return modes[:, loud], values[loud]


def mode_state(contrast: Contrast, modes: Float[Tensor, "dim mode"], values: Float[Tensor, "mode"], rank: int) -> State:
    """The mean difference in the modes that tell the poles apart best.

    `modes` `[dim mode]`; `root` `[mode]`, square roots of their singular values; `shift` `[mode]`; `origin` `[dim]`,
    the Linear's bias. Raises RunError when the poles do not differ, or differ only where the weight does not reach.
    """
    raw = mean_difference(contrast)
    root = values.sqrt()
    shift = raw @ modes / root
    if rank != -1 and rank < len(shift):
        kept = shift.abs().topk(rank).indices.sort().values
        modes, root, shift = modes[:, kept], root[kept], shift[kept]
    state = {
        "modes": modes.contiguous(),
        "root": root.contiguous(),
        "shift": shift.contiguous(),
        "origin": torch.zeros_like(raw) if contrast.bias is None else contrast.bias.float().clone(),
    }
    if not push(state).norm() > ROUNDING * raw.norm():
        raise RunError(
            "the poles must differ where the weight reaches, but they differ only along what it cannot write"
        )
    return state


def push(state: State) -> Float[Tensor, "dim"]:
    """The kept part of the mean difference, back in the site's units."""
    return state["modes"] @ (state["shift"] * state["root"])


def coordinates(hidden: Float[Tensor, "batch token dim"], state: State) -> Float[Tensor, "batch token mode"]:
    """A token in the kept modes, in the state's precision."""
    return (hidden.to(state["modes"].dtype) - state["origin"]) @ state["modes"] / state["root"]


def unit_shift(state: State) -> Float[Tensor, "mode"]:
    """The direction of the mean difference in the modes."""
    unit: Tensor = state["shift"] / state["shift"].norm()
    return unit


def gate(hidden: Float[Tensor, "batch token dim"], state: State) -> Float[Tensor, "batch token 1"]:
    """|cosine| of a token with the mean difference in the modes (fraction)."""
    cosine: Tensor = torch.nn.functional.cosine_similarity(coordinates(hidden, state), state["shift"], dim=-1)
    size: Tensor = cosine.abs()
    return size[..., None]
