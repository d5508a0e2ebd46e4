"""What came from what: the tree of a chain of runs, and of any artefact upwards and downwards.

Texts are counted, not listed: a chain has thousands. Every node has an id, so that `why` can be asked about it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from steerkit.errors import UsageError

if TYPE_CHECKING:
    import polars

FEW = 3
"""Artefacts of one sort that are shown each on its own; more of them share a line."""
LISTED = 12
"""Candidates that an ambiguous beginning lists."""
DOWNWARDS = {
    "made by": "made",
    "part of": "did",
    "goes on from": "went on as",
    "bakes in": "is baked into",
    "trains on what is kept by": "chose the texts of",
    "steered along": "steers",
    "written along": "wrote",
    "written by": "wrote",
    "trained on": "trained",
    "validated on": "validated",
    "on top of": "lies below",
    "made of": "is part of",
    "taken over from": "was taken over as",
    "decides on": "was decided on in",
    "shows": "is shown in",
}
"""A relation of view made_from, read from its origin's side; a file is named beside what it holds."""
OF_RUNS = ("goes on from", "part of", "made by", "shows")
"""Those that are told of a run; what its works led to elsewhere is for each of them to say."""
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
FOUND = """
    SELECT DISTINCT kind, id FROM artefact
    WHERE id BETWEEN $prefix AND $prefix || '~'
    ORDER BY kind = 'unit', kind <> 'run', kind, id
"""
FACTS = {
    "run": "SELECT gate, method, trait, model, fingerprint, dtype, device, seed, request, thresholds_hash, version, "
    "registered_at FROM run WHERE run_id = $id LIMIT 1",
    "unit": "SELECT stage, name, seconds FROM unit WHERE unit_id = $id LIMIT 1",
    "direction": "SELECT method, kind, config, artifact FROM direction WHERE direction_id = $id LIMIT 1",
    "adapter": "SELECT role, round, rank, alpha, first_block, last_block, train_texts, validation_texts, tau, artifact "
    "FROM adapter WHERE adapter_id = $id LIMIT 1",
    "arm": "SELECT kind, method, strength, dose, instrument, eval_hash, system_prompt FROM arm "
    "WHERE arm_id = $id LIMIT 1",
    "completion": "SELECT role, dose, strength, tokens, perplexity, prompt_id, prompt, text, system_prompt "
    "FROM completion WHERE completion_id = $id LIMIT 1",
    "filter": "SELECT thresholds FROM filter_set WHERE filter_id = $id ORDER BY seq DESC LIMIT 1",
    "artifact": "SELECT label FROM artefact WHERE kind = 'artifact' AND id = $id LIMIT 1",
    "picture": "SELECT name, path FROM picture WHERE sha256 = $id LIMIT 1",
}
"""What is said of an artefact itself."""


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


class Edge(msgspec.Struct, frozen=True):
    """A row of view made_from, seen from either side: how something hangs on what it is reached from."""

    relation: str
    kind: str
    id: str


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


# -- the tree of a chain -----------------------------------------------------------------------------------------------


def chain(store: Asked, prefix: str) -> dict[str, Any]:
    """The rounds of the chain that a run belongs to: all it came from and all that came from it.

    Raises UsageError when no run, or more than one, begins so.
    """
    run = find_run(store, prefix)
    rows = {row["run_id"]: row for row in store.query(CHAIN).to_dicts()}
    members = _related(run, rows)
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


