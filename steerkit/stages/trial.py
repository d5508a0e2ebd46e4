"""A fitted method tried on a few of its own activations, so that a broken one is found before anything is measured."""

from collections.abc import Mapping

import torch
from torch import Tensor

from steerkit.contrast import Contrast
from steerkit.errors import RunError
from steerkit.host.places import Place
from steerkit.plugins import load_method
from steerkit.stages.steer import Fitted

TOKENS = 3


def tried(fitted: Fitted, contrasts: Mapping[Place, Contrast]) -> None:
    """Raise RunError, naming the part, unless what a method learned is finite and steers as it must.

    Its step must be a vector of the activations' width; steering must keep shape and number format, be finite, and
    leave a row of strength 0 as it was, to the bit.
    """
    method = load_method(fitted.method)
    for place, state in fitted.states.items():
        contrast = contrasts[place]
        width = contrast.positive.shape[-1]
        for name, value in state.items():
            _finite(value, f"fit() of {fitted.method!r} must give finite tensors, but {name!r} at {place}")
        _shaped(method.step(state, fitted.config), (width,), f"step() of {fitted.method!r}")
        hidden = contrast.positive[:2, None].expand(-1, TOKENS, -1).contiguous()
        strength = torch.tensor([0.0, 1.0])[: len(hidden)]
        steered = method.steer(hidden.clone(), state, strength, fitted.config)
        _shaped(steered, tuple(hidden.shape), f"steer() of {fitted.method!r}")
        if steered.dtype != hidden.dtype:
            raise RunError(f"steer() of {fitted.method!r} must give {hidden.dtype}, but gave {steered.dtype}")
        if not torch.equal(steered[0], hidden[0]):
            raise RunError(f"steer() of {fitted.method!r} must leave a row of strength 0 as it was, but changed it")


def _shaped(value: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(value.shape) != shape:
        raise RunError(f"{what} must give a tensor of shape {shape}, but gave {tuple(value.shape)}; mend the method")
    _finite(value, f"{what} must give finite numbers, but the tensor")


def _finite(value: Tensor, what: str) -> None:
    if not value.isfinite().all():
        raise RunError(f"{what} has a NaN or infinity; mend the method, or change its settings")
