"""A chain of runs as a drawing: what lies where, and what leads to what. Knows neither Streamlit nor SQL."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from steerkit.lineage import Node

COLUMNS = ("runs", "directions", "steered arms", "texts", "adapters", "students' arms")
"""From left to right, as the pipeline goes."""
SHIFT = re.compile(r"\bd\w+ [+-][\d.]+")
"""What an arm's label says of its shift."""
NULLS = ("random", "shuffled")
"""Directions that share a box: they are there to be compared with."""


class Box(msgspec.Struct, kw_only=True):
    """One place in the drawing: an artefact, or several of one sort."""

    key: str
    kind: str
    title: str
    told: str
    """What it is, in the words of the store."""
    ids: list[str]
    column: int
    round: int
    row: float = 0.0
    facts: dict[str, Any] = {}


class Drawing(msgspec.Struct, kw_only=True):
    """Boxes by key, arrows from one key to another with what they mean, and the first row of each round."""

    boxes: dict[str, Box] = {}
    arrows: list[tuple[str, str, str]] = []
    rounds: dict[int, float] = {}


def drawn(chain: Mapping[str, Any]) -> Drawing:
    """The drawing of a chain (steerkit.lineage): rounds one below the other, each from left to right."""
    drawing = Drawing()
    above, students = 0.0, list[Box]()
    for part in chain["rounds"]:
        boxes = list(_round(part["runs"], part["round"], drawing))
        if students and boxes:
            drawing.arrows.append((students[-1].key, boxes[0].key, "is baked into"))
        students += [box for box in boxes if box.kind == "adapter" and box.title == "healed"]
        drawing.rounds[part["round"]] = above
        above = _stack(boxes, above) + 1.2
    drawing.arrows = [arrow for arrow in drawing.arrows if arrow[0] in drawing.boxes and arrow[1] in drawing.boxes]
    return drawing


def _stack(boxes: Iterable[Box], above: float) -> float:
    """Give every box a row below `above`, column by column; returns the last row."""
    lowest = above
    for column in range(len(COLUMNS)):
        for place, box in enumerate(box for box in boxes if box.column == column):
            box.row = above + place
            lowest = max(lowest, box.row)
    return lowest


def _round(runs: Iterable[Node], number: int, drawing: Drawing) -> Iterator[Box]:
    for node in runs:
        own = _box(node, "run", _gate(node), 0, number)
        yield _add(own, drawing)
        yield from _parts(node, own, number, drawing)
        below = [child for child in node.children if child.kind == "run"]
        for box in _round(below, number, drawing):
            if box.column == 0 and box.ids[0] in {child.ids[0] for child in below}:
                drawing.arrows.append((own.key, box.key, "goes on as"))
            yield box


def _parts(run: Node, own: Box, number: int, drawing: Drawing) -> Iterator[Box]:
    """Directions, texts and adapters of a run, with what was scored with each."""
    directions = [child for child in run.children if child.kind == "direction"]
    real = [node for node in directions if not node.label.startswith(NULLS)]
    nulls = [node for node in directions if node.label.startswith(NULLS)]
    for node in real:
        yield from _scored(node, node.label.split()[0], 1, own, number, drawing)
    if nulls:
        title = f"{len(nulls)} null directions"
        whole = Node(kind="direction", ids=[i for n in nulls for i in n.ids], run_id=run.run_id, label=title)
        whole.children = [arm for node in nulls for arm in node.children]
        yield from _scored(whole, title, 1, own, number, drawing)
    yield from _texts(run, own, number, drawing)
    for node in run.children:
        if node.kind == "adapter":
            yield from _scored(node, node.label.split()[0], 4, own, number, drawing)
    loose = [arm for arm in run.children if arm.kind in ("arm", "arms")]
    if loose:
        yield _group(
            loose, "arm", f"arms of {_gate(run).split()[0]}", 5 if "gate3" in own.title else 2, own, number, drawing
        )


def _scored(node: Node, title: str, column: int, own: Box, number: int, drawing: Drawing) -> Iterator[Box]:
    """A direction or an adapter, and the arms that were scored with it."""
    box = _box(node, node.kind, title, column, number)
    taught = _taught_by(title, drawing) if node.kind == "adapter" else []
    drawing.arrows += [(f"texts {role}", box.key, "trained") for role in taught] or [(own.key, box.key, "made")]
    yield _add(box, drawing)
    if node.children:
        yield _group(node.children, "arm", "", column + 1, box, number, drawing)


def _taught_by(role: str, drawing: Drawing) -> list[str]:
    """The boxes of texts (without their prefix) that an adapter of that role learned from: of the newest run."""
    wanted = (role,) if role.startswith("control") else ("collected", "probe")
    known = [key.removeprefix("texts ") for key in drawing.boxes if key.startswith("texts ")]
    newest: dict[str, str] = {}
    for key in known:
        newest[key.split(" ", 1)[1]] = key
    return [newest[name] for name in wanted if name in newest]


def _texts(run: Node, own: Box, number: int, drawing: Drawing) -> Iterator[Box]:
    """A box for each role that texts were written for."""
    roles: dict[str, list[Node]] = {}
    for node in run.children:
        if node.kind == "texts":
            roles.setdefault(node.facts["role"] or "texts", []).append(node)
    for role, nodes in roles.items():
        made = sum(node.facts["made"] for node in nodes)
        decided = [node.facts["kept"] for node in nodes if node.facts["kept"] is not None]
        told = f"{made} texts" + (f", {sum(decided)} kept" if decided else "")
        box = Box(
            key=f"texts {run.run_id} {role}",
            kind="texts",
            title=f"{role}: {sum(decided)}/{made}" if decided else f"{role}: {made}",
            told=told,
            ids=[],
            column=3,
            round=number,
        )
        box.facts = {"run": run.run_id, "writer": role}
        along = {node.facts["direction_id"] for node in nodes} - {None}
        writers = [other.key for other in drawing.boxes.values() if other.kind == "direction" and along & {*other.ids}]
        drawing.arrows += [(key, box.key, "wrote") for key in writers or [own.key]]
        yield _add(box, drawing)


def _group(
    nodes: Iterable[Node], kind: str, title: str, column: int, parent: Box, number: int, drawing: Drawing
) -> Box:
    """Several arms in one box."""
    nodes = [*nodes]
    ids = [name for node in nodes for name in node.ids]
    told = nodes[0].label if len(ids) == 1 else f"{len(ids)} {title or 'scored arms'}"
    moved = SHIFT.search(told)
    short = moved[0] if moved else told
    box = Box(key=f"{kind} {parent.key}", kind=kind, title=short, told=told, ids=ids, column=column, round=number)
    if not title:
        drawing.arrows.append((parent.key, box.key, "scored as"))
    return _add(box, drawing)


def _box(node: Node, kind: str, title: str, column: int, number: int) -> Box:
    return Box(key=node.ids[0], kind=kind, title=title, told=node.label, ids=node.ids, column=column, round=number)


def _add(box: Box, drawing: Drawing) -> Box:
    drawing.boxes[box.key] = box
    return box


def _gate(run: Node) -> str:
    """A run's gate and what came out, from its label."""
    words = run.label.split()
    return " ".join([words[0], *(word for word in words[1:3] if word.isupper())])
