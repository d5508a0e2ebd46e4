"""Train one LoRA on kept completions: their likelihood is the objective, nearness to a reference the constraint.

    loss = NLL + lam * relu(D - tau) + spectral * sigma_max

D is taken per sequence, over its completion tokens, and the barrier is a mean over sequences: over a batch's tokens a
short loop in one text would drown in the others. Only adapters are trained and they never touch the head, so what the
reference is needed for is its final hidden states, which are small.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from msgspec.structs import replace as replace_fields
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.host import Host
from steerkit.host.adapter import Lora, attached, names_in_block
from steerkit.host.training import Head, final_hidden, head, recomputed, right_padded
from steerkit.records import HealEpoch, HealStep
from steerkit.spec_heal import Divergence, HealSpec
from steerkit.stages._heal_data import Example, examples, passes, split
from steerkit.stages._heal_loss import AGGREGATES, aggregates, token_losses
from steerkit.stages._heal_size import SpectralPenalty, sigma_max, update_norm

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

Report = Callable[[HealStep | HealEpoch], None]
"""Told of every row as it is made."""


@dataclass(frozen=True)
class Reference:
    """What D is measured from."""

    hidden: Mapping[str, Tensor]
    """Completion id to the final hidden states that foretell its tokens, `[position dim]`, on the CPU."""


@dataclass(frozen=True)
class Healed:
    """A trained adapter and the course of its training."""

    tensors: dict[str, Tensor]
    """float32, CPU: `PATH.lora_A` `[rank in]`, `PATH.lora_B` `[out rank]`, PATH the Linear's name in the model."""
    steps: list[HealStep]
    epochs: list[HealEpoch]
    targets: list[str]
    """Names of the Linears inside a block."""
    first_block: int
    last_block: int
    train_tokens: int
    """Trained completion tokens per epoch."""


class HealStopped(RunError):
    """Training met a number that is not finite; `healed` is the adapter before that step."""

    def __init__(self, message: str, healed: Healed) -> None:
        super().__init__(message)
        self.healed = healed


@dataclass(frozen=True)
class _Losses:
    """What a pass says of its sequences."""

    nll: Float[Tensor, "sequence"]
    apart: Float[Tensor, "sequence 4"]
    """Divergence by `AGGREGATES`."""


def reference(host: Host, texts: Sequence[Example], row_tokens: int = 2048) -> Reference:
    """The final hidden states of the model as it now is, at the positions that foretell completion tokens."""
    found: dict[str, Tensor] = {}
    for part in passes(texts, row_tokens):
        with torch.no_grad():
            hidden = _foretelling(host, part).cpu()
        for text, states in zip(part, _per_text(hidden, part), strict=True):
            found[text.completion_id] = states.clone()
    return Reference(found)


def divergences(
    host: Host, texts: Sequence[Example], origin: Reference, divergence: Divergence = "reverse-kl"
) -> dict[str, Float[Tensor, "position"]]:
    """Completion id to the divergence of the model as it now is from a reference, at each token (nats)."""
    found: dict[str, Tensor] = {}
    for part in passes(texts, 2048):
        with torch.no_grad():
            _, apart = _token_losses(host, head(host), part, origin, divergence)
        found |= {text.completion_id: values.cpu() for text, values in zip(part, apart, strict=True)}
    return found


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


def overfit(
    host: Host, one_batch: Sequence[Example], spec: HealSpec, seed: int, steps: int = 20
) -> tuple[float, float]:
    """NLL of one batch before and after so many steps on it alone, without a constraint (nats per token)."""
    alone = replace_fields(
        spec, divergence="none", spectral=0.0, weight_decay=0.0, batch=len(one_batch), epochs=steps, validation=0.0
    )
    with attached(host, spec.rank, spec.alpha, spec.band, seed) as lora:
        training = _Training(host, lora, alone, None, None, seed)
        training.run(one_batch, one_batch, _Labels("", "", ""), None)
        return training.steps[0].nll, training.steps[-1].nll


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
    report: Report | None = None,
) -> Healed:
    """Train a fresh adapter on the model as it now is, and leave the model as it was.

    Without `tau` there is no barrier, but D is measured. Without `reference` D is measured from the model as it now is.
    Raises UsageError for too few texts or too high a rank, HealStopped when a loss or a gradient is not finite.
    """
    _check(train, validation, spec)
    origin = reference or _reference(host, [*train, *validation], spec.row_tokens)
    if missing := [t.completion_id for t in [*train, *validation] if t.completion_id not in origin.hidden]:
        raise UsageError(f"the reference must hold every text, but lacks {len(missing)}, the first {missing[0]}")
    with attached(host, spec.rank, spec.alpha, spec.band, seed) as lora:
        training = _Training(host, lora, spec, origin, tau, seed)
        training.run(train, validation, _Labels(adapter_id, run, unit), report)
        return training.healed()


_reference = reference


def _check(train: Sequence[Example], validation: Sequence[Example], spec: HealSpec) -> None:
    count = len(train) + len(validation)
    if count < spec.fewest_texts or not train:
        raise UsageError(
            f"training needs at least {spec.fewest_texts} kept texts, but got {count}; keep more (gate 2 with a larger "
            "--keep or other thresholds), or lower heal.fewest_texts, knowing that fewer texts teach little"
        )


