"""Adapters in weights and beside them: what goes in comes out to the bit, and every way of applying them agrees."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import tiny_random
import torch
from store_child import plain
from torch import Tensor

from steerkit.errors import RunError, UsageError
from steerkit.host import Host, load
from steerkit.host.adapter import block_linears
from steerkit.records import Adapter
from steerkit.stages import bake
from steerkit.stages.bake import Layered, Stack, baked, hooked

ARCHITECTURES = ("llama", "qwen3", "gemma3_text")
IDS = [[256, *range(97, 117)], [256, *range(65, 90)]]
NOUGHT = [0.0, 0.0, 0.0]
TARGETS = ("q_proj", "o_proj", "down_proj")


def host_of(folder: Path, architecture: str = "llama", dtype: str = "float32") -> Host:
    return load(str(tiny_random.saved(folder / architecture, architecture)), dtype, "cpu")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def any_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"), dtype="bfloat16")


def layered(host: Host, name: str, history: Sequence[str] = (), size: float = 0.1, rank: int = 3) -> Layered:
    """An adapter with random factors on blocks 1 and 2."""
    draw = torch.Generator().manual_seed(sum(name.encode()))
    tensors = {}
    for path, linear in block_linears(host, range(1, 3)).items():
        if path.endswith(TARGETS):
            tensors[f"{path}.lora_A"] = torch.randn(rank, linear.in_features, generator=draw)
            tensors[f"{path}.lora_B"] = size * torch.randn(linear.out_features, rank, generator=draw)
    record = plain(
        Adapter,
        adapter_id=name,
        history=[*history],
        fingerprint=host.fingerprint,
        rank=rank,
        alpha=2.0 * rank,
        targets=["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"],
        first_block=1,
        last_block=2,
    )
    return Layered(record, tensors)


def three(host: Host, size: float = 0.1) -> Stack:
    return bake.stack(
        host, [layered(host, name, "abc"[:number], size, rank=number + 2) for number, name in enumerate("abc")]
    )


def changed(found: Layered, **fields: object) -> Layered:
    return Layered(plain(Adapter, **{name: getattr(found.adapter, name) for name in FIELDS} | fields), found.tensors)


FIELDS = Adapter.__struct_fields__


def logits(host: Host, ids: Sequence[int] = IDS[0]) -> Tensor:
    with torch.inference_mode():
        found: Tensor = host.model(input_ids=torch.tensor([[*ids]]), use_cache=False).logits
    return found


def weights(host: Host) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in host.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bits(one[name]).equal(bits(other[name])) for name in one)


def bits(tensor: Tensor) -> Tensor:
    """Equal bits, not just equal values: 0 and -0 are two."""
    return tensor.contiguous().view(torch.uint8)


States = Callable[[Host, Stack, Sequence[float] | None], AbstractContextManager[object]]


@pytest.mark.parametrize("state", [baked, hooked])
def test_gates_of_nought_are_the_base_to_the_bit(any_host: Host, state: States) -> None:
    before = logits(any_host)
    with state(any_host, three(any_host), NOUGHT):
        assert bits(logits(any_host)).equal(bits(before))
    with state(any_host, three(any_host), [0.0, 0.0, 1.0]):
        assert not logits(any_host).equal(before)


def test_gates_of_nought_keep_even_the_sign_of_a_zero(host: Host) -> None:
    weight = next(iter(bake.linears(host).values())).weight
    kept = weight.data
    weight.data = kept.clone().index_fill_(0, torch.tensor([0]), -0.0)
    try:
        with baked(load_as(host), three(load_as(host)), NOUGHT):
            assert bits(weight[0]).equal(bits(torch.full_like(weight[0], -0.0)))
    finally:
        weight.data = kept


def load_as(host: Host) -> Host:
    """The host as if its present weights were those it was loaded with."""
    from dataclasses import replace

    from steerkit.host.load import fingerprint

    return replace(host, fingerprint=fingerprint(host.model, host.dtype))


def test_leaving_puts_every_weight_back_to_the_bit(any_host: Host) -> None:
    before = weights(any_host)
    with baked(any_host, three(any_host)):
        inside = weights(any_host)
    assert same(weights(any_host), before)
    moved = {name for name in before if not inside[name].equal(before[name])}
    assert moved == {f"{path}.weight" for path in three(any_host).layers[0].paths}


@pytest.mark.parametrize("state", [baked, hooked])
def test_an_error_inside_puts_everything_back(host: Host, state: States) -> None:
    before, answer = weights(host), logits(host)
    with pytest.raises(ZeroDivisionError), state(host, three(host), None):
        raise ZeroDivisionError
    assert same(weights(host), before)
    assert logits(host).equal(answer)


def test_an_error_while_baking_puts_everything_back(half: Host) -> None:
    before, found = weights(half), layered(half, "a")
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


def test_hooked_is_baked(any_host: Host) -> None:
    found, base = three(any_host), logits(any_host)
    for gates in (None, [1.0, 0.0, -0.5]):
        with baked(any_host, found, gates):
            folded = logits(any_host)
        with hooked(any_host, found, gates):
            beside = logits(any_host)
        assert (folded - beside).abs().max() < 1e-4
        assert (folded - base).abs().max() > 0.1


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
    linear = bake.linears(half)["model.layers.1.mlp.down_proj"]
    kept, step = linear.weight.data, 2.0**-7
    linear.weight.data = torch.ones_like(kept)
    try:
        ready = load_as(half)
        found = []
        for number, name in enumerate("abc"):
            one = layered(ready, name, "abc"[:number], rank=1)
            tensors = {path: torch.zeros_like(tensor) for path, tensor in one.tensors.items()}
            tensors["model.layers.1.mlp.down_proj.lora_A"] += 1
            tensors["model.layers.1.mlp.down_proj.lora_B"] += 0.2 * step  # scaling is 2
            found.append(Layered(one.adapter, tensors))
        one_at_a_time = linear.weight.data.clone()
        for _ in found:
            one_at_a_time = (one_at_a_time.float() + 0.4 * step).bfloat16()
        with baked(ready, bake.stack(ready, found)):
            assert linear.weight.dtype == torch.bfloat16
            assert linear.weight.eq(1 + step).all() and one_at_a_time.eq(1).all()
    finally:
        linear.weight.data = kept


def test_baking_twice_is_refused(host: Host) -> None:
    with baked(host, three(host)) as student:
        for state in (baked, hooked):
            with pytest.raises(RunError, match="leave the student that is in force first"), state(host, three(host)):
                pass
        with student.off(), baked(host, three(host), [0.0, 1.0, 0.0]):
            pass


def test_adapters_of_another_model_are_refused(host: Host) -> None:
    foreign = changed(layered(host, "a"), fingerprint="another")
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
    known = {name: layered(host, name, "abc"[:number]) for number, name in enumerate("abc")}
    with pytest.raises(UsageError) as error:
        bake.stack(host, [known[name] for name in order])
    assert said in str(error.value)


def test_a_history_in_another_order_is_refused(host: Host) -> None:
    swapped = [layered(host, "a"), layered(host, "b", "a"), layered(host, "c", "ba")]
    with pytest.raises(UsageError, match="on top of b, a .* before it came a, b .out of order"):
        bake.stack(host, swapped)


def test_every_mismatch_is_named(host: Host) -> None:
    found = layered(host, "a")
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
    assert bake.check_bake(host, three(host), IDS, [0.0, 1.0, 0.0]) < 1e-6
    coarse = bake.divergence(half, three(half), IDS)
    assert coarse > 1e-6
    assert bake.divergence(half, three(half), IDS, NOUGHT) == 0


def test_a_bake_that_is_another_student_is_an_error(half: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "LIMIT", 1e-7)
    with pytest.raises(RunError, match=r"below 1e-07 nats .* in bfloat16.*--dtype float32"):
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
    positive, negative = layered(host, "p", rank=3), layered(host, "n", rank=5)
    tensors = bake.combined(positive, negative, scale)
    one = changed(positive, adapter_id="w", rank=8, alpha=8.0)
    joined = bake.deltas(bake.stack(host, [Layered(one.adapter, tensors)]))
    apart = [bake.deltas(bake.stack(host, [pole])) for pole in (positive, negative)]
    for path, delta in joined.items():
        torch.testing.assert_close(delta, scale * (apart[0][path] - apart[1][path]))


def test_weight_steering_wants_two_poles_of_one_model(host: Host) -> None:
    positive = layered(host, "p")
    for other in (layered(host, "n", "p"), changed(layered(host, "n"), fingerprint="another")):
        with pytest.raises(UsageError, match="two adapters of one model"):
            bake.combined(positive, other, 1.0)
