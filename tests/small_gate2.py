"""Gate 2 on the planted model, small enough for a test: its settings, its command line, and a store to go on from."""

import io
import json
import shutil
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tiny_model

from steerkit.cli import main
from steerkit.records import TABLES
from steerkit.store import Store

KEEP = 12
LADDER = (0.5, 1.0, 2.0, 4.0)
PER_DOSE, BASE, RANDOM, LENGTH = 4, 16, 8, 16
SMALL = (
    f"texts.length={LENGTH}",
    "texts.prompts=4",
    "control.ladder=" + ",".join(map(str, LADDER)),
    f"control.per_dose={PER_DOSE}",
    f"control.base={BASE}",
    f"control.random={RANDOM}",
    "gate.resamples=200",
    "gate.floor=8",
    # The planted model's words are drawn at random: they are hard to predict and no word is common.
    "filter.perplexity=100",
    "filter.tail_perplexity=1000",
    "filter.kl_spike=3",
    "filter.common_words=0",
)
"""Settings that make a run small; at these thresholds texts of the two upper doses are broken, and others are not."""
STARVED = "filter.perplexity=1.0001"
"""A threshold that no text of this model meets."""
UNEQUAL = {"registered_at", "seconds"}
"""Columns that hold a time."""
EVENTS = {"run_event", "picture"}
"""Tables of what happened to a run, rather than of what it found."""


@dataclass(frozen=True)
class Ran:
    """What one command gave; `said` is its stderr."""

    code: int
    document: dict[str, Any]
    said: str
    seconds: float


@dataclass(frozen=True)
class Ready:
    """The planted model, and a store in which gate 1 has run, and nothing else."""

    planted: tiny_model.Planted
    store: Path
    run: str

    def copy(self, folder: Path) -> Path:
        """A copy of the store of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        copied = folder / self.store.name
        shutil.copy(self.store, copied)
        shutil.copytree(self.store.with_name(self.store.name + ".d"), folder / f"{self.store.name}.d")
        return copied

    def gate2(self, store: Path, *more: str) -> list[str]:
        """A command line for gate 2 that goes on from gate 1's run."""
        return [*self.bare(store, "--from", self.run), "--json", "--keep", str(KEEP), *given(*SMALL), *more]

    def bare(self, store: Path, *more: str) -> list[str]:
        """The same without settings, and without saying what it goes on from."""
        files = ("--personas", str(self.planted.personas), "--dilemmas", str(self.planted.dilemmas))
        return ["gate2", "--store", str(store), "--device", "cpu", *files, *more]


def given(*settings: str) -> list[str]:
    """Settings as they are given on a command line."""
    return [part for setting in settings for part in ("--set", setting)]


PLACES: list[tempfile.TemporaryDirectory[str]] = []
"""Where a process keeps what several files of tests copy; they go away with it."""


def shared() -> Path:
    """A new folder that lasts as long as the process."""
    PLACES.append(tempfile.TemporaryDirectory())
    return Path(PLACES[-1].name)


def ready(folder: Path) -> Ready:
    """The planted model and a store in `folder` in which gate 1 has run."""
    made = _made()
    return Ready(made.planted, made.copy(folder), made.run)


@cache
def _made() -> Ready:
    folder = shared()
    planted, store = tiny_model.make(folder), folder / "store" / "steerkit.duckdb"
    store.parent.mkdir()
    found = ran(planted.gate1(store))
    assert found.code == 0, found.said
    return Ready(planted, store, found.document["run_id"])


def ran(arguments: list[str]) -> Ran:
    """Run the command in this process and read the one document it prints."""
    out, err, start = io.StringIO(), io.StringIO(), time.perf_counter()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return Ran(code, json.loads(out.getvalue()), err.getvalue(), time.perf_counter() - start)


def rows(store: Path, run: str | None = None) -> dict[str, list[str]]:
    """Every table's rows (of one run) as sorted texts, which show each float to the bit, without its times."""
    reader, found = Store(store), {}
    for name in TABLES:
        if name not in EVENTS:
            frame = reader.query(f"FROM {name} WHERE $run IS NULL OR run_id = $run", {"run": run})
            kept = frame.select(column for column in frame.columns if column not in UNEQUAL)
            found[name] = sorted(repr(row) for row in kept.iter_rows())
    return found
