"""Fit a method, and the null directions it must beat, on captured contrasts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import torch
from msgspec.structs import replace as replace_fields
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.errors import RunError
from steerkit.host.places import ENTRANCE, Place, block_of, ordered, place_of
from steerkit.plugins import brought_by, load_method
from steerkit.records import Direction, DirectionLayer, Record
from steerkit.spec import canonical, digest
from steerkit.stages.capture import Captured
from steerkit.stages.steer import Fitted

ASIDE = 500
"""How far apart the seeds are of a null direction and of the one that its pairs scatter along."""
SCATTER = 0.1
"""How much they scatter, relative to the null direction (fraction)."""
EVEN, ODD = slice(0, None, 2), slice(1, None, 2)


def fit(captured: Captured, method: str, config: Any, run: str) -> Fitted:
    """The method's own direction at every captured place."""
    return _fitted(captured.contrasts, method, config, "real", digest(run, method, "real"))


def nulls(captured: Captured, method: str, config: Any, run: str, kind: str, seeds: range) -> list[Fitted]:
    """The same method on contrasts whose every pair differs by a null direction: 'random' or 'shuffled', one per seed.

    The direction comes from `methods.null`, never from the method's own fit on shuffled labels: exchanging the sides of
    pairs leaves the singular vectors of their differences as they are, so `svd` would find the true axis again.
    """
    return [
        _fitted(
            _emptied(captured.contrasts, kind, seed),
            method,
            # The method `null` learns only a contrast's norm: other null directions are other seeds of it.
            replace_fields(config, seed=config.seed + 1 + seed) if method == "null" else config,
            kind,
            digest(run, method, kind, seed),
        )
        for seed in seeds
    ]


def _emptied(contrasts: Mapping[Place, Contrast], kind: str, seed: int) -> dict[Place, Contrast]:
    """Every contrast emptied with a seed of its own; places that share one go on sharing one."""
    made = {
        id(contrasts[place]): _empty(contrasts[place], kind, seed * 1000 + _number(place))
        for place in distinct(contrasts)
    }
    return {place: made[id(contrast)] for place, contrast in contrasts.items()}


def _number(place: Place) -> int:
    """A number that tells a place from the others."""
    return place if isinstance(place, int) else 1000 + int(digest(str(place)), 16) % 10**9 * 1000


def distinct(contrasts: Mapping[Place, Contrast]) -> list[Place]:
    """The first place of each contrast."""
    first: dict[int, Place] = {}
    for place, contrast in contrasts.items():
        first.setdefault(id(contrast), place)
    return list(first.values())


def _empty(contrast: Contrast, kind: str, seed: int) -> Contrast:
    """The contrast with its signal replaced by a null direction of the same norm.

    Pairs keep their own sizes along it, and scatter a little along a second such direction, without moving the mean:
    methods that look at how pairs vary need them to.
    """
    null = load_method("null")
    config = null.Config(kind={"random": "random", "shuffled": "label-shuffled"}[kind], seed=seed)
    vector = null.step(null.fit(contrast, config), config)
    aside = null.Config(kind="random", seed=seed + ASIDE)
    other = null.step(null.fit(contrast, aside), aside)
    differences = contrast.positive - contrast.negative
    shift = differences.mean(0)
    sizes = differences @ shift / shift.square().sum()
    scatter = torch.randn(len(sizes), generator=torch.Generator().manual_seed(seed))
    scatter = SCATTER * (scatter - scatter.mean())
    return replace(contrast, positive=contrast.negative + sizes[:, None] * vector + scatter[:, None] * other)


def layers(captured: Captured, fitted: Fitted, run: str, unit: str) -> list[DirectionLayer]:
    """Norm and half-split cosine of a direction at every block, over all its places there, each contrast once.

    The cosine is measured for real directions only, and not where half of the contexts are too few to fit on.
    """
    by_block: dict[int, list[Place]] = {}
    for place in distinct({place: c for place, c in captured.contrasts.items() if place in fitted.states}):
        by_block.setdefault(block_of(place), []).append(place)
    added = place_steps(fitted)
    found = []
    for block, places in by_block.items():
        norm = float(torch.cat([added[place] for place in places]).norm())
        size = math.hypot(*(captured.residual_norm[place] for place in places))
        contrasts = [captured.contrasts[place] for place in places]
        measured = fitted.kind == "real" and fitted.made_here
        found.append(
            DirectionLayer(
                run_id=run,
                unit_id=unit,
                direction_id=fitted.direction_id,
                block=block,
                norm=norm,
                relative_norm=norm / size,
                half_split_cosine=_half_split(contrasts, fitted) if measured else None,
            )
        )
    return found


