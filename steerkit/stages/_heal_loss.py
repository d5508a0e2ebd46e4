"""Negative log-likelihood and divergence of each completion token, without ever holding them for a whole text.

With student p = softmax(z), reference q, and k the position's divergence, the derivatives by the student's logits z are

    NLL of token t          p - [t]
    reverse KL(p || q)      p * (log p - log q - k)
    forward KL(q || p)      p - q
    Jensen-Shannon          p * (g - sum(p * g)),  g = (log p - log m) / 2,  m = (p + q) / 2

Each is taken through the head at once, a few positions at a time, so that what remains for the backward pass is two
gradients by hidden states, `[position dim]`, instead of several tensors of `[position vocab]`.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerkit.errors import unknown
from steerkit.host.training import Head
from steerkit.spec_heal import Divergence

POSITIONS = 128
"""How many go through the head at a time: few enough that their logits are small beside a model's activations."""
ROOT = 1e-8
"""Inside the root of rmse: before training every divergence is 0, where a bare root has no finite slope."""
AGGREGATES = ("mean", "rmse", "p95", "max")


def aggregates(divergence: Float[Tensor, "position"]) -> Float[Tensor, "4"]:
    """One sequence's divergence over its positions, as in `AGGREGATES` (nats)."""
    return torch.stack(
        [
            divergence.mean(),
            (divergence.square().mean() + ROOT).sqrt(),
            divergence.quantile(0.95),
            divergence.max(),
        ]
    )


def token_losses(
    head: Head,
    hidden: Float[Tensor, "position dim"],
    tokens: Int[Tensor, "position"],
    reference: Float[Tensor, "position dim"] | None = None,
    divergence: Divergence = "reverse-kl",
    *,
    constrained: bool = True,
) -> tuple[Float[Tensor, "position"], Float[Tensor, "position"]]:
    """(NLL, divergence from the reference) of each position in nats, float32 at least; 0 without a reference.

    Both can be differentiated by `hidden` and by nothing else; unless `constrained`, the divergence counts as constant.
    """
    losses: Any = _TokenLosses
    nll, apart = losses.apply(hidden, tokens, reference, head, _kind(divergence), constrained)
    return nll, apart


Kind = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(log p, p, log q), each `[position vocab]`, to the divergence `[position]` and its derivative by p's logits."""


def reverse_kl(log_p: Tensor, p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """KL(student || reference)."""
    ratio = log_p - log_q
    value = (p * ratio).sum(-1)
    return value, ratio.sub_(value[:, None]).mul_(p)


def forward_kl(log_p: Tensor, p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """KL(reference || student)."""
    q = log_q.exp()
    return (q * (log_q - log_p)).sum(-1), p - q


def jensen_shannon(log_p: Tensor, p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """Half of either's KL from the mean of both."""
    q = log_q.exp()
    # Where both underflow to 0, so does their mean, and 0 * inf would be NaN.
    log_m = ((p + q) / 2).clamp_min(torch.finfo(p.dtype).tiny).log()
    half = (log_p - log_m) / 2
    from_p = (p * half).sum(-1)
    return from_p + (q * (log_q - log_m)).sum(-1) / 2, half.sub_(from_p[:, None]).mul_(p)


KINDS: dict[str, Kind] = {"reverse-kl": reverse_kl, "forward-kl": forward_kl, "js": jensen_shannon}


def _kind(divergence: str) -> Kind:
    if divergence not in KINDS:
        raise unknown("divergence", divergence, KINDS)
    return KINDS[divergence]


class _TokenLosses(torch.autograd.Function):
    """The two losses of `token_losses`, whose gradients by the hidden states are computed on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, tokens: Tensor, reference: Tensor | None, head: Head, kind: Kind, constrained: bool
    ) -> Any:
        wanted = (hidden.requires_grad, hidden.requires_grad and constrained and reference is not None)
        chunks = [slice(start, start + POSITIONS) for start in range(0, len(hidden), POSITIONS)]
        parts = [
            _chunk(head, hidden[at], tokens[at], None if reference is None else reference[at], kind, wanted)
            for at in chunks
        ]
        nll, apart, by_nll, by_apart = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(by_nll, by_apart)
        ctx.dtype = hidden.dtype
        ctx.set_materialize_grads(False)
        return nll, apart

    @staticmethod
    def backward(ctx: Any, *by_output: Tensor | None) -> Any:
        total: Tensor | None = None
        for outer, inner in zip(by_output, ctx.saved_tensors, strict=True):
            if outer is not None:
                part = outer[:, None] * inner
                total = part if total is None else total + part
        return None if total is None else total.to(ctx.dtype), None, None, None, None, None


def _chunk(
    head: Head, hidden: Tensor, tokens: Tensor, reference: Tensor | None, kind: Kind, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """NLL, divergence, and the gradients of both by `hidden`, 0 where they are not wanted."""
    with torch.set_grad_enabled(wanted[0]):
        start = hidden.detach().requires_grad_(wanted[0])
        logits = head(start)
    with torch.no_grad():
        log_p = _log_softmax(logits)
        nll = -log_p.gather(1, tokens[:, None]).squeeze(1)
        p = log_p.exp()
        apart, by_apart = torch.zeros_like(nll), torch.empty(0)
        if reference is not None:
            apart, by_apart = kind(log_p, p, _log_softmax(head(reference)))
            apart.clamp_(min=0)  # rounding alone is below 0
        by_nll = p.scatter_add_(1, tokens[:, None], torch.full_like(nll, -1)[:, None])
    through = [
        _through(logits, start, by_logits) if want else torch.zeros_like(start, dtype=nll.dtype)
        for want, by_logits in zip(wanted, (by_nll, by_apart), strict=True)
    ]
    return nll, apart, through[0], through[1]


def _through(logits: Tensor, start: Tensor, by_logits: Tensor) -> Tensor:
    """A gradient by logits as a gradient by hidden states, in its own dtype."""
    (gradient,) = torch.autograd.grad(logits, start, by_logits.to(logits.dtype), retain_graph=True)
    return gradient.to(by_logits.dtype)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
