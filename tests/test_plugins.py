"""Plugins are found by name without being imported, and a wrong name is a clear error."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import steerkit
from steerkit import cli
from steerkit.catalogue import methods_table, refreshed, troubles
from steerkit.errors import RunError, UsageError
from steerkit.evidence import Extraction
from steerkit.plugins import clashes, load, load_method, sources, trouble_of
from steerkit.spec import Setting
from steerkit.stages.capture import Captured
from steerkit.stages.fit import fit
from steerkit.stages.steer import edits
from steerkit.testing import GateContract, activations, planted

ROOT = Path(steerkit.__file__).parents[1]
BUILT_IN = {"cosine_gated", "mean_mass", "null", "svd"}
LIST_ALL = """
import sys
from steerkit.catalogue import methods_table
from steerkit.plugins import sources
for kind in ("methods", "gates", "instruments"):
    sources(kind)
methods_table()
plugin = ("steerkit.methods", "steerkit.gates", "steerkit.instruments", "torch", "transformers", "numpy", "outsider")
print([name for name in sys.modules if name.startswith(plugin)])
"""


def install(folder: Path, name: str, module: str, code: str = "") -> None:
    """Put a distribution with one method on a folder of `sys.path`."""
    info = folder / f"{name}_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[steerkit.methods]\n{name} = {module}\n")
    if code:
        path = folder / Path(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)


def test_built_in_methods_are_found_and_helpers_are_not() -> None:
    assert set(sources("methods")) >= BUILT_IN
    assert not any(name.startswith("_") for name in sources("methods"))
    assert load_method("svd").SITE == "residual"


def test_listing_imports_no_plugin_and_no_torch(tmp_path: Path) -> None:
    (tmp_path / "outsider").mkdir()
    (tmp_path / "outsider" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    install(tmp_path, "faraway", "outsider.faraway", '"""Far away.\n\nSource: doi\n"""\nSITE = "residual"\n')
    paths = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]"
    done = subprocess.run([sys.executable, "-c", paths + LIST_ALL], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"unknown method 'sdv'; did you mean 'svd'. known: angular, .*, cosine_gated, "
    ):
        load("methods", "sdv")


def test_a_method_from_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        '"""Turn it up.\n\nSource: https://example.org\n"""\nSITE: str = "residual"\nNOT_BAKEABLE = "it is not real"\n'
    )
    install(tmp_path, "louder", "loud_package.louder", code)
    monkeypatch.syspath_prepend(str(tmp_path))
    row = next(row for row in methods_table() if row["name"] == "louder")
    assert (row["idea"], row["site"], row["source"]) == ("Turn it up.", "residual", "https://example.org")
    assert (row["bakeable"], row["not_bakeable"]) == (False, "it is not real")
    assert load("methods", "louder").SITE == "residual"


def test_a_built_in_keeps_its_name_and_whoever_shadows_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "svd", "elsewhere.svd")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sources("methods")["svd"] == "steerkit.methods.svd" and load_method("svd").SITE == "residual"
    [clash] = clashes("methods")
    assert (clash.name, clash.distribution, clash.module) == ("svd", "svd-dist 1.0", "elsewhere.svd")
    assert clash.fault == (
        "two methods are named 'svd': steerkit.methods.svd and elsewhere.svd; uninstall or rename one"
    )


