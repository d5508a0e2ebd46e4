"""Take each token's part along the mean difference away at some blocks, and put a chosen one in its place.

    unit  = unit(mean_i(positive_i - negative_i))                                           [dim]
    steer : hidden - min(|strength|, 1) * (hidden . unit) unit + strength * |shift| * unit  [batch token dim]

From strength 1 on, every token has the same part along the direction, strength times the mean difference's norm; below,
a share of its own part remains, so that strength can go to 0 without a jump. Its nearest relatives are `mean_mass`,
which adds and leaves what was there, and `directional_ablation`, which does this with one direction in the whole model.

It fails when the direction also carries something that every token needs (a massive dimension): ablating it then breaks
the model at any strength, and strengths of both signs do the same. It degenerates to `mean_mass` for tokens that have
nothing along the direction.

Source: Refusal direction 2406.11717 (directional ablation, there at every block); the added part: CAA 2312.06681.
"""

from jaxtyping import Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.methods._vectors import ablated, mean_difference
from steerkit.spec import Setting

SITE = "residual"
NOT_BAKEABLE = (
    "it also takes away what earlier blocks wrote, and weights of these blocks change only what they write "
    "themselves; use directional_ablation"
)


class Config(Setting, frozen=True, kw_only=True):
    """`local_ablation` has no settings."""


def fit(contrast: Contrast, config: Config) -> State:
    """The mean difference: `vector` `[dim]`.

    Raises RunError when the poles do not differ.
    """
    return {"vector": mean_difference(contrast)}


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 puts in place of what it takes."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Ablate a share of the part along the vector, all of it from strength 1 on, and add `strength` vectors."""
    return ablated(hidden, state["vector"], strength, strength.abs().clamp(max=1))
