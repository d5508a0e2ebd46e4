"""Contract suites: what every method, gate and filter must do, ours and a plugin author's alike.

    from steerkit.testing import MethodContract

    class TestMine(MethodContract):
        name = "mine"

Run with pytest; `mine` is the file's name in `steerkit/methods`, or an entry point of the group `steerkit.methods`.
A bug fails the one check that names it: checks that would only repeat it are skipped, and say what they presuppose.
"""

from steerkit.testing.filters import FilterContract
from steerkit.testing.gates import GateContract
from steerkit.testing.methods import MethodContract
from steerkit.testing.planted import activations, planted, planted_background, planted_completion

__all__ = [
    "FilterContract",
    "GateContract",
    "MethodContract",
    "activations",
    "planted",
    "planted_background",
    "planted_completion",
]
