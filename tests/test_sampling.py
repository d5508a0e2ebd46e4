"""What is drawn follows the distribution it is drawn from, and each row's draw is its own."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from steerkit.host.sampling import FIRST_LOOK, Sampling, draw, uniforms

LOGITS = (1.0, 3.0, 0.0, 2.5, -1.0, 2.0, 0.5)
LAST = 1 - 2.0**-53
"""The largest number that a row can get."""


def drawn(logits: Tensor, sampling: Sampling, seed: int = 0, count: int = 20_000) -> Tensor:
    """How often each token is drawn, `[vocab]`."""
    tokens = draw(logits.log_softmax(-1).expand(count, -1), sampling, torch.tensor(uniforms(seed, count)))
    return tokens.bincount(minlength=len(logits))


def nucleus(chance: Tensor, top_p: float) -> set[int]:
    """By the definition: the fewest likeliest tokens that reach `top_p`."""
    inside: set[int] = set()
    for token in chance.double().argsort(descending=True, stable=True).tolist():
        if sum(float(chance[t]) for t in inside) >= top_p:
            break
        inside.add(token)
    return inside


def one(logits: Tensor, sampling: Sampling, uniform: float) -> int:
    return int(draw(logits.log_softmax(-1)[None], sampling, torch.tensor([uniform], dtype=torch.float64)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature: float, top_p: float) -> None:
    logits = torch.tensor(LOGITS)
    chance = (logits / temperature).softmax(-1)
    inside = sorted(nucleus(chance, top_p))
    counts = drawn(logits, Sampling(temperature, top_p))
    assert set(counts.nonzero()[:, 0].tolist()) == set(inside)
    expected = chance[inside].double() / chance[inside].double().sum() * counts.sum()
    assert len(inside) == 1 or chisquare(counts[inside].numpy(), expected.numpy()).pvalue > 1e-3


def test_without_temperature_or_numbers_the_likeliest_token_is_taken() -> None:
    logprobs = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    for got in (draw(logprobs, Sampling(), torch.full((5,), LAST)), draw(logprobs, Sampling(1.0), None)):
        assert torch.equal(got, logprobs.argmax(-1))


def test_a_tiny_nucleus_is_greedy() -> None:
    assert drawn(torch.tensor(LOGITS), Sampling(2.0, 1e-6), count=500).tolist() == [0, 500, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("size", [FIRST_LOOK - 1, FIRST_LOOK, FIRST_LOOK + 1, 1000])
def test_a_nucleus_of_everything_reaches_every_token(size: int) -> None:
    places = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    tokens = draw(torch.zeros(size, size), Sampling(1.0, 1.0), places)
    assert sorted(tokens.tolist()) == list(range(size))


def test_a_nucleus_wider_than_the_first_look_is_as_wide_as_it_must_be() -> None:
    logits = -torch.arange(1000) * 1e-4
    tokens = draw(logits.log_softmax(-1).expand(5000, -1), Sampling(1.0, 0.6), torch.tensor(uniforms(1, 5000)))
    inside = nucleus(logits.softmax(-1), 0.6)
    assert FIRST_LOOK < len(inside) < 620
    assert set(tokens.tolist()) <= inside and max(tokens.tolist()) > 0.95 * len(inside)


def test_what_other_rows_need_does_not_move_a_row() -> None:
    """Coarse logits have many ties, which topk and sort order differently."""
    random = torch.Generator().manual_seed(0)
    narrow = (torch.randn(40, 2000, generator=random) * 4).round() / 2
    narrow[:, :30] += 8
    numbers = torch.tensor(uniforms(2, 40))
    alone = draw(narrow.log_softmax(-1), Sampling(1.0, 0.95), numbers)
    wide = torch.cat([narrow, torch.zeros(1, 2000)])
    beside = draw(wide.log_softmax(-1), Sampling(1.0, 0.95), torch.cat([numbers, numbers[:1]]))
    assert torch.equal(alone, beside[:40])


def test_a_token_begins_where_the_one_before_it_ends() -> None:
    flat = torch.zeros(2)
    below, at = one(flat, Sampling(1.0), 0.5 - 1e-9), one(flat, Sampling(1.0), 0.5)
    assert one(flat, Sampling(1.0), 0.0) == below != at == one(flat, Sampling(1.0), LAST)


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=12),
    temperature=st.floats(0.1, 3),
    top_p=st.floats(0.01, 1),
    uniform=st.one_of(st.sampled_from([0.0, 0.999999999, LAST]), st.floats(0, LAST)),
)
def test_no_number_draws_from_outside_the_nucleus(
    logits: list[float], temperature: float, top_p: float, uniform: float
) -> None:
    values = torch.tensor(logits)
    chance = (values.log_softmax(-1) / temperature).softmax(-1)
    token = one(values, Sampling(temperature, top_p), uniform)
    likelier = chance[chance > chance[token]].double().sum()
    assert likelier < top_p + 1e-6 and chance[token] > 0


@given(st.lists(st.floats(0, LAST), min_size=2, max_size=20).map(sorted))
def test_a_larger_number_draws_a_token_that_is_no_likelier(numbers: list[float]) -> None:
    logits = torch.tensor(LOGITS)
    likely = [LOGITS[one(logits, Sampling(1.0, 0.95), number)] for number in numbers]
    assert all(first >= second for first, second in pairwise(likely))


@given(seed=st.integers(0, 2**40), count=st.integers(1, 40), more=st.integers(0, 200))
def test_a_rows_numbers_depend_on_its_seed_alone(seed: int, count: int, more: int) -> None:
    numbers = uniforms(seed, count)
    assert uniforms(seed, count + more)[:count] == numbers and all(0 <= number < 1 for number in numbers)
    assert uniforms(seed + 1, count) != numbers
