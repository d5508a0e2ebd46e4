import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steerkit import cli
from steerkit.commands import _checks
from steerkit.commands._findings import Asked, Finding
from steerkit.store import Store

Command = Callable[..., subprocess.CompletedProcess[str]]


def asked(**changes: object) -> Asked:
    settings = {"store": Path("steerkit.duckdb"), "model": "smollm2-135m", "dtype": "auto", "device": "auto"}
    return Asked(**(settings | changes))  # type: ignore[arg-type]


def one(check: str, **changes: object) -> Finding:
    (finding,) = _checks.CHECKS[check](asked(**changes))
    return finding


def install(folder: Path, name: str, version: str) -> None:
    """A distribution's metadata, as an installer leaves it."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_doctor_says_what_it_found_and_what_to_do(steerkit: Command) -> None:
    done = steerkit("doctor", "--json")
    document = json.loads(done.stdout)
    troubles = [finding for finding in document["findings"] if finding["status"] == "trouble"]
    assert (done.returncode, document["healthy"]) == ((1, False) if troubles else (0, True))
    assert {finding["check"] for finding in document["findings"]} == {*_checks.CHECKS}
    assert all(finding["advice"] for finding in document["findings"] if finding["status"] == "notice")


def test_doctor_notices_the_other_project_of_our_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "steerkit", "0.9.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = one("namesake")
    assert finding.status == "trouble"
    assert "0.9.1" in finding.found
    assert finding.advice.startswith("pip uninstall steerkit")


def test_doctor_notices_a_version_out_of_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "duckdb", "0.1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["duckdb<3,>=1.5.5", "nowhere-to-be-found>=1"])
    found = next(_checks.CHECKS["versions"](asked())).found
    assert "duckdb must be <3,>=1.5.5, but is 0.1.0" in found
    assert "nowhere-to-be-found must be >=1, but is not installed" in found


def test_doctor_finds_the_eval_package_by_either_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moralmaps.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "extra 'tinymfv' is installed" in [finding.found for finding in _checks.CHECKS["extras"](asked())]


def test_doctor_names_plugins_that_take_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one("plugins").status == "ok"
    for name, claimed in (("first", "twin"), ("second", "twin"), ("shadow", "svd")):
        install(tmp_path, name, "1.0")
        (tmp_path / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(
            f"[steerkit.methods]\n{claimed} = {name}_module\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    *notices, last = _checks.CHECKS["plugins"](asked())
    assert {finding.status for finding in notices} == {"notice"} and last.status == "ok"
    found = {finding.found.split(" is not usable")[0]: finding.advice for finding in notices}
    assert found.keys() == {"twin of first 1.0", "twin of second 1.0", "svd of shadow 1.0"}
    assert found["svd of shadow 1.0"] == "mend or uninstall shadow 1.0"


@pytest.mark.parametrize("kind", ["methods", "gates", "instruments", "filters"])
def test_doctor_names_a_plugin_that_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    install(tmp_path, "torn", "1.0")
    (tmp_path / "torn-1.0.dist-info" / "entry_points.txt").write_text(f"[steerkit.{kind}]\ntorn = torn_module\n")
    (tmp_path / "torn_module.py").write_text("def measure(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    named, last = _checks.CHECKS["plugins"](asked())
    assert "torn of torn 1.0 is not usable: torn_module must be valid Python" in named.found and last.status == "ok"


def test_doctor_goes_on_when_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(asked: Asked) -> list[Finding]:
        raise ModuleNotFoundError("No module named 'gguf'")

    monkeypatch.setattr(_checks, "CHECKS", {"model": missing, "python": _checks.CHECKS["python"]})
    findings = list(_checks.examined(asked()))
    assert [(finding.check, finding.status) for finding in findings] == [("model", "trouble"), ("python", "ok")]
    assert "pip install" in findings[0].advice


@pytest.mark.parametrize(
    ("model", "status"), [("{folder}", "trouble"), ("not/a/model", "trouble"), ("nobody/has-this-model", "notice")]
)
def test_doctor_knows_whether_a_model_is_at_hand(model: str, status: str, tmp_path: Path) -> None:
    assert one("model", model=model.format(folder=tmp_path)).status == status


def test_doctor_looks_into_the_store(tmp_store: Store, tmp_path: Path) -> None:
    assert "0 run(s), no problems" in one("store", store=tmp_store.path).found
    assert "does not exist yet" in one("store", store=tmp_path / "none.duckdb").found


def test_a_file_that_is_no_store_is_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database")
    assert cli.main(["doctor", "--store", str(other), "--json"]) == 1
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["store"]["status"] == "trouble"
    assert other.read_text() == "not a database"


def test_doctor_needs_nothing_heavy_to_start() -> None:
    code = "import sys; import steerkit.commands.doctor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "transformers", "duckdb"} & {*done.stdout.split()}
