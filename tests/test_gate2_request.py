"""What gate 2 refuses, in one line, before it writes anything; and which questions are the same question."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small_gate2 import KEEP, SMALL, Ready, given, ready

from steerkit import cli
from steerkit.host import Host, load
from steerkit.records import Run, RunEvent
from steerkit.request_gate2 import Gate2Request, Parent
from steerkit.session import parent_run
from steerkit.spec import ControlSpec, TextSpec
from steerkit.store import Store

Asked = Callable[..., Gate2Request]
KILLED, TWIN = "killed", "twin"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Gate 1 has run; beside it another run that was killed, one of gate 2, and one whose id begins like its own."""
    made = ready(tmp_path_factory.mktemp("before"))
    store = Store(made.store)
    [run] = store.records(Run, made.run)
    others = [
        msgspec.structs.replace(run, run_id=KILLED),
        msgspec.structs.replace(run, run_id=f"{made.run[:4]}{TWIN}"),
        msgspec.structs.replace(run, run_id="second", gate="gate2", parent_run=made.run),
    ]
    started = {"unit_id": "event", "seq": 1, "state": "started", "detail": "", "pid": 1, "host": "here"}
    store.append([*others, *(RunEvent(run_id=other.run_id, **started) for other in others)])  # type: ignore[arg-type]
    store.ingest()
    return made


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("STEERKIT_STORE", raising=False)


