"""The example of a plugin is installed into a folder of its own, found, proven by the suite, and steers."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import steerkit

ROOT = Path(steerkit.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "steerkit-example-method"


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment = {**own, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=site, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as an installer would lay it out: its package, and a dist-info made from its own pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, points in project["entry-points"].items()
        for name, value in points.items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    (folder / "steerkit_example_method").symlink_to(EXAMPLE / "steerkit_example_method")
    return folder


def test_it_is_listed_with_what_it_says_of_itself(site: Path) -> None:
    done = run(site, "-m", "steerkit.cli", "methods", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["methods"]}
    assert rows["median_shift"] == {
        "name": "median_shift",
        "module": "steerkit_example_method.median_shift",
        "idea": "Add the median of the pair differences, coordinate by coordinate.",
        "bakeable": True,
        "not_bakeable": "",
        "site": "residual",
        "source": "breakdown point of the median: https://en.wikipedia.org/wiki/Robust_statistics",
    }


def test_its_three_line_test_proves_it(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout and "passed" in done.stdout


def test_pip_installs_it(tmp_path: Path) -> None:
    if find_spec("setuptools") is None or find_spec("pip") is None:
        pytest.skip("needs pip and setuptools in this environment: nothing is downloaded")
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(copy)], check=True)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    target = tmp_path / "target"
    done = run(tmp_path, "-m", "pip", "install", *options, "--target", str(target), str(copy))
    assert done.returncode == 0, done.stderr
    listed = run(target, "-m", "steerkit.cli", "methods", "--json")
    assert "median_shift" in {row["name"] for row in json.loads(listed.stdout)["methods"]}
