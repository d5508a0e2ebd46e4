"""The gradients of objective and barrier over a step's passes, and how the learning rate runs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from steerkit.stages._heal_passes import Losses, joined


class Gradients:
    """Sums over passes; objective and barrier are kept apart where `apart` says so and the barrier is not silent."""

    def __init__(self, parameters: Sequence[Tensor], *, apart: bool) -> None:
        self.parameters, self.apart = parameters, apart
        self.fired = False
        self.barrier = 0.0
        self._losses: list[Losses] = []
        self._objective: list[Tensor] = []
        self._constraint: list[Tensor] = []

    def add(self, losses: Losses, objective: Tensor, barrier: Tensor) -> None:
        """Take a pass's gradients; a silent barrier's is 0, and nothing is spent on it."""
        self._losses.append(Losses(losses.nll.detach(), losses.apart.detach()))
        if not barrier.detach() > 0:
            self._objective = _sum(self._objective, self._of(objective))
            return
        self.fired = True
        self.barrier += float(barrier.detach())
        if self.apart:
            self._objective = _sum(self._objective, self._of(objective, again=True))
            self._constraint = _sum(self._constraint, self._of(barrier))
        else:
            self._objective = _sum(self._objective, self._of(objective + barrier))

    def _of(self, loss: Tensor, *, again: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, self.parameters, retain_graph=again)

    @property
    def losses(self) -> Losses:
        """Of all texts of the step."""
        return joined(self._losses)

    def norms(self) -> tuple[float | None, float | None]:
        """Of the objective's gradient and of the barrier's; None where it was only seen in their sum."""
        if not self.fired:
            return _norm(self._objective), 0.0
        return (_norm(self._objective), _norm(self._constraint)) if self.apart else (None, None)

    def total(self) -> list[Tensor]:
        """The gradient of their sum, which may be changed."""
        return _sum(self._objective, self._constraint) if self._constraint else self._objective


def rate_share(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at a step, counted from 1: a linear rise, then a cosine towards 0."""
    rising = int(warm_up * steps)
    if step <= rising:
        return step / (rising + 1)
    return (1 + math.cos(math.pi * (step - 1 - rising) / (steps - rising))) / 2


def _sum(left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(left, right, strict=True)] if left else list(right)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(tensors))
