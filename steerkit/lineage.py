"""The tree of a chain of runs: its rounds with their directions, texts, adapters and scores.

Texts are counted, not listed: a chain has thousands. Every node has an id, so that `provenance.why` can be asked
about it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from steerkit.errors import UsageError

if TYPE_CHECKING:
    import polars

CHAIN = """
    WITH played AS (
        SELECT run_id, max(round) AS round, list(coalesce(gate3_run, gate2_run)) AS runs FROM round GROUP BY ALL
    )
    SELECT DISTINCT run.run_id, gate, parent_run,
        coalesce(played.round, CASE WHEN json_valid(spec)
            THEN coalesce((spec->>'$.round')::INTEGER, json_array_length(spec->'$.history')::INTEGER, 0)
            ELSE 0 END) AS round,
        list_distinct(list_filter(list_concat([parent_run, (
            SELECT any_value(adapter.run_id) FROM adapter
            WHERE json_valid(run.spec) AND adapter.adapter_id = (run.spec->>'$.history[#-1]')
        )], played.runs), lambda one: one IS NOT NULL)) AS origins,
        registered_at
    FROM run LEFT JOIN played ON played.run_id = run.run_id ORDER BY registered_at, run.run_id
"""
PARTS = """
    SELECT a.kind, a.id, a.run_id, a.name, a.label, a.artifact, unit.stage,
        coalesce(arm.direction_id, arm.adapter_id) AS parent_id
    FROM artefact a
    LEFT JOIN unit ON unit.run_id = a.run_id AND unit.unit_id = a.unit_id
    LEFT JOIN arm ON a.kind = 'arm' AND arm.run_id = a.run_id AND arm.arm_id = a.id
    WHERE a.run_id IN $runs AND a.kind IN ('run', 'direction', 'adapter', 'arm')
    ORDER BY a.kind = 'arm', a.name <> 'real', coalesce(arm.dose, 0), a.name, a.id
"""
TEXTS = """
    WITH said AS (
        SELECT run_id, completion_id, bool_and(keep) AS kept FROM decision WHERE run_id IN $runs GROUP BY ALL
    ), newest AS (
        SELECT run_id, arg_max(filter_id, seq) AS filter_id FROM filter_set GROUP BY ALL
    )
    SELECT c.run_id, c.role, c.direction_id, count(*) AS made, count(*) FILTER (said.kept) AS kept,
        count(said.kept) AS decided, min(c.dose) AS dose_low, max(c.dose) AS dose_high,
        any_value(newest.filter_id) AS filter_id
    FROM completion c
    LEFT JOIN said ON said.run_id = c.run_id AND said.completion_id = c.completion_id
    LEFT JOIN newest ON newest.run_id = c.run_id
    WHERE c.run_id IN $runs AND c.arm_id IS NULL
    GROUP BY ALL ORDER BY c.run_id, c.role, c.direction_id
"""
TRAINED = """
    SELECT h.adapter_id, list(DISTINCT c.run_id ORDER BY c.run_id) AS runs
    FROM heal_text h
    JOIN completion c ON c.completion_id = h.completion_id
    WHERE h.run_id IN $runs GROUP BY ALL
"""


class Node(msgspec.Struct, kw_only=True):
    """One artefact, or several of one sort, with what hangs below."""

    relation: str = ""
    """How it hangs on what is above."""
    kind: str
    ids: list[str]
    run_id: str
    label: str
    artifact: str | None = None
    """sha256 of the file that holds it."""
    facts: dict[str, Any] = {}
    shown_above: bool = False
    """What hangs below it is shown above."""
    children: list["Node"] = []


@runtime_checkable
class Asked(Protocol):
    """What can be asked: a store, or whoever keeps its answers."""

    @property
    def path(self) -> Path:
        """The store's file, for messages."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> "polars.DataFrame":
        """The answer to a query with `$name` parameters."""


def find_run(store: Asked, prefix: str) -> str:
    """The id of the one run whose id begins so.

    Raises UsageError when there is none, or more than one.
    """
    rows = store.query("SELECT run_id, gate, method FROM run ORDER BY registered_at").rows()
    found = [(run, gate, method) for run, gate, method in rows if run.startswith(prefix)]
    if len(found) == 1:
        return str(found[0][0])
    listed = ", ".join(f"{run} ({gate} {method})" for run, gate, method in (found or rows)[-5:]) or "none"
    raise UsageError(
        f"a run must be named by the beginning of one id, but {prefix!r} begins {len(found)} of the {len(rows)} in "
        f"{store.path}; {'those' if found else 'the newest'}: {listed}"
    )


