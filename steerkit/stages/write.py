"""Greedy texts of every dose on fixed prompts, with their health figures."""

from collections.abc import Sequence

import torch

from steerkit.health import compression, distinct_share, perplexity, tail
from steerkit.host import Generation, Host, chat_ids, generate
from steerkit.inputs import Dilemma
from steerkit.records import Arm, Completion
from steerkit.spec import digest
from steerkit.stages.steer import Fitted, edits


def write(
    host: Host, fitted: Fitted, arms: Sequence[Arm], prompts: Sequence[Dilemma], tokens: int, run: str, unit: str
) -> list[Completion]:
    """One greedy text per arm and prompt, all in one batch; arms without a direction are unsteered."""
    pairs = [(arm, prompt) for arm in arms for prompt in prompts]
    strengths = torch.tensor([arm.strength for arm, _ in pairs])
    written = generate(host, [chat_ids(host, prompt.text) for _, prompt in pairs], edits([(fitted, strengths)]), tokens)
    return [_completion(host, arm, p, text, run, unit) for (arm, p), text in zip(pairs, written, strict=True)]


def _completion(host: Host, arm: Arm, prompt: Dilemma, written: Generation, run: str, unit: str) -> Completion:
    text = host.tokenizer.decode(written.tokens, skip_special_tokens=True)
    return Completion(
        run_id=run,
        unit_id=unit,
        completion_id=digest(arm.arm_id, prompt.id),
        arm_id=arm.arm_id,
        direction_id=arm.direction_id,
        strength=arm.strength,
        dose=arm.dose,
        prompt_id=prompt.id,
        prompt=prompt.text,
        text=text,
        tokens=len(written.tokens),
        ended=written.ended,
        token_kl=written.kl,
        perplexity=perplexity(written.base_nll),
        tail_perplexity=perplexity(tail(written.base_nll)),
        distinct_tail=distinct_share(text),
        compression=compression(text),
    )
