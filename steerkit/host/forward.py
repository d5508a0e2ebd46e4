"""Forward passes that need little: many short rows behind one prefix, only the blocks that can differ, few logits."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.host.attention import SharedPrefix
from steerkit.host.blocks import ConditionalEdits, Edits, edited, only_blocks, recorded
from steerkit.host.load import Host
from steerkit.host.places import Place, block_of

P = TypeVar("P", bound=Place)
ROW_TOKENS = 1024
"""Tokens in one pass over rows: large enough for full matrix speed, small enough for the processor's cache."""


@dataclass(frozen=True)
class Rows:
    """One prefix and the rows that continue it, as token ids; a row's last `read` positions are looked at."""

    prefix: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    read: int = 1


def behind_common_prefix(prompts: Sequence[Sequence[int]], read: int = 1) -> Rows:
    """Whole prompts as rows behind their longest common beginning, each row keeping at least its last `read` tokens."""
    agree = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    shared = min(sum(1 for _ in agree), min(map(len, prompts)) - read)
    return Rows(tuple(prompts[0][:shared]), tuple(tuple(prompt[shared:]) for prompt in prompts), read)


@dataclass(frozen=True)
class Entry:
    """What the blocks before `block` make of some rows, unedited: the starting point of every edit at or after it.

    `prefix`: `[1 prefix dim]`; `chunks`: one `[row token dim]` per chunk of `_chunks`.
    """

    block: int
    prefix: Tensor
    chunks: tuple[Tensor, ...]


Read = Callable[[Float[Tensor, "row read vocab"], Tensor], Tensor]
"""(log-probabilities at a row's last positions, float32; the rows' indices) to what is kept of them."""


def last_logprobs(host: Host, rows: Rows, read: Read, edits: Edits | None = None, entry: Entry | None = None) -> Tensor:
    """What `read` keeps of the next-token log-probabilities at each row's last `rows.read` positions.

    One edited state for all rows. With `entry`, which must come from the same rows, blocks before `entry.block` are not
    run again. Returns `[row ...]` in the order of `rows.suffixes`. A model that cannot share a prefix runs
    the plain way. Under a condition, rows that do not meet it are read from the unedited model.
    """
    if isinstance(edits, ConditionalEdits):
        return _by_condition(host, rows, read, edits, entry)
    if not host.shares_prefix:
        return plain_logprobs(host, rows, read, edits)
    edits = edits or {}
    start = entry.block if entry else 0
    rows, prefix = _shared(host, rows)
    if prefix:
        _pass(host, edits, start, _inputs(host, [rows.prefix], entry.prefix if entry else None), 0, prefix)
        prefix.recording = False
    kept: list[Tensor] = []
    order: list[int] = []
    for number, chunk in enumerate(_chunks(rows)):
        inputs = _inputs(host, [rows.suffixes[i] for i in chunk], entry.chunks[number] if entry else None)
        final = _pass(host, edits, start, inputs, len(rows.prefix), prefix)
        kept.append(
            read(_logprobs(host, final, [len(rows.suffixes[i]) for i in chunk], rows.read), torch.tensor(chunk))
        )
        order.extend(chunk)
    return torch.cat(kept)[torch.tensor(order).argsort()]


def _by_condition(host: Host, rows: Rows, read: Read, edits: ConditionalEdits, entry: Entry | None) -> Tensor:
    """Rows that meet the condition in one edited state, prefix and all, the others in the unedited one."""
    means = prompt_means(host, rows, edits.condition.block)
    met = edits.condition.decide(means, torch.zeros(len(means), dtype=torch.long))
    if met.all() or not met.any():
        return last_logprobs(host, rows, read, dict(edits) if met.all() else {}, entry)
    kept, order = [], []
    for state, chosen in ((dict(edits), met.nonzero()[:, 0]), ({}, (~met).nonzero()[:, 0])):
        part = Rows(rows.prefix, tuple(rows.suffixes[i] for i in chosen.tolist()), rows.read)
        kept.append(last_logprobs(host, part, _of_whole(read, chosen), state))
        order.append(chosen)
    return torch.cat(kept)[torch.cat(order).argsort()]


def _of_whole(read: Read, chosen: Tensor) -> Read:
    """The same reading, told which of all rows the chosen ones are."""
    return lambda logprobs, rows: read(logprobs, chosen[rows])


def prompt_means(host: Host, rows: Rows, block: int) -> Float[Tensor, "row dim"]:
    """The mean over each row's tokens, the prefix among them, of what a block writes unedited; float32, CPU."""
    own = block_outputs(host, rows, [block], pool="mean")[block]
    if not rows.prefix:
        return own
    shared = block_outputs(host, Rows((), (rows.prefix,)), [block], pool="mean")[block]
    lengths = torch.tensor([len(suffix) for suffix in rows.suffixes])[:, None]
    return (own * lengths + shared * len(rows.prefix)) / (lengths + len(rows.prefix))


