"""Show the texts just kept and just dropped at every check's threshold, the offending span marked.

On a terminal each token's background says how far the steered model was from the base there (KL, redder is further).
"""

from collections.abc import Mapping
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from steerkit.commands._output import echo_json
from steerkit.options import common, json_option

if TYPE_CHECKING:
    from rich.text import Text

    from steerkit.evidence import TextEvidence

WIDTH = 100


@click.command("borderline", help=__doc__)
@click.argument("run")
@click.option("--check", help="Only this check (steerkit filters).")
@click.option("-n", "count", type=click.IntRange(min=1), default=2, show_default=True, help="Texts on either side.")
@json_option
@common("store")
def command(run: str, check: str | None, count: int, as_json: bool, store: Path) -> None:
    """Print them, check by check."""
    from steerkit.commands._texts import stored_texts
    from steerkit.errors import unknown

    found = stored_texts(store, run)
    names = sorted({d.name for text in found.texts for d in text.decisions})
    if check is not None and check not in names:
        raise unknown("check", check, names)
    chosen = [check] if check else names
    shown = {name: _nearest(found.steered(), name, count) for name in chosen}
    if as_json:
        echo_json({"run_id": found.run, "checks": {n: [_plain(t, n) for t in texts] for n, texts in shown.items()}})
        return
    idle = [name for name, texts in shown.items() if not texts]
    for name, texts in shown.items():
        for text in texts:
            _print(text, name)
    if idle:
        click.echo(f"no text was dropped by: {', '.join(idle)}")


def _nearest(texts: "list[TextEvidence]", name: str, count: int) -> "list[TextEvidence]":
    """The texts nearest to the threshold, just dropped before just kept; none where the check separates nothing."""
    # Where this check decides comes before where others drop the text anyway.
    read = sorted(
        (text for text in texts if name in _said(text)),
        key=lambda text: (len({*text.dropped_by} - {name}) > 0, _distance(text, name)),
    )
    dropped = [text for text in read if not _said(text)[name].keep][:count]
    kept = [text for text in read if _said(text)[name].keep][:count]
    return [*dropped, *kept] if dropped else []


def _said(text: "TextEvidence") -> dict[str, Any]:
    return {decision.name: decision for decision in text.decisions}


def _distance(text: "TextEvidence", name: str) -> float:
    said = _said(text)[name]
    distance = abs(said.value - said.threshold)
    return float(distance) if distance == distance else float("inf")


def _plain(text: "TextEvidence", name: str) -> Mapping[str, Any]:
    said, own = _said(text)[name], text.completion
    return {
        "completion_id": own.completion_id,
        "dose": own.dose,
        "prompt_id": own.prompt_id,
        "value": said.value,
        "threshold": said.threshold,
        "direction": said.direction,
        "keep": said.keep,
        "kept": text.kept,
        "dropped_by": list(text.dropped_by),
        "reason": said.reason,
        "start": said.start,
        "stop": said.stop,
        "text": own.text,
        "token_kl": own.token_kl,
        "pieces": own.pieces,
    }


def _print(text: "TextEvidence", name: str) -> None:
    """The text under its figures, as rich draws it; click writes it, which knows what to do when a reader leaves."""
    from rich.console import Console
    from rich.text import Text

    from steerkit.commands._texts import visible

    width = min(WIDTH, get_terminal_size((WIDTH, 24)).columns)
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    colours = console.color_system is not None and not console.no_color
    said, own = _said(text)[name], text.completion
    side = "just kept" if said.keep else "just dropped"
    with console.capture() as drawn:
        console.print(
            Text(f"{name}: {side}  {said.value:.4g} (keeps {said.direction} {said.threshold:g})", style="bold")
        )
        console.print(Text(visible(f"{own.completion_id}, dose {own.dose:g}, {said.reason}{_others(text, name)}")))
        console.print(Text(visible(f"> {own.prompt}"), style="dim"))
        console.print(_shaded(text, name) if colours else Text(_marked(own.text, said.start, said.stop)))
    shown = drawn.get()
    if not colours:
        shown = "".join(f"{line.rstrip()}\n" for line in shown.splitlines())
    click.echo(shown, color=colours or None)


def _others(text: "TextEvidence", name: str) -> str:
    others = ", ".join(other for other in text.dropped_by if other != name)
    also = "also " if name in text.dropped_by else ""
    return f"; {also}dropped by {others}" if others else ""


def _marked(text: str, start: int | None, stop: int | None) -> str:
    """The text with its span, if it has one, between marks."""
    from steerkit.commands._texts import visible

    if start is None or stop is None or start == stop:
        return visible(text)
    return visible(f"{text[:start]}>>>{text[start:stop]}<<<{text[stop:]}")


def _shaded(text: "TextEvidence", name: str) -> "Text":
    """The text with its span underlined and every token shaded by its KL."""
    from rich.text import Text

    from steerkit.commands._texts import visible
    from steerkit.shading import cut, redness, tokens

    said, own, out = _said(text)[name], text.completion, Text()
    span = None if said.start is None or said.stop is None else (said.start, said.stop)
    for piece, kl, inside in cut(tokens(own.text, own.pieces, own.token_kl), span):
        level = int(redness(kl) * 150)
        # White letters, so that the shades can be read on a light terminal too.
        shade = f"white on rgb({level + 40},40,60)" if level > 8 else ""
        out.append(visible(piece), style=f"{'bold underline ' if inside else ''}{shade}".strip())
    return out
