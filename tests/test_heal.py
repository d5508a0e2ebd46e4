"""Training an adapter: losses against plain formulas, what a run leaves behind, and what its settings do."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import pytest
import tiny_random
import torch
from torch import Tensor, nn

from steerkit.errors import RunError, UsageError
from steerkit.host import Host, chat_ids, load
from steerkit.host.adapter import Lora, LoraLayer, attached
from steerkit.host.training import head
from steerkit.records import Completion, HealStep
from steerkit.spec_heal import HealSpec
from steerkit.stages import _heal_loss, heal
from steerkit.stages._heal_data import passes
from steerkit.stages._heal_gradients import rate_share
from steerkit.stages._heal_loss import AGGREGATES, KINDS, aggregates, token_losses
from steerkit.stages._heal_passes import Losses, Pass, entered
from steerkit.stages._heal_size import SpectralPenalty, sigma_max, update_norm
from steerkit.stages._heal_training import Training

SPEC = HealSpec(fewest_texts=2, rank=4, batch=4, learning_rate=5e-3, epochs=3, band=(0.5, 1.0), row_tokens=64)
NEVER = 1e6


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def made(architecture: str) -> Path:
        return tiny_random.saved(tmp_path_factory.mktemp(architecture), architecture)

    return made


@pytest.fixture(scope="session")
def host(folder: Callable[[str], Path]) -> Host:
    return load(str(folder("llama")), "float32", "cpu")


def texts(count: int, seed: int = 0) -> list[heal.Example]:
    """Random token ids of several lengths."""
    draw = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 250, (length,), generator=draw).tolist())

    return [heal.Example(f"text{i}", ids(5 + i % 4), ids(4 + i % 5)) for i in range(count)]


def healed(host: Host, spec: HealSpec = SPEC, tau: float | None = None, seed: int = 0, count: int = 8) -> heal.Healed:
    made = texts(count + 2)
    return heal.heal(
        host, made[:count], made[count:], spec, tau=tau, seed=seed, adapter_id="adapter", run="run", unit="unit"
    )


def changed(spec: HealSpec, **settings: object) -> HealSpec:
    return msgspec.structs.replace(spec, **settings)


def adapter(rank: int = 3) -> Lora:
    """Two layers with drawn factors."""
    draw = torch.Generator().manual_seed(3)

    def layer(path: str, inner: int, outer: int) -> LoraLayer:
        down, up = torch.randn(rank, inner, generator=draw), torch.randn(outer, rank, generator=draw)
        return LoraLayer(path, nn.Parameter(down), nn.Parameter(up))

    return Lora((layer("a", 7, 5), layer("b", 6, 9)), 2.0, 0, 1)


def updates(lora: Lora) -> list[Tensor]:
    return [lora.scale * (layer.up @ layer.down).detach() for layer in lora.layers]


# -- losses of a token ---------------------------------------------------------------------------------------------


def test_divergences_of_two_point_distributions() -> None:
    p, q = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64)
    tokens = torch.tensor([1])
    found = {
        kind: token_losses(nn.Identity(), p.log()[None], tokens, q.log()[None], kind)  # type: ignore[arg-type]
        for kind in KINDS
    }
    middle = (p + q) / 2
    expected = {
        "reverse-kl": 0.9 * math.log(1.8) + 0.1 * math.log(0.2),
        "forward-kl": 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1),
        "js": float((p * (p / middle).log() + q * (q / middle).log()).sum() / 2),
    }
    assert {kind: float(apart) for kind, (_, apart) in found.items()} == pytest.approx(expected, rel=1e-12)
    assert float(found["js"][0]) == pytest.approx(-math.log(0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_lies_between_a_model_and_itself(kind: str) -> None:
    hidden = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    _, apart = token_losses(nn.Linear(4, 9), hidden, torch.arange(5), hidden.detach(), kind)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(apart.sum(), hidden)
    assert apart.abs().max() < 1e-6 and slope.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_plain_formulas(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_heal_loss, "POSITIONS", 2)
    torch.manual_seed(0)
    to_logits = nn.Linear(4, 7).double().requires_grad_(False)
    hidden, other = torch.randn(5, 4).double().requires_grad_(), torch.randn(5, 4).double()
    tokens, weights = torch.tensor([0, 6, 2, 2, 1]), torch.rand(2, 5).double()

    def ours(states: Tensor) -> Tensor:
        nll, apart = token_losses(to_logits, states, tokens, other, kind)  # type: ignore[arg-type]
        return torch.stack([nll, apart])

    def plain(states: Tensor) -> Tensor:
        log_p, log_q = to_logits(states).log_softmax(-1), to_logits(other).log_softmax(-1)
        p, q = log_p.exp(), log_q.exp()
        log_m = ((p + q) / 2).log()
        value = {
            "reverse-kl": p * (log_p - log_q),
            "forward-kl": q * (log_q - log_p),
            "js": (p * (log_p - log_m) + q * (log_q - log_m)) / 2,
        }[kind]
        return torch.stack([-log_p[torch.arange(5), tokens], value.sum(-1)])

    torch.testing.assert_close(ours(hidden), plain(hidden))
    for row in (0, 1):
        slopes = [torch.autograd.grad((weights * each(hidden))[row].sum(), hidden)[0] for each in (ours, plain)]
        torch.testing.assert_close(*slopes)
    assert torch.autograd.gradcheck(ours, hidden)


def test_an_unconstrained_divergence_is_a_constant() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    both = token_losses(nn.Linear(4, 6), hidden, torch.arange(3), torch.randn(3, 4), constrained=False)
    assert both[1].min() > 0 and not torch.autograd.grad(both[1].sum(), hidden)[0].any()


def test_underflow_is_not_nan() -> None:
    hidden = torch.tensor([[0.0, -500.0, -500.0]], requires_grad=True)
    _, apart = token_losses(nn.Identity(), hidden, torch.tensor([0]), torch.tensor([[-500.0, 0.0, -500.0]]), "js")
    assert apart.tolist() == pytest.approx([math.log(2)])
    assert torch.autograd.grad(apart.sum(), hidden)[0].isfinite().all()


def test_only_completion_positions_reach_the_head(host: Host) -> None:
    seen: list[int] = []
    unembedding = host.model.get_output_embeddings()
    handle = unembedding.register_forward_hook(lambda _module, _given, logits: seen.append(logits[..., 0].numel()))
    made = texts(3)
    with torch.no_grad():
        nll, _ = Pass(host, head(host), None, "reverse-kl").by_token(made)
    handle.remove()
    assert seen == [1, sum(len(text.answer) for text in made)]
    for text, values in zip(made, nll, strict=True):
        with torch.no_grad():
            logprobs = host.model(input_ids=torch.tensor([text.tokens])).logits[0].log_softmax(-1)
        places = range(len(text.prompt) - 1, len(text.tokens) - 1)
        torch.testing.assert_close(values, -logprobs[list(places), list(text.answer)], rtol=1e-4, atol=1e-4)


# -- from tokens to texts ------------------------------------------------------------------------------------------


def test_aggregates_by_hand() -> None:
    found = dict(zip(AGGREGATES, aggregates(torch.tensor([0.0, 0.0, 3.0, 4.0])).tolist(), strict=True))
    assert found == pytest.approx({"mean": 1.75, "rmse": 2.5, "p95": 3.85, "max": 4.0}, rel=1e-6)


def test_slopes_are_finite_before_training() -> None:
    for place in range(len(AGGREGATES)):
        zeros = torch.zeros(6, requires_grad=True)
        assert torch.autograd.grad(aggregates(zeros)[place], zeros)[0].isfinite().all()


def test_a_loop_in_one_text_is_not_diluted_by_the_others(host: Host) -> None:
    """Four bad tokens of 60 are an rmse of 2.07 in their text, of 1.46 among a batch's: a barrier at 1.8 sees them."""
    calm, looping = torch.zeros(60), torch.tensor([0.0] * 56 + [8.0] * 4)
    per_text = torch.stack([aggregates(calm), aggregates(looping)])
    diluted = aggregates(torch.cat([calm, looping]))
    with attached(host, 2, 4.0, (0.0, 1.0), 0) as lora:
        training = Training(host, lora, SPEC, Pass(host, head(host), None, "reverse-kl"), 1.8, 0)
        excess = training._excess(Losses(torch.zeros(2), per_text))
    assert excess.tolist() == pytest.approx([0.0, math.sqrt(4 * 64 / 60) - 1.8], abs=1e-6)
    assert float(diluted[AGGREGATES.index("rmse")]) == pytest.approx(math.sqrt(4 * 64 / 120), rel=1e-6)


