"""Texts in passes: where each enters the trained blocks, what its reference is, and its losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steerkit.host import Host
from steerkit.host.training import Head, final_hidden, hidden_before, right_padded
from steerkit.spec_heal import Divergence
from steerkit.stages._heal_data import Example, passes
from steerkit.stages._heal_loss import aggregates, token_losses

ROW_TOKENS = 2048


@dataclass(frozen=True)
class Reference:
    """What D is measured from."""

    hidden: Mapping[str, Tensor]
    """Completion id to the final hidden states that foretell its tokens, `[position dim]`, on the CPU."""


@dataclass(frozen=True)
class Entry:
    """What the blocks before `block`, which nothing trains, make of each text: they run once, not once per epoch."""

    block: int
    hidden: Mapping[str, Tensor]
    """Completion id to `[token dim]`, on the CPU."""


@dataclass(frozen=True)
class Losses:
    """What a pass says of its texts, in nats."""

    nll: Float[Tensor, "text"]
    apart: Float[Tensor, "text 4"]
    """Divergence by `AGGREGATES`."""


def entered(host: Host, texts: Sequence[Example], block: int, row_tokens: int = ROW_TOKENS) -> Entry | None:
    """Where the texts enter that block; None where blocks cannot be left out."""
    if block == 0 or not host.skips_blocks:
        return None
    found: dict[str, Tensor] = {}
    for part in passes(texts, row_tokens):
        hidden = hidden_before(host, right_padded(host, [text.tokens for text in part]), block).cpu()
        found |= {text.completion_id: hidden[row, : len(text.tokens)].clone() for row, text in enumerate(part)}
    return Entry(block, found)


def reference(
    host: Host, texts: Sequence[Example], entry: Entry | None = None, row_tokens: int = ROW_TOKENS
) -> Reference:
    """The final hidden states of the model as it now is, at the positions that foretell completion tokens."""
    found: dict[str, Tensor] = {}
    for part in passes(texts, row_tokens):
        with torch.no_grad():
            hidden = per_text(_foretelling(host, part, entry).cpu(), part)
        found |= {text.completion_id: states.clone() for text, states in zip(part, hidden, strict=True)}
    return Reference(found)


@dataclass(frozen=True)
class Pass:
    """How losses are taken of the model as it is at the time."""

    host: Host
    head: Head
    reference: Reference | None
    divergence: Divergence
    entry: Entry | None = None
    constrained: bool = False
    """Whether the divergence will be differentiated."""

    def by_token(self, part: Sequence[Example]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """NLL and divergence at each completion token, one tensor `[position]` per text; 0 without a reference."""
        hidden = _foretelling(self.host, part, self.entry)
        tokens = torch.tensor([token for text in part for token in text.answer], device=hidden.device)
        states = None
        if self.reference is not None:
            states = torch.cat([self.reference.hidden[text.completion_id] for text in part]).to(hidden)
        nll, apart = token_losses(self.head, hidden, tokens, states, self.divergence, constrained=self.constrained)
        return per_text(nll, part), per_text(apart, part)

    def by_text(self, part: Sequence[Example]) -> Losses:
        """Mean NLL and aggregated divergence of each text."""
        nll, apart = self.by_token(part)
        return Losses(torch.stack([values.mean() for values in nll]), torch.stack([aggregates(v) for v in apart]))


def joined(parts: Sequence[Losses]) -> Losses:
    """The losses of several passes."""
    return Losses(torch.cat([part.nll for part in parts]), torch.cat([part.apart for part in parts]))


def per_text(values: Tensor, part: Sequence[Example]) -> tuple[Tensor, ...]:
    """Positions of a pass, text by text."""
    return torch.split(values, [len(text.answer) for text in part])


def _foretelling(host: Host, part: Sequence[Example], entry: Entry | None) -> Float[Tensor, "position dim"]:
    """Final hidden states at the positions that foretell completion tokens, one text after the other."""
    if entry is None:
        hidden = final_hidden(host, right_padded(host, [text.tokens for text in part]))
    else:
        states = [entry.hidden[text.completion_id] for text in part]
        hidden = final_hidden(host, pad_sequence(states, batch_first=True).to(host.device), entry.block)
    return torch.cat([hidden[row, len(text.prompt) - 1 : len(text.tokens) - 1] for row, text in enumerate(part)])
