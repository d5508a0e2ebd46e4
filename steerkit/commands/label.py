"""Read texts of a run blind, one key each, and learn how often every check is right.

Keys: 1 coherent and enacts the trait, 2 coherent but narrates it, 3 coherent and neither, 0 incoherent; u takes the
last label back, s skips, q quits. Labels are stored at once, and the next call goes on where this one stopped.
"""

import getpass
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._output import echo_json, table
from steerkit.commands._texts import StoredTexts, stored_texts, visible
from steerkit.commands._verdicts import WIDTH, filled
from steerkit.errors import UsageError
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from steerkit.evidence import TextEvidence
    from steerkit.records import Trait
    from steerkit.stats import Interval

DEFINITIONS = (
    "A text is good when it is coherent and does not narrate the trait. For all checks together a hit is a kept text, "
    "right when it is good; for one check a hit is a text it drops, right when it is bad. Kept and dropped texts are "
    "labelled at different rates, so precision and recall weigh each text by how many it stands for; intervals are "
    "Wilson's at the effective number of texts."
)
HELP = "1 enacts  2 narrates  3 neither  0 incoherent   u undo  s skip  q quit"
NOTHING_LEFT = "every text is labelled   u undo  q quit"


@click.command("label", help=__doc__)
@click.argument("run")
@click.option("--labeller", help="Whose labels these are; your login name unless given.")
@click.option("--report", is_flag=True, help="Precision and recall of every check against the labels.")
@click.option("--export", "export_to", type=click.Path(path_type=Path), help="Write all labels to a CSV file.")
@click.option("--import", "import_from", type=click.Path(path_type=Path), help="Add the labels of a CSV file.")
@json_option
@common("store", "seed")
def command(
    run: str,
    labeller: str | None,
    report: bool,
    export_to: Path | None,
    import_from: Path | None,
    as_json: bool,
    store: Path,
    seed: int,
) -> None:
    """Label, or do with the labels what the options say."""
    found = stored_texts(store, run)
    if import_from:
        _import(found, import_from)
        found = stored_texts(store, found.run)
    if export_to:
        _export(found, export_to)
    if report:
        _report(found, as_json)
    if not (report or export_to or import_from):
        _Session(found, _login_name() if labeller is None else _named(labeller), seed).run()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("a labeller must have a name, but this login has none; give --labeller") from error


def _named(labeller: str) -> str:
    if not labeller.strip():
        raise UsageError(f"--labeller must be a name, but got {labeller!r}; leave it out for your login name")
    return labeller.strip()


def _import(found: StoredTexts, path: Path) -> None:
    from steerkit.labelling import from_csv

    known = frozenset(text.completion.completion_id for text in found.texts)
    labels = from_csv(path, known, run=found.run, seq=time.time_ns())
    found.store.append(labels)
    found.store.ingest()
    click.echo(f"{len(labels)} labels of {path} added", err=True)


