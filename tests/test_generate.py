"""Texts under edits: each row is its own, and what is measured beside it is what plain passes say."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_steered
import torch
from tiny_steered import ARCHITECTURES, LOOPING, STRENGTHS, direction, prompts, pushed

from steerkit.host import Edits, Generation, Host, Writing, generate, text_ids
from steerkit.host.forward import continuation_nll
from steerkit.host.sampling import Sampling
from steerkit.schedule import parse
from steerkit.stages.steer import edits as planned
from steerkit.stages.steer import uniform

SAMPLED = Sampling(1.0, 0.95)
SEEDS = (11, 12, 13, 14)
LENGTH = 8
FACTORS: dict[str, tuple[float, Callable[[int], float]]] = {
    "constant": (1.0, lambda _: 1.0),
    "linear": (1.0, lambda place: 1 - (place + 1) / LENGTH),
    "linear:0.3": (1.0, lambda place: 1 - 0.7 * (place + 1) / LENGTH),
    "exp:4": (1.0, lambda place: 0.5 ** ((place + 1) / 4)),
    "prompt-only": (1.0, lambda _: 0.0),
    "generated-only": (0.0, lambda _: 1.0),
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    return {name: tiny_steered.loaded(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    found: Host = hosts[request.param]
    return found


def written(host: Host, rows: list[int], steered: bool, schedule: str = "constant") -> list[Generation]:
    """Some of the four planned rows, in one batch."""
    edits = planned([(direction(), torch.tensor([STRENGTHS[row] for row in rows]))]) if steered else {}
    writing = Writing(SAMPLED, [SEEDS[row] for row in rows], parse(schedule))
    return generate(host, [prompts(host)[row] for row in rows], edits, LENGTH, writing)


def same(one: Generation, other: Generation) -> bool:
    close = pytest.approx(one.kl, abs=1e-4, rel=1e-3), pytest.approx(one.base_nll, abs=1e-4, rel=1e-4)
    return (one.tokens, one.ended) == (other.tokens, other.ended) and (other.kl, other.base_nll) == close


@pytest.mark.parametrize("steered", [False, True])
def test_a_row_is_the_same_in_any_company(host: Host, steered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (free,) = written(host, [1], steered)
    monkeypatch.setattr(host.model.generation_config, "eos_token_id", [257, free.tokens[4]])
    together = written(host, [0, 1, 2, 3], steered)
    assert together[1].ended and len({len(row.tokens) for row in together}) > 1
    for order in ([3, 2, 1, 0], [2, 0], [1]):
        for row, text in zip(order, written(host, order, steered), strict=True):
            assert same(together[row], text), (order, row)


def test_rows_read_in_several_chunks_are_the_same(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(host, [0, 1, 2, 3], True)
    monkeypatch.setattr(sys.modules["steerkit.host.generate"], "ROW_TOKENS", 60)
    assert all(map(same, whole, written(host, [0, 1, 2, 3], True)))


def test_the_seed_alone_tells_equal_rows_apart(hosts: dict[str, Host]) -> None:
    host = hosts["llama"]
    prompt = prompts(host)[0]
    edits = planned([(direction(), torch.full((3,), 0.5))])
    first, second, again = generate(host, [prompt] * 3, edits, LENGTH, Writing(SAMPLED, [1, 2, 1]))
    assert first.tokens == again.tokens and first.tokens != second.tokens


def test_loops_are_not_discouraged(tmp_path: Path) -> None:
    host = tiny_steered.planted(tmp_path)
    prompt = [*text_ids(host, "An"), LOOPING[0]]
    ids = torch.tensor([prompt])
    theirs = host.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30)
    for edits in ({}, uniform(direction(), 0.0)):
        for writing in (Writing(), Writing(SAMPLED, [5])):
            (text,) = generate(host, [prompt], edits, 30, writing)
            assert text.tokens == [*LOOPING[1:], LOOPING[0]] * 10 == theirs[0, len(prompt) :].tolist()


EVERY = {
    "llama": list(FACTORS),
    "gemma3_text": ["linear:0.3", "generated-only"],
    "granite": ["linear:0.3", "generated-only"],
    "qwen3": ["exp:4"],
    "mistral": ["linear"],
    "gpt_neox": ["prompt-only"],
}


@pytest.mark.parametrize(
    ("name", "schedule"), [(name, each) for name, schedules in EVERY.items() for each in schedules]
)
def test_every_schedule_is_what_teacher_forcing_says(hosts: dict[str, Host], name: str, schedule: str) -> None:
    host, (at_prompt, at) = hosts[name], FACTORS[schedule]
    for row, text in enumerate(written(host, [0, 1, 2], True, schedule)):
        prompt, said = prompts(host)[row], [*text.tokens, *([257] if text.ended else [])]
        factors = [at_prompt] * len(prompt) + [at(place) for place in range(len(said) - 1)]
        ids, read = [*prompt, *said[:-1]], slice(len(prompt) - 1, None)
        steered = pushed(host, ids, [STRENGTHS[row] * factor for factor in factors], direction())[read]
        base = pushed(host, ids, [0.0] * len(ids), direction())[read]
        kl, nll = (steered.exp() * (steered - base)).sum(-1), -base.gather(1, torch.tensor(said)[:, None])[:, 0]
        assert text.kl == pytest.approx(kl.tolist(), abs=1e-4, rel=1e-3)
        assert text.base_nll == pytest.approx(nll.tolist(), abs=1e-4, rel=1e-4)
        assert (text.kl[0] < 1e-5) == (schedule == "generated-only") and text.kl[1] > 1e-3


def test_strength_zero_beside_steered_rows_is_no_steering(host: Host) -> None:
    schedule = "exp:4"
    edits = planned([(direction(), torch.tensor([0.0, 1.0, 0.0, -1.0]))])
    beside = generate(host, prompts(host), edits, LENGTH, Writing(SAMPLED, SEEDS, parse(schedule)))
    plain = written(host, [0, 1, 2, 3], False)
    for row in (0, 2):
        assert beside[row].tokens == plain[row].tokens and max(beside[row].kl) < 1e-5
        assert beside[row].base_nll == pytest.approx(plain[row].base_nll, abs=1e-4)
    assert min(max(beside[row].kl) for row in (1, 3)) > 0.01


@pytest.mark.parametrize("edits", [{}, uniform(direction(), 0.8)], ids=["plain", "edited"])
def test_the_likelihood_of_continuations_is_that_of_plain_passes(
    host: Host, edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steerkit.host.forward.ROW_TOKENS", 70)
    texts = [text_ids(host, text, start=False) for text in ("and so on", "", "x", "a text behind it")]
    found = continuation_nll(host, prompts(host), texts, edits)
    assert [len(nll) for nll in found] == [len(text) for text in texts] and found[1] == []
    for prompt, text, nll in zip(prompts(host), texts, found, strict=True):
        ids = [*prompt, *text]
        said = pushed(host, ids, [0.8 if edits else 0.0] * len(ids), direction())[len(prompt) - 1 : -1]
        assert nll == pytest.approx([-float(said[i, token]) for i, token in enumerate(text)], abs=1e-4, rel=1e-4)


def test_no_continuations_have_no_likelihood(hosts: dict[str, Host]) -> None:
    host = hosts["llama"]
    assert continuation_nll(host, [], [], {}) == []
    assert continuation_nll(host, prompts(host), [[]] * 4, uniform(direction(), 1.0)) == [[]] * 4
