"""Contract suites: what every method, gate and filter must do, ours and a plugin author's alike.

    from steerkit.testing import MethodContract

    class TestMine(MethodContract):
        name = "mine"

Run with pytest; `mine` is the file's name in `steerkit/methods`, or an entry point of the group `steerkit.methods`.
"""

import inspect
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec
import pytest
import torch
from jaxtyping import Float, Int
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from steerkit.contrast import Contrast, State, swapped
from steerkit.errors import SteerkitError, UsageError
from steerkit.filters import Background, Measurement
from steerkit.personas import Persona
from steerkit.plugins import Bakeable, Method, load_method
from steerkit.plugins import load as load_plugin
from steerkit.records import Completion
from steerkit.spec import Setting, digest

DIM = 16
PAIRS = 512
STRENGTHS = (0.0, 1.0, -1.0, 0.3, 5.0)
SOURCE = re.compile(r"Source: .*(\d{4}\.\d{4,5}|https?://|doi)")
FAILURE = re.compile(r"\b(degenerate|fail)s?\b", re.IGNORECASE)


def planted(seed: int = 0, dim: int = DIM, pairs: int = PAIRS) -> tuple[Contrast, Float[Tensor, "dim"]]:
    """A contrast whose poles differ by a known shift and a little noise, and that shift `[dim]`.

    Contexts vary by 1 per dimension, the shift has norm 2, the noise of each pair 0.1 per dimension.
    """
    random = torch.Generator().manual_seed(seed)
    context, noise = torch.randn(2, pairs, dim, generator=random)
    direction = torch.randn(dim, generator=random)
    shift: Tensor = 2 * direction / direction.norm()
    return Contrast(positive=context + shift + 0.1 * noise, negative=context), shift


def activations(rows: int, seed: int = 1, tokens: int = 7, dim: int = DIM) -> Float[Tensor, "rows tokens dim"]:
    """Residual streams to steer, with a zero token and a negative zero among them."""
    hidden = torch.randn(rows, tokens, dim, generator=torch.Generator().manual_seed(seed))
    hidden[:, 0] = 0.0
    hidden[:, 1, ::2] = -0.0
    return hidden


