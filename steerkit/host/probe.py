"""Ask the model itself which short cuts are exact for it; an architecture where one is not runs the plain way."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.host import attention
from steerkit.host.forward import Rows, entry, last_logprobs, plain_logprobs
from steerkit.host.load import Host

CLOSE = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}
"""Largest typical difference of a log-probability that rounding explains (nats)."""


def probed(host: Host) -> Host:
    """The host with the short cuts that reproduce the plain way on a small example."""
    default = host.model.config._attn_implementation
    attention.register()
    rows = _example(host)
    try:
        host.model.set_attn_implementation(attention.NAME)
        sharing = replace(host, shares_prefix=True)
        if not _same(sharing, rows, skip=False):
            raise ValueError("rows behind a shared prefix differ from full prompts")
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError):
        host.model.set_attn_implementation(default)
        return host
    skipping = replace(sharing, skips_blocks=True)
    return skipping if _skips(skipping, rows) else sharing


def _skips(host: Host, rows: Rows) -> bool:
    try:
        return len(host.blocks) > 1 and _same(host, rows, skip=True)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, IndexError):
        return False


def _example(host: Host) -> Rows:
    """Ordinary token ids of two lengths behind a short prefix."""
    vocabulary = host.model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (20,), generator=torch.Generator().manual_seed(0)).tolist()
    return Rows(tuple(ids[:8]), (tuple(ids[8:12]), tuple(ids[12:20])))


def _same(host: Host, rows: Rows, *, skip: bool) -> bool:
    start = entry(host, rows, len(host.blocks) // 2) if skip else None
    fast = last_logprobs(host, rows, lambda logprobs, _: logprobs[:, -1].cpu(), {}, start)
    plain = plain_logprobs(host, rows, lambda logprobs, _: logprobs[:, -1].cpu())
    return bool(_typical_difference(fast, plain).max() < CLOSE[host.dtype])


def _typical_difference(fast: Float[Tensor, "row vocab"], plain: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
    """Root of the mean squared difference over what the model would say (nats).

    Weighted by probability: among the many tokens that a vocabulary has and nobody would say, 16-bit rounding alone
    always moves one a lot.
    """
    return (plain.exp() * (fast - plain) ** 2).sum(-1).sqrt()
