"""Synthetic runs of gate 3 and of a sweep: adapters trained on kept texts, scored, and judged by gate 3 itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from msgspec.structs import replace

from steerkit.demo.collected import Collected
from steerkit.demo.notebook import Notebook, moved
from steerkit.demo.steered import Stage, Steered
from steerkit.demo.tales import Teller
from steerkit.gates import gate3_heal
from steerkit.pipeline.study import own_columns
from steerkit.pipeline.sweep import named
from steerkit.records import (
    Adapter,
    AdapterFigure,
    AdapterRole,
    Answer,
    Arm,
    ArmKind,
    Completion,
    Effect,
    HealEpoch,
    HealStep,
    HealText,
    Prior,
    Record,
    Verdict,
)
from steerkit.request_gate3 import Collected as Asked
from steerkit.request_gate3 import Gate3Request
from steerkit.spec import canonical, digest
from steerkit.spec_heal import Gate3Spec, HealSpec, SweepSpec
from steerkit.stages.assemble import gate3_evidence, only
from steerkit.stages.training import taken

ROLES: tuple[AdapterRole, ...] = ("plain", "healed", "control-unsteered", "control-random", "control-persona")
TARGETS = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.o_proj", "self_attn.q_proj"]
TAU = 0.3
"""Where barriers begin (nats)."""
SHARES = ("narrated_share", "declined_share", "declined_share_base")
"""Figures of an adapter that are fractions."""
FRONT = 0.35
"""How much of the steering's loss of coherence an adapter without a constraint keeps (fraction)."""


@dataclass(frozen=True)
class Fate:
    """What a student keeps of the steering's shift (fraction), and its coherence beside that of the round's start."""

    retain: float
    coherence: float


@dataclass(frozen=True)
class Healed:
    """A finished run of gate 3; `shift` and `coherence`: of its healed student, `adapter`: the one that makes it."""

    notebook: Notebook
    shift: Float[np.ndarray, "7"]
    coherence: float
    adapter: str


def healed(
    stage: Stage,
    before: Steered,
    texts: Collected,
    request: Gate3Request,
    root: Sequence[Record],
    number: int,
    chance: np.random.Generator,
) -> Healed:
    """Everything that a run of gate 3 would have written down; `root`: of the run that scored the untouched base."""
    asked = request.after(Asked.of(texts.taught, before.records, root), len(before.start.history))
    spec = replace(asked.spec(0), filter_id=texts.filter_id)
    run = _Healing.of(stage, before, texts, spec, number, chance)
    run.adopt(root)
    run.score_steered()
    for role in ROLES[: 2 + len(spec.controls)]:
        fate = run.fate(role)
        adapter = run.train(digest(run.book.run, role), role, spec.heal, 1.0 if role == "plain" else 0.8)
        run.score(adapter, fate)
    run.answer(asked.unseen())
    run.measure()
    run.judge(texts.parent.verdict, texts.verdict)
    run.book.finish()
    fate = run.fate("healed")
    name = digest(run.book.run, "healed")
    return Healed(run.book, run.shift(fate), before.start.coherence * fate.coherence, name)


def swept(
    stage: Stage, before: Steered, texts: Collected, spec: SweepSpec, number: int, chance: np.random.Generator
) -> Notebook:
    """Everything that a sweep would have written down: stronger barriers keep less of the shift and more coherence."""
    run = _Healing.of(stage, before, texts, spec, number, chance)
    run.adopt(before.records)
    run.score_steered()
    run.score(run.train(digest(run.book.run, "plain"), "plain", spec.heal, 1.0), run.fate("plain"))
    for point in spec.grid.points(spec.heal):
        hold = point.lam / (point.lam + 0.3) * (0.0 if point.divergence == "none" else 1.0)
        hold *= 0.8 if point.aggregate == "mean" else 1.0
        fate = Fate(
            before.planted.retain * (1 - 0.5 * hold),
            1 - (1 - before.planted.coherent(run.dose)) * FRONT * (1 - hold),
        )
        name = digest(run.book.run, "swept", canonical(point))
        run.score(run.train(name, "swept", point, 1.0 - 0.3 * hold, named(point)), fate, named(point))
    own = run.book.unit("judge", "sweep", 0.5)
    study = gate3_heal.measured(run.evidence({}, texts.parent.verdict, texts.verdict), 500)
    found = gate3_heal.effects(study, gate3_heal.Config())
    run.book.add(*(Effect(**own, **own_columns(effect, Effect)) for effect in found))
    run.book.finish()
    return run.book


