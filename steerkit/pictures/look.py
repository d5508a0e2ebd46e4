"""The look that all pictures share: colours, shapes, axes, and how a chart becomes a file or a part of a page.

Names come from users, and the renderer ends the whole process at a control character: they are made visible first.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

RAW = {
    "steered": ("#0072B2", "circle"),
    "opposite": ("#56B4E9", "circle"),
    "random": ("#999999", "cross"),
    "shuffled": ("#BBBBBB", "triangle-up"),
    "prompt": ("#D55E00", "diamond"),
}
"""Colour and shape of what runs the untouched weights; Okabe-Ito colours, told apart also by colour-blind readers."""
STUDENTS = {
    "healed": ("#009E73", "square"),
    "plain": ("#CC79A7", "square"),
    "control-unsteered": ("#E69F00", "triangle-down"),
    "control-random": ("#8C6D1F", "triangle-down"),
    "control-persona": ("#A63D00", "triangle-down"),
    "weights": ("#F0E442", "diamond"),
    "previous": ("#000000", "circle"),
}
"""Colour and shape of what was trained."""
GROUPS = RAW | STUDENTS
INK, PAPER = "#000000", "#FEFEFE"
"""What is drawn in the colour of the letters, and in that of the page."""
LIGHT, DARK = "#E6E6E6", "#16181C"
"""What takes their place on a dark page."""
ON_DARK = {
    INK: LIGHT,
    PAPER: DARK,
    "#666666": "#A2A8B0",
    "#0072B2": "#4AA3DF",
    "#56B4E9": "#A8D8F5",
    "#9A5580": "#D79BC0",
    "#A63D00": "#F08A4B",
    "#8C6D1F": "#C9A64A",
}
"""Colours that a dark page would swallow."""
OTHER = "#777777"
"""Whatever has no colour of its own."""
ENDS = ("low", "high")


def finished(chart: Any) -> Any:
    """A chart in the look that all pictures share."""
    return chart.configure_view(strokeOpacity=0.3).configure_axis(gridOpacity=0.4)


def save(chart: Any, folder: Path, name: str) -> list[Path]:
    """Write the chart as PNG and SVG; the folder is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    chart.save(str(paths[0]), scale_factor=2)
    chart.save(str(paths[1]))
    return paths


def svg(chart: Any, *, dark: bool = False) -> str:
    """The chart as an SVG element without a ground of its own, for a light or a dark page."""
    spec = chart.to_dict()
    config = {**spec["config"], "background": None}
    if dark:
        text = json.dumps(spec)
        for light, lighter in ON_DARK.items():
            text = text.replace(f'"{light}"', f'"{lighter}"')
        spec, config = json.loads(text), _on_dark(config)
    return str(vl_convert.vegalite_to_svg({**spec, "config": config}))


def _on_dark(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with letters and lines that can be read on a dark page."""
    named = {"labelColor": LIGHT, "titleColor": LIGHT}
    lines = {"domainColor": OTHER, "tickColor": OTHER, "gridColor": "#666666", "gridOpacity": 0.4}
    return {
        **config,
        "title": {"color": LIGHT},
        "axis": config.get("axis", {}) | named | lines,
        "legend": named,
        "text": {"color": LIGHT},
        "view": config.get("view", {}) | {"stroke": "#999999"},
    }


def inline(values: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Rows as a chart's data."""
    return alt.Data(values=[dict(value) for value in values])  # type: ignore[no-untyped-call]


def fixed(span: tuple[float, float]) -> alt.Scale:
    """A scale from one edge to the other."""
    return alt.Scale(domain=list(span), nice=False, zero=False)


def on_column(axis: Any, field: str) -> Any:
    """The same axis, read from another column."""
    other = axis.copy()
    other.shorthand = f"{field}:Q"
    return other


def zero_line() -> Any:
    """The line of no shift."""
    return alt.Chart(inline([{"zero": 0.0}])).mark_rule(strokeDash=[2, 3], color="#888888").encode(y="zero:Q")
