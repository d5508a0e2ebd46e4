"""Elements of a page. Whatever is not an element already is text, and is escaped: no text can become markup."""

from collections.abc import Iterable, Sequence
from html import escape

from steerkit.visible import visible


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | Markup | None
DASH = "-"
EMPTY = frozenset(("meta", "img", "source"))
"""Elements that hold nothing."""


def element(name: str, /, *children: Child | Iterable[Child], **attributes: str) -> Markup:
    """An element with its children; `class_` is the attribute class, and `_` in names is `-`."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(value))}"' for key, value in attributes.items()
    )
    if name in EMPTY:
        return Markup(f"<{name}{named}>")
    return Markup(f"<{name}{named}>{joined(*children)}</{name}>")


def joined(*children: Child | Iterable[Child]) -> Markup:
    """Children one after the other, those that are no markup escaped."""
    return Markup("".join(map(_one, children)))


def _one(child: Child | Iterable[Child]) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(visible(str(child)))
    return joined(*child)


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]], numbers: Iterable[str] = ()) -> Markup:
    """A table that scrolls sideways where the page is too narrow; columns named in `numbers` are right-aligned."""
    right = [column in set(numbers) for column in columns]
    head = element("tr", [element("th", name, class_=_side(at)) for name, at in zip(columns, right, strict=True)])
    body = [
        element("tr", [element("td", cell, class_=_side(at)) for cell, at in zip(row, right, strict=True)])
        for row in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", body)), class_="wide")


def _side(right: bool) -> str:
    return "number" if right else "words"


def section(title: str, *children: Child | Iterable[Child]) -> Markup:
    """A part of the page under its title."""
    return element("section", element("h2", title), *children)


def number(value: float | None, sign: str = "+", digits: int = 2) -> str:
    """A figure; a dash for what was not measured."""
    return DASH if value is None else f"{value:{sign}.{digits}f}"


def interval(value: float | None, low: float | None, high: float | None, sign: str = "+") -> str:
    """A figure with its interval."""
    if value is None:
        return DASH
    span = "" if low is None or high is None else f" [{number(low, sign)}, {number(high, sign)}]"
    return number(value, sign) + span
