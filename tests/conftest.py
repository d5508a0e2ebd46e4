"""Settings that must be in place before torch is imported, and what several test files share."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers on two cores: threads of their own would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

SHAPED = [
    ".".join(file.relative_to(folder.parent).with_suffix("").parts)
    for folder in [Path(__file__).parent.parent / "steerkit"]
    for file in sorted(folder.rglob("*.py"))
    if "from jaxtyping import" in file.read_text(encoding="utf-8")
]
"""The modules that spell out shapes: every call in them is checked as it happens. mypy has checked all before."""
OFTEN = set() if "STEERKIT_CHECK_OFTEN" in os.environ else {"steerkit.metrics", "steerkit.stats"}
"""Those of them that a judgement calls thousands of times; they are checked in their own tests (`test_shapes`)."""

install_import_hook([module for module in SHAPED if module not in OFTEN], "beartype.beartype")

from steerkit.store import Store  # noqa: E402

# A busy machine is slow; how fast a property holds says nothing about it.
settings.register_profile("steerkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steerkit")

Command = Callable[..., subprocess.CompletedProcess[str]]


LONG = (
    "test_real_model",
    "test_loop",
    "test_resume",
    "test_gate2_planted",
    "test_gate3_run",
    "test_planted",
    "test_store_crash",
    "test_methods_contract",
    "test_compare",
    "test_heal_sweep",
    "test_online",
    "test_fold",
    "test_places",
    "test_tinymfv",
    "test_layers",
    "test_narrate",
)
"""Files that take longest: they start first, so that no worker is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; skip, visibly, what needs a GPU where there is none."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="needs a GPU that torch can see"))


@pytest.fixture
def tmp_store(tmp_path: Path) -> Store:
    """An empty store whose file exists."""
    store = Store(tmp_path / "steerkit.duckdb")
    store.rebuild()
    return store


@pytest.fixture
def steerkit(tmp_path: Path) -> Command:
    """Run the command as a shell would, in an empty folder."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "steerkit.cli", *arguments]
        settings = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120} | options
        return subprocess.run(command, **settings)  # type: ignore[call-overload, no-any-return]

    return run
