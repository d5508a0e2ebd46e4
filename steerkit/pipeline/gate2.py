"""Gate 2's pipeline: base > probe > choose > collect > control > filter > gain > judge, one step per unit of work."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from steerkit.gates import gate2_filter
from steerkit.host import Writing, chat_ids
from steerkit.host.backtracking import Backtracking
from steerkit.host.forward import continuation_nll
from steerkit.host.sampling import Sampling
from steerkit.inputs import Dilemma
from steerkit.pipeline.study import Job, Memory, Step, Study, own_columns
from steerkit.records import Completion, ControllerStep, Effect, FilterDecision, FilterSet, Record, TextGain, Verdict
from steerkit.schedule import parse
from steerkit.spec import Gate2Spec, canonical, digest
from steerkit.stages.assemble import gate2_evidence, only
from steerkit.stages.control import (
    Kept,
    Wanted,
    chosen_dose,
    counted,
    lowered,
    missing,
    next_batch,
    next_to_try,
    planned_doses,
    rows_needed,
    smoothed,
)
from steerkit.stages.filter import behind, decide
from steerkit.stages.narrate import narrated
from steerkit.stages.rejudge import likelihood
from steerkit.stages.steer import Fitted, uniform
from steerkit.stages.write import Order, write

SEEDS_PER_RUN = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Gate2Job(Job):
    """A spec of gate 2 with everything it names, loaded.

    `unit_strength`: the direction's strength at dose 1. `nulls`: random directions with theirs. `prompts`: the drawn
    ones. `gate1_verdict`: what gate 1 said.
    """

    spec: Gate2Spec
    prompts: tuple[Dilemma, ...]
    direction: Fitted
    unit_strength: float
    nulls: tuple[tuple[Fitted, float], ...]
    gate1_verdict: str


@dataclass
class _Gate2(Study):
    """Gate 2 under way."""

    job: Gate2Job
    chosen: float | None = None
    doses: list[float] = field(default_factory=list)
    gave_up: bool = False

    def total(self) -> int:
        """How many units the run has when two batches are enough."""
        return 8 + max(0, self.batches() - 2)

    def batches(self) -> int:
        """How many batches were collected; a batch makes one move per dose that it has rows at."""
        return len({step.unit_id for step in only(ControllerStep, self.records) if step.phase == "collect"})

    def headline(self, records: list[Record]) -> str:
        """How many texts were made, and how many of them were kept."""
        steps = [step for step in only(ControllerStep, records) if step.phase != "choose"]
        if not steps:
            return ""
        made, survived = sum(step.made for step in steps), sum(step.survived for step in steps)
        return f"{survived} of {made} kept, {steps[-1].kept} in all; {self.job.spec.control.keep} are wanted"

    def writing(self, seeds: Sequence[int]) -> Writing:
        """How a batch is written."""
        texts = self.job.spec.texts
        rules = Backtracking(kl=texts.backtrack_kl, distinct=texts.backtrack_distinct, retries=texts.backtrack_retries)
        return Writing(
            Sampling(texts.temperature, texts.top_p), seeds, parse(texts.schedule), rules if texts.backtrack else None
        )

    def written(self, orders: Sequence[Order], unit: str) -> list[Record]:
        """These texts, batch by batch."""
        size = self.job.spec.texts.batch
        found: list[Record] = []
        for first in range(0, len(orders), size):
            part = orders[first : first + size]
            writing = self.writing([order.seed or 0 for order in part])
            found += self._judged_by_base(
                write(self.job.host, part, self.job.spec.texts.length, writing, self.run, unit)
            )
        return self._read_by_base(found)

    def _judged_by_base(self, records: list[Record]) -> list[Record]:
        """A student's texts with what the untouched base thinks of them; the filters judge with history off."""
        student = self.job.student
        if student is None:
            return records
        texts = only(Completion, records)
        read = {text.completion_id: text for text in likelihood(self.job.host, student, texts)}
        return [read[r.completion_id] if isinstance(r, Completion) else r for r in records]

    def _read_by_base(self, records: list[Record]) -> list[Record]:
        """The texts with how much their speakers describe themselves, as the untouched base reads them."""
        host, student = self.job.host, self.job.student
        with student.off() if student else nullcontext():
            texts = narrated(host, self.reader, only(Completion, records))
        read = {text.completion_id: text for text in texts}
        return [read[r.completion_id] if isinstance(r, Completion) else r for r in records]

    def seed(self, number: int) -> int:
        """The seed of the run's text of that number."""
        return self.job.spec.seed * SEEDS_PER_RUN + number

    def base(self, unit: str) -> list[Record]:
        """Unsteered texts to the drawn prompts."""
        prompts, count = self.job.prompts, self.job.spec.control.base
        return self.written([Order("base", prompts[i % len(prompts)], seed=self.seed(i)) for i in range(count)], unit)

    def steered(self, wanted: Sequence[Wanted], role: str, first: int) -> list[Order]:
        """Orders along the run's direction."""
        unit = self.job.unit_strength
        return [
            Order(role, w.prompt, self.job.direction, w.dose * unit, w.dose, self.seed(first + i))  # type: ignore[arg-type]
            for i, w in enumerate(wanted)
        ]

    def probe(self, unit: str) -> list[Record]:
        """The ladder of doses, the same prompts at each."""
        control = self.job.spec.control
        prompts = [self.job.prompts[i % len(self.job.prompts)] for i in range(control.per_dose)]
        wanted = [Wanted(dose, prompt) for dose in sorted(control.ladder) for prompt in prompts]
        records = self.written(self.steered(wanted, "probe", 10_000), unit)
        made = Counter(text.dose for text in only(Completion, records))
        alive = Counter(text.dose for text in self.survivors(records) if text.role == "probe")
        kept = list(accumulate(alive[dose] for dose in sorted(made)))
        steps = [
            self._moved(unit, number, "probe", dose, made[dose], alive[dose], "", kept[number])
            for number, dose in enumerate(sorted(made))
        ]
        return [*records, *steps, self._choice(unit, made, alive)]

    def _choice(self, unit: str, made: Counter[float], alive: Counter[float]) -> ControllerStep:
        """The dose to collect at; a move about no text means giving up."""
        control, number = self.job.spec.control, len(made)
        chosen, shares = chosen_dose(made, alive, control.survival), smoothed(made, alive)
        if chosen is not None:
            note = f"the highest probed dose that keeps {control.survival:.0%} of its texts, smoothed"
            return self._moved(unit, number, "choose", chosen, made[chosen], alive[chosen], note, alive.total())
        weakest = min(shares)
        if shares[weakest] >= control.floor:
            note = f"no probed dose keeps {control.survival:.0%} of its texts; going on at the weakest"
            return self._moved(unit, number, "choose", weakest, made[weakest], alive[weakest], note, alive.total())
        retry = next_to_try(made, alive)
        survived = f"{alive.total()} of {made.total()} texts survived: starved"
        note = f"{survived}; try --set control.ladder={retry / 4:g},{retry / 2:g},{retry:g}"
        return self._moved(unit, number, "choose", retry, 0, 0, note, alive.total())

    def _moved(
        self, unit: str, number: int, phase: str, dose: float, made: int, survived: int, note: str, kept: int
    ) -> ControllerStep:
        return ControllerStep(
            run_id=self.run,
            unit_id=unit,
            number=number,
            phase=phase,  # type: ignore[arg-type]
            dose=dose,
            made=made,
            survived=survived,
            kept=kept,
            note=note,
        )

    def settle(self) -> None:
        """Take over what the controller chose; nothing where nothing survived."""
        choice = next(step for step in only(ControllerStep, self.records) if step.phase == "choose")
        if choice.made:
            self.chosen = choice.dose
            self.doses = planned_doses(choice.dose, self.job.spec.control)

    def kept(self) -> list[Kept]:
        """Kept texts of the doses that are collected at."""
        return counted([Kept(t.dose, t.prompt_id) for t in self.survivors([])], self.doses)

    def enough(self) -> bool:
        """Whether nothing more is to be collected."""
        kept, keep = self.kept(), self.job.spec.control.keep
        return len(kept) >= keep and not any(missing(kept, self.doses, keep).values())

    def collect(self, unit: str) -> list[Record]:
        """One batch, and what of it was kept."""
        control, texts = self.job.spec.control, self.job.spec.texts
        number, rates, kept = self.batches(), self._rates(), self.kept()
        size = min(texts.batch, rows_needed(kept, self.doses, rates, control))
        wanted = next_batch(kept, self.doses, rates, self.job.prompts, control, size, self.seed(20_000 + number))
        records = self.written(self.steered(wanted, "collected", 30_000 + number * texts.batch), unit)
        made = Counter(text.dose for text in only(Completion, records))
        survivors = self.survivors(records)
        alive = Counter(text.dose for text in survivors if text.unit_id == unit)
        before, steps = len(survivors) - alive.total(), []
        for place, dose in enumerate(sorted(made)):
            before += alive[dose]
            order = len(only(ControllerStep, self.records)) + place
            steps.append(self._moved(unit, order, "collect", dose, made[dose], alive[dose], "", before))
        return [*records, *steps]

    def _rates(self) -> dict[float, float]:
        """Survival by dose among the batches collected so far."""
        made: Counter[float] = Counter()
        survived: Counter[float] = Counter()
        for step in only(ControllerStep, self.records):
            if step.phase == "collect":
                made[step.dose] += step.made
                survived[step.dose] += step.survived
        return {dose: survived[dose] / made[dose] for dose in made}

    def adjust(self, step: Step) -> None:
        """Lower the doses after a bad batch, or give up."""
        moves = only(ControllerStep, step.records)
        survival = sum(m.survived for m in moves) / max(1, sum(m.made for m in moves))
        doses = lowered(self.doses, self.chosen or 0.0, survival, self.job.spec.control)
        self.gave_up = doses is None
        self.doses = doses or self.doses

    def random(self, unit: str) -> list[Record]:
        """Texts along random directions, at the chosen dose of each: what any push of that size does to a text."""
        dose = self.chosen or max(self.job.spec.control.ladder)
        orders = [
            Order(
                "random", self.job.prompts[i % len(self.job.prompts)], null, dose * at_one, dose, self.seed(50_000 + i)
            )
            for i, (null, at_one) in zip(range(self.job.spec.control.random), _round(self.job.nulls), strict=False)
        ]
        return self.written(orders, unit)

    def decisions(self, records: Sequence[Record], unit: str) -> list[FilterDecision]:
        """Every check on every text so far and these."""
        texts, filters = only(Completion, [*self.records, *records]), self.job.spec.filters
        background, filter_id = behind(texts, self.job.spec), digest(self.run, filters)
        return decide(texts, background, filters, run=self.run, unit=unit, filter_id=filter_id)

    def survivors(self, records: Sequence[Record]) -> list[Completion]:
        """Steered texts, so far and these, that every check keeps."""
        dropped = {d.completion_id for d in self.decisions(records, "") if not d.keep}
        texts = only(Completion, [*self.records, *records])
        return [t for t in texts if t.role in ("probe", "collected") and t.completion_id not in dropped]

    def filter(self, unit: str) -> list[Record]:
        """The run's own decisions, over all its texts."""
        thresholds = canonical(self.job.spec.filters)
        filter_id = digest(self.run, self.job.spec.filters)
        first = FilterSet(run_id=self.run, unit_id=unit, filter_id=filter_id, seq=0, thresholds=thresholds)
        return [first, *self.decisions([], unit)]

    def gain(self, unit: str) -> list[Record]:
        """How much more likely each text is under one steered model than under the base."""
        dose = self.job.spec.operating_dose or self.chosen or 1.0
        strength, host = dose * self.job.unit_strength, self.job.host
        texts = [text for text in only(Completion, self.records) if text.token_ids]
        prompts, tokens = [chat_ids(host, text.prompt) for text in texts], [text.token_ids or [] for text in texts]
        steered = continuation_nll(host, prompts, tokens, uniform(self.job.direction, strength))
        # A text's own NLL is the untouched base's; a student is compared with itself.
        plain = continuation_nll(host, prompts, tokens, {}) if self.job.student else [t.token_nll or [] for t in texts]
        return [
            TextGain(
                run_id=self.run,
                unit_id=unit,
                completion_id=text.completion_id,
                strength=strength,
                gain=(sum(before[: len(nll)]) - sum(nll)) / len(nll),
                tokens=len(nll),
            )
            for text, nll, before in zip(texts, steered, plain, strict=True)
        ]

    def judge(self, unit: str) -> list[Record]:
        """Every figure with its interval and every check's verdict."""
        spec = self.job.spec
        evidence = gate2_evidence(self.records, spec, self.job.gate1_verdict)
        judgement = gate2_filter.judge(evidence, self.job.gate_config)
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit}
        return [
            *(Effect(**own, **own_columns(effect, Effect)) for effect in judgement.effects),
            *(Verdict(**own, gate="gate2", **own_columns(verdict, Verdict)) for verdict in judgement.verdicts),
        ]


def gate2(job: Gate2Job, memory: Memory) -> Iterator[Step]:
    """base > probe > choose > collect > control > filter > gain > judge, one step per unit of work."""
    study = _Gate2(job, memory)
    yield study.step("write", "base", study.base)
    yield study.step("write", "probes", study.probe)
    study.settle()
    for number in range(job.spec.control.batches if study.chosen else 0):
        if study.enough() or study.gave_up:
            break
        step = study.step("write", f"batch {number}", study.collect)
        study.adjust(step)
        yield step
    if job.nulls and job.spec.control.random:
        yield study.step("write", "random directions", study.random)
    yield study.step("filter", "decisions", study.filter)
    yield study.step("gain", "likelihood ratio", study.gain)
    yield study.step("judge", "gate2", study.judge)


def _round(nulls: Sequence[tuple[Fitted, float]]) -> Iterator[tuple[Fitted, float]]:
    while nulls:
        yield from nulls
