"""Metrics and statistics keep their shapes in their own tests; no other test checks them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from steerkit.host.sampling import Sampling, draw

HERE = Path(__file__).parent
CHECKED = "STEERKIT_CHECK_OFTEN"


@pytest.mark.skipif(CHECKED in os.environ, reason="runs itself")
def test_metrics_and_statistics_keep_their_shapes() -> None:
    files = [__file__, *(str(HERE / f"test_{name}.py") for name in ("stats", "metrics"))]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env=os.environ | {CHECKED: "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0 and "1 skipped" in ran.stdout, ran.stdout[-3000:]


@pytest.mark.skipif(CHECKED not in os.environ, reason="the test above runs it, with every shape checked")
def test_a_wrong_shape_is_seen() -> None:
    from steerkit.stats import interval

    with pytest.raises(TypeCheckError, match="draws"):
        interval(np.zeros((2, 3)))


def test_shapes_are_checked_while_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        draw(torch.zeros(3), Sampling(), None)
