"""Labelling by keys: what a person says of texts, stored as `steerkit label` does, and what that says of the checks."""

import getpass
import time
from typing import Any

import polars
import streamlit as st

from dashboard import empty, figure, link, written
from dashboard.look import plain
from dashboard.reading import Reader
from dashboard.runs import Run
from dashboard.views import _texts_borderline
from steerkit.errors import SteerkitError
from steerkit.labelling import KEYS, labelled
from steerkit.records import Trait
from steerkit.report.markup import element

WORDS = {
    "1": ("Enacts it", "coherent, and acts as the trait would"),
    "2": ("Narrates it", "coherent, but only says what it is or would do"),
    "3": ("Neither", "coherent, and does neither"),
    "0": ("Incoherent", "does not hold together"),
}
QUEUES = {"borderline": "nearest to a threshold first", "blind": "at random, kept and dropped in turns"}


def show(reader: Reader, run: Run) -> None:
    """The next text with its keys, and what the labels say so far."""
    if reader.ask("check_ranges", run=run["run_id"]).is_empty():
        empty.nothing("This run has no steered texts that were decided on.", "steerkit gate2 --from RUN")
        return
    labeller, queue, check = _choices(reader, run)
    if not labeller:
        st.info("Labels belong to somebody: give a name.", icon=":material/person:")
        return
    sitting = Sitting(reader, run["run_id"], labeller)
    _last(sitting)
    row, left = sitting.next(queue, check)
    if row is None:
        st.success(f"{plain(labeller)} has read all of these texts.", icon=":material/check:")
    else:
        _asked(row, left)
    _keys(sitting, None if row is None else row["completion_id"])
    _quality(reader, run)


class Sitting:
    """One person with one run's texts: what comes next, what was said in this session, and what was put off."""

    def __init__(self, reader: Reader, run: str, labeller: str) -> None:
        self.reader, self.run, self.labeller = reader, run, labeller
        sittings = st.session_state.setdefault("_sittings", {})
        self.notes: dict[str, list[Any]] = sittings.setdefault((run, labeller), {"said": [], "skipped": [], "last": []})

    def next(self, queue: str, check: str | None) -> tuple[dict[str, Any] | None, int]:
        """The next text, and how many are left; what was just said counts also while the store is busy."""
        said = {name for name, _ in self.notes["said"]}
        skipped = self.notes["skipped"]
        asked: dict[str, Any] = {"run": self.run, "labeller": self.labeller, "limit": len(said) + len(skipped) + 1}
        found = (
            self.reader.ask("borderline", check=check, **asked)
            if queue == "borderline"
            else self.reader.ask("unread", **asked)
        )
        left = [name for name in found["completion_id"] if name not in said]
        fresh = [name for name in left if name not in skipped] or [name for name in skipped if name in left]
        if not fresh:
            return None, 0
        page = self.reader.ask("text_page", run=self.run, completion=fresh[0], limit=1)
        waiting = int(found["found"][0]) - (len(found) - len(left))
        return page.row(0, named=True), waiting

    def say(self, completion_id: str, key: str) -> None:
        """Store a label."""
        coherent, trait = KEYS[key]
        if self._stored(completion_id, coherent, trait):
            self.notes["said"].append((completion_id, key))
            self.notes["last"] = [(completion_id, key)]

    def undo(self) -> None:
        """Take the last label of this sitting back; its text comes again."""
        if self.notes["said"] and self._stored(self.notes["said"][-1][0], None, None):
            self.notes["said"].pop()
            self.notes["last"] = []

    def skip(self, completion_id: str) -> None:
        """Put a text off until the others are read."""
        self.notes["skipped"] = [name for name in self.notes["skipped"] if name != completion_id] + [completion_id]

    def _stored(self, completion_id: str, coherent: bool | None, trait: Trait | None) -> bool:
        """Whether the label is safe; it is in the spool at once, and in the database when that is free."""
        try:
            self.reader.store.append(
                [labelled(self.run, completion_id, self.labeller, coherent, trait, time.time_ns())]
            )
        except SteerkitError:
            st.session_state["_label_trouble"] = "The label could not be stored: is the disk full or read-only?"
            return False
        try:
            self.reader.store.ingest()
        except SteerkitError:
            st.session_state["_label_trouble"] = "The store is busy; the label is safe and appears when it is free."
        return True


def _choices(reader: Reader, run: Run) -> tuple[str, str, str | None]:
    first, second, third = st.columns([2, 3, 3])
    with first:
        name = st.text_input("Labeller", _login(), key="labeller", max_chars=60, help="Whose labels these are.")
    with second:
        queue = link.pick("Order", "queue", [*QUEUES], shown=lambda name: QUEUES[name]) or "borderline"
    check = None
    if queue == "borderline":
        with third:
            check = _texts_borderline.choose(reader.ask("check_ranges", run=run["run_id"]))
    if trouble := st.session_state.pop("_label_trouble", None):
        st.warning(trouble, icon=":material/hourglass_top:")
    return (name or "").strip(), queue, check


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _asked(row: dict[str, Any], left: int) -> None:
    """The text without shades and figures: what the checks say of it would sway a reader."""
    st.caption(f"{left} to read. What the checks say is told afterwards.")
    asked = element("p", "> ", row["prompt"], class_="prompt")
    st.html(element("div", asked, written.body(row, shades=False), class_="written"))


def _keys(sitting: Sitting, completion_id: str | None) -> None:
    """A button for every key."""
    with st.container(horizontal=True, gap="small"):
        for key, (word, meaning) in WORDS.items():
            call: dict[str, Any] = {"on_click": sitting.say, "args": (completion_id, key)}
            st.button(word, key=f"key_{key}", help=meaning, shortcut=key, disabled=completion_id is None, **call)
        st.button(
            "Skip",
            key="key_s",
            shortcut="s",
            disabled=completion_id is None,
            on_click=sitting.skip,
            args=(completion_id,),
            type="tertiary",
        )
        st.button(
            "Undo",
            key="key_u",
            shortcut="u",
            disabled=not sitting.notes["said"],
            on_click=sitting.undo,
            type="tertiary",
        )


def _last(sitting: Sitting) -> None:
    """What was just said, beside what the checks say."""
    for completion_id, key in sitting.notes["last"]:
        found = sitting.reader.ask("text_page", run=sitting.run, completion=completion_id, limit=1)
        row = found.row(0, named=True)
        fate = "keep it" if row["kept"] else f"drop it: {', '.join(row['dropped_by'])}"
        st.caption(f":material/check: Stored: {WORDS[key][0].lower()}. The checks {plain(fate)}.")


def _quality(reader: Reader, run: Run) -> None:
    """What the labels say of the checks, and the labels themselves."""
    labels = reader.ask("labels", run=run["run_id"])
    if labels.is_empty():
        return
    with st.expander(f"{labels.height} labels so far: how often each check is right"):
        figure.table(reader.ask("filter_quality", run=run["run_id"]), "quality", column_config=_columns())
        st.caption(
            "Precision: of what a check drops (all checks: keeps), the share that is right to; recall: of what it "
            "should, the share that it does. They stand for the run where texts were read at random; labels of the "
            "borderline alone make every check look worse than it is."
        )
        figure.table(
            labels.select(polars.col("completion_id", "labeller", "coherent", "trait", "kept", "text")), "labels"
        )


def _columns() -> dict[str, Any]:
    share = st.column_config.NumberColumn(format="percent")
    return {"run_id": None, "precision": share, "recall": share}
