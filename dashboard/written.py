"""Texts of models as elements of a page: every letter escaped, tokens shaded by their divergence, spans underlined."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from steerkit.report.markup import Markup, element, joined, number, table
from steerkit.shading import REDDEST, Span, cut, redness, tokens

STYLE = Path(__file__).with_name("written.css")
DEEPEST = 0.62
"""Opacity of the reddest shade: letters stay legible on a light and on a dark page."""
Row = Mapping[str, Any]


def style() -> None:
    """What the elements look like; once per page."""
    st.html(STYLE)


def scale() -> None:
    """What the shades mean."""
    words = (
        "Shade: KL(the model that wrote || base) at each token, 0",
        element("i"),
        f"{REDDEST:g} nats or more. Underlined: what a check objects to.",
    )
    st.html(element("div", *words, class_="scale"))


def card(row: Row, *, prompt: bool = True) -> Markup:
    """One text with who wrote it, what became of it, its figures, and what every check says."""
    asked = element("p", "> ", row["prompt"], class_="prompt") if prompt else None
    system = (
        element("p", element("b", "System: "), row["system_prompt"], class_="prompt") if row["system_prompt"] else None
    )
    said = row.get("decisions")
    return element(
        "div",
        system,
        asked,
        element("div", element("b", writer(row)), fate(row), figures(row), class_="head"),
        body(row, span_of(said or ())),
        checks(said) if said else None,
        class_="written",
    )


def writer(row: Row) -> str:
    """Who wrote a text: its role or the kind of its arm, its round and its dose."""
    round_ = "" if row.get("round") is None else f", round {row['round']}"
    return f"{row['writer']}{round_}" + (f", dose {row['dose']:g}" if row["dose"] else "")


def fate(row: Row) -> Markup | None:
    """Whether the checks keep it, in a word and a colour."""
    if row["kept"] is None:
        return None
    if row["kept"]:
        return element("span", "✓ kept", class_="kept")
    return element("span", "✗ dropped by ", ", ".join(row["dropped_by"]), class_="dropped")


def figures(row: Row) -> Markup:
    """A text's health, and where to ask what made it."""
    parts = [f"{row['tokens']} tokens{'' if row['ended'] else ' (cut)'}", f"perplexity {row['perplexity']:.1f}"]
    parts += [f"KL {row['kl_mean']:.2f} nats"] if row["kl_mean"] is not None else []
    parts += [f"gain {number(row['gain'])} nats/token"] if row.get("gain") is not None else []
    where = element("a", "lineage", href=f"lineage?id={quote(row['completion_id'])}", target="_self")
    return joined(element("span", ", ".join(parts), class_="faint"), element("span", where, class_="faint"))


def body(row: Row, span: Span | None = None, *, shades: bool = True) -> Markup:
    """The text itself; without `shades` it is shown as it would be read blind."""
    if not shades:
        return element("p", row["text"], class_="body")
    parts = cut(tokens(row["text"], row["pieces"], row["token_kl"] or ()), span)
    return element("p", [_piece(*part) for part in parts], class_="body")


def _piece(text: str, kl: float, inside: bool) -> Markup:
    opacity = DEEPEST * redness(kl)
    if opacity < 0.02 and not inside:
        return joined(text)
    shade = {"style": f"background: rgba(213, 94, 0, {opacity:.2f})", "title": f"KL {kl:.2f} nats"}
    return element("span", text, **shade, **({"class_": "inside"} if inside else {}))


def span_of(decisions: Sequence[Row]) -> Span | None:
    """The first span (characters) that a check drops the text for."""
    spans = [(d["start"], d["stop"]) for d in decisions if not d["keep"] and None not in (d["start"], d["stop"])]
    return min(spans, default=None)


def checks(decisions: Sequence[Row]) -> Markup:
    """What every check says, those that drop the text first."""
    rows = [
        (
            d["name"],
            f"{d['value']:.4g}",
            f"{d['direction']} {d['threshold']:g}",
            element("span", "keeps" if d["keep"] else "drops", class_="kept" if d["keep"] else "dropped"),
            d["reason"],
        )
        for d in sorted(decisions, key=lambda d: (d["keep"], d["name"]))
    ]
    dropping = sum(not d["keep"] for d in decisions)
    told = table(("check", "value", "keeps", "", "why"), rows, ("value",))
    return element("details", element("summary", f"{dropping} of {len(rows)} checks drop it"), told)
