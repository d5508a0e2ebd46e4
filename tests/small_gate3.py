"""Gate 3 on the planted model, small enough for a test."""

import json
from functools import cache
from pathlib import Path

from small_gate2 import KEEP, Ready, given, ran, ready, shared

ROLES = ("plain", "healed", "control-unsteered", "control-random", "control-persona")
SMALL = (
    "heal.fewest_texts=6",
    f"heal.most_texts={KEEP}",
    "heal.batch=4",
    "heal.rank=4",
    "heal.epochs=2",
    "heal.band=0,1",
    "held_out.prompts=2",
    "held_out.length=12",
    "gate.resamples=200",
)
"""Settings that make a run small."""


def gate3(before: Ready, store: Path, run: str, *more: str) -> list[str]:
    """A command line for gate 3 that goes on from a run of gate 2."""
    dilemmas = store.with_name("dilemmas.jsonl")
    mundane = [json.dumps({"id": f"m{i}", "kind": "mundane", "text": f"w{i} w{i + 1} w{i + 2}"}) for i in range(2)]
    dilemmas.write_text(before.planted.dilemmas.read_text() + "\n".join(mundane) + "\n")
    files = ("--personas", str(before.planted.personas), "--dilemmas", str(dilemmas))
    return [
        *("gate3", "--store", str(store), "--device", "cpu", *files, "--from", run, "--json"),
        *given(*SMALL),
        *more,
    ]


def gathered(folder: Path) -> Ready:
    """The planted model and a store in `folder` in which gates 1 and 2 have run; `run` is gate 2's."""
    made = _made()
    return Ready(made.planted, made.copy(folder), made.run)


@cache
def _made() -> Ready:
    before = ready(shared())
    found = ran(before.gate2(before.store))
    assert found.code == 0, found.said
    return Ready(before.planted, before.store, found.document["run_id"])
