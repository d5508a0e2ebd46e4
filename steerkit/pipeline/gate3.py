"""Gate 3's pipeline: adopt > score > heal > write controls > heal > write > measure > judge, one step per unit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from steerkit.gates import gate3_heal
from steerkit.host import Writing, chat_ids
from steerkit.pipeline.further_texts import DECLINING, SEEDS, SEEDS_PER_RUN, dropped_share, surviving, watched
from steerkit.pipeline.healing import Gate3Job
from steerkit.pipeline.online import OnlineHealing
from steerkit.pipeline.study import Memory, Step, Work, own_columns
from steerkit.records import (
    Adapter,
    AdapterRole,
    Arm,
    Completion,
    Effect,
    FilterDecision,
    FilterSet,
    Record,
    Verdict,
)
from steerkit.spec import canonical, digest
from steerkit.stages.assemble import gate3_evidence, only
from steerkit.stages.bake import combined, folds, stack
from steerkit.stages.fit import steps
from steerkit.stages.heal import examples, overfit
from steerkit.stages.rejudge import divergence as rejudged
from steerkit.stages.rejudge import divergences, likelihood
from steerkit.stages.shift import cosine, shift
from steerkit.stages.student import student
from steerkit.stages.training import control_orders, gain_over_base
from steerkit.stages.write import Order, write

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


@dataclass
class _Gate3(OnlineHealing):
    """Gate 3 under way."""

    def total(self) -> int:
        """How many units the run has."""
        spec = self.job.spec
        return 12 + 4 * len(spec.controls) + 5 * spec.weights

    # -- healing ----------------------------------------------------------------------------------------------------

    def training_texts(self, role: AdapterRole) -> list[Completion]:
        """What an adapter of that role is trained on."""
        kept = [text.completion for text in self.kept()]
        if role == "healed" and self.job.spec.heal.online:
            return self.streamed()
        if role in ("healed", "plain"):
            return kept
        control = {"pole-positive": "control-persona", "pole-negative": "pole"}.get(role, role)
        first = self.unsteered() if control == "control-unsteered" else []
        pool = [*first, *(text for text in only(Completion, self.records) if text.role == control)]
        return surviving(pool, only(FilterDecision, self.records))[: len(kept)]

    def train(self, role: AdapterRole) -> Work:
        """The work of training one adapter."""

        def work(unit: str) -> list[Record]:
            spec = self.job.spec.heal
            free = spec.divergence == "none" or role == "plain" or role.startswith("pole")
            tau = None if free else self._tau(self.adapter("plain"), spec)
            if role == "healed" and spec.online:
                return self.train_online(digest(self.run, role), tau, unit)
            return self._trained(digest(self.run, role), role, spec, self.training_texts(role), tau, unit)

        return work

    def adapter(self, role: AdapterRole) -> Adapter | None:
        """The adapter of that role, once it is trained."""
        return next((adapter for adapter in only(Adapter, self.records) if adapter.role == role), None)

    # -- what came of it --------------------------------------------------------------------------------------------

    def score(self, role: AdapterRole) -> Work:
        """The work of scoring the student an adapter makes, and of checking that folding it in changed nothing."""

        def work(unit: str) -> list[Record]:
            adapter = self._needed(role)
            made = stack(self.job.host, [*self.job.history, self.layered(adapter)])
            texts = [[*chat_ids(self.job.host, t.prompt), *(t.token_ids or [])] for t in self.training_texts("plain")]
            fold = folds(self.job.host, made, texts[:FOLDED])
            return [
                *self._scored(unit, role, adapter),  # type: ignore[arg-type]
                self._figure(adapter, "kl_hooked_baked", fold.gap, "nats per token", unit),
                self._figure(adapter, "kl_hooked_rounded", fold.rounded, "nats per token", unit),
            ]

        return work

    def _needed(self, role: AdapterRole) -> Adapter:
        found = self.adapter(role)
        assert found is not None, role
        return found

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
            with student(host, stack(host, [] if kind == "base" else [*self.job.history, *new])) as now:
                texts = only(Completion, write(host, orders, held.length, Writing(), self.run, unit))
                if kind == "steered" and self.job.history:
                    texts = likelihood(host, now, texts)
                elif kind not in ("base", "steered"):
                    texts = rejudged(host, now, texts)
                texts = self.read(now, texts)
            return texts  # type: ignore[return-value]

        return work

    def measure(self, unit: str) -> list[Record]:
        """How far the healed student went, whether its shift is the teacher's, whether it narrates or declines."""
        adapter = self._needed("healed")
        arm = next(arm for arm in only(Arm, self.records) if arm.adapter_id == adapter.adapter_id)
        base = next(arm for arm in only(Arm, self.records) if arm.kind == "base")
        texts, usual = (
            [text for text in only(Completion, self.records) if text.arm_id == one.arm_id] for one in (arm, base)
        )
        found: dict[str, tuple[float, str]] = {}
        kl = [value for text in texts for value in text.token_kl]
        if kl:
            ranked = sorted(kl)
            found["kl_base_mean"] = (sum(kl) / len(kl), "nats per token")
            found["kl_base_p95"] = (ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))], "nats per token")
            found["kl_previous_mean"] = (self._from_previous(adapter, texts), "nats per token")
        found["cosine_teacher"] = (self._cosine(adapter), "cosine")
        checks = watched(self.job.gate2_spec.filters)
        said, before = (self.decided(group, checks, unit, "") for group in (texts, usual))
        shares = {
            "narrated_share": dropped_share(said, {"narration"}),
            "declined_share": dropped_share(said, DECLINING),
            "declined_share_base": dropped_share(before, DECLINING),
        }
        found |= {name: (share, "fraction") for name, share in shares.items() if share is not None}
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
        blocks = list(steps(self.job.direction))
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
        thresholds = self.thresholds("persona")
        filter_id = digest(self.run, "negative", thresholds)
        prompts = {prompt.id: prompt for prompt in self.job.prompts}
        system = self.job.persona.system_prompt("negative")
        seed = self.job.spec.seed * SEEDS_PER_RUN + SEEDS["negative"]
        with self._state() as now:
            orders = control_orders("persona", kept, prompts, len(kept), seed, (), system, role="pole")
            texts = self.written(now, orders, unit, untouched=not self.job.history)
        decisions = self.decided(texts, thresholds, unit, filter_id)
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
            return [adapter, *self._scored(unit, "weights", adapter, scale)]

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
    """adopt > score > heal > write controls > heal > write > measure > judge, one step per unit of work."""
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
