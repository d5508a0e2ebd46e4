"""Is an instrument fit for a model? What it reads there, whether it reads it twice, and whether a prompt moves it."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from msgspec.structs import asdict, replace

from steerkit import __version__
from steerkit.errors import UsageError
from steerkit.host import Host
from steerkit.inputs import VignetteText, text_hash
from steerkit.metrics import ArmMetrics, measure
from steerkit.personas import Persona
from steerkit.pipeline.scorer import Scorer
from steerkit.plugins import load
from steerkit.records import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm, InstrumentCheck, Prior, Record
from steerkit.runner import event, registered, vignette_records
from steerkit.spec import RunSpec, canonical, digest, run_id, unit_id
from steerkit.stages.assemble import arm_evidence, only
from steerkit.stages.score import choice, set_mean_prior
from steerkit.stats import Interval, likeliest, one_vs_rest_auc, resample
from steerkit.store import Store

FEWEST_MASS = 0.1
"""† Answer mass below which an instrument's question is hardly answered at all (fraction)."""
MOST_DISAGREEMENT = 0.5
"""† Share of vignettes whose answer depends on the order, above which that is worth a warning (fraction)."""
REPEAT = 0.05
"""† Change between two readings of the same arm, above which that is worth a warning (nats)."""


@dataclass(frozen=True)
class Checked:
    """One instrument on one model: the row about it, and the raw answers it rests on; none where it cannot be used."""

    row: InstrumentCheck
    spec: RunSpec
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class _Asked:
    host: Host
    vignettes: tuple[VignetteText, ...]
    persona: Persona
    seq: int


@dataclass(frozen=True)
class _Read:
    """Three readings of the unsteered model: as a run would, once more in other batches, and with the persona."""

    base: list[Record]
    again: list[Answer]
    prompted: list[Record]
    prior: list[Prior]
    seconds: float


def check(
    host: Host, instruments: dict[str, Any], vignettes: Sequence[VignetteText], persona: Persona, seq: int
) -> list[Checked]:
    """Every instrument (name to config) on the loaded model; at most one is recommended.

    An instrument that cannot be used on the model is a row that says why. `seq`: nanoseconds since the epoch.
    """
    asked = _Asked(host, tuple(vignettes), persona, seq)
    found = [_checked(asked, name, config) for name, config in instruments.items()]
    best = max((each for each in found if each.row.fit), key=_worth, default=None)
    return [_recommended(each, found) if each is best else each for each in found]


def keep(store: Store, checked: Sequence[Checked], vignettes: Sequence[VignetteText]) -> None:
    """Store the rows, each with the run that holds its raw answers."""
    store.append([record for each in checked for record in _whole(each, vignettes)])
    store.ingest()


def _whole(each: Checked, vignettes: Sequence[VignetteText]) -> list[Record]:
    spec, run = each.spec, each.row.run_id
    run_record = registered(spec, each.row.device, digest(spec), "{}")
    shown = vignette_records(run, run_record.unit_id, spec.vignettes_hash, vignettes)
    return [run_record, *shown, *each.records, each.row, event(run, "finished", "")]


def _worth(each: Checked) -> tuple[bool, float]:
    """A prompt that moves the target first, then the informedness that is sure."""
    row = each.row
    return (row.headroom_low or 0.0) > 0, row.informedness_low or 0.0


def _recommended(best: Checked, found: Sequence[Checked]) -> Checked:
    rivals = [each.row.instrument for each in found if each.row.fit and each is not best]
    over = "; no other that was checked is fit" if len(found) > 1 else ""
    if rivals:
        over = (
            f"; preferred to {', '.join(rivals)}: first counts a prompt that moves it, then informedness that is sure"
        )
    return Checked(replace(best.row, recommended=True, why=best.row.why + over), best.spec, best.records)


