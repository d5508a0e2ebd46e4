"""Where methods act: the places of each site on several architectures, and what an edit there does to the model."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from small_adapters import host_of
from torch import Tensor, nn

from steerkit.errors import UsageError
from steerkit.host import Host, edited, generate
from steerkit.host.blocks import module_at
from steerkit.host.forward import (
    behind_common_prefix,
    block_outputs,
    entry,
    last_logprobs,
    plain_logprobs,
    prompt_means,
)
from steerkit.host.places import Inside, Place, entry_block, ordered, place_of, places, readers
from steerkit.personas import Persona
from steerkit.plugins import load_method
from steerkit.stages.capture import capture, gram_root
from steerkit.stages.dose import ladder
from steerkit.stages.fit import fit, layers, nulls, states, steps, tensors
from steerkit.stages.steer import Fitted, edits, held_open, uniform

ARCHITECTURES = ("llama", "qwen3", "gemma3_text", "gpt_neox")
METHODS = ("mean_mass", "sspace", "linear_act", "directional_ablation", "super_sspace")
CONTEXTS = tuple(f"Say something about the number {n} and about {'tea' if n % 2 else 'work'}." for n in range(12))
TOPICS = tuple("code" if n % 2 else "ethics" for n in range(12))
PROMPTS = [[256, *range(97, 97 + length)] for length in (9, 12, 10)]
PERSONA = Persona(name="p", description="d", positive="a bold one", negative="a meek one", target="Authority", sign=-1)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    folder = tmp_path_factory.mktemp("models")
    return {name: host_of(folder, name) for name in ARCHITECTURES}


@pytest.fixture(params=[name for name in ARCHITECTURES if name != "qwen3"])
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    found: Host = hosts[request.param]
    return found


@pytest.fixture
def llama(hosts: dict[str, Host]) -> Host:
    return hosts["llama"]


@cache
def fitted_on(host: Host, method: str, blocks: tuple[int, ...] = (2, 3)) -> Fitted:
    module = load_method(method)
    captured = capture(host, PERSONA, CONTEXTS, blocks, module.SITE, TOPICS)
    return fit(captured, method, module.Config(), "run")


def logits(host: Host, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        found: Tensor = host.model(input_ids=torch.tensor([[*ids]]), use_cache=False).logits[0]
    return found


@contextmanager
def watched(host: Host, site: Sequence[Place], seen: dict[Place, Tensor]) -> Iterator[None]:
    """Note what modules write with hooks of our own."""

    def note(place: Place) -> Any:
        return lambda _module, _given, output: seen.__setitem__(
            place, output[0] if isinstance(output, tuple) else output
        )

    with ExitStack() as hooks:
        for place in site:
            hooks.callback(module_at(host, place)[0].register_forward_hook(note(place)).remove)
        yield


def under(host: Host, fitted: Fitted, strength: float, ids: Sequence[int]) -> Tensor:
    with edited(host, held_open([(fitted, torch.tensor([strength]))]), torch.zeros(1, dtype=torch.long)):
        return logits(host, ids)


@pytest.mark.parametrize(
    ("architecture", "attention", "mlp", "second"),
    [
        ("llama", "self_attn.o_proj", "mlp.down_proj", "post_attention_layernorm"),
        ("qwen3", "self_attn.o_proj", "mlp.down_proj", "post_attention_layernorm"),
        ("gemma3_text", "self_attn.o_proj", "mlp.down_proj", "pre_feedforward_layernorm"),
        ("gpt_neox", "attention.dense", "mlp.dense_4h_to_h", "post_attention_layernorm"),
    ],
)
def test_places_are_found_by_what_modules_do(
    hosts: dict[str, Host], architecture: str, attention: str, mlp: str, second: str
) -> None:
    host = hosts[architecture]
    assert places(host, "writers", [1]) == (Inside(1, attention), Inside(1, mlp))
    assert places(host, "norms", [1]) == (Inside(1, "input_layernorm"), Inside(1, second))
    # Both halves of a parallel block read what enters it, so that nothing is read half-way.
    halves = () if architecture == "gpt_neox" else tuple(Inside(block, second, reads=True) for block in range(4))
    assert places(host, "everywhere", [1, 2]) == (2, -1, 0, 1, 3, *halves)
    for site in ("residual", "conditional", "weighted"):
        assert places(host, site, [1, 2]) == (1, 2)


def test_a_norm_s_readers(llama: Host) -> None:
    assert readers(llama, 1, "post_attention_layernorm") == ["mlp.gate_proj", "mlp.up_proj"]
    assert readers(llama, 1, "input_layernorm") == [f"self_attn.{part}_proj" for part in "qkv"]


def test_an_unknown_site_and_a_model_without_the_modules(llama: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"site.*'nowhere'.*residual"):
        places(llama, "nowhere", [1])
    mlp: Any = llama.blocks[1].get_submodule("mlp")
    with monkeypatch.context() as changed:
        changed.setitem(mlp._modules, "down_proj", nn.Sequential(mlp.down_proj))
        with pytest.raises(
            UsageError, match=r"Linear named mlp.down_proj or .* but block 1 .*LlamaDecoderLayer.* holds"
        ):
            places(llama, "writers", [1])
        changed.setitem(mlp._modules, "gate_proj", nn.Sequential(nn.Identity(), mlp.gate_proj))
    block: Any = llama.blocks[2]
    for name in ("input_layernorm", "post_attention_layernorm"):
        monkeypatch.setitem(block._modules, name, nn.Identity())
    for site in ("norms", "everywhere"):
        with pytest.raises(UsageError, match=f"site '{site}' needs a norm whose output Linears read, but block 2"):
            places(llama, site, [1, 2])


def test_a_place_is_its_text() -> None:
    for place in (0, -1, 12, Inside(3, "mlp.down_proj"), Inside(10, "norm", reads=True)):
        assert place_of(str(place)) == place
    inner, outer = Inside(2, "mlp.down_proj"), Inside(2, "norm", reads=True)
    assert ordered([3, inner, -1, 2, outer]) == [-1, outer, inner, 2, 3]
    assert (entry_block([3, 2]), entry_block([3, inner]), entry_block([-1, 5]), entry_block([])) == (2, 1, -1, -1)


def test_captured_activations_are_what_the_modules_write(host: Host) -> None:
    site = places(host, "writers", [1, 2])
    seen = block_outputs(host, behind_common_prefix(PROMPTS), site)
    for row, ids in enumerate(PROMPTS):
        found: dict[Place, Tensor] = {}
        with watched(host, site, found):
            logits(host, ids)
        for at in site:
            torch.testing.assert_close(seen[at][row], found[at][0, -1], rtol=1e-3, atol=1e-4)


def test_the_weights_come_with_the_contrast(llama: Host) -> None:
    captured = capture(llama, PERSONA, CONTEXTS, [1, 2], "writers")
    for place, contrast in captured.contrasts.items():
        assert isinstance(place, Inside)
        linear = llama.blocks[place.block].get_submodule(place.module)
        assert torch.equal(contrast.weight, linear.weight) and contrast.bias is None
    root = capture(llama, PERSONA, CONTEXTS, [1, 2], "weighted").contrasts[1].weight
    gram = torch.zeros(32, 32, dtype=torch.float64)
    for block in (1, 2):
        for linear in (m for m in llama.blocks[block].modules() if isinstance(m, nn.Linear)):
            weight = linear.weight.double()
            if weight.shape[0] != weight.shape[1]:
                gram += weight.T @ weight if weight.shape[1] == 32 else weight @ weight.T
    assert root is not None
    torch.testing.assert_close(root.double().T @ root.double(), gram, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gram_root(llama, [1, 2]), root)


@pytest.mark.parametrize("method", METHODS)
def test_steering_changes_the_model_and_strength_zero_does_not(host: Host, method: str) -> None:
    fitted = fitted_on(host, method)
    assert torch.equal(under(host, fitted, 0.0, PROMPTS[0]), logits(host, PROMPTS[0]))
    assert not torch.allclose(under(host, fitted, 2.0, PROMPTS[0]), logits(host, PROMPTS[0]), atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_short_cuts_give_what_whole_prompts_give(host: Host, method: str) -> None:
    """Prefix shared by all rows, blocks below the first edit run once: for edits inside blocks and everywhere, too."""
    fitted, rows = fitted_on(host, method), behind_common_prefix(PROMPTS)
    start = entry(host, rows, entry_block(fitted.states) + 1)
    found = last_logprobs(host, rows, lambda logprobs, _: logprobs[:, -1], uniform(fitted, 1.5), start)
    plain = plain_logprobs(host, rows, lambda logprobs, _: logprobs[:, -1], uniform(fitted, 1.5))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=2e-3)
    for row, ids in enumerate(PROMPTS):
        whole = under(host, fitted, 1.5, ids)[-1].log_softmax(-1)
        torch.testing.assert_close(plain[row], whole, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_generation_gives_what_whole_texts_give(host: Host, method: str) -> None:
    fitted, strengths = fitted_on(host, method), torch.tensor([0.0, 6.0, -3.0])
    written = generate(host, PROMPTS, edits([(fitted, strengths)]), 3)
    for ids, text, strength in zip(PROMPTS, written, strengths.tolist(), strict=True):
        so_far = [*ids]
        for token, kl in zip(text.tokens, text.kl, strict=False):
            steered = under(host, fitted, strength, so_far)[-1].log_softmax(-1)
            base = logits(host, so_far)[-1].log_softmax(-1)
            assert float(steered.max() - steered[token]) < 1e-3
            assert kl == pytest.approx(float((steered.exp() * (steered - base)).sum()), rel=2e-2, abs=2e-3)
            so_far.append(token)
    assert max(written[0].kl) < 1e-6 and max(written[1].kl) > 1e-3


@pytest.mark.parametrize("method", ["directional_ablation"])
def test_an_ablated_direction_is_nowhere_to_be_read(host: Host, method: str) -> None:
    fitted = fitted_on(host, method)
    vector = fitted.states[-1]["vector"]
    unit = vector / vector.norm()
    read: list[Tensor] = []
    norms = [
        name for name, m in host.decoder.named_modules() if name.endswith(("input_layernorm", "attention_layernorm"))
    ]
    norms = [name for name in norms if "gemma" not in type(host.model).__name__.lower() or "input" in name]
    with edited(host, uniform(fitted, 0.5), torch.zeros(1, dtype=torch.long)):
        # Behind the edits' own hooks on these norms, so that what they read is seen.
        hooks = [
            host.decoder.get_submodule(name).register_forward_pre_hook(lambda _m, given: read.append(given[0]))
            for name in norms
        ]
        logits(host, PROMPTS[0])
    for hook in hooks:
        hook.remove()
    assert len(read) == len(norms) > 3
    for hidden in read:
        torch.testing.assert_close(
            hidden @ unit, torch.full(hidden.shape[:2], 0.5) * vector.norm(), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("method", METHODS)
def test_states_survive_their_flat_form(llama: Host, method: str) -> None:
    fitted = fitted_on(llama, method)
    again = states(tensors(fitted))
    assert set(again) == set(fitted.states)
    for place, state in fitted.states.items():
        assert all(torch.equal(again[place][name], value) for name, value in state.items())


@pytest.mark.parametrize("method", ["pca", "angular", "chars", *METHODS])
@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_every_method_has_nulls(llama: Host, method: str, kind: str) -> None:
    module = load_method(method)
    captured = capture(llama, PERSONA, CONTEXTS, [1, 2], module.SITE, TOPICS)
    real = fit(captured, method, module.Config(), "run")
    first, second = nulls(captured, method, module.Config(), "run", kind, range(2))
    for block, step in steps(real).items():
        one, other = (steps(null)[block] for null in (first, second))
        assert float(one.norm()) == pytest.approx(float(step.norm()), rel=0.5)
        assert torch.cosine_similarity(one, other, dim=0).abs() < 0.95


def test_a_direction_s_quality_is_told_per_block(llama: Host) -> None:
    for method in ("sspace", "directional_ablation"):
        module = load_method(method)
        captured = capture(llama, PERSONA, CONTEXTS, [1, 2], module.SITE, TOPICS)
        found = layers(captured, fit(captured, method, module.Config(), "run"), "run", "unit")
        # One direction for the whole model is fitted, and told, at the middle of the band.
        assert [layer.block for layer in found] == ([1, 2] if method == "sspace" else [2])
        assert all(layer.half_split_cosine is not None and abs(layer.half_split_cosine) <= 1 for layer in found)


def conditional(host: Host, threshold: float, side: float = 1.0) -> Fitted:
    """A condition by hand: a row's likeness at or above the threshold."""
    fitted, rule = fitted_on(host, "cast"), {"threshold": torch.tensor([threshold]), "side": torch.tensor([side])}
    return replace(fitted, states={place: state | rule for place, state in fitted.states.items()})


