"""Every method found by name keeps the contract, and the contract catches planted bugs."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

from steerkit.errors import UsageError
from steerkit.methods import mean_mass
from steerkit.plugins import Method, load_method, load_text_method, sources, trouble_of
from steerkit.testing import MethodContract, planted_background

TEXTS = ("prompt",)
"""Methods whose means are words: there are no activations to steer."""

OURS = [name for name in sources("methods") if not name.startswith("lite.") and name not in TEXTS]


def test_a_method_without_a_vector_has_words_and_says_so() -> None:
    prompt = load_text_method("prompt")
    said = {prompt.words(planted_background().persona, pole, prompt.Config()) for pole in ("positive", "negative")}
    assert len(said) == 2
    assert trouble_of("prompt") is None
    with pytest.raises(UsageError, match="must have a vector, but 'prompt' is a text"):
        load_method("prompt")


class TestEveryMethod(MethodContract):
    @pytest.fixture(params=OURS)
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
HEALTHY = "shift = 1.25 * mean_difference(contrast)"
"""What the broken copies start from: `mean_mass` itself would be one more bug, a copy."""


def steering(push: str = 'state["vector"][None, None]', strength: str = "strength") -> str:
    return f"return pushed(hidden, {push}, {strength})"


BUGS = {
    "adds_zero": (
        STEER,
        'return (hidden + strength[:, None, None] * state["vector"]).to(hidden.dtype)',
        "test_strength_zero_is_the_identity_to_the_bit",
        "return rows of strength 0 untouched",
    ),
    "widens": (STEER, f"{STEER}.float()", "test_shape_and_dtype_are_kept", "must return torch.bfloat16 for"),
    "drops_a_token": (STEER, f"{STEER}[:, 1:]", "test_shape_and_dtype_are_kept", "must return (2, 7, 16), but got"),
    "nan_at_zero_token": (
        STEER,
        f"{STEER} * (hidden.norm(dim=-1, keepdim=True) / hidden.norm(dim=-1, keepdim=True))",
        "test_shape_and_dtype_are_kept",
        "also at a zero token",
    ),
    "strength_ignored": (
        STEER,
        steering(strength="strength.abs().sign()"),
        "test_strength_decides_how_far_it_goes",
        "strength 0.3 must move activations less than strength 1",
    ),
    "sign_of_strength_ignored": (
        STEER,
        steering(strength="strength.abs()"),
        "test_strength_decides_how_far_it_goes",
        "strengths 1 and -1 must not do the same",
    ),
    "sign_flipped": (
        STEER,
        steering(strength="-strength"),
        "test_positive_strength_goes_where_step_says",
        "steer and step differ in sign",
    ),
    "sign_flipped_in_fit": (
        SHIFT,
        "shift = -1.25 * mean_difference(contrast)",
        "test_a_planted_direction_is_recovered",
        "must point at the planted shift, but their cosine is -1.00",
    ),
    "unsigned": (
        SHIFT,
        "shift = mean_difference(contrast).abs()",
        "test_a_planted_direction_is_recovered",
        "must point at the planted shift",
    ),
    "sign_lost": (
        SHIFT,
        f"{HEALTHY}; shift = shift + 0.1 * shift.abs()",
        "test_swapping_the_poles_flips_the_step",
        "",
    ),
    "applied_twice": (
        STEER,
        steering().replace("return ", "hidden = ") + f"; {STEER}",
        "test_strength_one_adds_one_step",
        "added 2.00 times as much; is it applied twice?",
    ),
    "prompt_only": (
        STEER,
        f"return hidden if hidden.shape[1] == 1 else {STEER.removeprefix('return ')}",
        "test_one_token_at_a_time_equals_all_at_once",
        "every position must be steered alike, in the prompt and when it is generated",
    ),
    "looks_around": (
        STEER,
        steering('state["vector"] * (1 + 0.1 * hidden.mean(1, keepdim=True))'),
        "test_one_token_at_a_time_equals_all_at_once",
        "every position must be steered alike",
    ),
    "row_0_for_all": (
        STEER,
        steering(strength="strength[:1].expand_as(strength)"),
        "test_one_strength_per_row_equals_row_by_row",
        "every row must be steered with its own strength",
    ),
    "state_mutated": (
        STEER,
        f'state["vector"].mul_(1.01); {STEER}',
        "test_arguments_are_not_mutated",
        "steer must not change the state",
    ),
    "activations_mutated": (
        STEER,
        STEER.replace("hidden,", "hidden.clamp_(min=-1.0),"),
        "test_arguments_are_not_mutated",
        "steer must not change the activations in place",
    ),
    "contrast_mutated": (
        SHIFT,
        f"{HEALTHY}; contrast.positive.mul_(1.5)",
        "test_arguments_are_not_mutated",
        "fit must not change the contrast",
    ),
    "nan_after_calibration": (
        STEER,
        steering(strength="strength * strength.abs().exp() / strength.abs().exp()"),
        "test_no_strength_that_calibration_tries_gives_nan",
        "calibration tries strengths up to 100000, but strength 300 in torch.float32 gave",
    ),
    "byte_identical": (
        SHIFT,
        SHIFT,
        "test_no_other_method_does_the_same",
        "it does to the bit what 'mean_mass' does",
    ),
    "bakeable_but_not": (
        STEER,
        steering('(hidden.norm(dim=-1, keepdim=True) / 4).clamp(max=1.2) * state["vector"]'),
        "test_baked_equals_steered",
        "bake must do what steer does, or say NOT_BAKEABLE",
    ),
    "half_baked": (
        'bias=strength * state["vector"]',
        'bias=state["vector"]',
        "test_baked_equals_steered",
        "bake must do what steer does",
    ),
    "undecided": (
        'SITE = "residual"',
        'SITE, NOT_BAKEABLE = "residual", "no"',
        "test_it_bakes_or_says_why_not",
        "bake() or NOT_BAKEABLE, not both",
    ),
    "unseeded": (
        SHIFT,
        f"{HEALTHY} + 1e-6 * torch.randn(contrast.positive.shape[1])",
        "test_fitting_is_deterministic_and_leaves_the_global_seed_alone",
        "the same contrast and config must give the same state",
    ),
    "unchecked": (
        SHIFT,
        "shift = 1.25 * (contrast.positive - contrast.negative).mean(0)",
        "test_poles_that_do_not_differ_are_an_error",
        "DID NOT RAISE",
    ),
    "gullible": (
        "not 0 < self.shrinkage <= 1",
        "self.shrinkage < 0",
        "test_settings_reject_bad_values_clearly",
        "DID NOT RAISE",
    ),
    "uncited": ("Source:", "See:", "test_the_docstring_is_the_paper", "the last line must cite"),
}
"""Bug to (right code, wrong code, the one check that fails, what it says); all else is as in the healthy copy."""
SUITE = """
import importlib, pytest
from steerkit.testing import MethodContract

