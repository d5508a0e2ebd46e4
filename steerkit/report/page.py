"""Puts a run's page together: what every gate has, and what its own gate adds. Nothing on it comes from elsewhere."""

import base64
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from steerkit import __version__
from steerkit.document import outline
from steerkit.durable import disk_trouble, durable_folder, sync, write
from steerkit.errors import UsageError
from steerkit.lineage import Node, chain, find_run
from steerkit.pictures.look import svg
from steerkit.plugins import load, sources
from steerkit.records import Adapter, Direction, Record, Run, Verdict
from steerkit.report.gates import PARTS
from steerkit.report.markup import DASH, Markup, element, joined, section, table
from steerkit.report.reproduce import command
from steerkit.runner import load_records
from steerkit.session import SHOWN
from steerkit.stages.assemble import only
from steerkit.store import Store

STYLE = Path(__file__).parents[1] / "data" / "report.css"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: what it holds itself."""
COLOURS = {"PASS": "good", "met": "good", "FAIL": "bad", "not met": "bad", "observed": "bad", "HEALED": "good"}
"""How a status is coloured; what is neither good nor bad is open."""
PLAIN = ("not observed",)
ORDER = ("observed", "not measured", "not observed")
"""Known ways to fail: those that were seen come first."""


@dataclass(frozen=True)
class Page:
    """A run's page."""

    name: str
    """What its file is called where no other name is given."""
    html: str


def _instead(run: Run) -> str:
    """What to do about a run without a verdict."""
    if run.gate == "sweep":
        return f"a sweep never is, see: steerkit show sweep --param run={run.run_id}"
    if run.gate in ("compare", "layers"):
        question = "methods_compared" if run.gate == "compare" else "layers"
        return f"a run of {run.gate} never is, see: steerkit show {question} --param run={run.run_id}"
    if run.gate == "import":
        return f"an import never is, see: steerkit why {run.run_id}"
    return f"finish it: steerkit {'loop' if run.gate == 'gate4' else run.gate} --resume"


def page(store: Store, prefix: str) -> Page:
    """The page of the one run whose id begins so.

    Raises UsageError when there is none, more than one, or it was not judged.
    """
    run_id = find_run(store, prefix)
    records = load_records(store, run_id)
    run = only(Run, records)[0]
    if not any(verdict.kind == "gate" for verdict in only(Verdict, records)):
        raise UsageError(f"a report needs a run that was judged, but {run_id} was not; {_instead(run)}")
    document, drawings = _told(run, records, store)
    parts = [
        _head(document),
        section("Picture", _picture(document, *drawings)) if drawings else None,
        _criteria(document),
        _hypotheses(document),
        *(PARTS[run.gate](document, records) if run.gate in PARTS else ()),
        _lineage(store, run_id),
        _again(store, run),
        _spec(run, records),
    ]
    title = f"{run.gate} {document['verdict']}: {run.method} on {run.model}, {run.trait}"
    return Page(f"{run.gate}-{run.method}-{run_id}.html", _whole(title, joined(parts)))


def _told(run: Run, records: Sequence[Record], store: Store) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The run's document, and its picture for a light and a dark page; a gate unknown here has no picture."""
    if run.gate not in SHOWN:
        return outline(records, str(store.path), []), ()
    make, draw = SHOWN[run.gate]
    document = make(records, str(store.path), [])
    if draw is None:
        return document, ()
    chart = draw(document)
    return document, (svg(chart), svg(chart, dark=True))


def free_place(path: Path) -> Path:
    """The real path of a file that can be written there.

    Raises UsageError for a folder, or a file in a folder that is not there.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise UsageError(f"--output must be a file, but {path} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise UsageError(f"--output must lie in a folder that is there, but {target.parent} is not; make it first")
    return target


def save(text: str, target: Path) -> None:
    """Write the page, whole or not at all.

    Raises RunError when the disk is full or refuses.
    """
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with disk_trouble(target.parent):
        try:
            write(aside, text.encode())
            aside.replace(target)
            sync(target.parent)
        finally:
            aside.unlink(missing_ok=True)


def beside(store: Store, name: str) -> Path:
    """Where a page lies when nobody says: next to the store's pictures."""
    with disk_trouble(store.pictures):
        durable_folder(store.pictures)
    return store.pictures / name


def _whole(title: str, body: Markup) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', element('main', body)), lang='en')}\n"


def _badge(status: str) -> Markup:
    return element("span", status, class_=f"badge {COLOURS.get(status, 'open')}")


def _head(document: Mapping[str, Any]) -> Markup:
    label = document.get("label")
    said = element("p", element("b", f"{label}: "), document["label_why"]) if label else None
    # Some gates' summaries say why the label is what it is.
    why = None if label and document["label_why"] in document["summary"] else said
    question = [load("gates", name).QUESTION for name in sources("gates") if name.startswith(f"{document['gate']}_")]
    step = element("p", element("b", "Next: "), document["next_step"]) if document["verdict"] != "PASS" else None
    return element(
        "header",
        element("p", f"{document['gate']}, run ", element("code", document["run_id"]), class_="faint"),
        element("h1", f"{document['method']} on {document['model']}, trait {document['trait']}"),
        element("p", *question, class_="question"),
        element("p", _badge(document["verdict"]), _badge(label) if label else None),
        element("p", document["summary"]),
        why,
        step if document["next_step"] else None,
    )


