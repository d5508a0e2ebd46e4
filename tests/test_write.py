"""Texts become records: the right text to the right order, every list aligned, the pieces the whole text."""

import math
from dataclasses import replace
from typing import Any

import pytest
import tiny_steered
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_steered import direction

from steerkit.host import Generation, Host, Writing, chat_ids, generate
from steerkit.host.backtracking import Backtracking
from steerkit.host.sampling import Sampling
from steerkit.inputs import Dilemma
from steerkit.records import Arm, Backtrack, Completion, Record
from steerkit.schedule import parse
from steerkit.stages.steer import Fitted
from steerkit.stages.steer import edits as planned
from steerkit.stages.write import Order, ordered, pieces, write

SAMPLED = Sampling(1.5, 1.0)
LENGTH = 12
PROMPTS = [Dilemma(id=f"p{number}", text=text) for number, text in enumerate(("Why?", "Was nun, was tun?", "Что?"))]
ONE, OTHER = direction(7), direction(8)
ORDERS = [
    Order("base", PROMPTS[0], seed=1),
    Order("probe", PROMPTS[1], ONE, 0.5, 1.0, seed=2),
    Order("random", PROMPTS[0], OTHER, 1.0, 1.0, seed=3),
    Order("collected", PROMPTS[2], ONE, -1.0, 2.0, seed=4),
    Order("collected", PROMPTS[2], ONE, -1.0, 2.0, seed=5),
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return tiny_steered.loaded(tmp_path_factory.mktemp("llama"))


def records(host: Host, orders: list[Order], **options: Any) -> list[Record]:
    writing = Writing(SAMPLED, [order.seed or 0 for order in orders], **options)
    return write(host, orders, LENGTH, writing, "run", "unit")


def completions(found: list[Record]) -> list[Completion]:
    return [record for record in found if isinstance(record, Completion)]


def test_records_come_in_the_orders_order_with_what_was_ordered(host: Host) -> None:
    found = completions(records(host, ORDERS, schedule=parse("exp:4")))
    for order, text in zip(ORDERS, found, strict=True):
        assert (text.run_id, text.unit_id, text.schedule) == ("run", "unit", "exp:4")
        assert (text.role, text.prompt_id, text.prompt) == (order.role, order.prompt.id, order.prompt.text)
        assert (text.strength, text.dose, text.sample_seed) == (order.strength, order.dose, order.seed)
        assert text.direction_id == (order.fitted.direction_id if order.fitted else None) and text.arm_id is None


def test_each_text_is_written_as_its_own_order_says(host: Host) -> None:
    for order, text in zip(ORDERS, completions(records(host, ORDERS)), strict=True):
        edits = planned([(order.fitted, torch.tensor([order.strength]))]) if order.fitted else {}
        alone = alone_written(host, order, edits)
        assert (text.token_ids, text.ended, text.tokens) == (alone.tokens, alone.ended, len(alone.tokens))
        assert text.token_kl == pytest.approx(alone.kl, abs=1e-4, rel=1e-3)
        assert text.token_nll == pytest.approx(alone.base_nll, abs=1e-4)
        assert (max(text.token_kl) > 0.01) == (order.fitted is not None)


def alone_written(host: Host, order: Order, edits: Any) -> Generation:
    (text,) = generate(host, [chat_ids(host, order.prompt.text)], edits, LENGTH, Writing(SAMPLED, [order.seed or 0]))
    return text


def test_lists_are_aligned_and_figures_follow_from_them(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    free = completions(records(host, ORDERS))
    monkeypatch.setattr(host.model.generation_config, "eos_token_id", [257, (free[0].token_ids or [])[3]])
    found = completions(records(host, ORDERS))
    assert found[0].ended and not all(text.ended for text in found)
    for text in found:
        nll, ids = text.token_nll or [], text.token_ids or []
        assert len(ids) == len(text.pieces or []) == text.tokens <= LENGTH
        assert len(text.token_kl) == len(nll) == text.tokens + text.ended
        assert "".join(text.pieces or []) == text.text == host.tokenizer.decode(ids, skip_special_tokens=True)
        assert text.perplexity == pytest.approx(math.exp(sum(nll) / len(nll)))
        quarter = nll[-max(1, len(nll) // 4) :]
        assert text.tail_perplexity == pytest.approx(math.exp(sum(quarter) / len(quarter)))


def test_names_and_texts_do_not_depend_on_the_batch(host: Host) -> None:
    first = {text.completion_id: text.text for text in completions(records(host, ORDERS))}
    assert len(first) == len(ORDERS)
    backwards = [text for order in reversed(ORDERS) for text in completions(records(host, [order]))]
    assert [(text.completion_id, text.text) for text in backwards] == list(reversed(first.items()))


@pytest.mark.parametrize(
    "change",
    [
        {"role": "collected"},
        {"prompt": PROMPTS[0]},
        {"fitted": OTHER},
        {"dose": 1.5},
        {"seed": 9},
        {"arm_id": "arm"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_an_order_is_in_its_name(host: Host, change: dict[str, Any]) -> None:
    one, other = completions(records(host, [ORDERS[1], replace(ORDERS[1], **change)]))
    assert one.completion_id != other.completion_id


def test_the_run_is_in_the_name_and_the_unit_is_not(host: Host) -> None:
    names = [
        completions(write(host, ORDERS[:1], 2, Writing(), run, unit))[0].completion_id
        for run, unit in (("run", "unit"), ("run", "other"), ("other", "unit"))
    ]
    assert names[0] == names[1] != names[2]


def test_rewindings_stand_behind_their_own_text(host: Host) -> None:
    always = Backtracking(kl=0.01, window=2, rewind=2, retries=2)
    found = records(host, ORDERS, backtracking=always)
    behind: dict[str, list[Backtrack]] = {}
    for record in found:
        if isinstance(record, Completion):
            behind[record.completion_id] = []
        if isinstance(record, Backtrack):
            assert record.completion_id == list(behind)[-1]
            behind[record.completion_id].append(record)
    for order, text in zip(ORDERS, completions(found), strict=True):
        retries = behind[text.completion_id]
        # One text ends by itself with its first token.
        assert [retry.attempt for retry in retries] == ([1, 2] if order.fitted and text.tokens > 1 else [])
        assert all((r.run_id, r.unit_id, r.why) == ("run", "unit", "kl") and r.value > 0.01 for r in retries)
        assert all((r.at_token, r.rewound_to) == (2, 1) for r in retries)
        assert [r.strength_before for r in retries] == [order.strength, 0.5 * order.strength][: len(retries)]
        assert [r.strength_after for r in retries] == [0.5 * order.strength, 0.0][: len(retries)]
        assert text.strength == order.strength and "".join(text.pieces or []) == text.text
    assert sum(map(len, behind.values())) >= 4


def test_gate_one_orders_a_greedy_text_per_arm_and_prompt() -> None:
    arms = [arm("base", 0.0), arm("steered", 1.5)]
    found = ordered(ONE, arms, PROMPTS[:2])
    assert [(o.arm_id, o.prompt.id, o.strength, o.fitted) for o in found] == [
        ("base", "p0", 0.0, None),
        ("base", "p1", 0.0, None),
        ("steered", "p0", 1.5, ONE),
        ("steered", "p1", 1.5, ONE),
    ]
    assert all((order.role, order.seed) == ("greedy", None) for order in found)


def arm(kind: Any, strength: float) -> Arm:
    return Arm(
        run_id="run",
        unit_id="unit",
        arm_id=kind,
        kind=kind,
        method="svd",
        direction_id=None,
        strength=strength,
        dose=strength,
        eval_hash="",
        instrument="",
        system_prompt=None,
    )


def test_greedy_texts_without_steering_have_no_divergence(host: Host) -> None:
    orders = [Order("greedy", prompt) for prompt in PROMPTS]
    found = completions(write(host, orders, 4, Writing(), "run", "unit"))
    assert all(text.token_kl == [0.0] * len(text.token_kl) and text.direction_id is None for text in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", ["a", "b"]),
        ("é!", ["", "é", "!"]),
        ("Я!", ["", "Я", "!"]),
        ("a🙂b", ["a", "", "", "", "🙂", "b"]),
        ("🙂🙂", ["", "", "", "🙂", "", "", "", "🙂"]),
        ("", []),
    ],
)
def test_a_character_belongs_to_its_last_token(host: Host, text: str, expected: list[str]) -> None:
    assert pieces(host, list(host.tokenizer(text, add_special_tokens=False)["input_ids"])) == expected


@given(
    st.one_of(
        st.lists(st.integers(0, 258), max_size=25),
        st.text(st.sampled_from("aя🙂\ufffd e\u0301"), max_size=8),
    )
)
def test_pieces_are_the_text_whatever_the_tokens(host: Host, said: list[int] | str) -> None:
    tokens = said if isinstance(said, list) else host.tokenizer(said, add_special_tokens=False)["input_ids"]
    found = pieces(host, tokens)
    assert len(found) == len(tokens)
    assert "".join(found) == host.tokenizer.decode(tokens, skip_special_tokens=True)


class _Tidy:
    """A tokenizer of words whose text puts no space in front of punctuation, as some real ones do."""

    words = ("Yes", "no", ".", "!", "it", "'", "s")

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        text = " ".join(self.words[token] for token in tokens)
        return text.replace(" .", ".").replace(" !", "!").replace(" ' s", "'s")


@given(st.lists(st.integers(0, 6), max_size=12))
def test_pieces_are_the_text_where_a_token_changes_what_stands_before_it(host: Host, tokens: list[int]) -> None:
    tidy = replace(host, tokenizer=_Tidy())
    found = pieces(tidy, tokens)
    assert len(found) == len(tokens) and "".join(found) == _Tidy().decode(tokens, skip_special_tokens=True)


def test_what_a_token_changes_belongs_to_it(host: Host) -> None:
    tidy = replace(host, tokenizer=_Tidy())
    assert pieces(tidy, [4, 5, 6, 1, 2]) == ["it", "", "'s", " no", "."]


def test_no_direction_is_mixed_up(host: Host) -> None:
    """Two directions of one batch act on their own rows alone."""
    pair: list[tuple[Fitted, float]] = [(ONE, 1.0), (OTHER, 1.0)]
    orders = [Order("probe", PROMPTS[0], fitted, strength, 1.0, seed=6) for fitted, strength in pair]
    both = completions(records(host, orders))
    single = [completions(records(host, [order]))[0] for order in orders]
    assert [text.token_ids for text in both] == [text.token_ids for text in single]
    assert both[0].token_kl[0] != pytest.approx(both[1].token_kl[0], rel=0.01)