class TestBroken(MethodContract):
    @pytest.fixture(params={names!r})
    def method(self, request):
        return importlib.import_module(request.param)
"""


def broken(source: str, right: str, wrong: str) -> str:
    """A copy of `mean_mass` with one bug."""
    assert right in source
    changed = source.replace(right, wrong)
    return changed.replace(SHIFT, HEALTHY) if right != SHIFT else changed


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Which tests of the suite fail on each broken copy of `mean_mass`, and what they say."""
    folder, root = tmp_path_factory.mktemp("broken"), Path(mean_mass.__file__).parents[2]
    source = Path(mean_mass.__file__).read_text(encoding="utf-8")
    for name, (right, wrong, *_) in BUGS.items():
        (folder / f"{name}.py").write_text(broken(source, right, wrong))
    (folder / "healthy.py").write_text(broken(source, 'SITE = "residual"', 'SITE = "residual"'))
    (folder / "test_broken.py").write_text(SUITE.format(names=[*BUGS, "healthy"]))
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--junitxml=said.xml"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([*command, "test_broken.py"], cwd=folder, env=environment, capture_output=True, check=False)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in ElementTree.parse(folder / "said.xml").iter("testcase"):
        test, _, variant = case.attrib["name"].rstrip("]").partition("[")
        for trouble in (*case.iter("failure"), *case.iter("error")):
            for name in {*BUGS, "healthy"} & set(variant.split("-")):
                found[name][test] = trouble.attrib["message"]
    return found


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_fails_exactly_one_check_which_names_it(bug: str, failures: dict[str, dict[str, str]]) -> None:
    *_, check, message = BUGS[bug]
    assert [*failures[bug]] == [check]
    assert message in failures[bug][check]


def test_what_the_bugs_were_planted_in_fails_no_check(failures: dict[str, dict[str, str]]) -> None:
    assert failures["healthy"] == {}
