"""Gate 1 from the command line on a model whose answer is known: it finds the planted direction, and only that one."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch

from steerkit.cli import main
from steerkit.host import load
from steerkit.rounds import direction_of
from steerkit.store import Store

KEYS = {"verdict", "criteria", "hypotheses", "arms", "p_null", "run_id", "store", "pictures", "seconds"}
ARM_KEYS = {"kind", "method", "strength", "dose", "auth_nats", "d_auth", "d_auth_low", "d_auth_high"} | {
    "coherence",
    "coh_cost",
    "p_null",
}
METHODS = ("svd", "mean_mass")


@dataclass(frozen=True)
class Ran:
    """What one command gave."""

    code: int
    document: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class World:
    """The planted model and one store in which every method ran once."""

    planted: tiny_model.Planted
    store: Path
    ran: dict[str, Ran]

    def run(self, capsys: pytest.CaptureFixture[str], *more: str, method: str = "svd") -> Ran:
        """Gate 1 in the shared store."""
        return run(capsys, self.planted.gate1(self.store, *more, method=method))


def run(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> Ran:
    """Run the command in this process and read the one document it prints."""
    capsys.readouterr()
    start = time.perf_counter()
    code = main(arguments)
    seconds = time.perf_counter() - start
    return Ran(code, json.loads(capsys.readouterr().out), seconds)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tiny_model.Planted:
    """The model and its files."""
    return tiny_model.make(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def ready(planted: tiny_model.Planted, tmp_path_factory: pytest.TempPathFactory) -> World:
    """An empty world; each method's first run fills it."""
    return World(planted, tmp_path_factory.mktemp("store") / "steerkit.duckdb", {})


