"""Reach into the stack of blocks: edit what a module writes, record it, or run only some of the blocks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from steerkit.host.load import Host
from steerkit.host.places import ENTRANCE, Place

Edit = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(hidden `[batch token dim]`, row index `[batch]`, scale `[planned row]`) to hidden.

The index says which planned row each batch row is; the scale multiplies every planned row's strength, None is all 1.
"""
Edits = Mapping[Place, Edit]
"""Place to what is done to the activations there."""


@dataclass(frozen=True)
class Condition:
    """Which rows are edited at all, decided once from the whole prompt of each, before anything is edited.

    `block`: whose output is averaged over a prompt's tokens. `decide`: (those means `[row dim]`, the planned row of
    each `[row]`) to whether that row is edited `[row]`.
    """

    block: int
    decide: Callable[[Tensor, Tensor], Tensor]


class ConditionalEdits(dict[Place, Edit]):
    """Edits of the rows that meet a condition; the others are left alone."""

    def __init__(self, edits: Mapping[Place, Edit], condition: Condition) -> None:
        super().__init__(edits)
        self.condition = condition


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _replaced(output: Any, hidden: Tensor) -> Any:
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@contextmanager
def edited(host: Host, edits: Edits, rows: Tensor, scale: Tensor | None = None) -> Iterator[None]:
    """Apply `edits` at their places; batch rows beyond `len(rows)` (twins) are left alone."""
    with ExitStack() as stack:
        for place, edit in edits.items():
            stack.callback(_hooked(host, place, _change(edit, rows, scale)).remove)
        yield


def _change(edit: Edit, rows: Tensor, scale: Tensor | None) -> Callable[[Tensor], Tensor]:
    def change(hidden: Tensor) -> Tensor:
        steered = edit(hidden[: len(rows)], rows, scale)
        rest = hidden[len(rows) :]
        return torch.cat([steered, rest]) if len(rest) else steered

    return change


def _hooked(host: Host, place: Place, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Put `change` on what a module writes, or on what it reads."""

    def on_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return _replaced(output, change(_hidden(output)))

    def on_input(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if given:
            return (change(given[0]), *given[1:]), named
        first = next(iter(named))
        return given, {**named, first: change(named[first])}

    module, reads = module_at(host, place)
    if reads:
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def module_at(host: Host, place: Place) -> tuple[nn.Module, bool]:
    """The module at a place, and whether what it reads is meant rather than what it writes."""
    if isinstance(place, int):
        return (host.blocks[0], True) if place == ENTRANCE else (host.blocks[place], False)
    return host.blocks[place.block].get_submodule(place.module), place.reads


@contextmanager
def recorded(host: Host, places: Mapping[Place, Callable[[Tensor], Tensor]]) -> Iterator[dict[Place, Tensor]]:
    """Collect `select(hidden)` of what each named place writes during the passes run inside."""
    seen: dict[Place, Tensor] = {}

    def hook(place: Place, select: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[place] = select(_hidden(output))

        return note

    with ExitStack() as stack:
        for place, select in places.items():
            module, reads = module_at(host, place)
            assert not reads
            stack.callback(module.register_forward_hook(hook(place, select)).remove)
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
