"""The commands that read, label and decide anew the texts of a stored run, as a user types them."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import stored_texts
from stored_texts import DROPPED, HOSTILE, KL_TEXT, PARENT, RUN, STEERED, TEXTS, copied

from steerkit.cli import main
from steerkit.commands._texts import visible
from steerkit.plugins import load_filters
from steerkit.records import FilterDecision, FilterSet, Label
from steerkit.store import Store

Capture = pytest.CaptureFixture[str]
Command = Callable[..., subprocess.CompletedProcess[str]]
Patch = pytest.MonkeyPatch
KEPT = len(STEERED) - len(DROPPED)
HELP_LINE = "1 enacts  2 narrates  3 neither  0 incoherent   u undo  s skip  q quit"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_texts.make(tmp_path_factory.mktemp("original") / "steerkit.duckdb")


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return copied(original, tmp_path / "store")


@pytest.fixture
def keys(store: Path, monkeypatch: Patch, capsys: Capture) -> Callable[..., str]:
    """Label with these keys piped in; what was printed."""

    def press(pressed: str, *more: str, labeller: str = "ann") -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(pressed))
        capsys.readouterr()
        assert main(["label", RUN[:8], "--labeller", labeller, "--store", str(store), *more]) == 0
        shown = capsys.readouterr()
        assert "texts labelled by " + labeller in shown.err
        return shown.out

    return press


def document(capsys: Capture, *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: Capture, *arguments: str) -> str:
    """The one line that a refused command says."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1
    return shown.err


def files(store: Path) -> dict[str, bytes]:
    """Everything on the store's disk: its database, its spool and its segments."""
    return {str(path): path.read_bytes() for path in store.parent.rglob("*") if path.is_file()}


def labels(store: Path) -> list[Label]:
    return sorted(Store(store).records(Label, RUN), key=lambda label: label.seq)


def shown_texts(printed: str) -> list[str]:
    """Which texts were shown, in order."""
    found = [" ".join(part.split()) for part in printed.split("-" * 100)[1:]]
    spelled = {name: " ".join(visible(TEXTS[name][1]).split()) for name in STEERED}
    return [name for part in found for name, text in spelled.items() if text in part]


# Labelling


def test_keys_label_undo_and_skip(store: Path, keys: Callable[..., str]) -> None:
    shown = shown_texts(keys("13u0sq"))
    first, second, third, again, skipped, last = shown
    assert second == again and third == skipped and len({first, second, third, last}) == 4
    said = [(label.completion_id, label.coherent, label.trait) for label in labels(store)]
    assert said == [
        (first, True, "enacts"),
        (second, True, "neither"),
        (second, None, None),
        (second, False, "neither"),
    ]
    assert {label.labeller for label in labels(store)} == {"ann"}


def test_a_skipped_text_comes_last(store: Path, keys: Callable[..., str]) -> None:
    shown = shown_texts(keys("s" + "1" * len(STEERED)))
    assert len(shown) == len(STEERED) + 1 and shown[0] == shown[-1]
    assert sorted(shown[1:]) == sorted(STEERED)
    assert keys("1") == "", "nothing is left"


def test_the_next_call_goes_on(keys: Callable[..., str]) -> None:
    first, _, third = shown_texts(keys("12"))
    printed = keys("q")
    assert shown_texts(printed) == [third] and f"3 of {len(STEERED)}" in printed
    assert shown_texts(keys("q", labeller="bob")) == [first], "another person begins at the beginning"


def test_an_undone_text_is_asked_again(store: Path, keys: Callable[..., str]) -> None:
    first, _, again = shown_texts(keys("1u"))
    assert first == again == shown_texts(keys("q"))[0]
    assert labels(store)[-1].coherent is None


def test_every_key_says_what_help_says(store: Path, keys: Callable[..., str]) -> None:
    keys("1 2\n3 0")
    said = [(label.coherent, label.trait) for label in labels(store)]
    assert said == [(True, "enacts"), (True, "narrates"), (True, "neither"), (False, "neither")]


