"""What the methods say of themselves, read from their source without importing them (or torch)."""

import ast
import re
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from steerkit.errors import UsageError
from steerkit.plugins import LITE, LITE_SITES, Kind, Trouble, clashes, distribution, sources

COLUMNS = ("name", "bakeable", "site", "source")
BRIDGE = "steerkit.methods._steering_lite"
CITED = re.compile(r"https?://[^\s)>\]]+")
"""The first address in a docstring of steering-lite."""
MARKED = re.compile(r"(?<=<!-- methods -->\n).*?(?=<!-- /methods -->)", re.DOTALL)


class MethodRow(TypedDict):
    """One method; `not_bakeable` is the reason, empty for a bakeable one."""

    name: str
    module: str
    idea: str
    bakeable: bool
    not_bakeable: str
    site: str
    source: str


def _specification(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing its parents."""
    parts = module.split(".")
    spec = find_spec(parts[0])
    for depth in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:depth]), spec.submodule_search_locations)
    return spec


def _parsed(name: str, module: str) -> ast.Module:
    """Raises UsageError when the module has no Python source."""
    spec = _specification(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"plugin {name!r} must be a Python module, but {module} has no source; uninstall or fix it")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _texts(tree: ast.Module) -> dict[str, str]:
    """Top-level names that are bound to a text."""
    texts = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ):
                texts[name] = text
    return texts


def _lite_row(name: str, module: str) -> MethodRow:
    """A method of steering-lite, of which its docstring and its class say everything."""
    tree = _parsed(name, module)
    text = ast.get_docstring(tree) or ""
    members = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    cited = CITED.search(text)
    return MethodRow(
        name=name,
        module=module,
        idea=text.partition("\n")[0],
        bakeable=False,
        not_bakeable=_texts(_parsed(name, BRIDGE))["NOT_BAKEABLE"],
        site=next((place for member, place in LITE_SITES if member in members), "residual"),
        source=cited.group() if cited else "https://github.com/wassname/steering-lite",
    )


def _row(name: str, module: str) -> MethodRow:
    if module.startswith(f"{LITE}."):
        return _lite_row(name, module)
    tree = _parsed(name, module)
    texts = _texts(tree)
    lines = (ast.get_docstring(tree) or "").splitlines() or [""]
    return MethodRow(
        name=name,
        module=module,
        idea=lines[0],
        bakeable=any(isinstance(node, ast.FunctionDef) and node.name == "bake" for node in tree.body),
        not_bakeable=texts.get("NOT_BAKEABLE", ""),
        site=texts.get("SITE", ""),
        source=lines[-1].removeprefix("Source:").strip().removesuffix("."),
    )


def methods_table() -> list[MethodRow]:
    """One row per method whose source can be read, sorted by name; `troubles` has the others."""
    found = sources("methods")
    return [_row(name, module) for name, module in found.items() if not _unreadable("methods", name, module)]


def troubles(kind: Kind) -> list[Trouble]:
    """Installed plugins that cannot be used, as far as can be told without importing them."""
    unreadable = (
        Trouble(name, distribution(kind, module), module, fault)
        for name, module in sources(kind).items()
        if (fault := _unreadable(kind, name, module))
    )
    return [*clashes(kind), *unreadable]


def _unreadable(kind: Kind, name: str, module: str) -> str:
    """What keeps a plugin from being read; empty where nothing does. Only a method must have source, for this page."""
    try:
        if kind != "methods" and (spec := _specification(module)) and not (spec.origin or "").endswith(".py"):
            return ""
        _parsed(name, module)
    except UsageError as error:
        return str(error)
    except (SyntaxError, ValueError, OSError) as error:
        return f"{module} must be valid Python, but gave: {error}; mend or uninstall {distribution(kind, module)}"
    return ""


def markdown(rows: list[MethodRow]) -> str:
    """The rows as a Markdown table."""
    cells = [
        (f"`{row['name']}`", "yes" if row["bakeable"] else f"no: {row['not_bakeable']}", row["site"], row["source"])
        for row in rows
    ]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def refreshed(page: str) -> str:
    """The page with the table of built-in methods between its `<!-- methods -->` markers up to date."""
    built_in = [row for row in methods_table() if row["module"].startswith("steerkit.methods.")]
    return MARKED.sub(lambda _: markdown(built_in), page)
