import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from steerkit import cli, inputs
from steerkit.errors import UsageError
from steerkit.request import Gate1Request, model_identity, split

ASKED: dict[str, Any] = {
    "method": "svd",
    "trait": "authority",
    "instrument": "fewshot",
    "personas": None,
    "vignettes": None,
    "contexts": None,
    "dilemmas": None,
    "person": "third",
    "quick": True,
    "thorough": False,
    "settings": (),
    "model": "no/such-model",
    "dtype": "float32",
    "device": "cpu",
    "seed": 0,
    "trust_remote_code": False,
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("STEERKIT_STORE", raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message of a refused command line, which wrote nothing."""
    before = sorted(Path.cwd().rglob("*"))
    assert cli.main(["gate1", *arguments]) == 2
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if line.strip()]
    assert len(errors) == 1 and errors[0].startswith("error: ") and shown.out == "", shown
    assert sorted(Path.cwd().rglob("*")) == before
    return errors[0]


def setting(text: str) -> tuple[str, str]:
    return "--set", text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--method", "sdv"], ["unknown method 'sdv'", "did you mean 'svd'?", "mean_mass"]),
        (["--trait", "autority"], ["unknown trait 'autority'", "did you mean 'authority'?"]),
        (["--instrument", "mfv"], ["unknown instrument 'mfv'", "known: fewshot"]),
        (setting("doze.target=1"), ["unknown section of settings 'doze'", "did you mean 'dose'?", "capture"]),
        (setting("dose.tarjet=1"), ["unknown dose setting 'tarjet'", "did you mean 'target'?"]),
        (setting("gate.separatio=1"), ["'separatio'", "did you mean 'separation'?"]),
        (setting("method.rank=1"), ["unknown method svd setting 'rank'", "none"]),
        (setting("instrument.order=1"), ["'order'", "did you mean 'orders'?"]),
        (setting("dose.target"), ["SECTION.KEY=VALUE", "dose.target=0.5", "got 'dose.target'"]),
        (setting("target=1"), ["SECTION.KEY=VALUE", "got 'target=1'"]),
        (setting("dose.target=much"), ["target", "much", "float"]),
        (setting("dose.tokens=1.5"), ["tokens", "1.5", "int"]),
        (setting("dose.target=nan"), ["finite number above 0", "nan"]),
        (setting("dose.target=0"), ["above 0", "0"]),
        (setting("dose.multiples=-1"), ["-1"]),
        (setting("dose.multiples=-1,2"), ["above 0", "-1"]),
        (setting("dose.tokens=0"), ["tokens", "0"]),
        (setting("dose.prompts=0"), ["prompts", "0"]),
        (setting("capture.contexts=1"), ["contexts", "1"]),
        (setting("capture.contexts=100000"), ["contexts", "100000"]),
        (setting("capture.band=2,3"), ["band", "2", "3"]),
        (setting("capture.band=0.7,0.2"), ["band"]),
        (setting("instrument.orders=0"), ["orders", "from 1 to 8", "got 0"]),
        (setting("gate.separation=-1"), ["separation", "above 0", "-1"]),
        (["--quick", "--thorough"], ["--quick and --thorough exclude each other"]),
        (["--vignettes", "missing.jsonl"], ["missing.jsonl", "JSONL"]),
        (["--contexts", "missing.jsonl"], ["missing.jsonl", "JSONL"]),
        (["--dilemmas", "missing.jsonl"], ["missing.jsonl", "JSONL"]),
        (["--personas", "missing.toml"], ["missing.toml"]),
        (["--person", "second"], ["second", "third"]),
        (["--dtype", "float31"], ["float31", "bfloat16"]),
        (["--seed", "-1"], ["--seed"]),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    message = refused(capsys, *arguments)
    assert all(part in message for part in named), message


def test_json_says_the_same_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gate1", "--method", "sdv", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "UsageError" and "did you mean 'svd'?" in error["message"]


def test_a_set_without_the_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [asdict(row) for row in inputs.vignettes() if row.foundation != "Authority"]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(capsys, "--vignettes", "rows.jsonl")
    assert "target foundation Authority, but it has 0" in message and "steerkit personas" in message


@pytest.mark.parametrize(
    ("files", "named"),
    [([], "config.json"), (["config.json"], "no weights"), (["config.json", "pytorch_model.bin"], "pickled")],
)
def test_a_model_folder_without_weights_is_refused(
    capsys: pytest.CaptureFixture[str], files: list[str], named: str
) -> None:
    Path("model").mkdir()
    for file in files:
        Path("model", file).write_text("{}")
    assert named in refused(capsys, "--model", "./model", "--dtype", "float32")


def test_a_store_that_is_a_folder_or_another_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    assert "folder" in refused(capsys, "--store", "folder")
    Path("notes.duckdb").write_text("not a database, but long enough to be looked at " * 100)
    assert "notes.duckdb" in refused(capsys, "--store", "notes.duckdb")


def test_settings_are_split_by_section() -> None:
    assert split(["dose.target=0.5", "gate.tail=a=b"])["dose"] == {"target": "0.5"}
    assert split(["gate.tail=a=b"])["gate"] == {"tail": "a=b"}
    with pytest.raises(UsageError):
        split(["dose=1"])


def asked(**changes: Any) -> str:
    return Gate1Request.checked(ASKED | changes).hash()


def test_equal_questions_have_equal_hashes(tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((inputs.DATA / "vignettes.jsonl").read_bytes())
    assert asked() == asked() == asked(vignettes=copy)
    # The default, said aloud.
    assert asked(settings=("dose.target=1.0",)) == asked()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "mean_mass"},
        {"seed": 1},
        {"dtype": "bfloat16"},
        {"device": "auto"},
        {"model": "other/model"},
        {"quick": False},
        {"person": "first"},
        {"settings": ("dose.target=0.5",)},
        {"settings": ("gate.separation=0.4",)},
        {"settings": ("capture.contexts=20",)},
        {"settings": ("instrument.orders=1",)},
    ],
)
def test_another_question_has_another_hash(change: dict[str, Any]) -> None:
    assert asked(**change) != asked()


@pytest.mark.parametrize("kind", ["vignettes", "contexts", "dilemmas"])
def test_another_text_is_another_question(tmp_path: Path, kind: str) -> None:
    rows = [json.loads(line) for line in (inputs.DATA / f"{kind}.jsonl").read_text().splitlines() if line.strip()]
    rows[0]["text"] += " Indeed."
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert asked(**{kind: changed, "quick": False}) != asked(quick=False)


def test_another_content_of_a_model_folder_is_another_question(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = model_identity(str(tmp_path))
    assert model_identity(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"more")
    assert model_identity(str(tmp_path)) != first
