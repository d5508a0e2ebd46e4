"""Where the folders that ship beside the package live, in a checkout and in a wheel, and the SQL they hold."""

from pathlib import Path
from typing import Literal

from steerkit.errors import unknown


def folder(name: Literal["db", "dashboard"]) -> Path:
    """The folder of that name: inside the package in a wheel, next to it in a checkout."""
    shipped = Path(__file__).parent / f"_{name}"
    return shipped if shipped.is_dir() else Path(__file__).parent.parent / name


def _scripts(kind: Literal["schema", "views", "checks", "queries"]) -> list[Path]:
    return sorted((folder("db") / kind).glob("*.sql"))


def migrations() -> dict[int, Path]:
    """The schema's migrations by number, in order."""
    return {int(path.stem.split("_")[0]): path for path in _scripts("schema")}


def views() -> str:
    """The SQL that makes every view anew."""
    return "\n".join(path.read_text() for path in _scripts("views"))


def checks() -> list[str]:
    """Queries whose every row is a problem of the store, in a sentence."""
    return [path.read_text() for path in _scripts("checks")]


def questions() -> dict[str, str]:
    """The named queries, and what each answers."""
    return {path.stem: path.read_text().splitlines()[0].removeprefix("-- ") for path in _scripts("queries")}


def question(name: str) -> str:
    """A named query's SQL.

    Raises UsageError for an unknown name, listing the known ones.
    """
    known = {path.stem: path for path in _scripts("queries")}
    if name not in known:
        raise unknown("question", name, known)
    return known[name].read_text()
