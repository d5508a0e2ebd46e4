"""One prompt and what base, steered and healed models made of it, side by side."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import link, written
from dashboard.reading import Reader
from dashboard.runs import Run
from steerkit.report.markup import element

PROMPTS = 100
"""Prompts that are offered at once."""


def show(reader: Reader, run: Run) -> None:
    """Choose a prompt, and read."""
    asked = reader.ask("prompts", run=run["run_id"], limit=PROMPTS)
    options = {_key(row): row for row in asked.iter_rows(named=True)}
    chosen = link.pick("Prompt", "prompt", [*options], shown=lambda key: _title(options[key]))
    if chosen is None:
        return
    if int(asked["found"][0]) > PROMPTS:
        st.caption(f"The {PROMPTS} prompts with most writers are offered, of {asked['found'][0]}; “Read” finds all.")
    row = options[chosen]
    texts = reader.ask("beside", run=run["run_id"], prompt=row["prompt_id"], system=row["system_prompt"])
    system = (
        element("p", element("b", "System: "), row["system_prompt"], class_="prompt") if row["system_prompt"] else ""
    )
    st.html(element("div", system, element("p", row["prompt"], class_="body"), class_="written"))
    written.scale()
    cards = [written.card({**text, "system_prompt": None}, prompt=False) for text in texts.iter_rows(named=True)]
    st.html(element("div", cards, class_="beside"))


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['prompt_id']}{' with system prompt' if row['system_prompt'] is not None else ''}"


def _title(row: Mapping[str, Any]) -> str:
    words = " ".join(row["prompt"].split())
    return f"{_key(row)}: {words[:90]}{'…' if len(words) > 90 else ''} ({', '.join(row['writers'])})"
