"""The seven-way choice of the package tinymfv (now moral-maps): think for a while, then answer as JSON.

A vignette is shown with a JSON-like schema that lists seven glossed options. The model thinks for exactly `think`
tokens and is interrupted: the turn is closed, a nudge asks for the answer, which is prefilled up to its first token.

    log p_o[f]  = log-probability there of the token that answers f, with the options in order o    nats
    score[f]    = mean of log p_o[f] over the forward and the reversed order                        nats
    p_ans_any   = sum over f of p_o[f]; nll = mean NLL of the prefilled tokens (ppx_json = exp nll)
    with N samples, log p_o[f] = log mean over the samples of p_o[f]

Answers are the options' index digits (current protocol) or their words (before 2026-06-21); a digit means another
foundation in each order, so that what a model thinks of digits and of places cancels in the mean.

`protocol="package"` gives the package's numbers, and with them four habits that `protocol="mended"` drops: the
tokenizer's begin token is put in front of a template that writes its own; what follows the thoughts does not see tokens
equal to the padding token (where an end of turn pads, no turn ends); the last thought is never seen; and what follows
stands as many positions further on as the row was padded by in a batch of `batch` vignettes in the set's order. A row
that writes the prefilled text while thinking is unscorable there, and read like any other when mended.

It degenerates on a small model, which answers with the option's place whatever the vignette (informedness near 0; use
`fewshot`), and where thoughts are cut so late that the model has answered in them already.

Source: https://github.com/wassname/tinymfv; options and vignettes: Clifford et al. 2015, doi 10.3758/s13428-014-0551-2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Edits, Host, chat_ids, generate, text_ids
from steerkit.host.chat import CLOSE, interruption, thinking_prompt
from steerkit.host.generate import end_tokens
from steerkit.host.sampling import Sampling
from steerkit.host.thinking import Dialogues, Lower, Thinking, check_context, interrupted, lower
from steerkit.instruments._tinymfv_question import ORDERS, answer_tokens, material, named_answer, question
from steerkit.spec import Setting, digest


class Config(Setting, frozen=True, kw_only=True):
    """Settings of the forced choice."""

    think: int = 64
    """Tokens the model thinks before it is interrupted; 128 or 256 where a claim depends on it."""
    token: Literal["index", "word"] = "index"
    """What answers: the option's index digit, or its word (the protocol before 2026-06-21)."""
    samples: int = 1
    """Thoughts sampled per vignette and order, combined in probability; 1 at temperature 0 is greedy."""
    temperature: float = 0.0
    """Of the thoughts."""
    top_p: float = 1.0
    """Nucleus of the thoughts (fraction)."""
    seed: int = 0
    """Of the thoughts, where they are sampled; every arm draws the same random numbers."""
    protocol: Literal["package", "mended"] = "package"
    """The package's numbers, or those without its habits."""
    batch: int = 8
    """Vignettes the package would put into one batch; 1 leaves no gap in front of what is read."""
    free: int = 14
    """Vignettes, spread over the set, that are also answered freely, for the share of valid JSON; 0 for none."""
    free_tokens: int = 48
    """Length of a free answer (tokens)."""
    prior: Literal["none", "set-mean"] = "none"
    """How the answers' label bias is measured on the base arm: not, or as each answer's mean over the set."""

    def __post_init__(self) -> None:
        """Raise UsageError for a number outside its range."""
        limits = {"think": (0, 100_000), "samples": (1, 1000), "temperature": (0, 5), "top_p": (1e-6, 1)}
        limits |= {"batch": (1, 100_000), "free": (0, 100_000), "free_tokens": (1, 10_000)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"instrument setting {name} must be from {low:g} to {high:g}, but got {value}")
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(f"temperature must be above 0 where samples is above 1, but got samples={self.samples}")


@dataclass(frozen=True)
class Prepared:
    """Every vignette in both orders, ready to be read: rows by order, then vignette, then sample.

    `answers`: by order, the token that answers each foundation. `free`: (vignette, prompt) to be answered freely.
    """

    config: Config
    vignettes: int
    dialogues: Dialogues
    prefill: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    below: tuple[Lower, ...] | None
    free: tuple[tuple[int, tuple[int, ...]], ...]


def identity() -> str:
    """A hash of the question's wording: readings of another text are not comparable."""
    return digest(material())


def prepare(host: Host, texts: Sequence[str], config: Config, *, system: str | None, first_block: int) -> Prepared:
    """Tokenise every vignette in both orders and run the blocks that no edit at `first_block` or later can change.

    `system` is the system prompt. Raises UsageError for a model without a fitting chat template, answers that begin
    alike, or rows that are too long for the model.
    """
    answers = tuple(answer_tokens(host, config.token, order) for order in range(len(ORDERS)))
    prefill = tuple(text_ids(host, material()["prefill"], start=False))
    dialogues = _dialogues(host, texts, config, system, prefill)
    check_context(host, dialogues)
    below = lower(host, dialogues, first_block)
    return Prepared(config, len(texts), dialogues, prefill, answers, below, _free(host, texts, config, system))


