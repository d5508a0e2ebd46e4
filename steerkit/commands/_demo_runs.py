"""The small demonstration: quick runs of every gate, each answered from the store where that has it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from steerkit.commands._gate3_chain import gate2_settings
from steerkit.commands._narrator import Narrator
from steerkit.commands.gate2 import gate1_request
from steerkit.errors import UsageError
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Gate3Request
from steerkit.session import answer, collected_run, parent_run

METHODS = ("svd", "mean_mass")
"""Gate 1 is asked of all, gates 2 and 3 of the last."""
SECONDS = {"gate 1, svd": 45, "gate 1, mean_mass": 45, "gate 2": 60, "gate 3": 150}
"""How long each part takes on two cores: what the time left is reckoned from, scaled by what the parts so far took."""


def quick_runs(store: Path, asked: Mapping[str, Any], as_json: bool) -> list[str]:
    """The ids of the runs, which are in the store then."""
    settings = _settings(asked)
    made: list[str] = []
    spent = 0.0
    start = time.monotonic()
    for place, part in enumerate(SECONDS):
        with Narrator(store, as_json) as narrator:
            pace = max(0.2, (time.monotonic() - start) / spent) if spent else 1.0
            left = pace * (sum(SECONDS.values()) - spent)
            narrator.say(f"part {place + 1} of {len(SECONDS)}: {part}; about {left / 60:.1f} minutes left in all")
            work = _parts(store, settings, made)[part]
            try:
                document = answer(work(), store, resume=True, again=False, narrator=narrator)
            except UsageError as short:
                # A model that keeps too few texts leaves nothing to train on; what is there can be looked at.
                narrator.say(f"{part} is left out: {short}")
                break
            made.append(document["run_id"])
            narrator.say(f"{part} said {document['verdict']}: run {document['run_id']}")
        spent += SECONDS[part]
    return made


def _parts(store: Path, settings: dict[str, Any], made: list[str]) -> dict[str, Callable[[], Any]]:
    """Each part's question, asked about the run before it."""
    second = gate2_settings(settings)

    def collect() -> Gate2Request:
        return Gate2Request.checked(second).after(parent_run(store, made[-1]))

    def heal() -> Gate3Request:
        return Gate3Request.checked(settings).after(collected_run(store, made[-1]))

    first = {
        f"gate 1, {method}": lambda method=method: gate1_request(second, method, "authority") for method in METHODS
    }
    return {**first, "gate 2": collect, "gate 3": heal}


def _settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a user would have typed for gate 3 --quick."""
    left_out = ("personas", "dilemmas", "keep", "divergence", "aggregate", "reference", "lam", "tau")
    fixed = {"quick": True, "settings": (), "controls": "all", "weights": False, "trust_remote_code": False}
    named = {"trait": "authority", "instrument": "fewshot"}
    return {**dict.fromkeys((*left_out, "think")), **named, **fixed, **asked}
