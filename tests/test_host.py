import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_random
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.host import Generation, Host, chat_ids, edited, embedded, forward, generate, load, probe, text_ids
from steerkit.host.blocks import Edits, only_blocks
from steerkit.host.chat import doubled_start, generation_token
from steerkit.host.forward import Entry, Rows, behind_common_prefix, block_outputs, entry, last_logprobs, plain_logprobs
from steerkit.host.load import fingerprint
from steerkit.plugins import load_method
from steerkit.stages.steer import Fitted, uniform
from steerkit.stages.steer import edits as planned

ARCHITECTURES = sorted(tiny_random.ARCHITECTURES)
TEXTS = ("A shared beginning of many letters, one", "A shared beginning of many letters, another row", "A shared x")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny_random.saved(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def hosts(folders: dict[str, Path]) -> dict[str, Host]:
    return {name: load(str(folder), "float32", "cpu") for name, folder in folders.items()}


@pytest.fixture(params=ARCHITECTURES)
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    found: Host = hosts[request.param]
    return found


@pytest.fixture
def llama(hosts: dict[str, Host]) -> Host:
    return hosts["llama"]


def whole(logprobs: Tensor, _: Tensor) -> Tensor:
    return logprobs


def direction(blocks: Sequence[int] = (1, 2), norm: float = 3.0) -> Fitted:
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(7))
    states = {block: {"vector": norm * vectors[block] / vectors[block].norm()} for block in blocks}
    return Fitted("d", "svd", "real", load_method("svd").Config(), states)


def prompts(host: Host) -> list[list[int]]:
    return [text_ids(host, text) for text in TEXTS]


def logits(host: Host, ids: Sequence[int], edits: Edits | None = None, row: int = 0) -> Tensor:
    """log-probabilities `[token vocab]` of one plain forward pass."""
    with torch.inference_mode(), edited(host, edits or {}, torch.tensor([row])):
        found: Tensor = host.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return found.float().log_softmax(-1)


def test_a_model_is_loaded_with_its_blocks(host: Host) -> None:
    assert len(host.blocks) == 4 and host.width == 32
    assert (host.dtype, host.device) == ("float32", "cpu") and len(host.fingerprint) == 16
    assert not host.model.training and not any(p.requires_grad for p in host.model.parameters())
    assert {p.dtype for p in host.model.parameters()} == {torch.float32}


def test_short_cuts_are_taken_where_they_are_exact(hosts: dict[str, Host]) -> None:
    taken = {name: (host.shares_prefix, host.skips_blocks) for name, host in hosts.items()}
    assert taken == {name: (name != "granite", name != "granite") for name in ARCHITECTURES}


@pytest.mark.parametrize("strength", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("start", [None, 1, 2, 3])
def test_every_way_to_read_gives_the_plain_numbers(host: Host, strength: float, start: int | None) -> None:
    rows = behind_common_prefix(prompts(host), read=3)
    first = (start or 1) - 1
    edits = uniform(direction((first, first + 1)), strength)
    at = entry(host, rows, start) if start else None
    assert (at is None) == (start is None or not host.skips_blocks)
    fast, plain = last_logprobs(host, rows, whole, edits, at), plain_logprobs(host, rows, whole, edits)
    assert fast.shape == (3, 3, 259)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=0)
    for row, prompt in enumerate(prompts(host)):
        torch.testing.assert_close(plain[row], logits(host, prompt, edits)[-3:], atol=1e-4, rtol=0)


def test_a_row_without_a_shared_prefix_is_read_too(host: Host) -> None:
    rows = behind_common_prefix([[1, 2, 3, 4], [5, 6, 7]])
    assert rows.prefix == ()
    torch.testing.assert_close(last_logprobs(host, rows, whole), plain_logprobs(host, rows, whole), atol=1e-4, rtol=0)


def test_many_rows_come_back_in_their_order(llama: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "ROW_TOKENS", 12)
    random = torch.Generator().manual_seed(0)
    suffixes = tuple(tuple(torch.randint(0, 255, (1 + i * 7 % 5,), generator=random).tolist()) for i in range(9))
    rows = Rows((1, 2, 3), suffixes)
    for at in (None, entry(llama, rows, 2)):
        got = last_logprobs(llama, rows, whole, uniform(direction((2,)), 1.0), at)
        torch.testing.assert_close(
            got, plain_logprobs(llama, rows, whole, uniform(direction((2,)), 1.0)), atol=1e-4, rtol=0
        )