def test_passes_hold_every_text_and_no_more_tokens_than_asked() -> None:
    made = texts(9)
    groups = passes(made, 30)
    assert sorted(text.completion_id for group in groups for text in group) == sorted(t.completion_id for t in made)
    assert all(len(group) * max(len(text.tokens) for text in group) <= 30 for group in groups)
    assert [len(group) for group in passes(made, 1)] == [1] * 9


def gradients_of(host: Host, spec: HealSpec, *, apart: bool, whole: bool = False) -> tuple[list[Tensor], object]:
    """The gradients of five texts at an adapter that has moved, with a barrier that fires; and their norms."""
    made = texts(5)
    entry = None if whole else entered(host, made, 2)
    losses = Pass(host, head(host), heal.reference(host, made), "reverse-kl", entry, constrained=True)
    with attached(host, spec.rank, spec.alpha, spec.band, 0) as lora:
        draw = torch.Generator().manual_seed(1)
        for layer in lora.layers:
            layer.up.data = 0.1 * torch.randn(layer.up.shape, generator=draw)
        found = Training(host, lora, spec, losses, 0.01, 0).gradients(made, apart=apart)
        return found.total(), found.norms()


@pytest.mark.parametrize("other", ["several passes", "checkpointing", "all blocks", "together"])
def test_gradients_do_not_depend_on_how_they_are_taken(host: Host, other: str) -> None:
    one = changed(SPEC, row_tokens=4096)
    expected, norms = gradients_of(host, one, apart=True)
    spec = {"several passes": changed(SPEC, row_tokens=20), "checkpointing": changed(one, checkpointing=True)}
    found, found_norms = gradients_of(
        host, spec.get(other, one), apart=other != "together", whole=other == "all blocks"
    )
    for left, right in zip(expected, found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)
    assert found_norms == ((None, None) if other == "together" else pytest.approx(norms, rel=1e-3))
    assert "forward" not in vars(host.blocks[-1])


