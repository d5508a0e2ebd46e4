"""Speed and memory on this machine, each figure beside the plain way of doing the same, measured in one run."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from steerkit import inputs
from steerkit.host import Host, chat_ids, generate
from steerkit.host.load import DTYPES, matmul_rate
from steerkit.instruments import fewshot
from steerkit.spec import CaptureSpec
from steerkit.stages.capture import band

PLAIN_VIGNETTES = 16
"""The plain way is slow: it is timed on this many vignettes."""


def bench(host: Host) -> dict[str, Any]:
    """Scoring and generation rates, the plain way's, their ratios, and the share of the measured matmul rate.

    Rates are vignettes, tokens or floating-point operations per second; `largest_difference` is in nats.
    """
    rate = matmul_rate(DTYPES[host.dtype], host.device)
    return {
        "model": host.name,
        "dtype": host.dtype,
        "device": host.device,
        "threads": torch.get_num_threads(),
        "matmul_gflops": rate / 1e9,
        "scoring": _scoring(host, rate),
        "generation": _generation(host),
        "peak_memory_gib": _peak(resource.RUSAGE_SELF),
    }


def bench_gate1(quick: bool, method: str = "svd") -> dict[str, Any]:
    """One whole gate 1 in a process of its own, from a warm model cache: wall seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "steerkit.cli", "gate1", "--method", method, "--json"]
        command += ["--store", str(Path(folder) / "bench.duckdb"), *(["--quick"] if quick else [])]
        start = time.perf_counter()
        done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = _first_number(done, start)
        printed, _ = done.communicate()
        seconds = time.perf_counter() - start
    return {
        "quick": quick,
        "verdict": json.loads(printed).get("verdict"),
        "seconds": seconds,
        "first_number_seconds": first,
        "peak_memory_gib": _peak(resource.RUSAGE_CHILDREN),
    }


def _first_number(process: "subprocess.Popen[str]", start: float) -> float | None:
    """Seconds until the base's level is on the screen."""
    assert process.stderr is not None
    for line in process.stderr:
        if "nats" in line:
            return time.perf_counter() - start
    return None


def _scoring(host: Host, rate: float) -> dict[str, float]:
    vignettes = [vignette.text for vignette in inputs.vignettes()]
    config = fewshot.Config()
    first = band(host, CaptureSpec().band)[0]
    prepared = fewshot.prepare(host, vignettes, config, system=None, first_block=first)
    some = fewshot.prepare(host, vignettes[:PLAIN_VIGNETTES], config, system=None, first_block=first)
    fast, read = _timed(lambda: fewshot.read(host, prepared, {}))
    plain, reference = _timed(lambda: fewshot.read_plainly(host, some, {}))
    per_second, plainly = len(vignettes) / fast, PLAIN_VIGNETTES / plain
    return {
        "vignettes_per_second": per_second,
        "plain_vignettes_per_second": plainly,
        "ratio": per_second / plainly,
        "largest_difference": float((read[:, :PLAIN_VIGNETTES, :7] - reference[..., :7]).abs().max()),
        "matmul_share": _operations(host, prepared, first + 1) / fast / rate,
    }


def _operations(host: Host, prepared: fewshot.Prepared, start: int) -> float:
    """Floating-point operations of the matrix products one reading needs: blocks from `start` on, and the head."""
    weights = sum(p.numel() for block in host.blocks[start:] for p in block.parameters() if p.dim() == 2)
    tokens = sum(len(p.rows.prefix) + sum(map(len, p.rows.suffixes)) for p in prepared.prompts)
    heads = sum(len(p.rows.suffixes) * p.rows.read for p in prepared.prompts)
    total: float = 2.0 * (tokens * weights + heads * host.width * host.model.lm_head.out_features)
    return total


def _generation(host: Host, rows: int = 32, length: int = 24) -> dict[str, float]:
    texts = [context.text for context in inputs.contexts()[:rows]]
    prompts = [chat_ids(host, text) for text in texts]
    batched, written = _timed(lambda: generate(host, prompts, {}, length))
    alone, single = _timed(lambda: [generate(host, [prompt], {}, length)[0] for prompt in prompts[:2]])
    together, one = (sum(len(row.kl) for row in done) for done in (written, single))
    return {
        "rows": rows,
        "tokens_per_second": together / batched,
        "one_at_a_time_tokens_per_second": one / alone,
        "ratio": (together / batched) / (one / alone),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _peak(who: int) -> float:
    """Peak resident memory, GiB."""
    return resource.getrusage(who).ru_maxrss / 2**20
