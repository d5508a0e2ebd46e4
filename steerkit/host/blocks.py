"""Reach into the stack of blocks: edit what a block writes, record it, or run only some of the blocks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steerkit.host.load import Host

Edit = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(hidden `[batch token dim]`, row index `[batch]`, scale `[planned row]`) to hidden.

The index says which planned row each batch row is; the scale multiplies every planned row's strength, None is all 1.
"""
Edits = Mapping[int, Edit]
"""Block number to what is done to that block's output."""


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _replaced(output: Any, hidden: Tensor) -> Any:
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@contextmanager
def edited(host: Host, edits: Edits, rows: Tensor, scale: Tensor | None = None) -> Iterator[None]:
    """Apply `edits` to the outputs of their blocks; batch rows beyond `len(rows)` (twins) are left alone."""

    def hook(edit: Edit) -> Callable[..., Any]:
        def apply(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            hidden = _hidden(output)
            steered = edit(hidden[: len(rows)], rows, scale)
            rest = hidden[len(rows) :]
            return _replaced(output, torch.cat([steered, rest]) if len(rest) else steered)

        return apply

    with ExitStack() as stack:
        for block, edit in edits.items():
            handle = host.blocks[block].register_forward_hook(hook(edit))
            stack.callback(handle.remove)
        yield


@contextmanager
def recorded(host: Host, blocks: Mapping[int, Callable[[Tensor], Tensor]]) -> Iterator[dict[int, Tensor]]:
    """Collect `select(hidden)` of each named block's output during the passes run inside."""
    seen: dict[int, Tensor] = {}

    def hook(block: int, select: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[block] = select(_hidden(output))

        return note

    with ExitStack() as stack:
        for block, select in blocks.items():
            stack.callback(host.blocks[block].register_forward_hook(hook(block, select)).remove)
        yield seen


@contextmanager
def only_blocks(host: Host, start: int, stop: int) -> Iterator[None]:
    """Run blocks start to stop - 1 alone; the rest of the stack is put back on leaving, also after an error.

    Decoders that mix kinds of attention look a block's kind up by its place in the list, so the kinds move along.
    """
    whole = host.decoder.layers
    settings = vars(host.model.config.get_text_config())
    kinds = settings.get("layer_types")
    host.decoder.layers = nn.ModuleList(host.blocks[start:stop])
    if kinds is not None:
        settings["layer_types"] = kinds[start:stop]
    try:
        yield
    finally:
        host.decoder.layers = whole
        if kinds is not None:
            settings["layer_types"] = kinds
