"""A synthetic run of gate 1: arms at every dose with their controls, judged by gate 1 itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steerkit.demo.library import Library
from steerkit.demo.notebook import Notebook
from steerkit.demo.tales import Teller
from steerkit.demo.world import METHODS, Planted, World
from steerkit.evidence import Extraction
from steerkit.gates import gate1_steer
from steerkit.inputs import Dilemma
from steerkit.plugins import load_method
from steerkit.records import Answer, Arm, Calibration, Direction, DirectionLayer, Dose, Effect, Prior, Record
from steerkit.request import Gate1Request
from steerkit.spec import canonical, digest
from steerkit.stages.assemble import gate1_evidence, only
from steerkit.stages.score import set_mean_prior

Put = Callable[[Mapping[str, Tensor]], str]
"""Stores tensors and returns their hash."""
WIDTH, BLOCKS = 16, (15, 16, 17)
"""Dimension of the made-up residual stream, and its steered blocks."""
AGREEMENT = 0.93
"""Cosine between one round's direction and the next one's."""
NULL_PUSH = 0.07
"""Spread of what a null direction does to each answer at dose 1 (nats)."""
EXTRACTION = Extraction(
    contexts=64, token="\n", expected_token="\n", truncated=0, doubled_bos=False, prompts_shared=True
)
"""A capture in which nothing went wrong."""


@dataclass(frozen=True)
class Stage:
    """What every synthetic run needs: the planted model, words, prompts, and where tensors go."""

    world: World
    library: Library
    prompts: tuple[Dilemma, ...]
    put: Put


@dataclass(frozen=True)
class Start:
    """The student a run of gate 1 starts from: its shift and coherence, its adapters, and the run that began it all."""

    shift: Float[np.ndarray, "7"]
    coherence: float = 1.0
    history: tuple[str, ...] = ()
    vector: Float[np.ndarray, "block dim"] | None = None
    prior: tuple[Prior, ...] = ()


@dataclass(frozen=True)
class Steered:
    """A finished run of gate 1; `vector`: its direction, `strength`: the natural steps of its dose 1."""

    notebook: Notebook
    request: Gate1Request
    planted: Planted
    start: Start
    vector: Float[np.ndarray, "block dim"]
    strength: float
    direction: str

    @property
    def records(self) -> list[Record]:
        """What it wrote down."""
        return self.notebook.records

    def shift(self, world: World, dose: float) -> Float[np.ndarray, "7"]:
        """What a dose does to the logits, on top of the student."""
        persona, moved = self.request.persona, self.planted.moved(dose)
        along = sum((world.on(name, abs(moved) * self.planted.off) for name in persona.along), np.zeros(7))
        return np.asarray(self.start.shift + world.on(persona.target, persona.sign * moved) + along)

    def coherence(self, dose: float) -> float:
        """Coherence at a dose, that of the student included (fraction)."""
        return self.start.coherence * self.planted.coherent(dose)


def steered(stage: Stage, request: Gate1Request, start: Start, number: int, chance: np.random.Generator) -> Steered:
    """Everything that a run of gate 1 would have written down."""
    spec = request.spec(digest("synthetic"), "float32", 0)
    planted = _varied(METHODS[spec.method], chance)
    book = Notebook(spec, number, chance, request.vignettes, spec.root_run or None)
    vector = _vector(start.vector, chance)
    real = digest(book.run, "real")
    made = Steered(book, request, planted, start, vector, float(chance.uniform(1.2, 2.4)), real)
    _base(stage.world, made)
    names = _fit(stage, made)
    reached = _dose(made, names)
    _score(stage.world, made, names, reached)
    _write(stage, made)
    own = book.unit("judge", "gate1", 0.4)
    judgement = gate1_steer.judge(
        gate1_evidence(book.records, request.persona, EXTRACTION, spec.seed), request.gate_config
    )
    book.judged(judgement, "gate1", own)
    if judgement.operating is not None:
        arm, p = judgement.operating, judgement.p_null
        book.add(Effect(**own, arm_id=arm.arm_id, quantity="operating", value=arm.dose, low=None, high=None, p_null=p))
    book.finish()
    return made


def _varied(planted: Planted, chance: np.random.Generator) -> Planted:
    """Another seed's: a little stronger or weaker."""
    return replace(
        planted,
        push=planted.push * float(chance.uniform(0.85, 1.15)),
        knee=planted.knee * float(chance.uniform(0.9, 1.1)),
        retain=planted.retain * float(chance.uniform(0.9, 1.1)),
    )


def _vector(
    before: Float[np.ndarray, "block dim"] | None, chance: np.random.Generator
) -> Float[np.ndarray, "block dim"]:
    fresh = chance.normal(0, 1, (len(BLOCKS), WIDTH))
    if before is None:
        return fresh
    return AGREEMENT * before + float(np.sqrt(1 - AGREEMENT**2)) * fresh


def _base(world: World, made: Steered) -> None:
    book, start = made.notebook, made.start
    own = book.unit("score", "base", 4.0)
    scored = world.scored(own, "base", start.shift, start.coherence, book.chance)
    prior: list[Prior] = set_mean_prior(only(Arm, scored)[0], only(Answer, scored))
    book.add(*scored, *(msgspec.structs.replace(each, **own) for each in start.prior or prior))


