"""Pages that refresh while a run writes: the run never fails, loses nothing and hardly waits."""

import multiprocessing
import sys
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from store_child import plain

from dashboard import live
from dashboard.reading import Reader
from steerkit.records import FOUNDATIONS, Answer, Arm, Effect, Record, Run, RunEvent, Unit
from steerkit.store import Store

VIGNETTES, ORDERS = 154, 2
QUESTIONS = ("runs", "plane", "progress")
"""What the front page asks, and the sidebar beside it."""


@dataclass(frozen=True)
class Wrote:
    """How long a writer took (seconds): in all, and beside its work."""

    whole: float
    storing: float


@dataclass(frozen=True)
class Read:
    """How often a reader drew anew, its share of one processor (fraction), and the most arms it saw."""

    times: int
    share: float
    seen: int


def unit(number: int) -> list[Record]:
    """A scored arm, as gate 1 stores one."""
    own = {"unit_id": f"u{number}", "arm_id": f"a{number}"}
    answers = [
        plain(Answer, **own, vignette=f"v{place}", foundation=FOUNDATIONS[place % 7], ordering=order)
        for order in range(ORDERS)
        for place in range(VIGNETTES)
    ]
    figures = [plain(Effect, **own, quantity=name, value=0.1) for name in ("separation", "coherence")]
    kind = "steered" if number else "base"
    return [plain(Arm, **own, kind=kind, dose=number), *answers, *figures, plain(Unit, unit_id=f"u{number}")]


def write(path: str, count: int, work: float, said: "Queue[Any]") -> None:
    """A run: work, store, work, store; its database is filled in the background."""
    store, storing = Store(Path(path)), 0.0
    pattern = unit(1)
    began = time.perf_counter()
    with store.ingesting():
        for number in range(count):
            time.sleep(work)
            records = numbered(pattern, number)
            start = time.perf_counter()
            store.append(records)
            storing += time.perf_counter() - start
        last = time.perf_counter()
    storing += time.perf_counter() - last
    said.put((Wrote(time.perf_counter() - began, storing), store.trouble))


def numbered(pattern: list[Record], number: int) -> list[Record]:
    """The same records as another unit of work, the first of them the base."""
    own = {"unit_id": f"u{number}"}
    arm = {"arm_id": f"a{number}"}
    kind = {"kind": "steered" if number else "base", "dose": float(number)}
    return [
        replace(one, **own, **({} if isinstance(one, Unit) else arm), **(kind if isinstance(one, Arm) else {}))
        for one in pattern
    ]


def read(path: str, every: float, ready: Any, stop: Any, said: "Queue[Any]") -> None:
    """An open front page: it looks at the store's times, and asks anew when they have changed and it has rested."""
    reader, drawn, times, seen, rest = Reader(Store(Path(path), deadline=2.0)), None, 0, 0, 0.0
    # What a server has done long before the run starts.
    [reader.ask(question) for question in QUESTIONS]
    ready.set()
    began, processor = time.perf_counter(), time.process_time()
    while not stop.wait(max(every, rest)):
        if drawn != reader.stamp():
            start = time.perf_counter()
            drawn = reader.stamp()
            seen = max(seen, [reader.ask(question) for question in QUESTIONS][1].height)
            times, rest = times + 1, live.SHARE * (time.perf_counter() - start)
    share = (time.process_time() - processor) / (time.perf_counter() - began)
    said.put(Read(times, share, seen))


def run(path: Path, count: int, work: float, every: float | None) -> tuple[Wrote, Read | None]:
    """A writer, with a reader beside it where `every` says how often that looks (seconds)."""
    store = Store(path)
    store.append([plain(Run), plain(RunEvent, seq=1, state="started")])
    store.ingest()
    context = multiprocessing.get_context("spawn")
    wrote, was_read, ready, stop = context.Queue(), context.Queue(), context.Event(), context.Event()
    writer = context.Process(target=write, args=(str(path), count, work, wrote))
    reader = context.Process(target=read, args=(str(path), every, ready, stop, was_read))
    if every is not None:
        reader.start()
        assert ready.wait(60)
    writer.start()
    told, trouble = wrote.get(timeout=300)
    writer.join()
    stop.set()
    found = was_read.get(timeout=60) if every is not None else None
    assert writer.exitcode == 0 and trouble is None
    return told, found


def whole(path: Path, count: int) -> None:
    """Everything that was written is there, once."""
    store = Store(path)
    assert store.problems() == []
    assert store.query("SELECT count(*) FROM answer").item() == count * VIGNETTES * ORDERS
    assert store.query("SELECT count(*) FROM segment").item() == count + 1


@pytest.mark.slow
def test_a_run_goes_on_while_a_page_refreshes(tmp_path: Path) -> None:
    path = tmp_path / "live.duckdb"
    _, found = run(path, 12, 0.25, 0.1)
    whole(path, 12)
    assert found is not None and found.times > 0 and found.seen > 0


@pytest.mark.slow
def test_a_run_of_200_writes_loses_less_than_a_twentieth(tmp_path: Path) -> None:
    """Of its time to waiting, and of a processor to the page; a page that rests as the dashboard does."""
    alone, _ = run(tmp_path / "alone.duckdb", 200, 0.2, None)
    beside, found = run(tmp_path / "beside.duckdb", 200, 0.2, live.SHORTEST)
    whole(tmp_path / "beside.duckdb", 200)
    assert found is not None and found.times > 3 and found.seen > 100
    told = (
        f"storing: {alone.storing:.2f} s alone, {beside.storing:.2f} s beside a page, of {beside.whole:.1f} s; {found}"
    )
    assert (beside.storing - alone.storing) / alone.whole < 0.05, told
    assert found.share < 0.05, told
    sys.stderr.write(f"{told}\n")
