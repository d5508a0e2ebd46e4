"""Reads the text the tool works on: vignettes, contexts and dilemmas, ours or a user's JSONL file by path."""

import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from steerkit.errors import UsageError
from steerkit.published import SETS, published
from steerkit.records import FOUNDATIONS
from steerkit.spec import digest

DATA = Path(__file__).parent / "data"
Person = Literal["third", "first"]
T = TypeVar("T", "Context", "Dilemma")


class VignetteText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One short scene with the foundation it violates; unknown fields of a user's file are ignored."""

    id: str
    foundation: str
    text: str
    human: dict[str, float] | None = None
    """Share of people who gave each answer, summing to 1 (fraction); None where the set does not say."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One user message for extraction."""

    id: str
    category: str = ""
    text: str


class Dilemma(msgspec.Struct, frozen=True, kw_only=True):
    """One open question for generation; `kind` is 'pressure' or 'mundane'."""

    id: str
    kind: str = "pressure"
    text: str


def vignettes(path: Path | None = None, person: Person = "third") -> tuple[VignetteText, ...]:
    """Every vignette of a JSONL file with `id`, `foundation`, `text` (and `first_person` for person='first'), or of the
    published set of that name where the package that holds it is installed.

    `human`, where a line has it, is an object of foundation to how many people, or which share, answered it.
    `foundation` is one of the seven names, in any spelling: 'Social Norms', 'care', 'Care (e)'. Raises UsageError
    naming file, line and field.
    """
    file = path or DATA / "vignettes.jsonl"
    rows: Iterable[tuple[str, dict[str, Any]]] = _rows(file)
    field = "text" if person == "third" else "first_person"
    if str(path) in SETS and not file.exists():
        rows, field = published(str(path), person), "text"
    read = tuple(
        VignetteText(
            id=_text(row, "id", where),
            foundation=_foundation(row, where),
            text=_text(row, field, where),
            human=_human(row, where),
        )
        for where, row in rows
    )
    _unique([vignette.id for vignette in read], file)
    return read


def contexts(path: Path | None = None) -> tuple[Context, ...]:
    """Every context of a JSONL file with `id` and `text`. Raises UsageError naming file, line and field."""
    return _plain(path or DATA / "contexts.jsonl", Context)


def dilemmas(path: Path | None = None) -> tuple[Dilemma, ...]:
    """Every dilemma of a JSONL file with `id` and `text`. Raises UsageError naming file, line and field."""
    file = path or DATA / "dilemmas.jsonl"
    read = _plain(file, Dilemma)
    twice = next((row for place, row in enumerate(read) if row.text in {other.text for other in read[:place]}), None)
    if twice:
        raise UsageError(f"{file}: every text must be unique, but that of {twice.id!r} comes more than once")
    return read


def stratified(rows: tuple[VignetteText, ...], count: int | None) -> tuple[VignetteText, ...]:
    """The first `count` vignettes with every foundation equally often, in file order; all of them for None."""
    if count is None or count >= len(rows):
        return rows
    if count < len(FOUNDATIONS):
        raise UsageError(f"vignettes must be at least {len(FOUNDATIONS)}, one per foundation, but got {count}")
    share, extra = divmod(count, len(FOUNDATIONS))
    quota = {name: share + (place < extra) for place, name in enumerate(FOUNDATIONS)}
    seen = dict.fromkeys(FOUNDATIONS, 0)
    chosen = []
    for row in rows:
        seen[row.foundation] += 1
        if seen[row.foundation] <= quota[row.foundation]:
            chosen.append(row)
    return tuple(chosen)