# -- a whole training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text", "granite"])
def test_an_adapter_learns_and_the_model_stays(folder: Callable[[str], Path], architecture: str) -> None:
    host = load(str(folder(architecture)), "float32", "cpu")
    weights = {name: weight.clone() for name, weight in host.model.state_dict().items()}
    modules = {name: id(module) for name, module in host.model.named_modules()}
    kept, state = dict(vars(host.model)), torch.get_rng_state()
    found = healed(host, changed(SPEC, epochs=6))
    assert found.steps[-1].nll < found.steps[0].nll - 0.3
    assert found.steps[0].d_mean < 1e-4 < found.steps[-1].d_mean
    assert (found.first_block, found.last_block, len(found.targets)) == (2, 3, 7)
    assert set(found.tensors) == {
        f"{name}.{part}"
        for name, module in host.model.named_modules()
        if isinstance(module, nn.Linear) and any(f"layers.{block}." in name for block in (2, 3))
        for part in ("lora_A", "lora_B")
    }
    after = host.model.state_dict()
    assert list(after) == list(weights) and all(torch.equal(after[name], weights[name]) for name in weights)
    assert {name: id(module) for name, module in host.model.named_modules()} == modules
    assert set(vars(host.model)) == set(kept) and torch.equal(torch.get_rng_state(), state)
    assert not any(weight.requires_grad or weight.grad is not None for weight in host.model.parameters())
    assert not any(module.training for module in host.model.modules())


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "granite"])
def test_divergence_is_that_of_whole_models(folder: Callable[[str], Path], architecture: str) -> None:
    """Cached hidden states sent through the head say what two full passes say, whatever the head does with them."""
    host = load(str(folder(architecture)), "float32", "cpu")
    made = texts(3)
    ids = torch.tensor([made[0].tokens])
    before = heal.reference(host, made)
    with torch.no_grad():
        base = host.model(input_ids=ids).logits[0].log_softmax(-1)
        with attached(host, 2, 4.0, (0.0, 1.0), 0) as lora:
            for layer in lora.layers:
                layer.up.data.fill_(0.05)
            student = host.model(input_ids=ids).logits[0].log_softmax(-1)
            found = heal.divergences(host, made, before)
    places = slice(len(made[0].prompt) - 1, len(made[0].tokens) - 1)
    expected = (student.exp() * (student - base)).sum(-1)[places]
    torch.testing.assert_close(found["text0"], expected, rtol=1e-3, atol=1e-4)


