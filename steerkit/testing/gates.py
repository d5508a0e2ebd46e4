"""What every gate must declare."""

import inspect
from typing import Any, ClassVar

import pytest

from steerkit.plugins import load
from steerkit.spec import Setting


class GateContract:
    """What every gate must declare; set `name`."""

    name: ClassVar[str]

    @pytest.fixture
    def gate(self) -> Any:
        """The gate under test."""
        return load("gates", self.name)

    def test_it_asks_one_question(self, gate: Any) -> None:
        assert gate.QUESTION.strip().endswith("?"), "QUESTION must be a question"

    def test_its_thresholds_have_defaults_and_are_hashable_settings(self, gate: Any) -> None:
        assert isinstance(gate.Config(), Setting), "Config() must be a steerkit.spec.Setting with defaults"

    def test_every_threshold_says_its_unit(self, gate: Any) -> None:
        kinds = [kind for kind in gate.Config.__mro__ if issubclass(kind, Setting)]
        source = "".join(inspect.getsource(kind) for kind in kinds)
        for name in gate.Config.__struct_fields__:
            below = source.partition(f"    {name}: ")[2].split('"""')
            said = below[1] if len(below) > 1 else ""
            assert said.rstrip(".").endswith(")"), f"the text below {name} must end with its unit in parentheses"

    def test_its_checks_have_names_of_their_own(self, gate: Any) -> None:
        names = [check.__name__ for check in gate.CHECKS]
        assert names and len(names) == len(set(names)), "CHECKS must be functions with names that differ"
