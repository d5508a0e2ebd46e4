"""Train one LoRA on kept completions: their likelihood is the objective, nearness to a reference the constraint.

    loss = NLL + lam * relu(D - tau) + spectral * sigma_max

NLL and D are taken per text, over its completion tokens, and then averaged over texts: among a whole batch's tokens a
short loop in one text would drown. Adapters never touch the head, so what has to be remembered of the reference is its
final hidden states; the head makes exact log-probabilities of them at every step.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from msgspec.structs import replace
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Host
from steerkit.host.adapter import attached, band_blocks
from steerkit.host.training import head
from steerkit.records import HealStep
from steerkit.spec_heal import Divergence, HealSpec
from steerkit.stages._heal_data import Example, examples, passes, split
from steerkit.stages._heal_loss import AGGREGATES
from steerkit.stages._heal_passes import ROW_TOKENS, Entry, Pass, Reference, entered, reference
from steerkit.stages._heal_training import Healed, HealStopped, Labels, Report, Training

__all__ = [
    "Example",
    "HealStopped",
    "Healed",
    "Reference",
    "divergences",
    "examples",
    "heal",
    "observed_tau",
    "overfit",
    "reference",
    "split",
]


def heal(
    host: Host,
    train: Sequence[Example],
    validation: Sequence[Example],
    spec: HealSpec,
    *,
    tau: float | None,
    seed: int,
    adapter_id: str,
    run: str,
    unit: str,
    reference: Reference | None = None,
    measured: Divergence = "reverse-kl",
    report: Report | None = None,
) -> Healed:
    """Train a fresh adapter on the model as it now is, and leave the model as it was.

    Without `tau` (nats), or where `spec.divergence` is 'none', there is no barrier, but D is measured all the same:
    `spec.divergence`, or `measured` in place of 'none'. Without `reference` it is measured from the model as it now is.
    Raises UsageError for too few texts or too high a rank, HealStopped when a loss or a gradient is not finite.
    """
    texts = [*train, *validation]
    _check(train, len(texts), spec)
    entry = entered(host, texts, band_blocks(host, spec.band).start, spec.row_tokens)
    origin = reference or _now(host, texts, entry, spec.row_tokens)
    if missing := [text.completion_id for text in texts if text.completion_id not in origin.hidden]:
        raise UsageError(f"the reference must hold every text, but lacks {len(missing)}, among them {missing[0]}")
    limit = math.inf if tau is None or spec.divergence == "none" else tau
    kind: Divergence = measured if spec.divergence == "none" else spec.divergence
    losses = Pass(host, head(host), origin, kind, entry, constrained=spec.lam > 0 and math.isfinite(limit))
    with attached(host, spec.rank, spec.alpha, spec.band, seed) as lora:
        training = Training(host, lora, spec, losses, limit, seed)
        training.run(train, validation, Labels(adapter_id, run, unit), report)
        return training.healed()


def _now(host: Host, texts: Sequence[Example], entry: Entry | None, row_tokens: int) -> Reference:
    return reference(host, texts, entry, row_tokens)


def _check(train: Sequence[Example], count: int, spec: HealSpec) -> None:
    if count < spec.fewest_texts or not train:
        raise UsageError(
            f"training needs at least {spec.fewest_texts} kept texts, but got {count}; keep more (gate 2 with a larger "
            "--keep or other thresholds), or lower heal.fewest_texts, knowing that fewer texts teach little"
        )


def overfit(
    host: Host, one_batch: Sequence[Example], spec: HealSpec, seed: int, steps: int = 20
) -> tuple[float, float]:
    """NLL of one batch before and after so many steps on it alone, without a constraint (nats per token).

    Where it does not fall, adapters of this shape, trained in this way, cannot express what the texts hold.
    """
    alone = replace(spec, divergence="none", spectral=0.0, weight_decay=0.0, batch=len(one_batch), epochs=steps)
    entry = entered(host, one_batch, band_blocks(host, spec.band).start, spec.row_tokens)
    with attached(host, spec.rank, spec.alpha, spec.band, seed) as lora:
        training = Training(host, lora, alone, Pass(host, head(host), None, "reverse-kl", entry), math.inf, seed)
        training.run(one_batch, [], Labels())
        return training.steps[0].nll, training.mean_losses(one_batch)[0]


def observed_tau(steps: Sequence[HealStep], spec: HealSpec) -> float | None:
    """The barrier's threshold by `spec.tau`: the nats given, or a quantile of D over these steps, trained without it.

    None without a constraint. Raises UsageError for a quantile of no steps.
    """
    kind, value = spec.tau_rule()
    if spec.divergence == "none":
        return None
    if kind == "nats":
        return value
    if not steps:
        raise UsageError(f"heal.tau={spec.tau} needs the steps of a training without a constraint, but got none")
    return float(torch.tensor([_chosen(step, spec) for step in steps], dtype=torch.float64).quantile(value))


def _chosen(step: HealStep, spec: HealSpec) -> float:
    return dict(zip(AGGREGATES, (step.d_mean, step.d_rmse, step.d_p95, step.d_max), strict=True))[spec.aggregate]


def divergences(
    host: Host, texts: Sequence[Example], origin: Reference, divergence: Divergence = "reverse-kl"
) -> dict[str, Float[Tensor, "position"]]:
    """Completion id to how far the model as it now is stands from a reference at each token (nats)."""
    losses = Pass(host, head(host), origin, divergence)
    found: dict[str, Tensor] = {}
    for part in passes(texts, ROW_TOKENS):
        with torch.no_grad():
            _, apart = losses.by_token(part)
        found |= {text.completion_id: values.cpu() for text, values in zip(part, apart, strict=True)}
    return found