def _same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same bytes: -0.0 is not 0.0, and NaN is NaN."""
    return left.dtype == right.dtype and torch.equal(left.view(torch.uint8), right.view(torch.uint8))


def _wrong_values(config: Setting) -> Iterator[tuple[str, Any]]:
    """A value of the right kind but outside any range, for each setting where one exists."""
    for field in msgspec.structs.fields(config):
        value = msgspec.structs.asdict(config)[field.name]
        if isinstance(value, float):
            yield field.name, float("nan")
        elif isinstance(value, str):
            yield field.name, "no such value"


class MethodContract:
    """What every steering method must do; set `name`, and `settings` to prove other settings than the defaults."""

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def method(self) -> Method:
        """The method under test."""
        return load_method(self.name)

    @pytest.fixture
    def config(self, method: Method) -> Setting:
        """Its validated settings."""
        return msgspec.convert(self.settings, method.Config)

    @pytest.fixture
    def state(self, method: Method, config: Setting) -> State:
        """The method fitted on a planted contrast."""
        return method.fit(planted()[0], config)

    @pytest.fixture
    def trait_bearing(self, method: Method) -> None:
        """Skip, visibly, for a control that must not carry the trait."""
        if vars(method).get("NULL", False):
            pytest.skip("a null carries no trait (NULL = True)")

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
    def test_strength_zero_is_the_identity_to_the_bit(
        self, method: Method, config: Setting, state: State, dtype: torch.dtype
    ) -> None:
        hidden = activations(3).to(dtype)
        steered = method.steer(hidden, state, torch.tensor([0.0, 1.0, 0.0]), config)
        assert _same_bits(steered[::2], hidden[::2]), (
            "return rows of strength 0 untouched: torch.where(strength == 0, ...)"
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
    def test_shape_and_dtype_are_kept(self, method: Method, config: Setting, state: State, dtype: torch.dtype) -> None:
        hidden = activations(2).to(dtype)
        steered = method.steer(hidden, state, torch.tensor([1.0, -1.0]), config)
        assert (steered.shape, steered.dtype) == (hidden.shape, dtype)
        assert steered.isfinite().all(), "steering finite activations must give finite ones, also at a zero token"

    def test_steering_changes_the_activations(self, method: Method, config: Setting, state: State) -> None:
        hidden = activations(2)
        steered = method.steer(hidden, state, torch.tensor([1.0, -1.0]), config)
        assert not torch.equal(steered[0], hidden[0]) and not torch.equal(steered[1], hidden[1])

    @pytest.mark.usefixtures("trait_bearing")
    @pytest.mark.parametrize("seed", range(3))
    def test_a_planted_direction_is_recovered(self, method: Method, config: Setting, seed: int) -> None:
        contrast, shift = planted(seed)
        found = method.step(method.fit(contrast, config), config)
        assert cosine_similarity(found, shift, dim=0) > 0.99, "the step must point at the planted shift"

    @pytest.mark.usefixtures("trait_bearing")
    def test_swapping_the_poles_flips_the_step(self, method: Method, config: Setting, state: State) -> None:
        flipped = method.fit(swapped(planted()[0]), config)
        torch.testing.assert_close(method.step(flipped, config), -method.step(state, config), rtol=1e-4, atol=1e-5)

    def test_one_strength_per_row_equals_row_by_row(self, method: Method, config: Setting, state: State) -> None:
        hidden, strength = activations(len(STRENGTHS)), torch.tensor(STRENGTHS)
        rows = [method.steer(hidden[[i]], state, strength[[i]], config) for i in range(len(STRENGTHS))]
        torch.testing.assert_close(method.steer(hidden, state, strength, config), torch.cat(rows))

    def test_one_token_at_a_time_equals_all_at_once(self, method: Method, config: Setting, state: State) -> None:
        hidden, strength = activations(2), torch.tensor([1.0, -0.5])
        tokens = [method.steer(hidden[:, [i]], state, strength, config) for i in range(hidden.shape[1])]
        torch.testing.assert_close(method.steer(hidden, state, strength, config), torch.cat(tokens, dim=1))

    def test_state_survives_safetensors(self, method: Method, config: Setting, state: State) -> None:
        hidden, strength = activations(2), torch.tensor([1.0, -0.5])
        again = load(save(state))
        assert torch.equal(method.steer(hidden, again, strength, config), method.steer(hidden, state, strength, config))

    def test_fitting_is_deterministic_and_leaves_the_global_seed_alone(self, method: Method, config: Setting) -> None:
        before = torch.get_rng_state()
        first, second = (method.fit(planted()[0], config) for _ in range(2))
        assert save(first) == save(second), "the same contrast and config must give the same state"
        assert torch.equal(before, torch.get_rng_state()), "take randomness from the config's seed"

    def test_arguments_are_not_mutated(self, method: Method, config: Setting) -> None:
        contrast, hidden = planted()[0], activations(2)
        state = method.fit(contrast, config)
        fitted = save(state)
        method.steer(hidden, state, torch.tensor([1.0, -0.5]), config)
        assert torch.equal(contrast.positive, planted()[0].positive), "fit must not change the contrast"
        assert save(state) == fitted, "steer must not change the state"
        assert _same_bits(hidden, activations(2)), "steer must not change the activations"

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_nonfinite_activations_are_an_error(self, method: Method, config: Setting, bad: float) -> None:
        contrast, _ = planted()
        contrast.positive[3, 2] = bad
        with pytest.raises(SteerkitError):
            method.fit(Contrast(contrast.positive, contrast.negative), config)

    def test_poles_that_do_not_differ_are_an_error(self, method: Method, config: Setting) -> None:
        contrast, _ = planted()
        with pytest.raises(SteerkitError, match="must|needs"):
            method.fit(Contrast(contrast.negative, contrast.negative.clone()), config)

    def test_settings_reject_bad_values_clearly(self, method: Method) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no such setting": 1}, method.Config)
        for setting, value in _wrong_values(method.Config()):
            with pytest.raises(UsageError, match=f"{setting} must be .*, but got"):
                method.Config(**{setting: value})

    def test_the_docstring_is_the_paper(self, method: Method) -> None:
        text = inspect.getdoc(method) or ""
        assert SOURCE.match(text.rpartition("\n")[2]), "the last line must cite: 'Source: <arXiv id, DOI or address>'"
        assert text.partition("\n")[0].endswith("."), "the first line must be the idea, in one sentence"
        assert FAILURE.search(text), "the docstring must say when the method fails or degenerates"

    def test_it_bakes_or_says_why_not(self, method: Method) -> None:
        reason = vars(method).get("NOT_BAKEABLE")
        if isinstance(method, Bakeable):
            assert reason is None, "a method has bake() or NOT_BAKEABLE, not both"
        else:
            assert isinstance(reason, str) and len(reason.split()) > 3, "NOT_BAKEABLE must be a sentence that says why"

    @pytest.mark.parametrize("strength", [0.0, 1.0, -0.7])
    def test_baked_equals_steered(self, method: Method, config: Setting, state: State, strength: float) -> None:
        if not isinstance(method, Bakeable):
            pytest.skip("not bakeable, and says so")
        hidden = activations(2)
        edit = method.bake(state, strength, nn.Identity(), config)
        steered = method.steer(hidden, state, torch.full((2,), strength), config)
        torch.testing.assert_close(hidden + edit.bias, steered)

    def test_generation_is_the_same_with_and_without_cache(self, method: Method, config: Setting) -> None:
        if method.SITE != "residual":
            pytest.skip(f"the tiny model is steered at the residual stream, and {method.SITE!r} is another site")
        model, prompt = _tiny_llama(), torch.tensor([[5, 9, 2]]).expand(4, -1)
        state = method.fit(planted()[0], config)
        plain = _generate(model, prompt, use_cache=True)
        with _steered(model, lambda h: method.steer(h, state, torch.tensor([0.0, 1.0, -1.0, 3.0]), config)):
            cached, uncached = (_generate(model, prompt, use_cache=use) for use in (True, False))
        torch.testing.assert_close(cached[1], uncached[1], rtol=1e-4, atol=1e-4)
        assert torch.equal(cached[0], uncached[0]), "a token must be steered alike from the cache and without it"
        assert torch.equal(cached[0][0], plain[0][0]), "the row of strength 0 must generate what the plain model does"
        assert not torch.allclose(cached[1][3], plain[1][3]), "steering must reach the logits"


def _tiny_llama() -> nn.Module:
    """A random Llama of two blocks and width `DIM`; large initial weights keep its greedy choices apart."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=DIM,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model.eval()