def test_the_model_stays_after_an_error(host: Host) -> None:
    weights = {name: weight.clone() for name, weight in host.model.state_dict().items()}

    def interrupt(_row: object) -> None:
        raise KeyboardInterrupt

    made = texts(6)
    with pytest.raises(KeyboardInterrupt):
        heal.heal(host, made, [], SPEC, tau=0.1, seed=0, adapter_id="a", run="r", unit="u", report=interrupt)
    after = host.model.state_dict()
    assert list(after) == list(weights) and all(torch.equal(after[name], weights[name]) for name in weights)


def test_adapters_are_float32_on_a_16_bit_model(folder: Callable[[str], Path]) -> None:
    host = load(str(folder("llama")), "bfloat16", "cpu")
    with attached(host, 2, 4.0, (0.0, 1.0), 0) as lora:
        assert {parameter.dtype for parameter in lora.parameters} == {torch.float32}
        assert not any(layer.up.any() for layer in lora.layers)
        assert all(0 < layer.down.abs().max() <= layer.down.shape[1] ** -0.5 for layer in lora.layers)
    found = healed(host, changed(SPEC, epochs=4))
    assert found.steps[-1].nll < found.steps[0].nll - 0.2
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}


def same(left: heal.Healed, right: heal.Healed) -> bool:
    return all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)


def test_a_seed_decides_everything(host: Host) -> None:
    torch.manual_seed(5)
    first = healed(host, tau=0.05)
    torch.manual_seed(6)
    again, other = healed(host, tau=0.05), healed(host, tau=0.05, seed=1)
    assert same(first, again) and first.steps == again.steps and first.epochs == again.epochs
    assert not same(first, other)


def test_rows_are_reported_in_order(host: Host) -> None:
    rows: list[object] = []
    made = texts(7)
    found = heal.heal(
        host, made[:5], made[5:], SPEC, tau=None, seed=0, adapter_id="a", run="r", unit="u", report=rows.append
    )
    assert [row for row in rows if isinstance(row, HealStep)] == found.steps
    assert [row.step for row in found.steps] == [1, 2, 3, 4, 5, 6]
    assert [row.epoch for row in found.epochs] == [0, 1, 2, 3]
    assert found.epochs[0].train_nll is None and found.epochs[0].sigma_max == 0
    assert found.epochs[1].train_nll == pytest.approx((found.steps[0].nll + found.steps[1].nll) / 2)
    assert found.train_tokens == sum(len(text.answer) for text in made[:5])
    assert rows[0] is found.epochs[0] and rows[3] is found.epochs[1]


def test_a_number_that_is_not_finite_stops_training(host: Host) -> None:
    with pytest.raises(heal.HealStopped, match=r"step 2 gave .*; lower heal.learning_rate \(now 1e\+30\)") as caught:
        healed(host, changed(SPEC, learning_rate=1e30, warm_up=0.0))
    assert isinstance(caught.value, RunError) and caught.value.exit_code == 4
    assert [row.step for row in caught.value.healed.steps] == [1]
    assert all(tensor.isfinite().all() for tensor in caught.value.healed.tensors.values())


def test_too_high_a_rank_is_refused(host: Host) -> None:
    with pytest.raises(UsageError, match=r"heal.rank must be at most .* but got 17 where .*k_proj has 16"):
        healed(host, changed(SPEC, rank=17))


def test_too_few_texts_are_refused(host: Host) -> None:
    with pytest.raises(UsageError, match="at least 30 kept texts, but got 10; keep more") as caught:
        healed(host, changed(SPEC, fewest_texts=30))
    assert caught.value.exit_code == 2


def test_a_reference_must_hold_every_text(host: Host) -> None:
    made = texts(4)
    with pytest.raises(UsageError, match="lacks 1, among them text3"):
        heal.heal(
            host,
            made,
            [],
            SPEC,
            tau=1.0,
            seed=0,
            adapter_id="a",
            run="r",
            unit="u",
            reference=heal.reference(host, made[:3]),
        )