def test_a_wrong_short_cut_is_refused(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steerkit.host.attention.behind_prefix", lambda query, *_: torch.zeros_like(query))
    host = load(str(folders["llama"]), "float32", "cpu")
    assert (host.shares_prefix, host.skips_blocks) == (False, False)
    rows = behind_common_prefix(prompts(host))
    assert entry(host, rows, 2) is None
    edits = uniform(direction(), 1.0)
    torch.testing.assert_close(last_logprobs(host, rows, whole, edits), plain_logprobs(host, rows, whole, edits))


def test_wrong_skipping_is_refused_alone(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(host: Host, rows: Rows, block: int) -> Entry | None:
        at = entry(host, rows, block)
        return at and Entry(at.block, at.prefix, tuple(chunk + 1 for chunk in at.chunks))

    monkeypatch.setattr(probe, "entry", wrong)
    host = load(str(folders["llama"]), "float32", "cpu")
    assert (host.shares_prefix, host.skips_blocks) == (True, False)


def test_block_outputs_are_the_hidden_states(host: Host) -> None:
    found = block_outputs(host, behind_common_prefix(prompts(host)), (0, 2))
    for row, prompt in enumerate(prompts(host)):
        with torch.inference_mode():
            states = host.model(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states
        for block, hidden in found.items():
            torch.testing.assert_close(hidden[row], states[block + 1][0, -1], atol=1e-4, rtol=1e-5)


def test_strength_zero_is_the_identity_to_the_bit(host: Host) -> None:
    rows = behind_common_prefix(prompts(host))
    assert torch.equal(last_logprobs(host, rows, whole, uniform(direction(), 0.0)), last_logprobs(host, rows, whole))
    assert generate(host, prompts(host), planned([(direction(), torch.zeros(3))]), 3)[0].kl[0] < 1e-6


def test_an_edit_is_gone_afterwards_and_after_an_exception(host: Host) -> None:
    ids = prompts(host)[0]
    before, hooks = logits(host, ids), [len(block._forward_hooks) for block in host.blocks]
    assert not torch.equal(logits(host, ids, uniform(direction(), 1.0)), before)
    with pytest.raises(ZeroDivisionError), edited(host, uniform(direction(), 1.0), torch.tensor([0])):
        raise ZeroDivisionError
    assert torch.equal(logits(host, ids), before)
    assert [len(block._forward_hooks) for block in host.blocks] == hooks


def test_the_twins_are_left_alone(llama: Host) -> None:
    ids = torch.tensor([prompts(llama)[0]] * 2)
    with torch.inference_mode(), edited(llama, uniform(direction(), 1.0), torch.tensor([0])):
        steered, twin = llama.model(input_ids=ids).logits
    with torch.inference_mode():
        plain = llama.model(input_ids=ids).logits[1]
    torch.testing.assert_close(twin, plain)
    assert not torch.allclose(steered, plain, atol=1e-2)


def test_the_stack_is_put_back(host: Host) -> None:
    ids, whole_stack = prompts(host)[0], host.decoder.layers
    settings = host.model.config.get_text_config().to_dict()
    before = logits(host, ids)
    with only_blocks(host, 1, 3):
        assert len(host.decoder.layers) == 2  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError), only_blocks(host, 0, 1):
        raise ZeroDivisionError
    assert host.decoder.layers is whole_stack and host.model.config.get_text_config().to_dict() == settings
    assert torch.equal(logits(host, ids), before)


@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=5), st.integers(1, 2))
def test_prefix_and_suffix_are_the_prompt(given_prompts: list[list[int]], read: int) -> None:
    rows = behind_common_prefix(given_prompts, read)
    assert [[*rows.prefix, *suffix] for suffix in rows.suffixes] == given_prompts
    assert all(len(suffix) >= read for suffix in rows.suffixes) and rows.read == read
    longer = [prompt[: len(rows.prefix) + 1] for prompt in given_prompts]
    assert min(map(len, rows.suffixes)) == read or any(prompt != longer[0] for prompt in longer)


