"""Batched generation under edits: one planned row each, an unedited twin riding along, ended rows leave the batch.

Nothing here discourages repetition: the filters must see the loops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host.backtracking import Backtracking, Retry, Watch
from steerkit.host.blocks import ConditionalEdits, Edits, edited, only_blocks, recorded
from steerkit.host.cache import empty_cache, stacked
from steerkit.host.forward import ROW_TOKENS, Rows, prompt_means
from steerkit.host.load import Host
from steerkit.host.places import Place, entry_block
from steerkit.host.sampling import Sampling, draw, uniforms
from steerkit.schedule import Schedule

GREEDY, CONSTANT = Sampling(), Schedule()


@dataclass
class Generation:
    """One generated continuation.

    `tokens`: without the end token. `kl`: KL(edited || unedited) at each generated token, nats. `base_nll`: the token's
    negative log-likelihood under the unedited model, nats. These two have one entry per generated token, the end token
    included. `retries`: where the text was rewound.
    """

    tokens: list[int] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    base_nll: list[float] = field(default_factory=list)
    ended: bool = False
    retries: list[Retry] = field(default_factory=list)


@dataclass(frozen=True)
class Writing:
    """How texts are written; the default is greedy at constant strength.

    `seeds`: one per row where tokens are sampled. `backtracking`: None lets a breaking text go on.
    """

    sampling: Sampling = GREEDY
    seeds: Sequence[int] = ()
    schedule: Schedule = CONSTANT
    backtracking: Backtracking | None = None


def generate(
    host: Host, prompts: Sequence[Sequence[int]], edits: Edits, length: int, writing: Writing | None = None
) -> list[Generation]:
    """Continuations of up to `length` tokens, one per prompt; edits see row i of `prompts` as row index i.

    Each row's unedited twin reads the same tokens in the same batch, which gives the per-token KL and the text's
    likelihood under the base without a second pass; without edits there are no twins.
    Raises UsageError for backtracking where a sliding window is too short for a rewound text.
    """
    running = _Running(host, prompts, edits, length, writing or Writing())
    while len(running.rows):
        running.step()
    return running.done


class _Running:
    """Rows that are being written: the planned rows that are still open, then their twins."""

    def __init__(
        self, host: Host, prompts: Sequence[Sequence[int]], edits: Edits, length: int, writing: Writing
    ) -> None:
        self.host, self.edits, self.length, self.writing = host, edits, length, writing
        self.done = [Generation() for _ in prompts]
        self.rows = torch.arange(len(prompts))
        self.ends = end_tokens(host)
        rules = writing.backtracking
        self.watches = [Watch(rules) for _ in prompts] if rules and edits else []
        spare = rules.retries * (rules.rewind + 1) if rules else 0
        if self.watches:
            _check_windows(host, max(map(len, prompts)) + length + spare)
        self.uniforms = [uniforms(seed, length + spare) for seed in writing.seeds]
        self.drawn = [0] * len(prompts)
        # The cache's slot that holds each fed token of a row; a rewound token's slot is masked and left behind.
        self.slots: list[list[int]] = [[] for _ in prompts]
        self.met = _met(host, prompts, edits)
        self.state = _prefill(host, prompts, _Push(edits, self.rows, self._prompt_scale()))

    def step(self) -> None:
        """Draw a token for every open row, rewind the broken ones, and feed what comes next."""
        steered = self.state.logprobs[: len(self.rows)]
        base = self.state.logprobs[len(self.rows) :] if self.edits else steered
        chosen = draw(steered, self.writing.sampling, self._uniform())
        self._note(chosen, steered, base)
        self._rewind()
        still = [place for place, row in enumerate(self.rows.tolist()) if not self._finished(row)]
        if len(still) < len(self.rows):
            self._keep(torch.tensor(still, dtype=torch.long))
        if still:
            self._feed()

    def _uniform(self) -> Float[Tensor, "row"] | None:
        if not self.uniforms:
            return None
        numbers = []
        for row in self.rows.tolist():
            numbers.append(self.uniforms[row][self.drawn[row]])
            self.drawn[row] += 1
        return torch.tensor(numbers, dtype=torch.float64)

    def _note(self, chosen: Tensor, steered: Tensor, base: Tensor) -> None:
        """Write down each row's token, its divergence from the twin and its likelihood there."""
        kl = (steered.exp() * (steered - base)).sum(-1).clamp(min=0).tolist() if self.edits else [0.0] * len(chosen)
        nll = (-base.gather(1, chosen[:, None]).squeeze(1)).tolist()
        for place, (row, token) in enumerate(zip(self.rows.tolist(), chosen.tolist(), strict=True)):
            text = self.done[row]
            text.kl.append(kl[place])
            text.base_nll.append(nll[place])
            text.ended = token in self.ends
            if not text.ended:
                text.tokens.append(token)

    def _rewind(self) -> None:
        """Take back the end of every text that broke."""
        for place, row in enumerate(self.rows.tolist() if self.watches else []):
            text = self.done[row]
            retry = None if text.ended else self.watches[row].broken(text.tokens, text.kl)
            if retry is not None:
                text.retries.append(retry)
                del text.tokens[retry.to :], text.kl[retry.to :], text.base_nll[retry.to :]
                self.state.forget([place, place + len(self.rows)], self.slots[row][retry.to - 1 :])
                del self.slots[row][retry.to - 1 :]

    def _finished(self, row: int) -> bool:
        return self.done[row].ended or len(self.done[row].tokens) >= self.length

    def _keep(self, places: Tensor) -> None:
        twins = places + len(self.rows) if self.edits else places[:0]
        self.state.keep(torch.cat([places, twins]))
        self.rows = self.rows[places]

    def _feed(self) -> None:
        """Feed every open row its newest token; a rewound row reads its last remaining one again."""
        for row in self.rows.tolist():
            self.slots[row].append(self.state.mask.shape[1])
        newest = torch.tensor([self.done[row].tokens[-1] for row in self.rows.tolist()])
        inputs = newest.repeat(2) if self.edits else newest
        self.state.advance(self.host, inputs, _Push(self.edits, self.rows, self._scale()))

    def _scale(self) -> Float[Tensor, "row"] | None:
        """The factor on each planned row's strength at the token it is about to be fed; None where all are 1."""
        if not self.edits or (self.writing.schedule.kind == "constant" and not self.watches):
            return self.met
        factors = torch.ones(len(self.done))
        for row in self.rows.tolist():
            position = len(self.done[row].tokens) - 1
            watched = self.watches[row].strength(position) if self.watches else 1.0
            factors[row] = self.writing.schedule.generated(position, self.length) * watched
        return factors if self.met is None else factors * self.met

    def _prompt_scale(self) -> Float[Tensor, "row"] | None:
        factor = self.writing.schedule.prompt()
        if self.met is not None:
            return factor * self.met
        return None if factor == 1 else torch.full((len(self.done),), factor)


