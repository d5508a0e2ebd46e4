"""Fit a method, and the null directions it must beat, on captured contrasts."""

from dataclasses import replace
from typing import Any

import torch
from msgspec.structs import replace as replace_fields
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.plugins import load_method
from steerkit.records import DirectionLayer
from steerkit.spec import digest
from steerkit.stages.capture import Captured
from steerkit.stages.steer import Fitted


def fit(captured: Captured, method: str, config: Any, run: str) -> Fitted:
    """The method's own direction at every captured block."""
    return _fitted(captured.contrasts, method, config, "real", digest(run, method, "real"))


def nulls(captured: Captured, method: str, config: Any, run: str, kind: str, seeds: range) -> list[Fitted]:
    """The same method on contrasts whose every pair differs by a null direction: 'random' or 'shuffled', one per seed.

    The direction comes from `methods.null`, never from the method's own fit on shuffled labels: exchanging the sides of
    pairs leaves the singular vectors of their differences as they are, so `svd` would find the true axis again.
    """
    return [
        _fitted(
            {block: _empty(contrast, kind, seed * 1000 + block) for block, contrast in captured.contrasts.items()},
            method,
            # The method `null` learns only a contrast's norm: other null directions are other seeds of it.
            replace_fields(config, seed=config.seed + 1 + seed) if method == "null" else config,
            kind,
            digest(run, method, kind, seed),
        )
        for seed in seeds
    ]


def _empty(contrast: Contrast, kind: str, seed: int) -> Contrast:
    """The contrast with its signal replaced by a null direction of the same norm."""
    null = load_method("null")
    config = null.Config(kind={"random": "random", "shuffled": "label-shuffled"}[kind], seed=seed)
    return replace(contrast, positive=contrast.negative + null.step(null.fit(contrast, config), config))


def layers(captured: Captured, fitted: Fitted, run: str, unit: str) -> list[DirectionLayer]:
    """Norm and half-split cosine of a direction at every block; the cosine is measured for real directions only."""
    return [
        DirectionLayer(
            run_id=run,
            unit_id=unit,
            direction_id=fitted.direction_id,
            block=block,
            norm=float(step.norm()),
            relative_norm=float(step.norm()) / captured.residual_norm[block],
            half_split_cosine=_half_split(captured.contrasts[block], fitted)
            if fitted.kind == "real" and fitted.made_here
            else None,
        )
        for block, step in steps(fitted).items()
    ]


def steps(fitted: Fitted) -> dict[int, Tensor]:
    """What strength 1 adds to the residual stream at each block, `[dim]`."""
    method = load_method(fitted.method)
    return {block: method.step(state, fitted.config) for block, state in fitted.states.items()}


def mean_norm(fitted: Fitted) -> float:
    """Mean norm of the natural step over the band (residual units)."""
    return float(torch.stack([step.norm() for step in steps(fitted).values()]).mean())


def tensors(fitted: Fitted) -> dict[str, Tensor]:
    """The states as one flat name to tensor mapping, for safetensors."""
    return {f"{block}.{name}": value for block, state in fitted.states.items() for name, value in state.items()}


def states(flat: dict[str, Tensor]) -> dict[int, State]:
    """The states back from their flat form."""
    found: dict[int, State] = {}
    for key, value in flat.items():
        block, name = key.split(".", 1)
        found.setdefault(int(block), {})[name] = value
    return dict(sorted(found.items()))


def _fitted(contrasts: dict[int, Contrast], method: str, config: Any, kind: str, name: str) -> Fitted:
    fit_one = load_method(method).fit
    return Fitted(name, method, kind, config, {block: fit_one(c, config) for block, c in contrasts.items()})


def _half_split(contrast: Contrast, fitted: Fitted) -> float:
    """Cosine between the directions of the even and the odd contexts."""
    method = load_method(fitted.method)
    halves = [
        method.step(
            method.fit(
                replace(contrast, positive=contrast.positive[part], negative=contrast.negative[part]), fitted.config
            ),
            fitted.config,
        )
        for part in (slice(0, None, 2), slice(1, None, 2))
    ]
    return float(torch.nn.functional.cosine_similarity(halves[0], halves[1], dim=0))
