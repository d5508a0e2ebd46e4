"""A fresh LoRA on the Linears of a band of blocks, attached for as long as it is trained and then taken off again."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.errors import UsageError
from steerkit.host.load import Host

_NAME = "new"


@dataclass(frozen=True)
class LoraLayer:
    """The two factors beside one Linear; its weight's update is `scale * up @ down`."""

    path: str
    """The Linear's name among the model's modules."""
    down: Float[nn.Parameter, "rank inner"]
    """peft's lora_A."""
    up: Float[nn.Parameter, "outer rank"]
    """peft's lora_B, zero at first."""


@dataclass(frozen=True)
class Lora:
    """A LoRA on blocks `first_block` to `last_block`."""

    layers: tuple[LoraLayer, ...]
    scale: float
    """alpha / rank."""
    first_block: int
    last_block: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Every trained tensor, in a fixed order."""
        return [factor for layer in self.layers for factor in (layer.down, layer.up)]

    def tensors(self) -> dict[str, Tensor]:
        """A float32 copy on the CPU: `PATH.lora_A` `[rank inner]`, `PATH.lora_B` `[outer rank]`."""
        named = {}
        for layer in self.layers:
            for name, factor in (("lora_A", layer.down), ("lora_B", layer.up)):
                named[f"{layer.path}.{name}"] = factor.detach().to("cpu", torch.float32, copy=True)
        return named


@contextmanager
def without(host: Host, lora: Lora) -> Iterator[None]:
    """The model without that attached LoRA for a while; the LoRA itself and its gradients stay as they are."""
    modules = [host.model.get_submodule(layer.path) for layer in lora.layers]
    for module in modules:
        module.enable_adapters(False)
    try:
        yield
    finally:
        for module in modules:
            module.enable_adapters(True)


def band_blocks(host: Host, band: tuple[float, float]) -> range:
    """The blocks of a band of depth, given as two fractions; at least one block."""
    first, after = (int(part * len(host.blocks)) for part in band)
    first = min(first, len(host.blocks) - 1)
    return range(first, max(after, first + 1))


def block_linears(host: Host, blocks: range) -> dict[str, nn.Linear]:
    """Every Linear inside these blocks by its name among the model's modules."""
    inside = {id(module) for block in blocks for module in host.blocks[block].modules()}
    return {
        name: module
        for name, module in host.model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    }


def names_in_block(host: Host, paths: Sequence[str]) -> list[str]:
    """What the Linears of these paths are called inside their blocks, each name once."""
    roots = {name: id(module) for name, module in host.model.named_modules()}
    blocks = {id(block) for block in host.blocks}
    found = set()
    for path in paths:
        parts = path.split(".")
        start = next(i for i in range(1, len(parts) + 1) if roots[".".join(parts[:i])] in blocks)
        found.add(".".join(parts[start:]))
    return sorted(found)


@contextmanager
def attached(host: Host, rank: int, alpha: float, band: tuple[float, float], seed: int) -> Iterator[Lora]:
    """A LoRA that changes nothing yet: lora_A drawn uniformly (Kaiming) from `seed`, lora_B zero, float32 at least.

    On leaving, also after an error, the model is what it was. Raises UsageError for a rank above a Linear's width.
    """
    from peft import LoraConfig, LoraModel

    blocks = band_blocks(host, band)
    linears = block_linears(host, blocks)
    _check(linears, rank, blocks)
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none"}
    config = LoraConfig(**settings, target_modules="|".join(map(re.escape, linears)))
    try:
        # peft draws from torch's global generator, whose state belongs to the caller.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            LoraModel(host.model, config, _NAME)
        host.model.eval()
        yield Lora(tuple(_layer(host, path) for path in linears), alpha / rank, blocks[0], blocks[-1])
    finally:
        _detach(host, linears)


def _check(linears: dict[str, nn.Linear], rank: int, blocks: range) -> None:
    if not linears:
        raise UsageError(
            f"the trained blocks must hold Linears, but blocks {blocks[0]} to {blocks[-1]} have none; set another "
            "heal.band or use another model"
        )
    for path, linear in linears.items():
        if rank > (width := min(linear.in_features, linear.out_features)):
            raise UsageError(
                f"heal.rank must be at most the smaller width of every trained Linear, but got {rank} where {path} has "
                f"{width}; lower heal.rank"
            )


def _layer(host: Host, path: str) -> LoraLayer:
    module = host.model.get_submodule(path)
    down, up = module.lora_A[_NAME], module.lora_B[_NAME]
    for factor in (down, up):
        # peft takes the Linear's dtype, but an optimiser's small steps would be lost in 16 bits.
        factor.to(torch.promote_types(factor.weight.dtype, torch.float32))
    return LoraLayer(path, down.weight, up.weight)


def _detach(host: Host, linears: dict[str, nn.Linear]) -> None:
    """Put the Linears themselves back, which also undoes an attachment that broke half way."""
    for path, linear in linears.items():
        host.model.set_submodule(path, linear)
    vars(host.model).pop("peft_config", None)
    host.model.requires_grad_(False).eval()