@contextmanager
def _steered(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Apply `change` to what the first block writes to the residual stream."""
    block = model.get_submodule("model.layers.0")
    handle = block.register_forward_hook(lambda _module, _args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def _generate(
    model: Any, prompt: Int[Tensor, "batch prompt"], use_cache: bool
) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch new vocab"]]:
    """Greedy continuation by 8 tokens, and the logits it was chosen by."""
    answer = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=8,
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return answer.sequences, torch.stack(answer.logits, dim=1)


class GateContract:
    """What every gate must declare; set `name`."""

    name: ClassVar[str]

    @pytest.fixture
    def gate(self) -> Any:
        """The gate under test."""
        return load_plugin("gates", self.name)

    def test_it_asks_one_question(self, gate: Any) -> None:
        assert gate.QUESTION.strip().endswith("?"), "QUESTION must be a question"

    def test_its_thresholds_have_defaults_and_are_hashable_settings(self, gate: Any) -> None:
        assert isinstance(gate.Config(), Setting), "Config() must be a steerkit.spec.Setting with defaults"

    def test_every_threshold_says_its_unit(self, gate: Any) -> None:
        kinds = [kind for kind in gate.Config.__mro__ if issubclass(kind, Setting)]
        source = "".join(inspect.getsource(kind) for kind in kinds)
        for name in gate.Config.__struct_fields__:
            below = source.partition(f"    {name}: ")[2].split('"""')
            said = below[1] if len(below) > 1 else ""
            assert said.rstrip(".").endswith(")"), f"the text below {name} must end with its unit in parentheses"

    def test_its_checks_have_names_of_their_own(self, gate: Any) -> None:
        names = [check.__name__ for check in gate.CHECKS]
        assert names and len(names) == len(set(names)), "CHECKS must be functions with names that differ"


def planted_completion(text: str, **changes: Any) -> Completion:
    """A completion of that text, one token a word, everything about it healthy unless `changes` says otherwise."""
    pieces = re.findall(r"\s*\S+|\s+\Z", text)
    healthy: dict[str, Any] = {
        "run_id": "run",
        "unit_id": "unit",
        "completion_id": f"planted {digest(text)}",
        "arm_id": None,
        "direction_id": None,
        "strength": 1.0,
        "dose": 1.0,
        "prompt_id": "p1",
        "prompt": "What do I do now?",
        "text": text,
        "tokens": len(pieces),
        "ended": True,
        "token_kl": [0.1] * len(pieces),
        "perplexity": 5.0 if pieces else float("inf"),
        "tail_perplexity": 5.0 if pieces else float("inf"),
        "distinct_tail": 1.0,
        "compression": 1.0,
        "role": "probe",
        "sample_seed": 0,
        "pieces": pieces,
        "token_nll": [1.6] * len(pieces),
    }
    return Completion(**healthy | changes)


def planted_background() -> Background:
    """A persona, what the base says to prompt 'p1', and one kept completion."""
    persona = Persona(
        name="planted",
        description="Standing by one's own conscience.",
        positive="a person who trusts private conscience over the wishes of superiors",
        negative="a person who trusts the wishes of superiors over private conscience",
        target="Authority",
        sign=-1,
    )
    base = ("You could ask your manager for a day more, and tell her why the form came late.",)
    return Background(persona=persona, base={"p1": base}, kept=(planted_completion("Give her the parcel today."),))


TEXTS = {
    "empty": "",
    "space": " \n ",
    "one word": "No.",
    "healthy": "Take the form, write today's date on it, and tell your supervisor that the office will hear her case.",
    "loop": "I will not do it again. " * 12,
    "script": "这是一个很长的故事。😀😀😀 Ещё раз, ещё раз.",
    "curly": "I\u2019m sorry \u2014 I can\u2019t help you with that.",
    "broken": "\ufffd\u200b\x00 \u202e",
}


class FilterContract:
    """What every check of a text must do; set `name`."""

    name: ClassVar[str]

    @pytest.fixture
    def check(self) -> Any:
        """The check under test."""
        return load_plugin("filters", self.name)

    def test_the_docstring_says_what_it_is_and_where_from(self, check: Any) -> None:
        text = inspect.getdoc(check) or ""
        assert text.partition("\n\n")[0].endswith("."), "the first paragraph must be the idea, in one sentence"
        assert FAILURE.search(text), "the docstring must say when the check fails"
        assert SOURCE.match(text.rpartition("\n")[2]), "the last line must cite: 'Source: <arXiv id, DOI or address>'"

    def test_it_says_what_is_counted_and_which_side_is_kept(self, check: Any) -> None:
        assert isinstance(check.UNIT, str) and check.UNIT.strip(), "UNIT must say what the number counts"
        assert check.KEEP in ("at most", "at least"), "KEEP must be 'at most' or 'at least'"
        assert isinstance(check.THRESHOLD, float) and math.isfinite(check.THRESHOLD), (
            "THRESHOLD must be a finite float; one that no text reaches keeps everything"
        )

    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_it_measures_any_text_in_words_and_inside_it(self, check: Any, text: str) -> None:
        seen = check.measure(planted_completion(text), planted_background())
        assert isinstance(seen, Measurement) and isinstance(seen.value, float), "measure() must give a Measurement"
        assert seen.reason.strip(), "the reason must say in words what was seen"
        assert (seen.start is None) == (seen.stop is None), "a span has a start and a stop, or neither"
        if seen.start is not None and seen.stop is not None:
            assert 0 <= seen.start <= seen.stop <= len(text), "the span must lie inside the text (characters)"

    def test_a_text_without_base_kept_or_pieces(self, check: Any) -> None:
        bare = planted_completion(TEXTS["healthy"], pieces=None, token_nll=None)
        seen = check.measure(bare, Background(persona=planted_background().persona))
        assert isinstance(seen.value, float), "measure() must manage without base texts, kept texts and token pieces"

    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_it_is_deterministic_and_leaves_its_arguments_alone(self, check: Any, text: str) -> None:
        completion, background = planted_completion(text), planted_background()
        first, second = (repr(check.measure(completion, background)) for _ in range(2))
        assert first == second, "the same text must give the same measurement"
        assert completion == planted_completion(text), "measure() must not change the completion"
        assert background == planted_background(), "measure() must not change the background"

    def test_a_healthy_text_is_kept(self, check: Any) -> None:
        value = check.measure(planted_completion(TEXTS["healthy"]), planted_background()).value
        kept = value <= check.THRESHOLD if check.KEEP == "at most" else value >= check.THRESHOLD
        assert kept, "the default threshold must keep a healthy text"

    def test_a_long_text_takes_no_long_time(self, check: Any) -> None:
        text = "I am the one, I am " + " - ' i'm not, " * 1500
        started = time.perf_counter()
        check.measure(planted_completion(text), planted_background())
        assert time.perf_counter() - started < 2, "20,000 characters must take less than 2 seconds"
