"""Add the mean difference as a weight's own directions see it, where the token already speaks about it.

    U diag(sigma) V^T = weight of a Linear that writes to the residual stream   [dim mode] [mode] [mode inputs]
    x     = (hidden - bias) U / sqrt(sigma)                                     [batch token mode]
    shift = mean(x of positive) - mean(x of negative), its `rank` largest kept  [mode]
    gate  = |cos(x, shift)|                                                     [batch token], a fraction
    steer : hidden + strength * gate * (shift * sqrt(sigma)) U^T                [batch token dim], a Linear's output

Dividing by sqrt(sigma) asks for a cosine in which loud and quiet modes of the weight count alike; a gate on the
residual stream itself, as in the nearest relative `cosine_gated`, mostly hears a few massive dimensions. With all modes
kept and the gate open the push is the Linear's own share of `mean_mass`.

Steering two Linears in each block adds up: expect strengths near those of `cosine_gated`. It fails when few modes are
kept: then one sign of the strength may do nothing. Modes of a singular value of 0 are left out, because dividing by it
would make a signal of rounding; it degenerates, as an error, when the poles differ only there.

Source: https://github.com/wassname/steering-lite (sspace, an internal method there, without a paper).
"""

from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.methods._sspace import check_rank, gate, left, mode_state, push
from steerkit.methods._vectors import pushed
from steerkit.spec import Setting

SITE = "writers"
NOT_BAKEABLE = "the gate's size depends on each token's activation, so no fixed weight holds it"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `sspace`."""

    rank: int = -1
    """How many modes are kept, those in which the poles differ most; -1 keeps all."""

    def __post_init__(self) -> None:
        """Raise UsageError unless a mode is kept."""
        check_rank(self.rank)


def fit(contrast: Contrast, config: Config) -> State:
    """The kept modes and the mean difference in them.

    Raises RunError when the poles do not differ, or the contrast has no weight.
    """
    return mode_state(contrast, *left(contrast, "sspace"), config.rank)


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 would add to a token with the gate fully open."""
    return push(state)


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` times the gated push to each token of a row."""
    return pushed(hidden, gate(hidden, state) * push(state), strength)
