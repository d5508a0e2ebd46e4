"""Let a model think for a fixed number of tokens, interrupt it, and read what it would say next.

Every row thinks as long as every other, because ends are never drawn. The tokens that follow are the same for all rows;
of their positions only the read ones go through the head. What no edit reaches is computed once (`lower`).
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host.blocks import Edits, edited, only_blocks, recorded
from steerkit.host.cache import alike, empty_cache, selected, stacked
from steerkit.host.forward import ROW_TOKENS, Read
from steerkit.host.load import Host
from steerkit.host.places import Place
from steerkit.host.sampling import Sampling, draw, uniforms

GREEDY = Sampling()
GROUP = 32
"""Rows that think together: enough that a step is not all about reading the weights."""
READ_ROWS = 8
"""Rows whose positions go through the head together: a vocabulary is wide."""
WORTH = 0.95
"""Share of all tokens that must be left for a beginning to be read apart (fraction)."""
LOWER_BYTES = 2**30
"""Most memory for what the blocks below the first edit make of all prompts."""


@dataclass(frozen=True)
class Thinking:
    """How rows think: `budget` tokens of which none is `banned`, greedily or sampled with one seed per row.

    `penalty`: what divides the odds of a token that was there before, as in transformers; 1 is none. `sees_last`:
    whether the last thought is read by what follows.
    """

    budget: int = 0
    banned: tuple[int, ...] = ()
    sampling: Sampling = GREEDY
    seeds: tuple[int, ...] = ()
    penalty: float = 1.0
    sees_last: bool = True


@dataclass(frozen=True)
class Dialogues:
    """Rows that are asked, think, and are interrupted by the same tokens.

    `closing`: token ids after the thoughts; the next token is foretold at its last `read` positions. `gaps`: by how
    many positions each row's closing is moved on. `unseen`: a token the closing does not look at, wherever it stood.
    """

    prompts: tuple[tuple[int, ...], ...]
    closing: tuple[int, ...]
    read: int
    thinking: Thinking
    gaps: tuple[int, ...]
    unseen: int | None = None

    def groups(self) -> list[list[int]]:
        """Rows of similar length together; the same for every pass over these rows."""
        by_length = sorted(range(len(self.prompts)), key=lambda i: (len(self.prompts[i]), i))
        return [by_length[first : first + GROUP] for first in range(0, len(by_length), GROUP)]

    def longest(self) -> int:
        """Tokens of the longest row, everything included."""
        return max(map(len, self.prompts)) + self.thinking.budget + len(self.closing)


@dataclass(frozen=True)
class Lower:
    """What blocks 0 to `block` make of one group's prompts, unedited.

    `hidden`: `[row token dim]`; `layers`: keys and values; `closing`: `[row token dim]`, where nobody thinks, and
    then the layers are blank.
    """

    block: int
    hidden: Tensor
    layers: tuple[Any, ...]
    closing: Tensor | None


def check_context(host: Host, dialogues: Dialogues) -> None:
    """Raise UsageError for rows that are longer than what the model was made for."""
    most = vars(host.model.config.get_text_config()).get("max_position_embeddings")
    if most is not None and dialogues.longest() > most:
        raise UsageError(
            f"question, thoughts and answer must fit into the {most} tokens that {host.name!r} was made for, but the "
            f"longest row has {dialogues.longest()} with think={dialogues.thinking.budget}; think less, or use shorter "
            "vignettes"
        )


def lower(host: Host, dialogues: Dialogues, block: int) -> tuple[Lower, ...] | None:
    """What the blocks up to `block` make of all rows; None where blocks cannot be skipped or memory is short."""
    if not (host.skips_blocks and 0 <= block < len(host.blocks) - 1) or _bytes(host, dialogues, block) > LOWER_BYTES:
        return None
    return tuple(_lower(_Group(host, dialogues, members, {}), block) for members in dialogues.groups())


def interrupted(
    host: Host, dialogues: Dialogues, read: Read, edits: Edits, below: tuple[Lower, ...] | None
) -> tuple[Tensor, list[list[int]]]:
    """What `read` keeps of the log-probabilities at the closing's last positions, `[row ...]`, and the thoughts.

    One edited state for all rows; every token is edited, thoughts and closing too.
    """
    kept: list[Tensor] = []
    order: list[int] = []
    thoughts: list[list[int]] = [[] for _ in dialogues.prompts]
    for number, members in enumerate(dialogues.groups()):
        group = _Group(host, dialogues, members, edits, below[number] if below else None)
        kept.append(group.answer(read))
        order.extend(members)
        for row, own in zip(members, group.thoughts.tolist(), strict=True):
            thoughts[row] = own
    return torch.cat(kept)[torch.tensor(order).argsort()], thoughts


def _bytes(host: Host, dialogues: Dialogues, block: int) -> int:
    """About how much memory `lower` takes."""
    config = host.model.config.get_text_config()
    tokens = sum(map(len, dialogues.prompts)) + len(dialogues.prompts) * len(dialogues.closing)
    heads = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    cache = 2 * heads * (block + 1) if dialogues.thinking.budget else 0
    size: int = tokens * (host.width + cache) * host.model.dtype.itemsize
    return size


def _lower(group: "_Group", block: int) -> Lower:
    """Run the blocks up to `block` over one group's prompts, and over the closing where nobody thinks."""
    hidden = group.prefill(0, block + 1, block)
    layers = tuple(copy(layer) for layer in group.cache.layers[: block + 1])
    if group.budget:
        return Lower(block, hidden, layers, None)
    closing = group.run(group.closing_ids(), group.closing_mask(), group.closing_positions(), 0, block + 1, block)
    for layer in layers:
        # Nothing is fed to them any more; only their length is asked for.
        layer.keys = layer.values = hidden.new_zeros(1, 1, 1, 1).expand(len(hidden), 1, hidden.shape[1], 1)
    return Lower(block, hidden, layers, closing)