def _export(found: StoredTexts, path: Path) -> None:
    from steerkit.labelling import to_csv

    try:
        path.write_text(to_csv(found.texts), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--export must be a file that can be written, but {path} gave: {error.strerror}") from error
    click.echo(f"{sum(len(text.labels) for text in found.texts)} labels written to {path}", err=True)


class _Session:
    """One sitting: which texts are left, and what was said in this sitting, for undoing."""

    def __init__(self, found: StoredTexts, labeller: str, seed: int) -> None:
        from steerkit.labelling import KEYS, reading_order

        self.found, self.labeller, self.keys = found, labeller, KEYS
        order = reading_order(found.steered(), seed)
        self.left = [text for text in order if not self._mine(text)]
        self.total, self.done = len(order), len(order) - len(self.left)
        self.said: list[TextEvidence] = []

    def _mine(self, text: "TextEvidence") -> bool:
        return any(label.labeller == self.labeller for label in text.labels)

    def run(self) -> None:
        """Ask until somebody quits; a sitting that labels the last text ends so too, for that one can be undone."""
        try:
            while (self.left or self.said) and self._answered():
                pass
        finally:
            # Every label is safe in the spool already; this makes it visible to queries.
            self.found.store.ingest()
        click.echo(f"{self.done} of {self.total} texts labelled by {self.labeller}; see them with --report", err=True)

    def _answered(self) -> bool:
        """Show what is next and do what the key says; False is quitting."""
        for line in _shown(self.left[0], self.done, self.total) if self.left else ["", NOTHING_LEFT]:
            click.echo(line)
        while (key := _key()) not in ("q", ""):
            if self._did(key):
                return True
            click.echo("nothing to undo" if key == "u" else HELP)
        return False

    def _did(self, key: str) -> bool:
        """Do what the key says; False where it says nothing that can be done."""
        if key == "u" and self.said:
            self.left.insert(0, self.said.pop())
            self._store(self.left[0], None, None)
            self.done -= 1
        elif key == "s" and self.left:
            self.left.append(self.left.pop(0))
        elif key in self.keys and self.left:
            self._store(self.left[0], *self.keys[key])
            self.said.append(self.left.pop(0))
            self.done += 1
        else:
            return False
        return True

    def _store(self, text: "TextEvidence", coherent: bool | None, trait: "Trait | None") -> None:
        from steerkit.labelling import labelled

        said = labelled(self.found.run, text.completion.completion_id, self.labeller, coherent, trait, time.time_ns())
        self.found.store.append([said])


def _key() -> str:
    """One key: at a terminal without Enter, else one character of what was piped in; nothing at its end."""
    if sys.stdin.isatty():
        try:
            return click.getchar()
        except EOFError:
            return ""
    while (character := sys.stdin.read(1)).isspace():
        pass
    return character


def _shown(text: "TextEvidence", done: int, total: int) -> Sequence[str]:
    own = text.completion
    body = [filled(line) if line.strip() else "" for line in visible(own.text).strip().splitlines()]
    asked = filled(visible(own.prompt), first="> ", indent=2)
    return ["", "-" * WIDTH, f"{done + 1} of {total}", asked, "", *body, "", HELP]


def _report(found: StoredTexts, as_json: bool) -> None:
    from steerkit.labelling import good, kappa, qualities

    texts = found.steered()
    labelled = sum(good(text) is not None for text in texts)
    if not labelled:
        raise UsageError(f"a report needs labels, but run {found.run} has none; make some: steerkit label {found.run}")
    enacting = sum(any(label.trait == "enacts" for label in text.labels) for text in texts)
    agreement, rows = kappa(texts), qualities(texts)
    if as_json:
        counts = {"labelled": labelled, "texts": len(texts), "enacting": enacting, "kappa": agreement}
        echo_json({"run_id": found.run, **counts, "checks": [_plain(row) for row in rows]})
        return
    cells = [[r.name, str(r.hits), str(r.right), str(r.missed), _span(r.precision), _span(r.recall)] for r in rows]
    click.echo(table(["check", "hits", "right", "missed", "precision [95%]", "recall [95%]"], cells, WIDTH))
    click.echo(filled(f"{labelled} of {len(texts)} steered texts are labelled, {enacting} as enacting. {DEFINITIONS}"))
    if all(row.recall is None for row in rows):
        click.echo(f"no recall while no {'kept' if rows[0].hits == 0 else 'dropped'} text is labelled")
    if agreement is not None:
        click.echo(f"agreement of two labellers, Cohen's kappa: {agreement:.2f}")


def _span(found: "Interval | None") -> str:
    return "-" if found is None else f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def _plain(row: Any) -> dict[str, Any]:
    def span(found: "Interval | None") -> dict[str, float] | None:
        return None if found is None else {"value": found.value, "low": found.low, "high": found.high}

    return {
        "name": row.name,
        "hits": row.hits,
        "right": row.right,
        "missed": row.missed,
        "precision": span(row.precision),
        "recall": span(row.recall),
    }
