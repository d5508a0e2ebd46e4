"""The published vignette sets, read from the installed package that holds them; the package itself is not imported."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from steerkit.errors import UsageError

PACKAGES = ("moralmaps", "tinymfv")
"""Today's import name and the earlier one."""
SETS = ("classic", "scifi", "ai-actor")
CONDITIONS = {"third": "other_violate", "first": "self_violate"}
"""Who acts, and what the package calls it."""
NOT_WRONG = "Not Wrong"
"""How the earliest files name the last of the seven answers."""


def package() -> str | None:
    """The import name of the installed package; None where there is none."""
    return next((name for name in PACKAGES if find_spec(name) is not None), None)


def need_package(what: str) -> str:
    """The import name of the installed package. Raises UsageError where there is none, saying how to get it."""
    name = package()
    if name is None:
        raise UsageError(
            f"{what} needs the package moral-maps (import name {' or '.join(PACKAGES)}), which is not installed; "
            "pip install 'moral-maps @ git+https://github.com/wassname/tinymfv'"
        )
    return name


def published(name: str, person: str) -> list[tuple[str, dict[str, Any]]]:
    """(file and line, row) of every vignette of a set, with how people answered where the set says.

    Raises UsageError where the package is not installed, or without this set.
    """
    spec = find_spec(need_package(f"the vignette set {name!r}"))
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin).parent / "data" / f"vignettes_{name}_{CONDITIONS[person]}.jsonl"
    if not file.is_file():
        raise UsageError(f"the installed {spec.name} must hold the vignette set {name!r}, but {file} does not exist")
    lines = file.read_text(encoding="utf-8").splitlines()
    return [(f"{file}, line {n}", _row(msgspec.json.decode(line))) for n, line in enumerate(lines, 1) if line.strip()]


def _row(given: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: given[name] for name in ("id", "foundation", "text")}
    people = _people(given)
    return kept | {"human": people} if people else kept


def _people(given: Mapping[str, Any]) -> dict[str, float]:
    """Answers in percent by foundation; empty unless all seven are there and some are above 0."""
    found = {key.removeprefix("human_"): _percent(given[key]) for key in given if key.startswith("human_")}
    if not found and NOT_WRONG in given:
        names = ("Care", "Fairness", "Loyalty", "Authority", "Sanctity", "Liberty")
        found = {name: _percent(given.get(name)) for name in names} | {"SocialNorms": _percent(given[NOT_WRONG])}
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == 7 and sum(known.values()) > 0 else {}


def _percent(value: Any) -> float | None:
    """'83 %' and 83.0 are 83; None where there is no number."""
    text = str(value).strip().removesuffix("%").strip() if value is not None else ""
    return float(text) if text else None
