"""Draw the next token of every row: greedy, or at a temperature inside a nucleus, by the row's own random numbers."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

FIRST_LOOK = 256
"""Tokens among which a nucleus is looked for before all are sorted."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: `temperature` 0 is greedy; `top_p` is the nucleus's share of probability, 1 is all."""

    temperature: float = 0.0
    top_p: float = 1.0


def uniforms(seed: int, count: int) -> list[float]:
    """A row's own random numbers in [0, 1): they depend on its seed alone, not on what else is in the batch."""
    numbers: list[float] = torch.rand(
        count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).tolist()
    return numbers


def draw(
    logprobs: Float[Tensor, "row vocab"], sampling: Sampling, uniform: Float[Tensor, "row"] | None
) -> Int[Tensor, "row"]:
    """One token per row, by inverting the distribution at the row's uniform number; None draws greedily.

    Source: nucleus sampling 1904.09751.
    """
    if sampling.temperature == 0 or uniform is None:
        return logprobs.argmax(-1)
    chance = (logprobs / sampling.temperature).softmax(-1)
    values, tokens = _nucleus(chance, sampling.top_p)
    inside = values.double().cumsum(-1)
    place = torch.searchsorted(inside, uniform.to(inside.device)[:, None] * inside[:, -1:], right=True)
    return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1)).squeeze(1)


def _nucleus(chance: Float[Tensor, "row vocab"], top_p: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens that together reach `top_p`, `[row token]` by falling probability; 0 behind the nucleus."""
    values, tokens = chance.topk(min(FIRST_LOOK, chance.shape[1]))
    enough = values.sum(-1) >= top_p
    if not bool(enough.all()):
        every, order = chance.sort(-1, descending=True)
        # The two ways order equal chances differently, and a row must not depend on what the others need.
        looked = (torch.arange(chance.shape[1], device=chance.device) < values.shape[1]) & enough[:, None]
        behind = chance.shape[1] - values.shape[1]
        values = torch.where(looked, pad(values, (0, behind)), every.masked_fill(enough[:, None], 0.0))
        tokens = torch.where(looked, pad(tokens, (0, behind)), order)
    before = values.cumsum(-1) - values
    return values.masked_fill(before >= top_p, 0.0), tokens