def test_an_unknown_key_prints_the_help_line_and_stores_nothing(store: Path, keys: Callable[..., str]) -> None:
    assert keys("q").count(HELP_LINE) == 1
    assert keys("x\x1bq").count(HELP_LINE) == 3
    assert "nothing to undo" in keys("uq")
    assert labels(store) == []


def test_the_end_of_input_quits(store: Path, keys: Callable[..., str]) -> None:
    assert len(shown_texts(keys(""))) == 1
    assert labels(store) == []


@pytest.mark.parametrize("ending", ["q", "\x04"])
def test_a_terminal_gives_one_key_without_enter(store: Path, monkeypatch: Patch, capsys: Capture, ending: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pressed = iter("1" + ending)

    def getchar() -> str:
        if (key := next(pressed)) == "\x04":
            raise EOFError
        return key

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "getchar", getchar)
    assert main(["label", RUN, "--labeller", "ann", "--store", str(store)]) == 0
    assert [label.trait for label in labels(store)] == ["enacts"]
    assert f"1 of {len(STEERED)} texts labelled by ann" in capsys.readouterr().err


def test_labelling_is_blind(keys: Callable[..., str]) -> None:
    printed = keys("s" * (len(STEERED) - 1)).casefold()
    assert len(shown_texts(keys("s" * (len(STEERED) - 1)))) == len(STEERED)
    ours = {word for name in STEERED for word in name.split("-")} - {"clear", "short", "over", "far", "near", "plain"}
    telling = {*load_filters(), "dose", "kept", "dropped", "keep", "perplexity", "score", *ours}
    texts = " ".join(TEXTS[name][1] for name in STEERED).casefold()
    for word in telling - set(texts.replace(".", "").split()):
        assert word not in printed, word


def test_no_text_of_the_base_is_asked_about(keys: Callable[..., str]) -> None:
    printed = " ".join(keys("1" * 30).split())
    assert not any(text in printed for role, text in TEXTS.values() if role == "base")


@pytest.mark.slow
def test_labelling_works_through_a_pipe(store: Path, steerkit: Command) -> None:
    done = steerkit("label", RUN, "--labeller", "ann", "--store", str(store), input="10q")
    assert done.returncode == 0 and HELP_LINE in done.stdout
    assert [label.trait for label in labels(store)] == ["enacts", "neither"]


def test_a_login_without_a_name_must_give_one(store: Path, monkeypatch: Patch, capsys: Capture) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", getuser)
    assert "give --labeller" in refusal(capsys, "label", RUN, "--store", str(store))


# Reports


def truthfully(name: str) -> str:
    """The key of somebody who finds every dropped text incoherent, and each kept one good."""
    return "0" if name in DROPPED else "1"


@pytest.fixture
def labelled(keys: Callable[..., str]) -> None:
    """Two people who agree, save on one text, about texts of which every check is right."""
    order = shown_texts(keys("s" * len(STEERED), labeller="nobody"))[: len(STEERED)]
    answers = "".join(map(truthfully, order))
    keys(answers, labeller="ann")
    keys(answers[:-1] + ("2" if answers[-1] == "1" else "1"), labeller="bob")


def test_a_report_measures_the_checks(store: Path, labelled: None, capsys: Capture) -> None:
    found = document(capsys, "label", RUN, "--report", "--store", str(store))
    checks = {check["name"]: check for check in found["checks"]}
    assert {*checks} == {"all checks", *load_filters()}
    assert found["run_id"] == RUN and found["texts"] == len(STEERED)
    # Of the 12 they differ on one, which is a tie; by chance they would agree on half.
    assert found["labelled"] == len(STEERED) - 1 and found["kappa"] == pytest.approx((11 / 12 - 0.5) / 0.5)
    assert checks["perplexity"]["precision"]["value"] == 1.0 and checks["perplexity"]["hits"] == 2
    assert checks["cap"]["precision"] is None and checks["cap"]["recall"]["value"] == 0.0
    assert checks["all checks"]["precision"]["low"] < 1.0


