import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from steerkit import cli
from steerkit.errors import RunError, StoreLocked, UsageError
from steerkit.store import Store

Command = Callable[..., subprocess.CompletedProcess[str]]
CONTEXT = click.Context(cli.group)
NAMES = cli.group.list_commands(CONTEXT)
HEAVY = ("torch", "transformers", "duckdb", "polars", "numpy", "rich", "msgspec")


def loaded(name: str) -> click.Command:
    command = cli.group.get_command(CONTEXT, name)
    assert command is not None
    return command


def test_help_is_quick(steerkit: Command) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert steerkit("--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.5


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [(["--help"], HEAVY), (["methods"], ("torch", "numpy")), (["gates"], ("torch",)), (["instruments"], ("torch",))],
)
def test_what_only_lists_imports_nothing_heavy(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = f"import sys; from steerkit.cli import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {*heavy} & {*done.stderr.split()}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = loaded(name)
    for documented in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        assert (documented.help or "").strip()
        for parameter in documented.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"
    assert cli.summary(name).endswith((".", "?"))


def leaves(command: click.Command) -> list[click.Command]:
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_the_common_options(name: str) -> None:
    for leaf in leaves(loaded(name)):
        taken = [parameter.name for parameter in leaf.params]
        for option in ("store", "model", "dtype", "device", "seed"):
            assert taken.count(option) == 1, (leaf.name, option)


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methosd"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: unknown command 'methosd'; did you mean 'methods'?")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["methods", "--jsno"],
        ["completion", "basic"],
        ["show", "rums"],
        ["show", "runs", "--param", "run"],
        ["sql", "SELECT 1"],
        ["personas", "--file", "nowhere.toml"],
        ["doctor", "--seed", "-1"],
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert not arguments or (shown.err.startswith("error: ") and shown.err.count("\n") == 1)
    assert not list(tmp_path.iterdir())


def failing(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("methods", callback=fail, params=[click.Option(["--json"], is_flag=True, expose_value=False)])


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (UsageError("no such thing"), 2, "UsageError"),
        (RunError("the run broke"), 4, "RunError"),
        (StoreLocked("somebody has it"), 5, "StoreLocked"),
        (OSError("the disk went away"), 4, "OSError"),
        (click.FileError("x", "gone"), 2, "UsageError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (click.Abort(), 130, "Interrupted"),
    ],
)
def test_every_failure_has_its_exit_code_and_a_json_document(
    error: BaseException, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, context, name: failing(error))
    assert cli.main(["methods", "--json"]) == code
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["error"]["type"] == kind
    assert shown.err.strip() == f"error: {document['error']['message']}"
    assert cli.main(["methods"]) == code
    assert capsys.readouterr().out == ""


def test_only_a_failure_that_nobody_foresaw_shows_where_it_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, context, name: failing(ZeroDivisionError("oh")))
    assert cli.main(["methods"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_news(steerkit: Command, tmp_store: Store) -> None:
    command = (
        f"{sys.executable} -m steerkit.cli sql --csv 'SELECT repeat(CAST(i AS VARCHAR), 20) FROM range(200000) t(i)'"
    )
    script = f"set -o pipefail; {command} | head -n 1"
    # Unbuffered, Python drops the rest of a half-written text without an error.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options = {"cwd": tmp_store.path.parent, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(["bash", "-c", script], **options)  # type: ignore[call-overload]
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert done.returncode == cli.BROKEN_PIPE


@pytest.mark.parametrize("seconds", [1.5, 3.0])
def test_control_c_ends_a_long_query(seconds: float, tmp_store: Store) -> None:
    query = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
    command = f'{sys.executable} -m steerkit.cli sql "{query}" & pid=$!; sleep {seconds}; kill -INT $pid; wait $pid'
    done = subprocess.run(["bash", "-m", "-c", command], cwd=tmp_store.path.parent, timeout=30, check=False)
    assert done.returncode == 130


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO segment VALUES ('x', 1)",
        "UPDATE segment SET rows = 0",
        "DELETE FROM segment",
        "CREATE TABLE mine (a INTEGER)",
        "DROP VIEW pareto",
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
        "ATTACH '{folder}/other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "COPY (SELECT 1) TO '{folder}/copied.csv'",
        "EXPORT DATABASE '{folder}/exported'",
        "SET enable_external_access = true",
        "SELECT 1; COPY (SELECT 1) TO '{folder}/copied.csv'",
        "SELECT 1; DELETE FROM segment",
    ],
)
def test_sql_reads_the_store_and_nothing_else(query: str, tmp_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_store.path.parent
    before = {path for path in folder.rglob("*") if path.is_file()}
    code = cli.main(["sql", "--store", str(tmp_store.path), query.format(folder=folder)])
    assert (code, capsys.readouterr().out) == (2, "")
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def test_sql_answers_as_table_csv_and_json(tmp_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT 'a,b' AS text, CAST('nan' AS DOUBLE) AS number, NULL AS nothing, [1, 2] AS list"
    answers = {}
    for form in ("", "--csv", "--json"):
        assert cli.main(["sql", "--store", str(tmp_store.path), query, *filter(None, [form])]) == 0
        answers[form] = capsys.readouterr().out
    assert answers[""].splitlines()[2].split() == ["a,b", "nan", "[1,", "2]"]
    assert answers["--csv"] == 'text,number,nothing,list\n"a,b",nan,,"[1, 2]"\n'
    assert json.loads(answers["--json"]) == [{"text": "a,b", "number": None, "nothing": None, "list": [1, 2]}]


def test_every_question_is_listed_and_answered(tmp_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--json"]) == 0
    questions = [row["name"] for row in json.loads(capsys.readouterr().out)["questions"]]
    assert {"runs", "arms", "pareto", "hypotheses"} <= {*questions}
    for question in questions:
        assert cli.main(["show", question, "--store", str(tmp_store.path), "--json"]) == 0
        # An empty store has a schema all the same.
        assert (json.loads(capsys.readouterr().out) == []) is (question not in ("columns", "relations"))


def test_db_commands_say_what_they_did(tmp_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_store.path)]
    assert cli.main(["db", "ingest", *store]) == 0
    assert cli.main(["db", "rebuild", "--json", *store]) == 0
    assert cli.main(["db", "check", *store]) == 0
    assert capsys.readouterr().out == 'ingested 0 segments\n{\n  "rebuilt": 0\n}\nno problems\n'


def test_a_broken_rule_of_pair_writing_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.toml"
    fields = 'description = "d"\npositive = "a person who obeys"\ntarget = "Authority"\nsign = 1\n'
    mine.write_text(f'[mine]\n{fields}negative = "a person who does not obey"\n')
    assert cli.main(["personas", "--check", "--file", str(mine), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert next((finding["persona"], finding["rule"]) for finding in findings) == ("mine", "negated-pole")
    assert cli.main(["personas", "--check"]) == 0
    assert re.fullmatch(r"\d+ pairs follow every rule\n", capsys.readouterr().out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_lines_name_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert f"_STEERKIT_COMPLETE={shell}_source steerkit" in capsys.readouterr().out


def test_bash_completes_command_names(steerkit: Command) -> None:
    environment = {**os.environ, "_STEERKIT_COMPLETE": "bash_complete", "COMP_WORDS": "steerkit met", "COMP_CWORD": "1"}
    assert "methods" in steerkit(env=environment).stdout
