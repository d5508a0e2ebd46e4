"""Steer only where a prompt is about what the trait is about, decided once from the prompt as a whole.

    vector     = mean_i(positive_i - negative_i)                                 [dim], the behaviour
    on, off    = mean activations of prompts of the chosen topics, and of all others   [prompt dim], no persona
    condition  = first principal axis of (on, off) - middle of their two means   [dim]
    likeness   = cos(h, tanh(<h, condition> condition))                          h: a prompt's mean activation
    decide     : likeness >= threshold, or <= threshold; which of them, and the threshold, by the best F1 on (on, off)
    steer      : hidden + strength * vector at every token, where the prompt's decision was yes

Its nearest relative is `mean_mass`, which this is for prompts that meet the condition; for the others it is no steering
at all, to the bit. `cosine_gated` decides anew at every token and from the behaviour vector itself. The decision is
taken on the unedited activations of the first steered block, over all tokens of the prompt, and holds for everything
written after it. A dose is measured with the condition held open: it says what the steering does where it acts.

It fails when prompts of the chosen topics are not told apart from the others (look at the F1 it was fitted with, kept
in its state), and when what is scored is worded unlike what the condition was fitted on: whole sets then fall on one
side. It degenerates to `mean_mass` when the condition always holds.

Source: CAST 2409.05907 (condition and behaviour vector; threshold and comparison by grid search).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steerkit.contrast import Contrast, State
from steerkit.errors import RunError, UsageError
from steerkit.methods._vectors import mean_difference, pushed
from steerkit.spec import Setting

SITE = "conditional"
NOT_BAKEABLE = "whether a text is steered depends on its whole prompt, so no fixed weight holds it"


class Config(Setting, frozen=True, kw_only=True):
    """Settings of `cast`."""

    topics: tuple[str, ...] = ("ethics", "relationships", "work", "advice")
    """Categories of context messages on which to steer."""

    def __post_init__(self) -> None:
        """Raise UsageError without a topic."""
        if not self.topics or not all(self.topics):
            raise UsageError(f"topics must be names of categories, but got topics={self.topics}")


def fit(contrast: Contrast, config: Config) -> State:
    """`vector` and `condition` `[dim]`; `threshold`, `side` (+1 or -1) and the `f1` they reach `[1]`.

    Raises RunError when the poles do not differ, or there are not prompts both on and off the topics.
    """
    vector = mean_difference(contrast)
    if contrast.prompts is None:
        raise RunError("cast needs whole prompts, but the contrast has none; capture it at the method's SITE")
    wanted = torch.tensor([topic in config.topics for topic in contrast.topics], device=contrast.prompts.device)
    if wanted.all() or not wanted.any():
        raise RunError(
            f"cast needs prompts both on and off its topics {', '.join(config.topics)}, but got "
            f"{int(wanted.sum())} on and {int((~wanted).sum())} off; the contexts' topics are "
            f"{', '.join(sorted(set(contrast.topics)))}"
        )
    on, off = contrast.prompts[wanted], contrast.prompts[~wanted]
    centred = torch.cat([on, off]) - (on.mean(0) + off.mean(0)) / 2
    condition = torch.linalg.svd(centred, full_matrices=False).Vh[0].contiguous()
    return {"vector": vector, "condition": condition} | _rule(likeness(contrast.prompts, condition), wanted)


def likeness(prompts: Float[Tensor, "prompt dim"], condition: Float[Tensor, "dim"]) -> Float[Tensor, "prompt"]:
    """How much of a prompt's mean activation lies along the condition (cosine)."""
    along = (prompts @ condition)[:, None] * condition
    found: Tensor = torch.nn.functional.cosine_similarity(prompts, along.tanh(), dim=-1)
    return found


def _rule(likeness: Float[Tensor, "prompt"], wanted: Bool[Tensor, "prompt"]) -> dict[str, Tensor]:
    """The threshold and the side of it that find the wanted prompts best: halves between neighbours are tried."""
    values = likeness.sort().values
    cuts = torch.cat([values[:1], (values[1:] + values[:-1]) / 2])
    best = (-1.0, 0.0, 0.0)
    for side in (1.0, -1.0):
        for cut in cuts.tolist():
            best = max(best, (_f1(side * likeness >= side * cut, wanted), side, cut))
    return {name: likeness.new_tensor([value]) for name, value in zip(("f1", "side", "threshold"), best, strict=True)}


def _f1(found: Bool[Tensor, "prompt"], wanted: Bool[Tensor, "prompt"]) -> float:
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


def decide(prompts: Float[Tensor, "row dim"], state: State, config: Config) -> Bool[Tensor, "row"]:
    """Whether a row is steered, from the mean activation of its whole prompt."""
    found = likeness(prompts.to(state["condition"]), state["condition"])
    return state["side"] * found >= state["side"] * state["threshold"]


def step(state: State, config: Config) -> Float[Tensor, "dim"]:
    """What strength 1 adds to every token, where it acts."""
    return state["vector"]


def steer(
    hidden: Float[Tensor, "batch token dim"], state: State, strength: Float[Tensor, "batch"], config: Config
) -> Float[Tensor, "batch token dim"]:
    """Add `strength` natural steps to every token of a row; whether it acts at all was decided before."""
    return pushed(hidden, state["vector"][None, None], strength)
