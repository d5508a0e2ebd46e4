"""Gate 3's pipeline: adopt > score > heal > write controls > heal > write > measure > judge, one step per unit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from steerkit.gates import gate3_heal
from steerkit.host import Writing, chat_ids
from steerkit.host.sampling import Sampling
from steerkit.inputs import Dilemma
from steerkit.pipeline.scorer import NOTHING_SKIPPED, Scorer
from steerkit.pipeline.study import Job, Memory, Step, Study, Work, own_columns
from steerkit.records import (
    Adapter,
    AdapterFigure,
    AdapterRole,
    Answer,
    Arm,
    Completion,
    Effect,
    FilterDecision,
    FilterSet,
    HealStep,
    HealText,
    Prior,
    Record,
    Verdict,
)
from steerkit.spec import Gate2Spec, RunSpec, canonical, digest
from steerkit.spec_heal import Control, Gate3Spec
from steerkit.stages.assemble import gate3_evidence, only
from steerkit.stages.bake import Layered, combined, folds, stack
from steerkit.stages.filter import behind, decide
from steerkit.stages.heal import Example, Reference, examples, heal, observed_tau, overfit, reference, split
from steerkit.stages.narrate import narrated
from steerkit.stages.rejudge import divergence as rejudged
from steerkit.stages.rejudge import divergences
from steerkit.stages.score import level
from steerkit.stages.shift import cosine, shift
from steerkit.stages.steer import Fitted
from steerkit.stages.student import Student, student
from steerkit.stages.training import Kept, control_orders, gain_over_base, taken
from steerkit.stages.write import Order, write

SEEDS = {"unsteered": 60_000, "random": 65_000, "persona": 70_000, "negative": 75_000}
SEEDS_PER_RUN = 1_000_000
ROUNDS_OF_WRITING = 3
"""How often more control texts are written when too few survive."""
TEACHER_PROMPTS = 24
"""Prompts at which a student's own shift is read."""
UNMOVED = 0.3
"""Below this shift of the plain adapter's arm, one batch is overfit to see whether anything can be learned (nats)."""
FOLDED = 4
"""Texts at which a folded adapter is compared with one beside the weights."""
BY_HEART = 4
"""Texts of that batch."""
WEIGHT_SCALES = (0.5, 1.0)
"""Scales of weight steering that are scored."""
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
class _Gate3(Study):
    """Gate 3 under way."""

    job: Gate3Job
    reference: Reference | None = field(default=None, repr=False)

    def total(self) -> int:
        """How many units the run has."""
        spec = self.job.spec
        return 12 + 4 * len(spec.controls) + 5 * spec.weights

    def headline(self, records: list[Record]) -> str:
        """What an adapter's training or its arm shows."""
        steps = only(HealStep, records)
        if steps:
            return f"NLL {steps[0].nll:.2f} to {steps[-1].nll:.2f} in {len(steps)} steps"
        arms = [arm for arm in only(Arm, records) if arm.unit_id and arm.kind not in ADOPTED]
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
            scorer = self._scorer(min(self.job.direction.states))
            newest = self.job.history[-1].adapter.adapter_id if self.job.history else None
            return scorer.score(
                unit, "steered", self.job.direction, dose * self.job.unit_strength, dose, adapter_id=newest
            )

    def _scorer(self, first_block: int = NOTHING_SKIPPED) -> Scorer:
        job = self.job
        return Scorer(job.host, job.gate1_spec, job.vignettes, job.instrument_config, self.run, first_block)

    def write_control(self, control: Control) -> Work:
        """As many texts of another origin to the same prompts, judged by the same checks."""

        def work(unit: str) -> list[Record]:
            kept, wanted = self.kept(), len(self.kept())
            thresholds = self._thresholds(control)
            filter_id = digest(self.run, control, thresholds)
            texts: list[Completion] = self._unsteered() if control == "unsteered" else []
            decisions = self._decided(texts, thresholds, unit, filter_id)
            with self._state() as now:
                for number in range(ROUNDS_OF_WRITING):
                    missing = wanted - len(_surviving(texts, decisions))
                    if missing <= 0:
                        break
                    more = self._written(now, self._orders(control, kept, missing, number), unit)
                    texts += more
                    decisions += self._decided(more, thresholds, unit, filter_id)
            made = [text for text in texts if text.run_id == self.run]
            found = FilterSet(
                run_id=self.run, unit_id=unit, filter_id=filter_id, seq=0, thresholds=canonical(thresholds)
            )
            return [*made, found, *decisions]

        return work

    def _thresholds(self, control: Control) -> dict[str, float]:
        """Gate 2's; an unsteered text may of course be near to what the base says."""
        given = dict(self.job.gate2_spec.filters)
        if control == "unsteered":
            given.pop("base_copy", None)
        return given

    def _unsteered(self) -> list[Completion]:
        return [text for text in only(Completion, self.job.gate2) if text.role == "base"]

    def _orders(self, control: Control, kept: Sequence[Kept], missing: int, number: int) -> list[Order]:
        seed = self.job.spec.seed * SEEDS_PER_RUN + SEEDS[control] + 1000 * number
        prompts = {prompt.id: prompt for prompt in self.job.prompts}
        system = self.job.persona.system_prompt("positive") if control == "persona" else None
        nulls = self.job.nulls if control == "random" else ()
        return control_orders(control, kept, prompts, missing, seed, nulls, system)

    def _written(self, now: Student, orders: Sequence[Order], unit: str) -> list[Completion]:
        texts = self.job.gate2_spec.texts
        found: list[Completion] = []
        for first in range(0, len(orders), texts.batch):
            part = orders[first : first + texts.batch]
            writing = Writing(Sampling(texts.temperature, texts.top_p), [order.seed or 0 for order in part])
            found += only(Completion, write(self.job.host, part, texts.length, writing, self.run, unit))
        return self._read(now, rejudged(self.job.host, now, found) if self.job.history else found)

    def _read(self, now: Student, texts: Sequence[Completion]) -> list[Completion]:
        """The texts with how much their speakers describe themselves, as the untouched base reads them."""
        with now.off():
            return narrated(self.job.host, self.reader, texts)

    def _decided(
        self, texts: Sequence[Completion], thresholds: dict[str, float], unit: str, filter_id: str
    ) -> list[FilterDecision]:
        background = behind(only(Completion, self.job.gate2), self.job.gate2_spec)
        return decide(texts, background, thresholds, run=self.run, unit=unit, filter_id=filter_id)

    # -- healing ----------------------------------------------------------------------------------------------------

    def training_texts(self, role: AdapterRole) -> list[Completion]:
        """What an adapter of that role is trained on."""
        kept = [text.completion for text in self.kept()]
        if role in ("healed", "plain"):
            return kept
        control = {"pole-positive": "control-persona", "pole-negative": "pole"}.get(role, role)
        made = only(Completion, self.records)
        if control == "control-unsteered":
            made = [*self._unsteered(), *made]
        pool = [text for text in made if text.role in (control, "base" if control == "control-unsteered" else control)]
        return _surviving(pool, only(FilterDecision, self.records))[: len(kept)]

    def train(self, role: AdapterRole) -> Work:
        """The work of training one adapter."""
        return lambda unit: self._trained(role, unit)

    def _trained(self, role: AdapterRole, unit: str) -> list[Record]:
        spec, texts = self.job.spec.heal, self.training_texts(role)
        constrained = spec.divergence != "none" and role != "plain" and not role.startswith("pole")
        tau = self.tau() if constrained else None
        made = examples(self.job.host, texts, spec.system_prompt)
        train, validation = split(made, [text.prompt_id for text in texts], spec.validation, self.job.spec.seed)
        name = digest(self.run, role)
        outside = self._reference([*train, *validation]) if spec.reference == "base" and self.job.history else None
        with self._state():
            healed = heal(
                self.job.host,
                train,
                validation,
                spec,
                tau=tau,
                seed=self.job.spec.seed,
                adapter_id=name,
                run=self.run,
                unit=unit,
                reference=outside,
            )
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
        parts = [*((each, "train") for each in train), *((each, "validation") for each in validation)]
        return [adapter, *(self._heal_text(name, *part, unit) for part in parts), *healed.steps, *healed.epochs]

    def _heal_text(self, name: str, example: Example, part: Any, unit: str) -> HealText:
        return HealText(run_id=self.run, unit_id=unit, adapter_id=name, completion_id=example.completion_id, part=part)

    def _reference(self, made: Sequence[Example]) -> Reference:
        """What the untouched base says at the places that are trained."""
        return reference(self.job.host, made)

    def tau(self) -> float | None:
        """Where the barrier begins: nats as given, or a quantile of what the plain adapter's training showed."""
        plain = self.adapter("plain")
        steps = [s for s in only(HealStep, self.records) if plain and s.adapter_id == plain.adapter_id]
        return observed_tau(steps, self.job.spec.heal)

    def adapter(self, role: AdapterRole) -> Adapter | None:
        """The adapter of that role, once it is trained."""
        return next((adapter for adapter in only(Adapter, self.records) if adapter.role == role), None)

    def layered(self, adapter: Adapter) -> Layered:
        """An adapter with its tensors."""
        return Layered(adapter, self.memory.get_tensors(adapter.artifact))

    # -- what came of it --------------------------------------------------------------------------------------------

    def score(self, role: AdapterRole) -> Work:
        """The work of scoring the student an adapter makes, and of checking that folding it in changed nothing."""

        def work(unit: str) -> list[Record]:
            adapter = self._needed(role)
            made = stack(self.job.host, [*self.job.history, self.layered(adapter)])
            texts = [[*chat_ids(self.job.host, t.prompt), *(t.token_ids or [])] for t in self.training_texts("healed")]
            fold = folds(self.job.host, made, texts[:FOLDED])
            with student(self.job.host, made):
                scored = self._scorer().score(unit, role, adapter_id=adapter.adapter_id)  # type: ignore[arg-type]
            return [
                *scored,
                self._figure(adapter, "kl_hooked_baked", fold.gap, "nats per token", unit),
                self._figure(adapter, "kl_hooked_rounded", fold.rounded, "nats per token", unit),
            ]

        return work

    def _needed(self, role: AdapterRole) -> Adapter:
        found = self.adapter(role)
        assert found is not None, role
        return found

    def _figure(self, adapter: Adapter, quantity: str, value: float, named: str, unit: str) -> AdapterFigure:
        return AdapterFigure(
            run_id=self.run,
            unit_id=unit,
            adapter_id=adapter.adapter_id,
            quantity=quantity,
            value=value,
            unit=named,
        )

    def answers_of(self, kind: str) -> Work:
        """Greedy answers of an arm to prompts that no text was collected on, in both contexts."""

        def work(unit: str) -> list[Record]:
            arm = next(
                a for a in only(Arm, self.records) if a.kind == kind and (kind != "steered" or a.dose == self.dose())
            )
            adapter = next((a for a in only(Adapter, self.records) if a.adapter_id == arm.adapter_id), None)
            new = [self.layered(adapter)] if adapter else []
            steered = self.job.direction if kind == "steered" else None
            host, held = self.job.host, self.job.spec.held_out
            contexts = (self.job.spec.heal.system_prompt or None, held.system_prompt)
            orders = [
                Order("greedy", prompt, steered, arm.strength, arm.dose, arm_id=arm.arm_id, system=system)
                for system in contexts
                for prompt in self.job.held_out
            ]
            opened: Callable[[], AbstractContextManager[Student]] = (
                self._base if kind == "base" else lambda: self._state(*new)
            )
            with opened() as now:
                texts = only(Completion, write(host, orders, held.length, Writing(), self.run, unit))
                if kind not in ("base", "steered") or (kind == "steered" and self.job.history):
                    texts = rejudged(host, now, texts)
                texts = self._read(now, texts)
            return texts  # type: ignore[return-value]

        return work

    @contextmanager
    def _base(self) -> Iterator[Student]:
        with student(self.job.host, stack(self.job.host, [])) as made:
            yield made

    def measure(self, unit: str) -> list[Record]:
        """How far the healed student went, whether its shift is the teacher's, and whether it narrates."""
        adapter = self._needed("healed")
        arm = next(arm for arm in only(Arm, self.records) if arm.adapter_id == adapter.adapter_id)
        texts = [text for text in only(Completion, self.records) if text.arm_id == arm.arm_id]
        found: dict[str, tuple[float, str]] = {}
        kl = [value for text in texts for value in text.token_kl]
        if kl:
            ranked = sorted(kl)
            found["kl_base_mean"] = (sum(kl) / len(kl), "nats per token")
            found["kl_base_p95"] = (ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))], "nats per token")
            found["kl_previous_mean"] = (self._from_previous(adapter, texts), "nats per token")
        found["cosine_teacher"] = (self._cosine(adapter), "cosine")
        acting = [d.keep for d in self._decided(texts, self.job.gate2_spec.filters, unit, "") if d.name == "narration"]
        if acting:
            found["narrated_share"] = (1 - sum(acting) / len(acting), "fraction")
        gain = gain_over_base(self.job.gate2, self.kept())
        if gain is not None:
            found["gain"] = (gain, "nats per token")
        return [self._figure(adapter, name, value, named, unit) for name, (value, named) in found.items()]

    def _from_previous(self, adapter: Adapter, texts: Sequence[Completion]) -> float:
        """Mean KL per token between the student and the one the round started from, on the student's own texts."""
        kl = [value for text in texts for value in text.token_kl]
        if self.job.history:
            with self._state(self.layered(adapter)) as now:

                @contextmanager
                def before() -> Iterator[None]:
                    with now.off(), self._state():
                        yield

                kl = [value for each in divergences(self.job.host, texts, before) for value in each]
        return sum(kl) / len(kl)

    def _cosine(self, adapter: Adapter) -> float:
        """Cosine between the student's own shift of the residual stream and the teacher's vector."""
        blocks = sorted(self.job.direction.states)
        prompts = [chat_ids(self.job.host, prompt.text) for prompt in self.job.prompts[:TEACHER_PROMPTS]]
        with self._state():
            before = shift(self.job.host, prompts, blocks)
        with self._state(self.layered(adapter)):
            after = shift(self.job.host, prompts, blocks)
        return cosine(before, after, self.job.direction)

    def overfit(self, unit: str) -> list[Record]:
        """Whether one batch can be learned by heart: where not, nothing else could have been learned."""
        spec, adapter = self.job.spec.heal, self._needed("plain")
        made = examples(self.job.host, self.training_texts("plain"), spec.system_prompt)[:BY_HEART]
        with self._state():
            first, last = overfit(self.job.host, made, spec, self.job.spec.seed)
        return [
            self._figure(adapter, "overfit_first", first, "nats per token", unit),
            self._figure(adapter, "overfit_last", last, "nats per token", unit),
        ]

    # -- weight steering --------------------------------------------------------------------------------------------

    def write_negative(self, unit: str) -> list[Record]:
        """Texts under the other pole of the persona."""
        kept = self.kept()
        thresholds = self._thresholds("persona")
        filter_id = digest(self.run, "negative", thresholds)
        prompts = {prompt.id: prompt for prompt in self.job.prompts}
        system = self.job.persona.system_prompt("negative")
        seed = self.job.spec.seed * SEEDS_PER_RUN + SEEDS["negative"]
        with self._state() as now:
            orders = control_orders("persona", kept, prompts, len(kept), seed, (), system, role="pole")
            texts = self._written(now, orders, unit)
        decisions = self._decided(texts, thresholds, unit, filter_id)
        found = FilterSet(run_id=self.run, unit_id=unit, filter_id=filter_id, seq=0, thresholds=canonical(thresholds))
        return [*texts, found, *decisions]

    def combine(self, scale: float) -> Work:
        """The positive pole's update less the negative pole's, scaled, as one adapter, and its arm."""

        def work(unit: str) -> list[Record]:
            positive, negative = (self.layered(self._needed(role)) for role in ("pole-positive", "pole-negative"))
            made = combined(positive, negative, scale)
            adapter = replace(
                positive.adapter,
                unit_id=unit,
                adapter_id=digest(self.run, "weights", scale),
                role="weights",
                artifact=self.memory.put_tensors(made),
                rank=positive.adapter.rank + negative.adapter.rank,
                alpha=float(positive.adapter.rank + negative.adapter.rank),
            )
            with self._state(Layered(adapter, made)):
                scored = self._scorer().score(unit, "weights", strength=scale, adapter_id=adapter.adapter_id)
            return [adapter, *scored]

        return work

    # -- the verdict ------------------------------------------------------------------------------------------------

    def _evidence(self, records: Sequence[Record]) -> Any:
        job = self.job
        trained = [adapter.role for adapter in only(Adapter, records) if adapter.role != "weights"]
        texts: dict[str, list[Completion]] = {role: self.training_texts(role) for role in trained}
        return gate3_evidence(records, job.spec, job.persona, self.dose(), texts, job.gate1_verdict, job.gate2_verdict)

    def moved(self, role: AdapterRole) -> float:
        """How far the arm of an adapter moved the target towards the trait (nats)."""
        arm = next(arm for arm in only(Arm, self.records) if arm.kind == role)
        return self._glance(arm, self.records)[0] * self.job.spec.sign

    def judge(self, unit: str) -> list[Record]:
        """Every quantity with its interval and every check's verdict."""
        judgement = gate3_heal.judge(self._evidence(self.records), self.job.gate_config)
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit}
        return [
            *(Effect(**own, **own_columns(effect, Effect)) for effect in judgement.effects),
            *(Verdict(**own, gate="gate3", **own_columns(verdict, Verdict)) for verdict in judgement.verdicts),
            self._label(judgement, unit),
        ]

    def _label(self, judgement: gate3_heal.Judgement, unit: str) -> Verdict:
        """Healed, undone or what else, as a verdict of its own."""
        others = [name for name in judgement.possible if name != judgement.label]
        return Verdict(
            run_id=self.run,
            unit_id=unit,
            gate="gate3",
            name="label",
            kind="label",
            status=judgement.label,
            value=None,
            threshold=None,
            detail=judgement.why + (f"; the intervals leave {' or '.join(others)}" if others else ""),
            next_step=gate3_heal.ADVICE[judgement.label],
        )


