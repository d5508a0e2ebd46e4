"""Forward passes that carry gradients: some of the blocks, hidden states before the head, the head on few positions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steerkit.host.blocks import only_blocks, recorded
from steerkit.host.load import Host

Head = Callable[[Float[Tensor, "place dim"]], Float[Tensor, "place vocab"]]
"""Final hidden states to logits, in the model's dtype."""


def right_padded(host: Host, rows: Sequence[Sequence[int]]) -> Int[Tensor, "row token"]:
    """Token ids of equal length; what stands behind a row's end is never looked at."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows], device=host.device)


def hidden_before(host: Host, ids: Int[Tensor, "row token"], block: int) -> Float[Tensor, "row token dim"]:
    """What the blocks before `block` make of these tokens; the others do not run."""
    with torch.no_grad(), recorded(host, {block - 1: lambda hidden: hidden}) as seen:
        _to_head(host, ids, range(block))
    return seen[block - 1]


def final_hidden(host: Host, inputs: Tensor, start: int = 0) -> Float[Tensor, "row token dim"]:
    """What the model hands to its head, with gradients where they are asked for.

    `inputs`: token ids `[row token]`, or what the blocks before `start` made of them, `[row token dim]`.
    """
    return _to_head(host, inputs, range(start, len(host.blocks)))


def _to_head(host: Host, inputs: Tensor, blocks: range) -> Tensor:
    """What comes to the head from these blocks; the head itself sees one position."""
    seen: list[Tensor] = []

    def note(_head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(arguments[0])
        return (arguments[0][:1, :1].detach(), *arguments[1:])

    named = {"inputs_embeds": inputs} if inputs.is_floating_point() else {"input_ids": inputs}
    with _before_head(host, note), only_blocks(host, blocks.start, blocks.stop):
        host.model(**named, use_cache=False)
    return seen[0]


def head(host: Host) -> Head:
    """The way from final hidden states to logits.

    A head that is known to be plain is called itself; any other, which may scale or cap its logits, through the
    model, run on one token whose final hidden state is exchanged for the given ones.
    """
    if host.shares_prefix:
        plain: Head = host.model.get_output_embeddings()
        return plain

    def through(hidden: Tensor) -> Tensor:
        def exchange(_head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return (hidden[None], *arguments[1:])

        with _before_head(host, exchange):
            logits: Tensor = host.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=host.device)).logits
        return logits[0]

    return through


@contextmanager
def _before_head(host: Host, hook: Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]) -> Iterator[None]:
    handle = host.model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recomputed(host: Host) -> Iterator[None]:
    """Blocks keep their inputs alone and run again in the backward pass: less memory, more time."""
    with ExitStack() as stack:
        for block in host.blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
            stack.callback(vars(block).pop, "forward")
        yield
