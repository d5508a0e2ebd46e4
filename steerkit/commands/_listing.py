"""What a plugin says of itself in its docstring, read without importing it."""

import ast
from importlib.util import find_spec
from pathlib import Path

from steerkit.commands._output import echo_json, echo_table
from steerkit.plugins import Kind, sources


def about(module: str) -> str:
    """The first sentence of a module's docstring; empty where it has no Python source."""
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def echo_plugins(kind: Kind, as_json: bool) -> None:
    """One row per plugin of a kind."""
    rows = [{"name": name, "module": module, "about": about(module)} for name, module in sources(kind).items()]
    if as_json:
        echo_json({kind: rows})
    else:
        echo_table(rows, ("name", "about"))
