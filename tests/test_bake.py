"""Adapters in weights and beside them: what goes in comes out to the bit, and every way of applying them agrees."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import torch
from small_adapters import IDS, bits, changed, host_of, logits, one, three
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.host import Host
from steerkit.host.load import fingerprint
from steerkit.stages import bake
from steerkit.stages._adapters import linears
from steerkit.stages.bake import Layered, Stack, baked, hooked

ARCHITECTURES = ("llama", "qwen3", "gemma3_text")
DOWN_PROJ = "model.layers.1.mlp.down_proj"
NOUGHT = [0.0, 0.0, 0.0]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def any_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"), dtype="bfloat16")


def weights(host: Host) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in host.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(bits(first[name]).equal(bits(second[name])) for name in first)


@contextmanager
def planted(host: Host, path: str, weight: Tensor) -> Iterator[Host]:
    """The host with another weight in one Linear, as if it had been loaded so."""
    linear = linears(host)[path]
    kept, linear.weight.data = linear.weight.data, weight.to(linear.weight.dtype)
    try:
        yield replace(host, fingerprint=fingerprint(host.model, host.dtype))
    finally:
        linear.weight.data = kept


@contextmanager
def in_peft(host: Host, stack: Stack, gates: Sequence[float] | None = None) -> Iterator[None]:
    model = bake.with_peft(host, stack, gates)
    try:
        yield
    finally:
        model.unload()


States = Callable[[Host, Stack, Sequence[float] | None], AbstractContextManager[object]]
each_state = pytest.mark.parametrize("state", [baked, hooked, in_peft])


@each_state
def test_gates_of_nought_are_the_base_to_the_bit(any_host: Host, state: States) -> None:
    before = logits(any_host)
    with state(any_host, three(any_host), NOUGHT):
        assert bits(logits(any_host)).equal(bits(before))
    with state(any_host, three(any_host), [0.0, 0.0, 1.0]):
        assert not logits(any_host).equal(before)
    assert bits(logits(any_host)).equal(bits(before))


@each_state
def test_gates_of_nought_are_the_base_in_bfloat16_too(half: Host, state: States) -> None:
    before = logits(half)
    with state(half, three(half), NOUGHT):
        assert bits(logits(half)).equal(bits(before))


def test_gates_of_nought_keep_even_the_sign_of_a_zero(host: Host) -> None:
    with planted(host, DOWN_PROJ, torch.full((32, 48), -0.0)) as ready:
        weight = linears(ready)[DOWN_PROJ].weight
        before = weight.clone()
        with baked(ready, three(ready), NOUGHT):
            assert bits(weight).equal(bits(before))


def test_leaving_puts_every_weight_back_to_the_bit(any_host: Host) -> None:
    before = weights(any_host)
    with baked(any_host, three(any_host)):
        inside = weights(any_host)
    assert same(weights(any_host), before)
    moved = {name for name in before if not inside[name].equal(before[name])}
    assert moved == {f"{path}.weight" for path in three(any_host).layers[0].paths}


@each_state
def test_an_error_inside_puts_everything_back(host: Host, state: States) -> None:
    before, answer = weights(host), logits(host)
    with pytest.raises(ZeroDivisionError), state(host, three(host), None):
        raise ZeroDivisionError
    assert same(weights(host), before)
    assert logits(host).equal(answer)


def test_an_error_while_baking_puts_everything_back(half: Host) -> None:
    before, found = weights(half), one(half, "a")
    last = found.paths[-1]
    huge = Layered(found.adapter, {**found.tensors, f"{last}.lora_B": found.tensors[f"{last}.lora_B"] * 3e38})
    with pytest.raises(RunError, match=f"{last} gets some"), baked(half, bake.stack(half, [huge])):
        pass
    assert same(weights(half), before)


def test_off_is_the_base_and_then_the_student_again_to_the_bit(any_host: Host) -> None:
    before, answer = weights(any_host), logits(any_host)
    with baked(any_host, three(any_host)) as student:
        inside, changed_answer = weights(any_host), logits(any_host)
        with student.off():
            assert same(weights(any_host), before)
            assert logits(any_host).equal(answer)
            with student.off():
                assert same(weights(any_host), before)
            assert same(weights(any_host), before)
        assert same(weights(any_host), inside)
        with pytest.raises(ZeroDivisionError), student.off():
            raise ZeroDivisionError
        assert same(weights(any_host), inside)
        assert logits(any_host).equal(changed_answer)


def test_off_does_not_disturb_a_backward_pass(host: Host) -> None:
    def gradient(*, interrupted: bool) -> Tensor:
        hidden = torch.linspace(-1, 1, 32)[None, None].repeat(1, 3, 1).requires_grad_()
        with baked(host, three(host)) as student:
            loss = host.model(inputs_embeds=hidden, use_cache=False).logits.square().mean()
            if interrupted:
                with student.off(), torch.no_grad():
                    host.model(inputs_embeds=hidden, use_cache=False)
            loss.backward()
        assert hidden.grad is not None
        return hidden.grad

    assert gradient(interrupted=True).equal(gradient(interrupted=False))


@pytest.mark.parametrize("gates", [None, [1.0, 0.0, -0.5]])
def test_every_way_of_applying_adapters_agrees(any_host: Host, gates: list[float] | None) -> None:
    found, base = three(any_host), logits(any_host)
    with baked(any_host, found, gates):
        folded = logits(any_host)
    for state in (hooked, in_peft):
        with state(any_host, found, gates):
            beside = logits(any_host)
        assert (folded - beside).abs().max() < 1e-4
    assert (folded - base).abs().max() > 0.1


def test_gates_inside_peft_can_be_turned(host: Host) -> None:
    found, turned = three(host), []
    model, every = bake.with_peft(host, found), ([0.5, 0.0, 1.0], NOUGHT, [1.0, 1.0, -1.0])
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    for gates in every:
        bake.regated(model, gates)
        turned.append(logits(host))
    with pytest.raises(UsageError, match="one gate for each of 3 adapters"):
        bake.regated(model, [1.0])
    model.unload()
    for gates, seen in zip(every, turned, strict=True):
        with baked(host, found, gates):
            assert (logits(host) - seen).abs().max() < 1e-4


def test_adapters_beside_16_bit_weights_keep_32(half: Host) -> None:
    found = three(half)
    with hooked(half, found):
        wanted = logits(half)
    model = bake.with_peft(half, found)
    assert {weight.dtype for name, weight in model.named_parameters() if "lora_" in name} == {torch.float32}
    assert (logits(half) - wanted).abs().max() <= 0.1
    model.unload()


def test_peft_with_one_adapter_of_negative_gate(host: Host) -> None:
    found = bake.stack(host, [one(host, "a")])
    with baked(host, found, [-0.7]):
        folded = logits(host)
    with in_peft(host, found, [-0.7]):
        assert (logits(host) - folded).abs().max() < 1e-4


def test_peft_does_not_draw_from_the_callers_random_numbers(host: Host) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    with in_peft(host, three(host)):
        assert torch.rand(2).equal(wanted)


def test_a_student_of_no_adapter_is_the_base(host: Host) -> None:
    nothing, before = bake.stack(host, []), logits(host)
    with baked(host, nothing) as student, student.off():
        assert logits(host).equal(before)
    with pytest.raises(UsageError, match="without any it is the base"):
        bake.with_peft(host, nothing)


def test_deltas_are_the_gated_sum(any_host: Host) -> None:
    found, gates = three(any_host), (0.5, 0.0, 2.0)
    for path, delta in bake.deltas(found, gates).items():
        wanted = sum(
            gate * 2.0 * layer.tensors[f"{path}.lora_B"] @ layer.tensors[f"{path}.lora_A"]
            for gate, layer in zip(gates, found.layers, strict=True)
        )
        torch.testing.assert_close(delta, wanted)
    assert bake.deltas(found, NOUGHT) == {}


def test_three_adapters_are_summed_before_they_are_rounded(half: Host) -> None:
    """Each update alone is 0.4 of a step of bfloat16 at 1 and would round away; together they are more than one."""
    step = 2.0**-7
    with planted(half, DOWN_PROJ, torch.ones(32, 48)) as ready:
        found = []
        for number, name in enumerate("abc"):
            plain = one(ready, name, "abc"[:number], rank=1)
            tensors = {path: torch.zeros_like(tensor) for path, tensor in plain.tensors.items()}
            tensors[f"{DOWN_PROJ}.lora_A"] += 1
            tensors[f"{DOWN_PROJ}.lora_B"] += 0.4 * step / plain.scaling
            found.append(Layered(plain.adapter, tensors))
        weight = linears(ready)[DOWN_PROJ].weight
        for layered in found:
            alone = replace(three(ready), layers=(layered,))
            with baked(ready, alone):
                assert weight.eq(1).all()
        with baked(ready, bake.stack(ready, found)):
            assert weight.dtype == torch.bfloat16 and weight.eq(1 + step).all()


@each_state
def test_a_model_that_holds_adapters_takes_no_more(host: Host, state: States) -> None:
    found = three(host)
    for outer in (baked, in_peft):
        with (
            outer(host, found),
            pytest.raises(RunError, match="leave the student that is in"),
            state(host, found, None),
        ):
            pass
    with baked(host, found) as student, student.off(), state(host, found, NOUGHT):
        pass


def test_targets_that_the_blocks_do_not_have_are_refused(host: Host) -> None:
    for fields in ({"targets": ["mlp.other"]}, {"first_block": 7, "last_block": 9}):
        found = changed(one(host, "a"), **fields)
        with pytest.raises(UsageError, match=r"blocks . to . have no Linear of its targets, "):
            bake.stack(host, [found])


def test_adapters_of_another_model_are_refused(host: Host) -> None:
    foreign = changed(one(host, "a"), fingerprint="another")
    with pytest.raises(UsageError, match=f"another.*{host.fingerprint}"):
        bake.stack(host, [foreign])
    with pytest.raises(UsageError, match="made for another"), baked(host, Stack("another", ())):
        pass


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("ba", "adapter b was trained on top of a and must stand on exactly those, but before it came nothing (a miss"),
        ("ac", "adapter c was trained on top of a, b and must stand on exactly those, but before it came a (b missing"),
        ("bca", "before it came nothing (a missing)"),
        ("aa", "adapter a was trained on top of nothing and must stand on exactly those, but before it came a (a too"),
    ],
)
def test_a_history_with_gaps_is_refused(host: Host, order: str, said: str) -> None:
    known = {name: one(host, name, "abc"[:number]) for number, name in enumerate("abc")}
    with pytest.raises(UsageError) as error:
        bake.stack(host, [known[name] for name in order])
    assert said in str(error.value)


def test_a_history_in_another_order_is_refused(host: Host) -> None:
    swapped = [one(host, "a"), one(host, "b", "a"), one(host, "c", "ba")]
    with pytest.raises(UsageError, match="on top of b, a .* before it came a, b .out of order"):
        bake.stack(host, swapped)


def test_every_mismatch_is_named(host: Host) -> None:
    found = one(host, "a")
    up, down = "model.layers.1.mlp.down_proj.lora_B", "model.layers.2.self_attn.q_proj.lora_A"
    tensors = {**found.tensors, up: torch.zeros(5, 3), "model.layers.9.mlp.down_proj.lora_A": torch.zeros(3, 48)}
    tensors["model.layers.0.mlp.down_proj.lora_A"] = torch.zeros(3, 48)
    tensors["model.layers.2.self_attn.o_proj.lora_A"] = torch.full((3, 32), math.nan)
    del (
        tensors[down],
        tensors["model.layers.1.self_attn.q_proj.lora_A"],
        tensors["model.layers.1.self_attn.q_proj.lora_B"],
    )
    with pytest.raises(UsageError) as error:
        bake.stack(host, [Layered(found.adapter, tensors)])
    for said in (
        f"{up} must be [32, 3], but is [5, 3]",
        f"{down} is not there",
        "no Linear model.layers.9.mlp.down_proj",
        "model.layers.0.mlp.down_proj is none of its targets",
        "model.layers.1.self_attn.q_proj is updated by nothing",
        "model.layers.2.self_attn.o_proj.lora_A must be finite",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize("gates", [[1.0], [1.0, 1.0, math.nan], [1.0] * 4])
def test_gates_must_be_one_finite_number_per_adapter(host: Host, gates: list[float]) -> None:
    with pytest.raises(UsageError, match="one finite gate for each of 3 adapters"):
        bake.deltas(three(host), gates)


def test_divergence_sees_what_rounding_does(host: Host, half: Host) -> None:
    assert 0 <= bake.divergence(host, three(host), IDS) < 1e-6
    assert bake.check_bake(host, three(host), IDS, [0.0, 1.0, 0.0]).gap < 1e-6
    coarse = bake.divergence(half, three(half), IDS)
    assert coarse > 1e-6
    assert bake.divergence(half, three(half), IDS, NOUGHT) == 0


def test_a_student_that_16_bits_cannot_hold_is_folded_in_float32(half: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "LIMIT", 1e-6)
    before, settings = weights(half), half.model.config.to_dict()
    found = bake.check_bake(half, three(half), IDS)
    assert found.dtype == "float32" and found.gap < found.rounded / 10
    assert same(weights(half), before) and half.model.config.to_dict() == settings


def test_a_bake_that_is_another_student_is_an_error(half: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "LIMIT", -1.0)
    with pytest.raises(RunError, match=r"below -1 nats .* in float32.*--adapter"):
        bake.check_bake(half, three(half), IDS)


def test_divergence_leaves_every_tensor_as_it_was(half: Host) -> None:
    before, kept = weights(half), [buffer.clone() for buffer in half.model.buffers()]
    bake.divergence(half, three(half), IDS)
    assert same(weights(half), before)
    assert all(
        one.dtype == other.dtype and one.equal(other) for one, other in zip(kept, half.model.buffers(), strict=True)
    )


def test_comparing_without_texts_is_refused(half: Host) -> None:
    with pytest.raises(UsageError, match="no token"):
        bake.check_bake(half, three(half), [[]])


def test_mean_kl_is_the_divergence_of_two_states(host: Host) -> None:
    base = logits(host)[0].double().log_softmax(-1)
    with baked(host, three(host)) as student:
        own = logits(host)[0].double().log_softmax(-1)
        found = bake.mean_kl(host, IDS[:1], student.off, torch.no_grad)
    assert found == pytest.approx(float((base.exp() * (base - own)).sum(-1).mean()), rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_weight_steering_is_the_difference_of_two_updates(host: Host, scale: float) -> None:
    positive, negative = one(host, "p", rank=3), one(host, "n", rank=5)
    tensors = bake.combined(positive, negative, scale)
    whole = changed(positive, adapter_id="w", rank=8, alpha=8.0)
    joined = bake.deltas(bake.stack(host, [Layered(whole.adapter, tensors)]))
    apart = [bake.deltas(bake.stack(host, [pole])) for pole in (positive, negative)]
    for path, delta in joined.items():
        torch.testing.assert_close(delta, scale * (apart[0][path] - apart[1][path]))


def test_weight_steering_wants_two_poles_of_one_model(host: Host) -> None:
    positive = one(host, "p")
    for other in (one(host, "n", "p"), changed(one(host, "n"), fingerprint="another")):
        with pytest.raises(UsageError, match="two adapters of one model"):
            bake.combined(positive, other, 1.0)
