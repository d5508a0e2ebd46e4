"""The forced seven-way choice for small models: a plain few-shot text, read at one token.

Example scenes with their answers, then the scene to be judged and a cue; the next-token log-probabilities of seven
answers are the reading. Two orders of the examples are read, because a small model leans on whatever came last. The
examples are a prefix shared by all vignettes, so they run once per model state.

    score[f] = mean over the foundation's words w of log p(w)      nats; the examples show the first word only
    outside  = 1 - sum over all words of p(w)                      fraction

Whatever disturbs the model moves single words, each its own way. A sum of probabilities moves with its likeliest word;
in a mean of log-probabilities every word has one vote, and what they share is left.

The chat question of larger instruments is beyond a small model; use this one where answer mass or informedness of the
other is near zero. It degenerates when the answers are not single tokens of the tokenizer (an error), when the model
ignores the examples (informedness near 0), or when a word that the examples do not show is hardly ever an answer: its
log-probability is then mostly noise, and counts as much as any.

Source: in-context forced choice as in GPT-3 (2005.14165, section 3); the label bias it needs corrected: 2102.09690.
"""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Edits, Host, text_ids
from steerkit.host.forward import Entry, Read, Rows, behind_common_prefix, entry, last_logprobs, plain_logprobs
from steerkit.records import FOUNDATIONS
from steerkit.spec import Setting, digest

TEXT = Path(__file__).parents[1] / "data" / "fewshot.toml"
READS_ALONE = True
"""A vignette's reading does not depend on which others are read with it, so that one arm may be read in parts."""


class Config(Setting, frozen=True, kw_only=True):
    """Settings of the few-shot reading."""

    examples: int = 2
    """Examples per foundation."""
    orders: int = 2
    """Example orders averaged."""
    prior: Literal["set-mean", "none"] = "set-mean"
    """How the answers' label bias is measured on the base arm: each answer's mean over the stratified set, or not."""

    def __post_init__(self) -> None:
        """Raise UsageError for a number outside its range."""
        for name, low, high in (("examples", 1, 4), ("orders", 1, 8)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"instrument setting {name} must be from {low} to {high}, but got {value}")


@dataclass(frozen=True)
class Prompt:
    """One example order, ready to be read: each vignette with the cue, behind the examples that all share.

    `answers`: the token ids of each answer's words. `cue`: how many tokens the cue has.
    """

    rows: Rows
    answers: tuple[tuple[int, ...], ...]
    cue: int


@dataclass(frozen=True)
class Prepared:
    """All orders of one set of vignettes, with what the blocks before the first edited one make of them."""

    prompts: tuple[Prompt, ...]
    entries: tuple[Entry | None, ...]


def identity() -> str:
    """A hash of the words, examples and cue: readings of another text are not comparable."""
    return digest(_material())


def prepare(host: Host, texts: Sequence[str], config: Config, *, system: str | None, first_block: int) -> Prepared:
    """Tokenise every order and run the blocks that no edit at `first_block` or later can change.

    `system` goes in front of the text, as plain words. Raises UsageError when an answer is not one token.
    """
    prompts = tuple(_prompt(host, texts, config, order, system) for order in range(config.orders))
    entries = tuple(entry(host, prompt.rows, first_block + 1) for prompt in prompts)
    return Prepared(prompts, entries)


def read(host: Host, prepared: Prepared, edits: Edits) -> Float[Tensor, "order vignette 9"]:
    """Scores of the seven answers (mean log-probability of their words, nats, full vocabulary, in the order of
    `FOUNDATIONS`), the mass outside all words (fraction), and the cue's mean NLL (nats per token), under `edits`.
    """
    return torch.stack(
        [
            last_logprobs(host, prompt.rows, _reader(prompt), edits, at)
            for prompt, at in zip(prepared.prompts, prepared.entries, strict=True)
        ]
    )


def read_plainly(host: Host, prepared: Prepared, edits: Edits) -> Float[Tensor, "order vignette 9"]:
    """The same numbers from one full prompt per vignette: the reference that `read` is checked and timed against."""
    return torch.stack([plain_logprobs(host, prompt.rows, _reader(prompt), edits) for prompt in prepared.prompts])


def _reader(prompt: Prompt) -> Read:
    def keep(logprobs: Tensor, rows: Tensor) -> Tensor:
        each = [logprobs[:, -1, list(words)] for words in prompt.answers]
        scores = torch.stack([words.mean(-1) for words in each], dim=1)
        outside = (1 - torch.cat(each, dim=1).exp().sum(-1, keepdim=True)).clamp(min=0)
        cues = torch.tensor([prompt.rows.suffixes[i][-prompt.cue :] for i in rows.tolist()], device=logprobs.device)
        nll = -logprobs[:, :-1].gather(2, cues[..., None]).mean((1, 2))
        return torch.cat([scores, outside, nll[:, None]], dim=1).cpu()

    return keep


@cache
def _material() -> dict[str, Any]:
    return tomllib.loads(TEXT.read_text(encoding="utf-8"))


def _prompt(host: Host, texts: Sequence[str], config: Config, order: int, system: str | None) -> Prompt:
    """One order of the examples, followed by each vignette and the cue."""
    given = _material()
    opening = f"{system}\n\n" if system else ""
    named = [words[0].strip() for words in given["answers"].values()]
    header = given["header"].format(answers=", ".join(named))
    shared = text_ids(host, opening + header + "".join(_examples(config, order)))
    cue = text_ids(host, given["cue"], start=False)
    prompts = [[*shared, *text_ids(host, text, start=False), *cue] for text in texts]
    return Prompt(behind_common_prefix(prompts, read=len(cue) + 1), _answers(host), len(cue))


def _examples(config: Config, order: int) -> list[str]:
    """The examples as text, every foundation once per round, each order a different arrangement."""
    given = _material()
    lines = []
    for round_ in range(config.examples):
        names = list(FOUNDATIONS)
        random.Random(round_).shuffle(names)
        turned = names[order * 3 % 7 :] + names[: order * 3 % 7]
        for name in turned if order % 2 == 0 else reversed(turned):
            scenes, shown = given["examples"][name], given["answers"][name][0]
            scene = scenes[(order * config.examples + round_) % len(scenes)]
            lines.append(f"{scene}{given['cue']}{shown}{given['separator']}")
    return lines


def _answers(host: Host) -> tuple[tuple[int, ...], ...]:
    """The token id of each of an answer's words. Raises UsageError when one is not a single token."""
    return tuple(tuple(_single(host, word) for word in _material()["answers"][name]) for name in FOUNDATIONS)


def _single(host: Host, word: str) -> int:
    tokens = text_ids(host, word, start=False)
    if len(tokens) != 1:
        raise UsageError(
            f"instrument fewshot needs single-token answers, but {word!r} is {len(tokens)} for {host.name}; "
            "use another instrument, or put single-token words into data/fewshot.toml"
        )
    return tokens[0]