def test_a_report_fits_100_columns(store: Path, labelled: None, capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["label", RUN, "--report", "--store", str(store)]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert "all checks" in printed and "100% [" in printed and "Cohen's kappa" in printed


def test_a_report_needs_labels(store: Path, capsys: Capture) -> None:
    said = refusal(capsys, "label", RUN, "--report", "--store", str(store))
    assert f"steerkit label {RUN}" in said


def test_exported_labels_imported_elsewhere_give_the_same_report(
    store: Path, original: Path, labelled: None, tmp_path: Path, capsys: Capture
) -> None:
    file, other = str(tmp_path / "labels.csv"), str(copied(original, tmp_path / "other"))
    assert main(["label", RUN, "--export", file, "--store", str(store)]) == 0
    assert main(["label", RUN, "--import", file, "--store", other]) == 0
    assert f"{2 * len(STEERED)} labels of {file} added" in capsys.readouterr().err
    reports = [document(capsys, "label", RUN, "--report", "--store", place) for place in (str(store), other)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("completion_id,labeller,coherent\nprobe-clear,ann,true\n", "trait is missing"),
        ("completion_id,labeller,coherent,trait\nprobe-clear,ann,true,enacts\nelsewhere,ann,true,enacts\n", "row 2"),
        ("completion_id,labeller,coherent,trait\nprobe-clear,ann,perhaps,enacts\n", "row 1"),
        ("completion_id,labeller,coherent,trait\nprobe-clear,ann,true,lives\n", "row 1"),
        ("completion_id,labeller,coherent,trait\nprobe-clear,,true,enacts\n", "row 1"),
        ("", "at least one row"),
    ],
)
def test_a_bad_file_is_refused_and_nothing_of_it_stored(
    store: Path, tmp_path: Path, capsys: Capture, content: str, named: str
) -> None:
    file, before = tmp_path / "labels.csv", files(store)
    file.write_text(content, encoding="utf-8")
    said = refusal(capsys, "label", RUN, "--import", str(file), "--store", str(store))
    assert named in said and str(file) in said
    assert files(store) == before


def test_what_is_no_file_is_refused(store: Path, tmp_path: Path, capsys: Capture) -> None:
    for option in ("--import", "--export"):
        assert str(tmp_path) in refusal(capsys, "label", RUN, option, str(tmp_path), "--store", str(store))
    missing = str(tmp_path / "missing" / "labels.csv")
    for option in ("--import", "--export"):
        assert missing in refusal(capsys, "label", RUN, option, missing, "--store", str(store))


# Borderline texts


def borderline(store: Path, capsys: Capture, *more: str) -> str:
    capsys.readouterr()
    assert main(["borderline", RUN, "--store", str(store), *more]) == 0
    return capsys.readouterr().out


def test_the_span_is_marked(store: Path, capsys: Capture) -> None:
    printed = " ".join(borderline(store, capsys, "--check", "kl_spike", "-n", "1").split())
    marked = printed.partition(">>>")[2].partition("<<<")[0]
    assert marked.strip() == " ".join(KL_TEXT.split()[4:12])
    assert KL_TEXT in printed.replace(">>>", "").replace("<<<", "")


def test_just_dropped_comes_before_just_kept(store: Path, capsys: Capture) -> None:
    checks = document(capsys, "borderline", RUN, "--check", "perplexity", "--store", str(store))["checks"]
    found = checks["perplexity"]
    assert [text["completion_id"] for text in found[:3]] == ["probe-over", "probe-far", "probe-near"]
    assert [text["keep"] for text in found] == [False, False, True, True]
    assert (found[0]["value"], found[0]["threshold"], found[0]["direction"]) == (15.5, 15.0, "at most")
    printed = borderline(store, capsys, "--check", "perplexity")
    heads = [line.split("  ")[0] for line in printed.splitlines() if line.startswith("perplexity: ")]
    assert heads == ["perplexity: just dropped"] * 2 + ["perplexity: just kept"] * 2


