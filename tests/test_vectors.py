"""Vectors travel: to the bit through our own file, and meaning the same thing in the programs that read the others."""

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_adapters import IDS, host_of, logits
from torch import Tensor

from steerkit import cli
from steerkit.errors import UsageError
from steerkit.host import Host, edited
from steerkit.imports import direction_of_run, made_for, take_in
from steerkit.records import Run
from steerkit.spec import CaptureSpec
from steerkit.stages.fit import tensors
from steerkit.stages.steer import uniform
from steerkit.store import Store
from steerkit.testing import planted
from steerkit.vectors import Vector, read, write

WIDTH, BLOCKS = 32, (1, 3)
ALL = CaptureSpec(band=(0.0, 1.0))
PROBE = {
    "schema_version": "3",
    "layer": "3",
    "n_total_layers": "4",
    "model_id": "someone/a-model",
    "hook_site": "resid_post",
    "hook_name": "blocks.3.hook_resid_post",
    "default_method": "diff_of_means",
    "auto_alpha": "13.000000",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"))


def adding(**known: Any) -> Vector:
    """A vector of `mean_mass` at two blocks."""
    draw = torch.Generator().manual_seed(5)
    states = {block: {"vector": torch.randn(WIDTH, generator=draw)} for block in BLOCKS}
    return Vector("store", "mean_mass", {}, states, origin={"run_id": "abc"}, **known)


def gated() -> Vector:
    """A vector whose push depends on the token."""
    return replace(adding(), method="cosine_gated", config={"tau": 0.05})


def steered(host: Host, vector: Vector, strength: float = 1.0) -> Tensor:
    with edited(host, uniform(made_for(host, vector, ALL), strength), torch.zeros(1, dtype=torch.long)):
        return logits(host)


def travelled(vector: Vector, form: str, folder: Path) -> Vector:
    write(vector, form, folder / "vector")
    return read(folder / "vector")


def package(name: str) -> ModuleType:
    """An optional package, or a visible skip."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name}")
    return importlib.import_module(name)


# -- our own format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", [adding(), gated()], ids=["additive", "gated"])
def test_our_own_file_keeps_every_bit_and_the_settings(vector: Vector, tmp_path: Path) -> None:
    known = replace(vector, model="m", model_type="llama", fingerprint="f", dtype="float32", depth=4)
    back = travelled(known, "safetensors", tmp_path)
    assert replace(back, states={}, form="store") == replace(known, states={})
    kept, wanted = tensors(back.fitted("")), tensors(known.fitted(""))
    assert kept.keys() == wanted.keys() and all(kept[name].equal(wanted[name]) for name in wanted)


def test_a_state_of_several_tensors_travels(tmp_path: Path) -> None:
    state = {"vector": torch.randn(WIDTH), "modes": torch.randn(WIDTH, 3), "kind": torch.tensor([2, 1])}
    back = travelled(replace(adding(), states={2: state}), "safetensors", tmp_path)
    assert all(back.states[2][name].equal(state[name]) for name in state)


# -- other programs' formats -------------------------------------------------------------------------------------------


def test_a_control_vector_has_the_tensors_that_the_gguf_package_reads(tmp_path: Path) -> None:
    vector = adding(model_type="llama")
    write(vector, "gguf", tmp_path / "vector.gguf")
    reader = gguf.GGUFReader(tmp_path / "vector.gguf")
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert said["general.architecture"] == "controlvector" and said["controlvector.model_hint"] == "llama"
    assert said["controlvector.layer_count"] == 2 and said["steerkit.run_id"] == "abc"
    assert {t.name: t.tensor_type for t in reader.tensors} == dict.fromkeys(
        ("direction.1", "direction.3"), gguf.GGMLQuantizationType.F32
    )
    for tensor in reader.tensors:
        state = vector.states[int(tensor.name.removeprefix("direction."))]
        assert np.array_equal(tensor.data, state["vector"].numpy())


@pytest.mark.parametrize("form", ["gguf", "steering-lite"])
def test_what_only_adds_survives_every_form_to_the_bit(form: str, host: Host, tmp_path: Path) -> None:
    back = travelled(adding(), form, tmp_path)
    assert (back.method, [*back.states]) == ("imported", [*BLOCKS])
    assert all(back.states[block]["vector"].equal(adding().states[block]["vector"]) for block in BLOCKS)
    assert steered(host, back).equal(steered(host, adding()))


def test_repeng_steers_with_it_at_the_same_blocks(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The newest release on PyPI names a type of NumPy 1 in an annotation.
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    repeng = package("repeng")
    write(adding(model_type="llama"), "gguf", tmp_path / "vector.gguf")
    vector = repeng.ControlVector.import_gguf(tmp_path / "vector.gguf")
    assert vector.model_type == "llama" and sorted(vector.directions) == [*BLOCKS]
    wanted, plain = steered(host, adding(), 1.5), logits(host)
    whole = repeng.ControlModel(host.model, [*BLOCKS])
    try:
        whole.set_control(vector, 1.5)
        with torch.inference_mode():
            found = host.model(input_ids=torch.tensor([IDS[0]]), use_cache=False).logits
    finally:
        whole.unwrap()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - plain).abs().max() > 0.1
    assert logits(host).equal(plain)


def test_a_vector_that_repeng_wrote_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    repeng = package("repeng")
    wanted = {block: np.random.default_rng(block).normal(size=WIDTH).astype(np.float32) for block in (3, 2, 1)}
    repeng.ControlVector(model_type="llama", directions=wanted).export_gguf(str(tmp_path / "theirs.gguf"))
    back = read(tmp_path / "theirs.gguf")
    assert back.model_type == "llama" and [*back.states] == [1, 2, 3]
    assert all(np.array_equal(back.states[block]["vector"].numpy(), wanted[block]) for block in wanted)


def test_steering_lite_steers_with_it_at_the_same_blocks(host: Host, tmp_path: Path) -> None:
    lite = package("steering_lite")
    write(adding(), "steering-lite", tmp_path / "vector.safetensors")
    vector = lite.Vector.load(str(tmp_path / "vector.safetensors"))
    with vector(host.model, C=1.5):
        found = logits(host)
    torch.testing.assert_close(found, steered(host, adding(), 1.5), rtol=1e-4, atol=1e-4)


def test_a_vector_that_steering_lite_wrote_is_read(tmp_path: Path) -> None:
    lite = package("steering_lite")
    pairs, _ = planted(pairs=8)
    settings = lite.MeanDiffC(layers=(2,), coeff=-3.0, dtype=torch.float32)
    state = lite.REGISTRY["mean_diff"].extract({2: pairs.positive}, {2: pairs.negative}, settings)
    lite.Vector(settings, state).save(str(tmp_path / "theirs"))
    back = read(tmp_path / "theirs")
    assert back.states[2]["vector"].equal(-state[2]["v"]), "a coefficient below 0 turns the vector round"
    assert back.origin == {"made_by": "steering-lite mean_diff", "coefficient": -3.0}


@pytest.mark.parametrize(("direction", "expected"), [(None, 2.0), ("mass_mean", 3.0)])
def test_a_probe_gives_the_direction_it_steers_with_or_the_one_asked_for(
    direction: str | None, expected: float, tmp_path: Path
) -> None:
    back = read(probe(tmp_path / "a.probe.safetensors"), direction)
    assert [*back.states] == [3] and back.states[3]["vector"].equal(torch.full((WIDTH,), expected))
    assert (back.model, back.depth, back.origin["auto_alpha"]) == ("someone/a-model", 4, "13.000000")


def probe(path: Path, **changes: str) -> Path:
    directions = {"logistic": 1.0, "diff_of_means": 2.0, "mass_mean": 3.0}
    tensors = {f"direction.{name}": torch.full((WIDTH,), value) for name, value in directions.items()}
    save_file(tensors, path, metadata=PROBE | changes)
    return path


def test_what_enters_a_block_is_what_the_one_before_wrote(tmp_path: Path) -> None:
    changes = {"hook_site": "resid_pre", "hook_name": "blocks.3.hook_resid_pre"}
    assert [*read(probe(tmp_path / "a", **changes)).states] == [2]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hook_name": "blocks.3.attn.hook_z"}, r"must read a block's residual stream .* reads 'blocks.3.attn.hook_z'"),
        ({"hook_name": "hook_embed"}, "must read a block's residual stream"),
        ({"hook_name": "blocks.0.hook_resid_pre"}, "must read a block's residual stream"),
        ({"default_method": "lda"}, "unknown direction .* known: diff_of_means, logistic, mass_mean"),
    ],
)
def test_a_probe_of_another_place_is_refused(change: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(probe(tmp_path / "a", **change))


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut_gguf(path: Path) -> None:
    write(adding(), "gguf", path)
    path.write_bytes(path.read_bytes()[:60])


def model_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def other_safetensors(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


def several_components(path: Path) -> None:
    save_file({"layer1.V": torch.ones(2, WIDTH)}, path, metadata={"cfg": json.dumps({"method": "pca"})})


def gated_lite(path: Path) -> None:
    save_file({"layer1.v": torch.ones(WIDTH)}, path, metadata={"cfg": json.dumps({"method": "cosine_gated"})})


def uneven(path: Path) -> None:
    save_file(
        {"layer1.v": torch.ones(3), "layer2.v": torch.ones(4)}, path, metadata={"cfg": json.dumps({"method": "pca"})}
    )


def not_finite(path: Path) -> None:
    save_file({"layer1.v": torch.full((3,), torch.nan)}, path, metadata={"cfg": json.dumps({"method": "pca"})})


def broken_header(path: Path) -> None:
    save_file({"1.vector": torch.ones(3)}, path, metadata={"steerkit": '{"config": {}}'})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "must be a whole safetensors or gguf file"),
        (cut_gguf, "must be a whole gguf file"),
        (model_gguf, r"must hold tensors named direction.N, but .* \(llama\) holds none; is it a model"),
        (other_safetensors, "says none of 'steerkit', 'cfg', 'hook_site' in its header"),
        (several_components, "must be tensors layerN.v, but got 'layer1.V'"),
        (gated_lite, "is of 'cosine_gated', whose effect depends on the activation; fit lite.cosine_gated here"),
        (uneven, r"must have one length, but got the shapes \[\(3,\), \(4,\)\]"),
        (not_finite, "must be finite and not zero, but that of block 1 is not"),
        (broken_header, "must say how its vector acts"),
    ],
)
def test_a_file_that_holds_no_vector_says_what_is_wrong(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "file")
    with pytest.raises(UsageError, match=message):
        read(tmp_path / "file")


def test_a_missing_file_and_a_place_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a file, but .* is none"):
        read(tmp_path / "missing")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match="goes into a new file, but .* is there"):
        write(adding(), "gguf", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("form", ["gguf", "steering-lite"])
def test_a_vector_that_does_more_than_add_is_refused_where_only_adding_is_possible(form: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="what 'cosine_gated' does depends on the activation; write it --to safetensors"
    ):
        write(gated(), form, tmp_path / "vector")
    assert not [*tmp_path.iterdir()]


def test_llama_cpp_has_no_block_0(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="begins at block 1, but this one steers block 0"):
        write(replace(adding(), states={0: {"vector": torch.ones(WIDTH)}}), "gguf", tmp_path / "vector")


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (replace(adding(), states={1: {"vector": torch.ones(16)}}), "its dimension is 16 and that of .* is 32"),
        (adding(depth=12), "its number of blocks is 12 and that of .* is 4"),
        (adding(model_type="qwen2"), "its architecture is qwen2 and that of .* is llama"),
        (adding(fingerprint="other", dtype="float32", model="m"), r"made on \(m\), but its fingerprint is other"),
        (replace(adding(), states={7: {"vector": torch.ones(WIDTH)}}), r"must be among the 4 of .* but it has \[7\]"),
    ],
    ids=["dimension", "depth", "architecture", "fingerprint", "blocks"],
)
def test_a_vector_of_another_model_is_refused(vector: Vector, message: str, host: Host) -> None:
    with pytest.raises(UsageError, match=message):
        made_for(host, vector, ALL)


def test_what_cannot_be_compared_is_not_held_against_it(host: Host) -> None:
    other_dtype = adding(fingerprint="other", dtype="bfloat16", model_type="llama", depth=4)
    assert [*made_for(host, other_dtype, ALL).states] == [*BLOCKS]
    assert [*made_for(host, adding(fingerprint="x", dtype="float32", depth=9).anonymous(), ALL).states] == [*BLOCKS]
    assert [*made_for(host, adding(), CaptureSpec(band=(0.5, 1.0))).states] == [*BLOCKS]


# -- in the store ------------------------------------------------------------------------------------------------------


def test_a_file_becomes_one_run_however_often_it_is_taken_in(tmp_store: Store, tmp_path: Path) -> None:
    write(adding(model="m"), "safetensors", tmp_path / "vector")
    first, second = (take_in(tmp_store, read(tmp_path / "vector"), tmp_path / "vector") for _ in range(2))
    assert first == second and len(tmp_store.records(Run, first)) == 1
    back = direction_of_run(tmp_store, first)
    assert (back.method, back.model, back.origin) == ("mean_mass", "m", {"run_id": first})
    assert all(back.states[block]["vector"].equal(adding().states[block]["vector"]) for block in BLOCKS)
    sql = "SELECT stage, name FROM unit WHERE run_id = $run"
    assert tmp_store.query(sql, {"run": first}).rows() == [("import", "vector")]


def test_the_commands_say_what_they_did_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(adding(), "steering-lite", tmp_path / "theirs.safetensors")
    assert cli.main(["import", "theirs.safetensors", "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)
    assert (taken["form"], taken["method"], taken["blocks"], taken["dimension"]) == (
        "steering-lite",
        "imported",
        [*BLOCKS],
        WIDTH,
    )
    run = taken["run_id"]
    assert cli.main(["export", run[:6], "--to", "safetensors", "-o", "ours.safetensors"]) == 0
    assert f"safetensors vector of run {run} in ours.safetensors: imported, blocks 1 to 3" in capsys.readouterr().out
    assert cli.main(["export", run, "--to", "gguf", "-o", "ours.gguf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blocks"] == [*BLOCKS]
    assert cli.main(["export", run, "--to", "steering-lite", "-o", "x", "--dose", "1"]) == 2
    assert "needs a run that was calibrated" in capsys.readouterr().err
    assert cli.main(["gate1", "--vector", "ours.safetensors", "--method", "svd"]) == 2
    assert "a vector brings its method with it, but got --method too" in capsys.readouterr().err
    assert cli.main(["gate1", "--method", "imported"]) == 2
    assert "the method 'imported' comes with a vector; give --vector FILE" in capsys.readouterr().err
