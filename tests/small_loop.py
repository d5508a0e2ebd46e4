"""A loop on the planted model, small enough for a test."""

import json
from pathlib import Path

import small_gate2
import small_gate3
import tiny_model
from small_gate2 import KEEP, Ran, given, ran

ROUNDS = 3
THRESHOLDS = (
    "gate1.resamples=200",
    "gate2.resamples=200",
    "gate2.floor=8",
    "gate3.resamples=200",
    "gate.resamples=200",
)
LATER = ("later.multiples=0.5,1.0", "later.negative_multiples=0.5")
SMALL = (
    *(s for s in (*tiny_model.SMALL, *small_gate2.SMALL, *small_gate3.SMALL) if not s.startswith(("gate.", "heal."))),
    *(s for s in small_gate3.SMALL if s.startswith("heal.") and "epochs" not in s),
    *THRESHOLDS,
    *LATER,
    # Few texts of few words: more steps and larger ones, so that something is learned.
    "heal.epochs=4",
    "heal.learning_rate=4e-3",
    "heal.divergence=none",
)
"""Settings that make a loop small, and its students move."""


def files(planted: tiny_model.Planted, folder: Path) -> list[str]:
    """The planted model's data files, with prompts that no text is collected on."""
    dilemmas = folder / "dilemmas.jsonl"
    mundane = [json.dumps({"id": f"m{i}", "kind": "mundane", "text": f"w{i} w{i + 1} w{i + 2}"}) for i in range(2)]
    dilemmas.write_text(planted.dilemmas.read_text() + "\n".join(mundane) + "\n")
    named = {"personas": planted.personas, "vignettes": planted.vignettes, "contexts": planted.contexts}
    return [part for name, path in (named | {"dilemmas": dilemmas}).items() for part in (f"--{name}", str(path))]


def loop(planted: tiny_model.Planted, store: Path, *more: str, rounds: int = ROUNDS) -> list[str]:
    """A command line for a loop on the planted model."""
    return [
        *("loop", "--model", str(planted.folder), "--store", str(store), "--rounds", str(rounds), "--json"),
        *("--trait", "planted", "--dtype", "float32", "--device", "cpu", "--keep", str(KEEP)),
        *files(planted, store.parent),
        *given(*SMALL),
        *more,
    ]


__all__ = ["ROUNDS", "SMALL", "Ran", "files", "loop", "ran"]
