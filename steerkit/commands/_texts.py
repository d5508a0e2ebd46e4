"""The stored texts of one run of gate 2, as the commands that read them need them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from steerkit.errors import UsageError
from steerkit.visible import visible as visible

if TYPE_CHECKING:
    from steerkit.evidence import TextEvidence
    from steerkit.records import Record
    from steerkit.spec import Gate2Spec
    from steerkit.store import Store


@dataclass(frozen=True)
class StoredTexts:
    """One run's texts with their newest decisions and labels."""

    store: "Store"
    run: str
    spec: "Gate2Spec"
    records: "list[Record]"
    texts: "list[TextEvidence]"

    def steered(self) -> "list[TextEvidence]":
        """Those that were written to be kept."""
        return [text for text in self.texts if text.completion.role in ("probe", "collected")]


def stored_texts(path: Path, prefix: str) -> StoredTexts:
    """The texts of the one run of gate 2 whose id begins so.

    Raises UsageError when there is none, more than one, or it is of another gate or has no decided texts yet.
    """
    from steerkit.records import Run
    from steerkit.runner import find_run, load_records
    from steerkit.session import opened
    from steerkit.spec import Gate2Spec
    from steerkit.stages.assemble import only, texts_evidence

    store = opened(path)
    run = find_run(store, prefix)
    records = load_records(store, run)
    registered = only(Run, records)[0]
    if registered.gate != "gate2":
        raise UsageError(
            f"the run must be one of gate2, which has texts, but {run} is of {registered.gate}; `steerkit gate2 --from "
            f"{run}` goes on with it"
        )
    found = StoredTexts(
        store, run, msgspec.json.decode(registered.spec, type=Gate2Spec), records, texts_evidence(records)
    )
    if not any(text.decisions for text in found.steered()):
        raise UsageError(
            f"run {run} must have texts that were decided, but it has none; finish it: steerkit gate2 --resume"
        )
    return found
