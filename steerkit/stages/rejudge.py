"""Read a student's texts with the untouched base: how likely it finds them, and how far the student is from it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from msgspec.structs import replace

from steerkit.health import perplexity, tail
from steerkit.host import Host, chat_ids, end_token
from steerkit.host.forward import continuation_kl, continuation_nll
from steerkit.records import Completion
from steerkit.stages.student import Student


def likelihood(host: Host, student: Student, texts: Sequence[Completion]) -> list[Completion]:
    """The texts with NLL and perplexities under the base, whatever wrote them."""
    prompts, tokens = _ids(host, texts)
    with student.off():
        nll = continuation_nll(host, prompts, tokens, {})
    return [
        replace(text, token_nll=each, perplexity=perplexity(each), tail_perplexity=perplexity(tail(each)))
        for text, each in zip(texts, nll, strict=True)
    ]


def divergence(host: Host, student: Student, texts: Sequence[Completion]) -> list[Completion]:
    """The same, with the per-token KL(student || base) in place of whatever KL they had."""
    kl = divergences(host, texts, student.off)
    return [replace(t, token_kl=each) for t, each in zip(likelihood(host, student, texts), kl, strict=True)]


def divergences(
    host: Host, texts: Sequence[Completion], other: Callable[[], AbstractContextManager[object]]
) -> list[list[float]]:
    """KL(model as it is || model inside `other()`) at each token of each text (nats)."""
    return continuation_kl(host, *_ids(host, texts), other)


def _ids(host: Host, texts: Sequence[Completion]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and answers as token ids, the end token behind an answer that ended by itself."""
    prompts = [chat_ids(host, text.prompt, text.system_prompt) for text in texts]
    return prompts, [[*(text.token_ids or []), *([end_token(host)] if text.ended else [])] for text in texts]