def read(host: Host, prepared: Prepared, edits: Edits) -> Float[Tensor, "order vignette 10"]:
    """Log-probabilities of the seven answers (nats, full vocabulary, in the order of `FOUNDATIONS`), the mass outside
    them (fraction), the prefill's mean NLL (nats per token) and the tokens thought, under `edits`.

    A row without a readable answer is NaN but for the last number.
    """
    config, dialogues = prepared.config, prepared.dialogues
    per_order = prepared.vignettes * config.samples
    answers = torch.tensor(prepared.answers, device=host.device)
    prefill = torch.tensor(prepared.prefill, device=host.device)

    def keep(logprobs: Tensor, rows: Tensor) -> Tensor:
        chosen = logprobs[:, -1].gather(1, answers[(rows // per_order).to(host.device)])
        outside = (1 - chosen.exp().sum(-1, keepdim=True)).clamp(min=0)
        nll = -logprobs[:, :-1].gather(2, prefill.expand(len(rows), -1)[..., None]).mean((1, 2))
        return torch.cat([chosen, outside, nll[:, None]], dim=1).cpu()

    values, thoughts = interrupted(host, dialogues, keep, edits, prepared.below)
    values[[_answered(host, thought, config) for thought in thoughts]] = float("nan")
    shaped = values.double().view(len(ORDERS), prepared.vignettes, config.samples, 9)
    combined = shaped[..., :7].logsumexp(2) - math.log(config.samples)
    count = combined.new_full((*combined.shape[:2], 1), dialogues.thinking.budget)
    return torch.cat([combined, shaped[..., 7:].mean(2), count], dim=-1)


def free_answers(host: Host, prepared: Prepared, edits: Edits) -> list[tuple[int, int, str, str | None]]:
    """Greedy answers of some vignettes, options in forward order: vignette, order, text, and the foundation named.

    Valid is a text that is, behind its thoughts, exactly the JSON object with one of the seven labels.
    """
    if not prepared.free:
        return []
    prompts = [prompt for _, prompt in prepared.free]
    written = generate(host, prompts, on_all_rows(edits), prepared.config.free_tokens)
    texts = [str(host.tokenizer.decode(one.tokens, skip_special_tokens=True)) for one in written]
    return [
        (vignette, 0, text, named_answer(text, prepared.config.token, 0))
        for (vignette, _), text in zip(prepared.free, texts, strict=True)
    ]


def on_all_rows(edits: Edits) -> Edits:
    """The first planned row's edit on every row of a batch."""

    def first(edit: Any) -> Any:
        return lambda hidden, rows, scale: edit(hidden, torch.zeros(len(hidden), dtype=torch.long), None)

    return {block: first(edit) for block, edit in edits.items()}


def _dialogues(
    host: Host, texts: Sequence[str], config: Config, system: str | None, prefill: tuple[int, ...]
) -> Dialogues:
    package = config.protocol == "package"
    closing = text_ids(host, interruption(host, material()["nudge"]), start=False)
    asked = [
        [
            text_ids(host, thinking_prompt(host, question(text, config.token, order), system), start=package)
            for text in texts
        ]
        for order in range(len(ORDERS))
    ]
    prompts = tuple(tuple(prompt) for order in asked for prompt in order for _ in range(config.samples))
    gaps = [gap for order in asked for gap in _gaps(order, config.batch) for _ in range(config.samples)]
    return Dialogues(
        prompts=prompts,
        closing=(*closing, *prefill),
        read=len(prefill) + 1,
        thinking=_thinking(host, config, len(prompts)),
        gaps=tuple(gaps) if package else (0,) * len(prompts),
        unseen=_padding(host) if package else None,
    )


def _gaps(prompts: Sequence[Sequence[int]], batch: int) -> list[int]:
    """By how much each row of the package's batches is padded."""
    batches = [prompts[first : first + batch] for first in range(0, len(prompts), batch)]
    return [max(map(len, together)) - len(prompt) for together in batches for prompt in together]


def _thinking(host: Host, config: Config, rows: int) -> Thinking:
    package = config.protocol == "package"
    sampled = Sampling(config.temperature, config.top_p)
    return Thinking(
        budget=config.think,
        banned=tuple(sorted(_ends(host))),
        sampling=sampled,
        seeds=tuple(config.seed * 1_000_003 + row for row in range(rows)) if config.temperature else (),
        penalty=(host.model.generation_config.repetition_penalty or 1.0) if package else 1.0,
        sees_last=not package,
    )


def _ends(host: Host) -> set[int]:
    """Tokens that would end a turn or the thoughts."""
    close = host.tokenizer.convert_tokens_to_ids(CLOSE)
    return end_tokens(host) | ({int(close)} - {host.tokenizer.unk_token_id} if close is not None else set())


def _padding(host: Host) -> int | None:
    """The token the package pads with."""
    own: int | None = host.tokenizer.pad_token_id
    return host.tokenizer.eos_token_id if own is None else own


def _answered(host: Host, thought: Sequence[int], config: Config) -> bool:
    """Whether a thought already holds the prefilled text with an answer behind it, which the package cannot read."""
    if config.protocol != "package":
        return False
    kept = [token for token in thought if token != _padding(host)]
    prefill = material()["prefill"]
    text, without_last = str(host.tokenizer.decode(kept)), str(host.tokenizer.decode(kept[:-1]))
    return prefill in text and len(without_last) >= text.index(prefill) + len(prefill)


def _free(
    host: Host, texts: Sequence[str], config: Config, system: str | None
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Prompts of vignettes at even distances, so that a set sorted by foundation is met everywhere."""
    count = min(config.free, len(texts))
    some = [place * len(texts) // count for place in range(count)]
    return tuple((i, tuple(chat_ids(host, question(texts[i], config.token, 0), system))) for i in some)
