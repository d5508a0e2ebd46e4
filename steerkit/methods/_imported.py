"""Add a vector that was made elsewhere.

    steer  : hidden + strength * vector                           [batch token dim], vector [dim] from a file

It is not fitted and therefore not listed: it comes with a file, `steerkit gate1 --vector FILE`. Its nearest relative is
`mean_mass`, which is what `fit` gives: only its null directions are fitted, and they need no more than a norm.

It fails when the file was made for another model: dimensions may agree by chance, and the vector then means nothing.

Source: the formats: llama.cpp and https://github.com/vgel/repeng (control vectors).
"""

from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "residual"


class Config(Setting, frozen=True, kw_only=True):
    """`imported` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The mean difference: `vector` `[dim]`.

    Raises RunError when the poles do not differ.
    """
    return {"vector": mean_difference(contrast)}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to every token."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` vectors to every token of a row."""
    return pushed(hidden, state["vector"][None, None], strength)


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same push as a bias on what the block writes."""
    return WeightEdit(bias=strength * state["vector"])
