"""The course of one adapter's training: batches, optimiser steps, and the rows that are logged of them."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from steerkit.errors import RunError
from steerkit.host import Host
from steerkit.host.adapter import Lora, names_in_block
from steerkit.host.training import recomputed
from steerkit.records import HealEpoch, HealStep
from steerkit.spec_heal import HealSpec
from steerkit.stages._heal_data import Example, passes
from steerkit.stages._heal_gradients import Gradients, rate_share
from steerkit.stages._heal_loss import AGGREGATES
from steerkit.stages._heal_passes import Losses, Pass, joined
from steerkit.stages._heal_size import SpectralPenalty, sigma_max, update_norm

Report = Callable[[HealStep | HealEpoch], None]
"""Told of every row as it is made."""
Batch = tuple[Sequence[Example], Pass]
"""Texts of one update, and how their losses are taken."""


@dataclass(frozen=True)
class Healed:
    """A trained adapter and the course of its training."""

    tensors: dict[str, Tensor]
    """float32, CPU: `PATH.lora_A` `[rank in]`, `PATH.lora_B` `[out rank]`; PATH is the Linear's name in the model."""
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
class Labels:
    """What every logged row carries."""

    adapter_id: str = ""
    run: str = ""
    unit: str = ""


class Training:
    """One attached adapter, its optimiser, and what has been logged; `tau` is infinite without a barrier."""

    def __init__(self, host: Host, lora: Lora, spec: HealSpec, losses: Pass, tau: float, seed: int) -> None:
        self.host, self.lora, self.spec, self.losses, self.tau = host, lora, spec, losses, tau
        self.aggregate = AGGREGATES.index(spec.aggregate)
        self.draw = torch.Generator().manual_seed(seed)
        self.penalty = SpectralPenalty(lora, seed) if spec.spectral else None
        for parameter in lora.parameters:
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            lora.parameters, lr=spec.learning_rate, betas=spec.betas, weight_decay=spec.weight_decay
        )
        self.steps: list[HealStep] = []
        self.epochs: list[HealEpoch] = []
        self.train_tokens = 0

    def run(
        self, train: Sequence[Example], validation: Sequence[Example], labels: Labels, report: Report | None = None
    ) -> None:
        """Every epoch, each in a drawn order; epoch 0 only looks."""
        self.train_tokens = sum(len(text.answer) for text in train)
        total = self.spec.epochs * math.ceil(len(train) / self.spec.batch)
        for epoch in range(self.spec.epochs + 1):
            first = len(self.steps)
            for batch in self._batches(train) if epoch else []:
                self.steps.append(self._step(batch, epoch, total, labels))
                _tell(report, self.steps[-1])
            self._look(epoch, self.steps[first:], validation, labels, report)

    def stream(self, batches: Iterable[Batch], wanted: int, validation: Sequence[Example], labels: Labels) -> int:
        """One update per batch, until so many texts have been trained on; how many were, if batches end before.

        Epoch 0 looks before, epoch 1 after them.
        """
        seen, watched = 0, self.losses
        self._look(0, [], validation, labels)
        for batch, self.losses in batches:
            seen += len(batch)
            self.train_tokens += sum(len(text.answer) for text in batch)
            number = len(self.steps) + 1
            self.steps.append(self._step(batch, 1, max(number, math.ceil(number * wanted / seen)), labels))
            if seen >= wanted:
                break
        self.losses = watched
        self._look(1, self.steps, validation, labels)
        return seen

    def _look(
        self,
        epoch: int,
        steps: Sequence[HealStep],
        validation: Sequence[Example],
        labels: Labels,
        report: Report | None = None,
    ) -> None:
        self.epochs.append(self._epoch(epoch, steps, validation, labels))
        _tell(report, self.epochs[-1])

    def healed(self) -> Healed:
        """The adapter as it now is."""
        targets = names_in_block(self.host, [layer.path for layer in self.lora.layers])
        lora, rows = self.lora, (list(self.steps), list(self.epochs))
        return Healed(lora.tensors(), *rows, targets, lora.first_block, lora.last_block, self.train_tokens)

    def mean_losses(self, texts: Sequence[Example]) -> tuple[float, float]:
        """Mean NLL and mean divergence over these texts (nats)."""
        with torch.no_grad():
            found = joined([self.losses.by_text(part) for part in passes(texts, self.spec.row_tokens)])
        return float(found.nll.mean()), float(found.apart[:, self.aggregate].mean())

    def _batches(self, train: Sequence[Example]) -> Iterator[list[Example]]:
        order = torch.randperm(len(train), generator=self.draw).tolist()
        for start in range(0, len(order), self.spec.batch):
            yield [train[place] for place in order[start : start + self.spec.batch]]

    def _step(self, batch: Sequence[Example], epoch: int, total: int, labels: Labels) -> HealStep:
        """One optimiser step on one batch."""
        number = len(self.steps) + 1
        found = self.gradients(batch, apart=(number - 1) % self.spec.split_every == 0)
        norms = found.norms()
        rate = self.spec.learning_rate * rate_share(number, total, self.spec.warm_up)
        self._update(found, rate, number)
        return self._row(found, norms, rate, number, epoch, labels)

    def gradients(self, batch: Sequence[Example], *, apart: bool) -> Gradients:
        """The gradients of a batch, summed over its passes."""
        found = Gradients(self.lora.parameters, apart=apart)
        for part in passes(batch, self.spec.row_tokens):
            with recomputed(self.host) if self.spec.checkpointing else nullcontext():
                losses = self.losses.by_text(part)
                barrier = self.spec.lam * self._excess(losses).sum() / len(batch)
                found.add(losses, losses.nll.sum() / len(batch), barrier)
        return found

    def _excess(self, losses: Losses) -> Tensor:
        return (losses.apart[:, self.aggregate] - self.tau).relu()

    def _update(self, found: Gradients, rate: float, number: int) -> None:
        """Step the optimiser; raises HealStopped, and changes nothing, where a number is not finite."""
        parameters = self.lora.parameters
        for parameter, gradient in zip(parameters, found.total(), strict=True):
            parameter.grad = gradient
        if self.penalty is not None:
            (self.spec.spectral * self.penalty.value()).backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip))
        nll, apart = (float(values.mean()) for values in (found.losses.nll, found.losses.apart))
        if not all(map(math.isfinite, (norm, nll, apart))):
            raise HealStopped(
                f"training must stay finite, but step {number} gave NLL {nll:g}, divergence {apart:g}, gradient norm "
                f"{norm:g}; lower heal.learning_rate (now {self.spec.learning_rate:g}), or use --dtype float32",
                self.healed(),
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()

    def _row(
        self,
        found: Gradients,
        norms: tuple[float | None, float | None],
        rate: float,
        number: int,
        epoch: int,
        labels: Labels,
    ) -> HealStep:
        losses = found.losses
        d_mean, d_rmse, d_p95, d_max = losses.apart.double().mean(0).tolist()
        return HealStep(
            run_id=labels.run,
            unit_id=labels.unit,
            adapter_id=labels.adapter_id,
            step=number,
            epoch=epoch,
            nll=float(losses.nll.mean()),
            d_mean=d_mean,
            d_rmse=d_rmse,
            d_p95=d_p95,
            d_max=d_max,
            over=float((self._excess(losses) > 0).double().mean()),
            barrier=found.barrier,
            grad_nll=norms[0],
            grad_barrier=norms[1],
            update_norm=update_norm(self.lora),
            learning_rate=rate,
        )

    def _epoch(self, epoch: int, steps: Sequence[HealStep], validation: Sequence[Example], labels: Labels) -> HealEpoch:
        nll, apart = self.mean_losses(validation) if validation else (None, None)
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


def _tell(report: Report | None, row: HealStep | HealEpoch) -> None:
    if report is not None:
        report(row)
