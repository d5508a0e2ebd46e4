"""Synthetic evidence for gate 3: students whose shift and coherence are known, and knobs to break them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from steerkit.evidence import ArmEvidence, Gate3Evidence, HealEvidence
from steerkit.records import FOUNDATIONS, Adapter, AdapterRole, ArmKind, Completion, HealEpoch, HealStep
from steerkit.spec import canonical
from steerkit.spec_heal import HealSpec
from steerkit.stats import log_softmax
from steerkit.testing import planted_completion

RUN = {"run_id": "planted", "unit_id": "planted"}
FIGURES = {
    "kl_hooked_baked": 1e-5,
    "kl_base_mean": 0.2,
    "kl_base_p95": 0.8,
    "kl_previous_mean": 0.2,
    "cosine_teacher": 0.6,
    "narrated_share": 0.0,
    "declined_share": 0.0,
    "declined_share_base": 0.0,
    "gain": 0.2,
}
SAID = "take the form to the desk and tell the clerk that the date is wrong number"
ELSE = "nobody owes an officer more than the plain truth so say it and go home friend"
OTHER = "the clerk may be busy but the date on this form was never yours to fix number"


@dataclass(frozen=True)
class Planted:
    """What one arm is: its shift in the intended direction (nats), its coherence, its shift of Fairness, its texts.

    `second`: what it writes in the second context; the same when None. `prefill`: its scaffold NLL; the base's is 1.
    `varied`: it answers every prompt in words of their own.
    """

    shift: float
    coherence: float = 1.0
    off: float = 0.0
    text: str = SAID
    second: str | None = None
    healthy: bool = True
    prefill: float | None = 1.0
    varied: bool = False


@dataclass
class World:
    """A planted gate-3 run; replace a knob and build.

    `raw`: dose to the arm of raw steering; `taught`: the dose of the texts. An arm that is None was not scored.
    `noise`: spread over vignettes of each arm's answers (nats), `mass_noise` of its coherence (fraction). `train`,
    `validation`: NLL by epoch, by role (nats per token). `divergences`: mean, rmse, p95 and max of every step, tau
    being 1 nat; `over`: share of sequences beyond it. `gradients`: norms of objective and barrier. `update`: norm of
    the whole update, by role. `texts`: how many are trained on and held out.
    """

    rows: int = 20
    sign: int = -1
    noise: float = 0.05
    mass_noise: float = 0.002
    raw: Mapping[float, Planted] = field(
        default_factory=lambda: {
            0.25: Planted(0.25, 0.995),
            0.5: Planted(0.5, 0.985),
            0.75: Planted(0.75, 0.96),
            1.0: Planted(1.0, 0.92),
            1.5: Planted(1.4, 0.70),
        }
    )
    taught: float = 1.0
    base: Planted = field(default_factory=lambda: Planted(0.0))
    previous: Planted | None = None
    healed: Planted | None = field(default_factory=lambda: Planted(0.9, 0.99, text=ELSE))
    plain: Planted | None = field(default_factory=lambda: Planted(1.0, 0.955, text=ELSE))
    unsteered: Planted | None = field(default_factory=lambda: Planted(0.05, 0.995))
    random: Planted | None = field(default_factory=lambda: Planted(-0.1, 0.99))
    persona: Planted | None = field(default_factory=lambda: Planted(0.6, 0.99))
    prompt: Planted | None = field(default_factory=lambda: Planted(0.4, 0.98))
    weights: Planted | None = None
    spec: HealSpec = field(default_factory=HealSpec)
    figures: Mapping[str, float] = field(default_factory=lambda: dict(FIGURES))
    train: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    validation: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    divergences: tuple[float, float, float, float] = (0.6, 0.9, 2.0, 5.0)
    over: float = 0.5
    gradients: tuple[float, float] = (1.0, 0.8)
    update: Mapping[str, float] = field(default_factory=dict)
    texts: tuple[int, int] = (48, 8)
    fewest: int = 30

    def __post_init__(self) -> None:
        self.random_state = np.random.default_rng(7)
        self.labels = tuple(str(name) for name in np.repeat(FOUNDATIONS, self.rows))
        truth = np.asarray([[float(label == name) for name in FOUNDATIONS] for label in self.labels])
        self.logits = self.random_state.normal(0, 0.5, truth.shape) + 1.5 * truth

    def arm(self, kind: ArmKind, planted: Planted, dose: float = 0.0) -> ArmEvidence:
        rows = np.arange(len(self.labels))
        choice = log_softmax(self.logits)
        if kind != "base":
            own = np.asarray([FOUNDATIONS.index(label) for label in self.labels])
            size = np.select(
                [np.asarray(self.labels) == "Authority", np.asarray(self.labels) == "Fairness"],
                [self.sign * planted.shift, planted.off],
                0.0,
            )
            choice = choice.copy()
            choice[rows, own] += size + self.random_state.normal(0, self.noise, len(rows))
        spread = self.random_state.normal(0, self.mass_noise, len(rows)) if kind != "base" else 0.0
        return ArmEvidence(
            arm_id=f"{kind}{dose:+g}",
            kind=kind,
            method="svd" if kind == "steered" else "none",
            direction_id="d" if kind == "steered" else None,
            strength=2 * dose,
            dose=dose,
            choice=choice,
            raw_choice=choice,
            mass=0.6 * (planted.coherence + spread) * np.ones(len(rows)),
            prefill_nll=None if planted.prefill is None else np.full(len(rows), planted.prefill),
            texts=written(planted),
        )

    def student(self, kind: ArmKind, planted: Planted | None) -> ArmEvidence | None:
        return None if planted is None else self.arm(kind, planted)

    def build(self) -> Gate3Evidence:
        base = self.arm("base", self.base)
        raw = {dose: self.arm("steered", planted, dose) for dose, planted in self.raw.items()}
        controls = {"unsteered": self.unsteered, "random": self.random, "persona": self.persona}
        roles: list[AdapterRole] = ["healed", "plain", "control-unsteered", "control-random", "control-persona"]
        return Gate3Evidence(
            trait="planted",
            target="Authority",
            sign=self.sign,
            along=(),
            labels=self.labels,
            round=0 if self.previous is None else 1,
            base=base,
            previous=self.student("previous", self.previous),
            raw=tuple(raw.values()),
            steered=raw.get(self.taught),
            healed=self.student("healed", self.healed),
            plain=self.student("plain", self.plain),
            controls=tuple(
                self.arm(f"control-{name}", planted)  # type: ignore[arg-type]
                for name, planted in controls.items()
                if planted is not None
            ),
            prompt=self.student("prompt", self.prompt),
            weights=self.student("weights", self.weights),
            heals={role: self.heal(role) for role in roles},
            texts={},
            fewest_texts=self.fewest,
            gate1_verdict="PASS",
            gate2_verdict="PASS",
            seed=3,
        )

    def heal(self, role: AdapterRole) -> HealEvidence:
        spec = self.spec if role != "plain" else HealSpec(divergence="none", epochs=self.spec.epochs)
        constrained = spec.divergence != "none"
        train = self.train.get(role, (1.6, 1.2, 0.9))
        usual = (1.5, 1.4, 1.3, 1.25) if role == "control-unsteered" else (2.2, 1.8, 1.6, 1.55)
        validation = self.validation.get(role, usual)
        size = self.update.get(role, 3.0 if role == "healed" else 4.0)
        adapter = Adapter(
            **RUN,
            adapter_id=role,
            round=0,
            role=role,
            artifact="",
            history=[],
            fingerprint="",
            config=canonical(spec),
            rank=spec.rank,
            alpha=spec.alpha,
            targets=[],
            first_block=1,
            last_block=2,
            train_texts=self.texts[0],
            validation_texts=self.texts[1],
            train_tokens=4000,
            tau=1.0 if constrained else None,
        )
        steps = tuple(
            self.step(role, 6 * epoch + number, epoch, nll, size, constrained)
            for epoch, nll in enumerate(train)
            for number in range(6)
        )
        epochs = tuple(
            HealEpoch(
                **RUN,
                adapter_id=role,
                epoch=number,
                train_nll=train[number - 1] if number else None,
                validation_nll=nll,
                validation_divergence=0.5,
                sigma_max=0.1,
            )
            for number, nll in enumerate(validation)
        )
        return HealEvidence(
            adapter, steps, epochs, dict(self.figures) if role == "healed" else {"kl_hooked_baked": 1e-5}
        )

    def step(self, role: str, number: int, epoch: int, nll: float, size: float, constrained: bool) -> HealStep:
        names = ("d_mean", "d_rmse", "d_p95", "d_max")
        objective, barrier = self.gradients
        given: dict[str, Any] = dict(zip(names, self.divergences, strict=True))
        return HealStep(
            **RUN,
            adapter_id=role,
            step=number,
            epoch=epoch,
            nll=nll,
            over=self.over if constrained else 0.0,
            barrier=0.1 if constrained else 0.0,
            grad_nll=objective,
            grad_barrier=barrier if constrained and number % 4 == 0 else None,
            update_norm=size * (number + 1) / 18,
            learning_rate=4e-4,
            **given,
        )


def written(planted: Planted) -> tuple[Completion, ...]:
    """Greedy answers to six prompts in two contexts."""
    distinct, perplexity = (0.9, 4.0) if planted.healthy else (0.2, 400.0)
    texts = ((None, planted.text), ("Answer briefly.", planted.text if planted.second is None else planted.second))
    return tuple(
        planted_completion(
            " ".join(f"{word}{prompt}" for word in text.split()) if planted.varied else f"{text} {prompt}",
            completion_id=f"{prompt} {system}",
            prompt_id=f"p{prompt}",
            system_prompt=system,
            distinct_tail=distinct,
            perplexity=perplexity,
            tail_perplexity=perplexity,
            role="greedy",
        )
        for system, text in texts
        for prompt in range(6)
    )


SINGLE = ("previous", "steered", "healed", "plain", "prompt", "weights")


def mirrored(evidence: Gate3Evidence) -> Gate3Evidence:
    """The same run of the opposite trait: every change of every answer is reversed, and so is the intention."""
    base = evidence.base

    def other(arm: ArmEvidence | None) -> Any:
        return None if arm is None else replace(arm, choice=2 * base.choice - arm.choice)

    single = {name: other(getattr(evidence, name)) for name in SINGLE}
    many = {name: tuple(other(arm) for arm in getattr(evidence, name)) for name in ("raw", "controls")}
    return replace(evidence, sign=-evidence.sign, **single, **many)