def halves(rows: tuple[VignetteText, ...], seed: int) -> tuple[tuple[VignetteText, ...], tuple[VignetteText, ...]]:
    """Two halves with every foundation as often in both, drawn at random; where one is odd, the first has one more."""
    first: set[str] = set()
    for name in FOUNDATIONS:
        own = [row.id for row in rows if row.foundation == name]
        first.update(random.Random(f"{seed} {name}").sample(own, (len(own) + 1) // 2))
    return tuple(row for row in rows if row.id in first), tuple(row for row in rows if row.id not in first)


def need(rows: tuple[VignetteText, ...], foundation: str) -> None:
    """Raise UsageError unless the target foundation is there, often enough to be averaged."""
    found = sum(row.foundation == foundation for row in rows)
    if found < 2:
        raise UsageError(
            f"the vignette set must hold at least 2 of the target foundation {foundation}, but it has {found}; "
            "add some, or choose a trait with another target (steerkit personas)"
        )


def drawn(rows: tuple[Context, ...], count: int, seed: int) -> tuple[tuple[Context, ...], tuple[Context, ...]]:
    """`count` contexts drawn at random and the rest, so that no slice of an ordered file is ever taken."""
    if not 2 <= count <= len(rows):
        raise UsageError(f"contexts must be between 2 and the {len(rows)} there are, but got {count}")
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return tuple(rows[i] for i in order[:count]), tuple(rows[i] for i in order[count:])


def drawn_apart(
    rows: tuple[Context, ...], count: int, seeds: int, spare: int, seed: int
) -> tuple[tuple[tuple[Context, ...], ...], tuple[Context, ...]]:
    """`seeds` draws of `count` contexts each, and `spare` that are in none of them.

    Draws share contexts only where there are too few to keep them apart. Raises UsageError for fewer than one needs.
    """
    if not 2 <= count <= len(rows) - spare:
        raise UsageError(
            f"contexts must be between 2 and the {len(rows)} there are less the {spare} that doses are matched on, "
            f"but got {count}"
        )
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    rest = order[spare:]
    apart = seeds * count <= len(rest)
    draws = [
        rest[turn * count : (turn + 1) * count] if apart else random.Random(f"{seed} {turn}").sample(rest, count)
        for turn in range(seeds)
    ]
    return tuple(tuple(rows[i] for i in draw) for draw in draws), tuple(rows[i] for i in order[:spare])


def drawn_prompts(prompts: tuple[Dilemma, ...], count: int, seed: int) -> tuple[Dilemma, ...]:
    """`count` prompts, drawn at random; the others stay unseen."""
    return tuple(random.Random(seed).sample(list(prompts), min(count, len(prompts))))


def text_hash(rows: tuple[Any, ...]) -> str:
    """A hash of ids, labels and texts."""
    return digest([msgspec.to_builtins(row) for row in rows])


def canonical_foundation(name: str) -> str | None:
    """The one of `FOUNDATIONS` a spelling means, or None."""
    letters = re.sub(r"[^a-z]", "", re.sub(r"\(.*?\)", "", name.lower()))
    known = {foundation.lower(): foundation for foundation in FOUNDATIONS}
    return known.get({"social": "socialnorms", "notwrong": "socialnorms", "purity": "sanctity"}.get(letters, letters))


def _plain(file: Path, kind: type[T]) -> tuple[T, ...]:
    read = []
    for where, row in _rows(file):
        known = {name: _text(row, name, where) for name in ("id", "text")}
        optional = {name: row[name] for name in ("category", "kind") if name in row and name in kind.__struct_fields__}
        read.append(kind(**known, **optional))
    _unique([row.id for row in read], file)
    return tuple(read)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) of every non-empty line."""
    if not file.is_file():
        raise UsageError(f"a data file must exist, but {file} does not; give the path of a JSONL file")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"a data file must be readable UTF-8 text, but {file} gave: {error}") from error
    if not any(line.strip() for line in lines):
        raise UsageError(f"a data file must hold at least one line, but {file} is empty")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{file}, line {number}", _object(line, f"{file}, line {number}")


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise UsageError(f"{where}: every line must be one JSON object, but got: {error}") from error
    if not isinstance(row, dict):
        raise UsageError(f"{where}: every line must be one JSON object, but got {type(row).__name__}")
    return row


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if isinstance(value, int) and field == "id":
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: field {field!r} must be a non-empty text, but got {value!r}")
    return value.strip()


def _foundation(row: dict[str, Any], where: str) -> str:
    given = _text(row, "foundation", where)
    found = canonical_foundation(given)
    if found is None:
        raise UsageError(f"{where}: field 'foundation' must be one of {', '.join(FOUNDATIONS)}, but got {given!r}")
    return found


def _human(row: dict[str, Any], where: str) -> dict[str, float] | None:
    """How people answered, as shares that sum to 1; None where the line does not say."""
    given = row.get("human")
    if given is None:
        return None
    rule = f"{where}: field 'human' must be an object of foundation to a number of at least 0, some above 0"
    try:
        counts = msgspec.convert(given, dict[str, float])
    except msgspec.ValidationError as error:
        raise UsageError(f"{rule}, but got {given!r}") from error
    found = {canonical_foundation(name): value for name, value in counts.items()}
    total = sum(found.values())
    if None in found or len(found) < len(counts) or min(found.values(), default=0) < 0 or not 0 < total < float("inf"):
        raise UsageError(f"{rule}, but got {given!r}; known: {', '.join(FOUNDATIONS)}")
    return {str(name): value / total for name, value in found.items()}


def _unique(ids: list[str], file: Path) -> None:
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UsageError(f"{file}: every id must be unique, but {twice[0]!r} comes more than once")
