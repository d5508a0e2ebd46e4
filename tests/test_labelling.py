"""What labels say of the checks: planted rates come back, labellers are compared, and labels survive a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, precision_score, recall_score

from steerkit.errors import UsageError
from steerkit.evidence import TextEvidence
from steerkit.labelling import (
    ALL,
    COLUMNS,
    FEWEST_SHARED,
    Quality,
    from_csv,
    good,
    kappa,
    qualities,
    reading_order,
    to_csv,
)
from steerkit.records import FilterDecision, Label, Trait
from steerkit.stats import wilson
from steerkit.testing import planted_completion

Said = tuple[bool, Trait]
GOOD: Said = (True, "enacts")
BAD: Said = (False, "neither")
OWN = {"run_id": "run", "unit_id": "unit"}
HEADER = ",".join(COLUMNS)


def text(name: str, dropped_by: Sequence[str] = (), *said: Said) -> TextEvidence:
    """A text, the checks that drop it, and what labellers a, b, ... say of it."""
    labels = [
        Label(**OWN, completion_id=name, seq=place, labeller="abc"[place], coherent=coherent, trait=trait)
        for place, (coherent, trait) in enumerate(said)
    ]
    decisions = tuple(decision(name, check, check not in dropped_by) for check in ("loops", "length"))
    return TextEvidence(planted_completion(f"Text {name}.", completion_id=name), decisions, None, tuple(labels))


def decision(name: str, check: str, keep: bool) -> FilterDecision:
    given = {"threshold": 0.5, "direction": "at least", "reason": "planted", "start": None, "stop": None}
    value = 1.0 if keep else 0.0
    return FilterDecision(**OWN, filter_id="f", completion_id=name, name=check, value=value, keep=keep, **given)


def labelled(count: int, of: int, dropped_by: Sequence[str], said: Said, name: str) -> list[TextEvidence]:
    """`of` texts alike, the first `count` of which are labelled."""
    return [text(f"{name}{i}", dropped_by, *([said] if i < count else [])) for i in range(of)]


def by_name(rows: Sequence[Quality]) -> dict[str, Quality]:
    return {row.name: row for row in rows}


# Intervals


@given(st.integers(1, 400).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilsons_interval_is_scipys(counts: tuple[int, int]) -> None:
    hits, count = counts
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = wilson(hits / count, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.floats(0, 1), st.floats(0.1, 1e6))
def test_an_interval_covers_its_value_inside_0_and_1(share: float, count: float) -> None:
    found = wilson(share, count)
    assert 0 <= found.low <= share + 1e-12 and share - 1e-12 <= found.high <= 1


# Reading order


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 9))
def test_every_text_is_read_once_in_pairs(kept: list[bool], seed: int) -> None:
    texts = [text(str(i), () if keep else ("loops",)) for i, keep in enumerate(kept)]
    order = reading_order(texts, seed)
    assert order == reading_order(texts, seed)
    assert sorted(t.completion.completion_id for t in order) == sorted(t.completion.completion_id for t in texts)
    paired = 2 * min(kept.count(True), kept.count(False))
    assert all(a.kept != b.kept for a, b in zip(order[:paired:2], order[1:paired:2], strict=True))
    assert len({t.kept for t in order[paired:]}) <= 1


def test_the_place_in_a_pair_says_nothing() -> None:
    texts = [text(str(i), () if i % 2 else ("loops",)) for i in range(200)]
    first = [t.kept for t in reading_order(texts, 0)[::2]]
    assert 30 < sum(first) < 70


def test_the_seed_decides_the_order() -> None:
    texts = [text(str(i)) for i in range(30)]
    orders = {tuple(t.completion.completion_id for t in reading_order(texts, seed)) for seed in range(5)}
    assert len(orders) == 5


# Truth


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], None),
        ([(True, "enacts")], True),
        ([(True, "neither")], True),
        ([(True, "narrates")], False),
        ([(False, "enacts")], False),
        ([GOOD, BAD], None),
        ([GOOD, GOOD, BAD], True),
        ([GOOD, BAD, (True, "narrates")], False),
    ],
)
def test_the_majority_says_what_is_good_and_a_tie_nothing(said: list[Said], expected: bool | None) -> None:
    assert good(text("t", (), *said)) is expected


# Quality of the checks

# Of all 80 kept texts 60 are good, of all 40 dropped ones 10; loops drops 20 of those, 5 of them good.
PLANTED = [
    *labelled(30, 60, (), GOOD, "kept good "),
    *labelled(10, 20, (), BAD, "kept bad "),
    *labelled(1, 5, ("loops",), GOOD, "loop good "),
    *labelled(3, 15, ("loops",), BAD, "loop bad "),
    *labelled(1, 5, ("length",), GOOD, "short good "),
    *labelled(3, 15, ("length",), BAD, "short bad "),
]
"""One in two kept texts is labelled, and one in five dropped ones."""


def test_texts_labelled_at_different_rates_give_the_rates_of_all() -> None:
    found = by_name(qualities(PLANTED))
    everything, loops = found[ALL], found["loops"]
    assert (everything.hits, everything.right, everything.missed) == (40, 30, 2)
    assert (loops.hits, loops.right, loops.missed) == (4, 3, 13)
    assert everything.precision and everything.precision.value == pytest.approx(60 / 80)
    assert everything.recall and everything.recall.value == pytest.approx(60 / 70)
    assert loops.precision and loops.precision.value == pytest.approx(15 / 20)
    assert loops.recall and loops.recall.value == pytest.approx(15 / 50)


def test_an_interval_is_as_wide_as_its_effective_number_of_texts() -> None:
    found = by_name(qualities(PLANTED))[ALL]
    # The good texts: 30 that stand for 2 each, and 2 that stand for 5 each.
    assert found.recall == pytest.approx(wilson(60 / 70, 70**2 / (30 * 2**2 + 2 * 5**2)))
    assert found.precision == pytest.approx(wilson(30 / 40, 40))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_with_everything_labelled_they_are_sklearns(rows: list[tuple[bool, bool]]) -> None:
    texts = [text(str(i), () if kept else ("loops",), GOOD if fine else BAD) for i, (kept, fine) in enumerate(rows)]
    kept, fine = [k for k, _ in rows], [f for _, f in rows]
    found = by_name(qualities(texts))
    for quality, hit, wanted in (
        (found[ALL], kept, fine),
        (found["loops"], [not k for k in kept], [not f for f in fine]),
    ):
        expected = precision_score(wanted, hit, zero_division=0), recall_score(wanted, hit, zero_division=0)
        for share, oracle, defined in zip(
            (quality.precision, quality.recall), expected, (any(hit), any(wanted)), strict=True
        ):
            assert (share is not None) == defined
            assert share is None or share.value == pytest.approx(oracle)


def test_what_never_hits_has_no_precision() -> None:
    found = by_name(qualities([text("a", (), GOOD), text("b", ("loops",), BAD)]))
    assert found["length"].precision is None and found["length"].recall is not None
    assert [row.name for row in qualities(PLANTED)] == [ALL, "length", "loops"]


def test_there_is_no_recall_while_one_side_has_no_label() -> None:
    half = [text(name, dropped_by, *said) for name, dropped_by, said in (("a", (), [GOOD]), ("b", ("loops",), []))]
    found = by_name(qualities(half))[ALL]
    assert found.precision is not None and found.recall is None
    whole = by_name(qualities([*half, text("c", ("loops",), GOOD)]))[ALL]
    assert whole.recall is not None and whole.recall.value == pytest.approx(1 / 3)


def test_ties_and_texts_without_labels_count_for_nothing() -> None:
    texts = [text("a", (), GOOD), text("tie", (), GOOD, BAD), text("none")]
    found = by_name(qualities(texts))[ALL]
    assert (found.hits, found.right, found.missed) == (1, 1, 0)


# Agreement


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=FEWEST_SHARED, max_size=40))
def test_agreement_is_sklearns_kappa(rows: list[tuple[bool, bool]]) -> None:
    texts = [text(str(i), (), GOOD if a else BAD, GOOD if b else BAD) for i, (a, b) in enumerate(rows)]
    ours, theirs = zip(*rows, strict=True)
    if len({*ours}) == len({*theirs}) == 2:
        assert kappa(texts) == pytest.approx(cohen_kappa_score(ours, theirs))
    else:
        assert kappa(texts) is None


def test_agreement_is_what_is_left_beyond_chance() -> None:
    counts = {(GOOD, GOOD): 8, (BAD, BAD): 6, (GOOD, BAD): 2, (BAD, GOOD): 4}
    texts = [text(f"{pair}{i}", (), *pair) for pair, count in counts.items() for i in range(count)]
    # 0.7 agree, and by chance 0.5 * 0.6 + 0.5 * 0.4 would.
    assert kappa(texts) == pytest.approx((0.7 - 0.5) / 0.5)


def test_too_few_shared_texts_have_no_agreement() -> None:
    few = [text(str(i), (), *([GOOD, GOOD] if i % 2 else [BAD, BAD])) for i in range(FEWEST_SHARED - 1)]
    alone = [text(f"alone {i}", (), GOOD if i % 2 else BAD) for i in range(30)]
    assert kappa([*few, *alone]) is None
    assert kappa([*few, text("one more", (), GOOD, GOOD)]) == pytest.approx(1.0)
    assert kappa([]) is None


# CSV

TEXTS = {
    "comma": 'He said "no, not now", and left.',
    "lines": "One.\n\nTwo,\r\nthree.",
    "parts": "A page\x0cbreak, a\u2028separator, \x85 and \x1c.",
    "plain\x0cbreak": "\x0cwithout anything to quote\u2029",
    "wide": "Ещё раз 😀 \u202eback",
}


def hostile() -> list[TextEvidence]:
    said: list[list[Said]] = [[GOOD], [BAD, GOOD], [(True, "narrates")], [(True, "neither"), BAD, GOOD], []]
    texts = [text(name, (), *labels) for name, labels in zip(TEXTS, said, strict=True)]
    return [
        replace(t, completion=planted_completion(TEXTS[n], completion_id=n)) for n, t in zip(TEXTS, texts, strict=True)
    ]


def read(path: Path, seq: int = 100) -> list[Label]:
    return from_csv(path, frozenset(TEXTS), run="run", seq=seq)


def said(labels: Sequence[Label]) -> list[tuple[object, ...]]:
    return [(label.completion_id, label.labeller, label.coherent, label.trait) for label in labels]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_labels_survive_a_file_whatever_the_texts_hold(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(mark + to_csv(hostile()), encoding="utf-8")
    found = read(path)
    assert said(found) == said([label for t in hostile() for label in t.labels])
    assert [label.seq for label in found] == list(range(101, 101 + len(found)))
    assert {label.run_id for label in found} == {"run"}


def test_a_file_holds_the_texts_for_a_person_to_read() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(hostile()), newline="")))
    assert list(rows[0]) == [*COLUMNS, "text"]
    assert {row["completion_id"]: row["text"] for row in rows} == {n: t for n, t in TEXTS.items() if n != "wide"}


def test_a_file_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(
        b"note,trait,coherent,labeller,completion_id\r\nx, Enacts ,TRUE, ann ,comma\r\n,narrates,0,bob,wide\r\n"
    )
    assert said(read(path)) == [("comma", "ann", True, "enacts"), ("wide", "bob", False, "narrates")]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("completion_id,labeller,coherent\ncomma,ann,true\n", "trait is missing"),
        (
            f"{HEADER}\ncomma,ann,true,enacts\nelsewhere,ann,true,enacts\n",
            "row 2: completion_id must be a text of run run",
        ),
        (f"{HEADER}\ncomma,ann,maybe,enacts\n", "row 1: coherent must be true or false, but got 'maybe'"),
        (f"{HEADER}\ncomma,ann,true,lives\n", "row 1: trait must be one of enacts, narrates, neither, but got 'lives'"),
        (f"{HEADER}\ncomma,ann,true\n", "row 1: trait must be one of enacts, narrates, neither, but got None"),
        (f"{HEADER}\ncomma,  ,true,enacts\n", "row 1: labeller must be a name"),
        (f"{HEADER}\n", "at least one row below the header"),
        ("", "at least one row below the header"),
    ],
)
def test_a_bad_file_is_refused_naming_file_and_row(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read(path)
    assert named in str(refused.value) and str(path) in str(refused.value)


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "missing.csv", binary):
        with pytest.raises(UsageError, match="labels must be a readable CSV file") as refused:
            read(path)
        assert str(path) in str(refused.value)
