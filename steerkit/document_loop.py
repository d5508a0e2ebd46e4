"""A finished loop as one document: what `--json` prints, what the table shows and what the picture draws."""

from collections.abc import Sequence
from typing import Any

import msgspec

from steerkit.document import arm_row, outline
from steerkit.records import Arm, Completion, Effect, Record, Round, Run
from steerkit.spec_loop import LoopSpec
from steerkit.stages.assemble import only

ORDER = ("base", "prompt", "steered", "plain", "healed")
ARMS = ("steered", "plain", "healed")
"""The arms that a round has."""


def document_loop(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything gate 4 says about one loop, from its records alone."""
    spec = msgspec.json.decode(only(Run, records)[0].spec, type=LoopSpec)
    rows = sorted(only(Round, records), key=lambda row: row.round)
    effects = {(effect.arm_id, effect.quantity): effect for effect in only(Effect, records)}
    rounds = {getattr(row, f"{kind}_arm"): row.round for row in rows for kind in ARMS}
    arms = sorted(only(Arm, records), key=lambda arm: (rounds.get(arm.arm_id, -1), ORDER.index(arm.kind), arm.dose))
    floor = spec.gate_config["coherence"]
    return {
        **outline(records, store, pictures),
        "target": spec.target,
        "sign": spec.sign,
        "direction": spec.direction,
        "asked": spec.rounds,
        "floor": floor,
        "best_round": rows[-1].best_round,
        "stop": rows[-1].stop,
        "stop_why": rows[-1].stop_why,
        "rounds": [_row(row) for row in rows],
        "arms": [{**arm_row(arm, effects), "round": rounds.get(arm.arm_id)} for arm in arms],
        "texts": [_text(text, rounds) for text in only(Completion, records)],
    }


def _row(row: Round) -> dict[str, Any]:
    plain = msgspec.structs.asdict(row)
    return {name: value for name, value in plain.items() if name not in ("run_id", "unit_id")}


def _text(text: Completion, rounds: dict[str | None, int]) -> dict[str, Any]:
    return {
        "arm_id": text.arm_id,
        "round": rounds.get(text.arm_id),
        "prompt": text.prompt,
        "system_prompt": text.system_prompt,
        "text": text.text,
        "perplexity": text.perplexity,
        "distinct_tail": text.distinct_tail,
    }
