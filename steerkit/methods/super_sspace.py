"""Add the mean difference as all the steered blocks' weights together see it, where the token speaks about it.

    gram  = sum of W'W over Linears that read the residual stream + sum of WW' over those that write to it   [dim dim]
    U diag(sigma^2) U^T = gram                                            [dim mode] [mode]
    x     = hidden U / sqrt(sigma)                                        [batch token mode]
    shift = mean(x of positive) - mean(x of negative), its `rank` largest kept
    gate  = |cos(x, shift)|                                               [batch token], a fraction
    steer : hidden + strength * gate * (shift * sqrt(sigma)) U^T          [batch token dim], hidden the residual stream

The basis is one for all steered blocks; the shift is each block's own. Its nearest relative is `sspace`, which has a
basis per Linear and acts on what that Linear writes. Square Linears are not counted: nothing tells whether they read or
write.

It must keep all modes: with few it fails, because what the blocks use most is not what tells the poles apart. It
degenerates to `cosine_gated` when the gram matrix is a multiple of the identity.

Source: https://github.com/wassname/steering-lite (super_sspace, an internal method there, without a paper).
"""

from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.methods._sspace import check_rank, gate, mode_state, push, right
from steerkit.methods._vectors import pushed
from steerkit.spec import Setting

SITE = "weighted"
NOT_BAKEABLE = "the gate's size depends on each token's activation, so no fixed weight holds it"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `super_sspace`."""

    rank: int = -1
    """How many modes are kept, those in which the poles differ most; -1 keeps all."""

    def __post_init__(self) -> None:
        """Raise UsageError unless a mode is kept."""
        check_rank(self.rank)


def fit(contrast: Contrast, config: Config) -> State:
    """The kept modes and the mean difference in them.

    Raises RunError when the poles do not differ, or the contrast has no weight.
    """
    return mode_state(contrast, *right(contrast, "super_sspace"), config.rank)


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 would add to a token with the gate fully open."""
    return push(state)


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` times the gated push to each token of a row."""
    return pushed(hidden, gate(hidden, state) * push(state), strength)
