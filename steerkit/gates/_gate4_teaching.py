"""Known ways for what teaches a loop to fail: its direction, and its texts."""

from steerkit.gates._arms import number
from steerkit.gates._gate4_config import Config
from steerkit.gates._gate4_measured import Measured
from steerkit.gates._result import Result, figures, hypothesis

ONE_ROUND = "there is no round after the first"


def antagonistic(study: Measured, config: Config) -> Result:
    """Steering a student surely takes trait from it, and coherence too."""
    name, step = "steering turns antagonistic", "stop fitting anew: --direction first; or alternate pairs"
    found = [
        (each.row.round, each.steered_since, each.steered_since.interval("separation"))
        for each in study.rounds
        if each.row.round and each.steered_since is not None
    ]
    known = [(number_, arm, gain) for number_, arm, gain in found if gain is not None]
    if not known:
        return hypothesis(name, None, None, 0.0, "no later round was steered", "run more rounds")
    worst, arm, gain = min(known, key=lambda each: each[2].value)
    detail = (
        f"round {worst}: {figures('what steering adds to its student', gain)}, coherence {number(arm, 'coherence'):.3f}"
    )
    seen = any(gain.high < 0 and number(arm, "coherence") < 1 for _, arm, gain in known)
    return hypothesis(name, seen, gain.value, 0.0, detail, step)


def data_starvation(study: Measured, config: Config) -> Result:
    """Fewer texts survive than may be trained on, or far fewer than in the first round."""
    name, step = "data starvation", "a lower dose, more prompts, or end: fewer texts teach their own wording"
    kept = [found.row.kept for found in study.rounds]
    share = kept[-1] / kept[0] if kept[0] else 0.0
    starved = study.rounds[-1].row.stop == "starvation"
    detail = f"kept by round: {', '.join(map(str, kept))}"
    return hypothesis(name, starved or share < config.kept_share, share, config.kept_share, detail, step)


def filter_contamination(study: Measured, config: Config) -> Result:
    """Texts that repeat themselves were kept and trained on."""
    name, step = "filter contamination", "fix the filter first; `steerkit borderline` shows what it keeps"
    read = [
        (found.row.round, found.row.kept_distinct / found.row.base_distinct, found.row.kept_perplexity)
        for found in study.rounds
        if found.row.kept_distinct is not None and found.row.base_distinct
    ]
    if not read:
        return hypothesis(name, None, None, config.distinct_share, "no text was kept", step)
    worst, share, perplexity = min(read, key=lambda each: each[1])
    said = "unknown" if perplexity is None else f"{perplexity:.1f}"
    detail = f"round {worst}: distinct trigrams {share:.2f} of the base's texts', median perplexity {said}"
    return hypothesis(name, share < config.distinct_share, share, config.distinct_share, detail, step)


def direction_wander(study: Measured, config: Config) -> Result:
    """The newest direction no longer points where the first one did."""
    name, step = "direction wander", "--direction project, or first"
    last = study.rounds[-1].row
    if not last.round:
        return hypothesis(name, None, None, config.cosine_first, ONE_ROUND, "run more rounds")
    cosines = ", ".join(f"{found.row.cosine_first:+.2f}" for found in study.rounds)
    detail = f"cosines with the first direction by round: {cosines}"
    seen = last.cosine_first <= config.cosine_first
    return hypothesis(name, seen, last.cosine_first, config.cosine_first, detail, step)


def contrast_exhausted(study: Measured, config: Config) -> Result:
    """The poles no longer differ: the direction shrinks, or turns round from one round to the next."""
    name, step = "contrast exhausted", "stop: there is nothing left that this pair can add"
    rows = [found.row for found in study.rounds]
    if len(rows) < 2:
        return hypothesis(name, None, None, config.norm_share, ONE_ROUND, "run more rounds")
    share = rows[-1].direction_norm / rows[0].direction_norm if rows[0].direction_norm else 0.0
    turned = [row.round for row in rows if row.cosine_last is not None and row.cosine_last < 0]
    detail = (
        f"norm by round: {', '.join(f'{row.direction_norm:.3g}' for row in rows)}; turned round in {turned or 'none'}"
    )
    return hypothesis(name, share < config.norm_share or bool(turned), share, config.norm_share, detail, step)


TEACHING = (antagonistic, data_starvation, filter_contamination, direction_wander, contrast_exhausted)