@pytest.fixture
def world(ready: World, capsys: pytest.CaptureFixture[str]) -> World:
    """The world in which both methods have run."""
    for method in METHODS:
        if method not in ready.ran:
            ready.ran[method] = ready.run(capsys, method=method)
    return ready


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_direction_passes(world: World, method: str) -> None:
    found = world.ran[method]
    assert (found.code, found.document["verdict"]) == (0, "PASS"), found.document["summary"]
    assert all(criterion["status"] == "met" for criterion in found.document["criteria"])
    observed = {said["name"] for said in found.document["hypotheses"] if said["status"] == "observed"}
    assert not observed
    assert found.document["p_null"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("method", METHODS)
def test_the_planted_direction_is_recovered(world: World, method: str) -> None:
    store = Store(world.store)
    sql = "SELECT artifact FROM direction WHERE run_id = $run AND kind = 'real'"
    [artifact] = store.query(sql, {"run": world.ran[method].document["run_id"]})["artifact"]
    vectors = store.get_tensors(artifact)
    assert vectors
    for vector in vectors.values():
        cosine = torch.cosine_similarity(vector.flatten(), tiny_model.planted_direction(), dim=0)
        assert cosine > 0.95


def test_the_document_has_what_it_promises(world: World) -> None:
    document = world.ran["svd"].document
    assert document.keys() >= KEYS
    for said in (*document["criteria"], *document["hypotheses"]):
        assert said.keys() >= {"name", "status", "value", "next_step"} and said["next_step"]
    assert {arm["kind"] for arm in document["arms"]} == {"base", "steered", "prompt", "random", "shuffled"}
    for arm in document["arms"]:
        assert arm.keys() >= ARM_KEYS
    for arm in document["arms"]:
        if arm["kind"] == "steered":
            assert arm["d_auth_low"] <= arm["d_auth"] <= arm["d_auth_high"]
    assert document["pictures"] and all(Path(path).stat().st_size for path in document["pictures"])
    assert Path(document["store"]) == world.store and document["seconds"] > 0


def test_more_dose_moves_the_target_further_and_the_opposite_dose_the_other_way(world: World) -> None:
    arms = sorted(world.ran["svd"].document["arms"], key=lambda arm: float(arm["dose"]))
    shifts = [arm["d_auth"] for arm in arms if arm["kind"] == "steered"]
    assert shifts == sorted(shifts, reverse=True) and shifts[0] > 0.3 and shifts[-1] < -0.3


def test_every_answer_in_the_store_is_finite(world: World) -> None:
    answers = Store(world.store).query("SELECT * FROM answer WHERE run_id = $run", world_run(world))
    numbers = answers.select(name for name, kind in answers.schema.items() if kind.is_float())
    assert numbers.width >= 8 and answers.height == 2 * 56 * len(world.ran["svd"].document["arms"])
    assert all(numbers[name].is_finite().all() for name in numbers.columns)


def world_run(world: World) -> dict[str, Any]:
    return {"run": world.ran["svd"].document["run_id"]}


def test_an_identical_question_is_answered_from_the_store(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("steerkit.host.load", no_model)
    again = world.run(capsys)
    assert (again.code, again.document) == (0, world.ran["svd"].document)
    assert again.seconds < world.ran["svd"].seconds / 2


def test_again_makes_another_run_with_the_same_numbers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    repeated = world.run(capsys, "--again")
    assert repeated.document["run_id"] != world.ran["svd"].document["run_id"]
    assert figures(repeated.document) == figures(world.ran["svd"].document)


def figures(document: dict[str, Any]) -> list[tuple[float, ...]]:
    """Every arm's numbers."""
    names = ("dose", "strength", "auth_nats", "d_auth", "coherence")
    return sorted(tuple(arm[name] for name in names) for arm in document["arms"])


def test_a_random_direction_does_not_pass(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.run(capsys, method="null")
    assert found.code in (1, 3) and found.document["verdict"] != "PASS"
    assert "not met" in {c["status"] for c in found.document["criteria"] if c["name"] == "beats null directions"}


def test_a_gated_direction_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.run(capsys, method="cosine_gated")
    assert found.code in (0, 1, 3) and found.document["calibration"]["status"] == "calibrated"


def test_a_method_that_acts_inside_blocks_runs_and_its_direction_can_be_read_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    found = world.run(capsys, method="sspace_ablate")
    assert found.code in (0, 1, 3) and found.document["calibration"]["status"] == "calibrated"
    run_id = found.document["run_id"]
    rows = Store(world.store).query(
        "SELECT block FROM direction_layer JOIN direction USING (direction_id) "
        "WHERE direction.run_id = $run AND kind = 'real' ORDER BY block",
        {"run": run_id},
    )
    assert rows["block"].to_list() == sorted(set(rows["block"])), "one row per block, whatever acts inside it"
    host = load(str(world.planted.folder), "float32", "cpu")
    fitted = direction_of(host, Store(world.store), run_id)
    assert {str(place).partition(">")[2] for place in fitted.states} == {"self_attn.o_proj", "mlp.down_proj"}


def test_a_method_without_a_vector_is_no_method_for_gate_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.run(capsys, method="prompt")
    assert found.code == 2 and "'prompt' is a text; gate 1 and compare" in found.document["error"]["message"]


def test_the_steered_model_becomes_a_folder_that_transformers_alone_opens(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_id = world.ran["mean_mass"].document["run_id"]
    given = ["-o", str(tmp_path / "out"), "--dose", "1.5", "--store", str(world.store), "--json"]
    made = run(capsys, ["bake", run_id, *given])
    assert made.code == 0 and made.document["logit"] < 1e-4
    store = Store(world.store)
    sql = """
        SELECT artifact, strength FROM direction JOIN calibration USING (direction_id)
        WHERE direction.run_id = $run AND kind = 'real'
    """
    [[artifact, strength]] = store.query(sql, {"run": run_id}).rows()
    plain, baked = (opened(folder) for folder in (world.planted.folder, tmp_path / "out"))
    ids = torch.tensor([[1, 5, 9, 30, 31, 40]])
    with torch.inference_mode():
        said, base = baked(input_ids=ids).logits, plain(input_ids=ids).logits
        # The oracle: the stored vectors, added by hooks of our own.
        for name, vector in store.get_tensors(artifact).items():
            block = plain.model.layers[int(name.partition(".")[0])]
            block.register_forward_hook(lambda _m, _g, out, push=1.5 * strength * vector: out + push)
        steered = plain(input_ids=ids).logits
    torch.testing.assert_close(said, steered, rtol=0, atol=1e-4)
    assert (steered - base).abs().max() > 0.01


def opened(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


def test_what_cannot_be_folded_is_said_and_nothing_is_written(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gated = world.run(capsys, method="cosine_gated").document["run_id"]
    given = ["-o", str(tmp_path / "out"), "--store", str(world.store), "--json"]
    refused = run(capsys, ["bake", gated, *given])
    assert refused.code == 4 and "'cosine_gated' cannot be folded into weights" in refused.document["error"]["message"]
    wrong = run(capsys, ["bake", gated, "--adapter", *given])
    assert wrong.code == 2 and "steers and has no adapter" in wrong.document["error"]["message"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["dose.target=nan", "dose.multiples=nan,1.0", "dose.ladder=inf,1.0"])
def test_a_dose_that_cannot_be_is_a_usage_error(
    planted: tiny_model.Planted, capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str
) -> None:
    found = run(capsys, planted.gate1(tmp_path / "s.duckdb", "--set", setting))
    assert found.code == 2 and "finite" in found.document["error"]["message"]
    assert not list(tmp_path.iterdir())
