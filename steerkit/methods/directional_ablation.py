"""Take one direction out of the residual stream everywhere, and set a chosen part along it instead.

    unit  = unit(mean_i(positive_i - negative_i)) at the middle of the steered blocks              [dim]
    steer : hidden - (hidden . unit) unit + strength * |shift| * unit, wherever the stream is read [batch token dim]
    bake  : W <- (I - unit unit') W and b <- (I - unit unit') b for all that writes to the stream; the chosen part goes
            into the embedding

The same direction is removed from what enters the first block, from what each block's second half reads, and from what
each block hands on: it is nowhere to be read. Its nearest relative is `local_ablation`, which acts at some blocks with
a direction of each. All of it is removed at any strength but 0: removing a share again and again in every block would
leave nothing anyway, and no weights do the same. A dose below that of the removal is therefore out of reach.

It fails when the direction also carries what every token needs: both signs of the strength then break the model alike.
It degenerates, as an error, when the poles do not differ. On blocks that normalise what they write no weights hold it.

Source: Refusal direction 2406.11717 (directional ablation at every block, and its folding into weights).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steerkit.contrast import Contrast, State, WeightEdit
from steerkit.methods._vectors import ablated, mean_difference
from steerkit.spec import Setting

SITE = "everywhere"


class Config(Setting, frozen=True, kw_only=True):
    """`directional_ablation` has no settings."""


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
    """Set each token's part along the vector to `strength` vectors."""
    return ablated(hidden, state["vector"], strength, torch.ones_like(strength))


def bake(state: State, strength: float, block: nn.Module, config: Config) -> WeightEdit:
    """The same map of the stream: the part along the vector goes, `strength` vectors come; at strength 0, nothing."""
    vector = state["vector"]
    identity = torch.eye(len(vector), dtype=vector.dtype, device=vector.device)
    if strength == 0:
        return WeightEdit(bias=torch.zeros_like(vector), matrix=identity)
    unit = vector / vector.norm()
    return WeightEdit(bias=strength * vector, matrix=identity - torch.outer(unit, unit))