class _Group:
    """Rows that are prefilled, think and are read together, left-padded."""

    def __init__(
        self, host: Host, dialogues: Dialogues, members: Sequence[int], edits: Edits, below: Lower | None = None
    ) -> None:
        self.host, self.dialogues, self.members, self.edits, self.below = host, dialogues, members, edits, below
        self.thinking, self.budget = dialogues.thinking, dialogues.thinking.budget
        prompts = [dialogues.prompts[i] for i in members]
        longest = max(map(len, prompts))
        self.ids = _on(host, [[*[p[0]] * (longest - len(p)), *p] for p in prompts])
        self.mask = _on(host, [[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        self.lengths = _on(host, [len(p) for p in prompts])
        self.thoughts = self.ids[:, :0]
        self.cache: Any = None
        # Below the first edit nothing changes: those blocks are not run over the prompts again.
        self.start = below.block + 1 if below else 0

    def answer(self, read: Read) -> Tensor:
        """Prefill, think, close, and keep what `read` does."""
        depth = len(self.host.blocks)
        last = self.prefill(self.start, depth, None, 1 if self.budget else 0)
        if self.below:
            for number, layer in enumerate(self.below.layers):
                self.cache.layers[number] = copy(layer)
        if self.budget:
            self._think(last)
        given, start = self.closing_ids(), 0
        if self.below and self.below.closing is not None:
            given, start = self._first_edit(self.below.closing), self.start
        after = self.run(given, self.closing_mask(), self.closing_positions(), start, depth, None, self.dialogues.read)
        self.cache = None
        parts = [slice(first, first + READ_ROWS) for first in range(0, len(after), READ_ROWS)]
        rows = torch.tensor(self.members)
        return torch.cat([read(self._logits(after[part]).float().log_softmax(-1), rows[part]) for part in parts])

    def prefill(self, start: int, stop: int, record: int | None, keep: int = 0) -> Tensor:
        """Read the prompts, what several begin with only once; returns as `run` does."""
        given = self._first_edit(self.below.hidden) if self.below else self.ids
        cut, firsts, own = self._beginnings()
        if not cut:
            return self._in_parts(given, self.mask, start, stop, record, keep)
        begun = self._in_parts(given[firsts, :cut], self.mask[firsts, :cut], start, stop, record, 0)
        rest = self._in_parts(given[:, cut:], self.mask, start, stop, record, keep, (self.cache, own))
        return rest if record is None else torch.cat([begun[own], rest], dim=1)

    def _beginnings(self) -> tuple[int, list[int], Tensor]:
        """How many slots are worth reading once per sort of row (0: none), a row of each sort, and each row's sort."""
        if not (self.host.shares_prefix and alike(empty_cache(self.host))):
            return 0, [], self.lengths
        rows = [tuple(row) for row in (self.ids * 2 + self.mask).tolist()]
        length, best = len(rows[0]), (len(rows) * len(rows[0]), 0)
        sorts: dict[int, int] = {}
        for cut in range(1, length):
            kinds: dict[Any, int] = {}
            # Two rows are of one sort here if they were so far and have the same next token.
            sorts = {i: kinds.setdefault((sorts.get(i, 0), row[cut - 1]), len(kinds)) for i, row in enumerate(rows)}
            best = min(best, (len(kinds) * cut + len(rows) * (length - cut), cut))
        cut = best[1] if best[0] < WORTH * len(rows) * length else 0
        firsts: dict[Any, int] = {}
        for i, row in enumerate(rows):
            firsts.setdefault(row[:cut], i)
        places = {row: place for place, row in enumerate(firsts)}
        return cut, [*firsts.values()], self.lengths.new_tensor([places[row[:cut]] for row in rows])

    def _in_parts(
        self,
        given: Tensor,
        mask: Tensor,
        start: int,
        stop: int,
        record: int | None,
        keep: int,
        begun: tuple[Any, Tensor] | None = None,
    ) -> Tensor:
        """Run a few rows at a time, behind the cache of what their sorts begin with."""
        size = max(1, ROW_TOKENS // given.shape[1])
        caches, found = [], []
        for first in range(0, len(given), size):
            part = slice(first, first + size)
            self.cache = selected(begun[0], begun[1][part]) if begun else empty_cache(self.host)
            positions = (mask[part].cumsum(-1) - 1).clamp(min=0)[:, -given.shape[1] :]
            found.append(self.run(given[part], mask[part], positions, start, stop, record, keep))
            caches.append(self.cache)
        self.cache = stacked(caches)
        return torch.cat(found)

    def run(
        self, given: Tensor, mask: Tensor, positions: Tensor, start: int, stop: int, record: int | None, keep: int = 0
    ) -> Tensor:
        """Feed ids `[row token]` or hidden states to blocks start to stop - 1.

        Returns the output of block `record`, or what `_logits` needs of the last `keep` positions.
        """
        named: dict[str, Any] = {"inputs_embeds" if given.is_floating_point() else "input_ids": given}
        named |= {"attention_mask": mask, "position_ids": positions, "past_key_values": self.cache, "use_cache": True}
        index = torch.zeros(len(given), dtype=torch.long)
        note: dict[Place, Callable[[Tensor], Tensor]] = {} if record is None else {record: lambda hidden: hidden}
        with (
            torch.inference_mode(),
            only_blocks(self.host, start, stop),
            edited(self.host, self.edits, index),
            recorded(self.host, note) as seen,
        ):
            if record is None and not self.host.shares_prefix:
                logits: Tensor = self.host.model(**named, logits_to_keep=max(keep, 1)).logits
                return logits[:, logits.shape[1] - keep :]
            hidden: Tensor = self.host.decoder(**named).last_hidden_state
        return hidden[:, hidden.shape[1] - keep :].contiguous() if record is None else seen[record]

    def _logits(self, last: Tensor) -> Tensor:
        """Next-token logits; a model whose head is not known to be plain has already applied it."""
        if not self.host.shares_prefix:
            return last
        with torch.inference_mode():
            logits: Tensor = self.host.model.get_output_embeddings()(last)
        return logits

    def _first_edit(self, hidden: Tensor) -> Tensor:
        """The edit of the block that stored hidden states come from."""
        edit = self.edits.get(self.start - 1)
        return edit(hidden, torch.zeros(len(hidden), dtype=torch.long), None) if edit else hidden

    def _think(self, last: Tensor) -> None:
        """Draw the whole budget, feeding each thought but, where nothing reads it, the last."""
        rows = [uniforms(self.thinking.seeds[i], self.budget) for i in self.members if self.thinking.seeds]
        chances = torch.tensor(rows, dtype=torch.float64).T if rows else None
        fed = self.budget - (not self.thinking.sees_last)
        mask = self.mask
        for step in range(self.budget):
            chosen = self._drawn(self._logits(last)[:, -1].float(), None if chances is None else chances[step])
            self.thoughts = torch.cat([self.thoughts, chosen[:, None]], dim=1)
            if step < fed:
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
                place = (self.lengths + step)[:, None]
                last = self.run(chosen[:, None], mask, place, 0, len(self.host.blocks), None, 1)

    def _drawn(self, logits: Float[Tensor, "row vocab"], chance: Float[Tensor, "row"] | None) -> Int[Tensor, "row"]:
        if self.thinking.penalty != 1:
            there = torch.zeros_like(logits, dtype=torch.bool)
            there.scatter_(1, torch.cat([self.ids, self.thoughts], dim=1), True)
            weaker = torch.where(logits < 0, logits * self.thinking.penalty, logits / self.thinking.penalty)
            logits = torch.where(there, weaker, logits)
        logits = logits.log_softmax(-1)
        logits[:, list(self.thinking.banned)] = float("-inf")
        return draw(logits, self.thinking.sampling, chance)

    def closing_ids(self) -> Int[Tensor, "row token"]:
        """The closing, once per row."""
        return self.ids.new_tensor(self.dialogues.closing).expand(len(self.ids), -1)

    def closing_positions(self) -> Int[Tensor, "row token"]:
        """Behind the thoughts that were fed, moved on by the row's gap."""
        gaps = self.lengths.new_tensor([self.dialogues.gaps[i] for i in self.members])
        first = self.lengths + self._fed().shape[1] + gaps
        return first[:, None] + torch.arange(len(self.dialogues.closing), device=first.device)

    def closing_mask(self) -> Int[Tensor, "row slot"]:
        """What the closing sees: prompt, fed thoughts and itself, without the tokens it does not look at."""
        fed = self._fed()
        before = torch.cat([self.ids, fed], dim=1)
        seen = torch.cat([self.mask, torch.ones_like(fed)], dim=1) * self._looked_at(before)
        own = torch.ones_like(self.closing_ids())
        if self.thoughts.shape[1] > fed.shape[1]:
            # A mask that counts the thought which was never fed lays it over the closing's first token.
            own[:, 0] = self._looked_at(self.thoughts[:, -1]).to(own.dtype)
        return torch.cat([seen, own], dim=1)

    def _looked_at(self, ids: Tensor) -> Bool[Tensor, "..."]:
        return torch.ones_like(ids, dtype=torch.bool) if self.dialogues.unseen is None else ids != self.dialogues.unseen

    def _fed(self) -> Int[Tensor, "row token"]:
        return self.thoughts if self.thinking.sees_last else self.thoughts[:, :-1]


def _on(host: Host, rows: Any) -> Tensor:
    return torch.tensor(rows, device=host.device)