def likenesses(host: Host, fitted: Fitted) -> Tensor:
    from steerkit.methods import cast

    means = prompt_means(host, behind_common_prefix(PROMPTS), 2)
    return cast.likeness(means, fitted.states[2]["condition"])


def test_a_prompt_s_mean_is_over_all_its_tokens(host: Host) -> None:
    found = prompt_means(host, behind_common_prefix(PROMPTS), 1)
    for row, ids in enumerate(PROMPTS):
        seen: dict[Place, Tensor] = {}
        with watched(host, [1], seen):
            logits(host, ids)
        torch.testing.assert_close(found[row], seen[1][0].mean(0), rtol=1e-3, atol=1e-3)


def test_prompts_that_do_not_meet_the_condition_are_left_alone_to_the_bit(host: Host) -> None:
    values = likenesses(host, fitted_on(host, "cast"))
    middle = float(values.sort().values[:2].mean())
    fitted, rows = conditional(host, middle), behind_common_prefix(PROMPTS)
    met = values >= middle
    assert met.tolist().count(True) == 2

    def last(logprobs: Tensor, _: Tensor) -> Tensor:
        return logprobs[:, -1]

    base, all_on = (last_logprobs(host, rows, last, chosen) for chosen in ({}, dict(edits([(fitted, torch.ones(1))]))))
    for way in (last_logprobs, plain_logprobs):
        found = way(host, rows, last, uniform(fitted, 1.0))
        torch.testing.assert_close(found[met], all_on[met], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found[~met], base[~met], rtol=1e-3, atol=1e-3)
    written = generate(host, PROMPTS, edits([(fitted, torch.full((3,), 4.0))]), 4)
    assert [max(text.kl) > 1e-4 for text in written] == met.tolist()
    assert all(kl == 0 for text, on in zip(written, met.tolist(), strict=True) if not on for kl in text.kl)


