"""Adapters: what each was trained on, every step of its training, and what was measured of it."""

from typing import Literal

from steerkit.records.base import Record

AdapterRole = Literal[
    "healed",
    "plain",
    "control-unsteered",
    "control-random",
    "control-persona",
    "pole-positive",
    "pole-negative",
    "weights",
    "swept",
]
"""Why an adapter was trained: with the constraint, without it, on control texts, or on one pole for weight steering.

'swept' is one point of a sweep over settings, which its `config` tells.
'weights' is not trained but made of two: the positive pole's update less the negative pole's.
"""


class Adapter(Record, frozen=True, kw_only=True):
    """One trained LoRA."""

    adapter_id: str
    round: int
    """Counts the rounds of a loop, from 0."""
    role: AdapterRole
    artifact: str
    """sha256 of the safetensors file with `PATH.lora_A` `[rank in]` and `PATH.lora_B` `[out rank]` per Linear."""
    history: list[str]
    """Adapters that were baked in while it was trained, in order."""
    fingerprint: str
    """Of the base model."""
    config: str
    """HealSpec as canonical JSON."""
    rank: int
    alpha: float
    """The update of a Linear's weight is alpha / rank * B A."""
    targets: list[str]
    """Names of the Linears inside a block."""
    first_block: int
    last_block: int
    train_texts: int
    validation_texts: int
    train_tokens: int
    """Trained completion tokens per epoch (tokens)."""
    tau: float | None
    """The barrier's threshold (nats); None without a barrier."""


class HealText(Record, frozen=True, kw_only=True):
    """One text an adapter was trained or validated on."""

    adapter_id: str
    completion_id: str
    part: Literal["train", "validation"]


class HealStep(Record, frozen=True, kw_only=True):
    """One optimiser step of one adapter; divergences are means over the step's sequences of their aggregates (nats)."""

    adapter_id: str
    step: int
    epoch: int
    nll: float
    """Mean over sequences of their mean NLL per completion token (nats per token)."""
    d_mean: float
    d_rmse: float
    d_p95: float
    d_max: float
    over: float
    """Share of the step's sequences whose divergence exceeds tau (fraction)."""
    barrier: float
    """lambda * relu(D - tau), mean over sequences (nats)."""
    grad_nll: float | None
    """Norm of the objective's gradient over the adapter's parameters; None where taken with the barrier's."""
    grad_barrier: float | None
    """The same of the barrier; None at steps where the two were not taken apart."""
    update_norm: float
    """Frobenius norm of the whole update after the step."""
    learning_rate: float


class HealEpoch(Record, frozen=True, kw_only=True):
    """Before training (epoch 0) and after each epoch."""

    adapter_id: str
    epoch: int
    train_nll: float | None
    """Mean over the epoch's steps; None before training (nats per token)."""
    validation_nll: float | None
    """Mean over held-out sequences; None where none is held out (nats per token)."""
    validation_divergence: float | None
    """Mean over held-out sequences of the chosen divergence and aggregate (nats)."""
    sigma_max: float
    """Mean over Linears of the update's largest singular value."""


class AdapterFigure(Record, frozen=True, kw_only=True):
    """One thing measured of an adapter, beside its training and its scored arm."""

    adapter_id: str
    quantity: str
    """For example 'kl_hooked_baked', 'kl_base', 'kl_previous', 'cosine_teacher', 'overfit_first', 'overfit_last'."""
    value: float
    unit: str
