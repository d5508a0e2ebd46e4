"""The gates before gate 3, run where they have not been."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steerkit.commands._narrator import Narrator
from steerkit.commands.gate2 import gate1_request
from steerkit.request_gate2 import Gate2Request
from steerkit.request_gate3 import Collected
from steerkit.session import answer, collected_run, gate_of, parent_run


def collected(asked: Mapping[str, Any], store: Path, from_run: str | None, *, resume: bool, as_json: bool) -> Collected:
    """The run of gate 2 to go on from: the one that is named, or one after the named or a new run of gate 1."""
    second = Gate2Request.checked(gate2_settings(asked))
    if from_run is not None and gate_of(store, from_run) == "gate2":
        return collected_run(store, from_run)
    if from_run is None:
        first = gate1_request(gate2_settings(asked), asked["method"], asked["trait"])
        with Narrator(store, as_json) as narrator:
            document = answer(first, store, resume=resume, again=False, narrator=narrator)
            narrator.say(f"gate 1 said {document['verdict']} (run {document['run_id']}); going on with gate 2")
            from_run = document["run_id"]
    with Narrator(store, as_json) as narrator:
        whole = second.after(parent_run(store, from_run))
        document = answer(whole, store, resume=resume, again=False, narrator=narrator)
        narrator.say(f"gate 2 said {document['verdict']} (run {document['run_id']}); going on with gate 3")
    return collected_run(store, document["run_id"])


def gate2_settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What gate 2 is asked where gate 3 was: its defaults; gate 3's own settings do not concern it."""
    shared = ("personas", "dilemmas", "keep", "quick", "model", "dtype", "device", "seed", "trust_remote_code")
    given = {name: asked[name] for name in (*shared, "instrument", "think")}
    return {**given, "schedule": None, "backtrack": False, "settings": ()}
