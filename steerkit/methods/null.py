"""Add a direction that cannot carry the trait, as large as the one that might: the control for every other method.

    random         : vector = |shift| * unit(normal(seed))        [dim], shift = mean of (positive - negative)
    label-shuffled : vector = |shift| * unit(mean of the differences, half of them with their sides exchanged)
    steer          : hidden + strength * vector                   [batch token dim]

Its nearest relative is `mean_mass`, with which it shares the norm, so that only the direction differs. A random
direction asks what any push of this size does; a shuffled one asks the same of a push within the space that these
activations span, which disturbs a model more.

Random degenerates in few dimensions, where any two directions are alike. Shuffled fails on one pair (nothing to
shuffle) and keeps 1/n of the shift when the number of pairs n is odd; when all pairs differ by exactly the same
vector nothing is left (an error).

Source: Hewitt & Liang 1909.03368 (control tasks); norm-matched random directions: common practice.
"""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit, label_shuffled, random_direction
from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import mean_difference, pushed, with_norm
from steerkit.spec import Setting

SITE = "residual"
NULL = True
Kind = Literal["random", "label-shuffled"]


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `null`."""

    kind: Kind = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown kind or a negative seed."""
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind must be one of {', '.join(get_args(Kind))}, but got kind={self.kind!r}")
        if self.seed < 0:
            raise UsageError(f"seed must be at least 0, but got seed={self.seed}")


def fit(contrast: Contrast, config: Config) -> State:
    """A trait-free direction: `vector` `[dim]`, of the true mean difference's norm.

    Raises RunError when the poles do not differ, or shuffling leaves no difference or has nothing to shuffle.
    """
    norm = mean_difference(contrast).norm()
    if config.kind == "random":
        return {"vector": with_norm(mean_difference(random_direction(contrast, config.seed)), norm)}
    if len(contrast.positive) < 2:
        raise RunError("shuffling labels needs at least 2 pairs, but got 1; add contexts")
    return {"vector": with_norm(mean_difference(label_shuffled(contrast, config.seed)), norm)}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to every token."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` natural steps to every token of a row."""
    return pushed(hidden, state["vector"][None, None], strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same push as a bias on what the block writes."""
    return WeightEdit(bias=strength * state["vector"])
