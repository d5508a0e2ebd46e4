import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steerkit.contrast import Contrast
from steerkit.evidence import Extraction
from steerkit.health import compression, distinct_share, perplexity, tail
from steerkit.plugins import load_method
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm, Dose
from steerkit.stages import fit
from steerkit.stages.capture import Captured
from steerkit.stages.dose import calibrate, crossing, widened
from steerkit.stages.score import choice, mass, prefill_nll, set_mean_prior
from steerkit.testing import planted

PARAGRAPHS = (
    "The harbour was quiet when the last ferry came in. A man in a yellow coat threw the rope, missed, and laughed "
    "at himself before he tried again. On the quay two children argued about whose turn it was to carry the lantern, "
    "and their mother, who had heard enough, took it from both of them and walked ahead into the dark street.",
    "You should tell your manager before the meeting, not during it. People who hear bad news in front of others "
    "tend to defend themselves first and think later. Write down what you saw, when it happened, and what you would "
    "like to happen next; then ask for ten minutes of her time and let her read the note while you wait.",
    "Bread needs little more than flour, water, salt and patience. Mix the dough in the evening, leave it in a cool "
    "place, and fold it once if you happen to pass by. In the morning it will have doubled; shape it gently, let it "
    "rest while the oven heats, and bake it until the crust sounds hollow under your knuckles.",
)
WORDS = PARAGRAPHS[0].split()[2:14]


def dose(strength: float, figure: float) -> Dose:
    figures = dict.fromkeys(("kl_mean", "kl_rmse", "kl_p50", "kl_p90", "kl_p95", "kl_max"), figure)
    return Dose(run_id="r", unit_id="u", direction_id="d", strength=strength, tokens=8, **figures)


@given(st.floats(1e-3, 10), st.floats(1, 3), st.floats(0.11, 5.5))
def test_a_power_law_is_crossed_where_it_is(factor: float, power: float, truth: float) -> None:
    strengths = [0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6]
    figures = [factor * strength**power for strength in strengths]
    if min(figures) < 1e-8:
        return
    found = crossing(strengths, figures, factor * truth**power)
    assert found is not None and abs(found / truth - 1) < 1e-6


@pytest.mark.parametrize("figures", [[0.1, 0.2, 0.3], [2.0, 3.0, 4.0], [0.0, 0.0, 0.0]])
def test_a_target_that_is_never_crossed_is_none(figures: list[float]) -> None:
    assert crossing([0.5, 1.0, 2.0], figures, 1.0) is None


def test_the_first_crossing_counts() -> None:
    found = crossing([1.0, 2.0, 4.0, 8.0], [0.5, 2.0, 0.5, 2.0], 1.0)
    assert found == pytest.approx(2**0.5)


def test_calibration_sorts_its_rungs_and_says_when_it_failed() -> None:
    rungs = [dose(2.0, 4.0), dose(0.5, 0.25), dose(1.0, 1.0)]
    good, bad = calibrate(rungs, 2.0, "r", "u"), calibrate(rungs, 9.0, "r", "u")
    assert good.status == "calibrated" and good.strength == pytest.approx(2**0.5)
    assert bad.status == "uncalibrated" and bad.strength is None


def test_a_ladder_that_missed_is_widened_on_the_right_side() -> None:
    rungs = [dose(1.0, 0.1), dose(2.0, 0.2)]
    assert widened(rungs, 1.0, 2.0) == [4.0, 8.0]
    assert widened(rungs, 0.01, 2.0) == [0.5, 0.25]


def looks_broken(text: str) -> bool:
    return distinct_share(text) < 0.7 or compression(text) > 2.5


@pytest.mark.parametrize("period", range(1, 13))
@pytest.mark.parametrize("opening", ["", PARAGRAPHS[0]])
def test_a_loop_of_any_period_is_seen(period: int, opening: str) -> None:
    loop = " ".join((WORDS[:period] * 60)[:60])
    assert distinct_share(f"{opening} {loop}") < 0.5
    assert looks_broken(f"{opening} {loop}")


@pytest.mark.parametrize("text", PARAGRAPHS)
def test_ordinary_english_is_healthy(text: str) -> None:
    assert not looks_broken(text)
    assert distinct_share(text) > 0.9 and compression(text) < 2


def test_short_and_empty_texts_are_no_loops() -> None:
    assert distinct_share("") == distinct_share("one two") == compression("") == 1.0
    assert perplexity([]) == float("inf") and perplexity([0.0, 2.0]) == pytest.approx(np.e)
    assert tail([1.0]) == [1.0] and tail([*map(float, range(8))]) == [6.0, 7.0]