def _fit(stage: Stage, made: Steered) -> list[tuple[str, str]]:
    """The direction and its null directions: kind and id of each."""
    book, spec = made.notebook, made.notebook.spec
    own = book.unit("fit", spec.method, 6.0)
    counts = (("random", spec.dose.random_directions), ("shuffled", spec.dose.shuffled_directions))
    names = [("real", made.direction)]
    names += [(kind, digest(book.run, kind, i)) for kind, count in counts for i in range(count)]
    for kind, name in names:
        vector = made.vector if kind == "real" else book.chance.normal(0, 1, made.vector.shape)
        tensors = {f"{block}.vector": torch.tensor(row) for block, row in zip(BLOCKS, vector, strict=True)}
        direction = Direction(
            **own,
            direction_id=name,
            method=spec.method,
            kind=kind,  # type: ignore[arg-type]
            config=canonical(load_method(spec.method).Config()),
            artifact=stage.put(tensors),
            extraction=canonical(msgspec.to_builtins(EXTRACTION)),
        )
        book.add(direction, *(_layer(own, name, place, kind, book.chance) for place in range(len(BLOCKS))))
    return names


def _layer(own: dict[str, Any], name: str, place: int, kind: str, chance: np.random.Generator) -> DirectionLayer:
    norm = float(5 + 0.3 * place + chance.normal(0, 0.2))
    cosine = float(np.clip(chance.normal(0.95 if kind == "real" else 0.1, 0.02), -1, 1))
    return DirectionLayer(
        **own,
        direction_id=name,
        block=BLOCKS[place],
        norm=norm,
        relative_norm=norm / 150,
        half_split_cosine=None if kind == "random" else cosine,
    )


def _dose(made: Steered, names: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Ladders and what they are calibrated to: strength at dose 1 by direction."""
    book, dose, reached = made.notebook, made.notebook.spec.dose, {}
    for stage, chosen in ((book.spec.method, names[:1]), ("nulls", names[1:])):
        own = book.unit("dose", stage, 5.0)
        for kind, name in chosen:
            unit = made.strength * (1.0 if kind == "real" else float(book.chance.uniform(1.8, 3.2)))
            reached[name] = unit
            rungs = dose.ladder if kind == "real" else tuple(unit * share for share in (0.4, 0.8, 1.3, 2.0))
            book.add(*(_rung(own, name, rung, unit, dose.target) for rung in rungs))
            book.add(Calibration(**own, direction_id=name, target=dose.target, strength=unit, status="calibrated"))
    return reached


def _rung(own: dict[str, Any], name: str, strength: float, unit: float, target: float) -> Dose:
    p95 = target * (strength / unit) ** 1.8
    shares = {"mean": 0.25, "rmse": 0.4, "p50": 0.12, "p90": 0.7, "p95": 1.0, "max": 2.2}
    return Dose(
        **own,
        direction_id=name,
        strength=strength,
        tokens=80,
        **{f"kl_{quantity}": share * p95 for quantity, share in shares.items()},
    )


def _score(world: World, made: Steered, names: Sequence[tuple[str, str]], reached: Mapping[str, float]) -> None:
    """Arms along the direction at both signs, the persona as a prompt, and the null directions."""
    book, dose, persona = made.notebook, made.notebook.spec.dose, made.request.persona
    steps = (*dose.multiples, *(-each for each in dose.negative_multiples))
    newest = made.start.history[-1] if made.start.history else None
    for multiple in steps:
        own = book.unit("score", f"{book.spec.method} {multiple:+g}", 3.0)
        book.add(*_steered(world, own, made, multiple, newest))
    own = book.unit("score", "prompt", 4.0)
    shift = made.start.shift + world.on(persona.target, persona.sign * 0.25)
    system = persona.system_prompt("positive")
    book.add(*world.scored(own, "prompt", shift, 0.98 * made.start.coherence, book.chance, system=system))
    for number, (kind, name) in enumerate(names[1:]):
        push = book.chance.normal(0, NULL_PUSH, 7)
        for multiple in _around(dose.multiples, dose.null_doses):
            own = book.unit("score", f"{kind} {number} {multiple:+g}", 3.0)
            placed: dict[str, Any] = {"direction": name, "strength": multiple * reached[name], "dose": multiple}
            shift, whole = made.start.shift + push * multiple, made.coherence(0.8 * multiple)
            book.add(*world.scored(own, kind, shift, whole, book.chance, method=book.spec.method, **placed))  # type: ignore[arg-type]


def _steered(world: World, own: dict[str, Any], made: Steered, dose: float, adapter: str | None) -> list[Record]:
    return world.scored(
        own,
        "steered",
        made.shift(world, dose),
        made.coherence(dose),
        made.notebook.chance,
        method=made.notebook.spec.method,
        direction=made.direction,
        strength=dose * made.strength,
        dose=dose,
        adapter=adapter,
    )


def _around(multiples: Sequence[float], count: int) -> Sequence[float]:
    """So many doses around the one that halves of them are below."""
    ranked = sorted(multiples)
    first = max(0, min(len(ranked) // 2 - count // 2, len(ranked) - count))
    return ranked[first : first + count]


def _write(stage: Stage, made: Steered) -> None:
    """Greedy texts of the base and of every dose."""
    book, spec = made.notebook, made.notebook.spec
    own = book.unit("write", "texts", 8.0)
    prompts = stage.prompts[: spec.texts]
    teller = Teller(stage.library, made.planted.knee, spec.text_tokens, book.chance)
    for arm in only(Arm, book.records):
        if arm.kind in ("base", "steered"):
            book.add(*teller.greedy(own, arm, prompts))