def test_divergence_is_measured_from_the_reference_given(host: Host) -> None:
    made = texts(4)
    elsewhere = heal.reference(host, made)
    shifted = replace(elsewhere, hidden={name: states + 0.5 for name, states in elsewhere.hidden.items()})
    spec = changed(SPEC, epochs=1, batch=4)
    rows = [
        heal.heal(host, made, made, spec, tau=None, seed=0, adapter_id="a", run="r", unit="u", reference=origin).epochs[
            0
        ]
        for origin in (None, elsewhere, shifted)
    ]
    assert rows[0].validation_divergence == pytest.approx(1e-4, rel=0.1) == rows[1].validation_divergence
    assert rows[2].validation_divergence is not None and rows[2].validation_divergence > 0.01


# -- what the settings do ------------------------------------------------------------------------------------------


def test_a_barrier_that_never_fires_changes_no_bit(host: Host) -> None:
    plain = healed(host, changed(SPEC, divergence="none"))
    silent = healed(host, tau=NEVER)
    assert same(plain, silent) and plain.steps == silent.steps
    assert all(row.grad_barrier == 0 and row.barrier == 0 and row.grad_nll for row in silent.steps)


def test_a_larger_lambda_keeps_nearer(host: Host) -> None:
    ends = [healed(host, changed(SPEC, lam=lam, epochs=5), tau=0.05) for lam in (0.0, 1.0, 10.0)]
    moved = [found.epochs[-1].validation_divergence or 0.0 for found in ends]
    assert moved[0] > moved[1] > moved[2]
    assert same(ends[0], healed(host, changed(SPEC, divergence="none", epochs=5)))


@pytest.mark.parametrize(
    ("kind", "aggregate"), [("reverse-kl", "mean"), ("reverse-kl", "p95"), ("forward-kl", "max"), ("js", "rmse")]
)
def test_every_constraint_constrains(host: Host, kind: str, aggregate: str) -> None:
    spec = changed(SPEC, divergence=kind, aggregate=aggregate, lam=20.0)
    free, held = healed(host, spec), healed(host, spec, tau=0.0)
    column = f"d_{aggregate}"
    assert getattr(held.steps[-1], column) < 0.8 * getattr(free.steps[-1], column)


def test_gradients_are_taken_apart_now_and_then(host: Host) -> None:
    rows = healed(host, changed(SPEC, split_every=3), tau=0.0).steps
    assert [row.grad_barrier is not None for row in rows] == [True, False, False, True, False, False]
    assert [row.grad_nll is not None for row in rows] == [row.grad_barrier is not None for row in rows]
    assert all(row.over == 1 and row.barrier == pytest.approx(SPEC.lam * row.d_rmse, rel=1e-4) for row in rows)


@pytest.mark.parametrize("setting", [{"weight_decay": 30.0}, {"spectral": 3.0}])
def test_weights_are_kept_small(host: Host, setting: dict[str, float]) -> None:
    free, held = healed(host), healed(host, changed(SPEC, **setting))
    assert held.steps[-1].update_norm < 0.9 * free.steps[-1].update_norm
    assert held.epochs[-1].sigma_max < 0.9 * free.epochs[-1].sigma_max


def test_sizes_of_the_update() -> None:
    lora = adapter()
    whole = torch.cat([update.flatten() for update in updates(lora)])
    assert update_norm(lora) == pytest.approx(float(torch.linalg.vector_norm(whole)), rel=1e-5)
    largest = torch.stack([torch.linalg.matrix_norm(update, ord=2) for update in updates(lora)]).mean()
    assert sigma_max(lora) == pytest.approx(float(largest), rel=1e-5)


def test_the_spectral_penalty_and_its_gradient() -> None:
    lora = adapter()
    penalty = SpectralPenalty(lora, seed=0)
    for _ in range(20):
        value = penalty.value()
    assert float(value.detach()) == pytest.approx(sigma_max(lora), rel=1e-4)
    value.backward()  # type: ignore[no-untyped-call]
    for layer, update in zip(lora.layers, updates(lora), strict=True):
        left, _, right = torch.linalg.svd(update)
        slope = lora.scale / 2 * left[:, :1] @ right[:1]
        assert layer.up.grad is not None and layer.down.grad is not None
        torch.testing.assert_close(layer.up.grad, slope @ layer.down.detach().T, rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(layer.down.grad, layer.up.detach().T @ slope, rtol=1e-2, atol=1e-3)


def test_the_spectral_penalty_of_no_update_is_0() -> None:
    lora = adapter()
    for layer in lora.layers:
        layer.up.data.zero_()
    value = SpectralPenalty(lora, seed=0).value()
    value.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in lora.parameters]
    assert float(value.detach()) == 0 and not any(gradient is None or gradient.any() for gradient in gradients)