def reading(orders: int = 2, rows: int = 21, seed: int = 0) -> tuple[list[Answer], np.ndarray]:
    """Answers with labels of unequal numbers, and the same log-probabilities as `[order vignette 7]`."""
    draw = np.random.default_rng(seed)
    raw = np.log(draw.dirichlet(np.ones(9), (orders, rows)))[..., :7]
    labels = [FOUNDATIONS[min(i // 2, 6)] for i in range(rows)]
    return [
        Answer(
            run_id="r",
            unit_id="u",
            arm_id="a",
            vignette=str(i),
            foundation=labels[i],
            ordering=order,
            outside_mass=1 - float(np.exp(raw[order, i]).sum()),
            prefill_nll=float(order + i),
            think_tokens=0,
            **dict(zip(ANSWER_FIELDS, map(float, raw[order, i]), strict=True)),
        )
        for order in range(orders)
        for i in range(rows)
    ], raw


ARM = Arm(
    run_id="r",
    unit_id="u",
    arm_id="a",
    kind="base",
    method="none",
    direction_id=None,
    strength=0.0,
    dose=0.0,
    eval_hash="e",
    instrument="fewshot",
    system_prompt=None,
)


def test_choice_and_prior_against_plain_numpy() -> None:
    answers, raw = reading()
    labels = np.array([answer.foundation for answer in answers[:21]])
    prior = set_mean_prior(ARM, answers)
    expected = np.stack([np.mean([raw[o][labels == n].mean(0) for n in FOUNDATIONS], 0) for o in range(2)])
    np.testing.assert_allclose(np.array([p.nats for p in prior]).reshape(2, 7), expected)
    for given_prior, offset in ((prior, expected), ([], np.zeros((2, 7)))):
        scores = (raw - offset[:, None]).mean(0)
        np.testing.assert_allclose(choice(answers, given_prior), scores - np.log(np.exp(scores).sum(1, keepdims=True)))
    np.testing.assert_allclose(mass(answers), np.exp(raw).sum(2).mean(0))
    nll = prefill_nll(answers)
    assert nll is not None
    np.testing.assert_allclose(nll, np.arange(21) + 0.5)


def test_the_order_of_answers_does_not_matter_beyond_the_first_appearance() -> None:
    answers, _ = reading()
    by_vignette = sorted(answers, key=lambda a: (int(a.vignette), -a.ordering))
    np.testing.assert_allclose(choice(answers, ()), choice(by_vignette, ()))


def captured(seed: int = 0) -> tuple[Captured, torch.Tensor]:
    contrast, shift = planted(seed, spread=0.0)
    facts = Extraction(
        contexts=len(contrast.positive),
        token="x",
        expected_token="x",
        truncated=0,
        doubled_bos=False,
        prompts_shared=True,
    )
    return Captured({3: contrast}, {3: float(contrast.positive.norm(dim=-1).mean())}, facts), shift


@pytest.mark.parametrize("kind", ["random", "shuffled"])
@pytest.mark.parametrize("method", ["mean_mass", "svd", "cosine_gated"])
def test_nulls_have_the_real_norm_and_not_its_axis(method: str, kind: str) -> None:
    seen, shift = captured()
    config = load_method(method).Config()
    real = fit.steps(fit.fit(seen, method, config, "run"))[3]
    nulls = fit.nulls(seen, method, config, "run", kind, range(12))
    assert len({null.direction_id for null in nulls}) == 12 and {null.kind for null in nulls} == {kind}
    cosines = []
    for null in nulls:
        step = fit.steps(null)[3]
        assert float(step.norm()) == pytest.approx(float(real.norm()), rel=1e-3)
        cosines.append(abs(float(torch.cosine_similarity(step, shift, dim=0))))
    assert float(np.median(cosines)) < 0.5, cosines
    assert float(torch.cosine_similarity(real, shift, dim=0)) > 0.9


def test_the_halves_of_a_planted_shift_agree_and_those_of_noise_do_not() -> None:
    seen, _ = captured()
    config = load_method("mean_mass").Config()
    (layer,) = fit.layers(seen, fit.fit(seen, "mean_mass", config, "run"), "run", "unit")
    assert layer.half_split_cosine is not None and layer.half_split_cosine > 0.9
    assert layer.relative_norm == pytest.approx(layer.norm / seen.residual_norm[3])
    draw = torch.Generator().manual_seed(0)
    noise = Contrast(torch.randn(64, 32, generator=draw), torch.randn(64, 32, generator=draw))
    empty = Captured({3: noise}, {3: 1.0}, seen.extraction)
    (layer,) = fit.layers(empty, fit.fit(empty, "mean_mass", config, "run"), "run", "unit")
    assert layer.half_split_cosine is not None and abs(layer.half_split_cosine) < 0.6


def test_states_survive_their_flat_form() -> None:
    seen, _ = captured()
    fitted = fit.fit(seen, "svd", load_method("svd").Config(), "run")
    back = fit.states(fit.tensors(fitted))
    assert back.keys() == fitted.states.keys()
    assert all(torch.equal(back[b][name], value) for b, state in fitted.states.items() for name, value in state.items())
