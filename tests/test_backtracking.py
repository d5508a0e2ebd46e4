"""A text that breaks is rewound and goes on as if what was taken back had never been written."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import tiny_steered
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_steered import LOOPING, STRENGTHS, direction, fitted, prompts, pushed
from torch import Tensor

from steerkit.errors import UsageError
from steerkit.host import Host, Writing, generate, load
from steerkit.host.backtracking import Backtracking, Retry, Watch
from steerkit.host.sampling import Sampling, draw, uniforms
from steerkit.schedule import Schedule, parse
from steerkit.stages.steer import edits as planned
from steerkit.stages.steer import uniform

RULES = Backtracking(kl=1.0, window=3, distinct=0.5, tail=6, rewind=4, factor=0.5, retries=3)
DIFFERENT = list(range(100))
QUIET, LOUD = [0.5] * 100, [2.0] * 100
SAMPLED = Sampling(1.0, 0.95)
SEEDS = (11, 12, 13, 14)
LENGTH = 14
WITHOUT_WINDOW = ("llama", "granite", "gpt_neox")
WIDE = ("mistral", "gemma3_text")
"""Architectures with a sliding window, which is made wide enough here."""

# The watch alone: numbers in, a rewinding or none out.


@pytest.mark.parametrize(("last", "breaks"), [(2.1, True), (1.9, False), (2.0, False), (math.nan, True)])
def test_the_mean_divergence_over_the_window_breaks_a_text(last: float, breaks: bool) -> None:
    kl = [9.0, 0.5, 0.5, last]
    found = Watch(RULES).broken(DIFFERENT[:4], kl)
    assert (found is not None) == breaks
    if found:
        assert found.why == "kl" and found.value == pytest.approx((1 + last) / 3, nan_ok=True)


def test_before_the_window_is_full_nothing_breaks() -> None:
    assert Watch(RULES).broken(DIFFERENT[:2], [99.0, math.nan]) is None
    assert Watch(RULES).broken([7] * 5, QUIET[:5]) is None


@pytest.mark.parametrize(
    ("tail", "value"), [([7] * 6, 1 / 5), ([7, 8] * 3, 2 / 5), ([7, 8, 9] * 2, None), ([1, 2, 3, 3, 3, 3], None)]
)
def test_a_repeating_tail_breaks_a_text(tail: list[int], value: float | None) -> None:
    found = Watch(RULES).broken([*DIFFERENT[20:50], *tail], QUIET[:36])
    assert (found and (found.why, found.value)) == (value and ("loop", value))


def test_a_loop_without_divergence_is_the_models_own() -> None:
    assert Watch(RULES).broken([7] * 30, [1e-6] * 30) is None
    assert Watch(RULES).broken([7] * 30, [0.3] + [1e-6] * 29) is not None


def test_each_retry_of_a_stretch_takes_the_fraction_again_and_the_last_takes_all() -> None:
    watch = Watch(RULES)
    found = [watch.broken(DIFFERENT[:count], LOUD[:count]) for count in (10, 9, 8, 7)]
    assert found == [
        Retry(10, 6, "kl", 2.0, 1.0, 0.5),
        Retry(9, 5, "kl", 2.0, 0.5, 0.25),
        Retry(8, 4, "kl", 2.0, 0.25, 0.0),
        None,
    ]
    assert watch.retries == found[:3]
    # The longest of the stretches that were to be replayed gently is.
    assert [watch.strength(place) for place in (0, 12, 13, 50)] == [0.0, 0.0, 1.0, 1.0]


def test_behind_the_stretch_the_strength_is_whole_and_a_new_stretch_begins() -> None:
    watch = Watch(RULES)
    watch.broken(DIFFERENT[:10], LOUD[:10])
    assert [watch.strength(place) for place in (6, 12, 13)] == [0.5, 0.5, 1.0]
    # The newest of 14 tokens was still written at half strength, the newest of 15 was not.
    assert Watch(RULES, 0.5, 13).broken(DIFFERENT[:14], LOUD) == Retry(14, 10, "kl", 2.0, 0.5, 0.25)
    assert watch.broken(DIFFERENT[:15], LOUD) == Retry(15, 11, "kl", 2.0, 1.0, 0.5)
    assert [watch.strength(place) for place in (11, 17, 18)] == [0.5, 0.5, 1.0]


def test_the_only_retry_takes_all_the_strength_and_the_first_token_stays() -> None:
    watch = Watch(Backtracking(window=1, rewind=50, retries=1))
    assert watch.broken(DIFFERENT[:3], LOUD[:3]) == Retry(3, 1, "kl", 2.0, 1.0, 0.0)
    assert watch.broken(DIFFERENT[:3], LOUD[:3]) is None
    assert Watch(Backtracking(retries=0)).broken(DIFFERENT, LOUD) is None


@given(
    rules=st.builds(
        Backtracking,
        kl=st.just(1.0),
        window=st.integers(1, 6),
        tail=st.integers(2, 8),
        rewind=st.integers(0, 9),
        retries=st.integers(0, 4),
    ),
    said=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 2.0, math.nan])), min_size=60, max_size=60),
    length=st.integers(1, 20),
)
def test_whatever_happens_a_text_ends(rules: Backtracking, said: list[tuple[int, float]], length: int) -> None:
    watch, tokens, kl, steps = Watch(rules), [], [], 0
    while len(tokens) < length:
        token, divergence = said[steps % 60]
        tokens.append(token)
        kl.append(divergence)
        steps += 1
        retry = watch.broken(tokens, kl)
        assert 0 <= watch.strength(len(tokens)) <= 1
        if retry:
            assert retry.at == len(tokens) and max(1, retry.at - rules.rewind) == retry.to <= retry.at
            assert retry.after in (0.0, 0.5 * retry.before) and watch.strength(retry.to - 1) == retry.after
            del tokens[retry.to :], kl[retry.to :]
    assert len(watch.retries) <= rules.retries and steps <= length + rules.rewind * rules.retries
    assert [retry.after for retry in watch.retries[rules.retries - 1 :]] == [0.0] * (
        len(watch.retries) == rules.retries > 0
    )


# The writing: a planted break against plain passes without a cache.


@dataclass
class Scripted(Watch):
    """A watch that sees a break the first time the text is as long as each planned number."""

    plan: list[int] = field(default_factory=list)

    def _seen(self, tokens: Any, kl: Any) -> tuple[Literal["kl", "loop"], float] | None:
        if len(tokens) not in self.plan:
            return None
        self.plan.remove(len(tokens))
        return "kl", 9.0


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[int]]], None]:
    """Plant at which lengths each row breaks."""

    def plant(lengths: list[list[int]]) -> None:
        rows = iter(lengths)
        watch = lambda rules: Scripted(rules, plan=list(next(rows)))  # noqa: E731
        monkeypatch.setattr(sys.modules["steerkit.host.generate"], "Watch", watch)

    return plant


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    found = {}
    for name in (*WITHOUT_WINDOW, *WIDE):
        folder = tmp_path_factory.mktemp(name)
        found[name] = tiny_steered.loaded(folder, name)
        if name in WIDE:
            found[f"narrow {name}"], found[name] = found[name], widened(folder, 90)
    return found


def widened(folder: Path, window: int) -> Host:
    """The same weights with a wider sliding window."""
    wide = shutil.copytree(folder, folder.with_name(f"{folder.name}-wide"))
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"sliding_window": window}))
    return load(str(wide), "float32", "cpu")


@dataclass
class Plain:
    """One row, written by whole passes over what is kept of it; each token keeps the factor it was fed with."""

    host: Host
    prompt: list[int]
    strength: float
    schedule: Schedule
    tokens: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)

    def logprobs(self) -> tuple[Tensor, Tensor]:
        """Of the next token, steered and unsteered."""
        ids = [*self.prompt, *self.tokens]
        factors = [self.schedule.prompt()] * len(self.prompt) + self.factors
        steered = pushed(self.host, ids, [self.strength * factor for factor in factors], direction())
        return steered[-1], pushed(self.host, ids, [0.0] * len(ids), direction())[-1]

    def write(self, seed: int, breaks: list[int]) -> None:
        watch, numbers = Scripted(RULES, plan=list(breaks)), iter(uniforms(seed, 100))
        while len(self.tokens) < LENGTH:
            steered, base = self.logprobs()
            token = int(draw(steered[None], SAMPLED, torch.tensor([next(numbers)])))
            self.kl.append(float((steered.exp() * (steered - base)).sum()))
            self.nll.append(-float(base[token]))
            if token == 257:
                return
            self.tokens.append(token)
            retry = watch.broken(self.tokens, self.kl)
            if retry:
                # The last token that stays is fed anew, with less strength.
                del self.tokens[retry.to :], self.kl[retry.to :], self.nll[retry.to :], self.factors[retry.to - 1 :]
            place = len(self.tokens) - 1
            self.factors.append(self.schedule.generated(place, LENGTH) * watch.strength(place))


@pytest.mark.parametrize(
    ("name", "schedule"), [*((name, "constant") for name in (*WITHOUT_WINDOW, *WIDE)), ("llama", "linear:0.3")]
)
def test_a_rewound_text_is_that_of_plain_passes_over_what_was_kept(
    hosts: dict[str, Host], name: str, schedule: str, plan: Callable[[list[list[int]]], None]
) -> None:
    host, rows = hosts[name], prompts(hosts[name])
    breaks: list[list[int]] = [[6, 7, 12], [], [2, LENGTH], [1, 13]]
    plan(breaks)
    edits = planned([(direction(), torch.tensor(STRENGTHS))])
    found = generate(host, rows, edits, LENGTH, Writing(SAMPLED, SEEDS, parse(schedule), RULES))
    for row in (0, 2) if name == "llama" else (0,):
        text, plain = found[row], Plain(host, rows[row], STRENGTHS[row], parse(schedule))
        plain.write(SEEDS[row], breaks[row])
        assert text.tokens == plain.tokens
        assert text.kl == pytest.approx(plain.kl, abs=1e-4, rel=1e-3)
        assert text.base_nll == pytest.approx(plain.nll, abs=1e-4, rel=1e-4)
    assert all(len(text.kl) == len(text.base_nll) == len(text.tokens) + text.ended for text in found)
    steps = [[(r.at, r.to, r.before, r.after) for r in text.retries] for text in found]
    assert steps[0] == [(6, 2, 1.0, 0.5), (7, 3, 0.5, 0.25), (12, 8, 1.0, 0.0)] and steps[1] == []
    assert steps[2] == [(2, 1, 1.0, 0.5), (LENGTH, LENGTH - 4, 1.0, 0.5)]
    assert steps[3] == [(1, 1, 1.0, 0.5), (13, 9, 1.0, 0.5)]


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_what_comes_next_is_what_a_fresh_pass_says(
    hosts: dict[str, Host], name: str, plan: Callable[[list[list[int]]], None]
) -> None:
    host, rows = hosts[name], prompts(hosts[name])[:2]
    plan([[6], []])
    edits = planned([(direction(), torch.tensor(STRENGTHS[:2]))])
    module: Any = sys.modules["steerkit.host.generate"]
    running = module._Running(host, rows, edits, LENGTH, Writing(backtracking=RULES))
    while not running.done[0].retries:
        running.step()
    assert [len(text.tokens) for text in running.done] == [2, 6]
    for row, factors in enumerate(([1.0, 0.5], [1.0] * 6)):
        plain = Plain(host, rows[row], STRENGTHS[row], Schedule(), running.done[row].tokens, factors)
        said = running.state.logprobs[[row, row + 2]]
        torch.testing.assert_close(said, torch.stack(plain.logprobs()), atol=1e-4, rtol=0)


def test_one_rows_breaks_change_no_other_row(hosts: dict[str, Host], plan: Callable[[list[list[int]]], None]) -> None:
    host, edits = hosts["llama"], planned([(direction(), torch.tensor(STRENGTHS))])
    plain = generate(host, prompts(host), edits, LENGTH, Writing(SAMPLED, SEEDS))
    plan([[], [5, 6, 9], [], []])
    found = generate(host, prompts(host), edits, LENGTH, Writing(SAMPLED, SEEDS, backtracking=RULES))
    assert found[1].tokens[:1] == plain[1].tokens[:1] and found[1].tokens != plain[1].tokens
    assert len(found[1].retries) == 3
    for row in (0, 2, 3):
        assert (found[row].tokens, found[row].retries) == (plain[row].tokens, [])
        assert found[row].kl == pytest.approx(plain[row].kl, abs=1e-4, rel=1e-3)


def test_a_watch_that_sees_nothing_changes_nothing(hosts: dict[str, Host]) -> None:
    host, edits = hosts["llama"], planned([(direction(), torch.tensor(STRENGTHS))])
    calm = Backtracking(kl=1e9, distinct=0.0)
    plain, watched = (
        generate(host, prompts(host), edits, LENGTH, Writing(SAMPLED, SEEDS, backtracking=rules))
        for rules in (None, calm)
    )
    assert [text.tokens for text in plain] == [text.tokens for text in watched]
    assert not any(text.retries for text in watched)


def test_with_all_retries_used_the_text_goes_on(hosts: dict[str, Host]) -> None:
    host, always = hosts["llama"], Backtracking(kl=0.0, window=2, rewind=1, retries=2)
    (text,) = generate(host, prompts(host)[:1], uniform(direction(), 1.0), LENGTH, Writing(backtracking=always))
    assert [(r.at, r.to, r.before, r.after) for r in text.retries] == [(2, 1, 1.0, 0.5), (2, 1, 0.5, 0.0)]
    assert text.ended or len(text.tokens) == LENGTH
    assert all(retry.value > 0 for retry in text.retries)


def test_without_edits_nothing_is_rewound(hosts: dict[str, Host]) -> None:
    host, always = hosts["llama"], Backtracking(kl=-1.0, window=1, distinct=2.0, tail=2)
    plain = generate(host, prompts(host), {}, LENGTH, Writing(SAMPLED, SEEDS))
    found = generate(host, prompts(host), {}, LENGTH, Writing(SAMPLED, SEEDS, backtracking=always))
    assert [(text.tokens, text.retries) for text in found] == [(text.tokens, []) for text in plain]


def test_a_planted_loop_is_left_at_half_strength(tmp_path: Path) -> None:
    """At full strength every token is followed by `stuck`; at half strength by the next one."""
    host = tiny_steered.planted(tmp_path)
    embedding = host.model.model.embed_tokens.weight
    before, stuck = 120, 121
    edits = planned([(fitted({2: 1.4 * embedding[before].clone()}), torch.tensor([1.0, 0.0]))])
    rules = Backtracking(kl=1e9, window=4, distinct=0.5, tail=6, rewind=4, retries=2)
    rows = [[256, 10], [256, LOOPING[0]]]
    found, own = generate(host, rows, edits, 20, Writing(backtracking=rules))
    assert generate(host, rows[:1], edits, 20)[0].tokens == [stuck] * 20
    assert [(r.at, r.to, r.why, r.before, r.after) for r in found.retries] == [
        (6, 2, "loop", 1.0, 0.5),
        (16, 12, "loop", 1.0, 0.0),
    ]
    assert [retry.value for retry in found.retries] == pytest.approx([1 / 5, 2 / 5])
    # Two tokens stay; half strength is for those up to place 9; then it is stuck again, and loses all strength.
    assert found.tokens == [stuck, stuck, *range(122, 131), stuck, *range(122, 130)]
    assert own.tokens == ([*LOOPING[1:], LOOPING[0]] * 7)[:20] and not own.retries


def test_a_text_that_is_no_number_any_more_recovers(hosts: dict[str, Host]) -> None:
    def overflowing(hidden: Tensor, rows: Tensor, scale: Tensor | None) -> Tensor:
        """From the fifth generated token on, whatever is pushed with full strength overflows."""
        nonlocal passes
        passes += hidden.shape[1] == 1
        bad = (scale[rows] == 1) & (rows == 0) if scale is not None and passes > 4 else torch.zeros(len(rows)) > 0
        return torch.where(bad[:, None, None], torch.nan, hidden + 0.1)

    host, passes = hosts["llama"], 0
    rules = Backtracking(kl=1e9, window=3, rewind=3, distinct=0.0, retries=3)
    broken, other = generate(host, prompts(host)[:2], {1: overflowing}, 8, Writing(backtracking=rules))
    assert broken.retries and all(math.isnan(retry.value) for retry in broken.retries)
    assert all(map(math.isfinite, [*broken.kl, *broken.base_nll])) and len(broken.tokens) == 8
    assert not other.retries and all(map(math.isfinite, other.kl))


@pytest.mark.parametrize("name", ["narrow mistral", "narrow gemma3_text"])
def test_a_narrow_window_is_refused(hosts: dict[str, Host], name: str) -> None:
    """Hidden tokens take up room in it, so what is kept would be seen less far back than in a fresh pass."""
    host, edits = hosts[name], planned([(direction(), torch.tensor(STRENGTHS))])
    with pytest.raises(UsageError, match=r"backtracking needs room .*sliding window, but .* has one of 20 tokens"):
        generate(host, prompts(host), edits, LENGTH, Writing(backtracking=RULES))
    assert len(generate(host, prompts(host), edits, 3)) == 4
    assert len(generate(host, prompts(host), {}, 3, Writing(backtracking=RULES))) == 4