@dataclass
class _Batch:
    """The running batch's cache `[row ...]`, which of its slots are seen `[row slot]`, and what it says next."""

    cache: Any
    mask: Tensor
    logprobs: Tensor

    def keep(self, places: Tensor) -> None:
        """Drop every other row."""
        self.cache.batch_select_indices(places.to(self.mask.device))
        self.mask = self.mask[places]

    def forget(self, places: list[int], slots: list[int]) -> None:
        """Hide slots from rows for good, and wipe them: a NaN would get through a mask."""
        rows, columns = torch.tensor(places)[:, None], torch.tensor(slots, dtype=torch.long)[None]
        self.mask = self.mask.clone()
        self.mask[rows, columns] = 0
        with torch.inference_mode():
            for layer in self.cache.layers:
                layer.keys[rows, :, columns] = 0
                layer.values[rows, :, columns] = 0

    def advance(self, host: Host, tokens: Tensor, push: "_Push") -> None:
        """Feed one token per row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self.logprobs = _step(host, tokens[:, None].to(host.device), self.mask, self.cache, push)


@dataclass(frozen=True)
class _Push:
    """The edits with the planned rows they act on in a pass, and the factor on each planned row's strength."""

    edits: Edits
    rows: Tensor
    scale: Tensor | None = None

    def of(self, part: slice) -> "_Push":
        """The same for some of the rows."""
        return _Push(self.edits, self.rows[part], self.scale)


def _met(host: Host, prompts: Sequence[Sequence[int]], edits: Edits) -> Float[Tensor, "row"] | None:
    """1 for each row whose prompt meets the edits' condition and 0 for the others; None without a condition."""
    if not isinstance(edits, ConditionalEdits):
        return None
    means = prompt_means(host, Rows((), tuple(map(tuple, prompts))), edits.condition.block)
    return edits.condition.decide(means, torch.arange(len(prompts))).float()


UNEDITED = _Push({}, torch.arange(0))