@pytest.mark.parametrize("skips", [True, False])
def test_unedited_generation_is_that_of_transformers(host: Host, skips: bool) -> None:
    host = replace(host, skips_blocks=host.skips_blocks and skips)
    for row, prompt in zip(generate(host, prompts(host), {}, 8), prompts(host), strict=True):
        ids = torch.tensor([prompt])
        theirs = host.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, pad_token_id=258
        )
        expected = [token for token in theirs[0, len(prompt) :].tolist() if token != 257]
        assert row.tokens == expected and max(row.kl) < 1e-5


def kl_and_nll(host: Host, prompt: list[int], row: Generation, edits: Edits, index: int) -> tuple[Tensor, Tensor]:
    """The rider's figures, one full pass each for the edited and the unedited model."""
    ids = [*prompt, *row.tokens]
    read = slice(len(prompt) - 1, len(prompt) - 1 + len(row.tokens))
    steered, base = logits(host, ids, edits, index)[read], logits(host, ids)[read]
    kl = (steered.exp() * (steered - base)).sum(-1)
    return kl, -base.gather(1, torch.tensor(row.tokens)[:, None])[:, 0]


@pytest.mark.parametrize("skips", [True, False])
def test_the_rider_measures_what_teacher_forcing_does(host: Host, skips: bool) -> None:
    host = replace(host, skips_blocks=host.skips_blocks and skips)
    edits = planned([(direction(), torch.tensor([0.5, -1.0, 0.0]))])
    for index, row in enumerate(generate(host, prompts(host), edits, 6)):
        row.tokens.append(257) if row.ended else None
        kl, nll = kl_and_nll(host, prompts(host)[index], row, edits, index)
        torch.testing.assert_close(torch.tensor(row.kl), kl, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(torch.tensor(row.base_nll), nll, atol=1e-4, rtol=1e-4)
        assert (max(row.kl) < 1e-5) == (index == 2)


def test_one_strength_per_row_is_each_row_alone(host: Host) -> None:
    strengths = torch.tensor([0.3, 1.0, -0.7])
    together = generate(host, prompts(host), planned([(direction(), strengths)]), 6)
    for index, row in enumerate(together):
        (alone,) = generate(host, [prompts(host)[index]], planned([(direction(), strengths[index : index + 1])]), 6)
        assert row.tokens == alone.tokens and row.ended == alone.ended
        assert row.kl == pytest.approx(alone.kl, abs=1e-4, rel=1e-4)


def test_a_row_that_ends_early_changes_nothing_for_the_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = planned([(direction(), torch.tensor([0.3, 1.0, -0.7]))])
    free = generate(host, prompts(host), edits, 6)
    stop = next(token for token in free[1].tokens if token not in free[0].tokens[:3])
    monkeypatch.setattr(host.model.generation_config, "eos_token_id", [stop])
    for before, after in zip(free, generate(host, prompts(host), edits, 6), strict=True):
        length = before.tokens.index(stop) if stop in before.tokens else len(before.tokens)
        assert after.tokens == before.tokens[:length] and after.ended == (stop in before.tokens or before.ended)
        count = len(after.kl)
        assert count == length + after.ended
        assert after.kl == pytest.approx(before.kl[:count], abs=1e-4)


def test_a_chat_has_one_begin_of_text(llama: Host) -> None:
    ids = chat_ids(llama, "Hello.", "You obey.")
    assert llama.tokenizer.decode(ids) == "<s>[system] You obey.\n[user] Hello.\n[assistant]"
    assert ids.count(256) == 1 and not doubled_start(llama, ids) and doubled_start(llama, [256, *ids])
    assert generation_token(llama) == "]"
    assert text_ids(llama, "a")[0] == 256 and 256 not in text_ids(llama, "a", start=False)


def test_a_template_without_a_system_role_folds_the_persona(llama: Host) -> None:
    host = replace(llama, tokenizer=tiny_random.tokenizer(tiny_random.WITHOUT_SYSTEM))
    assert host.tokenizer.decode(chat_ids(host, "Hello.", "You obey.")) == "<s>[user] You obey.\n\nHello.\n[assistant]"


def test_no_template_is_a_usage_error(llama: Host) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        chat_ids(replace(llama, tokenizer=tiny_random.tokenizer(None)), "Hello.")


def test_a_folder_that_is_no_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        load(str(tmp_path / "missing"), "float32")
    with pytest.raises(UsageError, match=r"config\.json"):
        load(str(tmp_path), "float32")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no weights"):
        load(str(tmp_path), "float32")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="pickled weights, which are never loaded"):
        load(str(tmp_path), "float32")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="must be a causal language model"):
        load(str(tmp_path), "float32")


