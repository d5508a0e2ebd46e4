"""A loop on the planted model, small enough for a test."""

import json
from pathlib import Path
from typing import Any

import small_gate2
import small_gate3
import tiny_model
from small_gate2 import KEEP, given

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


def files(planted: tiny_model.Planted, folder: Path) -> dict[str, Path]:
    """The planted model's data files, with prompts that no text is collected on."""
    dilemmas = folder / "dilemmas.jsonl"
    mundane = [json.dumps({"id": f"m{i}", "kind": "mundane", "text": f"w{i} w{i + 1} w{i + 2}"}) for i in range(2)]
    dilemmas.write_text(planted.dilemmas.read_text() + "\n".join(mundane) + "\n")
    named = {name: getattr(planted, name) for name in ("personas", "vignettes", "contexts")}
    return {**named, "dilemmas": dilemmas}


def asked(planted: tiny_model.Planted, folder: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """The same question as the command line asks."""
    fixed = dict.fromkeys(("thorough", "quick", "backtrack", "weights", "trust_remote_code"), False)
    model = {"model": str(planted.folder), "dtype": "float32", "device": "cpu", "seed": 0, "method": "mean_mass"}
    more = {"trait": "planted", "instrument": "fewshot", "person": "third", "keep": KEEP, "schedule": None}
    own = {"rounds": rounds, "direction": "fresh", "controls": "none", "settings": SMALL}
    return {**fixed, **model, **more, **own, **files(planted, folder)}


def loop(planted: tiny_model.Planted, store: Path, *more: str, rounds: int = ROUNDS) -> list[str]:
    """A command line for a loop on the planted model."""
    return [
        *("loop", "--model", str(planted.folder), "--store", str(store), "--rounds", str(rounds), "--json"),
        *("--trait", "planted", "--dtype", "float32", "--device", "cpu", "--keep", str(KEEP)),
        *(part for name, path in files(planted, store.parent).items() for part in (f"--{name}", str(path))),
        *given(*SMALL),
        *more,
    ]
