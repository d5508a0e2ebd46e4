"""Write the parts of the pages that follow from the code: `make docs`. A test fails while one is stale."""

import ast
import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from steerkit import catalogue, cli
from steerkit.gates import gate1_steer, gate2_filter, gate3_heal, gate4_loop
from steerkit.options import COMMON
from steerkit.personas import load_personas
from steerkit.resources import questions
from steerkit.spec import ControlSpec, Setting, TextSpec
from steerkit.spec_heal import HealSpec, HeldOutSpec
from steerkit.store import Store

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/methods.md", "docs/gates.md", "docs/personas.md", "docs/metrics.md", "docs/schema.md")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def methods() -> str:
    """The built-in methods."""
    return catalogue.markdown(
        [row for row in catalogue.methods_table() if row["module"].startswith("steerkit.methods.")]
    )


def commands() -> str:
    """Every command with its subcommands and its own options."""
    names = cli.group.list_commands(click.Context(cli.group))
    return table(("command", "what it does", "options"), (_command(name) for name in names))


def _command(name: str) -> tuple[str, str, str]:
    command = cli.group.get_command(click.Context(cli.group), name)
    children = " \\| ".join(command.commands) if isinstance(command, click.Group) else ""
    options = [o for p in (command.params if command else []) if p.name not in COMMON for o in _long(p)]
    return f"`{name}{' ' + children if children else ''}`", cli.summary(name), " ".join(f"`{o}`" for o in options)


def _long(parameter: click.Parameter) -> list[str]:
    return parameter.opts[-1:] if isinstance(parameter, click.Option) else []


def named_questions() -> str:
    """The named queries of `steerkit show`."""
    return table(("question", "answers"), ((f"`{name}`", answers) for name, answers in questions().items()))


def checks(gate: ModuleType) -> str:
    """A gate's criteria and hypotheses."""
    rows = []
    for check in gate.CHECKS:
        kind = "criterion" if check in gate.CRITERIA else "hypothesis"
        rows.append((check.__name__.replace("_", " "), kind, first_sentence(check.__doc__)))
    return table(("check", "kind", "holds when"), rows)


def thresholds(settings: type[Setting]) -> str:
    """A class's settings, its own and those it shares with others, with the text below each."""
    shared = [kind for kind in settings.__mro__[1:] if issubclass(kind, Setting) and kind is not Setting]
    rows = [row for kind in (*reversed(shared), settings) for row in _own_thresholds(kind)]
    return table(("setting", "default", "meaning"), rows)


def _own_thresholds(settings: type[Setting]) -> list[tuple[str, str, str]]:
    body = ast.parse(inspect.getsource(settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    rows = []
    for field, below in zip(body.body, [*body.body[1:], body.body[-1]], strict=True):
        if isinstance(field, ast.AnnAssign) and field.value:
            said = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
            rows.append((f"`{ast.unparse(field.target)}`", ast.unparse(field.value), first_sentence(said)))
    return rows


def label_table() -> str:
    """The labels of gate 3, as its module's docstring defines them."""
    lines = inspect.cleandoc(gate3_heal.__doc__ or "").splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("|"))


def traits() -> str:
    """The built-in personas."""
    rows = [
        (f"`{p.name}`", f"{p.target} {'up' if p.sign > 0 else 'down'}", ", ".join(p.along), p.description)
        for p in load_personas().values()
    ]
    return table(("trait", "moves", "may move along", "meaning"), rows)


def _rows_of(sql: str) -> list[tuple[Any, ...]]:
    """What an empty store answers."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "empty.duckdb")
        store.rebuild()
        return store.query(sql).rows()


def versions() -> str:
    """The versions of the metrics."""
    rows = _rows_of("SELECT version, corrected, floor, meaning FROM metric_version")
    shown = ((f"`{name}`", "taken off" if off else "left in", f"{floor:g}", why) for name, off, floor, why in rows)
    return table(("version", "label bias", "floor", "meaning"), shown)


def metrics() -> str:
    """Every metric with its formula, unit and source."""
    rows = _rows_of("SELECT metric, unit, formula, source, view FROM metric_definition")
    shown = ((f"`{name}`", unit, formula, source, f"`{view}`") for name, unit, formula, source, view in rows)
    return table(("metric", "unit", "formula", "source", "view"), shown)


def schema() -> str:
    """Every table and view of an empty store with its comments."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "empty.duckdb")
        store.rebuild()
        tables = store.query("SELECT table_name AS name, comment FROM duckdb_tables() ORDER BY name").to_dicts()
        views = store.query(
            "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal ORDER BY name"
        ).to_dicts()
        columns = store.query(
            "SELECT table_name AS name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY name, column_index"
        ).to_dicts()
    parts = []
    for kind, found in (("Views", views), ("Tables", tables)):
        parts.append(f"## {kind}\n\n" + "".join(_described(of, columns) for of in found))
    return "\n" + "\n".join(parts) + "\n"


def _described(of: dict[str, Any], columns: list[dict[str, Any]]) -> str:
    mine = [column for column in columns if column["name"] == of["name"]]
    rows = [(f"`{column['column_name']}`", column["data_type"], column["comment"] or "") for column in mine]
    return f"### {of['name']}\n\n{of['comment'] or ''}\n\n{table(('column', 'type', 'meaning'), rows)}\n"


PARTS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "commands": commands,
    "questions": named_questions,
    "checks": lambda: checks(gate1_steer),
    "thresholds": lambda: thresholds(gate1_steer.Config),
    "checks2": lambda: checks(gate2_filter),
    "thresholds2": lambda: thresholds(gate2_filter.Config),
    "texts": lambda: thresholds(TextSpec),
    "control": lambda: thresholds(ControlSpec),
    "label": label_table,
    "checks3": lambda: checks(gate3_heal),
    "thresholds3": lambda: thresholds(gate3_heal.Config),
    "heal": lambda: thresholds(HealSpec),
    "held_out": lambda: thresholds(HeldOutSpec),
    "checks4": lambda: checks(gate4_loop),
    "thresholds4": lambda: thresholds(gate4_loop.Config),
    "traits": traits,
    "versions": versions,
    "metrics": metrics,
    "schema": schema,
}


def refreshed(page: str) -> str:
    """The page with everything between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, make in PARTS.items():
        if f"<!-- {name} -->" in page:
            text = make()
            page = re.sub(
                rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", lambda _, text=text: text, page, flags=re.DOTALL
            )
    return page


if __name__ == "__main__":
    for place in (ROOT / name for name in PAGES):
        place.write_text(refreshed(place.read_text(encoding="utf-8")), encoding="utf-8")
