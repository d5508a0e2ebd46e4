"""Every check found by name keeps the contract, and the contract catches planted bugs."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from steerkit.filters import loops
from steerkit.plugins import load, sources
from steerkit.testing import FilterContract


class TestEveryFilter(FilterContract):
    @pytest.fixture(params=list(sources("filters")))
    def check(self, request: pytest.FixtureRequest) -> Any:
        return load("filters", request.param)


DOC = "test_the_docstring_says_what_it_is_and_where_from"
SETTINGS = "test_it_says_what_is_counted_and_which_side_is_kept"
ANY = "test_it_measures_any_text_in_words_and_inside_it"
BARE = "test_a_text_without_base_kept_or_pieces"
SAME = "test_it_is_deterministic_and_leaves_its_arguments_alone"
HEALTHY = "test_a_healthy_text_is_kept"
LONG = "test_a_long_text_takes_no_long_time"
FOUND = "found = words(completion.text)"
RETURN = "return Measurement(worst.value, reason, *of_words(found, worst))"
BUGS = {
    "uncited": ("Source:", "See:", {DOC}),
    "boastful": ("It fails on", "It is good at", {DOC}),
    "sideless": ('= "at least"', '= "above"', {SETTINGS}),
    "endless": ("THRESHOLD = 0.66", 'THRESHOLD = float("inf")', {SETTINGS, HEALTHY}),
    "wordless": (RETURN, 'return Measurement(worst.value, "")', {ANY}),
    "outside": (RETURN, "return Measurement(worst.value, reason, 0, len(completion.text) + 1)", {ANY}),
    "half_a_span": (RETURN, "return Measurement(worst.value, reason, 0)", {ANY}),
    "hungry": (FOUND, f"{FOUND[:-1]} + background.base['p1'][0])", {ANY, BARE}),
    "piecemeal": (FOUND, "found = words(''.join(completion.pieces))", {BARE}),
    "moody": (RETURN, "import random; return Measurement(random.random() / 9 + 0.8, reason)", {SAME}),
    "changing": (FOUND, f"{FOUND}; completion.token_kl.append(0.0)", {SAME}),
    "strict": ("THRESHOLD = 0.66", "THRESHOLD = 1.01", {HEALTHY}),
    "slow": (FOUND, f"import time; time.sleep(len(completion.text) / 8000); {FOUND}", {LONG}),
}
SUITE = """
import importlib, pytest
from steerkit.testing import FilterContract

class TestBroken(FilterContract):
    @pytest.fixture(params={names!r})
    def check(self, request):
        return importlib.import_module(request.param)
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which tests of the suite fail on each broken copy of `loops`."""
    folder, root = tmp_path_factory.mktemp("broken"), Path(loops.__file__).parents[2]
    source = Path(loops.__file__).read_text(encoding="utf-8")
    for name, (right, wrong, _) in BUGS.items():
        assert right in source, right
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
