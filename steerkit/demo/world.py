"""What is planted: a model's answers, how far each method moves them at a dose, and what its students keep of that.

With x the base's logits of a vignette, s the shift and b the label bias, the raw answer is
log softmax(x + s + b + noise) + log(mass * coherence), where for a method of push p, knee k and target t
s(dose) = sign * p * 1.5 tanh(dose / 1.5) on t, and coherence(dose) = 1 / (1 + (|dose| / k)^4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from steerkit.inputs import VignetteText
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm, ArmKind, Record
from steerkit.spec import digest
from steerkit.stats import log_softmax

ORDERS = 2
CONFIDENCE, MASS, ORDER_NOISE, ARM_NOISE = 1.3, 0.62, 0.1, 0.08
"""How much the base prefers the right answer (nats), its mass on the seven (fraction), and noise (nats)."""
SOFT = 1.5
"""Dose from which more of it moves less."""


@dataclass(frozen=True)
class Planted:
    """One method: `push` per dose (nats), `knee`: the dose that halves coherence, `off`: share of the push elsewhere.

    Of its student: `retain` (fraction of the shift), `coherence` (fraction), `control`: share of the shift that
    control adapters show.
    """

    push: float
    knee: float
    off: float
    retain: float
    coherence: float
    control: float

    def coherent(self, dose: float) -> float:
        """Coherence at a dose (fraction)."""
        return 1 / (1 + (abs(dose) / self.knee) ** 4)

    def moved(self, dose: float) -> float:
        """Shift of the target at a dose (nats)."""
        return self.push * SOFT * float(np.tanh(dose / SOFT))


METHODS = {
    "mean_mass": Planted(push=0.75, knee=2.0, off=0.15, retain=0.85, coherence=0.99, control=0.2),
    "svd": Planted(push=0.6, knee=1.7, off=0.25, retain=0.9, coherence=0.93, control=0.3),
    "cosine_gated": Planted(push=0.5, knee=2.4, off=0.1, retain=0.2, coherence=1.0, control=0.15),
    "null": Planted(push=0.02, knee=1.6, off=0.0, retain=0.0, coherence=0.98, control=0.0),
}
"""A method that heals, one whose students keep its damage too, one that is undone, and one that does nothing."""


@dataclass(frozen=True)
class World:
    """The untouched model on one set of vignettes."""

    vignettes: tuple[VignetteText, ...]
    logits: Float[np.ndarray, "vignette 7"]
    bias: Float[np.ndarray, "order 7"]
    mass: Float[np.ndarray, "vignette"]

    @classmethod
    def of(cls, vignettes: Sequence[VignetteText], chance: np.random.Generator) -> "World":
        """A model that mostly gives the right answer."""
        right = np.asarray([[float(each.foundation == name) for name in FOUNDATIONS] for each in vignettes])
        size = len(vignettes)
        return cls(
            vignettes=tuple(vignettes),
            logits=CONFIDENCE * right + chance.normal(0, 0.7, (size, 7)),
            bias=chance.normal(0, 0.4, (ORDERS, 7)),
            mass=np.clip(MASS + chance.normal(0, 0.06, size), 0.2, 0.95),
        )

    def on(self, target: str, amount: float) -> Float[np.ndarray, "7"]:
        """That much on one answer's logit."""
        return np.where(np.asarray(FOUNDATIONS) == target, amount, 0.0)

    def eval_hash(self) -> str:
        """What makes this world's arms comparable."""
        return digest("synthetic", [vignette.id for vignette in self.vignettes], float(self.logits.sum()))

    def answers(
        self, arm: Arm, shift: Float[np.ndarray, "7"], coherence: float, chance: np.random.Generator
    ) -> list[Answer]:
        """The arm's raw answers."""
        noise = chance.normal(0, ORDER_NOISE, (ORDERS, *self.logits.shape))
        own = chance.normal(0, ARM_NOISE, self.logits.shape) if arm.kind != "base" else 0.0
        mass = np.clip(self.mass * coherence * np.exp(chance.normal(0, 0.01, len(self.mass))), 1e-4, 0.999)
        choice = log_softmax(self.logits + shift + own + self.bias[:, None, :] + noise)
        raw = np.round(choice + np.log(mass)[:, None], 6)
        nll = np.round(0.04 / max(coherence, 0.05) * np.exp(chance.normal(0, 0.1, raw.shape[:2])), 6)
        return [
            Answer(
                run_id=arm.run_id,
                unit_id=arm.unit_id,
                arm_id=arm.arm_id,
                vignette=vignette.id,
                foundation=vignette.foundation,
                ordering=order,
                outside_mass=float(outside),
                prefill_nll=float(nll[order, row]),
                think_tokens=0,
                **dict(zip(ANSWER_FIELDS, map(float, raw[order, row]), strict=True)),
            )
            for order in range(ORDERS)
            for row, (vignette, outside) in enumerate(zip(self.vignettes, np.round(1 - mass, 6), strict=True))
        ]

    def scored(
        self,
        own: dict[str, Any],
        kind: ArmKind,
        shift: Float[np.ndarray, "7"],
        coherence: float,
        chance: np.random.Generator,
        *,
        method: str = "none",
        direction: str | None = None,
        strength: float = 0.0,
        dose: float = 0.0,
        system: str | None = None,
        adapter: str | None = None,
    ) -> list[Record]:
        """One arm with its answers."""
        arm = Arm(
            **own,
            arm_id=digest(own["run_id"], kind, direction, dose, adapter),
            kind=kind,
            method=method,
            direction_id=direction,
            strength=strength,
            dose=dose,
            eval_hash=self.eval_hash(),
            instrument="fewshot",
            system_prompt=system,
            adapter_id=adapter,
        )
        return [arm, *self.answers(arm, shift, coherence, chance)]
