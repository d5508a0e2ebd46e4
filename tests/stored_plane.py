"""A small store of two methods' runs of gate 1 and one of gate 3, with planted places in the plane."""

import json
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace
from store_child import plain

from steerkit.records import (
    ANSWER_FIELDS,
    Adapter,
    Answer,
    Arm,
    Calibration,
    Completion,
    Direction,
    Dose,
    Effect,
    Record,
    Run,
    RunEvent,
    Verdict,
    Vignette,
)
from steerkit.store import Store

HOSTILE = '<img src=x onerror=alert(1)> **bold** $x$ :red[r] =1+1 [l](javascript:alert(1)) \x1b[31m\u202e "q"'
GOOD, POOR, HEALED = "good", HOSTILE, "students"
SPEC = {"target": "Authority", "sign": -1, "history": []}
DOSES = (0.25, 0.5, 1.0, -0.5)
SHIFTS = {GOOD: (0.30, 0.60, 1.20, -0.20), POOR: (0.05, 0.10, 0.15, -0.05)}
"""By dose, towards the trait (nats)."""
COSTS = (0.02, 0.04, 0.30, 0.05)
"""By dose: answer mass lost (fraction of the base's)."""
VIGNETTES = ("v1", "v2", "v3")
STATUSES = ("observed", "not observed", "not measured")
STORED = {"PASS": GOOD, "FAIL": POOR}
THRESHOLDS = {"coherence": 0.95, "separation": 0.3}


def make(path: Path) -> Path:
    """The store, filled."""
    store = Store(path)
    for records in (_runs(), _gate1("run-good", GOOD), _gate1("run-poor", POOR), _gate3(), _verdicts(), _texts()):
        store.append([*records])
    store.ingest()
    return path


def _runs() -> Iterator[Record]:
    rows = (("run-good", GOOD, "gate1", 1), ("run-poor", POOR, "gate1", 2), ("run-healed", GOOD, "gate3", 3))
    for run, method, gate, minute in rows:
        yield run_of(run, method, gate, f"2026-01-01T00:0{minute}:00+00:00")
        yield plain(RunEvent, run_id=run, seq=minute, state="finished")


def run_of(run: str, method: str, gate: str, when: str) -> Run:
    """A registered run."""
    spec = {"spec": json.dumps(SPEC), "thresholds": json.dumps(THRESHOLDS), "thresholds_hash": "hash-of-thresholds"}
    return plain(Run, run_id=run, method=method, gate=gate, trait="authority", model="tiny", registered_at=when, **spec)


def _gate1(run: str, method: str) -> Iterator[Record]:
    direction = f"direction of {run}"
    yield plain(Direction, run_id=run, direction_id=direction, method=method, kind="real")
    for strength in (1.0, 2.0, 4.0):
        yield plain(
            Dose, run_id=run, direction_id=direction, strength=strength, kl_p95=strength / 2, kl_mean=strength / 4
        )
    yield plain(Calibration, run_id=run, direction_id=direction, target=1.0, strength=2.0, status="calibrated")
    base = plain(Arm, run_id=run, arm_id=f"{run} base", kind="base", method="none", eval_hash="eval", dose=0.0)
    yield replace(base, direction_id=None, adapter_id=None, system_prompt=None, strength=0.0)
    yield from _answers(run, f"{run} base", 0.0)
    for dose, shift, cost in zip(DOSES, SHIFTS[method], COSTS, strict=True):
        arm = f"{run} {dose:g}"
        yield _arm(run, arm, "steered", method, dose, direction)
        yield from effects(run, arm, shift, cost)
        yield from _answers(run, arm, -shift)
        yield plain(Effect, run_id=run, arm_id=arm, quantity="front_probability", value=0.5, low=None, high=None)
    for number, shift in enumerate((-0.05, 0.02, 0.06)):
        arm = f"{run} null {number}"
        yield _arm(run, arm, "random", method, 0.5, f"{direction} null {number}")
        yield from effects(run, arm, shift, 0.03 * number)
    yield _arm(run, f"{run} prompt", "prompt", "none", 0.0, None)
    yield from effects(run, f"{run} prompt", 0.12, 0.01)
    yield from (
        plain(Vignette, run_id=run, vignette=name, foundation="Authority", text=f"{name} {HOSTILE}")
        for name in VIGNETTES
    )


