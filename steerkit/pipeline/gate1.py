"""Gate 1's pipeline: base > capture > fit > dose > score > write > judge, one step per unit of work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_states
from typing import Any

import msgspec
from msgspec.structs import replace

from steerkit.evidence import Extraction
from steerkit.gates import gate1_steer
from steerkit.gates._gate1_measured import judged_arm, measured
from steerkit.host import Writing, chat_ids
from steerkit.host.places import Place, block_of, entry_block, places
from steerkit.inputs import Context, Dilemma, drawn
from steerkit.pipeline.scorer import Scorer, need_readable
from steerkit.pipeline.study import Job, Memory, Step, Study, Work, own_columns, restored
from steerkit.plugins import load_method, load_text_method
from steerkit.records import (
    Answer,
    Arm,
    ArmKind,
    Calibration,
    Completion,
    Direction,
    Dose,
    Effect,
    Prior,
    Record,
    Verdict,
)
from steerkit.spec import RunSpec, digest
from steerkit.stages.assemble import gate1_evidence, only
from steerkit.stages.capture import Captured, band, capture
from steerkit.stages.dose import calibrate, ladder, widened
from steerkit.stages.fit import fit, kept, mean_norm, nulls, tensors
from steerkit.stages.heading import projected
from steerkit.stages.rejudge import likelihood
from steerkit.stages.score import level, set_mean_prior
from steerkit.stages.steer import Fitted
from steerkit.stages.write import ordered, write

WIDENINGS = 3
"""How often a ladder that missed the target is extended, each time about 25-fold."""
NULL_RUNGS = (0.8, 1.3, 2.0, 3.2)
"""First rungs of a null direction, relative to the real direction's calibrated residual norm."""


@dataclass(frozen=True, kw_only=True)
class Gate1Job(Job):
    """A spec of gate 1 with everything it names, loaded."""

    spec: RunSpec
    contexts: tuple[Context, ...]
    dilemmas: tuple[Dilemma, ...]
    method_config: Any
    instrument_config: Any
    prior: tuple[Prior, ...] = ()
    """Where the run starts from a student: the label bias of the model that student was made from."""
    vector: Fitted | None = None
    """Where the direction was made elsewhere: that direction."""
    first: Fitted | None = None
    """Where the run starts from a student: the direction that was fitted on that model."""