@dataclass
class _Healing:
    """A run under way; `dose`: mean dose of the texts that are trained on."""

    stage: Stage
    before: Steered
    texts: Collected
    spec: Gate3Spec
    book: Notebook
    taken: list[Completion]
    dose: float

    @classmethod
    def of(
        cls,
        stage: Stage,
        before: Steered,
        texts: Collected,
        spec: Gate3Spec,
        number: int,
        chance: np.random.Generator,
    ) -> "_Healing":
        """Before anything is trained."""
        book = Notebook(spec, number, chance, (), spec.parent_run)
        kept = [each.completion for each in taken(texts.taught, spec.heal.most_texts)]
        return cls(stage, before, texts, spec, book, kept, sum(text.dose for text in kept) / len(kept))

    # -- what is compared -----------------------------------------------------------------------------------------

    def fate(self, role: str) -> Fate:
        """What comes of an adapter of that role."""
        planted = self.before.planted
        lost = 1 - planted.coherent(self.dose)
        if role.startswith("control"):
            return Fate(planted.control, 1.0)
        return Fate(planted.retain, 1 - FRONT * lost) if role == "plain" else Fate(planted.retain, planted.coherence)

    def shift(self, fate: Fate) -> Float[np.ndarray, "7"]:
        """What a student of that fate does to the logits."""
        start = self.before.start.shift
        return np.asarray(start + fate.retain * (self.before.shift(self.stage.world, self.dose) - start))

    def adopt(self, root: Sequence[Record]) -> None:
        """Gate 1's arms as this run's own; of a later round the base is the root's, and gate 1's is the previous."""
        own, later = self.book.unit("adopt", "gate 1's arms", 1.0), bool(self.before.start.history)
        kinds = ("base", "prompt") if later else ("base", "prompt", "steered", "random", "shuffled")
        self._take(own, root, kinds, {}, None)
        if later:
            newest = self.before.start.history[-1]
            wanted = ("base", "steered", "random", "shuffled")
            self._take(own, self.before.records, wanted, {"base": "previous"}, newest)
        self.book.add(*moved(only(Prior, root), own))

    def _take(
        self,
        own: dict[str, Any],
        records: Sequence[Record],
        kinds: Sequence[str],
        renamed: Mapping[str, str],
        adapter: str | None,
    ) -> None:
        arms = [arm for arm in only(Arm, records) if arm.kind in kinds and arm.dose >= 0]
        names = {arm.arm_id: digest(self.book.run, "adopted", arm.arm_id) for arm in arms}
        for arm in arms:
            kind: Any = renamed.get(arm.kind, arm.kind)
            self.book.add(replace(arm, **own, arm_id=names[arm.arm_id], kind=kind, adapter_id=adapter))
        answers = [answer for answer in only(Answer, records) if answer.arm_id in names]
        self.book.add(*(replace(answer, **own, arm_id=names[answer.arm_id]) for answer in answers))

    def score_steered(self) -> None:
        """The steered model at the dose of the texts."""
        own, before = self.book.unit("score", "steered at the texts' dose", 3.0), self.before
        newest = before.start.history[-1] if before.start.history else None
        self.book.add(
            *self.stage.world.scored(
                own,
                "steered",
                before.shift(self.stage.world, self.dose),
                before.coherence(self.dose),
                self.book.chance,
                method=self.spec.method,
                direction=before.direction,
                strength=self.dose * before.strength,
                dose=self.dose,
                adapter=newest,
            )
        )

    # -- training -------------------------------------------------------------------------------------------------

    def train(self, name: str, role: AdapterRole, heal: HealSpec, freedom: float, unit: str = "") -> Adapter:
        """An adapter with every step of its training; `freedom`: how far it goes (1 without a constraint)."""
        book, free = self.book, role == "plain" or heal.divergence == "none"
        own, texts = book.unit("heal", unit or role, 45.0), self._taught(role)
        held = max(1, int(heal.validation * len(texts)))
        put = self.stage.put({"0.lora_A": torch.tensor(book.chance.normal(0, 1, (2, 4)))})
        adapter = Adapter(
            **own,
            adapter_id=name,
            round=self.spec.round,
            role=role,
            artifact=put,
            history=list(self.spec.history),
            fingerprint=self.spec.fingerprint,
            config=canonical(heal),
            rank=heal.rank,
            alpha=heal.alpha,
            targets=TARGETS,
            first_block=6,
            last_block=23,
            train_texts=len(texts) - held,
            validation_texts=held,
            train_tokens=sum(text.tokens for text in texts[held:]),
            tau=None if free else TAU,
        )
        parts = ["validation"] * held + ["train"] * (len(texts) - held)
        book.add(adapter)
        for text, part in zip(texts, parts, strict=True):
            book.add(HealText(**own, adapter_id=name, completion_id=text.completion_id, part=part))  # type: ignore[arg-type]
        book.add(*_steps(own, adapter, heal, freedom, book.chance), *_epochs(own, name, heal, freedom, book.chance))
        return adapter

    def _taught(self, role: AdapterRole) -> list[Completion]:
        """What an adapter is trained on: the kept texts, the base's, or texts that are written for it."""
        if not role.startswith("control"):
            return self.taken
        base = [text for text in only(Completion, self.texts.taught) if text.role == "base"]
        if role == "control-unsteered":
            return base[: len(self.taken)]
        own = self.book.unit("write", role, 40.0)
        prompts = list(islice(cycle(self.stage.prompts), len(self.taken)))
        teller = Teller(self.stage.library, self.before.planted.knee, 60, self.book.chance)
        arm = next(arm for arm in only(Arm, self.book.records) if arm.kind == "base")
        written = teller.greedy(own, arm, prompts)
        texts = [replace(text, role=role, arm_id=None) for text in written]
        self.book.add(*texts)
        return texts

    def score(self, adapter: Adapter, fate: Fate, unit: str = "") -> None:
        """The student an adapter makes."""
        own = self.book.unit("score", unit or adapter.role, 4.0)
        kind: ArmKind = adapter.role  # type: ignore[assignment]
        shift = self.shift(fate)
        if adapter.role.startswith("control"):
            shift = shift + self.book.chance.normal(0, 0.03, 7)
        coherence = self.before.start.coherence * fate.coherence
        scored = self.stage.world.scored(own, kind, shift, coherence, self.book.chance, adapter=adapter.adapter_id)
        self.book.add(*scored, self._figure(own, adapter, "kl_hooked_baked", 2e-4))

    # -- what came of it ------------------------------------------------------------------------------------------

    def answer(self, prompts: Sequence[Any]) -> None:
        """Greedy answers of base, steered, plain and healed, in both contexts."""
        teller = Teller(self.stage.library, self.before.planted.knee, self.spec.held_out.length, self.book.chance)
        for kind in ("base", "steered", "plain", "healed"):
            own = self.book.unit("write", f"{kind} answers", 10.0)
            arms = [arm for arm in only(Arm, self.book.records) if arm.kind == kind]
            arm = arms[-1]
            dose = {"base": 0.0, "steered": self.dose}.get(kind, self.dose * self.fate(kind).retain)
            for system in (None, self.spec.held_out.system_prompt):
                self.book.add(*teller.greedy(own, arm, prompts, dose=dose, system_prompt=system))

    def measure(self) -> None:
        """How far the healed student is from base and teacher."""
        own = self.book.unit("measure", "healed", 6.0)
        adapter = next(each for each in only(Adapter, self.book.records) if each.role == "healed")
        retain, rounds = self.before.planted.retain, len(self.spec.history)
        kl = 0.25 * retain * self.dose**1.5
        self.book.add(
            self._figure(own, adapter, "kl_base_mean", kl * (1 + 0.8 * rounds)),
            self._figure(own, adapter, "kl_base_p95", 2.6 * kl),
            self._figure(own, adapter, "kl_previous_mean", kl),
            self._figure(own, adapter, "cosine_teacher", 0.1 + 0.55 * min(1.0, retain)),
            self._figure(own, adapter, "narrated_share", 0.02),
            self._figure(own, adapter, "declined_share", 0.03),
            self._figure(own, adapter, "declined_share_base", 0.02),
            self._figure(own, adapter, "gain", 0.15),
        )

    def _figure(self, own: dict[str, Any], adapter: Adapter, quantity: str, value: float) -> AdapterFigure:
        units = {"cosine_teacher": "cosine", **dict.fromkeys(SHARES, "fraction")}
        varied = value * float(self.book.chance.uniform(0.9, 1.1))
        unit = units.get(quantity, "nats per token")
        return AdapterFigure(**own, adapter_id=adapter.adapter_id, quantity=quantity, value=varied, unit=unit)

    def evidence(self, texts: Mapping[str, Sequence[Completion]], gate1: str, gate2: str) -> Any:
        """What gate 3 looks at."""
        persona = self.before.request.persona
        return gate3_evidence(self.book.records, self.spec, persona, self.dose, texts, gate1, gate2)

    def judge(self, gate1: str, gate2: str) -> None:
        """What gate 3 itself says of all this, its label included."""
        own = self.book.unit("judge", "gate3", 0.6)
        trained = {adapter.role for adapter in only(Adapter, self.book.records)}
        written = only(Completion, self.book.records)
        base = [text for text in only(Completion, self.texts.taught) if text.role == "base"]
        texts: dict[str, list[Completion]] = {
            role: self.taken if not role.startswith("control") else [t for t in written if t.role == role] or base
            for role in sorted(trained)
        }
        config = msgspec.convert(self.spec.gate_config, gate3_heal.Config)
        judgement = gate3_heal.judge(self.evidence(texts, gate1, gate2), config)
        self.book.judged(judgement, "gate3", own)
        said: dict[str, Any] = {"gate": "gate3", "name": "label", "kind": "label", "status": judgement.label}
        said |= {"detail": judgement.why, "next_step": gate3_heal.ADVICE[judgement.label]}
        self.book.add(Verdict(**own, **said, value=None, threshold=None))


