"""Speed and memory on this machine, each figure beside the plain way of doing the same, measured in one run."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from steerkit import inputs
from steerkit.contrast import State
from steerkit.errors import RunError, UsageError
from steerkit.filters import Background
from steerkit.host import Host, Writing, chat_ids, edited, generate
from steerkit.host.load import DTYPES, matmul_rate
from steerkit.host.places import Place
from steerkit.host.sampling import Sampling
from steerkit.instruments import fewshot
from steerkit.personas import load_personas
from steerkit.plugins import load_method
from steerkit.records import Completion
from steerkit.resources import folder
from steerkit.spec import CaptureSpec, TextSpec
from steerkit.spec_heal import HealSpec
from steerkit.stages.assemble import only
from steerkit.stages.capture import band
from steerkit.stages.filter import decide, thresholds
from steerkit.stages.heal import examples, heal, observed_tau, split
from steerkit.stages.steer import Fitted, uniform
from steerkit.stages.write import Order, write

PLAIN_VIGNETTES = 16
PLAIN_TEXTS = 3
"""The plain way is slow: it is timed on this many vignettes, and texts."""
TEXTS, LENGTH = 64, 80
"""As many texts of as many tokens as a round has."""


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


def bench_gate2(keep: int = 64) -> dict[str, Any]:
    """One whole gate 2 on a quick gate 1's direction, each in a process of its own: wall seconds of gate 2 alone."""
    with tempfile.TemporaryDirectory() as folder:
        store = ["--store", str(Path(folder) / "bench.duckdb"), "--json"]
        run = [sys.executable, "-m", "steerkit.cli"]
        first = subprocess.run([*run, "gate1", "--quick", *store], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        parent = json.loads(first.stdout)["run_id"]
        start = time.perf_counter()
        asked = [*run, "gate2", "--from", parent, "--keep", str(keep), *store]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    said = json.loads(done.stdout)
    return {"verdict": said["verdict"], "kept": said["kept"], "made": said["made"], "seconds": seconds}


def bench_heal(host: Host) -> dict[str, Any]:
    """One adapter trained with the constraint beside one without, on 64 texts of 80 tokens: wall seconds.

    The texts are weakly steered ones, as the benchmark of generation writes them; nothing is filtered.
    """
    texts = only(Completion, write(host, _orders(host, TEXTS), LENGTH, _sampled(TEXTS), "bench", "bench"))
    made, spec = examples(host, texts), HealSpec()
    train, validation = split(made, [text.prompt_id for text in texts], spec.validation, 0)
    asked: dict[str, Any] = {"seed": 0, "adapter_id": "bench", "run": "bench", "unit": "bench"}
    unconstrained = replace(spec, divergence="none")
    plainly, plain = _timed(lambda: heal(host, train, validation, unconstrained, tau=None, **asked))
    tau = observed_tau(plain.steps, spec)
    seconds, healed = _timed(lambda: heal(host, train, validation, spec, tau=tau, **asked))
    return {
        "texts": len(texts),
        "tokens": sum(len(example.answer) for example in made),
        "steps": len(healed.steps),
        "seconds": seconds,
        "plain_seconds": plainly,
        "ratio": seconds / plainly,
        "peak_memory_gib": _peak(resource.RUSAGE_SELF),
    }


def bench_loop(rounds: int = 2) -> dict[str, Any]:
    """A whole loop in a process of its own: wall seconds of each round, the model's loading in the first one's."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [sys.executable, "-m", "steerkit.cli", "loop", "--rounds", str(rounds), "--json", "--set"]
        # A gain that cannot be told from 0 must not end what is to be timed.
        asked += [f"gate.patience={rounds}", "--store", str(Path(folder) / "bench.duckdb")]
        start = time.perf_counter()
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    said = json.loads(done.stdout)
    return {
        "verdict": said["verdict"],
        "seconds": seconds,
        "round_seconds": [row["seconds"] for row in said["rounds"]],
        "peak_memory_gib": _peak(resource.RUSAGE_CHILDREN),
    }


def bench_dashboard(store: Path) -> dict[str, Any]:
    """Every page of the dashboard on a store, drawn without a browser: seconds cold and warm, and peak memory.

    Raises UsageError where Streamlit is not installed, RunError when the pages cannot be drawn at all.
    """
    if find_spec("streamlit") is None:
        raise UsageError(
            "the dashboard needs Streamlit, but it is not installed; pip install 'steerkit-heal[dashboard]'"
        )
    command = [sys.executable, "-P", str(folder("dashboard") / "timing.py"), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the pages must be drawn, but their process failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
    first = band(host, CaptureSpec())[0]
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


def _generation(host: Host, rows: int = TEXTS, length: int = LENGTH) -> dict[str, float]:
    """A batch of gate 2's texts beside transformers' own batched sampling, and beside one text at a time.

    `overhead`: time of our unsteered batch over transformers', less 1 (fraction; negative is faster). `ratio`: steered
    texts per second, with the per-token KL, over the plain way's. `filter_share`: time of all checks over writing time.
    """
    prompts = [chat_ids(host, dilemma.text) for dilemma in _pressing(rows)]
    unsteered, _ = _timed(lambda: generate(host, prompts, {}, length, _sampled(rows)))
    theirs, plain_tokens = _timed(lambda: _transformers(host, prompts, length))
    orders = _orders(host, rows)
    steered, records = _timed(lambda: write(host, orders, length, _sampled(rows), "bench", "bench"))
    few = PLAIN_TEXTS
    alone, _ = _timed(lambda: [_alone(host, prompt, length) for prompt in prompts[:few]])
    checked, _ = _timed(lambda: _decided(only(Completion, records)))
    return {
        "rows": rows,
        "length": length,
        "unsteered_tokens_per_second": rows * length / unsteered,
        "transformers_tokens_per_second": plain_tokens / theirs,
        "overhead": unsteered / theirs - 1,
        "steered_tokens_per_second": sum(text.tokens for text in only(Completion, records)) / steered,
        "one_at_a_time_tokens_per_second": few * length / alone,
        "ratio": (rows / steered) / (few / alone),
        "filter_share": checked / steered,
    }


def _orders(host: Host, rows: int) -> list[Order]:
    """That many texts along the benchmark's direction."""
    direction = _bench_direction(host)
    return [Order("collected", dilemma, direction, 1.0, 1.0, i) for i, dilemma in enumerate(_pressing(rows))]


def _pressing(count: int) -> list[inputs.Dilemma]:
    """As many prompts, the whole set again and again."""
    return list(islice(cycle(inputs.dilemmas()), count))


def _sampled(rows: int) -> Writing:
    texts = TextSpec()
    return Writing(Sampling(texts.temperature, texts.top_p), range(rows))


def _bench_direction(host: Host) -> Fitted:
    """A random push at the blocks that are steered by default, weak enough that texts run to their cap."""
    draw = torch.Generator().manual_seed(0)
    states: dict[Place, State] = {
        block: {"vector": torch.randn(host.width, generator=draw) / 10} for block in band(host, CaptureSpec())
    }
    return Fitted("bench", "svd", "random", load_method("svd").Config(), states)


def _transformers(host: Host, prompts: Sequence[Sequence[int]], length: int) -> int:
    """transformers' own batched sampling, every row to the cap; returns the tokens it made."""
    longest, texts = max(map(len, prompts)), TextSpec()
    ids = torch.tensor([[*[prompt[0]] * (longest - len(prompt)), *prompt] for prompt in prompts], device=host.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=host.device)
    made = host.model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=length,
        min_new_tokens=length,
        do_sample=True,
        temperature=texts.temperature,
        top_p=texts.top_p,
        top_k=0,
        pad_token_id=int(ids[0, -1]),
    )
    return int((made.shape[1] - longest) * len(prompts))


def _alone(host: Host, prompt: Sequence[int], length: int) -> int:
    """One prompt at one strength, by transformers' own sampling under the same edit."""
    with edited(host, uniform(_bench_direction(host), 1.0), torch.zeros(1, dtype=torch.long)):
        return _transformers(host, [prompt], length)


def _decided(texts: Sequence[Completion]) -> int:
    background = Background(load_personas()["authority"], {}, (), TextSpec().length)
    return len(decide(texts, background, thresholds({}), run="bench", unit="bench", filter_id="bench"))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _peak(who: int) -> float:
    """Peak resident memory, GiB."""
    return resource.getrusage(who).ru_maxrss / 2**20
