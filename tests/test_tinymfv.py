"""The forced choice after thinking: the package's numbers, an oracle without any cache, and what must not be read."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from golden import tinymfv as golden

from steerkit import inputs
from steerkit.bench_tinymfv import bench_tinymfv
from steerkit.errors import UsageError
from steerkit.host import Host, load, thinking
from steerkit.host.chat import interruption, thinking_prompt
from steerkit.host.thinking import interrupted
from steerkit.instruments import tinymfv, tinymfv_package
from steerkit.instruments._tinymfv_question import answer_tokens, named_answer
from steerkit.published import PACKAGES, package
from steerkit.records import FOUNDATIONS
from steerkit.scoring import score_model

RECORDED: dict[str, Any] = json.loads(golden.FILE.read_text())
SCENES = ("You see a boy lying to the judge.", "You see a girl who hums.", "You see a Z.")
NEAR = 1e-3


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    folder = tmp_path_factory.mktemp("chat")
    return {
        family: load(str(tiny_chat.saved(folder / family, family)), "float32", "cpu") for family in tiny_chat.FAMILIES
    }


@pytest.fixture
def host(hosts: dict[str, Host]) -> Host:
    return hosts["qwen"]


def read(
    host: Host,
    config: tinymfv.Config,
    texts: Any = SCENES,
    edits: Any = None,
    first_block: int = -1,
    system: str | None = None,
) -> torch.Tensor:
    prepared = tinymfv.prepare(host, texts, config, system=system, first_block=first_block)
    return tinymfv.read(host, prepared, edits or {})


def push(size: float) -> dict[int, Any]:
    """A fixed shift of blocks 1 and 2."""
    shift = torch.randn(32, generator=torch.Generator().manual_seed(7)) * size
    return dict.fromkeys((1, 2), lambda hidden, rows, scale: hidden + shift.to(hidden.dtype))


@contextmanager
def changed(weight: torch.Tensor, rows: Any, values: Any) -> Iterator[None]:
    """Other rows of a weight for a while."""
    before = weight.detach().clone()
    weight.data[rows] = values
    try:
        yield
    finally:
        weight.data.copy_(before)


# The package's numbers


def check_recorded(host: Host, recorded: dict[str, Any], think: int) -> None:
    found = read(host, tinymfv.Config(think=think), golden.texts())
    assert (found[..., :7] - torch.tensor(recorded["answers"])).abs().max() < NEAR
    assert (1 - found[..., 7].mean(0) - torch.tensor(recorded["mass"])).abs().max() < NEAR
    assert (found[..., 8].mean(0) - torch.tensor(recorded["nll"])).abs().max() < NEAR
    assert (found[..., 9] == think).all()


@pytest.mark.parametrize("think", golden.BUDGETS)
@pytest.mark.parametrize("family", tiny_chat.FAMILIES)
def test_it_reads_what_the_package_read(hosts: dict[str, Host], family: str, think: int) -> None:
    check_recorded(hosts[family], RECORDED[family][str(think)], think)


@pytest.mark.slow
@pytest.mark.parametrize("think", golden.BUDGETS)
def test_it_reads_what_the_package_read_on_the_embedded_model(think: int) -> None:
    check_recorded(load(golden.EMBEDDED, "float32", "cpu"), RECORDED[golden.EMBEDDED][str(think)], think)


@pytest.mark.skipif(package() is None, reason=f"needs the package moral-maps ({' or '.join(PACKAGES)})")
@pytest.mark.parametrize("family", tiny_chat.FAMILIES)
def test_it_reads_what_the_installed_package_reads_steered_too(hosts: dict[str, Host], family: str) -> None:
    for edits in ({}, push(0.3)):
        theirs = tinymfv_package.prepare(
            hosts[family], SCENES, tinymfv_package.Config(think=5), system=None, first_block=-1
        )
        said = tinymfv_package.read(hosts[family], theirs, edits)
        ours = read(hosts[family], tinymfv.Config(think=5), edits=edits)
        assert (ours[..., :7] - said[..., :7]).abs().max() < NEAR
        assert (ours.mean(0)[..., 7:] - said.mean(0)[..., 7:]).abs().max() < NEAR


def test_the_recorded_rows_differ_and_depend_on_thinking() -> None:
    for recorded in RECORDED.values():
        for think in recorded.values():
            rows = torch.tensor(think["answers"])
            assert rows.std(dim=1).min() > 2 * NEAR and rows.std(dim=-1).min() > 2 * NEAR
        thought, unthought = (torch.tensor(recorded[budget]["answers"]) for budget in ("16", "0"))
        assert (thought - unthought).abs().max() > 2 * NEAR


# An oracle without a cache


def by_hand(host: Host, text: str, order: int, config: tinymfv.Config, edits: Any) -> tuple[torch.Tensor, float]:
    """Seven log-probabilities and the prefill's NLL from whole forward passes over one row."""
    from steerkit.host import edited, text_ids

    def forward(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode(), edited(host, edits, torch.zeros(1, dtype=torch.long)):
            logits: torch.Tensor = host.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        return logits.float().log_softmax(-1)

    question = tinymfv.question(text, config.token, order)
    ids = text_ids(host, thinking_prompt(host, question), start=False)
    for _ in range(config.think):
        said = forward(ids)[-1]
        said[sorted(tinymfv._ends(host))] = float("-inf")
        ids = [*ids, int(said.argmax())]
    prefill = text_ids(host, 'This is wrong because {"violation": "', start=False)
    closing = text_ids(host, interruption(host, "Just answer"), start=False)
    after = forward([*ids, *closing, *prefill])[-len(prefill) - 1 :]
    nll = -after[:-1].gather(1, torch.tensor(prefill)[:, None]).mean()
    return after[-1][list(answer_tokens(host, config.token, order))], float(nll)


@pytest.mark.parametrize("family", tiny_chat.FAMILIES)
def test_mended_it_is_what_whole_forward_passes_say(hosts: dict[str, Host], family: str) -> None:
    host, config, edits = hosts[family], tinymfv.Config(think=3, protocol="mended"), push(0.3)
    found = read(host, config, edits=edits)
    for order, place in ((0, 0), (1, 1)):
        answers, nll = by_hand(host, SCENES[place], order, config, edits)
        assert (found[order, place, :7] - answers).abs().max() < NEAR
        assert float(found[order, place, 8]) == pytest.approx(nll, abs=NEAR)
        assert float(found[order, place, 7]) == pytest.approx(1 - float(answers.exp().sum()), abs=NEAR)


@pytest.mark.parametrize(("family", "think"), [("qwen", 0), ("qwen", 3), ("gemma", 0), ("gemma", 3)])
def test_blocks_below_the_first_edit_are_not_run_again(hosts: dict[str, Host], family: str, think: int) -> None:
    host, config = hosts[family], tinymfv.Config(think=think)
    prepared = tinymfv.prepare(host, SCENES, config, system=None, first_block=1)
    ran: list[int] = []
    handle = host.blocks[0].register_forward_hook(lambda _, inputs, __: ran.append(inputs[0].shape[1]))
    steered, plain = (tinymfv.read(host, prepared, edits) for edits in (push(0.3), {}))
    handle.remove()
    # Below the first edit only thoughts, and what follows them, are run again.
    assert max(ran, default=0) == (len(prepared.dialogues.closing) if think else 0)
    assert (steered - read(host, config, edits=push(0.3))).abs().max() < 1e-4
    assert (plain - read(host, config)).abs().max() < 1e-4
    assert (steered - plain)[..., :7].abs().max() > 0.01


# What the answers mean


def test_a_digit_means_another_foundation_in_each_order(host: Host) -> None:
    config, head = tinymfv.Config(think=0), host.model.lm_head.weight
    before = read(host, config)
    zero, one = (host.tokenizer.encode(digit, add_special_tokens=False)[0] for digit in "01")
    with changed(head, [zero, one], head.detach()[[one, zero]].clone()):
        after = read(host, config)
    assert torch.allclose(after[0, :, [0, 1]], before[0, :, [1, 0]], atol=1e-5)
    assert torch.allclose(after[1, :, [5, 6]], before[1, :, [6, 5]], atol=1e-5)
    assert torch.allclose(after[0, :, 2:7], before[0, :, 2:7], atol=1e-5)


def test_words_are_listed_in_each_order_and_must_begin_differently(host: Host) -> None:
    forward, reversed_ = (tinymfv.question("A scene.", "word", order) for order in range(2))
    assert forward.index('"care"') < forward.index('"loyalty"') < forward.index('"social"')
    assert reversed_.index('"social"') < reversed_.index('"loyalty"') < reversed_.index('"care"')
    # A tokenizer of single bytes sees one letter of each.
    with pytest.raises(UsageError, match="'loyalty' and 'liberty' both begin with 'l' .*token=index"):
        answer_tokens(host, "word", 0)


def test_answers_that_begin_alike_are_looked_up_behind_the_quotation_mark(hosts: dict[str, Host]) -> None:
    """A tokenizer that puts a space in front of every text but does not put one inside."""
    from dataclasses import replace

    from tokenizers import pre_tokenizers

    spaced = tiny_chat.tokenizer("qwen")
    spaced.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    host = replace(hosts["qwen"], tokenizer=spaced)
    assert len({spaced.encode(str(digit), add_special_tokens=False)[0] for digit in range(7)}) == 1
    found = answer_tokens(host, "index", 0)
    assert [spaced.decode([token]) for token in found] == list("0123456")


def test_samples_are_combined_in_probability(host: Host) -> None:
    config = tinymfv.Config(think=4, samples=3, temperature=1.0)
    prepared = tinymfv.prepare(host, SCENES, config, system=None, first_block=-1)
    rows, thoughts = interrupted(host, prepared.dialogues, lambda logprobs, _: logprobs[:, -1].exp().cpu(), {}, None)
    found = tinymfv.read(host, prepared, {})
    assert len({tuple(thought) for thought in thoughts[:3]}) > 1
    for order in range(2):
        for place in range(len(SCENES)):
            first = (order * len(SCENES) + place) * 3
            mean = rows[first : first + 3][:, list(prepared.answers[order])].mean(0)
            assert torch.allclose(found[order, place, :7].float(), mean.log(), atol=1e-4)
    assert torch.equal(found, tinymfv.read(host, prepared, {}))
    alone = read(host, tinymfv.Config(think=0, samples=3, temperature=1.0))
    assert torch.allclose(alone, read(host, tinymfv.Config(think=0)), atol=1e-5)


def test_no_end_is_ever_thought(host: Host) -> None:
    config = tinymfv.Config(think=24, samples=2, temperature=5.0)
    prepared = tinymfv.prepare(host, SCENES, config, system=None, first_block=-1)
    _, thoughts = interrupted(host, prepared.dialogues, lambda logprobs, _: logprobs[:, -1, :1], {}, None)
    assert {len(thought) for thought in thoughts} == {24}
    ends = tinymfv._ends(host)
    assert host.tokenizer.convert_tokens_to_ids("</think>") in ends and host.tokenizer.eos_token_id in ends
    assert not {token for thought in thoughts for token in thought} & ends


def test_a_batch_of_the_package_moves_what_is_read(host: Host) -> None:
    alone, together = (read(host, tinymfv.Config(think=0, batch=batch)) for batch in (1, 8))
    longest = max(range(len(SCENES)), key=lambda place: len(SCENES[place]))
    moved = (alone - together)[..., :7].abs().amax((0, 2))
    assert moved[longest] < 1e-5 and moved[-1] > NEAR
    mended = read(host, tinymfv.Config(think=0, protocol="mended"))
    some = read(host, tinymfv.Config(think=0, protocol="mended"), SCENES[1:])
    assert torch.allclose(mended[:, 1:], some, atol=1e-5)


@pytest.mark.parametrize("family", tiny_chat.FAMILIES)
def test_a_prompt_opens_its_thoughts_once(hosts: dict[str, Host], family: str) -> None:
    text = thinking_prompt(hosts[family], "Why?")
    assert text.count("<think>") == 1 and text.rstrip().endswith("<think>") and "Why?" in text
    closing = interruption(hosts[family], "Just answer")
    assert closing.startswith("</think>") and "Just answer" in closing and closing.count("</think>") == 1


def test_a_persona_comes_as_the_system_prompt(hosts: dict[str, Host]) -> None:
    for family, host in hosts.items():
        persona = thinking_prompt(host, "Why?", "You obey.")
        assert persona.index("You obey.") < persona.index("Why?"), family
        moved = read(host, tinymfv.Config(think=0), system="You obey.") - read(host, tinymfv.Config(think=0))
        assert moved[..., :7].abs().max() > NEAR


# What cannot be read


def test_a_row_without_finite_logits_is_unreadable_and_touches_no_other(host: Host) -> None:
    config, table = tinymfv.Config(think=3), host.model.get_input_embeddings().weight
    before = read(host, config)
    with changed(table, host.tokenizer.encode("Z", add_special_tokens=False), float("nan")):
        after = read(host, config)
    assert after[:, 2, :9].isnan().all() and (after[:, 2, 9] == 3).all()
    assert torch.allclose(after[:, :2], before[:, :2], atol=1e-4)


def test_a_row_that_answers_while_thinking_is_unreadable_for_the_package_only(host: Host) -> None:
    def ids(text: str) -> list[int]:
        return list(host.tokenizer.encode(text, add_special_tokens=False))

    package, mended = tinymfv.Config(), tinymfv.Config(protocol="mended")
    said = 'Well. This is wrong because {"violation": "'
    assert tinymfv._answered(host, ids(said + "3"), package)
    assert not tinymfv._answered(host, ids(said), package)
    assert not tinymfv._answered(host, ids(said + "3"), mended)
    assert not tinymfv._answered(host, ids("This is right."), package)
    assert not tinymfv._answered(host, [*ids(said), host.tokenizer.pad_token_id], package)


def test_rows_longer_than_the_model_are_refused(hosts: dict[str, Host]) -> None:
    with pytest.raises(UsageError, match="fit into the 4096 tokens .* think=4000; think less"):
        tinymfv.prepare(hosts["llama"], SCENES, tinymfv.Config(think=4000), system=None, first_block=-1)


def test_a_model_without_a_template_is_refused(host: Host) -> None:
    from dataclasses import replace

    bare = tiny_chat.tokenizer("qwen")
    bare.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        tinymfv.prepare(replace(host, tokenizer=bare), SCENES, tinymfv.Config(), system=None, first_block=-1)
    bare.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(UsageError, match="must show what the assistant says"):
        tinymfv.prepare(replace(host, tokenizer=bare), SCENES, tinymfv.Config(), system=None, first_block=-1)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"think": -1}, "think"), ({"samples": 2}, "temperature must be above 0"), ({"batch": 0}, "batch")],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tinymfv.Config(**given)


