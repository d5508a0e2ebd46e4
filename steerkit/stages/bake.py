"""Students: a model with all its adapters baked into its weights for a while, or hooked beside them.

Adapters are summed in float32 and rounded once; what was there before is put back to the bit. Nothing is ever merged
for good: a loop needs its pristine base.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.errors import RunError, UsageError
from steerkit.host.load import Host
from steerkit.stages._adapters import Factors, Layered, Stack, combined, factors, linears, need_base, stack
from steerkit.stages._bake_peft import adapter_files, regated, with_peft

__all__ = [
    "LIMIT",
    "Fold",
    "Layered",
    "Stack",
    "Student",
    "adapter_files",
    "baked",
    "check_bake",
    "combined",
    "deltas",
    "divergence",
    "factors",
    "folds",
    "hooked",
    "mean_kl",
    "regated",
    "stack",
    "widened",
    "with_peft",
]

LIMIT = 1e-3
"""Mean KL(hooked || baked) per token from which on two students are two models (nats)."""
State = Callable[[], AbstractContextManager[object]]
"""Puts a model into a state, for as long as the context lasts."""


def deltas(stack: Stack, gates: Sequence[float] | None = None) -> dict[str, Float[Tensor, "outputs inputs"]]:
    """The whole update of each Linear's weight, float32: the sum over adapters of gate * alpha / rank * B A.

    Linears whose every adapter has gate 0 are left out.
    """
    return {path: found.up @ found.down for path, found in factors(stack, gates).items()}


@dataclass(frozen=True)
class Student:
    """A model whose weights hold a stack."""

    stack: Stack
    gates: tuple[float, ...]
    _base: tuple[tuple[Tensor, Tensor], ...]

    def off(self) -> AbstractContextManager[None]:
        """The base weights for a while, then the student's again, both to the bit and without a copy.

        Weights change places with what autograd saw, not content: a backward pass across this is right.
        """
        return _swapped(self._base)


@dataclass(frozen=True)
class Fold:
    """Where a student's weights can be folded: `gap` is KL(hooked || baked) there, `rounded` in the model's own dtype.

    Both are means per token (nats).
    """

    dtype: str
    gap: float
    rounded: float


@contextmanager
def baked(host: Host, stack: Stack, gates: Sequence[float] | None = None) -> Iterator[Student]:
    """The student in place: W <- round(float32(W) + its update); W is put back to the bit on leaving, also on error.

    With all gates 0 no weight is touched. Raises RunError when the model is not in its base state, or a weight would
    not be finite; UsageError for another model than the stack's.
    """
    need_base(host, stack)
    known = linears(host)
    weights = {path: (known[path].weight, found) for path, found in factors(stack, gates).items()}
    base = tuple((weight, weight.data) for weight, _ in weights.values())
    with _swapped([(weight, _folded(weight, found, path)) for path, (weight, found) in weights.items()]):
        yield Student(stack, stack.gated(gates), base)


@dataclass
class Hooks:
    """Updates beside the weights, which can be switched off."""

    on: bool = True

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base for a while, to the bit, then the student again."""
        self.on = False
        try:
            yield
        finally:
            self.on = True


@contextmanager
def hooked(host: Host, stack: Stack, gates: Sequence[float] | None = None) -> Iterator[Hooks]:
    """The same student with nothing folded: each Linear's output plus B A x, in float32.

    With all gates 0 the model is its base to the bit. Raises as `baked` does.
    """
    need_base(host, stack)
    known, switch = linears(host), Hooks()
    with ExitStack() as hooks:
        for path, found in factors(stack, gates).items():
            hooks.callback(known[path].register_forward_hook(_beside(known[path], found, switch)).remove)
        yield switch


def divergence(host: Host, stack: Stack, texts: Sequence[Sequence[int]], gates: Sequence[float] | None = None) -> float:
    """Mean over the texts' tokens of KL(hooked || baked): what rounding to the weights' dtype does (nats).

    Both are run in float32: 16-bit arithmetic alone sets any two ways of computing one model further apart than
    `LIMIT`, and would hide what rounding the weights does.
    """
    with baked(host, stack, gates) as student:
        rounded = [(weight, weight.data.float()) for weight, _ in student._base]
    with widened(host):
        return mean_kl(host, texts, lambda: hooked(host, stack, gates), lambda: _swapped(rounded))


