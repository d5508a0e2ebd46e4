"""What every steering method must do."""

import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import pytest
import torch
from safetensors.torch import load, save

from steerkit.contrast import Contrast, swapped
from steerkit.errors import SteerkitError, UsageError
from steerkit.plugins import Bakeable, Method, load_method
from steerkit.spec import Setting
from steerkit.testing import checks
from steerkit.testing.checks import Check, Subject
from steerkit.testing.planted import activations, planted
from steerkit.testing.prose import FAILURE, SOURCE


def _wrong_values(config: Setting) -> Iterator[tuple[str, Any]]:
    """A value of the right kind but outside any range, for each setting where one exists."""
    for field in msgspec.structs.fields(config):
        value = msgspec.structs.asdict(config)[field.name]
        if isinstance(value, float):
            yield field.name, float("nan")
        elif isinstance(value, str):
            yield field.name, "no such value"


SOUND = (checks.leaves_arguments_alone, checks.keeps_shape_and_dtype)
"""What every other check of steering presupposes."""


def _presuppose(subject: Subject, *needed: Check) -> None:
    """Skip, visibly, where a simpler check fails: that one names the bug, and this one would only repeat it."""
    for check in needed:
        try:
            check(subject)
        except AssertionError:
            pytest.skip(f"presupposes a check that fails: {check.__doc__}")


