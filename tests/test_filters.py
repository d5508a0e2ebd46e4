"""Planted loops, narrations and copies among real completions are dropped, and hardly any real one is."""

import math
import random
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerkit.errors import UsageError
from steerkit.filters import Background, Measurement, _phrases, common_words, kl_spike, loops, narration, persona_words
from steerkit.filters import near_copy as near_copy_check
from steerkit.filters import tail_perplexity as tail_check
from steerkit.health import highest_mean, most_compressible, most_repetitive
from steerkit.personas import load_personas
from steerkit.plugins import load_filters
from steerkit.records import Completion, FilterDecision
from steerkit.stages.filter import decide, parse, thresholds
from steerkit.testing import planted_background, planted_completion

DATA = Path(__file__).parent / "data"
PERSONAS = load_personas()
NARRATIONS: dict[str, dict[str, list[str]]] = tomllib.loads((DATA / "narrations.toml").read_text(encoding="utf-8"))


def _completion(line: str) -> Completion:
    fields = msgspec.json.decode(line)
    return planted_completion(fields.pop("text"), **fields)


TEXTS = [_completion(line) for line in (DATA / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
BASE = [text for text in TEXTS if text.role == "base"]
STEERED = [text for text in TEXTS if text.role != "base"]


def background(trait: str = "authority") -> Background:
    base = defaultdict(list)
    for text in BASE:
        base[text.prompt_id].append(text.text)
    return Background(persona=PERSONAS[trait], base={prompt: tuple(texts) for prompt, texts in base.items()})


def decided(texts: list[Completion], behind: Background | None = None, **given: str) -> list[FilterDecision]:
    return decide(texts, behind or background(), thresholds(given), run="r", unit="u", filter_id="f")


def dropped(texts: list[Completion], behind: Background | None = None) -> dict[str, set[str]]:
    """By completion, the checks that drop it."""
    found: dict[str, set[str]] = {text.completion_id: set() for text in texts}
    for decision in decided(texts, behind):
        if not decision.keep:
            found[decision.completion_id].add(decision.name)
    return found


def with_text(completion: Completion, text: str) -> Completion:
    """The completion with another text; its token figures stay those of the healthy one."""
    name = f"{completion.completion_id} {text[-20:]}"
    return msgspec.structs.replace(completion, text=text, completion_id=name, pieces=None)


# Real texts


def test_hardly_any_real_base_text_is_dropped() -> None:
    found = dropped(BASE)
    assert len(BASE) == 40
    assert sum(bool(names) for names in found.values()) / len(BASE) < 0.05


def test_stronger_steering_leaves_fewer_texts() -> None:
    found = dropped(STEERED)
    kept = {
        weak: [not found[text.completion_id] for text in STEERED if (text.dose <= 0.75) is weak]
        for weak in (True, False)
    }
    assert sum(kept[True]) / len(kept[True]) > sum(kept[False]) / len(kept[False])
    assert not any(found[text.completion_id] == set() for text in STEERED if text.dose >= 3)


def test_the_same_texts_get_the_same_decisions_in_order() -> None:
    first, second = decided(TEXTS), decided(TEXTS)
    assert first == second
    assert [(d.completion_id, d.name) for d in first] == [(t.completion_id, n) for t in TEXTS for n in load_filters()]


def test_spans_point_into_the_text() -> None:
    texts = {text.completion_id: text.text for text in TEXTS}
    spans = [d for d in decided(TEXTS) if d.start is not None and d.stop is not None]
    assert {"loops", "compression", "tail_perplexity", "kl_spike"} <= {d.name for d in spans}
    assert all(0 <= d.start <= d.stop <= len(texts[d.completion_id]) for d in spans)


def test_three_hundred_texts_take_about_a_second() -> None:
    texts = [msgspec.structs.replace(t, completion_id=f"{n}", role="collected") for n, t in enumerate(TEXTS * 5)]
    decided(texts[:1])
    started = time.process_time()
    assert len(decided(texts)) == 300 * len(load_filters())
    assert time.process_time() - started < 2, "checked types double it here; it takes less than a second without"


# Loops


def looped(completion: Completion, period: int, rounds: int, draw: random.Random) -> Completion:
    """The completion whose last words go in circles of `period` words."""
    body = completion.text.split()
    start = draw.randrange(len(body) - period)
    tail = body[start : start + period] * rounds
    return with_text(completion, " ".join([*body[: max(10, len(body) - len(tail))], *tail]))


@pytest.mark.parametrize("rounds", ["three", "24 words"])
@pytest.mark.parametrize("period", range(1, 13))
def test_planted_loops_are_dropped(period: int, rounds: str) -> None:
    turns = max(3 if period >= 4 else 12 // period, math.ceil(24 / period) if rounds == "24 words" else 0)
    draw = random.Random(period)
    texts = [looped(text, period, turns, draw) for text in BASE if len(text.text.split()) > 20]
    found = dropped(texts)
    caught = [bool(found[text.completion_id] & {"loops", "compression"}) for text in texts]
    assert len(caught) > 30 and sum(caught) / len(caught) >= 0.95


@pytest.mark.parametrize(
    "tail",
    [
        " ".join(f"{n}. Tell him that it is wrong." for n in range(1, 7)),
        " ".join(f"{n}." for n in range(1, 25)),
        "I will go! I will go? I will go... I will go - I WILL go; I will, go.",
        "ha" * 60,
        "!?" * 70,
        "😀😇" * 60,
        "更度" * 40,
        "no " * 24,
    ],
    ids=["numbered", "counting", "punctuation", "syllable", "signs", "emoji", "ideographs", "word"],
)
def test_loops_in_disguise_are_dropped(tail: str) -> None:
    texts = [with_text(text, f"{text.text[:100]} {tail}") for text in BASE]
    found = dropped(texts)
    assert all(found[text.completion_id] & {"loops", "compression"} for text in texts)


def test_the_share_of_a_loop_does_not_depend_on_its_period() -> None:
    shares = [most_repetitive([f"w{n % period}" for n in range(4 * period)]).value for period in range(4, 13)]
    assert max(shares) < 0.3 and max(shares) - min(shares) < 0.06


def test_the_span_of_a_loop_is_the_loop() -> None:
    before = "Write to the office and ask for one more week because the mother needs it before the school opens. "
    seen = loops.measure(planted_completion(before + "so we go on " * 8), planted_background())
    assert seen.start is not None and seen.start >= len(before) - 30


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_most_repetitive_is_the_plain_minimum(words: list[str]) -> None:
    found, size, widths = most_repetitive(words, widths=(6, 12)), 3, (6, 12)

    def shares() -> Iterator[float]:
        for width in (min(width, len(words)) for width in widths):
            for start in range(len(words) - width + 1):
                grams = [tuple(words[i : i + size]) for i in range(start, start + width - size + 1)]
                yield len(set(grams)) / len(grams) if grams else 1.0

    assert found.value == pytest.approx(min(shares(), default=1.0))


def test_the_last_characters_are_in_a_window() -> None:
    text = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz ", k=321)) + "ab" * 60
    assert most_compressible(text).stop == len(text)


# Perplexity and divergence


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.integers(1, 10))
def test_highest_mean_is_the_plain_maximum(values: list[float], width: int) -> None:
    width = min(width, len(values))
    means = [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]
    found = highest_mean(values, width)
    assert found is not None and found.value == pytest.approx(max(means), abs=1e-9)


def test_a_text_that_falls_apart_late_is_pointed_at() -> None:
    text = planted_completion(" ".join(f"w{n}" for n in range(60)), token_nll=[1.0] * 44 + [5.0] * 16)
    seen = tail_check.measure(text, planted_background())
    assert seen.value == pytest.approx(math.exp(5)) and seen.value > tail_check.THRESHOLD
    assert text.text[seen.start : seen.stop].split() == [f"w{n}" for n in range(44, 60)]


def test_a_spike_of_a_few_tokens_is_seen_and_one_token_is_not() -> None:
    words = " ".join(["word"] * 60)
    stretch = planted_completion(words, token_kl=[0.1] * 30 + [2.5] * 8 + [0.1] * 22)
    single = planted_completion(words, token_kl=[0.1] * 30 + [6.0] + [0.1] * 29)
    assert kl_spike.measure(stretch, planted_background()).value > kl_spike.THRESHOLD
    assert kl_spike.measure(single, planted_background()).value < kl_spike.THRESHOLD


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("field", "name"), [("perplexity", "perplexity"), ("token_nll", "tail_perplexity"), ("token_kl", "kl_spike")]
)
def test_a_value_that_is_not_finite_never_passes(field: str, name: str, bad: float) -> None:
    value: Any = bad if field == "perplexity" else [0.1] * 10 + [bad] + [0.1] * 10
    broken = planted_completion("Go to the office and ask for one more day.", **{field: value})
    for limit in ("1e300", "15"):
        decision = next(d for d in decided([broken], **{name: limit}) if d.name == name)
        assert not decision.keep and not math.isfinite(decision.value)


def test_a_steered_text_without_divergence_is_not_kept_and_an_unsteered_one_is() -> None:
    for strength, kept in ((1.0, False), (0.0, True)):
        text = planted_completion("Go to the office and ask for one more day.", token_kl=[], strength=strength)
        assert next(d for d in decided([text]) if d.name == "kl_spike").keep is kept


# Length


def test_an_empty_text_fails_by_name() -> None:
    assert {"length", "perplexity"} <= dropped([planted_completion("")])["planted " + _digest_of("")]


def _digest_of(text: str) -> str:
    return planted_completion(text).completion_id.removeprefix("planted ")


def test_a_cut_text_is_recorded_and_dropped_only_if_told() -> None:
    text = planted_completion("Go to the office and ask for one more day.", ended=False)
    for given_, keep in (({}, True), ({"cap": "0"}, False)):
        decision = next(d for d in decided([text], **given_) if d.name == "cap")
        assert (decision.value, decision.keep) == (1.0, keep)


# Narration, refusals, identity


@pytest.mark.parametrize("check", ["narration", "refusal", "identity"])
def test_acting_meets_no_phrase(check: str) -> None:
    measure = load_filters()[check].measure
    for sentence in (sentence for sentences in NARRATIONS["enacts"].values() for sentence in sentences):
        seen = measure(planted_completion(sentence), background())
        assert seen.value == 0, (sentence, seen.reason)


def test_phrases_alone_find_plain_announcements_and_say_that_no_model_read_the_text() -> None:
    seen = narration.measure(planted_completion("Well. I'm the kind of person who tells it."), background())
    assert seen.value > narration.THRESHOLD and seen.reason.startswith("not read by a model; phrases: kind")
    assert narration.measure(planted_completion("I cut cake with a ruler."), background()).value == 0


def test_a_margin_decides_and_its_sentence_is_the_span() -> None:
    text = "I'd wait for her. I cut cake with a ruler."
    for margin, keep in ((0.4, False), (-0.4, True)):
        read = planted_completion(text, narration=margin, narration_start=18, narration_stop=len(text))
        decision = next(d for d in decided([read]) if d.name == "narration")
        assert (decision.value, decision.keep) == (margin, keep)
        assert decision.start is not None and text[decision.start : decision.stop] == "I cut cake with a ruler."


def test_a_plain_announcement_counts_unless_the_model_is_sure_against_it() -> None:
    def seen(margin: float) -> Measurement:
        text = "I'm the kind of person who tells it."
        read = planted_completion(text, narration=margin, narration_start=0, narration_stop=len(text))
        return narration.measure(read, background())

    unsure, sure = seen(narration.SURE + 0.1), seen(narration.SURE - 0.1)
    assert unsure.value > narration.THRESHOLD and unsure.reason.startswith("kind")
    assert sure.value == narration.SURE - 0.1


def test_every_phrase_is_bounded() -> None:
    for check in ("narration", "refusal", "identity"):
        for phrase in (phrase for phrases in _phrases.phrases(check).values() for phrase in phrases):
            assert "*" not in phrase.replace("\\W*", "").replace("\\w*", ""), phrase


@pytest.mark.parametrize("apostrophe", ["'", "\u2019", "\u2018"])
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_case_and_apostrophes_do_not_matter(apostrophe: str, change: Any) -> None:
    text = change("Well, I'm the kind of person who tells it.").replace("'", apostrophe)
    seen = narration.measure(planted_completion(text), planted_background())
    assert seen.value == 1 and text[seen.start : seen.stop].lower().startswith("i")


REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I\u2019m sorry, I cannot provide legal advice.",
    "Unfortunately, I am unable to help you with this.",
    "I must decline to answer this question.",
    "I'm not comfortable discussing this topic.",
    "I cannot fulfill your request.",
    "I'm not equipped to provide personal advice.",
]
IDENTITIES = [
    "As an AI language model, I see both sides.",
    "I'm just a computer program.",
    "I am a large language model trained by a company.",
    "I don't have personal opinions or feelings.",
    "as a helpful AI, I'm more suited for creative problems",
    "I was designed to assist you.",
]


