"""What a run of gate 3 was asked to do: how adapters are trained, and which ones."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from steerkit.errors import UsageError
from steerkit.spec import Setting

Divergence = Literal["none", "reverse-kl", "forward-kl", "js"]
Aggregate = Literal["mean", "rmse", "p95", "max"]
Reference = Literal["base", "previous"]
Control = Literal["unsteered", "random", "persona"]
CONTROLS: tuple[Control, ...] = ("unsteered", "random", "persona")


def _above(setting: Setting, low: int, *names: str) -> None:
    for name in names:
        if not (math.isfinite(getattr(setting, name)) and getattr(setting, name) > low):
            raise UsageError(f"heal.{name} must be above {low:g}, but got {getattr(setting, name)}")


def _at_least(setting: Setting, low: int, *names: str) -> None:
    for name in names:
        if not (math.isfinite(getattr(setting, name)) and getattr(setting, name) >= low):
            raise UsageError(f"heal.{name} must be at least {low:g}, but got {getattr(setting, name)}")


class HealSpec(Setting, frozen=True, kw_only=True):
    """How an adapter is trained: one objective, one constraint, and what keeps weights small.

    loss = NLL + lam * relu(D - tau) + spectral * mean over Linears of the update's largest singular value
    """

    divergence: Divergence = "reverse-kl"
    """D per position: KL(student || reference), KL(reference || student), Jensen-Shannon, or no constraint."""
    aggregate: Aggregate = "rmse"
    """How a sequence's positions become one number, before the mean over sequences."""
    reference: Reference = "previous"
    """Whom D is measured from: the model without any adapter, or with all but the new one."""
    lam: float = 0.3
    """Weight of the barrier."""
    tau: str = "q50"
    """Where the barrier begins: nats, or 'q50' for that percentile of D seen in training without a constraint."""
    weight_decay: float = 0.0
    """AdamW's decoupled decay."""
    spectral: float = 0.0
    """Weight of the spectral penalty."""
    rank: int = 16
    alpha: float = 32.0
    band: tuple[float, float] = (0.2, 0.8)
    """Trained blocks as fractions of depth: int(low * blocks) to int(high * blocks) - 1."""
    learning_rate: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging; a round has too few steps for 0.999."""
    epochs: int = 3
    batch: int = 2
    """Texts per optimiser step; 8 are too few steps for a round's texts to be learned."""
    row_tokens: int = 2048
    """Padded tokens per pass; a step's passes are accumulated."""
    warm_up: float = 0.1
    """Share of the steps over which the learning rate rises; then it falls as a cosine."""
    clip: float = 1.0
    """Largest gradient norm."""
    validation: float = 0.125
    """Share of the texts that is held out (fraction)."""
    most_texts: int = 64
    fewest_texts: int = 30
    """Fewer kept texts than this are never trained on."""
    system_prompt: str = ""
    """System prompt that training texts stand behind; empty for none."""
    online: int = 0
    """Texts that the student so far writes, under steering, for each update; 0: all are written before training."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    split_every: int = 4
    """Every how many steps the gradients of objective and barrier are taken apart, for their norms."""

    def __post_init__(self) -> None:
        """Raise UsageError for a setting out of range."""
        self.tau_rule()
        _above(self, 0, "learning_rate", "alpha", "clip")
        _at_least(self, 0, "lam", "weight_decay", "spectral", "online")
        _at_least(self, 1, "rank", "epochs", "batch", "row_tokens", "most_texts", "split_every")
        _at_least(self, 2, "fewest_texts")
        for name, high in (("warm_up", 0.9), ("validation", 0.5)):
            if not 0 <= getattr(self, name) <= high:
                raise UsageError(f"heal.{name} must be a fraction from 0 to {high:g}, but got {getattr(self, name)}")
        low, high = self.band
        if not 0 <= low < high <= 1:
            raise UsageError(f"heal.band must be two rising fractions of depth from 0 to 1, but got {low:g},{high:g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"heal.betas must be from 0 to below 1, but got {self.betas}")

    def tau_rule(self) -> tuple[Literal["nats", "quantile"], float]:
        """Whether tau is given in nats or as a quantile (fraction) of D without a constraint.

        Raises UsageError for a text that is neither.
        """
        quantile = self.tau.startswith("q")
        try:
            value = float(self.tau.removeprefix("q"))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0 and (not quantile or value <= 100)):
            raise UsageError(
                f"heal.tau must be nats from 0, such as 1.5, or a percentile, such as q50, but got {self.tau!r}"
            )
        return ("quantile", value / 100) if quantile else ("nats", value)


class HeldOutSpec(Setting, frozen=True, kw_only=True):
    """What every arm is asked to write, greedily, on prompts that no text was collected on."""

    prompts: int = 6
    length: int = 64
    """Cap of a text (tokens)."""
    system_prompt: str = "Answer briefly."
    """The second context: a trait that shows only without it was learned for one context."""


class Gate3Spec(Setting, frozen=True, kw_only=True):
    """Everything that decides the numbers of a run of gate 3."""

    gate: str = "gate3"
    parent_run: str
    """The run of gate 2 whose kept texts it trains on."""
    gate1_run: str
    """The run of gate 1 whose direction wrote them, and whose arms are the raw front."""
    method: str
    trait: str
    target: str
    sign: int
    persona_pair: dict[str, Any]
    model: str
    fingerprint: str
    dtype: str
    seed: int
    filter_id: str
    """The round of filter decisions that says which texts are kept."""
    history: tuple[str, ...] = ()
    """Adapters that are baked in before the new one, in order."""
    round: int = 0
    heal: HealSpec = HealSpec()
    held_out: HeldOutSpec = HeldOutSpec()
    controls: tuple[Control, ...] = CONTROLS
    """Data that a further adapter each is trained on, in the same way."""
    weights: bool = False
    """Whether weight steering is an arm too: theta+ less theta- of adapters trained on both poles' texts."""
    prompts_hash: str = ""
    gate_config: dict[str, Any] = msgspec.field(default_factory=dict)
    attempt: int = 0
    version: str = ""