@contextmanager
def widened(host: Host) -> Iterator[None]:
    """The model in float32 for a while, then as it was, to the bit: the same weights, in a dtype that holds a stack."""
    settings = host.model.config
    was = settings.dtype
    with _swapped([(tensor, tensor.data.float()) for tensor in _floating(host)]):
        try:
            yield
        finally:
            # Saving a model writes its dtype into its configuration.
            settings.dtype = was


def folds(host: Host, stack: Stack, texts: Sequence[Sequence[int]], gates: Sequence[float] | None = None) -> "Fold":
    """The narrowest dtype whose weights hold the student, and how far baked is from hooked in it."""
    found = divergence(host, stack, texts, gates)
    if found < LIMIT or host.dtype == "float32":
        return Fold(host.dtype, found, found)
    with widened(host):
        return Fold("float32", divergence(host, stack, texts, gates), found)


def check_bake(host: Host, stack: Stack, texts: Sequence[Sequence[int]], gates: Sequence[float] | None = None) -> Fold:
    """The narrowest dtype that holds the student.

    Raises RunError when even float32 does not: the student that was trained is then not the one that is written.
    """
    found = folds(host, stack, texts, gates)
    if not found.gap < LIMIT:
        raise RunError(
            f"a baked student must be the one that was trained, KL(hooked || baked) below {LIMIT:g} nats per token, "
            f"but it is {found.gap:.2g} in {found.dtype}; keep its adapter beside the weights (--adapter)"
        )
    return found


def mean_kl(host: Host, texts: Sequence[Sequence[int]], first: State, second: State) -> float:
    """Mean over the texts' tokens of KL(first || second) of what comes next, in two states of one model (nats).

    Raises UsageError when there is no token to look at.
    """
    sums, tokens = 0.0, 0
    for text in filter(None, texts):
        with first():
            one = _logprobs(host, text)
        with second():
            other = _logprobs(host, text)
        sums += float((one.exp() * (one - other)).sum())
        tokens += len(text)
    if not tokens:
        raise UsageError("comparing two states of a model needs texts, but there is no token in any")
    # Rounding can take the KL of two equal states below 0.
    return max(0.0, sums / tokens)


@contextmanager
def _swapped(weights: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Other data in some weights for a while; what they had is kept as it is and put back."""
    own = [weight.data for weight, _ in weights]
    try:
        for weight, data in weights:
            weight.data = data
        yield
    finally:
        for (weight, _), data in zip(weights, own, strict=True):
            weight.data = data


def _floating(host: Host) -> list[Tensor]:
    """Parameters and buffers that hold real numbers."""
    everything = chain(host.model.parameters(), host.model.buffers())
    return [tensor for tensor in everything if tensor.is_floating_point()]


def _logprobs(host: Host, text: Sequence[int]) -> Float[Tensor, "token vocab"]:
    with torch.inference_mode():
        logits: Tensor = host.model(input_ids=torch.tensor([[*text]], device=host.device), use_cache=False).logits
    return logits[0].float().log_softmax(-1)


def _folded(weight: Tensor, found: Factors, path: str) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        update = found.up.to(weight.device) @ found.down.to(weight.device)
        result = update.add_(weight.float()).to(weight.dtype)
    if not bool(result.isfinite().all()):
        raise RunError(f"baking must give finite weights, but {path} gets some that are not in {weight.dtype}")
    return result


def _beside(linear: nn.Linear, found: Factors, switch: Hooks) -> Callable[..., Tensor | None]:
    down, up = (factor.to(linear.weight.device) for factor in found)

    def add(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not switch.on:
            return None
        beside: Tensor = inputs[0].float() @ down.T @ up.T
        return (output.float() + beside).to(output.dtype)

    return add
