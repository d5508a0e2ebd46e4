"""A run of gate 1 killed anywhere and resumed gives the same tables, to the bit, as one that was left alone."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_model

from steerkit.cli import main
from steerkit.store import Store

KILLS = 6
OUTPUTS = ("commands._gate1_output", "commands._gate2_output", "commands._loop_output")
TABLES = ("run", "vignette", "direction", "direction_layer", "dose", "calibration", "arm", "answer", "prior")
RESULTS = ("completion", "effect", "verdict")
UNEQUAL = {"registered_at", "seconds"}
"""Columns that hold a time."""


class Nursery:
    """A process that has imported everything and started no thread, and forks a worker per command line."""

    def __init__(self, log: Path) -> None:
        self._log = log
        command = [sys.executable, str(Path(__file__)), str(log)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"

    def start(self, arguments: list[str], how: int = 0, after: float = 0.0) -> int:
        """Fork a worker that sends itself the signal `how` after that many seconds; returns its pid."""
        return self._ask({"arguments": arguments, "how": int(how), "after": after})

    def wait(self, pid: int) -> int:
        """The worker's exit code, or minus the signal that ended it."""
        return self._ask({"wait": pid})

    def run(self, arguments: list[str], how: int = 0, after: float = 0.0) -> int:
        """Start and wait."""
        return self.wait(self.start(arguments, how, after))

    def said(self) -> str:
        """What all workers wrote."""
        return self._log.read_text()

    def end(self) -> None:
        """No more workers."""
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def nursery(log: str) -> None:
    """Fork workers as told on stdin."""
    import torch

    torch.set_num_threads(1)
    for name in ("polars", "pyarrow", "altair", "scipy.stats", "peft", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)
    for name in ("host", "session", "pipeline", "commands.gate1", "commands.gate2", "commands.loop", *OUTPUTS):
        importlib.import_module(f"steerkit.{name}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            answer = os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                work(log, told["arguments"], told["how"], told["after"])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def work(log: str, arguments: list[str], how: int, after: float) -> None:
    """One command line, in a worker that may end itself; never returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if how:
        timer = threading.Timer(after, lambda: os.kill(os.getpid(), how))
        timer.daemon = True
        timer.start()
    code = main(arguments)
    sys.stderr.flush()
    os._exit(code)


class Undisturbed:
    """The run that nobody killed: its store and how long it took (seconds)."""

    def __init__(self, workers: Nursery, planted: tiny_model.Planted, store: Path) -> None:
        start = time.perf_counter()
        assert workers.run(planted.gate1(store)) == 0, workers.said()
        self.seconds = time.perf_counter() - start
        self.tables = tables(store)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    found = Nursery(tmp_path_factory.mktemp("log") / "workers.log")
    yield found
    found.end()


@pytest.fixture(scope="module")
def undisturbed(workers: Nursery, planted: tiny_model.Planted, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(workers, planted, tmp_path_factory.mktemp("whole") / "steerkit.duckdb")


def tables(store: Path) -> dict[str, list[str]]:
    """Every table's rows as sorted texts, which show each float to the bit, without its times."""
    reader, found = Store(store), {}
    for name in (*TABLES, *RESULTS):
        frame = reader.query(f"FROM {name}")
        kept = frame.select(column for column in frame.columns if column not in UNEQUAL)
        found[name] = sorted(repr(row) for row in kept.iter_rows())
    return found


def units(store: Path) -> list[str]:
    """Ids of the finished units, from the database and the spool, one per record."""
    file = Store(store)
    file.ingest()
    return list(file.query("SELECT unit_id FROM unit ORDER BY unit_id")["unit_id"])


def test_a_killed_run_resumes_to_the_same_tables(
    workers: Nursery, planted: tiny_model.Planted, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    store, draw, killed = tmp_path / "steerkit.duckdb", random.Random(0), 0
    done: set[str] = set()
    for _ in range(KILLS):
        after = draw.uniform(0.05, 0.4) * undisturbed.seconds
        code = workers.run(planted.gate1(store, "--resume"), signal.SIGKILL, after)
        assert code in (-signal.SIGKILL, 0), workers.said()
        killed += code != 0
        if store.exists() or store.with_name("steerkit.duckdb.d").exists():
            now = units(store)
            assert done <= set(now) and len(now) == len(set(now)), "a finished unit went away or was done twice"
            done = set(now)
    assert killed >= KILLS // 2 and workers.run(planted.gate1(store, "--resume")) == 0, workers.said()
    assert len(units(store)) == len(set(units(store)))
    found = tables(store)
    for name in (*TABLES, *RESULTS):
        assert found[name] == undisturbed.tables[name], f"table {name} differs"
    assert found["answer"] and found["verdict"]


def test_an_interrupted_run_says_so_and_keeps_what_it_finished(
    workers: Nursery, planted: tiny_model.Planted, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    store = tmp_path / "steerkit.duckdb"
    before = len(workers.said())
    worker = workers.start(planted.gate1(store))
    until = time.monotonic() + 60
    while "[ 5/" not in workers.said()[before:]:
        assert time.monotonic() < until, workers.said()
        time.sleep(0.01)
    os.kill(worker, signal.SIGINT)
    assert workers.wait(worker) == 130, workers.said()
    kept = units(store)
    state = Store(store).query("SELECT state FROM run_state")["state"].to_list()
    assert kept and state == ["interrupted"]
    assert workers.run(planted.gate1(store)) == 0
    assert set(kept) < set(units(store)) and tables(store) == undisturbed.tables


def test_two_processes_do_not_run_one_spec_into_one_store(
    workers: Nursery, planted: tiny_model.Planted, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    store = tmp_path / "steerkit.duckdb"
    first = workers.start(planted.gate1(store))
    running = tmp_path / "steerkit.duckdb.d" / "running"
    until = time.monotonic() + 30
    while not (running.exists() and list(running.iterdir())):
        assert time.monotonic() < until, workers.said()
        time.sleep(0.02)
    assert workers.run(planted.gate1(store)) == 2
    assert "is being written by another process" in workers.said()
    assert workers.wait(first) == 0 and tables(store) == undisturbed.tables


if __name__ == "__main__":
    nursery(sys.argv[1])