def entry(host: Host, rows: Rows, block: int) -> Entry | None:
    """What the blocks before `block` make of the prefix and all rows; None where blocks cannot be skipped."""
    if not (host.skips_blocks and host.shares_prefix and 0 < block < len(host.blocks)):
        return None
    prefix = SharedPrefix()
    first = _upto(host, _inputs(host, [rows.prefix], None), block, 0, prefix)
    prefix.recording = False
    chunks = (
        _upto(host, _inputs(host, [rows.suffixes[i] for i in chunk], None), block, len(rows.prefix), prefix)
        for chunk in _chunks(rows)
    )
    return Entry(block, first, tuple(chunks))


def _shared(host: Host, rows: Rows) -> tuple[Rows, SharedPrefix | None]:
    """The rows with a prefix to record, or, where the model cannot share one, with the prefix in front of every row."""
    if host.shares_prefix and rows.prefix:
        return rows, SharedPrefix()
    return Rows((), tuple((*rows.prefix, *suffix) for suffix in rows.suffixes), rows.read), None


def _chunks(rows: Rows) -> list[list[int]]:
    """Row indices by length, in groups of about `ROW_TOKENS` padded tokens; the same for every pass over these rows."""
    by_length = sorted(range(len(rows.suffixes)), key=lambda i: (len(rows.suffixes[i]), i))
    groups: list[list[int]] = [[]]
    for i in by_length:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows.suffixes[i]) > ROW_TOKENS:
            groups.append([])
        groups[-1].append(i)
    return groups


def _inputs(host: Host, ids: Sequence[Sequence[int]], hidden: Tensor | None) -> Tensor:
    """Right-padded token ids `[row token]`, or the stored hidden states in their place."""
    if hidden is not None:
        return hidden
    longest = max(len(row) for row in ids)
    return torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in ids], device=host.device)


def _pass(host: Host, edits: Edits, start: int, inputs: Tensor, offset: int, prefix: SharedPrefix | None) -> Tensor:
    """The final normed hidden states `[row token dim]` of rows at positions offset, offset + 1, ..."""
    index = torch.zeros(inputs.shape[0], dtype=torch.long)
    if start and start - 1 in edits:
        inputs = edits[start - 1](inputs, index, None)
    with torch.inference_mode(), only_blocks(host, start, len(host.blocks)), edited(host, edits, index):
        return _run(host, inputs, offset, prefix)


def _upto(host: Host, inputs: Tensor, block: int, offset: int, prefix: SharedPrefix | None) -> Tensor:
    """The unedited output of block `block - 1`, `[row token dim]`."""
    with (
        torch.inference_mode(),
        only_blocks(host, 0, block),
        recorded(host, {block - 1: lambda hidden: hidden}) as seen,
    ):
        _run(host, inputs, offset, prefix)
    return seen[block - 1]


def _run(host: Host, inputs: Tensor, offset: int, prefix: SharedPrefix | None) -> Tensor:
    positions = torch.arange(offset, offset + inputs.shape[1], device=inputs.device)[None].expand(inputs.shape[0], -1)
    named = {"inputs_embeds": inputs} if inputs.is_floating_point() else {"input_ids": inputs}
    sharing = {"shared_prefix": prefix} if prefix else {}
    output = host.decoder(**named, position_ids=positions, use_cache=False, **sharing)
    hidden: Tensor = output.last_hidden_state
    return hidden


def _logprobs(host: Host, hidden: Tensor, lengths: list[int], read: int) -> Float[Tensor, "row read vocab"]:
    """Log-probabilities of the next token at the last `read` real positions of each row."""
    last = torch.tensor(lengths)[:, None] - torch.arange(read, 0, -1)[None]
    picked = hidden[torch.arange(len(lengths))[:, None], last]
    with torch.inference_mode():
        logits: Tensor = host.model.get_output_embeddings()(picked)
    return logits.float().log_softmax(-1)


def plain_logprobs(host: Host, rows: Rows, read: Read, edits: Edits | None = None, batch: int = 8) -> Tensor:
    """The same numbers the plain way: one full prompt per row, `batch` rows at a time, every block, every position."""
    if isinstance(edits, ConditionalEdits):
        return _by_condition(host, rows, read, edits, None)
    kept = []
    for first in range(0, len(rows.suffixes), batch):
        part = range(first, min(first + batch, len(rows.suffixes)))
        ids = [[*rows.prefix, *rows.suffixes[i]] for i in part]
        padded, lengths = _inputs(host, ids, None), [len(row) for row in ids]
        with torch.inference_mode(), edited(host, edits or {}, torch.zeros(len(ids), dtype=torch.long)):
            logits = host.model(input_ids=padded, use_cache=False).logits.float().log_softmax(-1)
        last = torch.tensor(lengths)[:, None] - torch.arange(rows.read, 0, -1)[None]
        kept.append(read(logits[torch.arange(len(ids))[:, None], last], torch.tensor(list(part))))
    return torch.cat(kept)