def test_the_learning_rate_rises_then_falls() -> None:
    shares = [rate_share(step, 20, 0.2) for step in range(1, 21)]
    assert max(shares) == shares[4] == 1 and shares[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert all(left > right > 0 for left, right in itertools.pairwise(shares[4:]))
    assert rate_share(1, 1, 0.9) == 1


def step(number: int, rmse: float) -> HealStep:
    return HealStep(
        run_id="r",
        unit_id="u",
        adapter_id="a",
        step=number,
        epoch=1,
        nll=1.0,
        d_mean=rmse / 2,
        d_rmse=rmse,
        d_p95=rmse * 2,
        d_max=rmse * 3,
        over=0.0,
        barrier=0.0,
        grad_nll=1.0,
        grad_barrier=0.0,
        update_norm=1.0,
        learning_rate=1e-4,
    )


def test_tau_is_given_or_observed() -> None:
    rows = [step(number, value) for number, value in enumerate([0.0, 1.0, 2.0, 4.0], 1)]
    assert heal.observed_tau([], changed(SPEC, tau="1.25")) == 1.25
    assert heal.observed_tau(rows, changed(SPEC, tau="q50")) == 1.5
    assert heal.observed_tau(rows, changed(SPEC, tau="q100", aggregate="max")) == 12.0
    assert heal.observed_tau(rows, changed(SPEC, divergence="none")) is None
    with pytest.raises(UsageError, match="q50 needs the steps"):
        heal.observed_tau([], SPEC)


def test_one_batch_can_be_learned_by_heart(host: Host) -> None:
    first, last = heal.overfit(host, texts(4), SPEC, seed=0)
    assert last < first / 2


# -- the texts -----------------------------------------------------------------------------------------------------


def test_whole_prompts_are_held_out() -> None:
    made = texts(24)
    prompts = [f"prompt{i % 8}" for i in range(24)]
    train, validation = heal.split(made, prompts, 0.25, seed=0)
    of = dict(zip((text.completion_id for text in made), prompts, strict=True))
    assert len(validation) == 6 and len(train) + len(validation) == 24
    assert not {of[text.completion_id] for text in train} & {of[text.completion_id] for text in validation}
    assert heal.split(made, prompts, 0.25, seed=0) == (train, validation)
    assert len({tuple(heal.split(made, prompts, 0.25, seed)[1]) for seed in range(8)}) > 1
    assert heal.split(made, prompts, 0.0, seed=0) == (made, [])


def test_one_text_at_least_is_held_out_and_one_trained_on() -> None:
    made = texts(5)
    train, validation = heal.split(made, ["a", "a", "a", "b", "b"], 0.01, seed=0)
    assert (len(train), len(validation)) == (3, 2)
    with pytest.raises(UsageError, match="at least 2 prompts"):
        heal.split(made, ["a"] * 5, 0.5, seed=0)


def completion(**fields: object) -> Completion:
    made = Completion(
        run_id="r",
        unit_id="u",
        completion_id="c",
        arm_id=None,
        direction_id=None,
        strength=0.0,
        dose=0.0,
        prompt_id="p",
        prompt="What now?",
        text="ab",
        tokens=2,
        ended=True,
        token_kl=[],
        perplexity=1.0,
        tail_perplexity=1.0,
        distinct_tail=1.0,
        compression=1.0,
        token_ids=[64, 65],
    )
    return msgspec.structs.replace(made, **fields)


def test_examples_end_where_the_text_ended_by_itself(host: Host) -> None:
    ended, cut = heal.examples(host, [completion(), completion(ended=False)], "Be brief.")
    assert (ended.answer, cut.answer) == ((64, 65, 257), (64, 65))
    assert ended.prompt == tuple(chat_ids(host, "What now?", "Be brief."))
    assert heal.examples(host, [completion()])[0].prompt == tuple(chat_ids(host, "What now?"))


def test_texts_without_tokens_are_refused(host: Host) -> None:
    with pytest.raises(UsageError, match="has none"):
        heal.examples(host, [completion(token_ids=None)])
    with pytest.raises(UsageError, match="is empty"):
        heal.examples(host, [completion(token_ids=[], ended=False)])