def test_a_dose_is_of_where_a_method_acts(llama: Host) -> None:
    closed = conditional(llama, 2.0)
    assert all(kl == 0 for text in generate(llama, PROMPTS, edits([(closed, torch.ones(3))]), 3) for kl in text.kl)
    (dose,) = ladder(llama, [(closed, 3.0)], PROMPTS, 3, "run", "unit")
    assert dose.kl_p95 > 1e-3


def test_cast_finds_topics_that_differ() -> None:
    from steerkit.methods import cast
    from steerkit.testing import planted

    contrast = planted()[0]
    config = cast.Config(topics=("ethics",))
    state = cast.fit(contrast, config)
    assert contrast.prompts is not None
    decided = cast.decide(contrast.prompts, state, config)
    assert float(state["f1"]) > 0.8
    right = sum(bool(yes) == (topic == "ethics") for yes, topic in zip(decided, contrast.topics, strict=True))
    assert right >= len(contrast.topics) - 3


def test_cast_says_which_topics_there_are() -> None:
    from steerkit.methods import cast
    from steerkit.testing import planted

    with pytest.raises(
        Exception, match="topics cooking, but got 0 on and 16 off; the contexts' topics are code, ethics"
    ):
        cast.fit(planted()[0], cast.Config(topics=("cooking",)))
