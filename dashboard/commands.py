"""The command lines that make a stored run again."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from dashboard.reading import Reader
from steerkit.records import Run


def again(reader: Reader, run_id: str) -> list[str]:
    """The commands of the run and of those it goes on from, the first run first; without those that are not known."""
    # Methods bring torch, which no other page needs.
    from steerkit.report.reproduce import command

    try:
        return [line for run in reversed([*_chain(reader, run_id)]) if (line := command(run))]
    except (msgspec.DecodeError, json.JSONDecodeError):
        # A specification of another version, or none at all.
        return []


def _chain(reader: Reader, run_id: str | None) -> Iterator[Run]:
    seen: set[str] = set()
    while run_id and run_id not in seen:
        seen.add(run_id)
        rows = reader.query("FROM run WHERE run_id = $run LIMIT 1", {"run": run_id}).to_dicts()
        for row in rows:
            run = msgspec.convert(_known(row), Run)
            yield run
        run_id = rows[0]["parent_run"] if rows else None


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in Run.__struct_fields__}
