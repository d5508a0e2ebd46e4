"""Draws what the pages show: frames in, Altair charts out. Knows neither Streamlit nor SQL.

Every chart is drawn for a light page; `dressed` gives it its letters and, for a dark page, its other colours.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from steerkit.pictures.look import DARK, INK, LIGHT, ON_DARK, PAPER

PRINTED = 860
"""Width of a chart in a file that has none of its own (pixels)."""
MUTED = "#666666"
"""Letters that explain."""


@dataclass(frozen=True)
class Drawn:
    """A chart of `alt.NamedData`, and its rows by name: Altair copies and checks each row that it holds itself."""

    chart: Any
    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    def to_dict(self) -> dict[str, Any]:
        """The whole specification."""
        return {**self._bare, "datasets": {name: [*rows] for name, rows in self.rows.items()}}

    @cached_property
    def _bare(self) -> dict[str, Any]:
        """The specification without rows, which Altair takes long to check."""
        spec: dict[str, Any] = self.chart.to_dict()
        return spec


def dressed(chart: Any, *, dark: bool) -> dict[str, Any]:
    """The chart as a specification, with letters, lines and colours that can be read on a light or a dark page."""
    spec: dict[str, Any] = chart.to_dict()
    if dark:
        data = spec.pop("datasets", {})
        text = json.dumps(spec)
        for light, lighter in ON_DARK.items():
            text = text.replace(f'"{light}"', f'"{lighter}"')
        spec = {**json.loads(text), "datasets": data}
    spec["config"] = _merged(spec.get("config", {}), _config(dark))
    return spec


def printed(chart: Any) -> dict[str, Any]:
    """The chart on white paper, for a file: what follows the page's width on a page gets one of its own."""
    spec = dressed(chart, dark=False)
    spec["config"]["background"] = "white"
    return {**spec, "width": PRINTED} if spec.get("width") == "container" else spec


def _config(dark: bool) -> dict[str, Any]:
    ink, muted, grid = (LIGHT, ON_DARK[MUTED], "#3A3F47") if dark else (INK, MUTED, "#E3E3E3")
    letters = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": None,
        "font": "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif",
        "title": {"color": ink, "subtitleColor": muted, "anchor": "start", "fontSize": 15, "fontWeight": 600},
        "axis": letters | {"domainColor": muted, "tickColor": muted, "gridColor": grid},
        "legend": {**letters, "layout": BELOW, "symbolOpacity": 1}
        | dict.fromkeys(("symbolBaseFillColor", "symbolBaseStrokeColor"), ink),
        "header": letters,
        "text": {"color": ink},
        "view": {"stroke": grid},
        "point": {"filled": True},
        "bar": {"color": "#4AA3DF" if dark else "#0072B2"},
        "line": {"color": "#4AA3DF" if dark else "#0072B2"},
        "rule": {"color": muted},
        "range": {"category": [ON_DARK.get(c, c) if dark else c for c in CATEGORIES]},
    }


CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", INK)
"""Colours of things that have none of their own: Okabe-Ito."""
BELOW = {"bottom": {"direction": "vertical", "anchor": "start", "margin": 8}}
"""Legends one below the other, which side by side would not fit a narrow page."""
GROUND = {False: PAPER, True: DARK}
"""The colour of the page."""


def _merged(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The shared settings, and over them what the chart settled itself."""
    found = dict(shared)
    for name, value in own.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = _merged(value, found[name]) if both else value
    return found
