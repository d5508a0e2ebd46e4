"""What the benchmarks say on a tiny model: their parts add up, and nothing they train stays."""

from pathlib import Path

import pytest
import tiny_model
import torch
from small_adapters import bits, logits

from steerkit import bench
from steerkit.host import load


def test_training_is_timed_with_and_without_the_constraint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = load(str(tiny_model.make(tmp_path).folder), "float32", "cpu")
    monkeypatch.setattr(bench, "TEXTS", 32)
    monkeypatch.setattr(bench, "LENGTH", 8)
    before = logits(host, [1, 2, 3])
    found = bench.bench_heal(host)
    assert found["texts"] == 32 and found["tokens"] <= 32 * 9
    assert found["steps"] >= 3 * 27 / 2
    assert found["ratio"] == pytest.approx(found["seconds"] / found["plain_seconds"])
    assert torch.equal(bits(logits(host, [1, 2, 3])), bits(before))
