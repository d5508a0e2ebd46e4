"""A steered model as weights: exact where the algebra says so, called approximate where it is not, and on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny_random
import torch
from small_adapters import bits
from test_places import PROMPTS, fitted_on
from torch import Tensor, nn

from steerkit import cli
from steerkit.contrast import WeightEdit
from steerkit.errors import RunError
from steerkit.export import save_steered
from steerkit.host import Host, load
from steerkit.host.biases import bias_switches, biases_held
from steerkit.host.places import writers
from steerkit.stages import fold, prove
from steerkit.stages._fold_model import carried, entrance_scale
from steerkit.stages.fold import NotFoldable, folded, folding, gap, logits, steered_logits

LONG = {"max_position_embeddings": 2048}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "gemma3_text": {"sliding_window": 512},
    "gpt_neox": {},
    # What is written is scaled before it is added, what is embedded before it enters.
    "granite": {"residual_multiplier": 0.5},
}
BAKEABLE = ("mean_mass", "mean_centred", "svd", "pca", "null", "sspace_ablate", "sspace_damp_amp", "linear_act")
BAKEABLE += ("directional_ablation",)
ON_THE_STREAM = ("mean_mass", "mean_centred", "svd", "pca", "null", "directional_ablation")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    made = tmp_path_factory.mktemp("models")
    return {
        name: load(str(tiny_random.saved(made / name, name, **LONG, **changes)), "float32", "cpu")
        for name, changes in KINDS.items()
    }


@pytest.fixture
def llama(hosts: dict[str, Host]) -> Host:
    return hosts["llama"]


def weights(host: Host) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in host.model.state_dict().items()}


def read(folder: Path, ids: Sequence[int]) -> Tensor:
    """What a folder says, opened by transformers alone."""
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model, said = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    with torch.inference_mode():
        found: Tensor = model.eval()(input_ids=torch.tensor([[*ids]])).logits[0]
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt_neox", "granite"])
@pytest.mark.parametrize("method", BAKEABLE)
def test_weights_hold_it_exactly_on_blocks_that_add_what_they_write(
    hosts: dict[str, Host], kind: str, method: str
) -> None:
    host = hosts[kind]
    fitted = fitted_on(host, method)
    for strength in (1.0, -0.6, 4.0):
        found = folding(host, fitted, strength)
        apart = gap(host, fitted, strength, found, PROMPTS)
        assert apart.exact and apart.logit < 1e-4 and apart.kl < 1e-8 and not found.inexact
        plain = logits(host, PROMPTS[0])
        assert (steered_logits(host, fitted, strength, PROMPTS[:1])[0] - plain).abs().max() > 100 * apart.logit


@pytest.mark.parametrize("method", BAKEABLE)
def test_on_post_norm_blocks_only_what_stays_at_a_linear_or_a_norm_is_exact(
    hosts: dict[str, Host], method: str
) -> None:
    host = hosts["gemma3_text"]
    fitted = fitted_on(host, method)
    found = folding(host, fitted, 1.0)
    apart = gap(host, fitted, 1.0, found, PROMPTS)
    assert apart.exact == (method not in ON_THE_STREAM)
    assert bool(found.inexact) == (method in ON_THE_STREAM)
    if found.inexact:
        assert "Gemma3DecoderLayer) normalises what" in found.inexact[0] and "heal instead" in found.inexact[0]
        assert apart.logit > 1e-2


def test_what_a_block_makes_of_a_constant(hosts: dict[str, Host]) -> None:
    factors = {name: [carried(host, 2, writer) for writer in writers(host, 2)] for name, host in hosts.items()}
    assert factors.pop("gemma3_text") == [None, None]
    for name, found in factors.items():
        assert found == pytest.approx([0.5 if name == "granite" else 1.0] * 2, rel=1e-4)
    scales = {name: entrance_scale(host) for name, host in hosts.items()}
    assert scales == pytest.approx(
        {"llama": 1, "qwen3": 1, "gpt_neox": 1, "granite": 2, "gemma3_text": 32**0.5}, rel=1e-4
    )


def changed_then_broken(host: Host, found: fold.Folding, said: Tensor) -> None:
    with folded(host, found):
        assert not torch.equal(logits(host, PROMPTS[0]), said)
        raise ZeroDivisionError


@pytest.mark.parametrize("method", ["mean_mass", "sspace_ablate", "linear_act", "directional_ablation"])
def test_the_model_is_put_back_to_the_bit(hosts: dict[str, Host], method: str) -> None:
    for host in (hosts["llama"], hosts["gemma3_text"]):
        before, said, settings = weights(host), logits(host, PROMPTS[0]), host.model.config.to_dict()
        with pytest.raises(ZeroDivisionError):
            changed_then_broken(host, folding(host, fitted_on(host, method), 1.0), said)
        after = weights(host)
        assert before.keys() == after.keys()
        assert all(bits(before[name]).equal(bits(after[name])) for name in before)
        assert torch.equal(logits(host, PROMPTS[0]), said) and host.model.config.to_dict() == settings
        tied = host.model.get_output_embeddings().weight is host.model.get_input_embeddings().weight
        assert tied == host.model.config.tie_word_embeddings


@pytest.mark.parametrize("method", ["svd", "sspace_ablate", "sspace_damp_amp", "linear_act", "directional_ablation"])
def test_a_folder_says_what_the_steered_model_says(llama: Host, method: str, tmp_path: Path) -> None:
    fitted = fitted_on(llama, method)
    before = weights(llama)
    apart = save_steered(llama, fitted, 1.3, tmp_path / "out", PROMPTS, {"dose": 1})
    assert apart.logit < 1e-4
    for ids, steered in zip(PROMPTS, steered_logits(llama, fitted, 1.3, PROMPTS), strict=True):
        torch.testing.assert_close(read(tmp_path / "out", ids), steered, rtol=0, atol=1e-4)
    assert before.keys() == weights(llama).keys()
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written.get("mlp_bias", False) == (method in ("svd", "sspace_ablate", "linear_act"))
    assert json.loads((tmp_path / "out/steerkit.json").read_text())["dose"] == 1


def test_a_tied_embedding_is_untied_for_the_ablation(tmp_path: Path) -> None:
    folder = tiny_random.saved(tmp_path / "tied", "llama", tie_word_embeddings=True, **LONG)
    host = load(str(folder), "float32", "cpu")
    fitted = fitted_on(host, "directional_ablation")
    save_steered(host, fitted, 0.7, tmp_path / "out", PROMPTS, {})
    (steered,) = steered_logits(host, fitted, 0.7, PROMPTS[:1])
    torch.testing.assert_close(read(tmp_path / "out", PROMPTS[0]), steered, rtol=0, atol=1e-4)
    assert not json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"]
    assert host.model.config.tie_word_embeddings


def test_where_no_configuration_can_say_it_nothing_is_written(hosts: dict[str, Host], tmp_path: Path) -> None:
    host = hosts["qwen3"]
    with pytest.raises(RunError, match=r"mlp.down_proj and 1 more.*its switches are attention_bias; heal instead"):
        save_steered(host, fitted_on(host, "mean_mass"), 1.0, tmp_path / "out", PROMPTS, {})
    # Nothing new is needed for these two.
    for number, method in enumerate(("sspace_damp_amp", "directional_ablation")):
        assert save_steered(host, fitted_on(host, method), 1.0, tmp_path / str(number), PROMPTS, {}).exact
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_an_approximation_is_called_one_and_not_written(hosts: dict[str, Host], tmp_path: Path) -> None:
    host = hosts["gemma3_text"]
    with pytest.raises(NotFoldable, match=r"'svd' is only an approximation here \(logits off by .*normalises what"):
        save_steered(host, fitted_on(host, "svd"), 1.0, tmp_path / "out", PROMPTS, {})
    with pytest.raises(NotFoldable, match="'sspace' cannot be folded into weights: the gate's size depends"):
        save_steered(host, fitted_on(host, "sspace"), 1.0, tmp_path / "out", PROMPTS, {})
    assert not list(tmp_path.iterdir())


def test_switches_give_zeros_to_the_others_for_a_while(llama: Host) -> None:
    path = "model.layers.1.self_attn.o_proj"
    assert set(bias_switches(llama, [path])) == {"attention_bias"}
    with biases_held(llama, [path]):
        gained = [n for n, m in llama.model.named_modules() if isinstance(m, nn.Linear) and m.bias is not None]
        assert len(gained) == 16 and llama.model.config.attention_bias
        assert not any(llama.model.get_submodule(name).bias.any() for name in gained)
    assert not any(name.endswith("bias") for name in weights(llama)) and not llama.model.config.attention_bias


class Bent(ModuleType):
    """`mean_mass` with another bake."""

    def __init__(self, bake: Any) -> None:
        super().__init__("bent")
        from steerkit.methods import mean_mass

        vars(self).update({name: value for name, value in vars(mean_mass).items() if not name.startswith("__")})
        self.bake = bake


def test_a_wrong_bake_is_found(llama: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    bent = Bent(lambda state, strength, block, config: WeightEdit(bias=1.01 * strength * state["vector"]))
    monkeypatch.setattr(fold, "load_method", lambda name: bent)
    monkeypatch.setattr(prove, "load", lambda kind, name: bent)
    (found,) = prove.proofs(llama, ["mean_mass"], prove.checked_contexts(llama), PROMPTS)
    assert found.held == "approximate" and found.logit is not None and found.logit > 1e-3 and not found.folder
    assert "bake() is at fault" in found.why


def checked(host: Host, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert cli.main(["methods", "--check", "--json", "--model", host.source, "--device", "cpu"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["architecture"] == type(host.model).__name__
    return {row["method"]: row for row in document["methods"]}


def test_the_command_proves_every_method_on_three_architectures(
    hosts: dict[str, Host], capsys: pytest.CaptureFixture[str]
) -> None:
    found = {kind: checked(hosts[kind], capsys) for kind in ("llama", "qwen3", "gemma3_text")}
    for rows in found.values():
        assert {name for name, row in rows.items() if row["held"] != "no"} >= set(BAKEABLE)
        assert all(len(row["why"].split()) > 3 for row in rows.values() if row["held"] == "no")
        assert all((row["logit"] < 1e-4) == (row["held"] == "exact") for row in rows.values() if row["held"] != "no")
    assert {row["held"] for name, row in found["llama"].items() if name in BAKEABLE} == {"exact"}
    assert all(found["llama"][name]["folder"] for name in BAKEABLE)
    assert not found["qwen3"]["svd"]["folder"] and "mlp.down_proj" in found["qwen3"]["svd"]["why"]
    gemma = {name for name in BAKEABLE if found["gemma3_text"][name]["held"] == "approximate"}
    assert gemma == set(ON_THE_STREAM)


def test_a_model_without_the_modules_is_told(hosts: dict[str, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    host = hosts["llama"]
    mlp: Any = host.blocks[2].get_submodule("mlp")
    monkeypatch.setitem(mlp._modules, "down_proj", nn.Sequential(mlp.down_proj))
    rows = {p.method: p for p in prove.proofs(host, ["svd", "sspace_ablate"], prove.checked_contexts(host), PROMPTS)}
    assert {row.held for row in rows.values()} == {"no"}
    assert all("Linear named mlp.down_proj or" in row.why and "block 2" in row.why for row in rows.values())