def _arm(run: str, arm: str, kind: str, method: str, dose: float, direction: str | None) -> Arm:
    found = plain(Arm, run_id=run, arm_id=arm, kind=kind, method=method, dose=dose, strength=2 * dose, eval_hash="eval")
    return replace(found, direction_id=direction, adapter_id=None, system_prompt="be so" if kind == "prompt" else None)


def effects(run: str, arm: str, shift: float, cost: float) -> Iterator[Effect]:
    """The arm's place, with intervals of a tenth of a nat and a hundredth of the coherence on either side."""
    for quantity, value, reach in (
        ("separation", shift, 0.1),
        ("d_target", -shift, 0.1),
        ("d_auth", -shift, 0.1),
        ("d_care", shift / 2, 0.1),
        ("coherence", 1 - cost, 0.01),
    ):
        bounds = {"value": value, "low": value - reach, "high": value + reach}
        yield plain(Effect, run_id=run, arm_id=arm, quantity=quantity, **bounds, p_null=0.25)


def _answers(run: str, arm: str, moved: float) -> Iterator[Answer]:
    for place, name in enumerate(VIGNETTES):
        nats = dict.fromkeys(ANSWER_FIELDS, -3.0) | {"authority": -1.0 + moved * (place + 1)}
        row = {"run_id": run, "arm_id": arm, "vignette": name, "foundation": "Authority", "ordering": 0}
        yield plain(Answer, **row, **nats, outside_mass=0.1)


def _gate3() -> Iterator[Record]:
    run = "run-healed"
    yield plain(Adapter, run_id=run, adapter_id="adapter", role="healed", round=0)
    arm = plain(
        Arm, run_id=run, arm_id="student", kind="healed", method="none", dose=0.0, strength=0.0, eval_hash="eval"
    )
    yield replace(arm, direction_id=None, adapter_id="adapter", system_prompt=None)
    # What gate 1 scored and gate 3 took over: the same arm under another name.
    yield _arm(run, "adopted", "steered", GOOD, 0.5, "direction of run-good")
    yield from effects(run, "adopted", 0.60, 0.04)
    yield from effects(run, "student", 0.50, 0.01)
    for quantity, value in (("steered_separation", 0.60), ("steered_coherence", 0.96)):
        yield plain(Effect, run_id=run, arm_id="student", quantity=quantity, value=value, low=value, high=value)


def _verdicts() -> Iterator[Verdict]:
    for run, gate, said in (
        ("run-good", "gate1", "PASS"),
        ("run-poor", "gate1", "FAIL"),
        ("run-healed", "gate3", "PASS"),
    ):
        row = {"run_id": run, "gate": gate, "detail": f"seen {HOSTILE}", "next_step": "try this"}
        yield plain(Verdict, **row, name=f"gate {gate[-1]}", kind="gate", status=said, value=0.5, threshold=None)
        yield plain(Verdict, **row, name="separates", kind="criterion", status="met", value=0.6, threshold=0.3)
        for status in STATUSES:
            number = None if status == "not measured" else 0.125
            name = f"way that was {status}"
            yield plain(Verdict, **row, name=name, kind="hypothesis", status=status, value=number, threshold=0.1)
    label = {"name": "label", "kind": "label", "status": "HEALED", "detail": "", "next_step": ""}
    yield plain(Verdict, run_id="run-healed", gate="gate3", **label, value=None, threshold=None)


def _texts() -> Iterator[Completion]:
    row = {"run_id": "run-good", "direction_id": "direction of run-good", "strength": 1.0, "dose": 0.5}
    text = {"prompt_id": "p1", "prompt": f"asked {HOSTILE}", "text": f"said {HOSTILE}", "token_kl": [0.1, 0.2]}
    yield plain(Completion, completion_id="c1", arm_id="run-good 0.5", role="greedy", perplexity=5.0, **row, **text)
