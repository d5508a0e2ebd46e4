"""How fast `tinymfv` reads on this machine, beside the package it agrees with, in one run."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steerkit import inputs
from steerkit.host import Edits, Host
from steerkit.instruments import tinymfv
from steerkit.published import package
from steerkit.spec import CaptureSpec
from steerkit.stages.capture import band

BUDGETS = (0, 16)


def bench_tinymfv(host: Host, vignettes: int = 8) -> list[dict[str, Any]]:
    """Per think budget: vignettes per second of an unsteered reading with its preparation, of one more steered arm, and
    of the package on both (None where it is not installed), with the largest difference of an answer (nats).
    """
    return [_budget(host, think, [v.text for v in inputs.vignettes()[:vignettes]]) for think in BUDGETS]


def _budget(host: Host, think: int, texts: list[str]) -> dict[str, Any]:
    first = band(host, CaptureSpec())[0]
    config, edits = tinymfv.Config(think=think, free=0), _shift(host, first)
    base, unsteered = _timed(lambda: tinymfv.read(host, _prepared(host, texts, config, -1), {}))
    stored = _prepared(host, texts, config, first)
    arm, steered = _timed(lambda: tinymfv.read(host, stored, edits))
    theirs = _package(host, think, texts, edits) if package() else None
    return {
        "think": think,
        "vignettes": len(texts),
        "unsteered_per_second": len(texts) / base,
        "arm_per_second": len(texts) / arm,
        "package_per_second": len(texts) / theirs[0] if theirs else None,
        "package_arm_per_second": len(texts) / theirs[2] if theirs else None,
        "ratio": theirs[0] / base if theirs else None,
        "arm_ratio": theirs[2] / arm if theirs else None,
        "largest_difference": max(_off(unsteered, theirs[1]), _off(steered, theirs[3])) if theirs else None,
    }


def _prepared(host: Host, texts: list[str], config: tinymfv.Config, first: int) -> tinymfv.Prepared:
    return tinymfv.prepare(host, texts, config, system=None, first_block=first)


def _package(host: Host, think: int, texts: list[str], edits: Edits) -> tuple[float, Tensor, float, Tensor]:
    """The package's seconds and numbers, unsteered and steered."""
    from steerkit.instruments import tinymfv_package

    config = tinymfv_package.Config(think=think)
    prepared = tinymfv_package.prepare(host, texts, config, system=None, first_block=-1)
    base, unsteered = _timed(lambda: tinymfv_package.read(host, prepared, {}))
    arm, steered = _timed(lambda: tinymfv_package.read(host, prepared, edits))
    return base, unsteered, arm, steered


def _shift(host: Host, block: int) -> Edits:
    """A small random push of one block's output."""
    draw = torch.Generator().manual_seed(0)
    vector = (torch.randn(host.width, generator=draw) / 10).to(host.device, host.model.dtype)
    return {block: lambda hidden, rows, scale: hidden + vector}


def _off(ours: Tensor, theirs: Tensor) -> float:
    return float((ours[..., :7] - theirs[..., :7]).abs().max())


def _timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found
