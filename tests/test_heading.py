"""Where directions point: the cosine of two, and one projected on another."""

import pytest
import torch
from tiny_steered import fitted

from steerkit.errors import RunError, UsageError
from steerkit.plugins import load_method
from steerkit.stages.heading import cosine_between, projected
from steerkit.stages.steer import Fitted

AXES = {1: torch.eye(4)[0], 2: torch.eye(4)[1]}


def test_a_direction_points_where_it_points() -> None:
    assert cosine_between(fitted(AXES), fitted({b: 3 * v for b, v in AXES.items()})) == pytest.approx(1.0)
    assert cosine_between(fitted(AXES), fitted({b: -v for b, v in AXES.items()})) == pytest.approx(-1.0)
    assert cosine_between(fitted(AXES), fitted({1: AXES[1], 2: AXES[1]})) == pytest.approx(0.5)


def test_directions_of_other_blocks_are_not_compared() -> None:
    with pytest.raises(RunError, match="the same blocks"):
        cosine_between(fitted(AXES), fitted({1: AXES[1]}))


def test_what_is_projected_lies_along_the_other_and_keeps_its_share() -> None:
    fresh = fitted({1: torch.tensor([3.0, 4.0, 0.0, 0.0]), 2: torch.tensor([0.0, -2.0, 5.0, 0.0])})
    found = projected(fresh, fitted({block: 7 * axis for block, axis in AXES.items()}))
    assert torch.equal(found.states[1]["vector"], torch.tensor([3.0, 0.0, 0.0, 0.0]))
    assert torch.equal(found.states[2]["vector"], torch.tensor([0.0, -2.0, 0.0, 0.0]))
    assert (found.direction_id, found.kind) == (fresh.direction_id, fresh.kind)


def test_a_state_of_more_than_a_vector_is_not_projected() -> None:
    gated = Fitted(
        "g", "cosine_gated", "real", load_method("cosine_gated").Config(), {1: {"vector": AXES[1], "more": AXES[1]}}
    )
    with pytest.raises(UsageError, match="learns more, vector"):
        projected(gated, fitted({1: AXES[1]}))
