"""A tree of artefacts in lines of at most 100 columns, indented by what hangs on what."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from steerkit.commands._verdicts import filled
from steerkit.visible import visible

if TYPE_CHECKING:
    from steerkit.lineage import Node

IDS, LENGTH = 3, 16
"""How many ids of a group are shown, and how much of each: beginnings are enough to ask with."""
DEEPEST = 24
"""Indents beyond this many columns would leave no room for words."""


def tree_lines(nodes: "Iterable[Node]", depth: int = 0, mark: str = "") -> Iterator[str]:
    """Every node with what hangs below it; the run whose id is `mark` is starred."""
    for node in nodes:
        indent = " " * min(2 * depth, DEEPEST)
        yield filled(visible(_line(node, mark)), first=indent, indent=len(indent) + 4)
        yield from tree_lines(node.children, depth + 1, mark)


def _line(node: "Node", mark: str) -> str:
    names = ", ".join(name[:LENGTH] for name in node.ids[:IDS]) + (", ..." if len(node.ids) > IDS else "")
    many = len(node.ids) > 1
    words = [node.relation, *(() if many else (node.kind, names)), node.label, f"({names})" if many else ""]
    words += [f"sha256 {node.artifact[:12]}" if node.artifact and node.artifact not in node.ids else ""]
    words += ["(as above)" if node.shown_above else "", "*" if node.ids == [mark] else ""]
    return " ".join(word for word in words if word)
