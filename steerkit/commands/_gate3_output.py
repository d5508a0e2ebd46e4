"""Gate 3 on a terminal: a table a person can read in 100 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from steerkit.commands._output import echo_document, table
from steerkit.commands._verdicts import WIDTH, filled, number, verdict_lines
from steerkit.document_gate3 import COMPARED


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """The document as JSON, or as the tables a person reads."""
    echo_document(document, _lines, as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield filled(
        f"Gate 3: {document['verdict']}, {document['label']}   {document['method']} on {document['model']}, "
        f"trait {document['trait']}"
    )
    yield filled(document["summary"])
    yield filled(f"{document['label']}: {document['label_why']}")
    yield ""
    yield _arms(document)
    yield ""
    yield table(
        ["healed arm", "value [95%]"], [[COMPARED[n], _figure(f)] for n, f in document["compared"].items()], WIDTH
    )
    yield ""
    yield _adapters(document)
    yield ""
    yield from verdict_lines(document)
    yield ""
    if document["verdict"] != "PASS":
        yield filled(f"next     {document['next_step']}", indent=9)
    yield f"picture  {document['pictures'][0] if document['pictures'] else 'none'}"
    yield f"store    {document['store']}   (steerkit sql \"FROM pareto WHERE run_id = '{document['run_id']}'\")"
    yield f"bake     steerkit bake {document['run_id']} -o FOLDER"
    yield f"run      {document['run_id']} from gate 2's {document['parent_run']}, {document['seconds']:.0f} s of work"


def _arms(document: Mapping[str, Any]) -> str:
    """One line per arm; null directions are left to gate 1's table."""
    shown = [arm for arm in document["arms"] if arm["kind"] not in ("random", "shuffled")]
    target = document["target"]
    columns = ["arm", "dose", f"d{target} [95%]", "coherence [95%]", "coh cost", "largest other"]
    return table(columns, [_row(arm, target) for arm in shown], WIDTH)


def _row(arm: Mapping[str, Any], target: str) -> list[str]:
    if arm["kind"] == "base":
        return ["base", "0", f"{number(arm['target_nats'])} nats", "1", "", ""]
    others = {name: shift for name, shift in arm["shifts"].items() if name != target and shift is not None}
    largest = max(others, key=lambda name: abs(others[name]), default=None)
    return [
        arm["kind"],
        f"{arm['dose']:.3g}" if arm["kind"] == "steered" else "",
        f"{number(arm['d_target'])} [{number(arm['d_target_low'])}, {number(arm['d_target_high'])}]",
        f"{number(arm['coherence'], '')} [{number(arm['coherence_low'], '')}, {number(arm['coherence_high'], '')}]",
        number(arm["coh_cost"], sign=""),
        "" if largest is None else f"{largest} {number(others[largest])}",
    ]


def _figure(found: Mapping[str, float | None]) -> str:
    return f"{number(found['value'])} [{number(found['low'])}, {number(found['high'])}]"


def _adapters(document: Mapping[str, Any]) -> str:
    """One line per adapter: what it was trained on, and how that went."""
    columns = ["adapter", "texts", "steps", "NLL", "validation", "tau", "steps over", "update", "bake KL"]
    rows = [
        [
            adapter["role"],
            f"{adapter['texts']}+{adapter['validation_texts']}",
            str(adapter["steps"]),
            f"{number(adapter['first_nll'], '')} to {number(adapter['last_nll'], '')}" if adapter["steps"] else "",
            " ".join(number(epoch["validation_nll"], "") for epoch in adapter["epochs"]),
            number(adapter["tau"], ""),
            "" if adapter["over"] is None or adapter["tau"] is None else f"{adapter['over']:.0%}",
            number(adapter["update_norm"], ""),
            f"{adapter['figures']['kl_hooked_baked']:.1e}" if "kl_hooked_baked" in adapter["figures"] else "",
        ]
        for adapter in document["adapters"]
    ]
    return table(columns, rows, WIDTH)