def _picture(document: Mapping[str, Any], light: str, dark: str) -> Markup:
    """Both as images: what stands in an image can neither load nor run anything."""
    return element(
        "picture",
        element("source", srcset=_inline(dark), media="(prefers-color-scheme: dark)"),
        element("img", src=_inline(light), alt=f"The picture of {document['gate']}; its numbers stand in the tables."),
    )


def _inline(drawing: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"


def _criteria(document: Mapping[str, Any]) -> Markup:
    return section("Criteria", _said(document["criteria"], lambda said: said["status"] != "met"))


def _hypotheses(document: Mapping[str, Any]) -> Markup:
    ranked = sorted(document["hypotheses"], key=lambda said: ORDER.index(said["status"]))
    return section("Known ways to fail", _said(ranked, lambda said: True))


def _said(checks: Sequence[Mapping[str, Any]], advised: Any) -> Markup:
    """One row per check: its status, its number beside the threshold, what was seen, and what to do."""
    rows = [
        (
            element(
                "span",
                said["status"],
                class_="keep " + ("faint" if said["status"] in PLAIN else COLOURS.get(said["status"], "open")),
            ),
            said["name"],
            _plain(said["value"]),
            _plain(said["threshold"]),
            joined(
                said["detail"],
                element("span", f"Next: {said['next_step']}", class_="next")
                if said["next_step"] and advised(said)
                else None,
            ),
        )
        for said in checks
    ]
    return table(("status", "check", "value", "threshold", "what was seen"), rows, ("value", "threshold"))


def _plain(value: float | None) -> str:
    return DASH if value is None else f"{value:.4g}"


def _again(store: Store, run: Run) -> Markup:
    """The commands of the run and of those it goes on from, the first run first."""
    lines = [line for one in reversed([*_before(store, run)]) if (line := command(one))]
    note = "Into an empty store, these make the run again to the bit on the same machine, with the same version "
    note += f"({run.version}). A name in capitals stands for a file of your own."
    said = element("p", note) if lines else element("p", "The command of this gate is not known to this page.")
    return section("Again", said, [element("pre", line, class_="code") for line in lines])


def _before(store: Store, run: Run) -> Iterator[Run]:
    """The run, the run it goes on from, and so on, as far as the store has them."""
    seen: set[str] = set()
    here: Run | None = run
    while here is not None and here.run_id not in seen:
        yield here
        seen.add(here.run_id)
        here = next(iter(store.records(Run, here.parent_run)), None) if here.parent_run else None


def _lineage(store: Store, run_id: str) -> Markup:
    """The rounds of the run's chain, as `steerkit lineage` has them."""
    rounds = [
        joined(element("h3", f"Round {part['round']}"), _tree(part["runs"], run_id, "tree root"))
        for part in chain(store, run_id)["rounds"]
    ]
    return section("Lineage", rounds)


def _tree(nodes: Sequence[Node], here: str, sort: str = "tree") -> Markup | None:
    if not nodes:
        return None
    items = [element("li", _node(node, here), _tree(node.children, here)) for node in nodes]
    return element("ul", items, class_=sort)


def _node(node: Node, here: str) -> Markup:
    ids = element("code", node.ids[0]) if len(node.ids) == 1 else None
    file = element("span", f" sha256 {node.artifact[:12]}", class_="faint") if node.artifact else None
    said = joined(node.kind if ids else None, " " if ids else None, ids, " ", node.label, file)
    return element("b", said) if node.ids == [here] else said


def _spec(run: Run, records: Sequence[Record]) -> Markup:
    named = ("run_id", "parent_run", "model", "fingerprint", "dtype", "device", "seed", "request", "thresholds_hash")
    facts = [(name, getattr(run, name)) for name in (*named, "version", "registered_at")]
    rows = [(name, element("code", str(value))) for name, value in facts if value is not None]
    rows += [(f"direction {d.direction_id} ({d.kind})", element("code", d.artifact)) for d in only(Direction, records)]
    rows += [(f"adapter {a.adapter_id} ({a.role})", element("code", a.artifact)) for a in only(Adapter, records)]
    details = [
        element("details", element("summary", title), element("pre", _pretty(text), class_="code"))
        for title, text in (("Spec", run.spec), ("Thresholds, registered before any data", run.thresholds))
    ]
    made = element("p", f"This page was made by steerkit {__version__}.", class_="faint")
    return section("Spec and hashes", table(("what", "value"), rows), details, made)


def _pretty(text: str) -> str:
    return msgspec.json.format(text, indent=2)
