"""Fitted directions over a band of blocks, and the edits that apply them, one strength per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import State
from steerkit.host.blocks import Edit, Edits
from steerkit.plugins import Method, load_method


@dataclass(frozen=True)
class Fitted:
    """A method fitted at every block of a band."""

    direction_id: str
    method: str
    kind: str
    config: Any
    states: dict[int, State]
    made_here: bool = True
    """False for one that was made elsewhere: fitting again on half of the contexts says nothing of it."""


Plan = Sequence[tuple[Fitted, Float[Tensor, "row"]]]
"""Which direction acts on which planned row, and how strongly; 0 leaves the row alone, to the bit."""


def edits(plan: Plan) -> Edits:
    """Block number to the edit of that block's output."""
    blocks = sorted({block for fitted, _ in plan for block in fitted.states})
    return {block: _edit(block, [(f, s) for f, s in plan if block in f.states]) for block in blocks}


def uniform(fitted: Fitted, strength: float) -> Edits:
    """The same strength on every row."""
    return edits([(fitted, torch.tensor([strength]))])


def _edit(block: int, plan: Plan) -> Edit:
    # Finding a plugin reads the disk, so each is found once here rather than at every token.
    methods = {name: load_method(name) for name in {fitted.method for fitted, _ in plan}}

    def apply(hidden: Tensor, rows: Tensor, scale: Tensor | None) -> Tensor:
        for fitted, strengths in plan:
            now = strengths if scale is None else strengths * scale
            hidden = _steered(hidden, fitted, methods[fitted.method], now[rows], block)
        return hidden

    return apply


def _steered(hidden: Tensor, fitted: Fitted, method: Method, strength: Tensor, block: int) -> Tensor:
    """Steer the rows whose strength is not 0; the others are not touched."""
    active = strength != 0
    if not active.any():
        return hidden
    steer, state = method.steer, fitted.states[block]
    if active.all():
        return _as_tensor(steer(hidden, state, strength.to(hidden.device), fitted.config))
    changed = hidden.clone()
    changed[active] = steer(hidden[active], state, strength[active].to(hidden.device), fitted.config)
    return changed


def _as_tensor(value: Any) -> Tensor:
    tensor: Tensor = value
    return tensor
