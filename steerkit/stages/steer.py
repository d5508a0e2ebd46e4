"""Fitted directions over a band of blocks, and the edits that apply them, one strength per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import State
from steerkit.errors import RunError
from steerkit.host.blocks import Condition, ConditionalEdits, Edit, Edits
from steerkit.host.places import Place, entry_block, ordered
from steerkit.plugins import Conditional, Method, brought_by, load_method


@dataclass(frozen=True)
class Fitted:
    """A method fitted at every place of its site."""

    direction_id: str
    method: str
    kind: str
    config: Any
    states: dict[Place, State]
    made_here: bool = True
    """False for one that was made elsewhere: fitting again on half of the contexts says nothing of it."""


Plan = Sequence[tuple[Fitted, Float[Tensor, "row"]]]
"""Which direction acts on which planned row, and how strongly; 0 leaves the row alone, to the bit."""


def edits(plan: Plan) -> Edits:
    """Place to the edit of what is there; under the condition of a method that decides on the whole prompt."""
    conditional = [(fitted, strengths) for fitted, strengths in plan if isinstance(_method(fitted), Conditional)]
    found = held_open(plan)
    return ConditionalEdits(found, _condition(conditional)) if conditional else found


def held_open(plan: Plan) -> Edits:
    """The same, as if every prompt met the condition: what the steering does where it acts."""
    places = ordered({place for fitted, _ in plan for place in fitted.states})
    return {place: _edit(place, [(f, s) for f, s in plan if place in f.states]) for place in places}


def _method(fitted: Fitted) -> Method:
    return load_method(fitted.method)


def _condition(plan: Plan) -> Condition:
    """Rows that a conditional direction would steer are edited where its first block says so; all others are."""
    first = min(entry_block(fitted.states) for fitted, _ in plan)

    def decide(means: Tensor, rows: Tensor) -> Tensor:
        met = torch.ones(len(rows), dtype=torch.bool)
        for fitted, strengths in plan:
            method = _method(fitted)
            assert isinstance(method, Conditional)
            said = method.decide(means, fitted.states[first], fitted.config).cpu()
            met &= said | (strengths[rows] == 0)
        return met

    return Condition(first, decide)


def uniform(fitted: Fitted, strength: float) -> Edits:
    """The same strength on every row."""
    return edits([(fitted, torch.tensor([strength]))])


def _edit(place: Place, plan: Plan) -> Edit:
    # Finding a plugin reads the disk, so each is found once here rather than at every token.
    methods = {name: load_method(name) for name in {fitted.method for fitted, _ in plan}}

    def apply(hidden: Tensor, rows: Tensor, scale: Tensor | None) -> Tensor:
        for fitted, strengths in plan:
            now = strengths if scale is None else strengths * scale
            hidden = _steered(hidden, fitted, methods[fitted.method], now[rows], place)
        return hidden

    return apply


def _steered(hidden: Tensor, fitted: Fitted, method: Method, strength: Tensor, place: Place) -> Tensor:
    """Steer the rows whose strength is not 0; the others are not touched."""
    active = strength != 0
    if not active.any():
        return hidden
    steer, state = method.steer, fitted.states[place]
    if active.all():
        return _sound(fitted.method, hidden, steer(hidden, state, strength.to(hidden.device), fitted.config))
    changed, before = hidden.clone(), hidden[active]
    after = steer(before, state, strength[active].to(hidden.device), fitted.config)
    changed[active] = _sound(fitted.method, before, after)
    return changed


def _sound(method: str, before: Tensor, after: Any) -> Tensor:
    """What a method returned.

    Raises RunError, naming the package it came with, for anything but activations of that shape and dtype, or a NaN.
    """
    wanted = (tuple(before.shape), before.dtype)
    found = (tuple(after.shape), after.dtype) if isinstance(after, Tensor) else type(after).__name__
    if found != wanted:
        raise RunError(
            f"steer() of {method!r} ({brought_by(method)}) must return activations of shape and dtype {wanted}, but "
            f"returned {found}; MethodContract in steerkit.testing shows where"
        )
    changed: Tensor = after
    if changed.isnan().any() and not before.isnan().any():
        raise RunError(
            f"steer() of {method!r} ({brought_by(method)}) must give finite activations, but gave "
            f"{int(changed.isnan().sum())} NaN; use another method, or other settings of it"
        )
    return changed
