"""The channels of coherence: which of them a gate asks for, and what each says of an arm beside the base."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steerkit.errors import UsageError, unknown
from steerkit.evidence import ArmEvidence
from steerkit.gates._arms import number, text_health
from steerkit.gates._result import Result, criterion
from steerkit.metrics import ArmMetrics
from steerkit.spec import Setting

ANSWER_MASS = "answer_mass"


class Channels(Setting, frozen=True, kw_only=True):
    """Which channels of coherence must hold, and where each of them ends."""

    channels: tuple[str, ...] = ("answer_mass", "free_generation")
    """Channels of coherence that must hold, such as answer_mass,free_generation,prefill_nll (names)."""
    coherence: float = 0.95
    """Channel answer_mass: answer mass relative to the base's at and above which an arm is coherent (fraction)."""
    broken: float = 0.85
    """Relative answer mass below which an arm is broken, whatever is asked for: no ratio of it is read (fraction)."""
    distinct_share: float = 0.7
    """† Channels free_generation, repetition: median distinct trigrams of texts over the base's, below which they loop
    (fraction)."""
    perplexity_ratio: float = 10.0
    """† Channels free_generation, perplexity: median tail perplexity of texts over the base's, above which they babble
    (ratio)."""
    prefill_rise: float = 0.5
    """† Channel prefill_nll: rise of the scaffold's NLL that means a broken answer format (nats per token)."""
    json_drop: float = 0.1
    """† Channel json_valid: how far the share of valid free answers may fall below the base's (fraction)."""
    unscorable: float = 0.05
    """† Channel unscorable: rise of the share of unreadable rows that means a broken answer format (fraction)."""
    margin_share: float = 0.5
    """Channel margin: share of the base's answer margin at and below which the choice has collapsed (fraction)."""
    entropy_rise: float = 0.3
    """† Channel entropy: rise of the choice's entropy that means a choice dissolves (nats)."""
    token_kl: float = 2.25
    """† Channel token_kl: largest 95th percentile of per-token KL to the base over the arm's texts (nats)."""

    def mass_floor(self) -> float:
        """Relative answer mass that is asked for: with the channel not named, only that the arm is not broken."""
        return self.coherence if ANSWER_MASS in self.channels else self.broken

    def need_known_channels(self) -> None:
        """Raise UsageError for no channel, or an unknown one."""
        if not self.channels:
            raise UsageError(f"channels must name at least one channel of coherence: {', '.join(sorted(CHANNELS))}")
        for name in self.channels:
            if name not in CHANNELS:
                raise unknown("channel of coherence", name, CHANNELS)


CHANNEL_FRACTIONS = frozenset(("coherence", "broken", "distinct_share", "json_drop", "unscorable", "margin_share"))
"""Settings of channels that are fractions."""


@dataclass(frozen=True)
class Reading:
    """What a channel says of an arm: its value and limit in `unit`, and whether it holds; None is not measured."""

    value: float | None
    limit: float | None
    holds: bool | None
    unit: str = ""


def _reading(value: float | None, limit: float | None, unit: str, *, at_least: bool) -> Reading:
    """A value against its limit; a NaN holds nothing, and what was not measured is None."""
    if value is None or limit is None:
        return Reading(value, limit, None, unit)
    return Reading(value, limit, bool(value >= limit if at_least else value <= limit), unit)


def _from_base(quantity: str, base: ArmMetrics, change: Callable[[float], float]) -> float | None:
    value = base.value(quantity)
    return None if value is None else change(value)