def kept(captured: Captured, fitted: Fitted, artifact: str, run: str, unit: str) -> list[Record]:
    """A fitted direction as records: itself, whose tensors are kept under `artifact`, and its quality per block."""
    direction = Direction(
        run_id=run,
        unit_id=unit,
        direction_id=fitted.direction_id,
        method=fitted.method,
        kind=fitted.kind,  # type: ignore[arg-type]
        config=canonical(fitted.config),
        artifact=artifact,
        extraction=canonical(msgspec.to_builtins(captured.extraction)),
    )
    return [direction, *layers(captured, fitted, run, unit)]


def place_steps(fitted: Fitted) -> dict[Place, Tensor]:
    """What strength 1 adds at each place, `[dim]`."""
    method = load_method(fitted.method)
    return {place: method.step(state, fitted.config) for place, state in fitted.states.items()}


def steps(fitted: Fitted) -> dict[int, Tensor]:
    """What strength 1 adds at each block, `[dim]`: to what it writes; for a method that acts inside, in sum there."""
    added = place_steps(fitted)
    whole = {place: step for place, step in added.items() if isinstance(place, int) and place != ENTRANCE}
    inside: dict[int, Tensor] = {}
    for place, step in added.items():
        if not isinstance(place, int):
            inside[place.block] = inside[place.block] + step if place.block in inside else step
    return dict(sorted((whole or inside).items()))


def mean_norm(fitted: Fitted) -> float:
    """Mean norm of the natural step over the band (residual units)."""
    return float(torch.stack([step.norm() for step in steps(fitted).values()]).mean())


def tensors(fitted: Fitted) -> dict[str, Tensor]:
    """The states as one flat name to tensor mapping, for safetensors, which takes no two names for one tensor."""
    return {f"{place}.{name}": value.clone() for place, state in fitted.states.items() for name, value in state.items()}


def states(flat: dict[str, Tensor]) -> dict[Place, State]:
    """The states back from their flat form."""
    found: dict[Place, State] = {}
    for key, value in flat.items():
        place, _, name = key.rpartition(".")
        found.setdefault(place_of(place), {})[name] = value
    return {place: found[place] for place in ordered(found)}


def _fitted(contrasts: dict[Place, Contrast], method: str, config: Any, kind: str, name: str) -> Fitted:
    fit_one = load_method(method).fit
    made = {
        id(contrasts[place]): _sound(method, fit_one(contrasts[place], config), config, contrasts[place])
        for place in distinct(contrasts)
    }
    return Fitted(name, method, kind, config, {place: made[id(contrast)] for place, contrast in contrasts.items()})


def _sound(method: str, state: Any, config: Any, contrast: Contrast) -> State:
    """What a method learned.

    Raises RunError, naming the package it came with, unless it is finite tensors by name, with a finite step of the
    site's dimension.
    """
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not all(value.isfinite().all() for value in state.values()):
        raise RunError(
            f"fit() of {method!r} ({brought_by(method)}) must return finite tensors by name, but got {_shapes(state)}"
        )
    step: Any = load_method(method).step(state, config)
    width = contrast.positive.shape[1]
    if not isinstance(step, Tensor) or tuple(step.shape) != (width,) or not step.isfinite().all():
        raise RunError(
            f"step() of {method!r} ({brought_by(method)}) must return a finite vector of length {width}, but got "
            f"{_shapes(step)}"
        )
    learned: State = state
    return learned


def _shapes(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shapes(part)}" for name, part in value.items()) + "}"
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)}{'' if value.isfinite().all() else ' with a NaN or infinity'}"


def _half_split(contrasts: Sequence[Contrast], fitted: Fitted) -> float | None:
    """Cosine between the directions of the even and the odd contexts; None where either half is too few to fit on."""
    try:
        halves = [torch.cat([_part_step(c, part, fitted) for c in contrasts]) for part in (EVEN, ODD)]
    except RunError:
        return None
    return float(torch.nn.functional.cosine_similarity(halves[0], halves[1], dim=0))


def _part_step(contrast: Contrast, part: slice, fitted: Fitted) -> Tensor:
    method = load_method(fitted.method)
    own = replace(contrast, positive=contrast.positive[part], negative=contrast.negative[part])
    return method.step(method.fit(own, fitted.config), fitted.config)