def _related(run: str, rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
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


# -- what made it, and what was made from it --------------------------------------------------------------------------


def why(store: Asked, prefix: str) -> dict[str, Any]:
    """The one artefact whose id begins so: what it is, what made it up to the root, and what was made from it.

    Raises UsageError when none begins so, or more than one, listing them.
    """
    kind, name = _found(store, prefix)
    rows = store.query(f"{FACTS[kind]}", {"id": name}).to_dicts()
    told = _Told(store, kind, name)
    return {
        "kind": kind,
        "id": name,
        "label": told.about[kind, name]["label"],
        "run_id": told.about[kind, name]["run_id"],
        "facts": {key: value for key, value in (rows[0] if rows else {}).items() if value is not None},
        "made_from": told.tree(kind, name, told.up),
        "made": told.tree(kind, name, told.down),
    }


def _found(store: Asked, prefix: str) -> tuple[str, str]:
    if not prefix:
        raise UsageError("an artefact must be named by the beginning of its id, but got an empty text")
    rows = [(str(kind), str(name)) for kind, name in store.query(FOUND, {"prefix": prefix}).rows()]
    exact = [row for row in rows if row[1] == prefix]
    candidates = exact or rows
    if len(candidates) == 1:
        return candidates[0]
    if not rows:
        raise UsageError(
            f"an artefact must be named by the beginning of its id, but {prefix!r} begins none in {store.path}; "
            "`steerkit lineage RUN` and `FROM artefact` list them"
        )
    listed = ", ".join(f"{name[:16]} ({kind})" for kind, name in candidates[:LISTED])
    more = f" and {len(candidates) - LISTED} more" if len(candidates) > LISTED else ""
    raise UsageError(
        f"an artefact must be named by the beginning of one id, but {prefix!r} begins {len(candidates)}; give more of "
        f"one of: {listed}{more}"
    )


def _family(store: Asked, kind: str, name: str) -> list[str]:
    """Runs that have made the artefact, with all that they came from and that came from them."""
    made = store.query(
        "SELECT DISTINCT run_id FROM artefact WHERE kind = $kind AND id = $id", {"kind": kind, "id": name}
    )
    rows = {row["run_id"]: row for row in store.query(CHAIN).to_dicts()}
    return sorted({member for (run,) in made.iter_rows() for member in _related(run, rows) | {run}})


class _Told:
    """All that one artefact hangs together with, as two sets of edges."""

    def __init__(self, store: Asked, kind: str, name: str) -> None:
        start = {"kind": kind, "id": name, "runs": _family(store, kind, name)}
        above = store.query(_walk("kind", "id", "from_kind", "from_id"), start).rows()
        below = store.query(_walk("from_kind", "from_id", "kind", "id"), start).rows()
        self.up = _edges(above, (kind, name), {"decides on"})
        words = {name: DOWNWARDS[name] for name in OF_RUNS} if kind == "run" else DOWNWARDS
        self.down = _edges(below, (kind, name), {"part of", "shows"}, words)
        names = {(kind, name), *self.up, *self.down}
        names |= {(edge.kind, edge.id) for edges in (*self.up.values(), *self.down.values()) for edge in edges}
        sql = "SELECT * FROM artefact WHERE run_id IN $runs AND id IN (SELECT unnest($ids))"
        rows = store.query(sql, {"ids": sorted({name for _, name in names}), "runs": start["runs"]}).to_dicts()
        self.about = {(row["kind"], row["id"]): row for row in rows}

    def tree(self, kind: str, name: str, edges: Mapping[tuple[str, str], Sequence[Edge]]) -> list[Node]:
        """What hangs on an artefact; what hangs in two places is opened in the first."""
        seen = {(kind, name)}

        def below(at: Iterable[tuple[str, str]]) -> list[Node]:
            return [node(*group) for group in self._groups([edge for one in at for edge in edges.get(one, ())])]

        def node(relation: str, kind: str, names: list[str]) -> Node:
            fresh = [(kind, name) for name in names if (kind, name) not in seen]
            seen.update(fresh)
            known = [self.about[kind, name] for name in names if (kind, name) in self.about]
            has_more = any(edges.get((kind, name)) for name in names)
            return Node(
                relation=relation,
                kind=kind,
                ids=names,
                run_id=known[0]["run_id"] if known else "",
                label=_label(kind, names, known),
                artifact=known[0]["artifact"] if len(known) == 1 else None,
                shown_above=has_more and not fresh,
                children=below(fresh),
            )

        return below([(kind, name)])

    def _groups(self, edges: Iterable[Edge]) -> Iterator[tuple[str, str, list[str]]]:
        """Few artefacts of a sort come one by one, many as one group."""
        sorts: dict[tuple[str, str, str, str], list[str]] = {}
        for edge in edges:
            row = self.about.get((edge.kind, edge.id), {"run_id": "", "name": ""})
            names = sorts.setdefault((edge.relation, edge.kind, row["run_id"], row["name"]), [])
            if edge.id not in names:
                names.append(edge.id)
        for (relation, kind, _, _), names in sorts.items():
            for some in [names] if len(names) > FEW else [[name] for name in names]:
                yield relation, kind, some


def _walk(near_kind: str, near: str, far_kind: str, far: str) -> str:
    """The edges that are reached from $kind and $id, nearest first; near and far say which way an edge is followed."""
    return f"""
        WITH RECURSIVE edge AS MATERIALIZED (
            SELECT DISTINCT {near_kind} AS near_kind, {near} AS near, relation, {far_kind} AS far_kind, {far} AS far
            FROM made_from WHERE run_id IN $runs
        ), walk AS (
            SELECT * FROM edge WHERE near_kind = $kind AND near = $id
            UNION
            SELECT edge.* FROM walk JOIN edge ON edge.near_kind = walk.far_kind AND edge.near = walk.far
        )
        SELECT near_kind, near, relation, far_kind, far FROM walk
        ORDER BY far_kind = 'unit', far_kind = 'run', far_kind, relation, far
    """


def _edges(
    rows: Iterable[Sequence[str]],
    start: tuple[str, str],
    whole: Collection[str],
    words: Mapping[str, str] | None = None,
) -> dict[tuple[str, str], list[Edge]]:
    """The edges by where they begin, in `words`, without relations that have none.

    Those of `whole` are told of the start only: all that every run did would fill pages.
    """
    found: dict[tuple[str, str], list[Edge]] = {}
    for near_kind, near, relation, far_kind, far in rows:
        at, told = (near_kind, near), relation if words is None else words.get(relation)
        if told and (relation not in whole or at == start):
            found.setdefault(at, []).append(Edge(told, far_kind, far))
    return found


def _label(kind: str, names: Sequence[str], known: Sequence[Mapping[str, Any]]) -> str:
    """What one artefact is, or how many there are of which sort."""
    seconds = [row["seconds"] for row in known if row["seconds"] is not None]
    took = f", {sum(seconds):.1f} s" if seconds else ""
    if len(names) > 1:
        return f"{len(names)} {known[0]['name'] if known else ''} {kind}s".replace("  ", " ") + took
    return (str(known[0]["label"]) if known else "not in this store") + took
