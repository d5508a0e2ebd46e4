"""The hand-written prompts in `steerkit/data`: counts, lengths, variety, mixing and no near-duplicates.

Lengths are counted in words (runs of characters between spaces).
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import pytest

DATA = Path(__file__).parents[1] / "steerkit" / "data"
LARGEST_SHARED_FRACTION = 0.6
MORAL_CUES = {
    "authority": r"boss|ordere?d? (me|us)|an order|obe(y|dience)|lawful|a law|inspector|skipper|forbid|rules",
    "care": (
        r"stranger|beg(ging|ged)|lonely|exhausted|faint|kind(er)?\b|nurse|patient|neglect"
        r"|feed her|pay cuts|for money"
    ),
    "fairness": r"\bfair(ly)?\b|unfair|equal|credit|cheat|queue|applicants|kidney|salary",
    "honesty": (
        r"honest answer|\blie to\b|white lie|lying|truth|promise|accusing|refused to sign"
        r"|leaked|plain text|not to tell"
    ),
    "liberty": (
        r"freedom|free people|compulsory|refuses|parental lock|own land|interfere|vote on"
        r"|objection|protect adults"
    ),
    "loyalty": r"loyal|oath|patriotism|flag|anthem|traitor|(oldest|best|close) friend|gave him my word|joined the army",
    "tradition": r"tradition|custom\b|vows?\b|faith|religion|prayer|church|cathedral|forbidden foods|dead\b|old master",
}
"""Words by which a context in which a person's values show is recognised: a rough lower count, by moral axis."""


def read(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


CONTEXTS = read("contexts.jsonl")
DILEMMAS = read("dilemmas.jsonl")
PRESSURE = [row for row in DILEMMAS if row["kind"] == "pressure"]
MUNDANE = [row for row in DILEMMAS if row["kind"] == "mundane"]


def texts(rows: Iterable[dict[str, str]]) -> list[str]:
    return [row["text"] for row in rows]


def word_counts(rows: Iterable[dict[str, str]]) -> list[int]:
    return [len(text.split()) for text in texts(rows)]


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def near_duplicates(candidates: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs that share more than 60% of the shorter text's word trigrams."""
    known = [(text, trigrams(text)) for text in candidates]
    return [
        (left, right)
        for (left, a), (right, b) in itertools.combinations(known, 2)
        if len(a & b) > LARGEST_SHARED_FRACTION * min(len(a), len(b))
    ]


def axes_of(text: str) -> set[str]:
    return {axis for axis, pattern in MORAL_CUES.items() if re.search(pattern, text, re.IGNORECASE)}


@pytest.mark.parametrize(
    ("rows", "keys", "ids"),
    [
        (CONTEXTS, {"id", "category", "text"}, [f"c{n:03d}" for n in range(1, 321)]),
        (DILEMMAS, {"id", "kind", "text"}, [f"d{n:02d}" for n in range(1, 85)]),
    ],
    ids=["contexts", "dilemmas"],
)
def test_every_row_has_the_same_fields_and_a_running_id(
    rows: list[dict[str, str]], keys: set[str], ids: list[str]
) -> None:
    assert [row["id"] for row in rows] == ids
    assert all(set(row) == keys for row in rows)
    assert all(value and value == " ".join(value.split()) for row in rows for value in row.values())


def test_contexts_spread_over_many_categories() -> None:
    per_category = Counter(row["category"] for row in CONTEXTS)
    assert len(per_category) >= 12
    assert min(per_category.values()) >= 10
    assert max(per_category.values()) <= len(CONTEXTS) / 8


def test_context_lengths_vary_around_sixteen_words() -> None:
    lengths = word_counts(CONTEXTS)
    assert min(lengths) >= 5 and max(lengths) <= 45
    assert 14 <= mean(lengths) <= 18
    assert min(lengths) < 10 and max(lengths) > 30


def test_context_openings_vary() -> None:
    first_words = Counter(text.split()[0].lower() for text in texts(CONTEXTS))
    first_two_words = Counter(tuple(text.lower().split()[:2]) for text in texts(CONTEXTS))
    assert len(first_words) >= 100
    assert max(first_words.values()) <= len(CONTEXTS) / 20
    assert max(first_two_words.values()) <= 10


def test_every_window_of_contexts_is_mixed() -> None:
    categories = [row["category"] for row in CONTEXTS]
    for start in range(len(categories) - 31):
        assert len(set(categories[start : start + 32])) >= 8, f"lines {start + 1} to {start + 32}"
    assert all(left != right for left, right in itertools.pairwise(categories))


def test_about_a_quarter_of_the_contexts_touch_values_on_every_axis() -> None:
    touched = [axes_of(text) for text in texts(CONTEXTS)]
    per_axis = Counter(axis for axes in touched for axis in axes)
    assert 0.2 <= mean(bool(axes) for axes in touched) <= 0.4
    assert set(per_axis) == set(MORAL_CUES)
    assert min(per_axis.values()) >= 6, per_axis


def test_dilemma_counts() -> None:
    assert (len(PRESSURE), len(MUNDANE), len(DILEMMAS)) == (64, 20, 84)


@pytest.mark.parametrize("rows", [PRESSURE, MUNDANE], ids=["pressure", "mundane"])
def test_dilemma_form(rows: list[dict[str, str]]) -> None:
    lengths = word_counts(rows)
    assert min(lengths) >= 20 and max(lengths) <= 60
    assert all(text.endswith("?") for text in texts(rows))
    questions = [re.split(r"[.!?]\s", text)[-1] for text in texts(rows)]
    opens = r"^(What|How|Where)\b"
    assert [question for question in questions if not re.search(opens, question)] == []
    assert len(set(questions)) >= len(rows) / 2


def test_mundane_questions_are_as_long_as_the_pressure_ones() -> None:
    assert abs(mean(word_counts(PRESSURE)) - mean(word_counts(MUNDANE))) <= 3


def test_dilemma_kinds_are_mixed() -> None:
    kinds = [row["kind"] for row in DILEMMAS]
    longest_run = max(len(list(run)) for _, run in itertools.groupby(kinds))
    assert longest_run <= 10
    assert set(kinds[:12]) == {"pressure", "mundane"} == set(kinds[-12:])


def test_no_text_repeats_or_nearly_repeats_another() -> None:
    everything = texts(CONTEXTS) + texts(DILEMMAS)
    assert len({text.lower() for text in everything}) == len(everything)
    assert near_duplicates(everything) == []


def test_a_planted_near_duplicate_is_found() -> None:
    original = DILEMMAS[0]["text"]
    planted = original.replace(original.split()[0], "Yesterday", 1)
    assert near_duplicates([*texts(CONTEXTS), original, planted]) == [(original, planted)]
