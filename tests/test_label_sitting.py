"""A person at the labeller: the last text, a real terminal, and labels of one side alone."""

import io
import json
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import stored_texts
from stored_texts import DROPPED, RUN, STEERED, copied

from steerkit.cli import main
from steerkit.commands.label import HELP, NOTHING_LEFT
from steerkit.labelling import COLUMNS
from steerkit.records import Label
from steerkit.store import Store

Capture = pytest.CaptureFixture[str]
PATIENCE = 60.0
"""How long a terminal may take to answer (seconds)."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path / "store")


def said(store: Path) -> list[str | None]:
    """The traits of all labels in the order they were given; None where one was taken back."""
    return [label.trait for label in sorted(Store(store).records(Label, RUN), key=lambda label: label.seq)]


def test_the_last_label_can_be_taken_back_too(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1" * len(STEERED) + "2suu23q"))
    assert main(["label", RUN, "--labeller", "ann", "--store", str(store)]) == 0
    shown = capsys.readouterr()
    assert said(store)[-5:] == ["enacts", None, None, "narrates", "neither"]
    assert shown.out.count(NOTHING_LEFT) == 2 and shown.out.rstrip().endswith(NOTHING_LEFT)
    assert f"{len(STEERED)} of {len(STEERED)} texts labelled by ann" in shown.err


def test_a_labeller_without_a_name_is_refused(store: Path, capsys: Capture) -> None:
    assert main(["label", RUN, "--labeller", " ", "--store", str(store)]) == 2
    assert "--labeller must be a name" in capsys.readouterr().err
    assert said(store) == []


def test_at_a_real_terminal_a_key_is_enough(store: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "steerkit.cli", "label", RUN, "--labeller", "ann", "--store", str(store)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        for turn, key in enumerate("1u2\x04", 1):
            wait_for_key(ours, theirs, turn)
            os.write(ours, key.encode())
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert said(store) == ["enacts", None, "narrates"]


def wait_for_key(ours: int, theirs: int, turn: int) -> None:
    """Until the text is shown and the terminal gives single keys; what is typed before that is lost."""
    deadline, printed = time.monotonic() + PATIENCE, b""
    while HELP.encode() not in printed:
        assert time.monotonic() < deadline, (turn, printed)
        printed += os.read(ours, 4096)
    while termios.tcgetattr(theirs)[3] & termios.ICANON:
        assert time.monotonic() < deadline, turn
        time.sleep(0.01)


@pytest.mark.parametrize(("side", "unread"), [("kept", "dropped"), ("dropped", "kept")])
def test_labels_of_one_side_give_no_recall(
    store: Path, tmp_path: Path, capsys: Capture, side: str, unread: str
) -> None:
    """All labelled texts are on one side: how many it should have put there and did not, nobody has read."""
    file = tmp_path / "labels.csv"
    read = [name for name in STEERED if (name in DROPPED) == (side == "dropped")]
    answers = [f"{name},ann,{'true,enacts' if number % 2 else 'false,neither'}" for number, name in enumerate(read)]
    file.write_text("\n".join([",".join(COLUMNS), *answers]), encoding="utf-8")
    command = ["label", RUN, "--report", "--store", str(store)]
    assert main([*command, "--import", str(file)]) == 0
    assert f"no recall while no {unread} text is labelled" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert {check["recall"] for check in found.values()} == {None}
    assert any(check["precision"] for check in found.values())
    for row in Store(store).query("FROM filter_quality").to_dicts():
        precision = found[row["name"]]["precision"]
        assert row["recall"] is None
        assert row["precision"] == (None if precision is None else pytest.approx(precision["value"]))
