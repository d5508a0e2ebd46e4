"""Makes the synthetic store: which runs there are, in which order, and what is stored of each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from steerkit import inputs
from steerkit.demo.collected import Collected, collected
from steerkit.demo.healed import healed, swept
from steerkit.demo.library import library
from steerkit.demo.loops import Played, begun, judged, played
from steerkit.demo.marks import refuse_real
from steerkit.demo.notebook import Notebook
from steerkit.demo.steered import Stage, Start, Steered, steered
from steerkit.demo.world import World
from steerkit.records import SYNTHETIC, Prior
from steerkit.request import Gate1Request
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Collected as Asked
from steerkit.request_gate3 import Gate3Request
from steerkit.request_loop import LoopRequest
from steerkit.request_sweep import SweepRequest
from steerkit.stages.assemble import only
from steerkit.store import Store

FEWER = ("gate.resamples=500",)
"""Bootstraps of thousands of texts take seconds each; an interval's last digits say nothing here."""
Say = Callable[[Notebook, int, int, int], None]
"""Told of every run: its place among how many, and how many were written so far."""
SCHEDULES = (("constant", False), ("exp:40", False), ("constant", True))
"""How the texts of a chain's runs of gate 2 are written: schedule, and whether broken ones are taken back."""


@dataclass(frozen=True)
class Plan:
    """How much there is of everything. `texts`: of all runs of gate 2 together."""

    traits: tuple[str, ...] = ("authority", "care")
    methods: tuple[str, ...] = ("mean_mass", "svd", "cosine_gated")
    seeds: int = 2
    loops: tuple[tuple[str, str], ...] = (("mean_mass", "authority"), ("svd", "care"))
    rounds: int = 4
    sweep: Mapping[str, str] = field(default_factory=lambda: {"lam": "0,0.03,0.1,0.3,1,3", "aggregate": "rmse,mean"})
    texts: int = 200_000
    quick: bool = False

    @property
    def collections(self) -> int:
        """How many runs of gate 2 there are."""
        return len(self.traits) * len(self.methods) * self.seeds * len(SCHEDULES) + len(self.loops) * self.rounds


LARGE = Plan()
TINY = Plan(
    traits=("authority",),
    methods=("mean_mass",),
    seeds=1,
    loops=(("mean_mass", "authority"),),
    rounds=2,
    sweep={"lam": "0.3,1"},
    texts=1500,
    quick=True,
)
PLANS = {"large": LARGE, "tiny": TINY}


def synthetic(store: Store, plan: Plan, seed: int, say: Say) -> list[str]:
    """Write every run of the plan that the store has not got; returns the ids of all.

    Raises UsageError for a store that holds a run of a real model.
    """
    refuse_real(store)
    maker = _Maker(store, plan, seed)
    known, written, runs = maker.known(), 0, list[str]()
    for book in maker.books():
        runs.append(book.run)
        if book.run not in known:
            store.append(book.records, book.frames())
            written += 1
        say(book, len(runs), maker.total(), written)
    store.ingest()
    return runs