@pytest.mark.parametrize(
    ("check", "text"), [*[("refusal", text) for text in REFUSALS], *[("identity", text) for text in IDENTITIES]]
)
def test_refusals_and_machine_talk_are_dropped(check: str, text: str) -> None:
    seen = load_filters()[check].measure(planted_completion(f"Well. {text} Go on."), background())
    assert seen.value >= 1 and seen.start is not None


@pytest.mark.parametrize(
    "unit", ["I am ", "i've always ", "my own ", "- ", "'", "I ", "very ", "a-", "as a person who "]
)
def test_phrases_are_found_in_linear_time(unit: str) -> None:
    text = planted_completion("I am the " + unit * (20_000 // len(unit)))
    started = time.process_time()
    for check in ("narration", "refusal", "identity"):
        load_filters()[check].measure(text, background())
    assert time.process_time() - started < 2


# Words of the persona, and of the language


def test_persona_words_need_more_than_one_occurrence() -> None:
    once, often = (
        persona_words.measure(planted_completion(text), background()).value
        for text in (
            "Trust him with the parcel, and write the date on the form tomorrow.",
            "My private conscience says trust her, and the wishes of superiors come second to conscience.",
        )
    )
    assert once < persona_words.THRESHOLD < often


def test_words_of_the_prompt_and_of_the_base_are_not_the_personas() -> None:
    text = "Trust her conscience, and trust private wishes of superiors, says my conscience."
    behind = background()
    asked = planted_completion(text, prompt="Should I trust a private conscience over wishes of superiors?")
    known = Background(persona=behind.persona, base={"p1": (text,) * 3})
    assert persona_words.measure(asked, behind).value <= 1
    assert persona_words.measure(planted_completion(text), known).value == pytest.approx(1)


@pytest.mark.parametrize(
    "tail",
    [
        "Ejercicijar a vida de placar anillos por la cálilar y el marquel de la cotaón lanza por justamentar",
        "更度献献如何反封意封莫清调蛮杀福隶族几个人在小李属葉的前被葩",
        "Друковая медицина набларят наилостное сложное каленку перекивалися",
        "Borj Eroj Cópia Desemboguina Dilate Dobla Adiabára Admirable Kalirik Mujel Zambra Debil Gorta Fraj Mija Selam",
    ],
)
def test_another_language_is_noticed_where_it_begins(tail: str) -> None:
    text = f"{BASE[0].text} {tail}"
    seen = common_words.measure(with_text(BASE[0], text), background())
    assert seen.value < common_words.THRESHOLD
    assert seen.start is not None and seen.start > len(text) - len(tail) - 60


def test_common_words_without_base_texts_pass_everything() -> None:
    assert common_words.measure(TEXTS[0], Background(persona=PERSONAS["authority"])).value == 1


# Copies


def test_a_near_copy_of_a_kept_text_is_dropped_and_the_first_is_kept() -> None:
    first, copy, other = (
        msgspec.structs.replace(BASE[place], completion_id=name, role=role, prompt_id="elsewhere")
        for place, name, role in ((0, "first", "probe"), (0, "copy", "collected"), (3, "other", "collected"))
    )
    copy = msgspec.structs.replace(copy, text=copy.text.replace("the", "a", 1) + " And that is all.")
    found = dropped([first, copy, other])
    assert (found["first"], found["copy"], found["other"]) == (set(), {"near_copy"}, set())


@pytest.mark.parametrize("role", ["base", "random", "greedy"])
def test_only_texts_written_to_be_kept_are_compared_with(role: str) -> None:
    texts = [
        msgspec.structs.replace(BASE[0], completion_id=name, role=kind, prompt_id="elsewhere")
        for name, kind in (("first", role), ("second", "probe"))
    ]
    assert dropped(texts)["second"] == set()


def test_a_dropped_text_is_not_compared_with() -> None:
    broken = msgspec.structs.replace(BASE[0], completion_id="broken", role="probe", prompt_id="x", perplexity=999.0)
    whole = msgspec.structs.replace(BASE[0], completion_id="whole", role="probe", prompt_id="x")
    assert dropped([broken, whole]) == {"broken": {"perplexity"}, "whole": set()}


def test_a_copy_of_the_base_is_dropped_and_the_base_itself_is_not() -> None:
    copy = msgspec.structs.replace(BASE[0], completion_id="copy", role="probe", dose=0.25, strength=0.0)
    found = dropped([BASE[0], copy])
    assert found[BASE[0].completion_id] == set()
    assert found["copy"] == {"base_copy"}


def test_two_equal_base_texts_are_copies_of_each_other() -> None:
    behind = Background(persona=PERSONAS["authority"], base={BASE[0].prompt_id: (BASE[0].text, BASE[0].text)})
    assert "base_copy" in dropped([BASE[0]], behind)[BASE[0].completion_id]


def test_a_shared_opening_is_no_copy() -> None:
    opening = "First and foremost, take a moment to assess the situation and talk to your manager about it. "
    one = planted_completion(
        opening + "Then write to the office, ask for the rule in writing, and keep a copy at home."
    )
    two = planted_completion(
        opening + "If she says no, the woman can borrow bread from the church until next month ends."
    )
    behind = Background(persona=PERSONAS["authority"], base={"p1": (two.text,)}, kept=(two,))
    for name in ("near_copy", "base_copy"):
        check = load_filters()[name]
        assert check.measure(one, behind).value <= check.THRESHOLD
    assert near_copy_check.measure(two, behind).value == 1


# Thresholds


def test_thresholds_are_the_defaults_with_changes() -> None:
    assert thresholds({}) == {name: check.THRESHOLD for name, check in load_filters().items()}
    assert thresholds({"perplexity": "80", "loops": "5e-1"})["perplexity"] == 80
    assert thresholds({"loops": "5e-1"})["loops"] == 0.5


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "-inf", "1,5"])
def test_a_threshold_must_be_a_finite_number(value: str) -> None:
    with pytest.raises(UsageError, match=r"threshold of perplexity must be a finite number \(perplexity\), but got"):
        thresholds({"perplexity": value})


