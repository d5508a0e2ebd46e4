"""An axis whose title lies above it, level: an upright one is cut off where a panel is lower than its title is long."""

from typing import Any

import altair as alt


def above(title: str, **how: Any) -> Any:
    """The axis of a panel's heights, in its unit; `how` goes to the axis."""
    level: dict[str, Any] = {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleBaseline": "bottom",
        "titleX": -36,
        "titleY": -7,
    }
    return alt.Axis(title=title, **level, **how)