@dataclass
class _Maker:
    """Makes runs one after another, each from random numbers of its own."""

    store: Store
    plan: Plan
    seed: int

    def __post_init__(self) -> None:
        """Draw the model that all runs are about."""
        chance = np.random.default_rng(self.seed)
        first = Gate1Request.checked(self.asked("mean_mass", "authority", 0))
        prompts = tuple(each for each in inputs.dilemmas() if each.kind == "pressure")
        self.stage = Stage(World.of(first.vignettes, chance), library(chance), prompts, self.store.put_tensors)
        self.numbers = count()
        self.per_run = max(60, self.plan.texts // self.plan.collections)

    def total(self) -> int:
        """How many runs there are."""
        plan = self.plan
        chains = len(plan.traits) * len(plan.methods) * plan.seeds
        return chains * (2 + len(SCHEDULES)) + len(plan.traits) + 1 + len(plan.loops) * (3 * plan.rounds + 1)

    def known(self) -> set[str]:
        """Runs that the store has already."""
        self.store.ingest()
        if not self.store.path.exists():
            return set()
        return set(self.store.query("SELECT run_id FROM run")["run_id"].to_list())

    def asked(self, method: str, trait: str, seed: int) -> dict[str, Any]:
        """What a user would have typed."""
        files = dict.fromkeys(("personas", "vignettes", "contexts", "dilemmas", "keep", "divergence", "aggregate"))
        files |= dict.fromkeys(("reference", "lam", "tau", "weight_decay", "spectral", "schedule"))
        fixed = {"instrument": "fewshot", "person": "third", "thorough": False, "settings": FEWER, "backtrack": False}
        model = {"model": SYNTHETIC, "dtype": "float32", "device": "cpu", "trust_remote_code": False}
        own = {"method": method, "trait": trait, "seed": 1000 * self.seed + seed, "quick": self.plan.quick}
        return {**files, **fixed, **model, **own, "controls": "all", "weights": False}

    def drawn(self) -> tuple[int, np.random.Generator]:
        """The next run's number, and its random numbers."""
        number = next(self.numbers)
        return number, np.random.default_rng([self.seed, number])

    def books(self) -> Iterator[Notebook]:
        """Every run, each after those it goes on from."""
        for trait in self.plan.traits:
            for seed in range(self.plan.seeds):
                for method in self.plan.methods:
                    yield from self.chain(method, trait, seed)
            yield self.steered(self.asked("null", trait, 0)).notebook
        yield self.swept()
        for method, trait in self.plan.loops:
            yield from self.loop(method, trait)

    def steered(self, asked: dict[str, Any]) -> Steered:
        """A run of gate 1 on the untouched model."""
        start = Start(np.zeros(7))
        return steered(self.stage, Gate1Request.checked(asked), start, *self.drawn())

    def collected(self, before: Steered, asked: dict[str, Any]) -> Collected:
        """A run of gate 2."""
        return collected(self.stage, before, Gate2Request.checked(asked), self.per_run, *self.drawn())

    def chain(self, method: str, trait: str, seed: int) -> Iterator[Notebook]:
        """Gate 1, gate 2 in several ways, and gate 3 on the texts of the first."""
        asked = self.asked(method, trait, seed)
        first = self.steered(asked)
        yield first.notebook
        texts = []
        for schedule, backtrack in SCHEDULES:
            texts.append(self.collected(first, {**asked, "schedule": schedule, "backtrack": backtrack}))
            yield texts[-1].notebook
        request = Gate3Request.checked(asked)
        yield healed(self.stage, first, texts[0], request, first.records, *self.drawn()).notebook
        if (method, trait, seed) == (self.plan.methods[0], self.plan.traits[0], 0):
            self.swept_from = (first, texts[0])

    def swept(self) -> Notebook:
        """A sweep on the texts of the first chain."""
        first, texts = self.swept_from
        asked = self.asked(first.request.asked["method"], first.request.asked["trait"], 0) | dict(self.plan.sweep)
        found = Asked.of(texts.taught, first.records, first.records)
        request = SweepRequest.of(asked, found, "", None)
        return swept(self.stage, first, texts, request.spec(0), *self.drawn())

    def loop(self, method: str, trait: str) -> Iterator[Notebook]:
        """Rounds of gates 1 to 3, each on the student of the one before, and the loop that they make."""
        asked = self.asked(method, trait, self.plan.seeds) | {
            "settings": (*FEWER, *(f"gate{number}.{FEWER[0].removeprefix('gate.')}" for number in (1, 2, 3))),
            "controls": "none",
            "rounds": self.plan.rounds,
            "direction": "fresh",
        }
        request = LoopRequest.checked(asked)
        book, rounds, start = begun(request, *self.drawn()), list[Played](), Start(np.zeros(7))
        for number in range(self.plan.rounds):
            root = rounds[0].gate1.notebook.run if rounds else ""
            first = steered(self.stage, request.gate1(start.history, root), start, *self.drawn())
            texts = collected(self.stage, first, request.collect, self.per_run, *self.drawn())
            origin = rounds[0].gate1.records if rounds else first.records
            student = healed(self.stage, first, texts, request.train, origin, *self.drawn())
            rounds.append(Played(first, texts, student))
            yield from (first.notebook, texts.notebook, student.notebook)
            played(book, request, rounds, number)
            start = Start(
                student.shift, student.coherence, (*start.history, student.adapter), first.vector, _prior(rounds[0])
            )
        judged(book, request)
        yield book


def _prior(first: Played) -> tuple[Prior, ...]:
    """The label bias that holds for every student of a loop."""
    return tuple(only(Prior, first.gate1.records))