def _checked(asked: _Asked, name: str, config: Any) -> Checked:
    spec = _spec(asked, name, config)
    try:
        read = _read(asked, spec, config)
    except UsageError as error:
        return Checked(_row(asked, spec, why=f"it cannot be used here: {error}"), spec)
    figures = _figures(asked, read)
    fit, why = _verdict(figures, asked.persona)
    return Checked(_row(asked, spec, **figures, fit=fit, why=why), spec, (*read.base, *read.prompted, *read.prior))


def _spec(asked: _Asked, name: str, config: Any) -> RunSpec:
    """What makes these answers comparable, in the form of a run; each check is a run of its own."""
    return RunSpec(
        gate="check",
        method="none",
        trait=asked.persona.name,
        persona=digest(asked.persona),
        target=asked.persona.target,
        sign=asked.persona.sign,
        model=asked.host.name,
        fingerprint=asked.host.fingerprint,
        dtype=asked.host.dtype,
        seed=0,
        instrument=name,
        instrument_text=load("instruments", name).identity(),
        vignettes_hash=text_hash(asked.vignettes),
        vignettes=len(asked.vignettes),
        instrument_config=asdict(config),
        attempt=asked.seq,
        version=__version__,
    )


def _read(asked: _Asked, spec: RunSpec, config: Any) -> _Read:
    run, last = run_id(spec), len(asked.host.blocks) - 1

    def scorer(vignettes: Sequence[VignetteText]) -> Scorer:
        return Scorer(asked.host, spec, vignettes, config, run, last)

    start = time.perf_counter()
    base = scorer(asked.vignettes).score(unit_id(run, "check", "base"), "base")
    seconds = time.perf_counter() - start
    shuffled = random.Random(asked.seq).sample(asked.vignettes, len(asked.vignettes))
    again = only(Answer, scorer(shuffled).score("", "base"))
    system = asked.persona.system_prompt("positive")
    prompted = scorer(asked.vignettes).score(unit_id(run, "check", "prompt"), "prompt", system=system)
    prior = set_mean_prior(only(Arm, base)[0], only(Answer, base)) if config.prior == "set-mean" else []
    return _Read(base, again, prompted, prior, seconds)


def _figures(asked: _Asked, read: _Read) -> dict[str, Any]:
    """Every figure of the row."""
    base, prompted = only(Answer, read.base), only(Answer, read.prompted)
    labels, persona = [vignette.foundation for vignette in asked.vignettes], asked.persona
    draw = resample(labels, seed=0)
    arms = [
        arm_evidence(only(Arm, records)[0], own, read.prior, ())
        for records, own in ((read.base, base), (read.prompted, prompted))
    ]
    whole, moved = (measure(arm, arms[0], labels, persona.target, persona.sign, draw) for arm in arms)
    areas = list(one_vs_rest_auc(arms[0].choice, labels, FOUNDATIONS).values())
    nats, picks = _repeated(base, read.again, read.prior)
    return {
        "answer_mass": whole.value("mass"),
        "frac_unscorable": whole.value("frac_unscorable"),
        "auc": float(np.mean(areas)) if areas else None,
        **_spanned("informedness", whole, "informedness"),
        "order_disagreement": order_disagreement(base, read.prior),
        "repeat_nats": nats,
        "repeat_picks": picks,
        "seconds_per_100": read.seconds / len(asked.vignettes) * 100,
        **_spanned("headroom", moved, "separation"),
    }


def _spanned(name: str, arm: ArmMetrics, quantity: str) -> dict[str, float | None]:
    """A quantity with its interval's ends, under a row's names; None where there are none."""
    found: Interval | None = arm.interval(quantity) if quantity in arm.draws else None
    low, high = (None, None) if found is None else (found.low, found.high)
    value = arm.value(quantity) if quantity in arm.draws else None
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def order_disagreement(answers: Sequence[Answer], prior: Sequence[Prior]) -> float | None:
    """Share of vignettes whose likeliest answer is not the same in every order; None with one order.

    A vignette that cannot be read in one order counts as one that disagrees.
    """
    orders = sorted({answer.ordering for answer in answers})
    picks = np.stack([likeliest(choice([a for a in answers if a.ordering == order], prior)) for order in orders])
    same = (picks == picks[0]).all(axis=0) & (picks[0] >= 0)
    return float(1 - same.mean()) if len(orders) > 1 else None


