"""Record what the package moral-maps reads on our vignettes: `python tests/golden/tinymfv.py`, where it is importable.

Writes `tinymfv.json` beside this file: per model and think budget, the log-probabilities of the seven answers in both
orders (nats), their mass (fraction) and the prefill's NLL (nats per token), both means over the orders.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_chat

from steerkit import inputs
from steerkit.host import Host, load
from steerkit.instruments import tinymfv_package

FILE = Path(__file__).with_suffix(".json")
EMBEDDED = "smollm2-135m"
BUDGETS = (0, 1, 16)
VIGNETTES = 5
"""The first ones of our file: enough that rows of one batch are padded."""


def texts() -> list[str]:
    """The vignettes that were read."""
    return [vignette.text for vignette in inputs.vignettes()[:VIGNETTES]]


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in tiny_chat.FAMILIES:
            saved = tiny_chat.saved(Path(folder) / family, family)
            found[family] = _read(load(str(saved), "float32", "cpu"))
    found[EMBEDDED] = _read(load(EMBEDDED, "float32", "cpu"))
    FILE.write_text(json.dumps(found, indent=0) + "\n")


def _read(host: Host) -> dict[str, Any]:
    found = {}
    for think in BUDGETS:
        config = tinymfv_package.Config(think=think)
        prepared = tinymfv_package.prepare(host, texts(), config, system=None, first_block=-1)
        numbers = tinymfv_package.read(host, prepared, {})
        found[str(think)] = {
            "answers": [[[round(x, 5) for x in row] for row in order] for order in numbers[..., :7].tolist()],
            "mass": [round(1 - x, 7) for x in numbers[0, :, 7].tolist()],
            "nll": [round(x, 5) for x in numbers[0, :, 8].tolist()],
        }
    return found


if __name__ == "__main__":
    main()
