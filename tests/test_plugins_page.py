"""What docs/plugins.md shows is what the example package holds, and the checks it names exist."""

import re
import tomllib
from pathlib import Path

import click

import steerkit
from steerkit import cli
from steerkit.testing import MethodContract

ROOT = Path(steerkit.__file__).parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "steerkit-example-method"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_line_is_the_examples() -> None:
    shown = tomllib.loads(block("toml"))["project"]["entry-points"]
    assert shown == tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]


def test_the_three_lines_are_the_examples_test() -> None:
    assert block("python") in (EXAMPLE / "tests" / "test_contract.py").read_text()


def test_every_check_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) >= 10 and named <= {*dir(MethodContract)}


def test_every_option_that_is_named_exists() -> None:
    for name, option in (
        ("import", "--direction"),
        ("import", "--any-model"),
        ("export", "--dose"),
        ("gate1", "--vector"),
    ):
        command = cli.group.get_command(click.Context(cli.group), name)
        assert command is not None and option in PAGE
        assert option in {given for parameter in command.params for given in parameter.opts}
