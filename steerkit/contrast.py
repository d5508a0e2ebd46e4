"""What a steering method is fitted on, and what it yields: tensors of one site, no model."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import RunError

State = dict[str, Tensor]
"""A fitted method at one site; named tensors only, so it round-trips through safetensors."""


@dataclass(frozen=True)
class Contrast:
    """Activations of the same contexts under the positive and the negative persona, at one site.

    `positive`, `negative`: `[pair dim]`, float32; row i of both comes from context i.
    `weight`, `bias`: where the site is a Linear's output, that Linear's, `[dim inputs]` and `[dim]`, float32. At the
    site 'weighted' the weight is `[n dim]`: a root R of the blocks' common Gram matrix, R'R = sum of W'W over Linears
    that read the residual stream and of WW' over those that write to it. None elsewhere; a Linear may have no bias.
    `prompts`, `topics`: at the site 'conditional', the mean activation of each whole prompt without a persona,
    `[prompt dim]`, float32, and its category; None and empty elsewhere.
    """

    positive: Float[Tensor, "pair dim"]
    negative: Float[Tensor, "pair dim"]
    weight: Float[Tensor, "out in"] | None = None
    bias: Float[Tensor, "out"] | None = None
    prompts: Float[Tensor, "prompt dim"] | None = None
    topics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise RunError unless both sides are finite and of one shape with at least one pair."""
        if self.positive.shape != self.negative.shape or self.positive.shape[0] < 1:
            raise RunError(
                f"a contrast needs two sides of one shape with at least 1 pair, but got {tuple(self.positive.shape)} "
                f"and {tuple(self.negative.shape)}"
            )
        if not (self.positive.isfinite().all() and self.negative.isfinite().all()):
            raise RunError("activations must be finite, but a NaN or infinity came from the model; try --dtype float32")


@dataclass(frozen=True)
class WeightEdit:
    """A method folded into static weights at one site: what the site writes goes through one fixed affine map.

    `bias`: `[dim]`, in the site's units. `matrix`: `[dim dim]`, applied before the bias; None is the identity.
    """

    bias: Float[Tensor, "dim"]
    matrix: Float[Tensor, "dim dim"] | None = None

    def applied(self, hidden: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """What the edited weights write where the original ones wrote `hidden`."""
        return (hidden if self.matrix is None else hidden @ self.matrix.T) + self.bias


def swapped(contrast: Contrast) -> Contrast:
    """The same contrast with its poles exchanged."""
    return replace(contrast, positive=contrast.negative, negative=contrast.positive)


def label_shuffled(contrast: Contrast, seed: int) -> Contrast:
    """A null: in half of the pairs, chosen at random, the two sides change places, so that labels say nothing."""
    pairs = contrast.positive.shape[0]
    order = torch.randperm(pairs, generator=torch.Generator().manual_seed(seed))
    flip = torch.zeros(pairs, dtype=torch.bool)
    flip[order[: pairs // 2]] = True
    mask = flip[:, None]
    return replace(
        contrast,
        positive=torch.where(mask, contrast.negative, contrast.positive),
        negative=torch.where(mask, contrast.positive, contrast.negative),
    )


def random_direction(contrast: Contrast, seed: int) -> Contrast:
    """A null: every pair differs by one random direction of the norm of the true mean difference."""
    shift = (contrast.positive - contrast.negative).mean(0)
    noise = torch.randn(shift.shape, generator=torch.Generator().manual_seed(seed))
    direction = noise / noise.norm() * shift.norm()
    return replace(contrast, positive=contrast.negative + direction)
