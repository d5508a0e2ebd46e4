import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerkit import inputs
from steerkit.errors import UsageError
from steerkit.inputs import Context, VignetteText, canonical_foundation, drawn, need, stratified
from steerkit.records import FOUNDATIONS

GOOD = {"id": "a", "foundation": "Care", "text": "You see a scene."}
READERS: list[Callable[[Path], object]] = [inputs.vignettes, inputs.contexts, inputs.dilemmas]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([], ["rows.jsonl", "empty"]),
        (["  ", ""], ["rows.jsonl", "empty"]),
        ([GOOD, '{"id": "b", '], ["rows.jsonl, line 2", "one JSON object"]),
        ([GOOD, "[1, 2]"], ["rows.jsonl, line 2", "one JSON object", "list"]),
        ([GOOD, "", {"id": "b", "foundation": "Care"}], ["rows.jsonl, line 3", "'text'", "None"]),
        ([GOOD, {"foundation": "Care", "text": "x"}], ["rows.jsonl, line 2", "'id'"]),
        ([GOOD, GOOD | {"id": "b", "text": "  "}], ["rows.jsonl, line 2", "'text'"]),
        ([GOOD, GOOD | {"id": "b", "text": 3}], ["rows.jsonl, line 2", "'text'", "3"]),
        ([GOOD, GOOD], ["rows.jsonl", "unique", "'a'"]),
    ],
)
def test_a_bad_file_is_a_usage_error_that_names_the_place(
    tmp_path: Path, read: Callable[[Path], object], rows: list[object], named: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        read(jsonl(tmp_path / "rows.jsonl", *rows))
    assert all(part in str(caught.value) for part in named), caught.value


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_a_usage_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(UsageError, match=r"rows.jsonl does not; give the path"):
        read(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_not_text_is_a_usage_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="UTF-8"):
        read(tmp_path / "rows.jsonl")


def test_an_unknown_foundation_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        inputs.vignettes(jsonl(tmp_path / "rows.jsonl", GOOD, GOOD | {"id": "b", "foundation": "Honour"}))
    assert "line 2" in str(caught.value) and "'Honour'" in str(caught.value)
    assert all(name in str(caught.value) for name in FOUNDATIONS)


def test_the_first_person_needs_its_field(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", GOOD)
    with pytest.raises(UsageError, match="line 1: field 'first_person'"):
        inputs.vignettes(file, "first")
    jsonl(file, GOOD | {"first_person": "You do it.", "more": [1]})
    assert inputs.vignettes(file, "first") == (VignetteText(id="a", foundation="Care", text="You do it."),)


def test_a_number_is_an_id(tmp_path: Path) -> None:
    assert inputs.contexts(jsonl(tmp_path / "rows.jsonl", GOOD | {"id": 7}))[0].id == "7"


@pytest.mark.parametrize(
    ("spelling", "foundation"),
    [
        ("Social Norms", "SocialNorms"),
        ("social_norms", "SocialNorms"),
        ("Not wrong", "SocialNorms"),
        ("Care (p, a)", "Care"),
        ("authority", "Authority"),
        ("Purity", "Sanctity"),
        ("Honour", None),
        ("", None),
    ],
)
def test_spellings_of_a_foundation(spelling: str, foundation: str | None) -> None:
    assert canonical_foundation(spelling) == foundation


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_every_canonical_name_stands_for_itself(name: str) -> None:
    assert canonical_foundation(name) == name


@given(st.integers(7, 140))
def test_a_stratified_choice_has_every_foundation_equally_often(count: int) -> None:
    rows = inputs.vignettes()
    chosen = stratified(rows, count)
    shares = [sum(row.foundation == name for row in chosen) for name in FOUNDATIONS]
    available = min(sum(row.foundation == name for row in rows) for name in FOUNDATIONS)
    if count <= 7 * available:
        assert len(chosen) == min(count, len(rows)) and max(shares) - min(shares) <= 1
    assert list(chosen) == [row for row in rows if row in set(chosen)]


def test_stratified_takes_all_or_at_least_one_each() -> None:
    rows = inputs.vignettes()
    assert stratified(rows, None) == stratified(rows, len(rows) + 1) == rows
    with pytest.raises(UsageError, match="at least 7, one per foundation, but got 6"):
        stratified(rows, 6)


@given(st.integers(2, 20), st.integers(0, 99))
def test_a_draw_is_deterministic_disjoint_and_complete(count: int, seed: int) -> None:
    rows = tuple(Context(id=str(i), text=f"message {i}") for i in range(20))
    taken, rest = drawn(rows, count, seed)
    assert (taken, rest) == drawn(rows, count, seed)
    assert len(taken) == count and {*taken} | {*rest} == {*rows} and not {*taken} & {*rest}


def test_a_draw_depends_on_its_seed_and_is_no_slice() -> None:
    rows = tuple(Context(id=str(i), text=f"message {i}") for i in range(20))
    assert drawn(rows, 10, 0)[0] not in (drawn(rows, 10, 1)[0], rows[:10])


@pytest.mark.parametrize("count", [1, 21])
def test_a_draw_of_too_many_or_too_few_says_how_many_there_are(count: int) -> None:
    rows = tuple(Context(id=str(i), text="message") for i in range(20))
    with pytest.raises(UsageError, match=f"between 2 and the 20 there are, but got {count}"):
        drawn(rows, count, 0)


def test_the_target_must_be_there_twice() -> None:
    rows = tuple(
        VignetteText(id=str(i), foundation=name, text="x") for i, name in enumerate(("Care", "Care", "Liberty"))
    )
    need(rows, "Care")
    for name, found in (("Liberty", 1), ("Authority", 0)):
        with pytest.raises(UsageError, match=f"target foundation {name}, but it has {found}"):
            need(rows, name)


def test_the_hash_follows_the_text() -> None:
    rows = inputs.contexts()
    assert inputs.text_hash(rows) == inputs.text_hash(inputs.contexts())
    assert inputs.text_hash(rows) != inputs.text_hash(rows[::-1])
