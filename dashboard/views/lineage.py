"""What came from what: a chain of runs as a graph, and what made any artefact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars
import streamlit as st

from dashboard import figure, link, runs, written
from dashboard.charts.lineage import graph
from dashboard.graph import Box, Drawing, drawn
from dashboard.look import plain
from dashboard.reading import Reader
from steerkit.lineage import Node, chain
from steerkit.provenance import why
from steerkit.report.markup import Markup, element, joined

TITLE = "Lineage"
ICON = ":material/account_tree:"
ORDER = 50
SENTENCE = (
    "What came from what: runs, directions, texts, adapters and the arms scored with them, round below round. Good: "
    "every number can be followed back to the run that registered it. Click a box to ask what made it."
)
IDS = 12
"""Ids of a group that are listed."""
LONG = 300
"""Letters of a fact that are shown."""


@dataclass(frozen=True)
class Source:
    """The reader, as `steerkit.lineage` asks it: with the store's name for its messages, and no folder."""

    reader: Reader

    @property
    def path(self) -> Path:
        """The store's name."""
        return Path(self.reader.store.path.name)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> polars.DataFrame:
        """The answer, kept until the store changes."""
        return self.reader.query(sql, parameters)


def show(reader: Reader) -> None:
    """The graph of a run's chain, and the artefact that was asked about."""
    written.style()
    asked = link.recall("id")
    having = set(reader.ask("runs")["run_id"])
    run = runs.pick(reader, having, "A run of the chain")
    assert run is not None, "a store without runs has no pages"
    found = chain(Source(reader), run["run_id"])
    drawing = drawn(found)
    held = _holding(drawing, st.session_state.get("id", asked))
    clicked = figure.show(graph(drawing, held.key if held else None), _listed(drawing), "graph", select="box")
    box = _clicked(drawing, clicked)
    st.caption(
        "Double-click beside the boxes to let go of one. Every id may be shortened, as long as it begins only one."
    )
    with st.expander("The same as a list, with every id"):
        parts = [joined(element("h4", f"round {part['round']}"), _tree(part["runs"])) for part in found["rounds"]]
        st.html(element("div", parts, class_="tree"))
    wanted = st.text_input("What made", key="id", bind="query-params", placeholder="the beginning of any id")
    if box is not None:
        _group(box)
    if wanted and wanted.strip():
        _why(reader, wanted.strip())


def _holding(drawing: Drawing, wanted: str | None) -> Box | None:
    """The box that an id lies in."""
    if not wanted:
        return None
    return next((box for box in drawing.boxes.values() if any(name.startswith(wanted) for name in box.ids)), None)


def _clicked(drawing: Drawing, event: Any) -> Box | None:
    """The box that is clicked; a new click on one artefact asks about it."""
    points = event["selection"].get("box", []) if event else []
    key = points[0].get("key") if points else None
    box = drawing.boxes.get(key) if key is not None else None
    if key != st.session_state.get("_box"):
        st.session_state["_box"] = key
        if box is not None and len(box.ids) == 1:
            st.session_state["id"] = box.ids[0]
    return box


def _group(box: Box) -> None:
    """What a box of several stands for."""
    if box.kind == "texts":
        link.to("texts", f"Read them: {plain(box.title)}", ":material/article:", **box.facts)
    elif len(box.ids) > 1:
        names = [element("a", name[:16], href=_href(name), target="_self") for name in box.ids[:IDS]]
        more = f" and {len(box.ids) - IDS} more" if len(box.ids) > IDS else ""
        st.html(element("p", f"{box.told}: ", _commas(names), more, class_="faint"))


def _why(reader: Reader, wanted: str) -> None:
    """What an artefact is, what made it, and what was made from it."""
    found = why(Source(reader), wanted)
    st.subheader(f"{plain(found['kind'])} {plain(found['id'][:16])}")
    st.markdown(plain(found["label"]))
    _gone(reader, found["facts"].get("artifact"))
    facts = [{"fact": name, "value": _short(value)} for name, value in found["facts"].items()]
    left, right = st.columns([2, 3])
    with left:
        _leads(found)
        figure.table(polars.DataFrame(facts or {"fact": [], "value": []}), "facts")
    with right:
        st.html(element("div", element("h4", "Made from"), _tree(found["made_from"]), class_="tree"))
        st.html(element("div", element("h4", "Made from it"), _tree(found["made"]), class_="tree"))


def _leads(found: Mapping[str, Any]) -> None:
    """Where the artefact can be looked at."""
    kind, name, run = found["kind"], found["id"], found["run_id"]
    if kind == "completion":
        link.to("texts", "Read it", ":material/article:", run=run, text=name)
    elif kind == "adapter":
        link.to("heal", "Its training", ":material/healing:", run=run)
    elif kind == "arm":
        link.to("pareto", "In the plane", ":material/scatter_plot:", arm=name)


def _gone(reader: Reader, sha256: str | None) -> None:
    """Say that the file that holds an artefact is not there any more."""
    if sha256 and not (reader.store.folder / "artifacts" / f"{sha256}.safetensors").exists():
        st.warning(
            "The file with its tensors is gone; what was measured of it is still here. `steerkit db check` lists all "
            "that are missing.",
            icon=":material/broken_image:",
        )


def _tree(nodes: Iterable[Node]) -> Markup:
    """A tree whose every id leads to itself."""
    nodes = [*nodes]
    if not nodes:
        return element("p", "nothing", class_="faint")
    return element(
        "ul", [element("li", _line(node), _tree(node.children) if node.children else None) for node in nodes]
    )


def _line(node: Node) -> Markup:
    names = [element("a", name[:16], href=_href(name), target="_self") for name in node.ids[:3]]
    more = f" and {len(node.ids) - 3} more" if len(node.ids) > 3 else ""
    again = " (as above)" if node.shown_above else ""
    kind = "" if len(node.ids) > 1 else f" {node.kind}"
    return joined(
        element("span", node.relation, class_="faint"), kind, " ", _commas(names), more, f" {node.label}{again}"
    )


def _commas(names: Iterable[Markup]) -> Markup:
    parts: list[Markup | str] = []
    for name in names:
        parts += [", ", name] if parts else [name]
    return joined(parts)


def _href(name: str) -> str:
    return f"lineage?id={quote(name)}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _listed(drawing: Drawing) -> polars.DataFrame:
    """The boxes as rows."""
    rows = [{"round": b.round, "kind": b.kind, "what": b.told, "ids": " ".join(b.ids)} for b in drawing.boxes.values()]
    return polars.DataFrame(rows, schema={"round": int, "kind": str, "what": str, "ids": str})