def _repeated(first: Sequence[Answer], again: Sequence[Answer], prior: Sequence[Prior]) -> tuple[float, float]:
    """The largest change of a log p (nats), NaN where only one reading of it is finite; and the share of new picks."""
    order = {answer.vignette: place for place, answer in enumerate(first)}
    ordered = sorted(again, key=lambda answer: order[answer.vignette])
    mine, its = _table(first), _table(sorted(ordered, key=lambda answer: answer.ordering))
    with np.errstate(invalid="ignore"):
        gap = np.where(mine == its, 0.0, np.abs(mine - its))
    both = np.isnan(mine) & np.isnan(its)
    changed = likeliest(choice(first, prior)) != likeliest(choice(ordered, prior))
    return float(np.where(both, 0.0, gap).max()), float(changed.mean())


def _table(answers: Sequence[Answer]) -> Float[np.ndarray, "row 7"]:
    return np.array([[getattr(answer, field) for field in ANSWER_FIELDS] for answer in answers])


def _verdict(figures: dict[str, Any], persona: Persona) -> tuple[bool, str]:
    """Whether it can be used, and what speaks for or against it."""
    low, high, value = figures["informedness_low"], figures["informedness_high"], figures["informedness"]
    if low is None or high is None:
        return False, "its informedness is undefined: the vignettes are of one foundation, or none can be read"
    said = f"informedness {value:.2f} [{low:.2f}, {high:.2f}], answer mass {figures['answer_mass']:.2f}"
    if low <= 0:
        return False, f"{said}: its answers cannot be told from guesses"
    if figures["answer_mass"] < FEWEST_MASS:
        return False, f"{said}: below {FEWEST_MASS:g}, the question is hardly answered at all"
    return True, "; ".join((said, *_remarks(figures, persona)))


def _remarks(figures: dict[str, Any], persona: Persona) -> list[str]:
    remarks = [_headroom(figures, persona)]
    if (figures["order_disagreement"] or 0.0) > MOST_DISAGREEMENT:
        share = figures["order_disagreement"]
        remarks.append(f"but {share:.0%} of answers depend on the order, which the mean over orders must cancel")
    if not figures["repeat_nats"] <= REPEAT:
        remarks.append(f"but a second reading moves a log p by {figures['repeat_nats']:.3f} nats")
    return remarks


def _headroom(figures: dict[str, Any], persona: Persona) -> str:
    value, low, high = figures["headroom"], figures["headroom_low"], figures["headroom_high"]
    if value is None or low is None:
        return f"whether a prompt moves {persona.target} is unknown: too few of its vignettes can be read"
    moves = "moves" if low > 0 else "does not surely move"
    return f"the persona prompt {moves} {persona.target} by {value:+.2f} nats [{low:+.2f}, {high:+.2f}]"


FIGURES = (
    "answer_mass",
    "frac_unscorable",
    "auc",
    "informedness",
    "informedness_low",
    "informedness_high",
    "order_disagreement",
    "repeat_nats",
    "repeat_picks",
    "seconds_per_100",
    "headroom",
    "headroom_low",
    "headroom_high",
)


def _row(asked: _Asked, spec: RunSpec, *, fit: bool = False, why: str, **figures: Any) -> InstrumentCheck:
    run = run_id(spec)
    return InstrumentCheck(
        run_id=run,
        unit_id=unit_id(run, "check"),
        seq=asked.seq,
        instrument=spec.instrument,
        config=canonical(spec.instrument_config),
        model=spec.model,
        fingerprint=spec.fingerprint,
        dtype=spec.dtype,
        device=asked.host.device,
        vignettes_hash=spec.vignettes_hash,
        vignettes=len(asked.vignettes),
        trait=spec.trait,
        fit=fit,
        recommended=False,
        why=why,
        **dict.fromkeys(FIGURES) | figures,
    )