# Free answers


@pytest.mark.parametrize(
    ("text", "order", "named"),
    [
        ('{"violation": "3"}', 0, "Authority"),
        (' {"violation": "0"}\n', 1, "SocialNorms"),
        ('I think.</think>\n\n{"violation": "6"}', 0, "SocialNorms"),
        ('This is wrong because {"violation": "3"}', 0, None),
        ('{"violation": "7"}', 0, None),
        ('{"violation": 3}', 0, None),
        ('{"violation": "3", "why": "x"}', 0, None),
        ('```json\n{"violation": "3"}\n```', 0, None),
        ("", 0, None),
    ],
)
def test_a_free_answer_is_valid_when_it_is_the_json_and_nothing_else(text: str, order: int, named: str | None) -> None:
    assert named_answer(text, "index", order) == named


def test_free_answers_are_written_by_the_steered_model(host: Host) -> None:
    config = tinymfv.Config(think=0, free=2, free_tokens=12)
    prepared = tinymfv.prepare(host, SCENES, config, system=None, first_block=-1)
    plain, steered = (tinymfv.free_answers(host, prepared, edits) for edits in ({}, push(2.0)))
    assert [(vignette, order) for vignette, order, _, _ in plain] == [(0, 0), (1, 0)]
    assert [text for *_, text, _ in plain] != [text for *_, text, _ in steered]
    none = tinymfv.prepare(host, SCENES, tinymfv.Config(think=0, free=0), system=None, first_block=-1)
    assert tinymfv.free_answers(host, none, {}) == []


