"""Batched generation under edits: one planned row each, an unedited twin riding along, ended rows leave the batch.

Nothing here discourages repetition: the filters must see the loops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steerkit.host.blocks import Edits, edited, only_blocks, recorded
from steerkit.host.load import Host


@dataclass
class Generation:
    """One generated continuation.

    `tokens`: without the end token. `kl`: KL(edited || unedited) at each generated token, nats. `base_nll`: the token's
    negative log-likelihood under the unedited model, nats. All lists have one entry per generated token, the end token
    included.
    """

    tokens: list[int] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    base_nll: list[float] = field(default_factory=list)
    ended: bool = False


def generate(host: Host, prompts: Sequence[Sequence[int]], edits: Edits, length: int) -> list[Generation]:
    """Greedy continuations of up to `length` tokens, one per prompt; edits see row i of `prompts` as row index i.

    Each row's unedited twin reads the same tokens in the same batch, which gives the per-token KL and the text's
    likelihood under the base without a second pass.
    """
    done = [Generation() for _ in prompts]
    rows = torch.arange(len(prompts))
    state = _prefill(host, prompts, edits, rows)
    for step in range(length):
        steered, base = state.logprobs[: len(rows)], state.logprobs[len(rows) :]
        chosen = steered.argmax(-1)
        _note(host, done, rows, chosen, steered, base)
        open_rows = torch.tensor([i for i, row in enumerate(rows.tolist()) if not done[row].ended], dtype=torch.long)
        if not len(open_rows) or step == length - 1:
            break
        if len(open_rows) < len(rows):
            state.keep(torch.cat([open_rows, open_rows + len(rows)]))
            rows = rows[open_rows]
        state.advance(host, chosen[open_rows].repeat(2), edits, rows)
    return done


@dataclass
class _Batch:
    """The running batch: steered rows first, then their twins."""

    cache: Any
    mask: Tensor
    logprobs: Tensor

    def keep(self, rows: Tensor) -> None:
        """Drop every other row."""
        self.cache.batch_select_indices(rows.to(self.mask.device))
        self.mask = self.mask[rows]

    def advance(self, host: Host, tokens: Tensor, edits: Edits, rows: Tensor) -> None:
        """Feed one token per row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        inputs = {"input_ids": tokens[:, None].to(host.device)}
        self.logprobs = _step(host, inputs, self.mask, self.cache, edits, rows)


def _prefill(host: Host, prompts: Sequence[Sequence[int]], edits: Edits, rows: Tensor) -> _Batch:
    """Read the prompts, left-padded: each distinct one once unedited, every row only through what its edit changes."""
    distinct = sorted({tuple(prompt) for prompt in prompts})
    spread = torch.tensor([distinct.index(tuple(prompt)) for prompt in prompts])
    longest = max(map(len, distinct))
    padded = torch.tensor([[*[prompt[0]] * (longest - len(prompt)), *prompt] for prompt in distinct]).to(host.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in distinct]).to(host.device)
    first = min(edits, default=0) if host.skips_blocks else -1
    base = _cache(host)
    with recorded(host, {first: lambda hidden: hidden} if first >= 0 else {}) as seen:
        unedited = _step(host, {"input_ids": padded}, mask, base, {}, rows)[spread]
    base.batch_select_indices(spread.to(host.device))
    if not edits:
        return _Batch(_joined(base, base, len(host.blocks)), mask[spread].repeat(2, 1), unedited.repeat(2, 1))
    steered = _cache(host)
    inputs = {"inputs_embeds": edits[first](seen[first][spread], rows)} if first >= 0 else {"input_ids": padded[spread]}
    with only_blocks(host, first + 1, len(host.blocks)):
        edited_logprobs = _step(host, inputs, mask[spread], steered, edits, rows)
    return _Batch(_joined(steered, base, first + 1), mask[spread].repeat(2, 1), torch.cat([edited_logprobs, unedited]))


def _cache(host: Host) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=host.model.config)


def _joined(steered: Any, base: Any, shared: int) -> Any:
    """One cache of steered rows and twins; the first `shared` layers, which no edit reaches, come from the twins."""
    for number, layer in enumerate(base.layers):
        own = layer if number < shared else steered.layers[number]
        layer.keys, layer.values = torch.cat([own.keys, layer.keys]), torch.cat([own.values, layer.values])
    return base


def _step(host: Host, inputs: dict[str, Tensor], mask: Tensor, cache: Any, edits: Edits, rows: Tensor) -> Tensor:
    """Next-token log-probabilities `[batch vocab]`, float32, after feeding ids or hidden states `[batch token ...]`."""
    length = next(iter(inputs.values())).shape[1]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -length:]
    with torch.inference_mode(), edited(host, edits, rows):
        logits: Tensor = host.model(
            **inputs,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
    return logits[:, -1].float().log_softmax(-1)


def _note(host: Host, done: list[Generation], rows: Tensor, chosen: Tensor, steered: Tensor, base: Tensor) -> None:
    """Write down each row's token, its divergence from the twin and its likelihood there."""
    kl = (steered.exp() * (steered - base)).sum(-1).clamp(min=0)
    nll = -base.gather(1, chosen[:, None]).squeeze(1)
    ends = end_tokens(host)
    for i, row in enumerate(rows.tolist()):
        token = int(chosen[i])
        done[row].kl.append(float(kl[i]))
        done[row].base_nll.append(float(nll[i]))
        done[row].ended = token in ends
        if not done[row].ended:
            done[row].tokens.append(token)


def end_tokens(host: Host) -> set[int]:
    """Every token that ends a turn, by the model's generation settings and its tokenizer."""
    configured = host.model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {int(end) for end in [*ends, host.tokenizer.eos_token_id] if end is not None}
