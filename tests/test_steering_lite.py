"""The real steering-lite beside ours: the same numbers where both have a method, and all of its methods as ours."""

import importlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load, save
from small_adapters import host_of, logits

from steerkit.catalogue import methods_table
from steerkit.contrast import Contrast, State
from steerkit.errors import RunError, UsageError
from steerkit.host import Host, edited
from steerkit.methods import cosine_gated, linear_act, mean_mass, super_sspace
from steerkit.personas import load_personas
from steerkit.plugins import Method, load_method, sources
from steerkit.stages.capture import capture
from steerkit.stages.fit import fit
from steerkit.stages.steer import Fitted, edits
from steerkit.testing import activations, planted

pytestmark = pytest.mark.skipif(find_spec("steering_lite") is None, reason="needs the package steering-lite")
NAMES = [name for name in sources("methods") if name.startswith("lite.")]
DIM = 16


def site_of(method: Method, pairs: int = 64) -> Contrast:
    """A planted contrast with the weights that the method's site goes with."""
    contrast, _ = planted(pairs=pairs)
    draw = torch.Generator().manual_seed(2)
    shapes = {"writers": (DIM, 24), "weighted": (DIM, DIM)}
    weight = torch.randn(shapes[method.SITE], generator=draw) if method.SITE in shapes else None
    return Contrast(contrast.positive, contrast.negative, weight)


def fitted(name: str, **settings: Any) -> tuple[Method, Any, State]:
    method = load_method(name)
    config: Any = method.Config(**settings)
    return method, config, method.fit(site_of(method), config)


def tokens(rows: int) -> torch.Tensor:
    """Activations without zero tokens: a direction of nothing is not defined there, and not ours to define."""
    return activations(rows)[:, 2:]


def theirs(name: str) -> Any:
    return importlib.import_module("steering_lite").REGISTRY[name]


def test_all_its_methods_are_there() -> None:
    registered = importlib.import_module("steering_lite").REGISTRY
    assert {f"lite.{name}" for name in registered} == {*NAMES} and len(NAMES) >= 13


def test_they_are_listed_with_their_sites_and_sources() -> None:
    rows = {row["name"]: row for row in methods_table() if row["name"] in NAMES}
    assert rows.keys() == {*NAMES}
    for name, row in rows.items():
        assert row["site"] == load_method(name).SITE and not row["bakeable"] and row["not_bakeable"], name
        assert row["idea"] and "http" in row["source"], name


@pytest.mark.parametrize("name", NAMES)
def test_each_row_is_steered_with_its_own_strength(name: str) -> None:
    method, config, state = fitted(name)
    hidden, strength = tokens(5), torch.tensor([0.0, 1.0, -1.0, 0.3, 1.0])
    whole = method.steer(hidden, state, strength, config)
    rows = torch.cat([method.steer(hidden[[row]], state, strength[[row]], config) for row in range(5)])
    torch.testing.assert_close(whole, rows)
    assert whole[0].equal(hidden[0]) and not whole[1].equal(hidden[1])
    assert not torch.allclose(whole[2] - hidden[2], whole[1] - hidden[1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_strength_1_moves_activations_by_a_natural_step(name: str) -> None:
    method, config, state = fitted(name)
    hidden = site_of(method).negative[None]
    moved = (method.steer(hidden, state, torch.tensor([1.0]), config) - hidden).norm(dim=-1).mean()
    torch.testing.assert_close(moved, method.step(state, config).norm(), rtol=0.1, atol=1e-3)
    weak = (method.steer(hidden, state, torch.tensor([0.1]), config) - hidden).norm(dim=-1).mean()
    assert weak < 0.5 * moved, "strength decides how far it goes"


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_the_same_twice_and_survives_a_file(name: str) -> None:
    (method, config, state), (_, _, again) = fitted(name), fitted(name)
    assert save(state) == save(again)
    hidden, strength = tokens(2), torch.tensor([1.0, -0.5])
    assert method.steer(hidden, load(save(state)), strength, config).equal(
        method.steer(hidden, state, strength, config)
    )


@pytest.mark.parametrize("name", NAMES)
def test_poles_that_do_not_differ_are_an_error(name: str) -> None:
    method = load_method(name)
    same = site_of(method)
    with pytest.raises(RunError, match="must differ"):
        method.fit(Contrast(same.negative, same.negative.clone(), same.weight), method.Config())


def test_its_settings_are_ours_and_what_it_refuses_is_a_clear_error() -> None:
    with pytest.raises(RunError, match="steering-lite's chars could not be fitted: k=999 exceeds"):
        fitted("lite.chars", k=999)
    with pytest.raises(TypeError, match="coeff"):
        load_method("lite.mean_diff").Config(coeff=2.0)
    with pytest.raises(UsageError, match=r"unknown method 'lite.mean_dif'; did you mean 'lite.mean_diff'"):
        load_method("lite.mean_dif")


def test_a_method_that_does_nothing_at_these_settings_is_an_error() -> None:
    """Its entropic plan underflows to zero where centroids lie far apart, and then nothing is transported."""
    method = load_method("lite.chars")
    far = Contrast(30 * planted()[0].positive, 30 * planted()[0].negative)
    with pytest.raises(RunError, match=r"chars must move the activations, but moves them by 0.0: its settings"):
        method.fit(far, method.Config())
    assert method.fit(far, method.Config(lambda_=1000.0))["unit"] > 0


# -- the same numbers --------------------------------------------------------------------------------------------------


def test_its_mean_difference_is_ours() -> None:
    contrast = site_of(load_method("lite.mean_diff"))
    settings = importlib.import_module("steering_lite").MeanDiffC(normalize=False)
    vector = theirs("mean_diff").extract({0: contrast.positive}, {0: contrast.negative}, settings)[0]["v"]
    torch.testing.assert_close(mean_mass.fit(contrast, mean_mass.Config())["vector"], vector, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "own", "own_config"),
    [("lite.mean_diff", mean_mass, mean_mass.Config()), ("lite.linear_act", linear_act, linear_act.Config())],
)
def test_the_same_method_steers_alike(name: str, own: Any, own_config: Any) -> None:
    method, config, state = fitted(name)
    contrast = site_of(method)
    hidden, strength = tokens(3), torch.tensor([1.0, -0.5, 0.0])
    # Theirs normalises its vector, so that its unit is the length of ours; a transport's coefficient is a fraction.
    unit = 1.0 if name == "lite.mean_diff" else float(state["unit"])
    wanted = own.steer(hidden, own.fit(contrast, own_config), strength * unit, own_config)
    torch.testing.assert_close(method.steer(hidden, state, strength, config), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "own"), [("lite.cosine_gated", cosine_gated), ("lite.super_sspace", super_sspace)])