def test_a_name_that_two_packages_claim_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, module in (("one", "first.twin"), ("two", "second.twin")):
        (tmp_path / folder).mkdir()
        install(tmp_path / folder, "twin", module)
        info = tmp_path / folder / "twin_dist-1.0.dist-info"
        info.rename(info.with_name(f"{folder}_dist-1.0.dist-info"))
        (info.with_name(f"{folder}_dist-1.0.dist-info") / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {folder}-dist\nVersion: 1.0\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    assert "twin" not in sources("methods") and len(clashes("methods")) == 2
    with pytest.raises(UsageError, match=r"two methods are named 'twin': \w+.twin and \w+.twin; uninstall or rename"):
        load("methods", "twin")


def test_a_plugin_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (("raises", "raise ValueError('no such thing')\n"), ("partial", "SITE = 'residual'\n")):
        (tmp_path / name).mkdir()
        install(tmp_path / name, name, f"{name}_package.{name}", code)
        monkeypatch.syspath_prepend(str(tmp_path / name))
    raises, partial = trouble_of("raises"), trouble_of("partial")
    assert raises is not None and partial is not None and trouble_of("svd") is None
    assert raises.distribution == "raises-dist 1.0" and "gave ValueError: no such thing" in raises.fault
    assert "but lacks Config, fit, step, steer; mend or uninstall partial-dist 1.0" in partial.fault
    for name in ("raises", "partial"):
        with pytest.raises(UsageError, match=f"mend or uninstall {name}-dist 1.0"):
            load_method(name)


BAD = """
import torch
from steerkit.contrast import State
from steerkit.spec import Setting

SITE = "residual"
class Config(Setting, frozen=True, kw_only=True): ...
def fit(contrast, config): return {fit}
def step(state, config): return {step}
def steer(hidden, state, strength, config): return {steer}
"""
GOOD = {"fit": '{"vector": torch.ones(16)}', "step": 'state["vector"]', "steer": "hidden + 1"}


@pytest.mark.parametrize(
    ("part", "code", "message"),
    [
        (
            "fit",
            "torch.ones(16)",
            r"fit\(\) of 'bad' \(bad-dist 1.0\) must return finite tensors by name, but got \(16,\)",
        ),
        ("fit", '{"v": torch.full((3,), torch.nan)}', r"but got {v: \(3,\) with a NaN or infinity}"),
        ("step", "torch.ones(3)", r"step\(\) of 'bad' .* must return a finite vector of length 16, but got \(3,\)"),
        (
            "steer",
            "hidden[:, :1]",
            r"steer\(\) of 'bad' \(bad-dist 1.0\) must return activations .* returned \(\(2, 1, 16\)",
        ),
        ("steer", "hidden.double()", r"steer\(\) of 'bad' .* returned .*torch.float64"),
        ("steer", "None", r"steer\(\) of 'bad' .* returned NoneType"),
        (
            "steer",
            "hidden / 0 * 0",
            r"steer\(\) of 'bad' \(bad-dist 1.0\) must give finite activations, but gave 224 NaN",
        ),
    ],
)
def test_a_plugin_that_returns_what_it_must_not_is_named_with_what_to_mend(
    part: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BAD
    for name, right in (GOOD | {part: code}).items():
        text = text.replace("{" + name + "}", right)
    install(tmp_path, "bad", "bad_package.bad", text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("bad_package", "bad_package.bad"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    contrast = planted()[0]
    captured = Captured({1: contrast}, {1: 1.0}, Extraction(1, "", "", 0, False, True))

    def fit_and_steer() -> None:
        direction = fit(captured, "bad", load_method("bad").Config(), "run")
        edits([(direction, torch.ones(2))])[1](activations(2), torch.tensor([0, 1]), None)

    with pytest.raises(RunError, match=message):
        fit_and_steer()


def test_a_method_without_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "ghost", "nowhere.ghost")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "svd" in {row["name"] for row in methods_table()}, "the others are still listed"
    [trouble] = troubles("methods")
    assert (trouble.name, trouble.distribution) == ("ghost", "ghost-dist 1.0")
    assert "plugin 'ghost' must be a Python module, but nowhere.ghost has no source" in trouble.fault


def test_the_list_says_what_cannot_be_used_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "svd", "elsewhere.svd")
    (tmp_path / "other").mkdir()
    install(tmp_path / "other", "torn", "torn_package.torn", "def fit(:\n")
    for folder in (tmp_path, tmp_path / "other"):
        monkeypatch.syspath_prepend(str(folder))
    assert cli.main(["methods"]) == 0
    said = capsys.readouterr()
    assert "not usable: svd (svd-dist 1.0): two methods are named 'svd'" in said.err
    assert "not usable: torn (torn-dist 1.0): torn_package.torn must be valid Python" in said.err
    assert "mean_mass" in said.out and "torn" not in said.out
    assert cli.main(["gate1", "--method", "torn"]) == 2
    assert "torn_package.torn must be importable, but gave SyntaxError" in capsys.readouterr().err


def test_the_documented_table_is_up_to_date() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert page == refreshed(page), "write steerkit.catalogue.refreshed(page) back to docs/methods.md"
    assert all(f"| `{name}` |" in page for name in BUILT_IN)


class FakeGate:
    QUESTION = "Is it so?"
    Config = Setting

    @staticmethod
    def is_so() -> None: ...

    CHECKS = (is_so,)


class TestGateStructure(GateContract):
    @pytest.fixture
    def gate(self) -> type[FakeGate]:
        return FakeGate
