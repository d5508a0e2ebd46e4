"""The built-in vignettes: balanced, interleaved, and free of their own answers."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

import steerkit
from steerkit.records import FOUNDATIONS

FILE = Path(steerkit.__file__).parent / "data" / "vignettes.jsonl"
ANSWER_STEMS = ("care", "caring", "fair", "loyal", "authorit", "sanctit", "sacred", "libert", "social", "norm", "wrong")
BLOCK = 2 * len(FOUNDATIONS)

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def of_foundation(rows: list[Row], foundation: str) -> list[Row]:
    return [row for row in rows if row["foundation"] == foundation]


def both_texts(rows: list[Row]) -> list[str]:
    return [row[field] for row in rows for field in ("text", "first_person")]


def test_every_line_has_exactly_the_four_fields(rows: list[Row]) -> None:
    assert {tuple(row) for row in rows} == {("id", "foundation", "text", "first_person")}


def test_every_foundation_has_22_vignettes(rows: list[Row]) -> None:
    assert Counter(row["foundation"] for row in rows) == dict.fromkeys(FOUNDATIONS, 22)


@pytest.mark.parametrize("foundation", FOUNDATIONS)
def test_ids_number_the_foundation_from_1_to_22(rows: list[Row], foundation: str) -> None:
    expected = [f"{foundation.lower()}-{number:02d}" for number in range(1, 23)]
    assert sorted(row["id"] for row in of_foundation(rows, foundation)) == expected


def test_texts_are_6_to_20_words(rows: list[Row]) -> None:
    assert [text for text in both_texts(rows) if not 6 <= len(text.split()) <= 20] == []


def test_third_person_starts_with_you_see_and_first_person_with_you(rows: list[Row]) -> None:
    assert [row["text"] for row in rows if not re.match(r"You see (a|an) \w", row["text"])] == []
    assert [row["first_person"] for row in rows if not re.match(r"You (?!see )\w", row["first_person"])] == []


def test_every_text_is_one_sentence(rows: list[Row]) -> None:
    assert [text for text in both_texts(rows) if not re.fullmatch(r"[^.!?;:]+\.", text)] == []


def test_first_person_leaves_no_third_person_actor(rows: list[Row]) -> None:
    assert [row["first_person"] for row in rows if re.search(r"\b(himself|herself)\b", row["first_person"])] == []


@pytest.mark.parametrize("stem", ANSWER_STEMS)
def test_no_text_contains_an_answer_word(rows: list[Row], stem: str) -> None:
    assert [text for text in both_texts(rows) if stem in text.casefold()] == []


def test_no_text_occurs_twice(rows: list[Row]) -> None:
    texts = [text.casefold() for text in both_texts(rows)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("foundation", FOUNDATIONS)
def test_each_vignette_of_a_foundation_has_its_own_verb(rows: list[Row], foundation: str) -> None:
    verbs = Counter(row["first_person"].split()[1] for row in of_foundation(rows, foundation))
    assert [verb for verb, count in verbs.items() if count > 1] == []


def test_every_block_of_14_holds_each_foundation_twice(rows: list[Row]) -> None:
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    assert all(Counter(row["foundation"] for row in block) == dict.fromkeys(FOUNDATIONS, 2) for block in blocks)


def test_blocks_are_shuffled_differently(rows: list[Row]) -> None:
    orders = [tuple(row["foundation"] for row in rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    assert len(set(orders)) == len(orders)
    assert all(list(order) != sorted(order, key=FOUNDATIONS.index) for order in orders)
