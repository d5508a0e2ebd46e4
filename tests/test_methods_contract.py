"""Every method found by name keeps the contract, and the contract catches planted bugs."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from steerkit.methods import mean_mass
from steerkit.plugins import Method, load_method, sources
from steerkit.testing import MethodContract


class TestEveryMethod(MethodContract):
    @pytest.fixture(params=list(sources("methods")))
    def method(self, request: pytest.FixtureRequest) -> Method:
        return load_method(request.param)


class TestWhitenedMeanMass(MethodContract):
    name = "mean_mass"
    settings: ClassVar[dict[str, Any]] = {"whiten": True}


class TestGateWithAThreshold(MethodContract):
    name = "cosine_gated"
    settings: ClassVar[dict[str, Any]] = {"tau": 0.05}


class TestLabelShuffledNull(MethodContract):
    name = "null"
    settings: ClassVar[dict[str, Any]] = {"kind": "label-shuffled", "seed": 3}


STEER = 'return pushed(hidden, state["vector"][None, None], strength)'
SHIFT = "shift = mean_difference(contrast)"
ZERO = "test_strength_zero_is_the_identity_to_the_bit"
SHAPE = "test_shape_and_dtype_are_kept"
ROWS = "test_one_strength_per_row_equals_row_by_row"
TOKENS = "test_one_token_at_a_time_equals_all_at_once"
CACHE = "test_generation_is_the_same_with_and_without_cache"
PLANTED = "test_a_planted_direction_is_recovered"
SWAP = "test_swapping_the_poles_flips_the_step"
BAKED = "test_baked_equals_steered"
MUTATED = "test_arguments_are_not_mutated"
BUGS = {
    "adds_zero": (
        STEER,
        'return (hidden + strength[:, None, None] * state["vector"]).to(hidden.dtype)',
        {ZERO},
    ),
    "widens": (STEER, 'return hidden + strength[:, None, None] * state["vector"]', {ZERO, SHAPE}),
    "one_strength": (STEER, STEER.replace("strength)", "strength[:1].expand_as(strength))"), {ROWS, CACHE}),
    "looks_around": (STEER, STEER.replace("[None, None]", " * hidden.mean(1, keepdim=True)"), {TOKENS, CACHE, BAKED}),
    "in_place": (STEER, STEER.replace("hidden,", "hidden.clamp_(min=-1.0),"), {MUTATED, CACHE}),
    "wrong_sign": (SHIFT, "shift = -mean_difference(contrast)", {PLANTED}),
    "unsigned": (SHIFT, "shift = mean_difference(contrast).abs()", {PLANTED, SWAP}),
    "unseeded": (
        SHIFT,
        "shift = mean_difference(contrast) + 1e-6 * torch.randn(contrast.positive.shape[1])",
        {"test_fitting_is_deterministic_and_leaves_the_global_seed_alone"},
    ),
    "unchecked": (
        SHIFT,
        "shift = (contrast.positive - contrast.negative).mean(0)",
        {"test_poles_that_do_not_differ_are_an_error"},
    ),
    "half_baked": ('bias=strength * state["vector"]', 'bias=state["vector"]', {BAKED}),
    "undecided": ('SITE = "residual"', 'SITE, NOT_BAKEABLE = "residual", "no"', {"test_it_bakes_or_says_why_not"}),
    "gullible": ("not 0 < self.shrinkage <= 1", "self.shrinkage < 0", {"test_settings_reject_bad_values_clearly"}),
    "uncited": ("Source:", "See:", {"test_the_docstring_is_the_paper"}),
}
SUITE = """
import importlib, pytest
from steerkit.testing import MethodContract

class TestBroken(MethodContract):
    @pytest.fixture(params={names!r})
    def method(self, request):
        return importlib.import_module(request.param)
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which tests of the suite fail on each broken copy of `mean_mass`."""
    folder, root = tmp_path_factory.mktemp("broken"), Path(mean_mass.__file__).parents[2]
    source = Path(mean_mass.__file__).read_text(encoding="utf-8")
    for name, (right, wrong, _) in BUGS.items():
        assert right in source
        (folder / f"{name}.py").write_text(source.replace(right, wrong))
    (folder / "test_broken.py").write_text(SUITE.format(names=list(BUGS)))
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rf", "-p", "no:cacheprovider", "test_broken.py"]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "1000"}
    report = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
    found = defaultdict(set)
    for test, variant in re.findall(r"^FAILED .*::(test_\w+)\[([^\]]*)\]", report, re.MULTILINE):
        for name in BUGS.keys() & set(variant.split("-")):
            found[name].add(test)
    return found


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_fails_its_checks_and_no_other(bug: str, failures: dict[str, set[str]]) -> None:
    assert failures[bug] == BUGS[bug][2]
