"""Every schedule's factors are those that its formula gives, and its text names it again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerkit.errors import UsageError
from steerkit.schedule import DEFAULT_HALF, KINDS, Schedule, parse

FORMS = {
    "constant": Schedule(),
    "linear": Schedule("linear", 0.0),
    "linear:0": Schedule("linear", 0.0),
    "linear:0.3": Schedule("linear", 0.3),
    "linear:1": Schedule("linear", 1.0),
    "exp": Schedule("exp", DEFAULT_HALF),
    "exp:4": Schedule("exp", 4.0),
    "exp:0.5": Schedule("exp", 0.5),
    "prompt-only": Schedule("prompt-only"),
    "generated-only": Schedule("generated-only"),
}


@pytest.mark.parametrize(("text", "schedule"), FORMS.items())
def test_every_form_is_read(text: str, schedule: Schedule) -> None:
    assert parse(text) == schedule == parse(str(schedule))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"unknown schedule ''; known: constant, exp, generated-only, linear, prompt-only"),
        ("liner", r"unknown schedule 'liner'; did you mean 'linear'\?"),
        ("Linear", "unknown schedule 'Linear'"),
        (" exp", "unknown schedule"),
        ("constant:1", r"'constant' takes no number, but got 'constant:1'"),
        ("prompt-only:2", "takes no number"),
        ("generated-only:", "takes no number"),
        ("linear:", r"must be KIND or KIND:NUMBER, such as exp:40, but got 'linear:'"),
        ("exp:forty", "must be KIND or KIND:NUMBER"),
        ("exp:4:4", "must be KIND or KIND:NUMBER"),
        ("linear:1.01", "must be a fraction from 0 to 1, but got 'linear:1.01'"),
        ("linear:-0.1", "must be a fraction from 0 to 1"),
        ("linear:nan", "must be a fraction from 0 to 1"),
        ("exp:0", "must be a number of tokens above 0, but got 'exp:0'"),
        ("exp:-3", "must be a number of tokens above 0"),
        ("exp:inf", "must be a number of tokens above 0"),
        ("exp:nan", "must be a number of tokens above 0"),
    ],
)
def test_what_names_no_schedule_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert caught.value.exit_code == 2


@given(
    st.one_of(
        st.builds(Schedule, st.just("linear"), st.floats(0, 1)),
        st.builds(Schedule, st.just("exp"), st.floats(0, exclude_min=True, allow_infinity=False)),
        st.builds(Schedule, st.sampled_from(["constant", "prompt-only", "generated-only"])),
    )
)
def test_the_text_names_the_very_schedule(schedule: Schedule) -> None:
    assert parse(str(schedule)) == schedule


def test_a_short_number_stays_short() -> None:
    assert [str(parse(text)) for text in ("exp", "exp:4", "linear:0.3", "constant")] == [
        "exp:40",
        "exp:4",
        "linear:0.3",
        "constant",
    ]


def test_the_factors_are_those_of_the_formulas() -> None:
    found = {text: [FORMS[text].generated(place, 4) for place in range(5)] for text in FORMS}
    assert found["constant"] == found["linear:1"] == found["generated-only"] == [1.0] * 5
    assert found["prompt-only"] == [0.0] * 5
    assert found["linear"] == [0.75, 0.5, 0.25, 0.0, 0.0]
    assert found["linear:0.3"] == pytest.approx([0.825, 0.65, 0.475, 0.3, 0.3])
    assert found["exp:0.5"] == [0.25, 0.0625, 0.25**3, 0.25**4, 0.25**5]
    assert FORMS["exp"].generated(39, 512) == 0.5 and FORMS["exp:4"].generated(7, 10) == 0.25
    assert {text: FORMS[text].prompt() for text in FORMS} == dict.fromkeys(FORMS, 1.0) | {"generated-only": 0.0}


@given(st.sampled_from(KINDS), st.integers(1, 500))
def test_factors_are_fractions_that_never_rise(kind: str, length: int) -> None:
    factors = [parse(kind).generated(place, length) for place in range(length)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(later <= earlier for earlier, later in pairwise(factors))
