"""Synthetic evidence for gate 1: a model whose answers shift by a known amount, and knobs to break it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from steerkit.evidence import ArmEvidence, Extraction, Gate1Evidence
from steerkit.records import FOUNDATIONS, ArmKind, Calibration, Completion, DirectionLayer, Dose
from steerkit.stats import log_softmax

DOSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
NULL_DOSES = (1.0, 2.0)
RUN = {"run_id": "planted", "unit_id": "planted"}
Shift = Callable[[float], np.ndarray]


def column(name: str) -> int:
    return FOUNDATIONS.index(name)


@dataclass
class World:
    """A planted gate-1 run; replace a knob and build.

    `shift(dose)`: what steering adds to the logits, `[vignette 7]`. `coherence(dose)`: mass relative to the base's.
    `null_shift(dose, index)`, `prompt_shift`: the same for the controls. `texts(arm_kind, dose)`: healthy or not.
    """

    per_foundation: int = 22
    confidence: float = 2.2
    labels: tuple[str, ...] = ()
    base_logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))
    shift: Shift | None = None
    coherence: Callable[[float], float] = lambda dose: 1 - 0.004 * dose**2
    null_scale: float = 0.05
    prompt: float | None = 0.3
    healthy: Callable[[float], bool] = lambda dose: True
    doses: tuple[float, ...] = DOSES
    jitter: float = 0.05
    target: str = "Authority"
    sign: int = -1
    along: tuple[str, ...] = ("Care", "SocialNorms")

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(7)
        if not self.labels:
            names = np.repeat(FOUNDATIONS, self.per_foundation)
            self.labels = tuple(str(name) for name in self.random.permutation(names))
        if not len(self.base_logits):
            self.base_logits = self.random.normal(0, 0.7, (len(self.labels), 7)) + self.confidence * self.truth()

    def truth(self) -> np.ndarray:
        return np.asarray([[float(label == name) for name in FOUNDATIONS] for label in self.labels])

    def rows(self, *names: str) -> np.ndarray:
        """`[vignette 1]`: 1 where the vignette's label is one of the names."""
        return np.isin(self.labels, names)[:, None].astype(float)

    def on(self, answer: str, amount: float, *rows: str) -> np.ndarray:
        """`amount` on one answer's logit, on the given foundations' rows (all of them by default)."""
        logits = np.zeros((len(self.labels), 7))
        logits[:, column(answer)] = amount
        return logits * (self.rows(*rows) if rows else 1.0)

    def intended(self, dose: float) -> np.ndarray:
        """The well-behaved effect: the target's logit goes, on its rows "not wrong" takes some of it."""
        give_way = self.on("SocialNorms", 0.2 * dose, self.target) if self.target != "SocialNorms" else 0.0
        return self.on(self.target, self.sign * dose) + give_way

    def arm(
        self, kind: ArmKind, dose: float, shift: np.ndarray | float, coherence: float, name: str = ""
    ) -> ArmEvidence:
        noise = self.random.normal(0, self.jitter, self.base_logits.shape) if kind != "base" else 0.0
        choice = log_softmax(self.base_logits + shift + noise)
        bias = np.linspace(-0.5, 0.5, 7)
        return ArmEvidence(
            arm_id=f"{kind}{name}{dose:+g}",
            kind=kind,
            method="svd" if kind == "steered" else "none",
            direction_id=f"{kind}{name}" if kind not in ("base", "prompt") else None,
            strength=2 * dose,
            dose=dose,
            choice=choice,
            raw_choice=log_softmax(choice + bias),
            mass=np.full(len(self.labels), 0.6) * coherence,
            prefill_nll=np.full(len(self.labels), 1.0),
            texts=texts(self.healthy(dose)) if kind in ("base", "steered") else (),
        )

    def build(self) -> Gate1Evidence:
        shift = self.shift or self.intended
        signed = [sign * dose for sign in (-1, 1) for dose in self.doses]
        directions = [("random", "a"), ("random", "b"), ("random", "c"), ("shuffled", "a"), ("shuffled", "b")]
        pushes = self.random.normal(0, self.null_scale, (len(directions), 7))
        prompt = None if self.prompt is None else self.on(self.target, self.sign * self.prompt)
        return Gate1Evidence(
            trait="planted",
            target=self.target,
            sign=self.sign,
            along=self.along,
            labels=self.labels,
            base=self.arm("base", 0.0, 0.0, 1.0),
            steered=tuple(self.arm("steered", dose, shift(dose), self.coherence(dose)) for dose in signed),
            nulls=tuple(
                self.arm(kind, dose, push * dose, 1.0, name)  # type: ignore[arg-type]
                for (kind, name), push in zip(directions, pushes, strict=True)
                for dose in NULL_DOSES
            ),
            prompt=None if prompt is None else self.arm("prompt", 0.0, prompt, 0.99),
            layers=tuple(
                DirectionLayer(
                    **RUN, direction_id="steered", block=14 + i, norm=5.0 + i, relative_norm=0.1, half_split_cosine=0.95
                )
                for i in range(3)
            ),
            ladder=tuple(rung(strength) for strength in (0.5, 1.0, 2.0, 4.0)),
            calibration=Calibration(**RUN, direction_id="steered", target=1.0, strength=2.0, status="calibrated"),
            extraction=Extraction(
                contexts=64,
                token="assistant",
                expected_token="assistant",
                truncated=0,
                doubled_bos=False,
                prompts_shared=True,
            ),
            pair_findings=(),
            seed=3,
        )


def rung(strength: float) -> Dose:
    kl = strength**2 / 4
    quantiles = {"kl_p50": kl / 10, "kl_p90": kl / 2, "kl_p95": kl, "kl_max": 3 * kl}
    return Dose(
        **RUN, direction_id="steered", strength=strength, tokens=80, kl_mean=kl / 5, kl_rmse=kl / 3, **quantiles
    )


def texts(healthy: bool) -> tuple[Completion, ...]:
    """Four generations that read well, or that loop and babble."""
    distinct, perplexity = (0.9, 4.0) if healthy else (0.2, 400.0)
    return tuple(
        Completion(
            **RUN,
            completion_id=f"c{i}",
            arm_id=None,
            direction_id=None,
            strength=0.0,
            dose=0.0,
            prompt_id=f"p{i}",
            prompt="What now?",
            text="Words.",
            tokens=96,
            ended=False,
            token_kl=[],
            perplexity=perplexity,
            tail_perplexity=perplexity,
            distinct_tail=distinct,
            compression=2.0,
        )
        for i in range(4)
    )


def unreadable(arm: ArmEvidence, rows: np.ndarray | slice) -> ArmEvidence:
    """The arm with some rows unscorable."""
    choice, raw, mass = arm.choice.copy(), arm.raw_choice.copy(), arm.mass.copy()
    choice[rows], raw[rows], mass[rows] = np.nan, np.nan, 0.0
    return replace(arm, choice=choice, raw_choice=raw, mass=mass)