def _prefill(host: Host, prompts: Sequence[Sequence[int]], push: _Push) -> _Batch:
    """Read the prompts, left-padded: each distinct one once unedited, every row only through what its edit changes."""
    distinct = sorted({tuple(prompt) for prompt in prompts})
    place = {prompt: number for number, prompt in enumerate(distinct)}
    spread = torch.tensor([place[tuple(prompt)] for prompt in prompts]).to(host.device)
    longest = max(map(len, distinct))
    padded = torch.tensor([[*[prompt[0]] * (longest - len(prompt)), *prompt] for prompt in distinct]).to(host.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in distinct]).to(host.device)
    first = entry_block(push.edits) if host.skips_blocks else -1
    base, reached = _in_chunks(host, padded, mask, UNEDITED, 0, first)
    base.cache.batch_select_indices(spread)
    if not push.edits:
        return _Batch(base.cache, mask[spread], base.logprobs[spread])
    inputs = padded[spread] if reached is None else reached[spread]
    if reached is not None and first in push.edits:
        inputs = push.edits[first](inputs, push.rows, push.scale)
    steered, _ = _in_chunks(host, inputs, mask[spread], push, first + 1, -1)
    logprobs = torch.cat([steered.logprobs, base.logprobs[spread]])
    return _Batch(_joined(steered.cache, base.cache, first + 1), mask[spread].repeat(2, 1), logprobs)


def _in_chunks(
    host: Host, inputs: Tensor, mask: Tensor, push: _Push, start: int, record: int
) -> tuple[_Batch, Tensor | None]:
    """Feed whole prompts to the blocks from `start` on, and what block `record` makes of them (None where negative).

    Few rows at a time: the processor's cache is small.
    """
    size = max(1, ROW_TOKENS // inputs.shape[1])
    parts: list[Any] = []
    logprobs: list[Tensor] = []
    reached: list[Tensor] = []
    for first in range(0, len(inputs), size):
        part = slice(first, first + size)
        parts.append(empty_cache(host))
        note: dict[Place, Callable[[Tensor], Tensor]] = {record: lambda hidden: hidden} if record >= 0 else {}
        with only_blocks(host, start, len(host.blocks)), recorded(host, note) as seen:
            logprobs.append(_step(host, inputs[part], mask[part], parts[-1], push.of(part)))
        reached.extend(seen.values())
    return _Batch(stacked(parts), mask, torch.cat(logprobs)), torch.cat(reached) if reached else None


def _check_windows(host: Host, slots: int) -> None:
    """Raise UsageError where the cache can outgrow a window: hidden slots would push seen ones out of it."""
    windows = [layer.sliding_window for layer in empty_cache(host).layers if layer.is_sliding]
    if min(windows, default=slots) < slots:
        raise UsageError(
            f"backtracking needs room for prompt, text and what is replayed ({slots} tokens) in the model's sliding "
            f"window, but {host.name!r} has one of {min(windows)} tokens; write shorter texts or leave backtracking out"
        )


def _joined(steered: Any, base: Any, shared: int) -> Any:
    """One cache of steered rows and twins; the first `shared` layers, which no edit reaches, come from the twins."""
    for number, layer in enumerate(base.layers):
        own = layer if number < shared else steered.layers[number]
        layer.keys, layer.values = torch.cat([own.keys, layer.keys]), torch.cat([own.values, layer.values])
    return base


def _step(host: Host, inputs: Tensor, mask: Tensor, cache: Any, push: _Push) -> Tensor:
    """Next-token log-probabilities `[batch vocab]`, float32, after feeding ids `[batch token]` or hidden states
    `[batch token dim]`.
    """
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
    named: dict[str, Any] = {"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs}
    named |= {"attention_mask": mask, "position_ids": positions, "past_key_values": cache, "use_cache": True}
    with torch.inference_mode(), edited(host, push.edits, push.rows, push.scale):
        if host.shares_prefix:
            # The head is known to be plain. Only a contiguous copy meets it: for a slice, each row's product would
            # copy the whole head.
            last = host.decoder(**named).last_hidden_state[:, -1].contiguous()
            logits: Tensor = host.model.get_output_embeddings()(last)
        else:
            logits = host.model(**named, logits_to_keep=1).logits[:, -1]
    return logits.float().log_softmax(-1)


def end_tokens(host: Host) -> set[int]:
    """Every token that ends a turn, by the model's generation settings and its tokenizer."""
    configured = host.model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {int(end) for end in [*ends, host.tokenizer.eos_token_id] if end is not None}


def end_token(host: Host) -> int:
    """The token that ends a turn where one has to be chosen: the tokenizer's own, else the lowest.

    Raises UsageError for a model that has none.
    """
    ends = end_tokens(host)
    if not ends:
        raise UsageError(f"model {host.name!r} must have an end token, but neither it nor its tokenizer names one")
    own = host.tokenizer.eos_token_id
    return int(own) if own in ends else min(ends)