def chain(store: Asked, prefix: str) -> dict[str, Any]:
    """The rounds of the chain that a run belongs to: all it came from and all that came from it.

    Raises UsageError when no run, or more than one, begins so.
    """
    run = find_run(store, prefix)
    rows = {row["run_id"]: row for row in store.query(CHAIN).to_dicts()}
    members = related(run, rows)
    parts = store.query(PARTS, {"runs": [*members]}).to_dicts()
    trained = {row["adapter_id"]: row for row in store.query(TRAINED, {"runs": [*members]}).to_dicts()}
    texts = store.query(TEXTS, {"runs": [*members]}).to_dicts()
    nodes = {name: _run_node(name, parts, texts, trained) for name in rows if name in members}
    rounds: dict[int, list[Node]] = {}
    for name, node in nodes.items():
        row = rows[name]
        parent = row["parent_run"]
        if parent in nodes and rows[parent]["round"] == row["round"]:
            nodes[parent].children.append(node)
        else:
            rounds.setdefault(row["round"], []).append(node)
    return {"run_id": run, "rounds": [{"round": number, "runs": rounds[number]} for number in sorted(rounds)]}


def related(run: str, rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The run with everything before it and everything after it."""
    back = {name: row["origins"] for name, row in rows.items()}
    forth: dict[str, list[str]] = {}
    for name, origins in back.items():
        for origin in origins:
            forth.setdefault(origin, []).append(name)
    return (_reached(run, back) | _reached(run, forth)) & rows.keys()


def _reached(start: str, steps: Mapping[str, Sequence[str]]) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        fresh = [name for name in steps.get(todo.pop(), ()) if name not in found]
        found.update(fresh)
        todo += fresh
    return found


def _run_node(
    run: str,
    parts: Sequence[Mapping[str, Any]],
    texts: Sequence[Mapping[str, Any]],
    trained: Mapping[str, Mapping[str, Any]],
) -> Node:
    """One run with its directions, texts and adapters, and the arms that were scored with each."""
    mine = [part for part in parts if part["run_id"] == run]
    own = next(part for part in mine if part["kind"] == "run")
    node = Node(kind="run", ids=[run], run_id=run, label=own["label"])
    made = {part["id"]: _part(part, trained) for part in mine if part["kind"] in ("direction", "adapter")}
    node.children += [one for one in made.values() if one.kind == "direction"]
    node.children += [_texts(row) for row in texts if row["run_id"] == run]
    node.children += [one for one in made.values() if one.kind == "adapter"]
    arms = [part for part in mine if part["kind"] == "arm"]
    for arm in arms:
        if arm["stage"] != "adopt":
            made.get(arm["parent_id"], node).children.append(_part(arm, {}))
    adopted = [arm["id"] for arm in arms if arm["stage"] == "adopt"]
    if adopted:
        label = f"{len(adopted)} arms taken over from earlier runs"
        node.children.append(Node(kind="arms", ids=adopted, run_id=run, label=label))
    return node


def _part(part: Mapping[str, Any], trained: Mapping[str, Mapping[str, Any]]) -> Node:
    found = trained.get(part["id"])
    runs = ", ".join(found["runs"]) if found else ""
    label = part["label"] + (f" of {runs}" if runs else "")
    return Node(kind=part["kind"], ids=[part["id"]], run_id=part["run_id"], label=label, artifact=part["artifact"])


def _texts(row: Mapping[str, Any]) -> Node:
    doses = sorted({row["dose_low"], row["dose_high"]})
    label = f"{row['role'] or 'texts'}: {row['made']} made" + (f", {row['kept']} kept" if row["decided"] else "")
    if doses != [0.0]:
        label += f", dose {' to '.join(f'{dose:.4g}' for dose in doses)}"
    if row["direction_id"]:
        label += f", along {row['direction_id']}"
    facts = {name: row[name] for name in ("role", "direction_id", "made", "kept", "dose_low", "dose_high", "filter_id")}
    facts["kept"] = row["kept"] if row["decided"] else None
    return Node(kind="texts", ids=[], run_id=row["run_id"], label=label, facts=facts)