def files(*folders: Path) -> list[tuple[str, int, int]]:
    """Every file with its size and its time."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)


def refused(capsys: pytest.CaptureFixture[str], before: Ready, *arguments: str, loads: bool = False) -> str:
    """The one message of a refused command line, which wrote nothing; `loads`: it may load a model first."""
    folders = (Path.cwd(), before.store.parent)
    was = files(*folders)
    assert cli.main(["gate2", *arguments]) == 2
    shown = capsys.readouterr()
    said = [line for line in shown.err.splitlines() if line.strip()]
    assert len(said) == 1 + loads and said[-1].startswith("error: ") and shown.out == "", shown
    assert not loads or said[0].startswith("model ")
    assert files(*folders) == was
    return said[-1]


def continued(before: Ready, *more: str, run: str | None = None) -> list[str]:
    """A command line that goes on from a run of the shared store."""
    return before.bare(before.store, "--from", run or before.run, *more)[1:]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (given("filter.nosuch=1"), ["unknown filter 'nosuch'", "known: base_copy", "perplexity"]),
        (given("filter.perplexiti=9"), ["unknown filter 'perplexiti'", "did you mean 'perplexity'?"]),
        (given("filter.perplexity=abc"), ["perplexity must be a finite number", "'abc'", "its default is"]),
        (given("filter.perplexity=nan"), ["perplexity must be a finite number", "'nan'"]),
        (given("filter.perplexity=inf"), ["perplexity must be a finite number", "'inf'"]),
        (given("filter.perplexity="), ["must look like perplexity=80", "'perplexity='"]),
        (given("filter.perplexity>=9"), ["at most its threshold", "write perplexity<=9"]),
        (given("filter.loops<=0.5"), ["at least its threshold", "write loops>=0.5"]),
        (given("filter.perplexity=9", "filter.perplexity<=8"), ["set once", "perplexity got 9 and 8"]),
        (given("texts.temperature=-1"), ["temperature must be above 0 and at most 5", "-1"]),
        (given("texts.temperature=nan"), ["temperature", "nan"]),
        (given("texts.top_p=0"), ["top_p must be above 0 and at most 1", "0"]),
        (given("texts.length=0"), ["length must be at least 1", "got 0"]),
        (given("texts.length=many"), ["length", "many", "int"]),
        (given("texts.backtrack_kl=0"), ["backtrack_kl must be above 0", "0"]),
        (given("texts.backtrack_retries=0"), ["backtrack_retries must be at least 1", "got 0"]),
        (given("texts.lenght=9"), ["unknown texts setting 'lenght'", "did you mean 'length'?"]),
        (given("control.survival=2"), ["survival must be a fraction above 0 and at most 1", "2"]),
        (given("control.survival=nan"), ["survival must be a fraction", "nan"]),
        (given("control.ladder=0,1"), ["ladder must be finite numbers above 0", "0.0"]),
        (given("control.ladder=0"), ["ladder", "0"]),
        (given("control.ladder=nan,1"), ["ladder must be finite numbers above 0", "nan"]),
        (given("control.shares=0,1"), ["shares must be finite numbers above 0", "0"]),
        (given("control.random=-1"), ["random must be at least 0", "-1"]),
        (given("control.batches=0"), ["batches must be at least 1", "got 0"]),
        (given("gate.flor=1"), ["'flor'", "did you mean 'floor'?"]),
        (given("gate.floor=0"), ["floor must be at least 1", "0"]),
        (given("filtre.perplexity=9"), ["unknown section of settings 'filtre'", "did you mean 'filter'?", "texts"]),
        (given("dose.target=1"), ["unknown section of settings 'dose'", "known: control, filter, gate, texts"]),
        (given("perplexity=9"), ["SECTION.KEY=VALUE", "'perplexity=9'"]),
        (["--schedule", "wobble"], ["unknown schedule 'wobble'", "known: constant, exp"]),
        (["--schedule", "exp:0"], ["half-length must be a number of tokens above 0", "'exp:0'"]),
        (["--schedule", "exp:soon"], ["KIND or KIND:NUMBER", "'exp:soon'"]),
        (["--schedule", "linear:2"], ["fraction from 0 to 1", "'linear:2'"]),
        (["--schedule", "constant:3"], ["takes no number", "'constant:3'"]),
        (["--keep", "0"], ["--keep", "0 is not in the range"]),
        (["--dilemmas", "missing.jsonl"], ["missing.jsonl", "JSONL"]),
        (["--personas", "missing.toml"], ["missing.toml"]),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], before: Ready, arguments: list[str], named: list[str]
) -> None:
    message = refused(capsys, before, *continued(before, *arguments))
    assert all(part in message for part in named), message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--method", "sdv"], "did you mean 'svd'?"), (["--trait", "autority"], "did you mean 'authority'?")],
)
def test_without_a_run_gate_1_is_asked_for_by_right_words(
    capsys: pytest.CaptureFixture[str], before: Ready, arguments: list[str], named: str
) -> None:
    assert named in refused(capsys, before, *arguments)


def test_json_says_the_same_on_stdout(capsys: pytest.CaptureFixture[str], before: Ready) -> None:
    assert cli.main(["gate2", *continued(before, "--json", run="nobody")]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "UsageError" and "'nobody' begins 0 of the 4" in error["message"]


def test_only_a_finished_run_of_gate_1_is_gone_on_from(capsys: pytest.CaptureFixture[str], before: Ready) -> None:
    missing = refused(capsys, before, *continued(before, run="nobody"))
    assert "'nobody' begins 0 of the 4" in missing and before.run in missing, "it must list what there is"
    twofold = refused(capsys, before, *continued(before, run=before.run[:4]))
    assert "begins 2 of the 4" in twofold and f"{before.run[:4]}{TWIN} (gate1 svd)" in twofold
    assert KILLED not in twofold
    unfinished = refused(capsys, before, *continued(before, run=KILLED))
    assert "--from must be a finished run of gate1, but killed is unfinished" in unfinished
    wrong = refused(capsys, before, *continued(before, run="sec"))
    assert "--from must be a finished run of gate1, but second is of gate2" in wrong and "show runs" in wrong


def test_a_store_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], before: Ready) -> None:
    elsewhere = before.bare(Path("nowhere.duckdb"), "--from", before.run)[1:]
    assert "nowhere.duckdb does not exist; a run makes it" in refused(capsys, before, *elsewhere)
    elsewhere = before.bare(Path("no") / "runs.duckdb", "--from", before.run)[1:]
    assert "folder must exist" in refused(capsys, before, *elsewhere)


def test_the_persona_must_be_the_one_of_gate_1(capsys: pytest.CaptureFixture[str], before: Ready) -> None:
    changed = Path("personas.toml")
    changed.write_text(before.planted.personas.read_text().replace("moonlight", "starlight"))
    message = refused(capsys, before, *continued(before, "--personas", "personas.toml"))
    assert "'planted' must be the pair of run" in message and "has changed or is missing" in message
    changed.write_text(before.planted.personas.read_text().replace("[planted]", "[another]"))
    assert "'planted' must be the pair of run" in refused(
        capsys, before, *continued(before, "--personas", str(changed))
    )


@pytest.mark.parametrize(
    ("option", "other"), [("method", "mean_mass"), ("trait", "care"), ("model", "another"), ("dtype", "bfloat16")]
)
def test_what_comes_beside_from_must_agree_with_that_run(
    option: str, other: str, before: Ready, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, before, *continued(before, f"--{option}", other))
    assert f"--{option} must be that of run {before.run}" in message and f"but got {other}; leave it out" in message


def test_the_model_must_be_the_one_of_gate_1(
    capsys: pytest.CaptureFixture[str], before: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights have been changed in place since gate 1 ran."""

    def changed(*arguments: Any, **named: Any) -> Host:
        return replace(load(*arguments, **named), fingerprint="another")

    monkeypatch.setattr("steerkit.session.load", changed)
    message = refused(capsys, before, *continued(before), loads=True)
    assert "has changed since: fingerprint another" in message and "run the gates before this one again" in message


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([], ["is empty"]),
        ([{"id": "a", "text": "w1 w2"}], ["at least 2 prompts", "it has 1"]),
        (
            [{"id": "a", "text": "w1 w2"}, {"id": "b", "text": "w3", "kind": "mundane"}],
            ["at least 2 prompts of kind 'pressure'", "it has 1"],
        ),
        ([{"id": "a", "text": "w1"}, {"id": "b", "text": " "}], ["line 2", "'text' must be a non-empty text", "' '"]),
        ([{"id": "a", "text": "w1"}, {"id": "b"}], ["line 2", "'text' must be a non-empty text", "None"]),
        ([{"id": "a", "text": "w1 w2"}, {"id": "b", "text": " w1 w2 "}], ["every text must be unique", "'b'"]),
        ([{"id": "a", "text": "w1"}, {"id": "a", "text": "w2"}], ["every id must be unique", "'a'"]),
        (["w1"], ["line 1", "one JSON object"]),
    ],
)
def test_a_prompt_file_that_is_not_right_is_refused(
    capsys: pytest.CaptureFixture[str], before: Ready, rows: list[Any], named: list[str]
) -> None:
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(capsys, before, *continued(before, "--dilemmas", "prompts.jsonl"))
    assert "prompts.jsonl" in message or "--dilemmas" in message
    assert all(part in message for part in named), message


