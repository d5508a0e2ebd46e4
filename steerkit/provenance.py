"""What made an artefact, up to its root, and what was made from it, down to the last."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from steerkit.errors import UsageError
from steerkit.lineage import CHAIN, Asked, Node, related

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


class Edge(msgspec.Struct, frozen=True):
    """A row of view made_from, seen from either side: how something hangs on what it is reached from."""

    relation: str
    kind: str
    id: str


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
    return sorted({member for (run,) in made.iter_rows() for member in related(run, rows) | {run}})


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