def _answer_mass(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    return _reading(number(arm, "coherence"), limits.coherence, "of the base's mass", at_least=True)


def _repetition(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    health = text_health(arm.arm, base.arm)
    if health is None:
        return Reading(None, None, None)
    limit = limits.distinct_share * health.base_distinct
    return Reading(health.distinct, limit, not health.loops(limits), "distinct trigrams")


def _perplexity(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    health = text_health(arm.arm, base.arm)
    if health is None:
        return Reading(None, None, None)
    limit = limits.perplexity_ratio * health.base_perplexity
    return Reading(health.perplexity, limit, not health.babbles(limits), "tail perplexity")


def _free_generation(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    """Neither looping nor babbling: whichever of the two is broken, else the first."""
    loops, babbles = _repetition(arm, base, limits), _perplexity(arm, base, limits)
    return babbles if babbles.holds is False and loops.holds else loops


def _prefill_nll(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    limit = _from_base("prefill_nll", base, lambda nll: nll + limits.prefill_rise)
    return _reading(arm.value("prefill_nll"), limit, "nats per scaffold token", at_least=False)


def _json_valid(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    limit = None if base.arm.json_valid is None else base.arm.json_valid - limits.json_drop
    return _reading(arm.arm.json_valid, limit, "of free answers valid", at_least=True)


def _unscorable(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    limit = _from_base("frac_unscorable", base, lambda share: share + limits.unscorable)
    return _reading(arm.value("frac_unscorable"), limit, "of rows unreadable", at_least=False)


def _margin(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    limit = _from_base("margin", base, lambda lead: lead * limits.margin_share)
    return _reading(arm.value("margin"), limit, "nats of lead", at_least=True)


def _entropy(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    limit = _from_base("entropy", base, lambda spread: spread + limits.entropy_rise)
    return _reading(arm.value("entropy"), limit, "nats of entropy", at_least=False)


def _token_kl(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> Reading:
    return _reading(text_kl(arm.arm), limits.token_kl, "nats of KL at the 95th percentile", at_least=False)


def text_kl(arm: ArmEvidence) -> float | None:
    """95th percentile of the per-token KL to the base over the arm's texts (nats); None without tokens."""
    tokens = [kl for text in arm.texts for kl in text.token_kl]
    return float(np.quantile(tokens, 0.95)) if tokens else None


CHANNELS: dict[str, Callable[[ArmMetrics, ArmMetrics, Channels], Reading]] = {
    ANSWER_MASS: _answer_mass,
    "free_generation": _free_generation,
    "repetition": _repetition,
    "perplexity": _perplexity,
    "prefill_nll": _prefill_nll,
    "json_valid": _json_valid,
    "unscorable": _unscorable,
    "margin": _margin,
    "entropy": _entropy,
    "token_kl": _token_kl,
}
"""Every channel that `channels` may name."""


def channel_readings(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> dict[str, Reading]:
    """What the channels that are asked for say, except the answer mass, which has criteria of its own."""
    return {name: CHANNELS[name](arm, base, limits) for name in limits.channels if name != ANSWER_MASS}


def channels_broken(arm: ArmMetrics, base: ArmMetrics, limits: Channels) -> bool:
    """Whether a channel that is asked for is known not to hold."""
    return any(reading.holds is False for reading in channel_readings(arm, base, limits).values())


def channels_hold(
    name: str, arm: ArmMetrics | None, base: ArmMetrics, limits: Channels, where: str, step: str
) -> Result:
    """A criterion that every channel asked for holds; one that fails decides, then one that was not measured.

    It is met where only the answer mass is asked for.
    """
    readings = {} if arm is None else channel_readings(arm, base, limits)
    if arm is None or any(reading.holds is None for reading in readings.values()):
        unread = [each for each, reading in readings.items() if reading.holds is None]
        if not any(reading.holds is False for reading in readings.values()):
            detail = f"of {where} or of the base was not measured: {', '.join(unread) or 'any channel'}"
            return criterion(
                name, None, None, None, detail, "let both write, with an instrument that reads the channel"
            )
    said = (
        "; ".join(f"{each} {_said(reading)}" for each, reading in readings.items()) or "only answer mass is asked for"
    )
    failed = next((reading for reading in readings.values() if reading.holds is False), None)
    shown = failed or next(iter(readings.values()), Reading(None, None, True))
    return criterion(name, failed is None, shown.value, shown.limit, f"{where}: {said}", step)


def _said(reading: Reading) -> str:
    if reading.value is None or reading.limit is None:
        return "was not measured"
    return (
        f"{'holds' if reading.holds else 'fails'} with {reading.value:.3g} {reading.unit} (limit {reading.limit:.3g})"
    )
