"""An adapter that is trained while its texts are written, few by few, in place of whole rounds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import torch

from steerkit.pipeline.further_texts import SEEDS, SEEDS_PER_RUN, FurtherTexts, surviving
from steerkit.records import Completion, FilterDecision, FilterSet, Record
from steerkit.spec import canonical, digest
from steerkit.stages.assemble import only
from steerkit.stages.heal import Example, examples, split
from steerkit.stages.online import State, heal_online
from steerkit.stages.student import Student
from steerkit.stages.write import Order


@dataclass(frozen=True)
class _Growing:
    """The student so far: what is baked in, and an adapter in training that `without` leaves out."""

    before: Student
    without: State

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base for a while."""
        with self.without(), self.before.off():
            yield


@dataclass
class OnlineHealing(FurtherTexts):
    """A study whose healed adapter may be trained while its texts are written."""

    def streamed(self) -> list[Completion]:
        """The texts that were kept on the way."""
        texts = [text for text in only(Completion, self.records) if text.role == "online"]
        return surviving(texts, only(FilterDecision, self.records))

    def train_online(self, name: str, tau: float | None, unit: str) -> list[Record]:
        """An adapter of that name, trained on as many texts as whole rounds would show it, each of them once.

        Its validation texts are the collected ones that whole rounds hold out, and nothing is written to their prompts.
        """
        spec, kept = self.job.spec.heal, [text.completion for text in self.kept()]
        made = examples(self.job.host, kept, spec.system_prompt)
        train, validation = split(made, [text.prompt_id for text in kept], spec.validation, self.job.spec.seed)
        held = [example.completion_id for example in validation]
        with self._state() as before:
            stream = _Stream(self, before, unit, self._orders_like([t for t in kept if t.completion_id not in held]))
            healed = heal_online(
                self.job.host,
                stream.write,
                validation,
                spec,
                texts=spec.epochs * len(train),
                tau=tau,
                outside=before.off if spec.reference == "base" and self.job.history else None,
                seed=self.job.spec.seed,
                adapter_id=name,
                run=self.run,
                unit=unit,
            )
        shown = [text.completion_id for text in surviving(stream.texts, stream.decisions)]
        adapter = self._adapter(name, "healed", spec, healed, shown, held, tau, unit)
        return [stream.checks(), *stream.texts, *stream.decisions, *adapter]

    def _orders_like(self, kept: Sequence[Completion]) -> Iterator[Order]:
        """Endless orders at the kept texts' prompts and doses, in an order drawn anew each time round."""
        prompts = {prompt.id: prompt for prompt in self.job.prompts}
        seeds = count(self.job.spec.seed * SEEDS_PER_RUN + SEEDS["online"])
        draw = torch.Generator().manual_seed(self.job.spec.seed)
        while True:
            for place in torch.randperm(len(kept), generator=draw).tolist():
                text = kept[place]
                yield Order(
                    "online",
                    prompts[text.prompt_id],
                    self.job.direction,
                    text.dose * self.job.unit_strength,
                    text.dose,
                    next(seeds),
                )


@dataclass
class _Stream:
    """What is written for an online training, and what the checks decide of it."""

    study: OnlineHealing
    before: Student
    unit: str
    orders: Iterator[Order]
    texts: list[Completion] = field(default_factory=list)
    decisions: list[FilterDecision] = field(default_factory=list)

    def write(self, without: State) -> list[Example]:
        """The kept texts of a batch that the student so far writes."""
        spec = self.study.job.spec.heal
        orders = [next(self.orders) for _ in range(spec.online)]
        texts = self.study.written(_Growing(self.before, without), orders, self.unit, untouched=False)
        checks = self.checks()
        decisions = self.study.decided(texts, self.study.job.gate2_spec.filters, self.unit, checks.filter_id)
        self.texts += texts
        self.decisions += decisions
        return examples(self.study.job.host, surviving(texts, decisions), spec.system_prompt)

    def checks(self) -> FilterSet:
        """The thresholds that decide: gate 2's."""
        thresholds = self.study.job.gate2_spec.filters
        return FilterSet(
            run_id=self.study.run,
            unit_id=self.unit,
            filter_id=digest(self.study.run, "online", thresholds),
            seq=0,
            thresholds=canonical(thresholds),
        )
