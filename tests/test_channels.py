"""The channels of coherence: each holds or fails by a planted number of its own, and a gate asks for the named ones."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as with_fields
from planted_gate1 import World, texts

from steerkit.errors import UsageError
from steerkit.evidence import ArmEvidence, Gate1Evidence
from steerkit.gates import gate3_heal, gate4_loop
from steerkit.gates._channels import CHANNELS, Channels
from steerkit.gates.gate1_steer import Config, Judgement, judge
from steerkit.metrics import ArmMetrics, measure
from steerkit.request import plugin_config
from steerkit.stats import log_softmax, resample

WORLD = World()
BASE = replace(WORLD.arm("base", 0.0, 0.0, 1.0), json_valid=0.9)
ARM = replace(WORLD.arm("steered", 1.0, WORLD.intended(1.0), 0.99), json_valid=0.85)
LIMITS = Channels()


def metrics(arm: ArmEvidence) -> ArmMetrics:
    return measure(arm, BASE, WORLD.labels, "Authority", -1, resample(WORLD.labels, 0, 10))


def spread(arm: ArmEvidence, sharpness: float) -> ArmEvidence:
    return replace(arm, choice=log_softmax(arm.choice * sharpness))


def half_unread(arm: ArmEvidence) -> ArmEvidence:
    choice = arm.choice.copy()
    choice[::2] = np.nan
    return replace(arm, choice=choice)


def diverging(arm: ArmEvidence, kl: float) -> ArmEvidence:
    return replace(arm, texts=tuple(with_fields(text, token_kl=[0.0] * 18 + [kl] * 2) for text in texts(True)))


def looping(arm: ArmEvidence) -> ArmEvidence:
    return replace(arm, texts=tuple(with_fields(text, distinct_tail=0.1) for text in texts(True)))


def babbling(arm: ArmEvidence) -> ArmEvidence:
    return replace(arm, texts=tuple(with_fields(text, tail_perplexity=400.0) for text in texts(True)))


BROKEN = {
    "answer_mass": replace(ARM, mass=ARM.mass * 0.9),
    "free_generation": babbling(ARM),
    "repetition": looping(ARM),
    "perplexity": babbling(ARM),
    "prefill_nll": replace(ARM, prefill_nll=ARM.prefill_nll + 1.0),
    "json_valid": replace(ARM, json_valid=0.7),
    "unscorable": half_unread(ARM),
    "margin": spread(ARM, 0.3),
    "entropy": spread(ARM, 0.3),
    "token_kl": diverging(ARM, 3.0),
}
WHOLE = diverging(ARM, 1.0)


def test_every_channel_is_broken_by_something_here() -> None:
    assert BROKEN.keys() == CHANNELS.keys()


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_holds_for_a_whole_arm_and_fails_for_a_broken_one(name: str) -> None:
    base = measure(BASE, BASE, WORLD.labels, "Authority", -1, resample(WORLD.labels, 0, 10))
    assert CHANNELS[name](metrics(WHOLE), base, LIMITS).holds is True
    reading = CHANNELS[name](metrics(BROKEN[name]), base, LIMITS)
    assert reading.holds is False and reading.value is not None and reading.limit is not None


def test_looping_and_babbling_both_break_free_generation() -> None:
    base = metrics(BASE)
    for arm in (looping(ARM), babbling(ARM)):
        assert CHANNELS["free_generation"](metrics(arm), base, LIMITS).holds is False


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("free_generation", replace(ARM, texts=())),
        ("repetition", replace(ARM, texts=())),
        ("perplexity", replace(ARM, texts=())),
        ("token_kl", replace(ARM, texts=())),
        ("prefill_nll", replace(ARM, prefill_nll=None)),
        ("json_valid", replace(ARM, json_valid=None)),
    ],
)
def test_what_was_not_measured_neither_holds_nor_fails(name: str, bare: ArmEvidence) -> None:
    assert CHANNELS[name](metrics(bare), metrics(BASE), LIMITS).holds is None


def test_a_nan_divergence_is_no_pass() -> None:
    assert CHANNELS["token_kl"](metrics(diverging(ARM, float("nan"))), metrics(BASE), LIMITS).holds is False


# Named by a gate


def asked(*channels: str, **more: float) -> Config:
    return Config(resamples=200, channels=channels, **more)  # type: ignore[arg-type]


def said(judgement: Judgement, name: str) -> str:
    return next(result.status for result in judgement.verdicts if result.name == name)


def changed(evidence: Gate1Evidence, how: dict[str, object]) -> Gate1Evidence:
    return replace(evidence, steered=tuple(replace(arm, **how) for arm in evidence.steered))  # type: ignore[arg-type]


def test_by_default_answer_mass_and_free_generation_are_asked_for() -> None:
    assert Config().channels == ("answer_mass", "free_generation")
    loops = judge(World(healthy=lambda dose: dose == 0).build(), Config(resamples=200))
    assert said(loops, "coherence channels hold") == "not met" and loops.outcome == "FAIL"
    faint = judge(World(coherence=lambda dose: 0.9).build(), Config(resamples=200))
    assert said(faint, "separates while coherent") == "not met" and faint.outcome == "FAIL"


def test_a_channel_that_is_not_named_decides_nothing() -> None:
    evidence = World(healthy=lambda dose: dose == 0).build()
    assert judge(evidence, asked("answer_mass")).outcome == "PASS"
    faint = World(coherence=lambda dose: 0.9).build()
    assert judge(faint, asked("free_generation")).outcome == "PASS"
    assert judge(World(coherence=lambda dose: 0.8).build(), asked("free_generation")).outcome != "PASS"


def test_a_named_channel_decides() -> None:
    evidence = World().build()
    worse = changed(evidence, {"prefill_nll": np.full(len(evidence.labels), 2.0)})
    assert judge(worse, Config(resamples=200)).outcome == "PASS"
    judgement = judge(worse, asked("answer_mass", "free_generation", "prefill_nll"))
    assert said(judgement, "coherence channels hold") == "not met" and judgement.outcome == "FAIL"
    detail = next(r.detail for r in judgement.verdicts if r.name == "coherence channels hold")
    assert (
        "prefill_nll fails with 2 nats per scaffold token (limit 1.5)" in detail and "free_generation holds" in detail
    )
    assert judge(worse, asked("prefill_nll", prefill_rise=1.1)).outcome == "PASS"


def test_a_named_channel_that_nothing_measured_makes_it_inconclusive() -> None:
    judgement = judge(World().build(), asked("answer_mass", "json_valid"))
    assert said(judgement, "coherence channels hold") == "not measured" and judgement.outcome == "INCONCLUSIVE"
    assert "json_valid" in next(r.detail for r in judgement.verdicts if r.name == "coherence channels hold")


def test_the_operating_dose_is_one_whose_channels_hold() -> None:
    evidence = World().build()
    steered = tuple(
        replace(arm, prefill_nll=np.full(len(evidence.labels), 2.0)) if arm.dose > 1.2 else arm
        for arm in evidence.steered
    )
    judgement = judge(replace(evidence, steered=steered), asked("answer_mass", "prefill_nll"))
    assert judgement.operating is not None and judgement.operating.dose == 1.0 and judgement.outcome == "PASS"
    freely = judge(replace(evidence, steered=steered), asked("answer_mass"))
    assert freely.operating is not None and freely.operating.dose > 1.2


def test_an_uninformative_instrument_is_refused_with_the_reason() -> None:
    judgement = judge(World(confidence=0.0).build(), Config(resamples=200))
    refused = next(result for result in judgement.verdicts if result.name == "instrument fits the model")
    assert judgement.outcome != "PASS" and refused.status == "not met"
    assert "the interval covers 0" in refused.detail and "steerkit instruments --check" in refused.next_step
    whole = next(r for r in judgement.verdicts if r.kind == "gate")
    assert "instrument fits the model (not met)" in whole.detail


@pytest.mark.parametrize("gate", ["gate1_steer", "gate3_heal", "gate4_loop"])
def test_channels_are_a_setting_of_every_gate_that_reads_arms(gate: str) -> None:
    found = plugin_config("gates", gate, {"channels": "prefill_nll,margin"})
    assert found.channels == ("prefill_nll", "margin") and found.mass_floor() == found.broken
    with pytest.raises(UsageError, match="unknown channel of coherence 'mass'.*known: answer_mass"):
        plugin_config("gates", gate, {"channels": "mass"})
    with pytest.raises(UsageError, match="channels must name at least one channel"):
        plugin_config("gates", gate, {"channels": ""})


def test_later_gates_have_the_criterion_too() -> None:
    for gate in (gate3_heal, gate4_loop):
        assert "coherence_channels_hold" in {check.__name__ for check in gate.CRITERIA}
