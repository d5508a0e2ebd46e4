"""Texts under steering, many in one batch, each with its health figures: greedy for gate 1, sampled for gate 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

import torch

from steerkit.health import compression, distinct_share, perplexity, tail
from steerkit.host import Generation, Host, Writing, chat_ids, generate
from steerkit.inputs import Dilemma
from steerkit.records import Arm, Backtrack, Completion, Record, Role
from steerkit.spec import digest
from steerkit.stages.steer import Fitted, edits


@dataclass(frozen=True)
class Order:
    """One text to be written; `fitted` is None where nothing steers. `seed` is None for a greedy text."""

    role: Role
    prompt: Dilemma
    fitted: Fitted | None = None
    strength: float = 0.0
    dose: float = 0.0
    seed: int | None = None
    arm_id: str | None = None
    system: str | None = None


def ordered(fitted: Fitted, arms: Sequence[Arm], prompts: Sequence[Dilemma]) -> list[Order]:
    """A greedy text per arm and prompt; arms without a direction are unsteered."""
    return [
        Order("greedy", prompt, fitted if arm.strength else None, arm.strength, arm.dose, arm_id=arm.arm_id)
        for arm in arms
        for prompt in prompts
    ]


def write(host: Host, orders: Sequence[Order], length: int, writing: Writing, run: str, unit: str) -> list[Record]:
    """All these texts in one batch, each with where it was rewound.

    A text depends on its own order alone, up to rounding: each row has its own random numbers.
    """
    fitted = {order.fitted.direction_id: order.fitted for order in orders if order.fitted}
    plan = [(each, torch.tensor([_strength(order, name) for order in orders])) for name, each in fitted.items()]
    prompts = [chat_ids(host, order.prompt.text, order.system) for order in orders]
    written = generate(host, prompts, edits(plan), length, writing)
    pairs = [_records(host, order, text, writing, run, unit) for order, text in zip(orders, written, strict=True)]
    return [record for records in pairs for record in records]


def _strength(order: Order, direction_id: str) -> float:
    return order.strength if order.fitted and order.fitted.direction_id == direction_id else 0.0


def _records(host: Host, order: Order, written: Generation, writing: Writing, run: str, unit: str) -> list[Record]:
    direction = order.fitted.direction_id if order.fitted else None
    system = [] if order.system is None else [order.system]
    name = digest(run, order.role, order.arm_id, direction, order.dose, order.prompt.id, order.seed, *system)
    text = host.tokenizer.decode(written.tokens, skip_special_tokens=True)
    completion = Completion(
        run_id=run,
        unit_id=unit,
        completion_id=name,
        arm_id=order.arm_id,
        direction_id=direction,
        strength=order.strength,
        dose=order.dose,
        prompt_id=order.prompt.id,
        prompt=order.prompt.text,
        text=text,
        tokens=len(written.tokens),
        ended=written.ended,
        token_kl=written.kl,
        perplexity=perplexity(written.base_nll),
        tail_perplexity=perplexity(tail(written.base_nll)),
        distinct_tail=distinct_share(text),
        compression=compression(text),
        role=order.role,
        sample_seed=order.seed,
        schedule=str(writing.schedule),
        pieces=pieces(host, written.tokens),
        token_ids=written.tokens,
        token_nll=written.base_nll,
        system_prompt=order.system,
    )
    return [completion, *_backtracks(completion, written)]


def _backtracks(completion: Completion, written: Generation) -> list[Backtrack]:
    return [
        Backtrack(
            run_id=completion.run_id,
            unit_id=completion.unit_id,
            completion_id=completion.completion_id,
            attempt=number,
            at_token=retry.at,
            rewound_to=retry.to,
            why=retry.why,
            value=retry.value,
            strength_before=retry.before * completion.strength,
            strength_after=retry.after * completion.strength,
        )
        for number, retry in enumerate(written.retries, 1)
    ]


def pieces(host: Host, tokens: Sequence[int]) -> list[str]:
    """The text of each token, so that all of them joined are the text.

    A character of several tokens belongs to its last one; so does what a token changes in the text before it.
    """
    found: list[str] = []
    shown = ""
    for count in range(1, len(tokens) + 1):
        text: str = host.tokenizer.decode(tokens[:count], skip_special_tokens=True)
        if not text.startswith(shown):
            shown = shown[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(shown, text, strict=False)))]
            found = _cut(found, len(shown))
        found.append(text[len(shown) :])
        shown = text
    return found


def _cut(found: Sequence[str], length: int) -> list[str]:
    """The pieces without what they hold beyond that many characters."""
    starts = accumulate(map(len, found), initial=0)
    return [piece[: max(0, length - start)] for piece, start in zip(found, starts, strict=False)]
