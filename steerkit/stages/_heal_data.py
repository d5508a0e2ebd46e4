"""The texts an adapter is trained on: as token ids, parted by prompt, packed into passes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerkit.errors import UsageError
from steerkit.host import Host, chat_ids, end_token
from steerkit.records import Completion


@dataclass(frozen=True)
class Example:
    """One text to train on."""

    completion_id: str
    prompt: tuple[int, ...]
    """Up to and including the generation prompt."""
    answer: tuple[int, ...]
    """The completion's tokens, and the end token where the text ended by itself."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All of it."""
        return (*self.prompt, *self.answer)


def examples(host: Host, completions: Sequence[Completion], system_prompt: str = "") -> list[Example]:
    """Kept completions behind their prompts and this system prompt (empty: none), whatever they were written under.

    Raises UsageError for a completion without token ids or without a token.
    """
    return [_example(host, completion, system_prompt) for completion in completions]


def _example(host: Host, completion: Completion, system_prompt: str) -> Example:
    if completion.token_ids is None:
        raise UsageError(
            f"a text to train on must have its token ids, but completion {completion.completion_id} has none: it was "
            "written by gate 1; write texts with gate 2"
        )
    end = [end_token(host)] if completion.ended else []
    answer = (*completion.token_ids, *end)
    if not answer:
        raise UsageError(
            f"a text to train on must have a token, but completion {completion.completion_id} is empty; drop it with "
            "gate 2's filters"
        )
    return Example(
        completion.completion_id, tuple(chat_ids(host, completion.prompt, system_prompt or None)), tuple(answer)
    )


def split(
    texts: Sequence[Example], prompts_of: Sequence[str], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """(train, validation): whole prompts are held out, drawn by `seed`, until about `share` of the texts are.

    `prompts_of`: the prompt of each text. Raises UsageError where there is but one prompt to part.
    """
    if share <= 0:
        return list(texts), []
    sizes = Counter(prompts_of)
    if len(sizes) < 2:
        raise UsageError(
            f"texts to train on must answer at least 2 prompts, one of them to be held out, but got {len(sizes)}; "
            "collect on more prompts, or set heal.validation=0"
        )
    held = _held_out(sizes, share * len(texts), seed)
    parts: tuple[list[Example], list[Example]] = ([], [])
    for text, prompt in zip(texts, prompts_of, strict=True):
        parts[prompt in held].append(text)
    return parts


def _held_out(sizes: Counter[str], wanted: float, seed: int) -> set[str]:
    """Prompts in drawn order, as many as bring the texts nearest to `wanted`; at least one, never all."""
    names = sorted(sizes)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    held: set[str] = set()
    count = 0
    for name in (names[place] for place in order):
        nearer = abs(count + sizes[name] - wanted) < abs(count - wanted)
        if nearer and len(held) < len(names) - 1:
            held.add(name)
            count += sizes[name]
    return held or {min(names, key=lambda name: (sizes[name], name))}


def passes(texts: Sequence[Example], row_tokens: int) -> list[list[Example]]:
    """The texts by length, in groups of at most `row_tokens` padded tokens; a longer text gets a pass of its own."""
    groups: list[list[Example]] = []
    for text in sorted(texts, key=lambda text: (len(text.tokens), text.completion_id)):
        if groups and (len(groups[-1]) + 1) * len(text.tokens) <= row_tokens:
            groups[-1].append(text)
        else:
            groups.append([text])
    return groups