def test_the_same_gate_opens_alike(name: str, own: Any) -> None:
    """Gated methods differ in the unit of strength alone: theirs is what the gate lets through on average."""
    method, config, state = fitted(name)
    contrast = site_of(method)
    own_state = own.fit(contrast, own.Config())
    hidden = tokens(2)
    ours = own.steer(hidden, own_state, torch.ones(2), own.Config()) - hidden
    other = method.steer(hidden, state, torch.ones(2), config) - hidden
    ratio = other.norm() / ours.norm()
    torch.testing.assert_close(other, ours * ratio, rtol=2e-3, atol=2e-3)


# -- on a model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", NAMES)
def test_each_steers_a_model_from_contexts_to_logits(name: str, host: Host) -> None:
    method = load_method(name)
    settings = {"k": 2} if "k" in method.Config.__struct_fields__ else {}
    settings |= {"lambda_": 1000.0} if name == "lite.chars" else {}
    contexts = [f"{word} it" for word in ("Take", "Do", "Leave", "Open", "Hold", "Hide")]
    persona = next(iter(load_personas().values()))
    short = replace(persona, positive="bold", negative="shy")
    captured = capture(host, short, contexts, [1, 2], method.SITE)
    direction = fit(captured, name, method.Config(**settings), "run")
    plain = logits(host)
    with edited(host, edits([(direction, torch.tensor([0.0]))]), torch.zeros(1, dtype=torch.long)):
        assert logits(host).equal(plain), "strength 0 changes no bit"
    with edited(host, edits([(direction, torch.tensor([1.0]))]), torch.zeros(1, dtype=torch.long)):
        steered = logits(host)
    assert steered.isfinite().all() and (steered - plain).abs().max() > 1e-4


def test_its_own_hook_gives_the_logits_that_ours_gives(host: Host) -> None:
    lite = importlib.import_module("steering_lite")
    contrast, _ = planted(pairs=8, dim=host.width)
    method = load_method("lite.mean_diff")
    config: Any = method.Config()
    state = method.fit(contrast, config)
    settings = lite.MeanDiffC(layers=(2,), coeff=float(state["unit"]), dtype=torch.float32)
    with lite.Vector(settings, {2: {"v": state["v"]}})(host.model):
        wanted = logits(host)
    own = Fitted("d", "lite.mean_diff", "real", config, {2: state})
    with edited(host, edits([(own, torch.tensor([1.0]))]), torch.zeros(1, dtype=torch.long)):
        torch.testing.assert_close(logits(host), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_runs_through_gate_1_on_the_embedded_model(name: str, steerkit: Callable[..., Any]) -> None:
    settings = ["--set", "method.lambda_=1000"] if name == "lite.chars" else []
    done = steerkit("gate1", "--quick", "--method", name, *settings, "--dtype", "float32", "--json", timeout=900)
    assert done.returncode in (0, 1, 3), done.stderr
    document = json.loads(done.stdout)
    assert document["method"] == name
    assert all(arm["d_target"] is not None for arm in document["arms"] if arm["kind"] == "steered")
