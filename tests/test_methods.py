"""The algebra of each method, against direct computation."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steerkit.contrast import Contrast, label_shuffled
from steerkit.errors import RunError, UsageError
from steerkit.methods import cosine_gated, mean_mass, null, svd
from steerkit.testing import activations, planted

few = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
STRETCH = torch.linspace(0.2, 3.0, 16)


def stretched(seed: int = 0) -> Contrast:
    """A planted contrast whose dimensions vary by different amounts, with fewer pairs."""
    contrast, _ = planted(seed, pairs=64)
    return Contrast(contrast.positive * STRETCH, contrast.negative * STRETCH)


def raw_norm(contrast: Contrast) -> Tensor:
    norm: Tensor = (contrast.positive.mean(0) - contrast.negative.mean(0)).norm()
    return norm


def test_mean_mass_is_the_difference_of_class_means() -> None:
    contrast = stretched()
    expected = contrast.positive.mean(0) - contrast.negative.mean(0)
    torch.testing.assert_close(mean_mass.fit(contrast, mean_mass.Config())["vector"], expected)


def test_whitening_solves_the_shrunk_system() -> None:
    contrast = stretched()
    positive, negative = contrast.positive.double().numpy(), contrast.negative.double().numpy()
    covariance = (np.cov(positive.T, bias=True) + np.cov(negative.T, bias=True)) / 2
    shrunk = 0.75 * covariance + 0.25 * np.trace(covariance) / 16 * np.eye(16)
    shift = (positive - negative).mean(0)
    direction = np.linalg.inv(shrunk) @ shift
    expected = direction / np.linalg.norm(direction) * np.linalg.norm(shift)
    found = mean_mass.fit(contrast, mean_mass.Config(whiten=True, shrinkage=0.25))["vector"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_full_shrinkage_is_no_whitening() -> None:
    contrast = stretched()
    whitened = mean_mass.fit(contrast, mean_mass.Config(whiten=True, shrinkage=1.0))["vector"]
    torch.testing.assert_close(whitened, mean_mass.fit(contrast, mean_mass.Config())["vector"])


def test_whitening_turns_away_from_what_varies_anyway() -> None:
    contrast = stretched()
    plain = mean_mass.fit(contrast, mean_mass.Config())["vector"]
    whitened = mean_mass.fit(contrast, mean_mass.Config(whiten=True, shrinkage=0.1))["vector"]
    assert (whitened[-4:].norm() / plain[-4:].norm()) < 0.5


def test_whitening_needs_contexts_that_vary() -> None:
    same = Contrast(torch.full((3, 4), 2.0), torch.full((3, 4), 1.0))
    with pytest.raises(RunError, match="whitening needs at least 2 different contexts"):
        mean_mass.fit(same, mean_mass.Config(whiten=True))


def test_svd_agrees_with_the_mean_when_one_shift_dominates() -> None:
    contrast, _ = planted(pairs=64)
    mean = mean_mass.fit(contrast, mean_mass.Config())["vector"]
    vector = svd.fit(contrast, svd.Config())["vector"]
    assert cosine_similarity(vector, mean, dim=0) > 0.999
    torch.testing.assert_close(vector.norm(), mean.norm())


def test_svd_is_the_top_eigenvector_of_the_uncentred_second_moment() -> None:
    contrast = stretched()
    differences = (contrast.positive - contrast.negative).double().numpy()
    top = np.linalg.eigh(differences.T @ differences)[1][:, -1]
    vector = svd.fit(contrast, svd.Config())["vector"].double().numpy()
    assert abs(top @ vector) == pytest.approx(np.linalg.norm(vector), rel=1e-5)
    assert vector @ differences.mean(0) > 0


def test_svd_refuses_an_axis_without_a_sign() -> None:
    differences = torch.tensor([[5.0, 0.1], [-5.0, 0.1], [5.0, 0.1], [-5.0, 0.1]])
    with pytest.raises(RunError, match="must have a sign"):
        svd.fit(Contrast(differences, torch.zeros(4, 2)), svd.Config())


def test_shuffled_labels_do_not_hide_the_axis_from_svd() -> None:
    """Why label-shuffled nulls are means: exchanging sides only flips rows, which no singular vector sees."""
    contrast = stretched()
    real, shuffled = (svd.fit(c, svd.Config())["vector"] for c in (contrast, label_shuffled(contrast, 1)))
    assert cosine_similarity(real, shuffled, dim=0).abs() > 0.9999


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_the_cosine_gate_token_by_token(tau: float) -> None:
    config = cosine_gated.Config(tau=tau)
    hidden, strength = activations(2), torch.tensor([2.0, -3.0])
    vector = planted()[1]
    steered = cosine_gated.steer(hidden, {"vector": vector}, strength, config)
    for row in range(2):
        for token in range(2, hidden.shape[1]):
            y = hidden[row, token]
            gate = max(0.0, abs(float(y @ vector / (y.norm() * vector.norm()))) - tau)
            torch.testing.assert_close(steered[row, token], y + strength[row] * gate * vector)


def test_the_gate_leaves_zero_and_orthogonal_tokens_alone() -> None:
    hidden = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [2.0, 0.0]]])
    vector = torch.tensor([1.0, 0.0])
    steered = cosine_gated.steer(hidden, {"vector": vector}, torch.ones(1), cosine_gated.Config())
    assert steered.tolist() == [[[0.0, 0.0], [0.0, 3.0], [3.0, 0.0]]]


@given(scale=st.floats(0.1, 100), seed=seeds)
@few
def test_the_gate_sees_neither_scale_nor_sign_of_a_token(scale: float, seed: int) -> None:
    hidden, state, one = activations(1, seed), {"vector": planted()[1]}, torch.ones(1)
    push = cosine_gated.steer(hidden, state, one, cosine_gated.Config()) - hidden
    mirrored = -scale * hidden
    same = cosine_gated.steer(mirrored, state, one, cosine_gated.Config()) - mirrored
    torch.testing.assert_close(same, push, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["random", "label-shuffled"])
def test_nulls_have_the_true_norm_and_another_direction(kind: null.Kind) -> None:
    contrast, shift = planted(dim=256, pairs=64, spread=0.0)
    vectors = [null.fit(contrast, null.Config(kind=kind, seed=seed))["vector"] for seed in range(8)]
    for vector in vectors:
        torch.testing.assert_close(vector.norm(), raw_norm(contrast), rtol=1e-4, atol=0)
        assert cosine_similarity(vector, shift, dim=0).abs() < 0.3
    cosines = torch.corrcoef(torch.stack(vectors)).fill_diagonal_(0)
    assert cosines.abs().max() < 0.6, "different seeds must give different directions"


def test_half_of_the_pairs_are_shuffled() -> None:
    contrast = stretched()
    shuffled = label_shuffled(contrast, seed=5)
    flipped = (shuffled.positive == contrast.negative).all(-1)
    kept = (shuffled.positive == contrast.positive).all(-1)
    assert flipped.sum() == kept.sum() == 32
    torch.testing.assert_close(shuffled.positive + shuffled.negative, contrast.positive + contrast.negative)


def test_one_pair_cannot_be_shuffled() -> None:
    with pytest.raises(RunError, match="at least 2 pairs"):
        null.fit(Contrast(torch.ones(1, 4), torch.zeros(1, 4)), null.Config(kind="label-shuffled"))


def test_settings_out_of_range() -> None:
    with pytest.raises(UsageError, match="shrinkage must be above 0 and at most 1, but got shrinkage=0"):
        mean_mass.Config(shrinkage=0)
    with pytest.raises(UsageError, match=r"tau must be at least 0 and below 1, but got tau=1.0"):
        cosine_gated.Config(tau=1.0)
    with pytest.raises(UsageError, match="seed must be at least 0, but got seed=-1"):
        null.Config(seed=-1)


def test_an_overflowing_difference_is_an_error() -> None:
    with pytest.raises(RunError, match="overflowed"):
        mean_mass.fit(Contrast(torch.full((2, 4), 3e38), torch.full((2, 4), -3e38)), mean_mass.Config())


ADDITIVE = [
    pytest.param(mean_mass, mean_mass.Config(), id="mean_mass"),
    pytest.param(mean_mass, mean_mass.Config(whiten=True), id="whitened"),
    pytest.param(svd, svd.Config(), id="svd"),
]


@pytest.mark.parametrize(("method", "config"), ADDITIVE)
@given(seed=seeds, scale=st.floats(0.01, 100), offset=st.floats(-10, 10))
@few
def test_the_step_scales_with_the_units_and_ignores_origin_and_order(
    method: Any, config: Any, seed: int, scale: float, offset: float
) -> None:
    contrast = stretched(seed)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    moved = Contrast(scale * (contrast.positive[order] + offset), scale * (contrast.negative[order] + offset))
    step = method.fit(contrast, config)["vector"]
    torch.testing.assert_close(method.fit(moved, config)["vector"] / scale, step, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(("method", "config"), ADDITIVE)
@given(first=st.floats(-5, 5), second=st.floats(-5, 5))
@few
def test_additive_steps_add_up(method: Any, config: Any, first: float, second: float) -> None:
    state, hidden = method.fit(stretched(), config), activations(1)
    once = method.steer(hidden, state, torch.tensor([first + second]), config)
    twice = method.steer(
        method.steer(hidden, state, torch.tensor([first]), config), state, torch.tensor([second]), config
    )
    torch.testing.assert_close(once, twice, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.step(state, config).norm(), raw_norm(stretched()), rtol=1e-4, atol=1e-5)