def gate3(job: Gate3Job, memory: Memory) -> Iterator[Step]:
    """adopt > score > write controls > heal > score > write > measure > judge, one step per unit of work."""
    study = _Gate3(job, memory)
    controls: list[AdapterRole] = [f"control-{control}" for control in job.spec.controls]  # type: ignore[misc]
    yield study.step("adopt", "gate 1's arms", study.adopt)
    yield study.step("score", "steered at the texts' dose", study.score_steered)
    yield study.step("heal", "plain", study.train("plain"))
    yield study.step("score", "plain", study.score("plain"))
    yield study.step("heal", "healed", study.train("healed"))
    yield study.step("score", "healed", study.score("healed"))
    for control in job.spec.controls:
        yield study.step("write", f"control-{control}", study.write_control(control))
    for role in controls:
        yield study.step("heal", role, study.train(role))
        yield study.step("score", role, study.score(role))
    for kind in ("base", "steered", "plain", "healed"):
        yield study.step("write", f"{kind} answers", study.answers_of(kind))
    yield study.step("measure", "healed", study.measure)
    if study.moved("plain") < UNMOVED:
        yield study.step("heal", "one batch by heart", study.overfit)
    if job.spec.weights:
        yield from _weights(study)
    yield study.step("judge", "gate3", study.judge)


def _weights(study: _Gate3) -> Iterator[Step]:
    """Weight steering: an adapter on either pole's texts, and their difference."""
    if "persona" not in study.job.spec.controls:
        yield study.step("write", "control-persona", study.write_control("persona"))
    yield study.step("write", "negative pole", study.write_negative)
    for role in ("pole-positive", "pole-negative"):
        yield study.step("heal", role, study.train(role))
    for scale in WEIGHT_SCALES:
        yield study.step("score", f"weights {scale:g}", study.combine(scale))


def _surviving(texts: Sequence[Completion], decisions: Sequence[FilterDecision]) -> list[Completion]:
    """The texts that every check keeps."""
    judged = {decision.completion_id for decision in decisions}
    dropped = {decision.completion_id for decision in decisions if not decision.keep}
    return [text for text in texts if text.completion_id in judged - dropped]
