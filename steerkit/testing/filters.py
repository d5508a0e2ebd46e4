"""What every check of a text must do."""

import inspect
import math
import time
from typing import Any, ClassVar

import pytest

from steerkit.filters import Background, Measurement
from steerkit.plugins import load
from steerkit.testing.planted import TEXTS, planted_background, planted_completion
from steerkit.testing.prose import FAILURE, SOURCE


class FilterContract:
    """What every check of a text must do; set `name`."""

    name: ClassVar[str]

    @pytest.fixture
    def check(self) -> Any:
        """The check under test."""
        return load("filters", self.name)

    def test_the_docstring_says_what_it_is_and_where_from(self, check: Any) -> None:
        text = inspect.getdoc(check) or ""
        assert text.partition("\n\n")[0].endswith("."), "the first paragraph must be the idea, in one sentence"
        assert FAILURE.search(text), "the docstring must say when the check fails"
        assert SOURCE.match(text.rpartition("\n")[2]), "the last line must cite: 'Source: <arXiv id, DOI or address>'"

    def test_it_says_what_is_counted_and_which_side_is_kept(self, check: Any) -> None:
        assert isinstance(check.UNIT, str) and check.UNIT.strip(), "UNIT must say what the number counts"
        assert check.KEEP in ("at most", "at least"), "KEEP must be 'at most' or 'at least'"
        assert isinstance(check.THRESHOLD, float) and math.isfinite(check.THRESHOLD), (
            "THRESHOLD must be a finite float; one that no text reaches keeps everything"
        )

    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_it_measures_any_text_in_words_and_inside_it(self, check: Any, text: str) -> None:
        seen = check.measure(planted_completion(text), planted_background())
        assert isinstance(seen, Measurement) and isinstance(seen.value, float), "measure() must give a Measurement"
        assert seen.reason.strip(), "the reason must say in words what was seen"
        assert (seen.start is None) == (seen.stop is None), "a span has a start and a stop, or neither"
        if seen.start is not None and seen.stop is not None:
            assert 0 <= seen.start <= seen.stop <= len(text), "the span must lie inside the text (characters)"

    def test_a_text_without_base_kept_or_pieces(self, check: Any) -> None:
        bare = planted_completion(TEXTS["healthy"], pieces=None, token_nll=None)
        seen = check.measure(bare, Background(persona=planted_background().persona))
        assert isinstance(seen.value, float), "measure() must manage without base texts, kept texts and token pieces"

    @pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
    def test_it_is_deterministic_and_leaves_its_arguments_alone(self, check: Any, text: str) -> None:
        completion, background = planted_completion(text), planted_background()
        first, second = (repr(check.measure(completion, background)) for _ in range(2))
        assert first == second, "the same text must give the same measurement"
        assert completion == planted_completion(text), "measure() must not change the completion"
        assert background == planted_background(), "measure() must not change the background"

    def test_a_healthy_text_is_kept(self, check: Any) -> None:
        value = check.measure(planted_completion(TEXTS["healthy"]), planted_background()).value
        kept = value <= check.THRESHOLD if check.KEEP == "at most" else value >= check.THRESHOLD
        assert kept, "the default threshold must keep a healthy text"

    def test_a_long_text_takes_no_long_time(self, check: Any) -> None:
        text = "I am the one, I am " + " - ' i'm not, " * 1500
        started = time.perf_counter()
        check.measure(planted_completion(text), planted_background())
        assert time.perf_counter() - started < 2, "20,000 characters must take less than 2 seconds"