@dataclass
class _Gate1(Study):
    """Gate 1 under way: the records so far and what later stages need of earlier ones."""

    job: Gate1Job
    captured: Captured | None = None
    directions: list[Fitted] = field(default_factory=list)
    reads: Scorer | None = None

    def headline(self, records: list[Record]) -> str:
        """The target's level on the base, or its shift in a steered arm; what a waiting user wants to know first."""
        arms = [arm for arm in only(Arm, records) if arm.kind in ("base", "steered", "prompt")]
        if not arms:
            return ""
        target, prior = self.job.persona.target, only(Prior, self.records)
        nats, mass = level(only(Answer, records), prior, target)
        if arms[0].kind == "base":
            return f"{target} {nats:+.2f} nats, answer mass {mass:.2f}"
        base_id = next(arm.arm_id for arm in only(Arm, self.records) if arm.kind == "base")
        base = [answer for answer in only(Answer, self.records) if answer.arm_id == base_id]
        base_nats, base_mass = level(base, prior, target)
        return f"d{target} {nats - base_nats:+.2f} nats, coherence {mass / base_mass:.2f}"

    def total(self) -> int:
        """How many units the run has."""
        dose = self.job.spec.dose
        arms: int = len(dose.multiples) + len(dose.negative_multiples)
        return arms + (dose.random_directions + dose.shuffled_directions) * dose.null_doses + 7

    def blocks(self) -> tuple[int, ...]:
        """The steered blocks."""
        inside = band(self.job.host, self.job.spec.capture)
        if self.job.vector is None:
            return inside
        held = {block_of(place) for place in self.job.vector.states}
        return tuple(block for block in inside if block in held)

    def site(self) -> str:
        """Where the method acts."""
        return load_method(self.job.spec.method).SITE

    def acting(self) -> tuple[Place, ...]:
        """The places that are steered."""
        return places(self.job.host, self.site(), self.blocks())

    def scorer(self) -> Scorer:
        """What every arm is read with."""
        if self.reads is None:
            job = self.job
            first = entry_block(self.acting())
            self.reads = Scorer(job.host, job.spec, job.vignettes, job.instrument_config, self.run, first)
        return self.reads

    def score(self, kind: ArmKind, fitted: Fitted | None, strength: float, dose: float) -> Work:
        """The work of scoring one arm."""
        prompt = load_text_method("prompt")
        system = prompt.words(self.job.persona, "positive", prompt.Config()) if kind == "prompt" else None
        return lambda unit: self.scorer().score(unit, kind, fitted, strength, dose, system=system)

    def base(self, unit: str) -> list[Record]:
        """The base arm with the label-bias prior, which only the base may define."""
        scored = self.score("base", None, 0.0, 0.0)(unit)
        base = only(Answer, scored)
        need_readable(base, [vignette.foundation for vignette in self.job.vignettes], self.job.persona.target)
        if self.job.spec.history:
            return [*scored, *(replace(prior, run_id=self.run, unit_id=unit) for prior in self.job.prior)]
        prior = set_mean_prior(only(Arm, scored)[0], base)
        return [*scored, *(prior if self.job.instrument_config.prior == "set-mean" else [])]

    def fit(self, unit: str) -> list[Record]:
        """Capture activations once, fit the method and its null directions, and keep their tensors."""
        spec, config = self.job.spec, self.job.method_config
        chosen, _ = drawn(self.job.contexts, spec.capture.contexts, spec.seed)
        texts = [context.text for context in chosen]
        topics = [context.category for context in chosen]
        captured = capture(self.job.host, self.job.persona, texts, self.blocks(), self.site(), topics)
        real = self._brought() or self._headed(fit(captured, spec.method, config, self.run))
        seed = spec.seed * 1000
        empty = [
            null
            for kind, count in (("random", spec.dose.random_directions), ("shuffled", spec.dose.shuffled_directions))
            for null in nulls(captured, spec.method, config, self.run, kind, range(seed, seed + count))
        ]
        self.captured, self.directions = captured, [real, *empty]
        return [record for fitted in self.directions for record in self._kept(fitted, unit)]

    def _brought(self) -> Fitted | None:
        """The direction that was made elsewhere, at the steered blocks."""
        vector = self.job.vector
        if vector is None:
            return None
        name = digest(self.run, vector.method, "real")
        acting = self.acting()
        return with_states(vector, direction_id=name, states={p: s for p, s in vector.states.items() if p in acting})

    def _headed(self, fresh: Fitted) -> Fitted:
        """The direction that was asked for: the fresh one, the first one, or the fresh one projected on it."""
        first, asked = self.job.first, self.job.spec.direction
        if first is None or asked == "fresh":
            return fresh
        return with_states(fresh, states=first.states) if asked == "first" else projected(fresh, first)

    def _kept(self, fitted: Fitted, unit: str) -> list[Record]:
        assert self.captured is not None
        artifact = self.memory.put_tensors(tensors(fitted))
        return kept(self.captured, fitted, artifact, self.run, unit)

    def restore(self) -> None:
        """The fitted directions from their records, when the unit that fitted them was remembered."""
        found = only(Direction, self.records)
        self.directions = self.directions or restored(self.job.host, found, self.memory.get_tensors)

    def extraction(self) -> Extraction:
        """The facts of the capture."""
        return msgspec.json.decode(only(Direction, self.records)[0].extraction, type=Extraction)

    def prompts(self) -> list[list[int]]:
        """Chat prompts for calibration, from contexts that were not used for extraction."""
        spec = self.job.spec
        _, held_out = drawn(self.job.contexts, spec.capture.contexts, spec.seed)
        return [chat_ids(self.job.host, context.text) for context in held_out[: spec.dose.prompts]]

    def calibrate_real(self, unit: str) -> list[Record]:
        """The real direction's ladder and calibrated strength."""
        real = self.directions[0]
        rungs = [(real, strength) for strength in self.job.spec.dose.ladder]
        return self._calibrated(rungs, self.prompts(), unit)

    def calibrate_nulls(self, unit: str) -> list[Record]:
        """All null directions' ladders in one batch, around the residual norm of the real one's dose."""
        real, *empty = self.directions
        reached, prompts = self.unit_strength() * mean_norm(real), self.prompts()[: self.job.spec.dose.null_prompts]
        return self._calibrated(
            [(n, reached / mean_norm(n) * rung) for n in empty for rung in NULL_RUNGS], prompts, unit
        )

    def _calibrated(
        self, rungs: Sequence[tuple[Fitted, float]], prompts: Sequence[list[int]], unit: str
    ) -> list[Record]:
        dose = self.job.spec.dose
        by_id = {fitted.direction_id: fitted for fitted, _ in rungs}
        doses: dict[str, list[Dose]] = {name: [] for name in by_id}
        found: dict[str, Calibration] = {}
        for _ in range(1 + WIDENINGS):
            for rung in ladder(self.job.host, rungs, prompts, dose.tokens, self.run, unit):
                doses[rung.direction_id].append(rung)
            found = {name: calibrate(doses[name], dose.target, self.run, unit) for name in by_id}
            missed = [name for name, calibration in found.items() if calibration.strength is None]
            rungs = [(by_id[n], strength) for n in missed for strength in widened(doses[n], dose.target, 1.5)]
            if not rungs:
                break
        return [*(d for group in doses.values() for d in group), *found.values()]

    def unit_strength(self) -> float:
        """The real direction's calibrated strength; its natural step when it is uncalibrated."""
        return self.strengths().get(self.directions[0].direction_id, 1.0)

    def strengths(self) -> dict[str, float]:
        """Calibrated strength by direction."""
        return {c.direction_id: c.strength for c in only(Calibration, self.records) if c.strength is not None}

    def null_doses(self) -> list[float]:
        """The doses around the operating point, at which the null directions are scored."""
        config, multiples = self.job.gate_config, sorted(self.job.spec.dose.multiples)
        study = measured(self.evidence(), config.resamples)
        arm = judged_arm(study, config)
        centre = multiples.index(arm.arm.dose) if arm else len(multiples) // 2
        count = min(self.job.spec.dose.null_doses, len(multiples))
        first = min(max(0, centre - count // 2), len(multiples) - count)
        return multiples[first : first + count]

    def write(self, unit: str) -> list[Record]:
        """Greedy texts of the base and of every dose of the real direction."""
        spec = self.job.spec
        arms = [arm for arm in only(Arm, self.records) if arm.kind in ("base", "steered")]
        prompts = [d for d in self.job.dilemmas if d.kind == "pressure"][: spec.texts]
        orders = ordered(self.directions[0], arms, prompts)
        written = write(self.job.host, orders, spec.text_tokens, Writing(), self.run, unit)
        if self.job.student is None:
            return written
        # Perplexities are the untouched base's, whoever wrote.
        read = {t.completion_id: t for t in likelihood(self.job.host, self.job.student, only(Completion, written))}
        return [read[record.completion_id] if isinstance(record, Completion) else record for record in written]

    def evidence(self) -> Any:
        """What has been measured so far."""
        return gate1_evidence(self.records, self.job.persona, self.extraction(), self.job.spec.seed)

    def judge(self, unit: str) -> list[Record]:
        """Every effect with its interval and every check's verdict."""
        judgement = gate1_steer.judge(self.evidence(), self.job.gate_config)
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit}
        effects = [Effect(**own, **own_columns(effect, Effect)) for effect in judgement.effects]
        if judgement.operating is not None:
            arm, p = judgement.operating, judgement.p_null
            effects.append(
                Effect(**own, arm_id=arm.arm_id, quantity="operating", value=arm.dose, low=None, high=None, p_null=p)
            )
        return [*effects, *(Verdict(**own, gate="gate1", **own_columns(v, Verdict)) for v in judgement.verdicts)]


def gate1(job: Gate1Job, memory: Memory) -> Iterator[Step]:
    """base > capture > fit > dose > score > write > judge, one step per unit of work."""
    study = _Gate1(job, memory)
    dose = job.spec.dose
    yield study.step("score", "base", study.base)
    yield study.step("fit", job.spec.method, study.fit)
    study.restore()
    yield study.step("dose", job.spec.method, study.calibrate_real)
    real, *empty = study.directions
    unit = study.unit_strength()
    for multiple in (*dose.multiples, *(-m for m in dose.negative_multiples)):
        yield study.step(
            "score", f"{job.spec.method} {multiple:+g}", study.score("steered", real, multiple * unit, multiple)
        )
    yield study.step("score", "prompt", study.score("prompt", None, 0.0, 0.0))
    yield study.step("write", "texts", study.write)
    yield study.step("dose", "nulls", study.calibrate_nulls)
    reached = study.strengths()
    for multiple in study.null_doses():
        for number, null in enumerate(empty):
            if null.direction_id in reached:
                work = study.score(null.kind, null, multiple * reached[null.direction_id], multiple)  # type: ignore[arg-type]
                yield study.step("score", f"{null.kind} {number} {multiple:+g}", work)
    yield study.step("judge", "gate1", study.judge)
