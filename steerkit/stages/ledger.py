"""A loop's ledger: what one round's own runs say of it, and where its students stand beside the others."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from msgspec.structs import replace

from steerkit.gates._gate4_measured import MeasuredRound
from steerkit.metrics import ArmMetrics
from steerkit.records import (
    Adapter,
    AdapterFigure,
    Completion,
    ControllerStep,
    Direction,
    DirectionLayer,
    HealStep,
    Record,
    Round,
    Unit,
    Verdict,
)
from steerkit.spec_heal import Aggregate, HealSpec
from steerkit.stages.assemble import only
from steerkit.stages.training import taken

DIVERGENCE: dict[Aggregate, str] = {"mean": "d_mean", "rmse": "d_rmse", "p95": "d_p95", "max": "d_max"}
"""The column of a training step that holds what an aggregate gives."""


def drafted(
    own: dict[str, Any],
    gate1: Sequence[Record],
    gate2: Sequence[Record],
    gate3: Sequence[Record] | None,
    heal: HealSpec,
) -> Round:
    """A round's row from the records of its runs; what `own` gives comes from elsewhere, and arms are not read yet."""
    found = gate3 or ()
    adapter = next((each for each in only(Adapter, found) if each.role == "healed"), None)
    choice = next((step for step in only(ControllerStep, gate2) if step.phase == "choose"), None)
    units = {unit.unit_id: unit.seconds for unit in only(Unit, [*gate1, *gate2, *found])}
    empty: dict[str, Any] = dict.fromkeys(Round.__struct_fields__)
    return Round(
        **empty
        | own
        | {
            "label": next((verdict.status for verdict in only(Verdict, found) if verdict.kind == "label"), ""),
            "adapter_id": None if adapter is None else adapter.adapter_id,
            "chosen_dose": choice.dose if choice is not None and choice.made else None,
            "reference": heal.reference,
            "seconds": sum(units.values()),
        }
        | _direction(gate1)
        | _texts(gate2, heal)
        | _training(found, adapter, heal)
    )


def _direction(gate1: Sequence[Record]) -> dict[str, Any]:
    real = next(direction for direction in only(Direction, gate1) if direction.kind == "real")
    norms = [layer.norm for layer in only(DirectionLayer, gate1) if layer.direction_id == real.direction_id]
    return {"direction_id": real.direction_id, "direction_norm": fmean(norms)}


def _texts(gate2: Sequence[Record], heal: HealSpec) -> dict[str, Any]:
    """How many texts were made and kept, and how much those that are trained on repeat themselves."""
    texts = only(Completion, gate2)
    kept = [text.completion for text in taken(gate2, heal.most_texts)]
    base = [text for text in texts if text.role == "base"]
    return {
        "made": sum(text.role in ("probe", "collected") for text in texts),
        "kept": len(kept),
        "kept_distinct": median(text.distinct_tail for text in kept) if kept else None,
        "base_distinct": median(text.distinct_tail for text in base) if base else None,
        "kept_perplexity": median(text.perplexity for text in kept) if kept else None,
    }


def _training(gate3: Sequence[Record], adapter: Adapter | None, heal: HealSpec) -> dict[str, Any]:
    """How the healed adapter was trained, and what was measured of it."""
    if adapter is None:
        return {}
    figures = {f.quantity: f.value for f in only(AdapterFigure, gate3) if f.adapter_id == adapter.adapter_id}
    steps = [step for step in only(HealStep, gate3) if step.adapter_id == adapter.adapter_id]
    barrier = adapter.tau is not None
    return {
        "kl_base": figures.get("kl_base_mean"),
        "kl_previous": figures.get("kl_previous_mean"),
        "cosine_teacher": figures.get("cosine_teacher"),
        "tau": adapter.tau,
        "over": fmean(step.over for step in steps) if barrier else None,
        "start_divergence": getattr(steps[0], DIVERGENCE[heal.aggregate]) if barrier else None,
    }


def placed(row: Round, found: MeasuredRound, before: Round | None) -> Round:
    """The row with what its arms say, and how far divergences are from adding up."""
    kl = (row.kl_base, row.kl_previous, before.kl_base if before else 0.0)
    return replace(
        row,
        **_figures("steered_", {"d_target": found.steered, "coherence": found.steered}),
        **_figures("steered_", {"d_target": found.steered_since, "coherence": found.steered_since}, "_previous"),
        **_spans({"d_target": found.healed, "coherence": found.healed}),
        **_spans({"d_target": found.healed_since, "coherence": found.healed_since}, "_previous"),
        **_spans(dict.fromkeys(("d_auth", "d_care"), found.healed)),
        **_figures("", dict.fromkeys(("target_nats", "auth_nats", "care_nats"), found.healed)),
        kl_excess=None if None in kl else kl[0] - kl[2] - kl[1],  # type: ignore[operator]
    )


def _figures(prefix: str, arms: dict[str, ArmMetrics | None], suffix: str = "") -> dict[str, float | None]:
    return {f"{prefix}{name}{suffix}": None if arm is None else arm.value(name) for name, arm in arms.items()}


def _spans(arms: dict[str, ArmMetrics | None], suffix: str = "") -> dict[str, float | None]:
    """Quantities with the ends of their intervals."""
    found = _figures("", arms, suffix)
    for name, arm in arms.items():
        span = None if arm is None else arm.interval(name)
        found |= {
            f"{name}{suffix}_low": span.low if span else None,
            f"{name}{suffix}_high": span.high if span else None,
        }
    return found