class MethodContract:
    """What every steering method must do; set `name`, and `settings` to prove other settings than the defaults."""

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def method(self) -> Method:
        """The method under test."""
        return load_method(self.name)

    @pytest.fixture
    def config(self, method: Method) -> Setting:
        """Its validated settings."""
        config: Setting = msgspec.convert(self.settings, method.Config)
        return config

    @pytest.fixture
    def subject(self, method: Method, config: Setting) -> Subject:
        """The method with its settings."""
        return Subject(method, config)

    @pytest.fixture
    def trait_bearing(self, method: Method) -> None:
        """Skip, visibly, for a control that must not carry the trait, and a method that learns something else."""
        if vars(method).get("NULL", False):
            pytest.skip("a null carries no trait (NULL = True)")
        if "NOT_THE_SHIFT" in vars(method):
            pytest.skip(f"its step is not the mean shift: {vars(method)['NOT_THE_SHIFT']}")

    def test_arguments_are_not_mutated(self, subject: Subject) -> None:
        checks.leaves_arguments_alone(subject)

    def test_shape_and_dtype_are_kept(self, subject: Subject) -> None:
        checks.keeps_shape_and_dtype(subject)

    def test_strength_zero_is_the_identity_to_the_bit(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        checks.is_the_identity_at_zero(subject)

    def test_one_strength_per_row_equals_row_by_row(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        checks.reads_each_row(subject)

    def test_one_token_at_a_time_equals_all_at_once(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        checks.reads_each_token(subject)

    def test_strength_decides_how_far_it_goes(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        checks.grows_with_strength(subject)

    def test_no_strength_that_calibration_tries_gives_nan(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        checks.stays_finite(subject)

    @pytest.mark.usefixtures("trait_bearing")
    @pytest.mark.parametrize("seed", range(3))
    def test_a_planted_direction_is_recovered(self, subject: Subject, seed: int) -> None:
        checks.recovers_what_is_planted(subject, seed)

    @pytest.mark.usefixtures("trait_bearing")
    def test_swapping_the_poles_flips_the_step(self, subject: Subject) -> None:
        _presuppose(subject, _recovers)
        method, config = subject.method, subject.config
        flipped = method.fit(swapped(planted()[0]), config)
        torch.testing.assert_close(
            method.step(flipped, config), -method.step(subject.state, config), rtol=1e-4, atol=1e-5
        )

    def test_positive_strength_goes_where_step_says(self, subject: Subject) -> None:
        self._need_a_bounded_step(subject)
        checks.goes_where_step_says(subject)

    def test_strength_one_adds_one_step(self, subject: Subject) -> None:
        self._need_a_bounded_step(subject)
        _presuppose(subject, checks.goes_where_step_says)
        checks.adds_one_step(subject)

    def _need_a_bounded_step(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND, checks.grows_with_strength)
        if checks.turns_or_scales(subject):
            pytest.skip("it turns or scales a token, so that no fixed step says how far it goes")

    def test_no_other_method_does_the_same(self, subject: Subject) -> None:
        if self.settings:
            pytest.skip("asked of a method's defaults: other settings may well make it another method")
        _presuppose(subject, *SOUND)
        checks.has_no_twin(subject)

    def test_state_survives_safetensors(self, subject: Subject) -> None:
        _presuppose(subject, *SOUND)
        hidden, again = activations(2), load(save(subject.state))
        steered = subject.method.steer(hidden, again, torch.tensor([1.0, -0.5]), subject.config)
        assert torch.equal(steered, subject.steer(hidden, 1.0, -0.5)), "the state must be all that steer reads"

    def test_fitting_is_deterministic_and_leaves_the_global_seed_alone(self, method: Method, config: Setting) -> None:
        before = torch.get_rng_state()
        first, second = (method.fit(planted()[0], config) for _ in range(2))
        assert save(first) == save(second), "the same contrast and config must give the same state"
        assert torch.equal(before, torch.get_rng_state()), "take randomness from the config's seed"

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_nonfinite_activations_are_an_error(self, method: Method, config: Setting, bad: float) -> None:
        contrast, _ = planted()
        contrast.positive[3, 2] = bad
        with pytest.raises(SteerkitError):
            method.fit(Contrast(contrast.positive, contrast.negative), config)

    def test_poles_that_do_not_differ_are_an_error(self, method: Method, config: Setting) -> None:
        contrast, _ = planted()
        with pytest.raises(SteerkitError, match="must|needs"):
            method.fit(Contrast(contrast.negative, contrast.negative.clone()), config)

    def test_settings_reject_bad_values_clearly(self, method: Method) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no such setting": 1}, method.Config)
        for setting, value in _wrong_values(method.Config()):
            with pytest.raises(UsageError, match=f"{setting} must be .*, but got"):
                method.Config(**{setting: value})

    def test_the_docstring_is_the_paper(self, method: Method) -> None:
        text = inspect.getdoc(method) or ""
        assert SOURCE.match(text.rpartition("\n")[2]), "the last line must cite: 'Source: <arXiv id, DOI or address>'"
        assert text.partition("\n")[0].endswith("."), "the first line must be the idea, in one sentence"
        assert FAILURE.search(text), "the docstring must say when the method fails or degenerates"

    def test_it_bakes_or_says_why_not(self, method: Method) -> None:
        reason = vars(method).get("NOT_BAKEABLE")
        if isinstance(method, Bakeable):
            assert reason is None, "a method has bake() or NOT_BAKEABLE, not both"
        else:
            assert isinstance(reason, str) and len(reason.split()) > 3, "NOT_BAKEABLE must be a sentence that says why"

    def test_baked_equals_steered(self, subject: Subject) -> None:
        if not isinstance(subject.method, Bakeable):
            pytest.skip("not bakeable, and says so")
        _presuppose(subject, *SOUND, checks.reads_each_token, checks.grows_with_strength)
        _presuppose(subject, checks.goes_where_step_says, checks.adds_one_step, checks.reads_each_row)
        checks.bakes_what_it_steers(subject)

    def test_generation_is_the_same_with_and_without_cache(self, subject: Subject) -> None:
        if subject.method.SITE != "residual":
            pytest.skip(
                f"the tiny model is steered at the residual stream, and {subject.method.SITE!r} is another site"
            )
        _presuppose(subject, *SOUND, checks.reads_each_row, checks.reads_each_token)
        checks.generates_alike_with_cache(subject)


def _recovers(subject: Subject) -> None:
    """The step points at the planted shift."""
    checks.recovers_what_is_planted(subject, 0)
