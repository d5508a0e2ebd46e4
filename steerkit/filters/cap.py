"""Whether a text was cut off: 1 if it reached the cap without ending, else 0.

Recorded, but not dropped unless told otherwise (`cap=0`): with a cap of 80 tokens most healthy answers reach it. Where
the cap is long, not ending is a symptom of loops.

It fails to tell a cut sentence from one that ended just at the cap without an end token.

Source: texts that never end as a symptom of degeneration: Holtzman et al. 1904.09751; the check is ours
"""

from typing import Literal

from steerkit.filters import Background, Measurement
from steerkit.records import Completion

UNIT = "flag"
KEEP: Literal["at most", "at least"] = "at most"
THRESHOLD = 1.0


def measure(completion: Completion, background: Background) -> Measurement:
    """1 for a text that was cut off."""
    if completion.ended:
        return Measurement(0.0, "ended by itself")
    return Measurement(1.0, f"cut off after {completion.tokens} tokens")
