"""One look for all pages: the colours of the report's pictures, told apart by colour-blind readers, light and dark."""

import re
from typing import Any

import streamlit as st

from steerkit.pictures.look import GROUPS, ON_DARK, OTHER
from steerkit.visible import visible

MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=])")
"""Characters that mean something to Markdown, to formulas or to Streamlit's own colours and icons."""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#000000")
"""Colours of a list of things that have none of their own, for example methods or runs: Okabe-Ito."""
FINE, BAD, UNSURE = "#009E73", "#D55E00", "#8C6D1F"
"""Colours of what was met, what was not, and what cannot be told; always beside a word or a sign."""


def dark() -> bool:
    """Whether the reader's page is dark."""
    return st.context.theme.type == "dark"


def colour(name: str, *, on_dark: bool = False) -> str:
    """The colour of a kind of arm or student, as in the report."""
    found = GROUPS[name][0] if name in GROUPS else OTHER
    return shade(found, on_dark=on_dark)


def shade(light: str, *, on_dark: bool) -> str:
    """A colour of a light page, or what takes its place on a dark one."""
    return ON_DARK.get(light, light) if on_dark else light


def plain(text: Any) -> str:
    """Text of a stranger as Markdown that shows it letter by letter, on one line."""
    return MARKDOWN.sub(r"\\\1", visible(" ".join(str(text).split())))