def block_outputs(
    host: Host, rows: Rows, blocks: Sequence[P], pool: Literal["last", "mean"] = "last"
) -> dict[P, Float[Tensor, "row dim"]]:
    """The unedited output of each named block or module, float32, CPU; later blocks do not run.

    `pool`: at every row's last token, or the mean over all tokens of the row, the prefix not among them.
    """
    first = len(rows.prefix)
    rows, prefix = _shared(host, rows)
    if prefix:
        _upto(host, _inputs(host, [rows.prefix], None), max(map(block_of, blocks)) + 1, 0, prefix)
        prefix.recording = False
    order: list[int] = []
    parts: dict[P, list[Tensor]] = {block: [] for block in blocks}
    for chunk in _chunks(rows):
        ids = _inputs(host, [rows.suffixes[i] for i in chunk], None)
        last = torch.tensor([len(rows.suffixes[i]) - 1 for i in chunk])
        # Without a shared prefix it stands in front of every row.
        select = _at_last(last) if pool == "last" else _mean_over(first - len(rows.prefix), last)
        seen = _selected(host, ids, select, blocks, len(rows.prefix), prefix)
        for block in blocks:
            parts[block].append(seen[block].float().cpu())
        order.extend(chunk)
    back = torch.tensor(order).argsort()
    return {block: torch.cat(parts[block])[back] for block in blocks}


def _at_last(last: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden[torch.arange(len(last)), last]


def _mean_over(first: int, last: Tensor) -> Callable[[Tensor], Tensor]:
    def mean(hidden: Tensor) -> Tensor:
        place = torch.arange(hidden.shape[1])[None]
        own = ((place >= first) & (place <= last[:, None])).to(hidden.device)[..., None]
        return (hidden.float() * own).sum(1) / own.sum(1)

    return mean


def _selected(
    host: Host,
    ids: Tensor,
    select: Callable[[Tensor], Tensor],
    places: Sequence[Place],
    offset: int,
    prefix: SharedPrefix | None,
) -> dict[Place, Tensor]:
    everywhere = dict.fromkeys(places, select)
    last = max(map(block_of, places))
    with torch.inference_mode(), only_blocks(host, 0, last + 1), recorded(host, everywhere) as seen:
        _run(host, ids, offset, prefix)
    return seen


def continuation_nll(
    host: Host, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], edits: Edits
) -> list[list[float]]:
    """Negative log-likelihood of each token of each continuation behind its prompt (nats), under one edited state.

    Under a condition, continuations of prompts that do not meet it are read from the unedited model.
    """
    if isinstance(edits, ConditionalEdits):
        means = prompt_means(host, Rows((), tuple(map(tuple, prompts))), edits.condition.block)
        met = edits.condition.decide(means, torch.zeros(len(means), dtype=torch.long)).tolist()
        both = [continuation_nll(host, prompts, continuations, state) for state in ({}, dict(edits))]
        return [both[one][row] for row, one in enumerate(met)]

    def nll(inputs: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        return _nll(_at(host, inputs, rows, positions - 1, edits), inputs[rows, positions])

    return _per_token(host, prompts, continuations, nll)


def continuation_kl(
    host: Host,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    other: Callable[[], AbstractContextManager[object]],
) -> list[list[float]]:
    """KL(model as it is || model inside `other()`) where each token of each continuation is foretold (nats)."""

    def kl(inputs: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        now = _at(host, inputs, rows, positions - 1, {}).float().log_softmax(-1)
        with other():
            then = _at(host, inputs, rows, positions - 1, {}).float().log_softmax(-1)
        return (now.exp() * (now - then)).sum(-1).clamp(min=0)

    return _per_token(host, prompts, continuations, kl)


Measure = Callable[[Tensor, Tensor, Tensor], Float[Tensor, "place"]]
"""(token ids `[row token]`, rows and positions of some tokens) to one number per token."""


def _per_token(
    host: Host, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], measure: Measure
) -> list[list[float]]:
    whole = [[*prompt, *text] for prompt, text in zip(prompts, continuations, strict=True)]
    found: list[list[float]] = [[] for _ in whole]
    for chunk in _chunks(Rows((), tuple(tuple(row) for row in whole))):
        # The token at position p is foretold by position p - 1.
        places = [(row, p) for row, i in enumerate(chunk) for p in range(len(prompts[i]), len(whole[i]))]
        if not places:
            continue
        inputs = _inputs(host, [whole[i] for i in chunk], None)
        rows, positions = torch.tensor(places, device=host.device).T
        for (row, _), value in zip(places, measure(inputs, rows, positions).tolist(), strict=True):
            found[chunk[row]].append(value)
    return found


def _at(host: Host, inputs: Tensor, rows: Tensor, positions: Tensor, edits: Edits) -> Float[Tensor, "place vocab"]:
    """The logits at some places; only those go through a head that is known to be plain."""
    with torch.inference_mode(), edited(host, edits, torch.zeros(len(inputs), dtype=torch.long)):
        if host.shares_prefix:
            hidden = _run(host, inputs, 0, None)[rows, positions]
            logits: Tensor = host.model.get_output_embeddings()(hidden)
            return logits
        return host.model(input_ids=inputs, use_cache=False).logits[rows, positions]  # type: ignore[no-any-return]


def _nll(logits: Float[Tensor, "place vocab"], tokens: Tensor) -> Float[Tensor, "place"]:
    logits = logits.float()
    return logits.logsumexp(-1) - logits.gather(1, tokens[:, None]).squeeze(1)
