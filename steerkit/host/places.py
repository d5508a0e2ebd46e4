"""Where a method acts inside a model: the places that a site's name stands for, found by what modules do.

A block's number is what the block writes to the residual stream; -1 is what enters the first block. Anything inside a
block is named by the block and the module: what the module writes, or what it reads.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from steerkit.errors import UsageError, unknown
from steerkit.host.load import Host

SITES = {
    "residual": "the residual stream after each steered block",
    "conditional": "the residual stream after each steered block, for prompts that meet the method's condition",
    "weighted": "the residual stream after each steered block, known with the weights that read and write it",
    "writers": "what the Linears that write to the residual stream write, in each steered block",
    "norms": "what the norms write that only Linears read, in each steered block",
    "everywhere": "the residual stream wherever it is read, in the whole model",
}
"""What a method's SITE may be."""
ATTENTION_WRITERS = ("self_attn.o_proj", "self_attn.out_proj", "self_attn.dense", "attention.dense", "attention.wo")
MLP_WRITERS = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.c_proj", "feed_forward.w2", "fc2")
ENTRANCE = -1
"""The residual stream before the first block."""


class Inside(NamedTuple):
    """What a module inside a block writes; with `reads`, what it reads."""

    block: int
    module: str
    reads: bool = False

    def __str__(self) -> str:
        """The text that `place_of` reads back."""
        return f"{self.block}{'<' if self.reads else '>'}{self.module}"


Place = int | Inside


def place_of(text: str) -> Place:
    """The place of a text: a block's number, or what `str` makes of an `Inside`."""
    block, sign, module = re.fullmatch(r"(-?\d+)(?:([<>])(.+))?", text).groups()  # type: ignore[union-attr]
    return Inside(int(block), module, sign == "<") if sign else int(block)


def block_of(place: Place) -> int:
    """The block that holds a place."""
    return place if isinstance(place, int) else place.block


def ordered(places: Iterable[Place]) -> list[Place]:
    """Places from the bottom of the model to the top; what is inside a block comes before what it writes."""
    return sorted(places, key=lambda at: (block_of(at), isinstance(at, int), str(at)))


def entry_block(places: Iterable[Place]) -> int:
    """The last block that runs as if nothing were edited, though what it writes may be; -1 where there is none."""
    return min((at if isinstance(at, int) else at.block - 1 for at in places), default=-1)


def places(host: Host, site: str, blocks: Sequence[int]) -> tuple[Place, ...]:
    """The places that a site stands for in a model.

    Raises UsageError for an unknown site, or a model whose blocks lack what the site needs, naming what was looked for.
    """
    if site not in SITES:
        raise unknown("site", site, SITES)
    if site == "writers":
        return tuple(Inside(block, name) for block in blocks for name in writers(host, block))
    if site == "norms":
        return tuple(Inside(block, norm) for block, seen in _need_norms(host, site, blocks) for norm in seen.readers)
    if site == "everywhere":
        # The middle of the steered blocks comes first: it is where such a method is fitted.
        middle, depth = blocks[len(blocks) // 2], len(host.blocks)
        others = [block for block in range(ENTRANCE, depth) if block != middle]
        traced = _need_norms(host, site, range(depth))
        return (middle, *others, *(Inside(b, norm, reads=True) for b, seen in traced for norm in seen.halfway))
    return tuple(blocks)


def writers(host: Host, block: int) -> tuple[str, str]:
    """The Linears with which a block's attention and its MLP write, by their names inside the block.

    Raises UsageError, naming what was looked for and what is there, where one is missing.
    """
    return _linear(host, block, ATTENTION_WRITERS), _linear(host, block, MLP_WRITERS)


def _linear(host: Host, block: int, names: Sequence[str]) -> str:
    modules = dict(host.blocks[block].named_modules())
    for name in names:
        if isinstance(modules.get(name), nn.Linear):
            return name
    held = ", ".join(name for name, module in modules.items() if isinstance(module, nn.Linear)) or "none"
    raise UsageError(
        f"every block must write through a Linear named {' or '.join(names)}, but block {block} of {host.name!r} "
        f"({type(host.blocks[block]).__name__}) holds these Linears: {held}; use a method of the site 'residual'"
    )


def block_path(host: Host, block: int) -> str:
    """A block's name among the model's modules."""
    names: list[str] = [name for name, module in host.model.named_modules() if module is host.blocks[block]]
    return names[0]


def readers(host: Host, block: int, norm: str) -> list[str]:
    """The Linears of a block that read what one of its norms writes."""
    return traced(host, [block])[block].readers[norm]


class Trace(NamedTuple):
    """What a short pass shows of a block.

    `readers`: norm to the Linears that read what it writes. `halfway`: those of these norms that read the residual
    stream after part of the block has written to it.
    """

    readers: dict[str, list[str]]
    halfway: list[str]


def _need_norms(host: Host, site: str, blocks: Sequence[int]) -> list[tuple[int, Trace]]:
    found = traced(host, blocks)
    for block, seen in found.items():
        if not seen.readers:
            raise UsageError(
                f"the site {site!r} needs a norm whose output Linears read, but block {block} of {host.name!r} "
                f"({type(host.blocks[block]).__name__}) has none: its Linears read the residual stream itself; use a "
                "method of another site"
            )
    return list(found.items())


def traced(host: Host, blocks: Sequence[int]) -> dict[int, Trace]:
    """Which norms Linears read: the very tensor that one writes is what the others are given."""
    given: dict[int, dict[str, Tensor]] = {block: {} for block in blocks}
    written: dict[int, dict[str, Tensor]] = {block: {} for block in blocks}
    with ExitStack() as hooks, torch.inference_mode():
        for block in blocks:
            for name, module in host.blocks[block].named_modules():
                note = module.register_forward_pre_hook(_input_into(given[block], name), with_kwargs=True)
                hooks.callback(note.remove)
                if _may_be_norm(module):
                    hooks.callback(module.register_forward_hook(_output_into(written[block], name)).remove)
        host.decoder(input_ids=torch.tensor([[0, 1, 2]], device=host.device), use_cache=False)
    return {block: _seen(host.blocks[block], given[block], written[block]) for block in blocks}


def _may_be_norm(module: nn.Module) -> bool:
    parts, weights = list(module.children()), list(module.parameters(recurse=False))
    return not parts and bool(weights) and not isinstance(module, nn.Linear)


def _seen(block: nn.Module, given: dict[str, Tensor], written: dict[str, Tensor]) -> Trace:
    linears = {name for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    read = {norm: [name for name in given if name in linears and given[name] is out] for norm, out in written.items()}
    found = {norm: names for norm, names in read.items() if names}
    return Trace(found, [norm for norm in found if not torch.equal(given[norm], given[""])])


def _input_into(seen: dict[str, Tensor], name: str) -> Callable[..., None]:
    def note(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        first = given[0] if given else next(iter(named.values()), None)
        if isinstance(first, Tensor):
            seen[name] = first

    return note


def _output_into(seen: dict[str, Tensor], name: str) -> Callable[..., None]:
    def note(_module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            seen[name] = output

    return note
