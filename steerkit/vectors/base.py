"""A steering vector on its own: how it acts, its tensors, and what is known of the model it was made on."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import State
from steerkit.errors import UsageError
from steerkit.host.places import Place, block_of
from steerkit.plugins import load_method
from steerkit.stages.steer import Fitted

IMPORTED = "imported"
"""The method of a vector that says nothing but what to add."""


@dataclass(frozen=True)
class Vector:
    """A fitted method that travels.

    `form`: the format it came in. `states`: by block, named tensors. `model`, `model_type`, `fingerprint`, `dtype`,
    `depth`: the model it was made on, as far as known; what is empty or None is not checked. `origin`: all else that is
    known of where it comes from.
    """

    form: str
    method: str
    config: dict[str, Any]
    states: dict[Place, State]
    model: str = ""
    model_type: str = ""
    fingerprint: str = ""
    dtype: str = ""
    depth: int | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> Any:
        """The method's validated settings.

        Raises UsageError for a method that is not installed, or settings that it does not have.
        """
        import msgspec

        try:
            return msgspec.convert(self.config, load_method(self.method).Config)
        except msgspec.ValidationError as error:
            raise UsageError(f"the vector's settings must be those of {self.method!r}, but: {error}") from error

    def fitted(self, name: str) -> Fitted:
        """It as a direction of that id, ready to steer."""
        return Fitted(name, self.method, "real", self.settings(), self.states, made_here=False)

    def width(self) -> int:
        """Its dimension."""
        method, settings = load_method(self.method), self.settings()
        return len(method.step(next(iter(self.states.values())), settings))

    def anonymous(self) -> "Vector":
        """The same vector, which no longer says what model it was made on."""
        return replace(self, model="", model_type="", fingerprint="", dtype="", depth=None)


def added(vector: Vector) -> dict[int, Float[Tensor, "dim"]]:
    """What strength 1 adds at each block, for a vector that does nothing but add.

    Raises UsageError for a method whose effect depends on the activation, or that acts elsewhere.
    """
    method, config = load_method(vector.method), vector.settings()
    steps = {block_of(place): method.step(state, config).float() for place, state in vector.states.items()}
    for block, step in steps.items():
        if method.SITE != "residual" or not _only_adds(vector, block, step):
            raise UsageError(
                f"this format holds one vector per block to add, but what {vector.method!r} does depends on the "
                "activation; write it --to safetensors"
            )
    return steps


def _only_adds(vector: Vector, block: int, step: Tensor) -> bool:
    """Whether two activations, at two strengths, are moved by exactly the step times the strength."""
    method, config, state = load_method(vector.method), vector.settings(), vector.states[block]
    hidden = torch.zeros(2, 2, len(step))
    hidden[:, 1] = torch.linspace(-1, 1, len(step))
    strength = torch.tensor([1.0, -0.5])
    moved = method.steer(hidden, state, strength, config) - hidden
    return torch.allclose(moved, (strength[:, None, None] * step).expand_as(moved), rtol=1e-4, atol=1e-6)


def vectors_of(steps: dict[int, Tensor]) -> dict[Place, State]:
    """States of the method `imported`.

    Raises UsageError for vectors of different lengths, none at all, or one that is not finite or zero.
    """
    if not steps:
        raise UsageError("a vector file must hold a vector for at least one block, but holds none")
    shapes = {tuple(step.shape) for step in steps.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise UsageError(f"all blocks' vectors must have one length, but got the shapes {sorted(shapes)}")
    for block, step in steps.items():
        if not step.isfinite().all() or not step.any():
            raise UsageError(f"every vector must be finite and not zero, but that of block {block} is not")
    return {block: {"vector": steps[block].float().contiguous()} for block in sorted(steps)}