def test_an_unknown_dtype_lists_the_known_ones(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"unknown dtype 'float31'; did you mean 'float32'\?.*bfloat16"):
        load(str(folders["llama"]), "float31", "cpu")


def test_a_gpu_that_is_not_there_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cpu"):
        load("anything", "float32", "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_gives_the_same_numbers(folders: dict[str, Path], dtype: str) -> None:
    host, cpu = (load(str(folders["llama"]), dtype, device) for device in ("cuda", "cpu"))
    edits = uniform(direction(), 1.0)
    on_gpu = uniform(_moved(direction(), "cuda"), 1.0)
    rows = behind_common_prefix(prompts(host))
    for at in (None, entry(host, rows, 1)):
        fast = last_logprobs(host, rows, lambda logprobs, _: logprobs.cpu(), on_gpu, at)
        slow = last_logprobs(cpu, rows, whole, edits)
        torch.testing.assert_close(fast, slow, atol=1e-3 if dtype == "float32" else 0.5, rtol=0)
    for row in generate(host, prompts(host), planned([(_moved(direction(), "cuda"), torch.ones(3))]), 4):
        assert len(row.kl) >= 1 and all(torch.tensor(row.kl).isfinite())


def _moved(fitted: Fitted, device: str) -> Fitted:
    states = {b: {name: value.to(device) for name, value in state.items()} for b, state in fitted.states.items()}
    return replace(fitted, states=states)


def test_the_fingerprint_follows_weights_and_dtype() -> None:
    model = tiny_random.model("llama")
    first = fingerprint(model, "float32")
    assert first == fingerprint(tiny_random.model("llama"), "float32")
    assert first != fingerprint(model, "bfloat16")
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight.view(-1)[0] += 0.01
    assert first != fingerprint(model, "float32")


WEIGHTS = b"weights" * 100


def write_cheaply(gguf: Path, target: Path) -> None:
    """What a conversion leaves behind, slowly, with a note of every time it was done."""
    with (target.parent / "conversions").open("a") as log:
        log.write("once\n")
    time.sleep(0.2)
    target.mkdir(exist_ok=True)
    (target / "model.safetensors").write_bytes(WEIGHTS)
    (target / ".complete").write_text(f"{embedded.sha256(target / 'model.safetensors')} model.safetensors\n")


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEERKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    return tmp_path / "model.gguf"


def test_two_processes_convert_once_and_damage_is_repaired(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_convert", write_cheaply)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=embedded.folder, args=(gguf,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    target = embedded.folder(gguf)
    log = target.parent / "conversions"
    assert embedded.intact(target) and log.read_text() == "once\n"
    for damage in (lambda: (target / "model.safetensors").write_bytes(b"half"), (target / ".complete").unlink):
        damage()
        assert not embedded.intact(target)
        assert embedded.folder(gguf) == target and embedded.intact(target)
    assert log.read_text() == "once\n" * 3


class _Saves:
    def __init__(self, write: Callable[[Path], object]) -> None:
        self._write = write

    def save_pretrained(self, folder: Path) -> None:
        self._write(Path(folder))


@contextmanager
def converting(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]) -> Iterator[None]:
    def tokenizer(folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")

    def reads(result: Any) -> Any:
        return staticmethod(lambda *_, **__: result)

    with monkeypatch.context() as patch:
        patch.setattr("transformers.AutoModelForCausalLM.from_pretrained", reads(_Saves(write)))
        patch.setattr("transformers.AutoTokenizer.from_pretrained", reads(_Saves(tokenizer)))
        yield


def test_a_conversion_that_breaks_leaves_nothing_and_the_next_one_succeeds(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(WEIGHTS[:50])
        raise OSError("no space left on device")

    with converting(monkeypatch, breaks), pytest.raises(RunError, match="STEERKIT_CACHE"):
        embedded.folder(gguf)
    assert [name for name in os.listdir(embedded.cache_root()) if not name.endswith(".lock")] == []
    with converting(monkeypatch, lambda folder: (folder / "model.safetensors").write_bytes(WEIGHTS)):
        target = embedded.folder(gguf)
    assert embedded.intact(target) and (target / "tokenizer.json").is_file()