def test_n_says_how_many_on_either_side(store: Path, capsys: Capture) -> None:
    found = document(capsys, "borderline", RUN, "-n", "1", "--store", str(store))["checks"]
    assert {*found} == {*load_filters()}
    reached = {check for checks in DROPPED.values() for check in checks}
    assert {name: len(texts) for name, texts in found.items()} == {n: 2 if n in reached else 0 for n in found}


def test_checks_that_drop_nothing_are_named(store: Path, capsys: Capture) -> None:
    assert borderline(store, capsys, "--check", "cap") == "no text was dropped by: cap\n"


def test_an_unknown_check_is_refused_with_the_known_ones(store: Path, capsys: Capture) -> None:
    said = refusal(capsys, "borderline", RUN, "--check", "loop", "--store", str(store))
    assert "did you mean 'loops'?" in said and all(name in said for name in load_filters())
    assert main(["borderline", RUN, "-n", "0", "--store", str(store)]) == 2


# Hostile texts


SPELLED = HOSTILE.replace("\x1b", "<1b>").replace("\u202e", "<202e>")


def test_a_text_that_commands_a_terminal_is_spelled_out(store: Path, keys: Callable[..., str], capsys: Capture) -> None:
    for printed in (keys("s" * len(STEERED)), borderline(store, capsys, "-n", "20")):
        assert SPELLED in " ".join(printed.replace(">>>", "").replace("<<<", "").split())
        assert "\x1b" not in printed and "\u202e" not in printed


def test_json_holds_a_text_as_it_is(store: Path, capsys: Capture) -> None:
    found = document(capsys, "borderline", RUN, "-n", "20", "--store", str(store))["checks"]["perplexity"]
    assert {text["completion_id"]: text["text"] for text in found}["collected-hostile"] == HOSTILE