def test_its_speed_stands_beside_the_packages(host: Host) -> None:
    for run in bench_tinymfv(host, 2):
        assert run["unsteered_per_second"] > 0 and run["arm_per_second"] > 0
        assert (run["ratio"] is None) == (package() is None)
        assert run["largest_difference"] is None or run["largest_difference"] < NEAR


# From the command line


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A model, two scenes of every foundation, and the same without Liberty."""
    folder = tmp_path_factory.mktemp("few")
    rows = [
        {"id": f"{name}-{n}", "foundation": name, "text": f"You see {name.lower()} number {n}."}
        for n in range(2)
        for name in FOUNDATIONS
    ]
    whole, lacking = folder / "whole.jsonl", folder / "lacking.jsonl"
    whole.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lacking.write_text("".join(json.dumps(row) + "\n" for row in rows if row["foundation"] != "Liberty"))
    return tiny_chat.saved(folder / "model", "smollm"), whole, lacking


def test_score_reads_with_it(steerkit: Any, few: tuple[Path, Path, Path]) -> None:
    model, whole, lacking = few
    options = ("score", "--instrument", "tinymfv", "--think", "2", "--model", str(model), "--dtype", "float32")
    said = json.loads(steerkit(*options, "--vignettes", str(whole), "--json").stdout)
    assert said["instrument"] == "tinymfv" and len(said["vignettes"]) == 14 and said["unscorable"] == 0
    host = load(str(model), "float32", "cpu")
    texts = [json.loads(line)["text"] for line in whole.read_text().splitlines()]
    scores = read(host, tinymfv.Config(think=2), texts)[..., :7].mean(0)
    for row, own in zip(said["vignettes"], scores, strict=True):
        assert [row["scores"][name] for name in FOUNDATIONS] == pytest.approx(own.tolist(), abs=1e-4)
    lack = score_model(host, "tinymfv", tinymfv.Config(think=0), inputs.vignettes(lacking))
    assert "Liberty" not in lack["recall"] and len(lack["vignettes"]) == 12 and math.isfinite(lack["auc"])


@pytest.mark.skipif(package() is not None, reason="says what is said where the package is not installed")
def test_the_package_is_asked_for_where_it_is_needed(steerkit: Any, few: tuple[Path, Path, Path]) -> None:
    done = steerkit("score", "--model", str(few[0]), "--instrument", "tinymfv-package")
    assert done.returncode == 2 and "moral-maps" in done.stderr and "pip install" in done.stderr
    with pytest.raises(UsageError, match="vignette set 'classic' needs the package moral-maps"):
        inputs.vignettes(Path("classic"))


def test_what_both_orders_begin_with_is_read_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    run = thinking._Group.run

    def counted(self: Any, given: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        fed.append(given.shape[0] * given.shape[1])
        return run(self, given, *rest, **more)

    monkeypatch.setattr(thinking._Group, "run", counted)
    shared, once = read(host, tinymfv.Config(think=2)), sum(fed)
    monkeypatch.setattr(thinking, "WORTH", 0.0)
    apart, twice = read(host, tinymfv.Config(think=2)), sum(fed) - once
    assert once < 0.95 * twice and torch.allclose(shared, apart, atol=1e-5)


def test_a_package_that_does_not_import_is_said(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moralmaps.py").write_text("import a_dependency_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "moralmaps", raising=False)
    with pytest.raises(
        UsageError, match="moralmaps to import, but it says: No module named 'a_dependency_that_nobody_has'"
    ):
        tinymfv_package.prepare(host, [], tinymfv_package.Config(), system=None, first_block=-1)
