"""What several pages' charts share: an axis with its title above it, and rows as they stand in a chart."""

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt


def above(title: str, **how: Any) -> Any:
    """The axis of a panel's heights, in its unit; `how` goes to the axis.

    The title lies level: an upright one is cut off where a panel is lower than its title is long.
    """
    level: dict[str, Any] = {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleBaseline": "bottom",
        "titleX": -36,
        "titleY": -7,
    }
    return alt.Axis(title=title, **level, **how)


def data(rows: Iterable[Mapping[str, Any]]) -> alt.Data:
    """Rows that a chart carries with it."""
    return alt.Data(values=[dict(row) for row in rows])  # type: ignore[no-untyped-call]
