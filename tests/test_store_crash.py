"""The store under SIGKILL: what was acknowledged arrives, once and whole, whenever the process dies."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import store_child

from steerkit.store import Store

KILLS = 30


def test_every_acknowledged_segment_arrives_exactly_once(tmp_path: Path) -> None:
    target, acks = Store(tmp_path / "runs.duckdb"), tmp_path / "acks"
    chance = random.Random(20)
    with store_child.child("nursery", target.path, str(acks)) as nursery:
        assert nursery.stdin is not None and nursery.stdout is not None
        for _ in range(KILLS):
            nursery.stdin.write("work\n")
            nursery.stdin.flush()
            pid = int(nursery.stdout.readline())
            time.sleep(chance.uniform(0.05, 0.5))
            os.kill(pid, signal.SIGKILL)
            assert int(nursery.stdout.readline()) == signal.SIGKILL, "the worker must die of the kill alone"
            check_whole(target, read_acks(acks))
    acknowledged = read_acks(acks)
    target.ingest()
    check_whole(target, acknowledged)
    stored = target.query("SELECT unit_id FROM unit").get_column("unit_id").to_list()
    # On a busy machine not every worker comes as far as its first segment.
    assert len(acknowledged["durable"]) > KILLS // 3, "the workers were killed before they did anything"
    assert [unit for unit, count in Counter(stored).items() if count > 1] == []
    assert acknowledged["durable"] - set(stored) == set()
    assert len(set(stored) - acknowledged["durable"]) <= KILLS, "at most one unacknowledged segment per kill"
    assert [p for p in target.problems() if "segment" in p or "times" in p] == []
    before = target.query("SELECT * FROM answer ORDER BY unit_id, vignette").rows()
    target.rebuild()
    assert target.query("SELECT * FROM answer ORDER BY unit_id, vignette").rows() == before


def read_acks(acks: Path) -> dict[str, set[str]]:
    """Units that were acknowledged as durable, and as arrived; a line cut short by a kill was not acknowledged."""
    lines = acks.read_text().split("\n")[:-1] if acks.exists() else []
    return {word: {line.split()[1] for line in lines if line.startswith(word)} for word in ("durable", "arrived")}


def check_whole(target: Store, acknowledged: dict[str, set[str]]) -> None:
    """The database opens, holds whole segments only, and all that were acknowledged as arrived."""
    if not target.path.exists():
        assert not acknowledged["arrived"]
        return
    rows = target.query("SELECT unit_id, count(arm_id) FROM unit FULL JOIN answer USING (unit_id) GROUP BY ALL").rows()
    assert {count for _, count in rows} <= {store_child.ROWS}, "a unit arrived without all its answers"
    assert acknowledged["arrived"] <= {unit for unit, _ in rows}


def test_a_killed_rebuild_leaves_a_whole_database(tmp_path: Path) -> None:
    target, chance = Store(tmp_path / "runs.duckdb"), random.Random(21)
    for turn in range(20):
        target.append(store_child.segment(str(turn)))
    target.ingest()
    with store_child.child("nursery", target.path, "") as nursery:
        assert nursery.stdin is not None and nursery.stdout is not None
        for _ in range(8):
            nursery.stdin.write("rebuild\n")
            nursery.stdin.flush()
            pid = int(nursery.stdout.readline())
            time.sleep(chance.uniform(0.05, 0.4))
            os.kill(pid, signal.SIGKILL)
            assert int(nursery.stdout.readline()) == signal.SIGKILL
            assert target.query("SELECT count(*) FROM answer").item() == 20 * store_child.ROWS


def test_two_processes_ingest_at_once(tmp_path: Path) -> None:
    target = Store(tmp_path / "runs.duckdb")
    with store_child.child("produce", target.path, "60") as one, store_child.child("produce", target.path, "60") as two:
        for process in (one, two):
            process.communicate(timeout=60)
            assert process.returncode == 0
    counts = target.query("SELECT count(*), count(DISTINCT unit_id) FROM unit").rows()
    assert counts == [(120, 120)]
    assert target.query("SELECT count(*) FROM answer").item() == 120 * store_child.ROWS