def test_every_control_character_is_spelled_and_others_stay() -> None:
    commands = [
        *range(0x09),
        *range(0x0B, 0x20),
        *range(0x7F, 0xA0),
        0x61C,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
    assert [visible(chr(code)) for code in commands] == [f"<{code:02x}>" for code in commands]
    plain = "Tab\tand\nnewline, [b]x[/b] <b>&amp;</b> é Ещё 文 😀"
    assert visible(plain) == plain


# Deciding anew


def refilter(store: Path, capsys: Capture, *settings: str) -> Any:
    chosen = [part for setting in settings for part in ("--set", setting)]
    return document(capsys, "refilter", RUN, *chosen, "--store", str(store))


@pytest.mark.parametrize(
    ("setting", "dropped", "kept"),
    [("perplexity=20", 1, KEPT + 1), ("perplexity<=80", 0, KEPT + 2), ("perplexity=14", 3, KEPT - 1)],
)
def test_a_looser_threshold_keeps_more_and_a_stricter_one_fewer(
    store: Path, capsys: Capture, setting: str, dropped: int, kept: int
) -> None:
    found = refilter(store, capsys, setting)
    assert (found["kept_before"], found["kept_after"], found["texts"]) == (KEPT, kept, len(STEERED))
    assert found["changed"]
    rows = {row["check"]: row for row in found["checks"]}
    assert (rows["perplexity"]["dropped"], rows["perplexity"]["now dropped"]) == (2, dropped)
    assert all(row["dropped"] == row["now dropped"] for name, row in rows.items() if name != "perplexity")


def test_several_thresholds_are_changed_at_once(store: Path, capsys: Capture) -> None:
    found = refilter(
        store, capsys, "perplexity=80", "loops>=0.1", "compression=9", "length=2", "refusal=1", "kl_spike=2"
    )
    assert found["kept_after"] == len(STEERED)


def test_a_second_identical_call_stores_nothing(store: Path, capsys: Capture) -> None:
    assert refilter(store, capsys, "perplexity=80")["changed"]
    before = files(store)
    again = refilter(store, capsys, "perplexity=80")
    assert not again["changed"] and again["kept_before"] == again["kept_after"] == KEPT + 2
    assert files(store) == before
    assert main(["refilter", RUN, "--set", "perplexity=80", "--store", str(store)]) == 0
    assert "nothing was stored" in capsys.readouterr().out and files(store) == before


def test_thresholds_can_be_changed_back_and_forth(store: Path, capsys: Capture) -> None:
    kept = [refilter(store, capsys, f"perplexity={value}")["kept_after"] for value in (80, 15, 80, 14)]
    assert kept == [KEPT + 2, KEPT, KEPT + 2, KEPT - 1]
    rounds = Store(store).records(FilterSet, RUN)
    assert len({each.filter_id for each in rounds}) == 5
    decisions = Store(store).records(FilterDecision, RUN)
    assert len(decisions) == 5 * len(TEXTS) * len(load_filters())
    assert Store(store).problems() == []


def test_thresholds_that_were_set_before_stay(store: Path, capsys: Capture) -> None:
    refilter(store, capsys, "perplexity=80")
    assert refilter(store, capsys, "length=2")["kept_after"] == KEPT + 3


def in_pairs(dropped: list[bool]) -> bool:
    """Whether each pair of texts holds one that is dropped and one that is kept."""
    return all(a != b for a, b in zip(dropped[::2], dropped[1::2], strict=True))


def test_the_newest_decisions_are_what_is_read(store: Path, keys: Callable[..., str], capsys: Capture) -> None:
    before = shown_texts(keys("s" * len(STEERED)))
    assert in_pairs([name in DROPPED for name in before[:6]])
    refilter(store, capsys, "perplexity=14")
    found = document(capsys, "borderline", RUN, "--check", "perplexity", "-n", "1", "--store", str(store))
    dropped, kept = found["checks"]["perplexity"]
    assert dropped["completion_id"] == "probe-near" and dropped["threshold"] == 14.0 and kept["keep"]
    after = shown_texts(keys("s" * len(STEERED)))
    assert in_pairs([name in {*DROPPED, "probe-near"} for name in after[:10]])
    refilter(store, capsys, "perplexity=80")
    assert "no text was dropped by: perplexity" in borderline(store, capsys, "--check", "perplexity")


@pytest.mark.parametrize(
    ("run", "setting", "named"),
    [
        (RUN, "perplexety=80", "did you mean 'perplexity'?"),
        (RUN, "perplexity>=80", "write perplexity<=80"),
        (RUN, "loops<=0.5", "write loops>=0.5"),
        (RUN, "perplexity=high", "must be a finite number"),
        (RUN, "perplexity=inf", "must be a finite number"),
        (RUN, "perplexity", "must look like"),
        (PARENT, "perplexity=80", f"steerkit gate2 --from {PARENT}"),
        ("zzz", "perplexity=80", "'zzz' begins 0 of the 3"),
        (RUN[:6], "perplexity=80", f"{RUN} (gate2 svd)"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    store: Path, capsys: Capture, run: str, setting: str, named: str
) -> None:
    before = files(store)
    assert named in refusal(capsys, "refilter", run, "--set", setting, "--store", str(store))
    assert files(store) == before


def test_refusals_are_a_document_for_a_program(store: Path, capsys: Capture) -> None:
    assert main(["refilter", RUN, "--set", "perplexity>=80", "--json", "--store", str(store)]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UsageError"


@pytest.mark.parametrize("command", [("refilter", "x", "--set", "cap=0"), ("label", "x"), ("borderline", "x")])
def test_without_a_store_nothing_is_made(tmp_path: Path, capsys: Capture, command: tuple[str, ...]) -> None:
    assert "there must be a store" in refusal(capsys, *command, "--store", str(tmp_path / "none.duckdb"))
    assert list(tmp_path.iterdir()) == []


# Listing the checks


def test_all_checks_are_listed(capsys: Capture) -> None:
    found = {row["name"]: row for row in document(capsys, "filters")["filters"]}
    assert {*found} == {*load_filters()}
    for name, check in load_filters().items():
        assert found[name]["keeps"] == f"{check.KEEP} {check.THRESHOLD:g}" and found[name]["unit"] == check.UNIT
        assert found[name]["about"].endswith(".") and found[name]["module"] == f"steerkit.filters.{name}"
    assert main(["filters"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in found)
