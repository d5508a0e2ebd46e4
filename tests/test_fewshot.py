"""The few-shot reading: what it takes from the model's next token, and the words it takes it from."""

import re
import tomllib
from pathlib import Path

import pytest
import tiny_model
import torch

from steerkit import inputs
from steerkit.host import Host, load
from steerkit.instruments import fewshot
from steerkit.records import FOUNDATIONS

WORDS: dict[str, list[str]] = tomllib.loads(fewshot.TEXT.read_text(encoding="utf-8"))["answers"]
SCENES = ("You see mark3 w1 w2 .", "You see mark0 w7 .")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder: Path = tiny_model.make(tmp_path_factory.mktemp("planted")).folder
    return load(str(folder), "float32", "cpu")


@pytest.fixture(scope="module")
def prepared(host: Host) -> fewshot.Prepared:
    return fewshot.prepare(host, SCENES, fewshot.Config(), system=None, first_block=1)


def ids(words: list[str]) -> list[int]:
    return [tiny_model.IDS[word.strip()] for word in words]


def whole(prompt: fewshot.Prompt, scene: int) -> list[int]:
    """One scene's full prompt as the model would be given it by hand."""
    return [*prompt.rows.prefix, *prompt.rows.suffixes[scene]]


def next_token(host: Host, prompt: fewshot.Prompt, scene: int) -> torch.Tensor:
    """Log-probabilities after the cue, `[vocab]`, from the model alone."""
    with torch.inference_mode():
        return host.model(input_ids=torch.tensor([whole(prompt, scene)])).logits[0, -1].float().log_softmax(-1)


def test_an_answer_is_the_mean_over_its_words_and_outside_is_the_rest(host: Host, prepared: fewshot.Prepared) -> None:
    for found in (fewshot.read(host, prepared, {}), fewshot.read_plainly(host, prepared, {})):
        for order, prompt in enumerate(prepared.prompts):
            for scene in range(len(SCENES)):
                said = next_token(host, prompt, scene)
                means = torch.stack([said[ids(WORDS[name])].mean() for name in FOUNDATIONS])
                rest = 1 - said[ids([word for words in WORDS.values() for word in words])].exp().sum()
                assert torch.allclose(found[order, scene, :7], means, atol=1e-4)
                assert torch.allclose(found[order, scene, 7], rest, atol=1e-4)


def test_one_word_alone_has_one_vote(host: Host, prepared: fewshot.Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fewshot.read(host, prepared, {})[..., :7]
    raised = host.model.lm_head.weight.detach().clone()
    raised[ids(WORDS["Authority"])[0], tiny_model.CUE] += 2.0
    said = next_token(host, prepared.prompts[0], 0)[ids(WORDS["Authority"])]
    monkeypatch.setattr(host.model.lm_head, "weight", torch.nn.Parameter(raised))
    now = next_token(host, prepared.prompts[0], 0)[ids(WORDS["Authority"])]
    lead = (now[0] - now[1]) - (said[0] - said[1])
    shift = fewshot.read(host, prepared, {})[0, 0, :7] - before[0, 0]
    assert lead > 1
    assert shift[3] - shift[0] == pytest.approx(float(lead) / len(WORDS["Authority"]), abs=1e-4)


def test_the_model_is_shown_each_answers_first_word_only(prepared: fewshot.Prepared) -> None:
    for prompt in prepared.prompts:
        shown = {token for scene in range(len(SCENES)) for token in whole(prompt, scene)}
        for words in WORDS.values():
            first, *others = ids(words)
            assert first in shown and not shown.intersection(others)


def test_every_answer_has_as_many_words_and_none_serves_two() -> None:
    assert WORDS.keys() == {*FOUNDATIONS}
    words = [word for answer in WORDS.values() for word in answer]
    assert len(set(words)) == len(words)
    assert len({len(answer) for answer in WORDS.values()}) == 1 and len(WORDS["Authority"]) > 1


@pytest.mark.parametrize("person", ["third", "first"])
def test_no_vignette_of_ours_holds_a_word(person: inputs.Person) -> None:
    named = {word.strip() for answer in WORDS.values() for word in answer}
    texts = [vignette.text for vignette in inputs.vignettes(person=person)]
    assert [text for text in texts if named.intersection(re.findall(r"[a-z]+", text.lower()))] == []
