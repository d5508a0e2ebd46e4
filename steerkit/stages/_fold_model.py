"""How a model's weights change places with others, and what a block makes of what its Linears write."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.host import Host
from steerkit.host.blocks import module_at
from steerkit.host.places import ENTRANCE, Inside, Place, traced, writers

PROPORTIONAL = 1e-3
"""Relative residue below which what arrives is a multiple of what was sent."""
IDS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Swap:
    """New weights: path of a Linear to its weight and bias (None: none), and the embedding (None: as it is)."""

    linears: Mapping[str, tuple[Tensor, Tensor | None]]
    embedding: Tensor | None


@contextmanager
def swapped_weights(host: Host, new: Swap) -> Iterator[None]:
    """The new weights for a while, in the old dtypes; an embedding that is also the head leaves the head alone."""
    undo: list[Callable[[], None]] = []
    try:
        for path, (weight, bias) in new.linears.items():
            linear: Any = host.model.get_submodule(path)
            undo.append(_restoring(linear, "weight"))
            undo.append(_restoring(linear, "bias"))
            linear.weight = _parameter(weight, linear.weight)
            linear.bias = None if bias is None else _parameter(bias, linear.weight)
        if new.embedding is not None:
            undo.extend(_other_embedding(host, new.embedding))
        yield
    finally:
        for step in reversed(undo):
            step()


def _other_embedding(host: Host, embedding: Float[Tensor, "token dim"]) -> list[Callable[[], None]]:
    inner, head = host.model.get_input_embeddings(), host.model.get_output_embeddings()
    settings = host.model.config
    tied = settings.tie_word_embeddings

    def retie() -> None:
        settings.tie_word_embeddings = tied

    undo = [_restoring(inner, "weight"), _restoring(head, "weight"), retie]
    if head.weight is inner.weight:
        head.weight = _parameter(head.weight.clone(), head.weight)
        settings.tie_word_embeddings = False
    inner.weight = _parameter(embedding, inner.weight)
    return undo


def _restoring(module: Any, name: str) -> Callable[[], None]:
    """Puts back the very parameter that is there now."""
    was = module._parameters[name]
    return lambda: module._parameters.__setitem__(name, was)


def _parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().to(like.device, like.dtype), requires_grad=False)


def carried(host: Host, block: int, writer: str) -> float | None:
    """What a block multiplies a constant with that one of its Linears adds to what it writes.

    None where what arrives in the residual stream is no multiple of it: the block normalises what it writes.
    """
    linear = host.blocks[block].get_submodule(writer)
    before = _arrived(host, block, writer)
    sent = torch.randn(host.width, generator=torch.Generator().manual_seed(0)).to(before)
    # About as large as the stream itself: lost in rounding otherwise.
    sent = sent * before.norm(dim=-1).mean() / sent.norm()
    hook = linear.register_forward_hook(lambda _module, _given, output: output + sent.to(output.dtype))
    try:
        moved = _arrived(host, block, writer) - before
    finally:
        hook.remove()
    factor = (moved @ sent).mean() / sent.square().sum()
    return float(factor) if (moved - factor * sent).norm() < PROPORTIONAL * moved.norm() else None


def _arrived(host: Host, block: int, writer: str) -> Float[Tensor, "token dim"]:
    """The residual stream right after a Linear has written to it, float64: half-way or behind the block."""
    halfway = traced(host, [block])[block].halfway if writer == writers(host, block)[0] else []
    place: Place = Inside(block, halfway[0], reads=True) if halfway else block
    return _seen(host, place)


def entrance_scale(host: Host) -> float | None:
    """What the embedding is multiplied with before it enters the first block; None where it is no multiple of it."""
    entered = _seen(host, ENTRANCE)
    with torch.inference_mode():
        written = host.model.get_input_embeddings().weight[list(IDS)].to(entered)
    factor = (entered * written).sum() / written.square().sum()
    return float(factor) if (entered - factor * written).norm() < PROPORTIONAL * entered.norm() else None


def _seen(host: Host, place: Place) -> Float[Tensor, "token dim"]:
    """The activations at a place in one short pass, float64."""
    seen: list[Tensor] = []
    module, reads = module_at(host, place)

    def note(hidden: Any) -> None:
        seen.append((hidden[0] if isinstance(hidden, tuple) else hidden)[0].double())

    if reads:
        hook = module.register_forward_pre_hook(lambda _module, given: note(given))
    else:
        hook = module.register_forward_hook(lambda _module, _given, output: note(output))
    try:
        with torch.inference_mode():
            host.decoder(input_ids=torch.tensor([[*IDS]], device=host.device), use_cache=False)
    finally:
        hook.remove()
    return seen[0]
