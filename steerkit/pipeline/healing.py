"""What gate 3 and sweeps over its settings share: the arms to compare with, training an adapter, scoring a student."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from steerkit.host.places import entry_block
from steerkit.inputs import Dilemma
from steerkit.pipeline.scorer import NOTHING_SKIPPED, Scorer
from steerkit.pipeline.study import Job, Study
from steerkit.records import (
    Adapter,
    AdapterFigure,
    AdapterRole,
    Answer,
    Arm,
    ArmKind,
    Completion,
    HealStep,
    HealText,
    Prior,
    Record,
)
from steerkit.spec import Gate2Spec, RunSpec, canonical, digest
from steerkit.spec_heal import Gate3Spec, HealSpec
from steerkit.stages.assemble import only
from steerkit.stages.bake import Layered, stack
from steerkit.stages.heal import Example, Healed, examples, heal, observed_tau, reference, split
from steerkit.stages.score import level
from steerkit.stages.steer import Fitted
from steerkit.stages.student import Student, student
from steerkit.stages.training import Kept, taken

ADOPTED = ("base", "steered", "prompt", "random", "shuffled")


@dataclass(frozen=True, kw_only=True)
class Gate3Job(Job):
    """A spec of gate 3 with everything it names, loaded.

    `gate1`: records of the run whose direction wrote the texts; `root`: of the run that scored the untouched base, the
    same in a first round. `gate2`: records of the run that collected. `history`: adapters that are baked in before the
    new one; the host itself is the untouched base. `directions`: the direction and random ones, with their strengths at
    dose 1. `prompts`: those texts were collected on; `held_out`: others.
    """

    spec: Gate3Spec
    gate1_spec: RunSpec
    gate2_spec: Gate2Spec
    root: tuple[Record, ...]
    gate1: tuple[Record, ...]
    gate2: tuple[Record, ...]
    instrument_config: Any
    direction: Fitted
    unit_strength: float
    nulls: tuple[tuple[Fitted, float], ...]
    history: tuple[Layered, ...]
    prompts: tuple[Dilemma, ...]
    held_out: tuple[Dilemma, ...]
    gate1_verdict: str
    gate2_verdict: str


@dataclass
class Healing(Study):
    """A study that trains adapters on kept texts and scores the students they make."""

    job: Gate3Job

    def headline(self, records: list[Record]) -> str:
        """What an adapter's training or its arm shows."""
        steps = only(HealStep, records)
        if steps:
            return f"NLL {steps[0].nll:.2f} to {steps[-1].nll:.2f} in {len(steps)} steps"
        arms = [arm for arm in only(Arm, records) if arm.kind not in ADOPTED]
        return self._shift_of(arms[0], records) if len(arms) == 1 else ""

    def _shift_of(self, arm: Arm, records: list[Record]) -> str:
        nats, coherence = self._glance(arm, records)
        return f"d{self.job.spec.target} {nats:+.2f} nats, coherence {coherence:.2f}"

    def _glance(self, arm: Arm, records: Sequence[Record]) -> tuple[float, float]:
        """An arm's shift of the target (nats) and its coherence, without intervals."""
        base = next(a.arm_id for a in only(Arm, self.records) if a.kind == "base")
        prior, target = only(Prior, self.records), self.job.spec.target
        own = [answer for answer in only(Answer, records) if answer.arm_id == arm.arm_id]
        before = [answer for answer in only(Answer, self.records) if answer.arm_id == base]
        (nats, mass), (base_nats, base_mass) = level(own, prior, target), level(before, prior, target)
        return nats - base_nats, mass / base_mass

    # -- what others measured ---------------------------------------------------------------------------------------

    def adopt(self, unit: str) -> list[Record]:
        """Gate 1's arms and answers as this run's own, so that everything that is compared stands in one run."""
        own = {"run_id": self.run, "unit_id": unit}
        first = self._arms_of(self.job.root, ("base", "prompt") if self.job.history else ADOPTED)
        later = self._arms_of(self.job.gate1, ("base", "steered", "random", "shuffled")) if self.job.history else []
        names = {arm.arm_id: digest(self.run, "adopted", arm.arm_id) for arm in [*first, *later]}
        kinds = {
            arm.arm_id: "previous" if arm in later and arm.kind == "base" else arm.kind for arm in [*first, *later]
        }
        newest = self.job.history[-1].adapter.adapter_id if self.job.history else None
        arms = [
            replace(
                arm,
                **own,
                arm_id=names[arm.arm_id],
                kind=kinds[arm.arm_id],
                adapter_id=newest if arm in later else None,
            )
            for arm in [*first, *later]
        ]
        answers = [
            replace(answer, **own, arm_id=names[answer.arm_id])
            for answer in only(Answer, [*self.job.root, *(self.job.gate1 if self.job.history else ())])
            if answer.arm_id in names
        ]
        return [*arms, *answers, *(replace(prior, **own) for prior in only(Prior, self.job.root))]

    def _arms_of(self, records: Sequence[Record], kinds: Sequence[str]) -> list[Arm]:
        return [arm for arm in only(Arm, records) if arm.kind in kinds and arm.dose >= 0]

    # -- texts ------------------------------------------------------------------------------------------------------

    def kept(self) -> list[Kept]:
        """The texts that are trained on, with the doses they were written at."""
        return taken(self.job.gate2, self.job.spec.heal.most_texts)

    def dose(self) -> float:
        """Mean dose of the kept texts (multiples of the calibrated strength)."""
        kept = self.kept()
        return sum(text.completion.dose for text in kept) / max(1, len(kept))

    @contextmanager
    def _state(self, *new: Layered) -> Iterator[Student]:
        """The host as the student that history and these adapters make."""
        with student(self.job.host, stack(self.job.host, [*self.job.history, *new])) as made:
            yield made

    def score_steered(self, unit: str) -> list[Record]:
        """The steered model at the dose the texts came from."""
        dose = self.dose()
        with self._state():
            scorer = self._scorer(entry_block(self.job.direction.states))
            newest = self.job.history[-1].adapter.adapter_id if self.job.history else None
            return scorer.score(
                unit, "steered", self.job.direction, dose * self.job.unit_strength, dose, adapter_id=newest
            )

    def _scorer(self, first_block: int = NOTHING_SKIPPED) -> Scorer:
        job = self.job
        return Scorer(job.host, job.gate1_spec, job.vignettes, job.instrument_config, self.run, first_block)

    # -- healing ----------------------------------------------------------------------------------------------------

    def _trained(
        self, name: str, role: AdapterRole, spec: HealSpec, texts: Sequence[Completion], tau: float | None, unit: str
    ) -> list[Record]:
        """An adapter of that name, trained on these texts, with every step; without `tau` there is no barrier."""
        made = examples(self.job.host, texts, spec.system_prompt)
        train, validation = split(made, [text.prompt_id for text in texts], spec.validation, self.job.spec.seed)
        # In a first round both references are the untouched base.
        outside = (
            reference(self.job.host, [*train, *validation]) if spec.reference == "base" and self.job.history else None
        )
        labels: dict[str, Any] = {"adapter_id": name, "run": self.run, "unit": unit}
        healed = self._healed(train, validation, spec, tau=tau, reference=outside, **labels)
        shown, held = ([each.completion_id for each in part] for part in (train, validation))
        return self._adapter(name, role, spec, healed, shown, held, tau, unit)

    def _adapter(
        self,
        name: str,
        role: AdapterRole,
        spec: HealSpec,
        healed: Healed,
        train: Sequence[str],
        validation: Sequence[str],
        tau: float | None,
        unit: str,
    ) -> list[Record]:
        """What was trained on these completions, and the course of it."""
        adapter = Adapter(
            run_id=self.run,
            unit_id=unit,
            adapter_id=name,
            round=self.job.spec.round,
            role=role,
            artifact=self.memory.put_tensors(healed.tensors),
            history=[layered.adapter.adapter_id for layered in self.job.history],
            fingerprint=self.job.spec.fingerprint,
            config=canonical(spec),
            rank=spec.rank,
            alpha=spec.alpha,
            targets=list(healed.targets),
            first_block=healed.first_block,
            last_block=healed.last_block,
            train_texts=len(train),
            validation_texts=len(validation),
            train_tokens=healed.train_tokens,
            tau=tau,
        )
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit, "adapter_id": name}
        parts = [*((each, "train") for each in train), *((each, "validation") for each in validation)]
        texts = [HealText(**own, completion_id=each, part=part) for each, part in parts]  # type: ignore[arg-type]
        return [adapter, *texts, *healed.steps, *healed.epochs]

    def _healed(self, train: Sequence[Example], validation: Sequence[Example], spec: HealSpec, **asked: Any) -> Healed:
        """The training itself, on top of what is baked in."""
        with self._state():
            return heal(self.job.host, train, validation, spec, seed=self.job.spec.seed, **asked)

    def _tau(self, plain: Adapter | None, spec: HealSpec) -> float | None:
        """Where the barrier begins: nats as given, or a quantile of what that adapter's training without it showed."""
        steps = [s for s in only(HealStep, self.records) if plain and s.adapter_id == plain.adapter_id]
        return observed_tau(steps, spec)

    def layered(self, adapter: Adapter) -> Layered:
        """An adapter with its tensors."""
        return Layered(adapter, self.memory.get_tensors(adapter.artifact))

    def _scored(self, unit: str, kind: ArmKind, adapter: Adapter, strength: float = 0.0) -> list[Record]:
        """The student that an adapter makes, scored."""
        with self._state(self.layered(adapter)):
            return self._scorer().score(unit, kind, strength=strength, adapter_id=adapter.adapter_id)

    def _figure(self, adapter: Adapter, quantity: str, value: float, named: str, unit: str) -> AdapterFigure:
        return AdapterFigure(
            run_id=self.run,
            unit_id=unit,
            adapter_id=adapter.adapter_id,
            quantity=quantity,
            value=value,
            unit=named,
        )