class Grid(Setting, frozen=True, kw_only=True):
    """Values of the settings that a sweep tries in every combination."""

    divergence: tuple[Divergence, ...]
    aggregate: tuple[Aggregate, ...]
    reference: tuple[Reference, ...]
    lam: tuple[float, ...]
    tau: tuple[str, ...]
    weight_decay: tuple[float, ...]
    spectral: tuple[float, ...]

    def size(self) -> int:
        """How many trainings it asks for: without a constraint its settings change nothing, and count once."""
        barriers = math.prod(len(axis) for axis in (self.aggregate, self.reference, self.lam, self.tau))
        kinds = sum(1 if kind == "none" else barriers for kind in self.divergence)
        return kinds * len(self.weight_decay) * len(self.spectral)

    def points(self, heal: HealSpec) -> Iterator[HealSpec]:
        """Every combination, each training once; settings that are not swept are `heal`'s."""
        for kind in self.divergence:
            barriers = product(self.aggregate, self.reference, self.lam, self.tau)
            for barrier in [next(barriers)] if kind == "none" else barriers:
                for decay, spectral in product(self.weight_decay, self.spectral):
                    named = dict(zip(("aggregate", "reference", "lam", "tau"), barrier, strict=True))
                    yield replace(heal, divergence=kind, weight_decay=decay, spectral=spectral, **named)


class SweepSpec(Gate3Spec, frozen=True, kw_only=True):
    """Everything that decides the numbers of a sweep: gate 3's question with a grid in place of the controls."""

    gate: str = "sweep"
    grid: Grid
    gate3_run: str = ""
    """The run of gate 3 whose settings hold where nothing else was asked for; empty where it goes on from gate 2."""
