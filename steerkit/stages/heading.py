"""Where fitted directions point, over all steered blocks at once: the cosine of two, and one projected on another.

cosine  = <a, b> / (|a| |b|)    a, b: what strength 1 adds at every block, concatenated
project : at each block, (a . u) u, where u is the unit vector of b's step there
"""

from dataclasses import replace

import torch
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.host.places import Place, ordered
from steerkit.stages.fit import place_steps
from steerkit.stages.steer import Fitted


def cosine_between(one: Fitted, other: Fitted) -> float:
    """Cosine between two directions over the same blocks.

    Raises RunError for directions of different blocks.
    """
    first, second = (_step_vectors(fitted) for fitted in (one, other))
    if first.keys() != second.keys():
        named = [", ".join(map(str, ordered(found))) for found in (first, second)]
        raise RunError(f"directions must steer the same blocks, but got [{named[0]}] and [{named[1]}]")
    one_step, other_step = (torch.cat([found[place] for place in ordered(found)]) for found in (first, second))
    return float(torch.nn.functional.cosine_similarity(one_step, other_step, dim=0))


def projected(fitted: Fitted, onto: Fitted) -> Fitted:
    """What of a direction lies along another, block by block.

    Raises UsageError for a method whose state is more than one vector.
    """
    axes = _step_vectors(onto)
    states = {}
    for block, state in fitted.states.items():
        if set(state) != {"vector"}:
            raise UsageError(
                f"--direction project needs a method that learns one vector, but {fitted.method!r} learns "
                f"{', '.join(sorted(state))}; use --direction first, or mean_mass"
            )
        vector = state["vector"]
        axis = (axes[block] / axes[block].norm()).to(vector)
        states[block] = {"vector": (vector @ axis) * axis}
    return replace(fitted, states=states)


def _step_vectors(fitted: Fitted) -> dict[Place, Tensor]:
    """What strength 1 adds at each place, float32, on the processor."""
    return {place: step.float().cpu() for place, step in place_steps(fitted).items()}
