"""How good an instrument is on an unsteered model: its answers against the vignettes' labels."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from steerkit.host import Host
from steerkit.inputs import VignetteText
from steerkit.plugins import load
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm
from steerkit.stages.score import answers, choice, mass, set_mean_prior
from steerkit.stats import informedness, interval, likeliest, one_vs_rest_auc, resample


def score_model(host: Host, instrument: str, config: Any, vignettes: Sequence[VignetteText]) -> dict[str, Any]:
    """Read every vignette once, unsteered, and compare with the labels.

    `scores` are the raw log-probabilities (nats), averaged over example orders and over an answer's words. `auc` is the
    mean one-vs-rest AUC; `informedness` the mean over foundations of recall less false-alarm rate of the likeliest
    answer, raw and with each answer's mean over the set subtracted; its interval is a bootstrap over vignettes.
    `answer_mass` is a fraction, in which an unreadable row counts as 0; `unscorable` counts such rows.
    """
    start = time.perf_counter()
    module = load("instruments", instrument)
    prepared = module.prepare(host, [v.text for v in vignettes], config, system=None, first_block=len(host.blocks) - 1)
    read = answers(_arm(instrument), vignettes, module.read(host, prepared, {}))
    seconds = time.perf_counter() - start
    labels = [vignette.foundation for vignette in vignettes]
    raw, corrected = choice(read, ()), choice(read, set_mean_prior(_arm(instrument), read))
    picks, truth, draw = likeliest(corrected), np.array(labels), resample(labels, seed=0)
    better = informedness(picks, labels, FOUNDATIONS, draw)
    span = interval(better)
    return {
        "instrument": instrument,
        "model": host.name,
        "source": host.source,
        "fingerprint": host.fingerprint,
        "dtype": host.dtype,
        "auc": float(np.mean(list(one_vs_rest_auc(corrected, labels, FOUNDATIONS).values()))),
        "informedness": float(informedness(likeliest(raw), labels, FOUNDATIONS, draw)[0]),
        "informedness_corrected": float(better[0]),
        "informedness_interval": [span.low, span.high] if span else None,
        "answer_mass": float(np.nan_to_num(mass(read)).mean()),
        "unscorable": int((picks == -1).sum()),
        "recall": {n: float((picks[truth == n] == k).mean()) for k, n in enumerate(FOUNDATIONS) if n in labels},
        "seconds": seconds,
        "vignettes": _vignettes(read, vignettes),
    }


def _vignettes(read: Sequence[Answer], vignettes: Sequence[VignetteText]) -> list[dict[str, Any]]:
    """Each vignette's raw scores, averaged over orders (nats)."""
    by_id: dict[str, list[Answer]] = {}
    for answer in read:
        by_id.setdefault(answer.vignette, []).append(answer)
    return [
        {
            "id": vignette.id,
            "foundation": vignette.foundation,
            "scores": {
                name: float(np.mean([getattr(answer, field) for answer in by_id[vignette.id]]))
                for name, field in zip(FOUNDATIONS, ANSWER_FIELDS, strict=True)
            },
        }
        for vignette in vignettes
    ]


def _arm(instrument: str) -> Arm:
    return Arm(
        run_id="",
        unit_id="",
        arm_id="",
        kind="base",
        method="none",
        direction_id=None,
        strength=0.0,
        dose=0.0,
        eval_hash="",
        instrument=instrument,
        system_prompt=None,
    )