def test_an_unknown_check_lists_the_known_ones() -> None:
    for ask in (lambda: thresholds({"perplexty": "1"}), lambda: parse(["perplexty=1"])):
        with pytest.raises(
            UsageError, match=r"unknown filter 'perplexty'; did you mean 'perplexity'. known: base_copy"
        ):
            ask()


def test_thresholds_are_read_from_texts() -> None:
    assert parse(["perplexity=80", " loops >= 0.5 ", "kl_spike<=1e1"]) == {
        "perplexity": "80",
        "loops": "0.5",
        "kl_spike": "1e1",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("perplexity>=80", r"perplexity keeps texts of at most its threshold, but got 'perplexity>=80'; .*<=80"),
        ("loops<=0.5", r"loops keeps texts of at least its threshold, but got 'loops<=0.5'; write loops>=0.5"),
        ("perplexity", "must look like perplexity=80 or loops>=0.5, but got 'perplexity'"),
        ("=80", "must look like"),
        ("perplexity=", "must look like"),
        ("perplexity=>80", "must look like"),
        ("perplexity<80", "must look like"),
        ("perplexity=80=90", "must look like"),
        ("", "must look like"),
    ],
)
def test_malformed_and_wrong_way_round(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse([text])


def test_a_threshold_is_set_once() -> None:
    with pytest.raises(UsageError, match="perplexity got 80 and 90"):
        parse(["perplexity=80", "perplexity=90"])


def test_a_changed_threshold_changes_its_decisions_alone() -> None:
    before, after = decided(TEXTS), decided(TEXTS, perplexity="5")
    changed = Counter(b.name for b, a in zip(before, after, strict=True) if b.keep != a.keep)
    assert set(changed) == {"perplexity"}
    assert all(a.threshold == 5 for a in after if a.name == "perplexity")


@settings(max_examples=20)
@given(st.text(max_size=300), st.sampled_from(["base", "probe", "collected", "random"]))
def test_any_text_gets_a_decision_of_every_check(text: str, role: str) -> None:
    made = decided([planted_completion(text, role=role)])
    assert [decision.name for decision in made] == list(load_filters())
    assert all(decision.reason for decision in made)


# The page


def test_the_documented_table_is_up_to_date() -> None:
    page = (Path(__file__).parents[1] / "docs" / "filters.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| `") and row.count("|") == 6]
    cells = [tuple(cell.strip(" `") for cell in row.split("|")[1:5]) for row in rows]
    assert cells == [(n, c.UNIT, c.KEEP, f"{c.THRESHOLD:g}") for n, c in load_filters().items()]