# -- curves -------------------------------------------------------------------------------------------------------


def _steps(
    own: dict[str, Any], adapter: Adapter, heal: HealSpec, freedom: float, chance: np.random.Generator
) -> list[HealStep]:
    """A loss that falls, and a divergence that rises until the barrier holds it."""
    each = max(1, -(-adapter.train_texts // heal.batch))
    total = heal.epochs * each
    far = 0.45 * freedom if adapter.tau is None else 1.05 * TAU
    found = []
    for step in range(1, total + 1):
        done = step / total
        rmse = far * (1 - float(np.exp(-4 * done))) * float(np.exp(chance.normal(0, 0.15)))
        over = 0.0 if adapter.tau is None else float(rmse > adapter.tau)
        barrier = heal.lam * max(0.0, rmse - adapter.tau) if adapter.tau is not None else 0.0
        apart = (step - 1) % heal.split_every == 0
        found.append(
            HealStep(
                **own,
                adapter_id=adapter.adapter_id,
                step=step,
                epoch=1 + (step - 1) // each,
                nll=1.9 - 0.5 * freedom * (1 - float(np.exp(-3 * done))) + float(chance.normal(0, 0.08)),
                d_mean=0.6 * rmse,
                d_rmse=rmse,
                d_p95=2.0 * rmse,
                d_max=3.5 * rmse,
                over=over,
                barrier=barrier,
                grad_nll=float(0.7 * np.exp(chance.normal(0, 0.1))) if apart else None,
                grad_barrier=(0.5 * over + 0.02) * (adapter.tau is not None) if apart else None,
                update_norm=3.0 * freedom * (1 - float(np.exp(-4 * done))),
                learning_rate=heal.learning_rate * min(1.0, done / heal.warm_up) * float(np.cos(done * np.pi / 2)),
            )
        )
    return found


def _epochs(
    own: dict[str, Any], name: str, heal: HealSpec, freedom: float, chance: np.random.Generator
) -> list[HealEpoch]:
    """Held-out loss that falls, and rises a little at the end where nothing holds training back."""
    noise = [float(each) for each in chance.normal(0, 0.01, heal.epochs + 1)]
    return [
        HealEpoch(
            **own,
            adapter_id=name,
            epoch=epoch,
            train_nll=None if epoch == 0 else 1.9 - 0.17 * epoch * freedom,
            validation_nll=1.92 - 0.11 * min(epoch, 2) + 0.03 * max(0, epoch - 2) * freedom + noise[epoch],
            validation_divergence=0.13 * epoch * freedom,
            sigma_max=0.1 * epoch * freedom,
        )
        for epoch in range(heal.epochs + 1)
    ]
