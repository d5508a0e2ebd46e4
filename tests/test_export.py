"""Students on disk: other programs open them alone, and whatever goes wrong leaves nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_random
import torch
from msgspec.structs import replace
from small_adapters import IDS, NAMES, bits, host_of, logits, one, stored, three
from store_child import plain
from torch import Tensor

from steerkit import cli, export
from steerkit.errors import RunError, UsageError
from steerkit.host import Host
from steerkit.records import Adapter, Completion, HealText, Run
from steerkit.stages import bake
from steerkit.stages.bake import baked
from steerkit.store import Store
from steerkit.students import checked_texts, find_student, load_student

GATES = [1.0, 0.5, -1.0]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def path(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three runs of one adapter each."""
    return stored(tmp_path_factory.mktemp("store") / "steerkit.duckdb", host).path


def student(host: Host, gates: list[float] | None = None) -> Tensor:
    with baked(host, three(host), gates):
        return logits(host)


def opened_by_transformers(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype="auto", attn_implementation="sdpa").eval()


def said_by(model: Any) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(input_ids=torch.tensor([IDS[0]])).logits
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text"])
def test_transformers_alone_opens_a_model_folder(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    own, folder = host_of(tmp_path, architecture), tmp_path / "deeper" / "student"
    export.save_model(own, three(own), folder, GATES)
    alone = opened_by_transformers(folder)
    assert (said_by(alone) - student(own, GATES)).abs().max() < 1e-4
    with baked(own, three(own), GATES):
        wanted = own.model.state_dict()
        assert all(bits(weight).equal(bits(wanted[name])) for name, weight in alone.state_dict().items())
    tokenizer: Any = AutoTokenizer
    assert tokenizer.from_pretrained(folder)("Hello")["input_ids"] == own.tokenizer("Hello")["input_ids"]
    lineage = json.loads((folder / export.LINEAGE).read_text())
    assert lineage["adapters"] == [*NAMES] and lineage["gates"] == GATES


def test_a_model_folder_keeps_16_bits(tmp_path: Path) -> None:
    half = host_of(tmp_path, dtype="bfloat16")
    export.save_model(half, three(half), tmp_path / "student")
    assert {weight.dtype for weight in opened_by_transformers(tmp_path / "student").parameters()} == {torch.bfloat16}


def test_a_student_that_16_bits_do_not_hold_is_written_in_32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = host_of(tmp_path, dtype="bfloat16")
    path, folder = stored(tmp_path / "steerkit.duckdb", half).path, tmp_path / "student"
    monkeypatch.setattr(bake, "LIMIT", 1e-7)
    assert cli.main(["bake", "run-c", "-o", str(folder), "--json", "--store", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dtype"] == "float32" and document["kl_hooked_baked"] < 1e-7 < document["kl_hooked_rounded"]
    alone = opened_by_transformers(folder)
    assert {weight.dtype for weight in alone.parameters()} == {torch.float32}
    with bake.widened(half), baked(half, three(half)):
        assert said_by(alone).equal(logits(half))
    assert half.model.config.dtype == torch.bfloat16


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
def test_peft_alone_opens_an_adapter_folder(architecture: str, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    own, folder = host_of(tmp_path, architecture), tmp_path / "adapter"
    export.save_adapter(own, three(own), folder, GATES)
    wanted = student(own, GATES)
    fresh = PeftModel.from_pretrained(opened_by_transformers(Path(own.source)), str(folder)).eval()
    assert (said_by(fresh) - wanted).abs().max() < 1e-4
    # The folder says itself where its base is.
    assert (said_by(AutoPeftModelForCausalLM.from_pretrained(str(folder)).eval()) - wanted).abs().max() < 1e-4


def test_adapters_of_different_linears_share_one_folder(host: Host, tmp_path: Path) -> None:
    from peft import PeftModel

    first, second = one(host, "a"), one(host, "b", "a", rank=5)
    kept = {name: tensor for name, tensor in second.tensors.items() if "mlp" in name}
    narrow = bake.Layered(replace(second.adapter, targets=["mlp.down_proj"]), kept)
    both = bake.stack(host, [first, narrow])
    export.save_adapter(host, both, tmp_path / "adapter", base_name="somewhere/else")
    with baked(host, both):
        wanted = logits(host)
    fresh = PeftModel.from_pretrained(opened_by_transformers(Path(host.source)), str(tmp_path / "adapter")).eval()
    assert (said_by(fresh) - wanted).abs().max() < 1e-4
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (8, "somewhere/else")


def test_an_adapter_of_nothing_is_refused(host: Host, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every gate is 0"):
        export.save_adapter(host, three(host), tmp_path / "adapter", [0.0, 0.0, 0.0])
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_never_overwritten(host: Host, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name, said in (("full", "holds something"), ("file", "is a file"), ("file/below", "takes no files")):
        with pytest.raises(UsageError, match=said):
            export.save_adapter(host, three(host), tmp_path / name)
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    export.save_adapter(host, three(host), tmp_path / "link")
    assert (tmp_path / "empty" / "adapter_config.json").is_file()


Save = Callable[[Host, bake.Stack, Path], None]
each_save = pytest.mark.parametrize("save", [export.save_model, export.save_adapter])


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("save", "size"),
    [
        (export.save_model, "4k"),
        (export.save_model, "100k"),
        # The weights find room, the tokenizer does not.
        (export.save_model, "208k"),
        (export.save_adapter, "4k"),
        (export.save_adapter, "16k"),
    ],
)
def test_a_full_disk_leaves_nothing(host: Host, save: Save, size: str, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in host.model.state_dict().items()}
    with small_disk(tmp_path / "disk", size) as disk:
        with pytest.raises(RunError, match="No space left.*free some space") as error:
            save(host, three(host), disk / "student")
        assert error.value.exit_code == 4
        assert os.listdir(disk) == []
    assert all(weight.equal(before[name]) for name, weight in host.model.state_dict().items())


@each_save
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error"), ValueError("other")])
def test_whatever_breaks_leaves_nothing(
    host: Host, save: Save, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr(export, "_write_lineage", breaks)
    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        save(host, three(host), tmp_path / "student")
    assert os.listdir(tmp_path) == []


def test_a_run_is_loaded_with_its_history(host: Host, path: Path) -> None:
    found = load_student("run-c", gates=GATES, store=path)
    assert (logits(found.host) - student(host, GATES)).abs().max() < 1e-4
    assert [layered.adapter.adapter_id for layered in found.stack.layers] == [*NAMES]
    bake.regated(found.model, [0.0, 0.0, 0.0])
    assert bits(logits(found.host)).equal(bits(logits(host)))
    assert len(load_student("run-a", 0, store=str(path)).stack.layers) == 1


def test_bakes_are_compared_at_texts_of_the_training(host: Host, path: Path, tmp_path: Path) -> None:
    store = Store(shutil.copy(path, tmp_path / "copy.duckdb"))
    shutil.copytree(path.with_name(path.name + ".d"), store.folder)
    adapter = find_student(store, "run-a").adapter
    prompts = checked_texts(store, host, adapter)
    text = plain(Completion, completion_id="t", prompt="Why?", text="So.")
    store.append([text, plain(HealText, adapter_id="a", completion_id="t")])
    store.ingest()
    assert len(prompts) == 8
    assert [host.tokenizer.decode(ids) for ids in checked_texts(store, host, adapter)] == [
        "<s>[user] Why?\n[assistant]So."
    ]


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `steerkit bake` in this process: exit code, stdout, stderr."""

    def ran(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(["bake", *arguments, "--store", str(path)]), *capsys.readouterr())

    return ran


def test_the_command_writes_a_model(host: Host, run: Any, tmp_path: Path) -> None:
    code, out, _ = run("run-c", "-o", str(tmp_path / "student"), "--gate", "1=0.5", "--gate", "2=-1", "--json")
    document = json.loads(out)
    assert code == 0 and document["gates"] == GATES and document["adapters"] == [*NAMES]
    assert 0 <= document["kl_hooked_baked"] < 1e-3
    assert (said_by(opened_by_transformers(tmp_path / "student")) - student(host, GATES)).abs().max() < 1e-4


def test_the_command_writes_an_adapter_and_says_so(run: Any, tmp_path: Path) -> None:
    code, out, _ = run("run-b", "-o", str(tmp_path / "student"), "--adapter")
    assert code == 0 and "adapter of run run-b, round 1" in out and "KL(hooked || baked)" in out
    assert (tmp_path / "student" / "adapter_model.safetensors").is_file()


def test_a_model_that_rounding_changes_is_not_written(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bake, "LIMIT", 0.0)
    code, _, err = run("run-a", "-o", str(tmp_path / "student"))
    assert code == 4 and "keep its adapter beside the weights" in err
    assert os.listdir(tmp_path) == []
    assert run("run-a", "-o", str(tmp_path / "student"), "--adapter")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "'nowhere' begins 0 of the 4"),
        (["run"], "'run' begins 3 of the 4"),
        (["bare"], "a student needs a run with adapters, but bare (gate2) has none"),
        (["run-a", "--role", "plain"], "unknown role of run run-a's adapters 'plain'; known: healed"),
        (["run-a", "--role", "other"], "Invalid value for '--role'"),
        (["run-a", "--round", "3"], "unknown round of run run-a '3'; known: 0"),
        (["run-a", "--gate", "3=1"], "unknown round '3'; known: 0"),
        (["run-a", "--gate", "0"], "--gate must be a round and a finite number, such as 0=0.5, but got '0'"),
        (["run-a", "--gate", "0=inf"], "but got '0=inf'"),
        (["run-a", "--gate", "0=0", "--adapter"], "every gate is 0"),
        (["run-a", "--dose", "1"], "has adapters, no dose; to weaken one give --gate ROUND=NUMBER"),
    ],
)
def test_impossible_wishes_are_refused(run: Any, arguments: list[str], said: str, tmp_path: Path) -> None:
    code, _, err = run(*arguments, "-o", str(tmp_path / "student"))
    assert code == 2 and said in err
    assert os.listdir(tmp_path) == []


def test_a_folder_that_holds_something_is_refused_before_the_model_is_loaded(run: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    code, _, err = run("run-a", "-o", str(tmp_path))
    assert code == 2 and "holds something" in err and "name another with -o" in err


def test_a_model_that_has_changed_is_refused(tmp_path: Path) -> None:
    own = host_of(tmp_path)
    path = stored(tmp_path / "steerkit.duckdb", own).path
    tiny_random.saved(Path(own.source), seed=1)
    with pytest.raises(UsageError, match=f"must meet the model it was trained on, fingerprint {own.fingerprint}"):
        load_student("run-b", store=path)


def test_a_history_that_another_store_has_is_refused(host: Host, tmp_path: Path) -> None:
    store = Store(tmp_path / "steerkit.duckdb")
    store.append([plain(Run, run_id="late"), plain(Adapter, run_id="late", adapter_id="b", history=["gone"])])
    store.ingest()
    with pytest.raises(UsageError, match="adapter gone must be in the store"):
        find_student(store, "late", "healed")
