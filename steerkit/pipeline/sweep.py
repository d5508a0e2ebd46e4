"""A sweep's pipeline: adopt > score > heal without a constraint > heal and score every point of the grid > judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from steerkit.gates.gate3_heal import effects, measured
from steerkit.pipeline.healing import Gate3Job, Healing
from steerkit.pipeline.study import Memory, Step, Work, own_columns
from steerkit.records import Adapter, Effect, Record
from steerkit.spec import canonical, digest
from steerkit.spec_heal import HealSpec, SweepSpec
from steerkit.stages.assemble import gate3_evidence, only
from steerkit.stages.heal import Example, Healed, HealStopped


@dataclass
class _Sweep(Healing):
    """A sweep under way."""

    def points(self) -> list[HealSpec]:
        """Every point of the grid."""
        spec = self.job.spec
        assert isinstance(spec, SweepSpec)
        return list(spec.grid.points(spec.heal))

    def free(self) -> list[HealSpec]:
        """Trainings without a constraint, one for each divergence and reference that a quantile is taken of.

        They make one adapter, and differ in what is measured while it is trained. The first is there in any case: it
        is what a barrier that never fires is identical to.
        """
        heal, points = self.job.spec.heal, self.points()
        asked = [p for p in points if p.divergence != "none" and p.tau_rule()[0] == "quantile"] or points[:1]
        return [_measuring(heal, *kind) for kind in dict.fromkeys((p.divergence, p.reference) for p in asked)]

    def total(self) -> int:
        """How many units the run has."""
        return 4 + len(self.free()) + 2 * len(self.points())

    def train_free(self, spec: HealSpec) -> Work:
        """The work of training an adapter without a constraint."""
        return lambda unit: self._trained(self.name_of("plain", spec), "plain", spec, self.texts(), None, unit)

    def train(self, point: HealSpec) -> Work:
        """The work of training one point's adapter."""

        def work(unit: str) -> list[Record]:
            tau = None
            if point.divergence != "none":
                seen = _measuring(self.job.spec.heal, point.divergence, point.reference)
                tau = self._tau(self.adapter(self.name_of("plain", seen)), point)
            return self._trained(self.name_of("swept", point), "swept", point, self.texts(), tau, unit)

        return work

    def _healed(self, train: Sequence[Example], validation: Sequence[Example], spec: HealSpec, **asked: Any) -> Healed:
        """The training; of one that breaks, the steps before that: the other points can still be had."""
        try:
            return super()._healed(train, validation, spec, **asked)
        except HealStopped as error:
            return error.healed

    def texts(self) -> list[Any]:
        """What every adapter is trained on."""
        return [text.completion for text in self.kept()]

    def name_of(self, role: str, spec: HealSpec) -> str:
        """An adapter's id: each point has its own."""
        return digest(self.run, role, canonical(spec))

    def adapter(self, name: str) -> Adapter | None:
        """The adapter of that id, once it is trained."""
        return next((adapter for adapter in only(Adapter, self.records) if adapter.adapter_id == name), None)

    def score(self, role: Any, spec: HealSpec) -> Work:
        """The work of scoring the student that an adapter makes."""

        def work(unit: str) -> list[Record]:
            adapter = self.adapter(self.name_of(role, spec))
            assert adapter is not None
            return self._scored(unit, role, adapter)

        return work

    def judge(self, unit: str) -> list[Record]:
        """Every quantity of every arm with its interval."""
        job = self.job
        verdicts = (job.gate1_verdict, job.gate2_verdict)
        evidence = gate3_evidence(self.records, job.spec, job.persona, self.dose(), {}, *verdicts)
        found = effects(measured(evidence, job.gate_config.resamples), job.gate_config)
        return [Effect(run_id=self.run, unit_id=unit, **own_columns(effect, Effect)) for effect in found]


def sweep(job: Gate3Job, memory: Memory) -> Iterator[Step]:
    """adopt > score > heal without a constraint > heal and score each point > judge, one step per unit of work."""
    study = _Sweep(job, memory)
    yield study.step("adopt", "gate 1's arms", study.adopt)
    yield study.step("score", "steered at the texts' dose", study.score_steered)
    for spec in study.free():
        name = f"plain, {spec.divergence} from {spec.reference}"
        yield study.step("heal", name, study.train_free(spec))
    yield study.step("score", "plain", study.score("plain", study.free()[0]))
    for point in study.points():
        yield study.step("heal", named(point), study.train(point))
        yield study.step("score", named(point), study.score("swept", point))
    yield study.step("judge", "sweep", study.judge)


def named(point: HealSpec) -> str:
    """A point of a grid in words that no other point has."""
    size = f"wd {point.weight_decay!r} spectral {point.spectral!r}"
    if point.divergence == "none":
        return f"none {size}"
    barrier = f"{point.divergence} {point.aggregate} {point.reference} lam {point.lam!r} tau {point.tau}"
    return f"{barrier} {size}"


def _measuring(heal: HealSpec, divergence: Any, reference: Any) -> HealSpec:
    """The settings of the training without a constraint, that divergence being measured."""
    return replace(heal, divergence=divergence, reference=reference)