def test_a_prompt_that_leaves_no_room_is_refused_once_the_model_is_known(
    capsys: pytest.CaptureFixture[str], before: Ready
) -> None:
    """The planted model's context is 1,024 tokens; the prompt's template adds a few to the prompt's own."""
    prompts = [{"id": "short", "text": "w1"}, {"id": "long", "text": " ".join(["w1"] * 1000)}]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    arguments = continued(before, "--dilemmas", "prompts.jsonl")
    message = refused(capsys, before, *arguments, loads=True)
    assert "must fit the model's 1024 tokens, but 'long' needs 108" in message and "lower texts.length" in message


@pytest.fixture(scope="module")
def parent(before: Ready) -> Parent:
    """Gate 1's run."""
    return parent_run(before.store, before.run)


@pytest.fixture
def asked(before: Ready, parent: Parent) -> Asked:
    """Makes a checked request that goes on from gate 1's run, with some of its answers changed."""
    plain = {
        "settings": SMALL,
        "quick": False,
        "schedule": None,
        "backtrack": False,
        "keep": KEEP,
        "personas": before.planted.personas,
        "dilemmas": before.planted.dilemmas,
        "dtype": "auto",
        "device": "cpu",
        "seed": 0,
    }
    return lambda **changes: Gate2Request.checked(plain | changes).after(parent)


def test_equal_questions_have_equal_hashes(before: Ready, asked: Asked, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(before.planted.dilemmas.read_bytes())
    same = asked().hash()
    assert asked().hash() == same == asked(dilemmas=copy).hash()
    # Defaults and options, said in another way.
    assert asked(schedule="constant").hash() == same
    assert asked(settings=(*SMALL, "texts.temperature=0.8")).hash() == same
    assert asked(keep=None, settings=(*SMALL, f"control.keep={KEEP}")).hash() == same


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"keep": KEEP + 1},
        {"schedule": "exp:40"},
        {"backtrack": True},
        {"quick": True},
        {"settings": (*SMALL, "filter.length=9")},
        {"settings": (*SMALL, "gate.gain_margin=0.01")},
        {"settings": (*SMALL, "texts.top_p=0.9")},
        {"settings": (*SMALL, "control.survival=0.5")},
    ],
)
def test_another_question_has_another_hash(asked: Asked, change: dict[str, Any]) -> None:
    assert asked(**change).hash() != asked().hash()


def test_another_prompt_is_another_question(before: Ready, asked: Asked, tmp_path: Path) -> None:
    changed = tmp_path / "changed.jsonl"
    changed.write_text(before.planted.dilemmas.read_text().replace('"w', '"w1 w', 1))
    assert asked(dilemmas=changed).hash() != asked().hash()


def test_what_is_said_beats_the_preset_and_the_preset_beats_the_defaults(asked: Asked) -> None:
    plain = asked(settings=(), keep=None)
    assert (plain.texts, plain.control) == (TextSpec(), ControlSpec())
    quick = asked(settings=("texts.length=9",), quick=True, keep=5)
    assert (quick.texts.length, quick.control.keep) == (9, 5)
    assert quick.texts.prompts < plain.texts.prompts and quick.control.batches < plain.control.batches
    assert quick.filters == plain.filters, "a quick look must not judge by other thresholds"


def test_the_spec_holds_what_later_readers_need(before: Ready, asked: Asked) -> None:
    """The persona's words and gate 1's dose, so that texts can be judged again without its files."""
    spec = asked().spec(3)
    assert (spec.parent_run, spec.method, spec.trait, spec.attempt) == (before.run, "svd", "planted", 3)
    assert "moonlight" in spec.persona_pair["negative"] and spec.operating_dose == 1.0
    assert spec.filters["perplexity"] == 100 and spec.filters["narration"] == 0.15
