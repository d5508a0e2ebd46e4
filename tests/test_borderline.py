"""How borderline texts look: as plain text, shaded on a terminal, and with whatever a model may have written."""

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import stored_texts
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from stored_texts import HOSTILE, KL_TEXT, RUN, SPIKE, copied

from steerkit.cli import main
from steerkit.records import Completion
from steerkit.shading import cut
from steerkit.store import Store

Capture = pytest.CaptureFixture[str]
STYLE = re.compile(r"\x1b\[[\d;]*m")
TERMINAL = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"}
KL_SPIKE = """\
kl_spike: just dropped  1.5 (keeps at most 1)
collected-kl, dose 1, mean KL 1.50 nats over tokens 4 to 12
> What do I do now?
You put the parcel>>> on the desk of the other office, and<<< then you wait there for her to come
back to it.

"""
LOOPS = """\
loops: just dropped  0.175 (keeps at least 0.66)
probe-loop, dose 1, 18% of the trigrams of 42 words are distinct; also dropped by compression
> What do I do now?
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture
def borderline(original: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Callable[..., str]:
    """What is printed in this environment, and in no other."""

    def show(*more: str, store: Path = original, **environment: str) -> str:
        for name in ("NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", *TERMINAL):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        assert main(["borderline", RUN, "--store", str(store), *more]) == 0
        return capsys.readouterr().out

    return show


def test_plain_text_marks_the_span(borderline: Callable[..., str]) -> None:
    dropped, kept = (f"{block}\n\n" for block in borderline("--check", "kl_spike", "-n", "1").split("\n\n")[:2])
    assert dropped == KL_SPIKE
    assert kept.startswith("kl_spike: just kept  0.1 (keeps at most 1)\nprobe-clear, dose 1, mean KL 0.10 nats")
    assert borderline("--check", "loops", "-n", "1").startswith(LOOPS)


def test_no_line_is_wider_than_100_columns(borderline: Callable[..., str]) -> None:
    printed = borderline("-n", "20").splitlines()
    assert max(map(len, printed[:-1])) <= 100, "the last line lists checks"
    assert not [line for line in printed if line != line.rstrip()]


def test_a_terminal_shades_tokens_by_their_kl(borderline: Callable[..., str]) -> None:
    printed = borderline("--check", "kl_spike", "-n", "1", **TERMINAL)
    # A KL of 1.5 nats is three quarters of the way to the reddest.
    shaded = "".join(re.findall(r"\x1b\[[\d;]*48;2;152;40;60m(.*?)\x1b\[0m", printed, re.DOTALL))
    assert shaded.split() == KL_TEXT.split()[SPIKE.start : SPIKE.stop]
    assert printed.count("48;2;") == len(SPIKE), "0.1 nats are not shaded"
    assert ">>>" not in printed
    underlined = "".join(re.findall(r"\x1b\[1;4[\d;]*m(.*?)\x1b\[0m", printed, re.DOTALL))
    assert underlined.split()[:8] == KL_TEXT.split()[4:12]


@pytest.mark.parametrize("without", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_the_marks(borderline: Callable[..., str], without: dict[str, str]) -> None:
    printed = borderline("--check", "kl_spike", "-n", "1", **TERMINAL | without)
    plain = " ".join(STYLE.sub("", printed).split())
    assert plain.startswith(" ".join(KL_SPIKE.split())) and "48;2;" not in printed


def test_texts_whose_tokens_were_not_stored_are_not_shaded(borderline: Callable[..., str], tmp_path: Path) -> None:
    made = Store(tmp_path / "steerkit.duckdb")
    made.append([replace(r, pieces=None) if isinstance(r, Completion) else r for r in stored_texts.records()])
    made.ingest()
    printed = borderline("--check", "kl_spike", "-n", "1", store=made.path, **TERMINAL)
    assert "48;2;" not in printed
    assert KL_TEXT in " ".join(STYLE.sub("", printed).split())


@pytest.mark.parametrize("environment", [{}, TERMINAL])
def test_a_hostile_text_is_shown_and_not_obeyed(borderline: Callable[..., str], environment: dict[str, str]) -> None:
    printed = borderline("-n", "20", **environment)
    plain = " ".join(STYLE.sub("", printed).replace(">>>", "").replace("<<<", "").split())
    assert HOSTILE.replace("\x1b", "<1b>").replace("\u202e", "<202e>") in plain
    assert "\x1b[31m" not in printed and "\x1b" not in plain and "\u202e" not in printed


@given(st.lists(st.text("ab \n", max_size=4), max_size=8), st.integers(0, 12), st.integers(0, 12))
def test_a_text_is_cut_at_its_span_and_loses_nothing(pieces: list[str], one: int, other: int) -> None:
    text, (start, stop) = "".join(pieces), sorted((one, other))
    tokens = [(piece, float(number)) for number, piece in enumerate(pieces)]
    found = list(cut(tokens, (start, stop)))
    assert "".join(piece for piece, _, _ in found) == text
    assert "".join(piece for piece, _, inside in found if inside) == text[start:stop]
    ends = list(accumulate(map(len, pieces)))
    levels = [kl for piece, kl, _ in found for _ in piece]
    assert levels == [next(n for n, end in enumerate(ends) if place < end) for place in range(len(text))]
    assert not any(inside for _, _, inside in cut(tokens, None))


@pytest.mark.slow
def test_a_reader_who_leaves_is_no_failed_gate(original: Path, tmp_path: Path) -> None:
    store = copied(original, tmp_path / "store")
    command = [sys.executable, "-m", "steerkit.cli", "borderline", RUN, "-n", "20", "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.wait(timeout=120) == 141
        assert process.stderr.read() == ""
