"""The ledger of a loop: one row per round, from its steered texts to the student that learned them."""

from typing import Literal

from steerkit.records.base import Record

Stop = Literal["", "coherence floor", "starvation", "training broke", "no gain", "all rounds"]
"""Why a loop ended with this round; empty where it went on."""


class Round(Record, frozen=True, kw_only=True):
    """One round of a loop; what was not reached, such as a student where texts were too few, is None.

    Shifts are of the target's diagonal (nats), coherence is relative (fraction); both against the untouched base and
    against the student the round started from ('previous', in round 0 the base), each with its 95% interval.
    """

    round: int
    gate1_run: str
    gate2_run: str
    gate3_run: str | None
    direction_id: str
    adapter_id: str | None
    steered_arm: str | None
    """The student at the round's start, steered at the dose of the kept texts; an arm of this run, like the next."""
    healed_arm: str | None
    plain_arm: str | None
    label: str
    """What gate 3 said of the round; empty without a student."""
    made: int
    """Steered texts that were written."""
    kept: int
    """Texts that could be trained on."""
    chosen_dose: float | None
    """Multiples of the calibrated strength; None where texts survived at none."""
    lowest_dose: float
    """The weakest dose that was tried."""
    steered_d_target: float | None
    steered_d_target_previous: float | None
    steered_coherence: float | None
    steered_coherence_previous: float | None
    d_target: float | None
    d_target_low: float | None
    d_target_high: float | None
    d_target_previous: float | None
    d_target_previous_low: float | None
    d_target_previous_high: float | None
    coherence: float | None
    coherence_low: float | None
    coherence_high: float | None
    coherence_previous: float | None
    coherence_previous_low: float | None
    coherence_previous_high: float | None
    target_nats: float | None
    auth_nats: float | None
    care_nats: float | None
    d_auth: float | None
    d_care: float | None
    base_nats: float
    """The target's level on the base that the round's own runs scored (nats)."""
    kl_base: float | None
    """Mean KL(student || base) over the student's own greedy texts (nats per token)."""
    kl_previous: float | None
    """The same from the student the round started from."""
    kl_excess: float | None
    """kl_base less the round before's kl_base less kl_previous: how far the rounds' steps are from adding up."""
    direction_norm: float
    """Mean over blocks of the direction's natural step (residual norm)."""
    cosine_first: float
    """Cosine of the round's direction with the first round's."""
    cosine_last: float | None
    """Cosine with the round before's; None in round 0."""
    cosine_teacher: float | None
    """Cosine of the student's own shift of the residual stream with the direction that taught it."""
    reference: str
    """Whom the barrier measured from."""
    tau: float | None
    """Where it begins (nats)."""
    over: float | None
    """Share of the trained sequences whose divergence exceeds it (fraction)."""
    start_divergence: float | None
    """Divergence from the reference at the first step, aggregated as the barrier does (nats)."""
    kept_distinct: float | None
    """Median over the trained texts of the share of distinct trigrams (fraction)."""
    base_distinct: float | None
    """The same over the base's texts to the same prompts."""
    kept_perplexity: float | None
    """Median perplexity of the trained texts under the untouched base."""
    best_round: int | None
    """The round so far that separates most while it is coherent; None where none is."""
    stop: Stop
    stop_why: str
    """The figures behind it; empty where the loop went on."""
    seconds: float
    """Wall-clock time of the round's own runs (seconds)."""
    d_auth_low: float | None
    d_auth_high: float | None
    d_care_low: float | None
    d_care_high: float | None
