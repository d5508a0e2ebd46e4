"""A finished run of gate 2 as one document: what `--json` prints, what the table shows and what the picture draws."""

from collections.abc import Sequence
from typing import Any

import msgspec

from steerkit.document import outline
from steerkit.evidence import TextEvidence
from steerkit.records import ControllerStep, Effect, Record, Run
from steerkit.spec import Gate2Spec
from steerkit.stages.assemble import only, texts_evidence
from steerkit.stats import wilson

SHOWN = ("survival", "gain", "d_gain", "log_perplexity", "distinct_tail", "words")


def document_gate2(records: Sequence[Record], store: str, pictures: Sequence[str]) -> dict[str, Any]:
    """Everything gate 2 says about one run, from its records alone."""
    run = only(Run, records)[0]
    spec = msgspec.json.decode(run.spec, type=Gate2Spec)
    texts = texts_evidence(records)
    steered = [text for text in texts if text.completion.role in ("probe", "collected")]
    choice = next((step for step in only(ControllerStep, records) if step.phase == "choose"), None)
    return {
        **outline(records, store, pictures),
        "target": spec.target,
        "parent_run": spec.parent_run,
        "operating_dose": spec.operating_dose,
        "chosen_dose": choice.dose if choice and choice.made else None,
        "controller": choice.note if choice else "",
        "kept": sum(text.kept for text in steered),
        "made": len(steered),
        "wanted": spec.control.keep,
        "doses": [_dose(dose, [t for t in steered if t.completion.dose == dose]) for dose in _doses(steered)],
        "groups": _groups(only(Effect, records)),
        "checks": _checks(steered, [text for text in texts if text.completion.role == "base"]),
        "texts": [_text(text) for text in steered],
    }


def _doses(texts: Sequence[TextEvidence]) -> list[float]:
    return sorted({text.completion.dose for text in texts})


def _dose(dose: float, texts: Sequence[TextEvidence]) -> dict[str, Any]:
    """One dose: how many of its texts survived, with a Wilson interval, and how they read."""
    kept = sum(text.kept for text in texts)
    span = wilson(kept / len(texts), len(texts))
    gains = [text.gain for text in texts if text.gain is not None]
    return {
        "dose": dose,
        "strength": texts[0].completion.strength,
        "made": len(texts),
        "kept": kept,
        "survival": kept / len(texts),
        "survival_low": span.low,
        "survival_high": span.high,
        "median_perplexity": _median([text.completion.perplexity for text in texts]),
        "median_distinct": _median([text.completion.distinct_tail for text in texts]),
        "mean_kl": _mean([_mean(text.completion.token_kl) or 0.0 for text in texts]),
        "mean_gain": _mean(gains),
    }


def _groups(effects: Sequence[Effect]) -> dict[str, dict[str, Any]]:
    """Figures with their 95% intervals by group of texts: kept, dropped, base, random."""
    found: dict[str, dict[str, Any]] = {}
    for effect in effects:
        if not effect.arm_id.startswith("probe:") and effect.quantity in SHOWN:
            found.setdefault(effect.arm_id, {})[effect.quantity] = {
                "value": effect.value,
                "low": effect.low,
                "high": effect.high,
            }
    return found


def _checks(steered: Sequence[TextEvidence], base: Sequence[TextEvidence]) -> list[dict[str, Any]]:
    """Every check: how many texts it drops, and how many of them nothing else would."""
    first = next((text.decisions for text in steered if text.decisions), ())
    return [
        {
            "name": said.name,
            "threshold": said.threshold,
            "direction": said.direction,
            "dropped": sum(said.name in text.dropped_by for text in steered),
            "alone": sum(text.dropped_by == (said.name,) for text in steered),
            "base_dropped": sum(said.name in text.dropped_by for text in base),
            "base": len(base),
        }
        for said in first
    ]


def _text(text: TextEvidence) -> dict[str, Any]:
    own = text.completion
    return {
        "completion_id": own.completion_id,
        "role": own.role,
        "dose": own.dose,
        "prompt_id": own.prompt_id,
        "text": own.text,
        "kept": text.kept,
        "dropped_by": list(text.dropped_by),
        "perplexity": own.perplexity,
        "gain": text.gain,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _median(values: Sequence[float]) -> float | None:
    ranked = sorted(values)
    middle = len(ranked) // 2
    return (ranked[middle] + ranked[~middle]) / 2 if ranked else None