@dataclass(frozen=True)
class _Labels:
    adapter_id: str
    run: str
    unit: str


class _Training:
    """One adapter, its optimiser and what has been logged of it."""

    def __init__(
        self, host: Host, lora: Lora, spec: HealSpec, origin: Reference | None, tau: float | None, seed: int
    ) -> None:
        self.host, self.lora, self.spec, self.origin = host, lora, spec, origin
        self.tau = math.inf if spec.divergence == "none" or tau is None else tau
        self.measured: Divergence = "reverse-kl" if spec.divergence == "none" else spec.divergence
        self.aggregate = AGGREGATES.index(spec.aggregate)
        self.head = head(host)
        self.draw = torch.Generator().manual_seed(seed)
        self.penalty = SpectralPenalty(lora, seed) if spec.spectral else None
        self.optimiser = torch.optim.AdamW(
            lora.parameters, lr=spec.learning_rate, betas=spec.betas, weight_decay=spec.weight_decay
        )
        for parameter in lora.parameters:
            parameter.requires_grad_(True)
        self.steps: list[HealStep] = []
        self.epochs: list[HealEpoch] = []
        self.train_tokens = 0

    def run(
        self, train: Sequence[Example], validation: Sequence[Example], labels: _Labels, report: Report | None
    ) -> None:
        """Every epoch, each in a drawn order."""
        self.train_tokens = sum(len(text.answer) for text in train)
        total = self.spec.epochs * math.ceil(len(train) / self.spec.batch)
        for epoch in range(self.spec.epochs + 1):
            first = len(self.steps)
            for batch in self._batches(train) if epoch else []:
                self.steps.append(self._step(batch, epoch, total, labels))
                _tell(report, self.steps[-1])
            self.epochs.append(self._epoch(epoch, self.steps[first:], validation, labels))
            _tell(report, self.epochs[-1])

    def healed(self) -> Healed:
        """The adapter as it now is."""
        paths = [layer.path for layer in self.lora.layers]
        return Healed(
            self.lora.tensors(),
            list(self.steps),
            list(self.epochs),
            names_in_block(self.host, paths),
            self.lora.first_block,
            self.lora.last_block,
            self.train_tokens,
        )

    def mean_losses(self, texts: Sequence[Example]) -> tuple[float | None, float | None]:
        """Mean NLL and mean divergence over these texts (nats); None without texts."""
        if not texts:
            return None, None
        with torch.no_grad():
            found = [self._losses(part) for part in passes(texts, self.spec.row_tokens)]
        nll = torch.cat([losses.nll for losses in found]).mean()
        apart = torch.cat([losses.apart[:, self.aggregate] for losses in found]).mean()
        return float(nll), float(apart)

    def _batches(self, train: Sequence[Example]) -> Iterator[list[Example]]:
        order = torch.randperm(len(train), generator=self.draw).tolist()
        for start in range(0, len(order), self.spec.batch):
            yield [train[place] for place in order[start : start + self.spec.batch]]

    def _losses(self, part: Sequence[Example]) -> _Losses:
        nll, apart = _token_losses(self.host, self.head, part, self.origin, self.measured)
        return _Losses(torch.stack([values.mean() for values in nll]), torch.stack([aggregates(v) for v in apart]))

    def _step(self, batch: Sequence[Example], epoch: int, total: int, labels: _Labels) -> HealStep:
        """One optimiser step on one batch."""
        number = len(self.steps) + 1
        gradients = self._gradients(batch, apart=(number - 1) % self.spec.split_every == 0)
        norm_nll, norm_barrier = gradients.norm_nll, gradients.norm_barrier  # clipping changes the gradients
        rate = self.spec.learning_rate * schedule(number, total, self.spec.warm_up)
        self._update(gradients, rate, number)
        d_mean, d_rmse, d_p95, d_max = (float(value) for value in gradients.losses.apart.double().mean(0))
        return HealStep(
            run_id=labels.run,
            unit_id=labels.unit,
            adapter_id=labels.adapter_id,
            step=number,
            epoch=epoch,
            nll=float(gradients.losses.nll.mean()),
            d_mean=d_mean,
            d_rmse=d_rmse,
            d_p95=d_p95,
            d_max=d_max,
            over=gradients.over,
            barrier=gradients.barrier,
            grad_nll=norm_nll,
            grad_barrier=norm_barrier,
            update_norm=update_norm(self.lora),
            learning_rate=rate,
        )

    def _gradients(self, batch: Sequence[Example], *, apart: bool) -> "_Gradients":
        """The gradients of a batch, summed over its passes."""
        found = _Gradients(apart)
        for part in passes(batch, self.spec.row_tokens):
            with recomputed(self.host) if self.spec.checkpointing else nullcontext():
                losses = self._losses(part)
                excess = (losses.apart[:, self.aggregate] - self.tau).relu()
                barrier = self.spec.lam * excess.sum() / len(batch)
                found.add(losses, losses.nll.sum() / len(batch), barrier, self.lora.parameters)
        found.over = float((found.losses.apart[:, self.aggregate] > self.tau).float().mean())
        return found

    def _update(self, gradients: "_Gradients", rate: float, number: int) -> None:
        """Step the optimiser, unless something is not finite."""
        parameters = self.lora.parameters
        for parameter, gradient in zip(parameters, gradients.total(), strict=True):
            parameter.grad = gradient
        if self.penalty is not None:
            (self.spec.spectral * self.penalty.value()).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip)
        nll = gradients.losses.nll.mean()
        if not (math.isfinite(norm) and math.isfinite(nll)):
            raise HealStopped(
                f"training must stay finite, but step {number} gave NLL {float(nll):g}, gradient norm {float(norm):g}: "
                f"lower heal.learning_rate (now {self.spec.learning_rate:g}), or use --dtype float32",
                self.healed(),
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()

    def _epoch(
        self, epoch: int, steps: Sequence[HealStep], validation: Sequence[Example], labels: _Labels
    ) -> HealEpoch:
        nll, apart = self.mean_losses(validation)
        return HealEpoch(
            run_id=labels.run,
            unit_id=labels.unit,
            adapter_id=labels.adapter_id,
            epoch=epoch,
            train_nll=sum(step.nll for step in steps) / len(steps) if steps else None,
            validation_nll=nll,
            validation_divergence=apart,
            sigma_max=sigma_max(self.lora),
        )


class _Gradients:
    """The gradients of objective and barrier over a step's passes, taken apart where asked for."""

    def __init__(self, apart: bool) -> None:
        self.apart = apart
        self.fired = False
        self.over = 0.0
        self.barrier = 0.0
        self._parts: list[_Losses] = []
        self._objective: list[Tensor] = []
        self._constraint: list[Tensor] = []

    def add(self, losses: _Losses, objective: Tensor, barrier: Tensor, parameters: Sequence[Tensor]) -> None:
        """Take a pass's gradients; where the barrier is silent its gradient is 0 and nothing is spent on it."""
        self._parts.append(_Losses(losses.nll.detach(), losses.apart.detach()))
        if not barrier.detach() > 0:
            self._objective = _summed(self._objective, torch.autograd.grad(objective, parameters))
            return
        self.fired = True
        self.barrier += float(barrier.detach())
        if self.apart:
            whole = torch.autograd.grad(objective, parameters, retain_graph=True)
            self._objective = _summed(self._objective, whole)
            self._constraint = _summed(self._constraint, torch.autograd.grad(barrier, parameters))
        else:
            self._objective = _summed(self._objective, torch.autograd.grad(objective + barrier, parameters))

    @property
    def losses(self) -> _Losses:
        """Of all sequences of the step."""
        return _Losses(torch.cat([part.nll for part in self._parts]), torch.cat([part.apart for part in self._parts]))

    @property
    def norm_nll(self) -> float | None:
        """Norm of the objective's gradient; None where it was taken together with the barrier's."""
        return _norm(self._objective) if self.apart or not self.fired else None

    @property
    def norm_barrier(self) -> float | None:
        """Norm of the barrier's gradient; None where it was taken together with the objective's."""
        if not self.fired:
            return 0.0
        return _norm(self._constraint) if self.apart else None

    def total(self) -> list[Tensor]:
        """The gradient of their sum."""
        return _summed(self._objective, self._constraint) if self._constraint else self._objective


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at a step, counted from 1: a linear rise, then a cosine towards 0."""
    rising = int(warm_up * steps)
    if step <= rising:
        return step / (rising + 1)
    return (1 + math.cos(math.pi * (step - 1 - rising) / (steps - rising))) / 2


def _summed(left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
    # Not in place: autograd may hand out one tensor twice.
    return [a + b for a, b in zip(left, right, strict=True)] if left else list(right)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(tensors))


def _tell(report: Report | None, row: HealStep | HealEpoch) -> None:
    if report is not None:
        report(row)


def _token_losses(
    host: Host, to_logits: Head, part: Sequence[Example], origin: Reference | None, divergence: Divergence
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """NLL and divergence at each completion token of each text, one tensor `[position]` per text."""
    hidden = _foretelling(host, part)
    tokens = torch.tensor([token for text in part for token in text.answer], device=hidden.device)
    states = None
    if origin is not None:
        states = torch.cat([origin.hidden[text.completion_id] for text in part]).to(hidden)
    nll, apart = token_losses(to_logits, hidden, tokens, states, divergence)
    return _per_text(nll, part), _per_text(apart, part)


def _per_text(values: Tensor, part: Sequence[Example]) -> tuple[Tensor, ...]:
    return torch.split(values, [len(text.answer) for text in part])


def _foretelling(host: Host, part: Sequence[Example]) -> Float[Tensor, "position dim"]:
    """Final hidden states at the positions that foretell completion tokens, one text after the other."""
    hidden = final_hidden(host, right_padded(host, [(*text.prompt, *text.answer) for text in part]))
    return torch.cat([hidden[row, len(text.prompt) - 1 : len(text) - 1] for row, text in enumerate(part)])
