"""Synthetic evidence for gate 2: texts whose figures follow the dose in a known way, and knobs to break them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from steerkit.evidence import Gate2Evidence, TextEvidence
from steerkit.health import perplexity
from steerkit.records import Completion, ControllerStep, FilterDecision, Label, Role

LADDER = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
COLLECTED = (0.6, 0.8, 1.0)
RUN = {"run_id": "planted", "unit_id": "planted"}
THRESHOLDS = {
    "perplexity": ("at most", 15.0),
    "loops": ("at least", 0.6),
    "compression": ("at most", 1.75),
    "length": ("at least", 8.0),
    "cap": ("at most", 1.0),
    "narration": ("at most", 0.0),
    "persona_words": ("at most", 3.0),
    "refusal": ("at most", 0.0),
    "identity": ("at most", 0.0),
}
Random = np.random.Generator


@dataclass(frozen=True)
class Planted:
    """The figures of one text before any check reads them."""

    log_perplexity: float
    gain: float
    distinct: float = 0.95
    compression: float = 1.35
    words: int = 60
    persona_words: float = 1.0
    refusal: float = 0.0


def chance(random: Random, of: float) -> bool:
    return bool(random.random() < of)


@dataclass
class World:
    """A planted gate-2 run; replace a knob and build.

    `log_perplexity(dose)`, `gain(dose)`: means of a text at that dose; 0 is the base. `random_gain(dose)`: along random
    directions. `change(text, dose, random, prompt)`: anything else that happens to a steered text.
    """

    prompts: int = 24
    ladder: tuple[float, ...] = LADDER
    collected: tuple[float, ...] = COLLECTED
    log_perplexity: Callable[[float], float] = lambda dose: 1.2 + 0.2 * dose + 0.45 * dose**2
    gain: Callable[[float], float] = lambda dose: 0.3 * dose - 0.1
    random_gain: Callable[[float], float] = lambda dose: 0.02 * dose - 0.1
    change: Callable[[Planted, float, Random, int], Planted] = lambda text, dose, random, prompt: text
    spread: float = 0.4
    gain_spread: float = 0.08
    thresholds: Mapping[str, tuple[str, float]] = field(default_factory=lambda: dict(THRESHOLDS))
    wanted: int = 64
    operating_dose: float | None = 1.0
    chosen: float | None = 1.0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(11)
        self.made = 0

    def build(self) -> Gate2Evidence:
        return Gate2Evidence(
            trait="planted",
            target="Authority",
            probes=tuple(text for dose in self.ladder for text in self.texts("probe", dose, 1)),
            collected=tuple(text for dose in self.collected for text in self.texts("collected", dose, 1)),
            base=self.texts("base", 0.0, 2),
            random=self.texts("random", 1.0, 1),
            controller=() if self.chosen is None else (choice(self.chosen),),
            wanted=self.wanted,
            target_survival=0.75,
            operating_dose=self.operating_dose,
            gate1_verdict="PASS",
            seed=5,
        )

    def texts(self, role: Role, dose: float, per_prompt: int) -> tuple[TextEvidence, ...]:
        return tuple(self.text(role, dose, prompt) for prompt in range(self.prompts) for _ in range(per_prompt))

    def text(self, role: Role, dose: float, prompt: int) -> TextEvidence:
        mean_gain = self.random_gain(dose) if role == "random" else self.gain(dose)
        planted = Planted(
            log_perplexity=self.log_perplexity(dose) + self.random.normal(0, self.spread),
            gain=mean_gain + self.random.normal(0, self.gain_spread) + 0.02 * np.sin(prompt),
            distinct=0.95 + self.random.normal(0, 0.01),
            compression=1.35 + self.random.normal(0, 0.03),
            words=60 + int(self.random.integers(-5, 6)),
        )
        if role not in ("base", "random"):
            planted = self.change(planted, dose, self.random, prompt)
        self.made += 1
        completion = written(planted, f"c{self.made}", role, dose, f"p{prompt}")
        return TextEvidence(completion, self.decisions(planted, completion), planted.gain)

    def decisions(self, planted: Planted, completion: Completion) -> tuple[FilterDecision, ...]:
        values = {
            "perplexity": completion.perplexity,
            "loops": planted.distinct,
            "compression": planted.compression,
            "length": float(planted.words),
            "cap": 0.0,
            "narration": 0.0,
            "persona_words": planted.persona_words,
            "refusal": planted.refusal,
            "identity": 0.0,
        }
        return tuple(
            decided(completion.completion_id, name, values[name], *limit) for name, limit in self.thresholds.items()
        )


def decided(completion_id: str, name: str, value: float, direction: str, threshold: float) -> FilterDecision:
    keep = value <= threshold if direction == "at most" else value >= threshold
    given = {"value": value, "threshold": threshold, "direction": direction, "keep": keep, "reason": "planted"}
    return FilterDecision(**RUN, filter_id="f", completion_id=completion_id, name=name, start=None, stop=None, **given)


def written(planted: Planted, name: str, role: Role, dose: float, prompt: str) -> Completion:
    nll = [planted.log_perplexity] * 80
    return Completion(
        **RUN,
        completion_id=name,
        arm_id=None,
        direction_id=None if role == "base" else "d",
        strength=2 * dose,
        dose=dose,
        prompt_id=prompt,
        prompt="What now?",
        text=" ".join(["word"] * planted.words),
        tokens=80,
        ended=True,
        token_kl=[0.1 * dose] * 80,
        perplexity=perplexity(nll),
        tail_perplexity=perplexity(nll),
        distinct_tail=planted.distinct,
        compression=planted.compression,
        role=role,
        token_nll=nll,
    )


def choice(dose: float) -> ControllerStep:
    return ControllerStep(**RUN, number=0, phase="choose", dose=dose, made=24, survived=20, kept=0, note="planted")


def labelled(text: TextEvidence, coherent: bool | None, trait: str | None) -> TextEvidence:
    """The text with one more person's label."""
    given = {"labeller": f"l{len(text.labels)}", "coherent": coherent, "trait": trait}
    label = Label(**RUN, completion_id=text.completion.completion_id, seq=len(text.labels), **given)  # type: ignore[arg-type]
    return replace(text, labels=(*text.labels, label))


def rewritten(text: TextEvidence, /, **changes: object) -> TextEvidence:
    """The text with other figures, and the decisions it had."""
    return replace(text, completion=msgspec.structs.replace(text.completion, **changes))


def each_text(evidence: Gate2Evidence, change: Callable[[TextEvidence], TextEvidence]) -> Gate2Evidence:
    """The evidence with every text changed."""
    groups = ("probes", "collected", "base", "random")
    changed = {name: tuple(change(text) for text in getattr(evidence, name)) for name in groups}
    return replace(evidence, **changed)  # type: ignore[arg-type]
