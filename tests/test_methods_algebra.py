"""What the algebra of a method predicts, and the places where its arithmetic can go wrong."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steerkit.contrast import Contrast, swapped
from steerkit.errors import RunError, UsageError
from steerkit.methods import (
    angular,
    chars,
    cosine_gated,
    directional_ablation,
    linear_act,
    local_ablation,
    mean_centred,
    mean_mass,
    pca,
    spherical,
    sspace,
    sspace_ablate,
    sspace_damp_amp,
    super_sspace,
    svd,
    topk_clusters,
)
from steerkit.methods._clusters import clustered
from steerkit.testing import activations, planted

few = settings(max_examples=25, deadline=None, derandomize=True)
ONE = torch.ones(1)


def steered(
    method: Any, hidden: Tensor, strength: float, config: Any = None, contrast: Contrast | None = None
) -> Tensor:
    config = config or method.Config()
    state = method.fit(contrast or planted()[0], config)
    result: Tensor = method.steer(hidden, state, torch.full((len(hidden),), strength), config)
    return result


def vector(method: Any, contrast: Contrast, **given: Any) -> Tensor:
    config = method.Config(**given)
    step: Tensor = method.step(method.fit(contrast, config), config)
    return step


# Additive ones.


@given(seed=st.integers(0, 1000), pairs=st.integers(1, 40))
@few
def test_with_equal_groups_mean_centred_is_half_of_mean_mass(seed: int, pairs: int) -> None:
    contrast, _ = planted(seed, pairs=pairs)
    torch.testing.assert_close(vector(mean_centred, contrast), vector(mean_mass, contrast) / 2, rtol=1e-4, atol=1e-6)


def test_pca_is_the_principal_component_of_the_differences() -> None:
    contrast, _ = planted(pairs=64)
    found = vector(pca, contrast, components=1)
    oracle = PCA(1).fit((contrast.positive - contrast.negative).numpy()).components_[0]
    assert abs(float(cosine_similarity(found, torch.tensor(oracle), dim=0))) > 0.9999


def test_pca_loses_the_shift_that_all_pairs_share_and_svd_keeps_it() -> None:
    contrast, shift = planted(pairs=64, spread=0.0)
    assert cosine_similarity(vector(svd, contrast), shift, dim=0) > 0.999
    assert cosine_similarity(vector(pca, contrast), shift, dim=0).abs() < 0.7


def test_pca_votes_on_the_sign_and_the_longest_breaks_a_tie() -> None:
    side = torch.tensor([[1.0, 0.1], [1.0, 0.1], [-5.0, 0.1]])
    assert vector(pca, Contrast(side, torch.zeros(3, 2)))[0] > 0, "two of three lie on the positive side"
    tied = torch.tensor([[1.0, 0.1], [-5.0, 0.1]])
    assert vector(pca, Contrast(tied, torch.zeros(2, 2)))[0] < 0


def test_pca_sums_its_components() -> None:
    contrast, _ = planted(pairs=64)
    one, three = vector(pca, contrast), vector(pca, contrast, components=3)
    torch.testing.assert_close(three.norm(), one.norm())
    assert cosine_similarity(one, three, dim=0) == pytest.approx(1 / math.sqrt(3), abs=1e-4)


def test_pca_needs_as_many_axes_as_components() -> None:
    with pytest.raises(RunError, match="must vary along at least 1 axes, but got 0 over 1 pairs"):
        pca.fit(Contrast(torch.ones(1, 4), torch.zeros(1, 4)), pca.Config())


# Turning ones.


@pytest.mark.parametrize("method", [spherical, angular])
def test_turning_keeps_every_token_s_length(method: Any) -> None:
    hidden = activations(2)
    for strength in (0.1, -0.4, 1.0, 3.0):
        torch.testing.assert_close(steered(method, hidden, strength).norm(dim=-1), hidden.norm(dim=-1))


def test_spherical_goes_its_share_of_the_angle_in_the_plane_of_token_and_pole() -> None:
    hidden, (contrast, _) = activations(1)[:, 2:], planted()
    pole = vector(spherical, contrast)
    before = torch.acos(cosine_similarity(hidden, pole, dim=-1))
    after = torch.acos(cosine_similarity(steered(spherical, hidden, 0.25), pole, dim=-1))
    torch.testing.assert_close(after, 0.75 * before, rtol=1e-3, atol=1e-3)
    planes = torch.stack([hidden[0], steered(spherical, hidden, 0.25)[0], pole.expand_as(hidden[0])], dim=1)
    assert torch.linalg.svdvals(planes)[:, 2].max() < 1e-4, "token, result and pole lie in one plane"


def test_spherical_at_and_opposite_the_pole() -> None:
    """The usual formula divides by sin(angle), which is 0 at both."""
    pole = vector(spherical, planted()[0])
    hidden = torch.stack([3 * pole, -2 * pole, 0 * pole, 1e-30 * pole, 1e30 * pole])[None]
    for strength in (0.01, 0.5, 1.0, -0.3):
        turned = steered(spherical, hidden, strength)
        assert turned.isfinite().all()
        torch.testing.assert_close(turned[0, :3], hidden[0, :3], rtol=1e-4, atol=1e-4)


def test_spherical_near_the_pole_still_arrives() -> None:
    pole, aside = vector(spherical, planted()[0]), torch.eye(16)[:1]
    near = (pole + 1e-3 * aside)[None]
    torch.testing.assert_close(
        cosine_similarity(steered(spherical, near, 1.0), pole, dim=-1), torch.ones(1, 1), rtol=0, atol=1e-6
    )


def test_angular_leaves_what_is_outside_the_plane_alone() -> None:
    hidden, (contrast, _) = activations(2), planted()
    state = angular.fit(contrast, angular.Config())
    plane = torch.stack([state["vector"] / state["vector"].norm(), state["second"]])
    torch.testing.assert_close(plane @ plane.T, torch.eye(2), rtol=0, atol=1e-5)
    before, after = (h - h @ plane.T @ plane for h in (hidden, steered(angular, hidden, 0.6)))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_angular_at_strength_one_is_the_published_target_angle_of_zero() -> None:
    hidden, (contrast, _) = activations(1), planted()
    state = angular.fit(contrast, angular.Config())
    plane = torch.stack([state["vector"] / state["vector"].norm(), state["second"]])
    inside = hidden @ plane.T
    target = hidden - inside @ plane + inside.norm(dim=-1, keepdim=True) * plane[0]
    torch.testing.assert_close(steered(angular, hidden, 1.0), target, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [spherical, angular, local_ablation, sspace_ablate, linear_act, sspace_damp_amp])
def test_a_small_strength_does_little(method: Any) -> None:
    """Published forms of angular steering and ablation jump as the strength leaves 0; a dose needs them not to."""
    hidden = activations(2)
    change = (steered(method, hidden, 1e-4) - hidden).norm() / hidden.norm()
    assert 0 < change < 1e-3


@pytest.mark.parametrize("method", [spherical, angular, local_ablation, sspace_ablate])
def test_exchanging_the_poles_is_the_opposite_strength(method: Any) -> None:
    hidden, (contrast, _) = activations(2), planted(pairs=64)
    forward = steered(method, hidden, -0.4, contrast=contrast)
    torch.testing.assert_close(steered(method, hidden, 0.4, contrast=swapped(contrast)), forward, rtol=1e-4, atol=1e-4)


def test_angular_needs_a_plane() -> None:
    base = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RunError, match="a plane needs pairs that differ in more than one direction"):
        angular.fit(Contrast(base + torch.tensor([1.0, 2, 0, 0]), base), angular.Config())


# Ablations.


@pytest.mark.parametrize("strength", [1.0, -1.0, 2.5])
@pytest.mark.parametrize("method", [local_ablation, directional_ablation])
def test_an_ablated_token_has_only_what_is_put_there(method: Any, strength: float) -> None:
    hidden, pole = activations(2), vector(method, planted()[0])
    unit = pole / pole.norm()
    changed = steered(method, hidden, strength)
    torch.testing.assert_close(changed @ unit, torch.full((2, 7), strength) * pole.norm(), rtol=1e-4, atol=1e-4)
    rest, kept = (h - (h @ unit)[..., None] * unit for h in (changed, hidden))
    torch.testing.assert_close(rest, kept, rtol=1e-4, atol=1e-5)


def test_a_share_is_ablated_below_strength_one_only_locally() -> None:
    hidden, pole = 3 * activations(1)[:, 2:], vector(local_ablation, planted()[0])
    unit = pole / pole.norm()
    part = hidden @ unit
    torch.testing.assert_close(steered(local_ablation, hidden, 0.25) @ unit, 0.75 * part + 0.25 * pole.norm())
    torch.testing.assert_close(
        steered(directional_ablation, hidden, 0.25) @ unit, torch.full((1, 5), 0.25) * pole.norm(), rtol=1e-4, atol=1e-4
    )


# Transport.


def test_linear_act_maps_the_negative_pole_onto_the_positive_one() -> None:
    random = torch.Generator().manual_seed(0)
    negative = torch.randn(400, 6, generator=random) * torch.linspace(0.5, 2, 6) + 1
    gains, offsets = torch.linspace(0.3, 3, 6), torch.linspace(-2, 2, 6)
    # In another order: the map is between distributions, not between pairs.
    positive = (negative * gains + offsets)[torch.randperm(400, generator=random)]
    state = linear_act.fit(Contrast(positive, negative), linear_act.Config())
    torch.testing.assert_close(state["omega"], gains, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(state["beta"], offsets, rtol=1e-3, atol=1e-3)
    carried = linear_act.steer(negative[None], state, ONE, linear_act.Config())[0]
    torch.testing.assert_close(carried.sort(0).values, positive.sort(0).values, rtol=1e-3, atol=1e-3)


def test_a_coordinate_that_never_varies_is_only_moved() -> None:
    negative = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    negative[:, 1] = 2.0
    state = linear_act.fit(Contrast(negative + 1.0, negative), linear_act.Config())
    torch.testing.assert_close(state["omega"], torch.ones(3))
    assert state["beta"].isfinite().all()


# Clusters.


def test_chars_with_one_cluster_is_mean_mass() -> None:
    hidden, (contrast, _) = activations(2), planted(pairs=64)
    one = steered(chars, hidden, 0.7, chars.Config(clusters=1), contrast)
    torch.testing.assert_close(one, steered(mean_mass, hidden, 0.7, contrast=contrast), rtol=1e-4, atol=1e-5)


def test_topk_clusters_with_one_cluster_is_mean_mass() -> None:
    hidden, (contrast, _) = activations(2), planted(pairs=64)
    one = steered(topk_clusters, hidden, 0.7, topk_clusters.Config(clusters=1), contrast)
    torch.testing.assert_close(one, steered(mean_mass, hidden, 0.7, contrast=contrast), rtol=1e-4, atol=1e-5)


def test_the_shifts_of_chars_add_up_to_the_mean_difference() -> None:
    contrast, _ = planted(pairs=256)
    state = chars.fit(contrast, chars.Config())
    torch.testing.assert_close(state["shares"] @ state["shifts"], state["vector"], rtol=0.02, atol=0.02)


def two_kinds(scale: float = 1.0) -> Contrast:
    """Two kinds of contexts, each with a shift of its own, and many of each."""
    random = torch.Generator().manual_seed(0)
    kinds = torch.tensor([[30.0, 0, 0, 0], [0, 30.0, 0, 0]])
    shifts = torch.tensor([[0.0, 0, 5.0, 0], [0, 0, 0, 5.0]])
    which = torch.arange(64) % 2
    negative = kinds[which] + torch.randn(64, 4, generator=random)
    return Contrast(scale * (negative + shifts[which]), scale * negative)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_chars_gives_each_kind_its_own_shift_and_large_costs_do_not_underflow(scale: float) -> None:
    """At this scale cost / entropy is far above 80, where exp() of its negative is 0 in float32."""
    contrast = two_kinds(scale)
    config = chars.Config(clusters=2, entropy=0.01)
    state = chars.fit(contrast, config)
    assert all(value.isfinite().all() for value in state.values())
    hidden = scale * torch.tensor([[[30.0, 0, 0, 0], [0, 30.0, 0, 0]]])
    added = (chars.steer(hidden, state, ONE, config) - hidden)[0] / scale
    torch.testing.assert_close(added[:, 2:], 5 * torch.eye(2), rtol=0, atol=0.6)


@pytest.mark.parametrize("entropy", [1e-4, 1e-2, 1.0, 100.0])
def test_a_transport_plan_hands_out_all_of_each_row_whatever_the_cost(entropy: float) -> None:
    cost = torch.tensor([[0.0, 1e3, 2e3], [5e2, 0.0, 1e2]])
    rows, columns = torch.tensor([0.25, 0.75]), torch.tensor([0.25, 0.5, 0.25])
    found = chars.plan(cost, rows, columns, entropy)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), rows, rtol=1e-4, atol=1e-5)


def test_a_plan_of_large_entropy_matches_everything_with_everything() -> None:
    rows, columns = torch.tensor([0.3, 0.7]), torch.tensor([0.6, 0.4])
    found = chars.plan(torch.tensor([[0.0, 1.0], [2.0, 0.5]]), rows, columns, 1e4)
    torch.testing.assert_close(found, torch.outer(rows, columns), rtol=1e-3, atol=1e-3)


def test_chars_at_a_centre_and_far_from_all() -> None:
    config = chars.Config(clusters=2)
    state = chars.fit(two_kinds(), config)
    hidden = torch.cat([state["centres"], torch.full((1, 4), 1e15), torch.zeros(1, 4)])[None]
    added = chars.steer(hidden, state, ONE, config) - hidden
    assert added.isfinite().all()


def test_topk_clusters_gives_each_token_the_shift_it_points_along() -> None:
    config = topk_clusters.Config(clusters=2)
    state = topk_clusters.fit(two_kinds(), config)
    hidden = torch.tensor([[[0.0, 0, 9.0, 1.0], [0, 0, 1.0, 9.0]]])
    added = (topk_clusters.steer(hidden, state, ONE, config) - hidden)[0]
    torch.testing.assert_close(added[:, 2:], 5 * torch.eye(2), rtol=0, atol=1e-4)


def test_no_cluster_points_against_the_mean_difference() -> None:
    random = torch.Generator().manual_seed(0)
    differences = torch.tensor([4.0, 0, 0]) + torch.randn(40, 3, generator=random)
    differences[:6, 0] *= -1
    state = topk_clusters.fit(Contrast(differences, torch.zeros(40, 3)), topk_clusters.Config())
    assert (state["centres"] @ state["vector"] > 0).all()


def test_clusters_are_found_and_shares_add_up() -> None:
    found = clustered(two_kinds().negative, 2, seed=0)
    torch.testing.assert_close(found.shares, torch.full((2,), 0.5))
    assert cosine_similarity(*found.centres, dim=0) < 0.2


def test_fewer_pairs_than_clusters() -> None:
    contrast, _ = planted(pairs=3)
    with pytest.raises(RunError, match="4 clusters need at least as many pairs, but got 3"):
        topk_clusters.fit(contrast, topk_clusters.Config())


# The coordinates of a weight.


def with_weight(weight: Tensor, bias: Tensor | None = None) -> Contrast:
    return replace(planted(pairs=64)[0], weight=weight, bias=bias)


def test_with_all_modes_and_an_orthogonal_weight_sspace_is_cosine_gated() -> None:
    """All singular values of an orthogonal weight are 1: its coordinates are a rotation, which no cosine sees."""
    turned = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    hidden, contrast = activations(2), with_weight(turned)
    expected = steered(cosine_gated, hidden, 2.0, contrast=contrast)
    for method in (sspace, super_sspace):
        torch.testing.assert_close(steered(method, hidden, 2.0, contrast=contrast), expected, rtol=1e-3, atol=1e-4)


def test_with_an_orthogonal_weight_sspace_ablate_is_local_ablation() -> None:
    turned = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    hidden, contrast = activations(2), with_weight(turned)
    for strength in (0.3, 1.0, -2.0):
        expected = steered(local_ablation, hidden, strength, contrast=contrast)
        found = steered(sspace_ablate, hidden, strength, contrast=contrast)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_coordinates_seen_from_the_output_are_those_seen_from_the_input() -> None:
    random = torch.Generator().manual_seed(0)
    weight, inputs, bias = (torch.randn(*s, generator=random) for s in ((6, 4), (5, 4), (6,)))
    state = sspace.fit(Contrast(*torch.randn(2, 8, 6, generator=random), weight, bias), sspace.Config())
    _, values, directions = np.linalg.svd(weight.double().numpy(), full_matrices=False)
    from_input = inputs.double().numpy() @ directions.T * np.sqrt(values)
    output = inputs @ weight.T + bias
    from_output = (output - state["origin"]) @ state["modes"] / state["root"]
    np.testing.assert_allclose(np.abs(from_output.numpy()), np.abs(from_input), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("given", [None, torch.linspace(-1, 1, 16)])
def test_damp_amp_is_a_weight_with_other_singular_values(given: Tensor | None) -> None:
    random = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(16, 16, generator=random), torch.randn(1, 5, 16, generator=random)
    offset = torch.zeros(16) if given is None else given
    contrast, config = with_weight(weight, given), sspace_damp_amp.Config()
    state = sspace_damp_amp.fit(contrast, config)
    found = sspace_damp_amp.steer(inputs @ weight.T + offset, state, torch.tensor([7.0]), config)
    unit = state["shift"] / state["shift"].norm()
    scaled = state["modes"] @ torch.diag((7 * unit).clamp(-4, 4).exp()) @ state["modes"].T @ weight
    torch.testing.assert_close(found, inputs @ scaled.T + offset, rtol=1e-3, atol=1e-3)
    assert torch.linalg.svdvals(scaled).min() > 0, "no mode may be turned round or lost"


def test_damp_amp_raises_modes_in_which_the_positive_pole_is_larger() -> None:
    """Whatever signs the decomposition left: outputs are large and positive or large and negative along each mode."""
    random = torch.Generator().manual_seed(0)
    negative = torch.tensor([5.0, -5.0, 5.0, -5.0]) + torch.randn(64, 4, generator=random)
    larger = torch.tensor([2.0, -2.0, -2.0, 2.0])
    contrast = Contrast(negative + larger, negative, torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])))
    hidden = torch.tensor([[[5.0, -5.0, 5.0, -5.0]]])
    change = (steered(sspace_damp_amp, hidden, 1.0, contrast=contrast).abs() - hidden.abs())[0, 0]
    assert (change[:2] > 0).all() and (change[2:] < 0).all()


@pytest.mark.parametrize("method", [sspace_ablate, sspace_damp_amp])
@pytest.mark.parametrize("strength", [0.4, 1.0, -3.0])
def test_weights_hold_what_acts_on_a_linear_with_a_bias(method: Any, strength: float) -> None:
    random = torch.Generator().manual_seed(0)
    weight, bias, inputs = (torch.randn(*s, generator=random) for s in ((16, 16), (16,), (1, 5, 16)))
    contrast, config = with_weight(weight, bias), method.Config()
    state = method.fit(contrast, config)
    edit = method.bake(state, strength, torch.nn.Identity(), config)
    output = inputs @ weight.T + bias
    held = inputs @ (edit.matrix @ weight).T + (edit.matrix @ bias + edit.bias)
    expected = method.steer(output, state, torch.tensor([strength]), config)
    torch.testing.assert_close(held, expected, rtol=1e-3, atol=1e-3)


def test_modes_without_a_singular_value_are_left_out() -> None:
    """Dividing by the root of a singular value that is rounding would make a signal of noise."""
    weight = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        4, 16, generator=torch.Generator().manual_seed(1)
    )
    for method in (sspace, sspace_ablate, sspace_damp_amp, super_sspace):
        state = method.fit(with_weight(weight), method.Config())
        assert len(state["root"]) == 4
        assert method.steer(1e4 * activations(1), state, ONE, method.Config()).isfinite().all()


def test_only_the_modes_that_differ_most_are_kept() -> None:
    contrast = with_weight(torch.eye(16))
    state = sspace.fit(contrast, sspace.Config(rank=2))
    shift = (contrast.positive - contrast.negative).mean(0)
    assert set(state["modes"].abs().argmax(0).tolist()) == set(shift.abs().topk(2).indices.tolist())


@pytest.mark.parametrize("method", [sspace, sspace_ablate, sspace_damp_amp, super_sspace])
def test_without_a_weight_they_say_what_is_missing(method: Any) -> None:
    with pytest.raises(RunError, match="needs the weights at its site"):
        method.fit(replace(planted()[0], weight=None), method.Config())


def test_poles_that_differ_only_where_the_weight_cannot_write() -> None:
    weight = torch.zeros(4, 4)
    weight[0, 0] = 1.0
    positive = torch.zeros(8, 4)
    positive[:, 3] = 1.0
    with pytest.raises(RunError, match="differ only along what it cannot write"):
        sspace.fit(Contrast(positive, torch.zeros(8, 4), weight), sspace.Config())


def test_settings_out_of_range() -> None:
    for method in (sspace, super_sspace, sspace_ablate, sspace_damp_amp):
        with pytest.raises(UsageError, match="rank must be at least 1, or -1 for all modes, but got rank=0"):
            method.Config(rank=0)
    with pytest.raises(UsageError, match="components must be at least 1, but got components=0"):
        pca.Config(components=0)
    for method in (chars, topk_clusters):
        with pytest.raises(UsageError, match="clusters must be at least 1, but got clusters=0"):
            method.Config(clusters=0)
        with pytest.raises(UsageError, match="seed must be at least 0, but got seed=-1"):
            method.Config(seed=-1)
