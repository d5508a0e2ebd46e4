"""A vector that went out into a file and came back steers as it did, and the store knows where it comes from."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch

from steerkit import cli
from steerkit.lineage import chain
from steerkit.records import Direction, DirectionLayer, Run
from steerkit.store import Store
from steerkit.vectors import read

FEW = ("dose.multiples=1.0", "dose.negative_multiples=1.0", "dose.random_directions=1", "dose.shuffled_directions=0")
"""Settings that make a run smaller still: a vector's own arms are compared, not what the gate says of them."""


class World:
    """A planted model, a store with a run of gate 1 on it, and that run's direction in three files."""

    def __init__(self, folder: Path) -> None:
        self.planted = tiny_model.make(folder / "planted")
        self.store, self.folder = folder / "steerkit.duckdb", folder

    def line(self, *more: str, planted: tiny_model.Planted | None = None) -> list[str]:
        small = [part for setting in FEW for part in ("--set", setting)]
        line = (planted or self.planted).gate1(self.store, *small, *more)
        place = line.index("--method")
        return line[:place] + line[place + 2 :] if "--vector" in more else line

    def run(self, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
        code = cli.main(self.line(*more))
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code in (0, 1, 3), found
        return found

    def file(self, form: str) -> Path:
        return self.folder / f"vector.{form}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "planted").mkdir()
    return World(folder)


@pytest.fixture
def world(made: World, capsys: pytest.CaptureFixture[str]) -> World:
    run = made.run(capsys)["run_id"]
    for form in ("safetensors", "gguf", "steering-lite"):
        if not made.file(form).exists():
            line = ["export", run, "--to", form, "-o", str(made.file(form)), "--store", str(made.store)]
            assert cli.main(line) == 0
    capsys.readouterr()
    return made


def figures(document: dict[str, Any]) -> list[tuple[float, ...]]:
    """What was measured of the arms that the direction itself made."""
    steered = [arm for arm in document["arms"] if arm["kind"] in ("base", "steered", "prompt")]
    return [(arm["dose"], arm["strength"], arm["d_target"], arm["coherence"]) for arm in steered]


def test_a_direction_that_comes_back_gives_the_same_figures_to_the_bit(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = world.run(capsys)
    back = world.run(capsys, "--vector", str(world.file("safetensors")), "--set", "capture.band=0.5,0.67")
    assert back["method"] == "svd" and back["run_id"] != fitted["run_id"]
    assert figures(back) == figures(fitted)
    store = Store(world.store)
    artifacts = {store.records(Direction, run["run_id"])[0].artifact for run in (fitted, back)}
    assert len(artifacts) == 1
    layers = store.records(DirectionLayer, back["run_id"])
    assert all(layer.half_split_cosine is None for layer in layers), "it was not fitted on these contexts"


def test_a_vector_of_another_program_runs_through_gate_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.run(capsys, "--vector", str(world.file("gguf")))
    assert found["method"] == "imported"
    assert figures(found) == figures(world.run(capsys))


def test_the_chain_of_runs_leads_from_the_file_to_where_it_was_fitted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = world.run(capsys)["run_id"]
    back = world.run(capsys, "--vector", str(world.file("safetensors")), "--set", "capture.band=0.5,0.67")
    store = Store(world.store)
    [run] = store.records(Run, back["run_id"])
    [brought] = store.records(Run, run.parent_run or "")
    assert (brought.gate, brought.parent_run) == ("import", fitted)
    names = json.dumps(
        chain(store, back["run_id"]), default=lambda node: {f: getattr(node, f) for f in node.__struct_fields__}
    )
    assert all(name in names for name in (fitted, brought.run_id, back["run_id"]))
    for command in (["lineage"], ["why"]):
        assert cli.main([*command, brought.run_id, "--store", str(world.store)]) == 0
    assert cli.main(["report", brought.run_id, "--store", str(world.store)]) == 2
    assert "an import never is, see: steerkit why" in capsys.readouterr().err
    # The run of an import is a name for its vector.
    assert world.run(capsys, "--vector", brought.run_id, "--set", "capture.band=0.5,0.67")["run_id"] == back["run_id"]


def test_a_run_along_a_vector_says_how_to_make_it_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    from steerkit.report.reproduce import command

    found = world.run(capsys, "--vector", str(world.file("gguf")))
    [run] = Store(world.store).records(Run, found["run_id"])
    line = command(run) or ""
    assert f"--vector {run.parent_run}" in line and "--method" not in line


def test_a_dose_scales_what_is_written(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = world.run(capsys)
    strength = fitted["calibration"]["strength"]
    line = [
        "export",
        fitted["run_id"],
        "--to",
        "gguf",
        "--dose",
        "2",
        "-o",
        str(tmp_path / "v"),
        "--store",
        str(world.store),
    ]
    assert cli.main(line) == 0
    scaled, plain = read(tmp_path / "v"), read(world.file("gguf"))
    for block, state in plain.states.items():
        torch.testing.assert_close(scaled.states[block]["vector"], state["vector"] * 2 * strength)
    assert float(plain.origin["strength_at_dose_1"]) == strength


def test_a_vector_of_another_model_is_refused_before_anything_is_scored(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_model.make(tmp_path, seed=3)
    assert cli.main(world.line("--vector", str(world.file("safetensors")), planted=other)) == 2
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "a vector must be steered on the model it was made on" in message and "but its fingerprint is" in message
    assert "--set method" in refused(world, capsys, "--set", "method.tau=0.1")


def refused(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert cli.main(world.line("--vector", str(world.file("safetensors")), *more)) == 2
    return str(json.loads(capsys.readouterr().out)["error"]["message"])
