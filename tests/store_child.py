"""Processes that the store's tests kill, or that hold the database; imports little, so that a child starts fast."""

import importlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from steerkit import store
from steerkit.records import Answer, Record, Unit
from steerkit.store import Store

R = TypeVar("R", bound=Record)
ROWS = 40
"""Answers per segment."""


def plain(kind: type[R], /, **fields: Any) -> R:
    """A record of that kind: the fields given, and a plain value in every other."""
    values = {}
    for name, hint in get_type_hints(kind).items():
        options = [option for option in get_args(hint) if option is not type(None)]
        if get_origin(hint) is Literal:
            values[name] = options[0]
        elif type(None) in get_args(hint):
            values[name] = None
        else:
            values[name] = "x" if hint is str else (get_origin(hint) or hint)()
    return kind(**values | {"run_id": "run", "unit_id": "unit"} | fields)


def segment(unit: str, run: str = "run") -> list[Unit | Answer]:
    """One unit of work and its answers, as a stage would store them."""
    row = {"run_id": run, "unit_id": unit}
    answers = [plain(Answer, **row, arm_id="arm", vignette=f"v{i}", care=-0.5 * i) for i in range(ROWS)]
    return [plain(Unit, **row, name=unit), *answers]


def say(what: object) -> None:
    """One line to the parent, at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def work(path: str, acks: str) -> None:
    """Append and ingest until killed; `acks` gets a line when a unit is durable and one when it is in the database."""
    target = Store(Path(path))
    log = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for turn in itertools.count():
        units = [f"{os.getpid()}-{turn}-{i}" for i in range(1 + 10 * (turn % 3))]
        for unit in units:
            target.append(segment(unit))
            os.write(log, f"durable {unit}\n".encode())
        target.ingest()
        os.write(log, "".join(f"arrived {unit}\n" for unit in units).encode())


def rebuild(path: str, _: str) -> None:
    """Rebuild until killed."""
    while True:
        Store(Path(path)).rebuild()


def produce(path: str, count: str) -> None:
    """Append that many units while ingesting in the background, as a run does."""
    store.TICK = 0.05
    target = Store(Path(path))
    with target.ingesting():
        for i in range(int(count)):
            target.append(segment(f"{os.getpid()}-{i}"))
            time.sleep(0.01)


def read(path: str, seconds: str) -> None:
    """Query in a tight loop; print how often."""
    until, reads, before = time.monotonic() + float(seconds), 0, -1
    while time.monotonic() < until:
        count = Store(Path(path)).query("SELECT count(*) AS n FROM answer").item()
        assert count >= before and count % ROWS == 0, "a reader saw half a segment, or rows that went away"
        reads, before = reads + 1, count
    say(reads)


def hold(path: str, how: str) -> None:
    """Keep the database open as a foreign program would, until killed."""
    import duckdb

    con = duckdb.connect(path, read_only=how == "ro")
    say("held")
    time.sleep(600)
    con.close()


def nursery(path: str, more: str) -> None:
    """Fork a worker per line of input (a function's name) and say its pid, then its end: a fork saves the imports."""
    # What a worker would import at its first turn; importing starts no threads, which a fork would lose.
    for name in ("polars", "pyarrow", "pandas"):
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            globals()[line.strip()](path, more)
            os._exit(0)
        say(pid)
        say(os.waitpid(pid, 0)[1])


@contextmanager
def child(what: str, path: Path, more: str) -> Iterator[subprocess.Popen[str]]:
    """A child of this file's function `what`; killed at the end if it still lives."""
    command = [sys.executable, str(Path(__file__)), what, str(path), more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], sys.argv[3])
