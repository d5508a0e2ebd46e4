"""The methods of the package steering-lite, where it is installed, as methods of ours named `lite.NAME`.

    fit    : its extract() on one site                            its state, and `unit`, `blended`, `step`
    steer  : its apply() with coeff = strength * unit             once per strength: its coefficient is one for all rows
    blended: hidden + strength * (apply(hidden) - hidden)         where its coeff = 0 is not the identity (ablations)

`unit` is the coefficient that moves the negative pole as far, on average, as the mean difference is long, so that
strength 1 means what it means elsewhere; `step` is the way that the pole moves as a whole, with that length. Nothing of
its arithmetic is repeated here, and nothing mended: what fails there fails here.

Source: https://github.com/wassname/steering-lite.
"""

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State
from steerkit.errors import RunError
from steerkit.methods._vectors import mean_difference, with_norm
from steerkit.spec import Setting

PREFIX = "lite."
PACKAGE = "steering_lite"
NOT_BAKEABLE = "it is run as steering-lite has it, which folds nothing into weights; bake our method of that idea"
OWN = ("unit", "blended", "step")
"""What the bridge keeps beside steering-lite's own state."""
UNTOUCHED = 1e-4
"""A coefficient of 0 that moves activations by less than this share of their norm is the identity, up to rounding."""
Sites = tuple[tuple[str, str], ...]
HERE = "here"
"""The name of the one Linear that it is shown."""


class LiteMethod:
    """One method of steering-lite behind our seam."""

    NOT_BAKEABLE = NOT_BAKEABLE

    def __init__(self, name: str, sites: Sites) -> None:
        package = importlib.import_module(PACKAGE)
        self._method = package.REGISTRY[name]
        self._settings = package.config._CONFIG_REGISTRY[name]
        self._name = name
        self.SITE = next((place for member, place in sites if member in vars(self._method)), "residual")
        self.Config = _config(name, self._settings)
        self.__doc__ = importlib.import_module(f"{PACKAGE}.variants.{name}").__doc__

    def fit(self, contrast: Contrast, config: Setting) -> State:
        """Its state at this site, with the unit of strength.

        Raises RunError when the poles do not differ, or steering-lite refuses.
        """
        shift = mean_difference(contrast)
        try:
            state = self._extracted(contrast, self._cfg(config, 1.0))
        except (ValueError, RuntimeError) as error:
            raise RunError(f"steering-lite's {self._name} could not be fitted: {error}") from error
        return {**state, **self._measured(contrast.negative[None], state, config, shift.norm())}

    def step(self, state: State, config: Setting) -> Float[Tensor, "dim"]:
        """The way strength 1 moves the negative pole, as long as its tokens move on average."""
        return state["step"]

    def steer(
        self,
        hidden: Float[Tensor, "batch token dim"],
        state: State,
        strength: Float[Tensor, "batch"],
        config: Setting,
    ) -> Float[Tensor, "batch token dim"]:
        """Its new activations, one group of rows per strength."""
        steered = hidden.clone()
        its = {name: tensor for name, tensor in state.items() if name not in OWN}
        blended, unit = bool(state["blended"]), float(state["unit"])
        for amount in sorted(set(strength.tolist())):
            rows = strength == amount
            if amount == 0:
                continue
            changed = self._applied(hidden[rows], its, config, None if blended else amount * unit)
            if blended:
                changed = hidden[rows] + amount * (changed - hidden[rows])
            steered[rows] = changed.to(hidden.dtype)
        return steered

    def _extracted(self, contrast: Contrast, cfg: Any) -> State:
        positive, negative = contrast.positive, contrast.negative
        with _quiet():
            if self.SITE == "writers":
                linear = _linear(_need_weight(contrast), contrast.bias)
                return dict(
                    self._method.extract({HERE: positive}, {HERE: negative}, cfg, name_to_module={HERE: linear})[HERE]
                )
            more = {"model": _reader(_need_weight(contrast))} if self.SITE == "weighted" else {}
            return dict(self._method.extract({0: positive}, {0: negative}, cfg, **more)[0])

    def _measured(self, hidden: Tensor, state: State, config: Setting, length: Tensor) -> State:
        """The unit of strength, whether it is blended in, and the step."""
        idle = self._applied(hidden, state, config, 0.0) - hidden
        blended = bool(idle.norm() > UNTOUCHED * hidden.norm())
        moved = self._applied(hidden, state, config, None if blended else 1.0) - hidden
        far = moved.norm(dim=-1).mean()
        if not (far.isfinite() and far > 0):
            raise RunError(
                f"steering-lite's {self._name} must move the activations, but moves them by {far.item()}: its settings "
                "do not fit activations of this size; change them with --set method.KEY=VALUE"
            )
        unit = torch.ones(()) if blended else length / far
        whole = moved if blended else self._applied(hidden, state, config, float(unit)) - hidden
        step = with_norm(whole[0].mean(0), whole.norm(dim=-1).mean())
        return {"unit": unit.reshape(1), "blended": torch.tensor([float(blended)]), "step": step}

    def _applied(self, hidden: Tensor, state: State, config: Setting, coefficient: float | None) -> Tensor:
        """What its apply makes of the activations; None is its own default coefficient."""
        changed: Tensor = self._method.apply(None, hidden, hidden, state, self._cfg(config, coefficient))
        return changed

    def _cfg(self, config: Setting, coefficient: float | None) -> Any:
        given = msgspec.structs.asdict(config) | {"dtype": torch.float32}
        return self._settings(**given if coefficient is None else given | {"coeff": coefficient})


@cache
def method(name: str, sites: Sites) -> LiteMethod:
    """The method `lite.NAME`; `sites`: what its class may hold, and where that makes it act."""
    return LiteMethod(name.removeprefix(PREFIX), sites)


def _config(name: str, settings: type) -> type[Setting]:
    """Its own settings, and the seed, as settings of ours; where and how strongly it acts is not among them."""
    inherited = {field.name for field in dataclasses.fields(settings.__mro__[1])} - {"seed"}
    fields = [
        (field.name, field.type, field.default) for field in dataclasses.fields(settings) if field.name not in inherited
    ]
    made: Any = msgspec.defstruct(
        "Config",
        fields,
        bases=(Setting,),
        namespace={"__doc__": f"Settings of `{PREFIX}{name}`."},
        frozen=True,
        kw_only=True,
    )
    return cast(type[Setting], made)


def _need_weight(contrast: Contrast) -> Tensor:
    if contrast.weight is None:
        raise RunError("a method that reads weights needs those at its site, but the contrast has none")
    return contrast.weight


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear.requires_grad_(False)


def _reader(root: Float[Tensor, "n dim"]) -> nn.Module:
    """A model of one block whose only Linear reads the residual stream: its Gram matrix is that of all the blocks."""
    # A square Linear would not count as a reader; a row of zeros adds nothing to the Gram matrix.
    weight = torch.cat([root, torch.zeros(1, root.shape[1])]) if root.shape[0] == root.shape[1] else root
    block, model = nn.Module(), nn.Module()
    block.add_module("reader", _linear(weight, None))
    model.layers = nn.ModuleList([block])
    model.config = _Size(root.shape[1])  # type: ignore[assignment]
    return model


@dataclasses.dataclass(frozen=True)
class _Size:
    hidden_size: int


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its progress lines, which would go to stderr between ours."""
    logger = importlib.import_module("loguru").logger
    logger.disable(PACKAGE)
    try:
        yield
    finally:
        logger.enable(PACKAGE)
