"""Texts that gate 3 writes itself, and what gate 2's checks decide of them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from steerkit.host import Writing
from steerkit.host.sampling import Sampling
from steerkit.pipeline.healing import Healing
from steerkit.pipeline.study import Work
from steerkit.plugins import load_filters
from steerkit.records import Completion, FilterDecision, FilterSet, Record
from steerkit.spec import canonical, digest
from steerkit.spec_heal import Control
from steerkit.stages.assemble import only
from steerkit.stages.filter import behind, decide
from steerkit.stages.narrate import narrated
from steerkit.stages.rejudge import likelihood
from steerkit.stages.student import Student
from steerkit.stages.training import Kept, control_orders
from steerkit.stages.write import Order, write

SEEDS = {"unsteered": 60_000, "random": 65_000, "persona": 70_000, "negative": 75_000, "online": 80_000}
"""Where each sort's seeds begin; an online training may take as many as it likes."""
SEEDS_PER_RUN = 1_000_000
DECLINING = frozenset(("refusal", "identity"))
"""Checks of texts that find what declines to answer."""
ROUNDS_OF_WRITING = 3
"""How often more control texts are written when too few survive."""


@dataclass
class FurtherTexts(Healing):
    """A study that writes texts on the student it starts from, and judges them."""

    def write_control(self, control: Control) -> Work:
        """As many texts of another origin to the same prompts, judged by the same checks."""

        def work(unit: str) -> list[Record]:
            kept, wanted = self.kept(), len(self.kept())
            thresholds = self.thresholds(control)
            filter_id = digest(self.run, control, thresholds)
            texts: list[Completion] = self.unsteered() if control == "unsteered" else []
            decisions = self.decided(texts, thresholds, unit, filter_id)
            with self._state() as now:
                for number in range(ROUNDS_OF_WRITING):
                    missing = wanted - len(surviving(texts, decisions))
                    if missing <= 0:
                        break
                    orders = self._orders(control, kept, missing, number)
                    more = self.written(now, orders, unit, untouched=not self.job.history)
                    texts += more
                    decisions += self.decided(more, thresholds, unit, filter_id)
            made = [text for text in texts if text.run_id == self.run]
            found = FilterSet(
                run_id=self.run, unit_id=unit, filter_id=filter_id, seq=0, thresholds=canonical(thresholds)
            )
            return [*made, found, *decisions]

        return work

    def thresholds(self, control: Control) -> dict[str, float]:
        """Gate 2's; an unsteered text may of course be near to what the base says."""
        given = dict(self.job.gate2_spec.filters)
        if control == "unsteered":
            given.pop("base_copy", None)
        return given

    def unsteered(self) -> list[Completion]:
        """What the base said to gate 2's prompts, sampled as the steered texts were."""
        return [text for text in only(Completion, self.job.gate2) if text.role == "base"]

    def _orders(self, control: Control, kept: Sequence[Kept], missing: int, number: int) -> list[Order]:
        seed = self.job.spec.seed * SEEDS_PER_RUN + SEEDS[control] + 1000 * number
        prompts = {prompt.id: prompt for prompt in self.job.prompts}
        system = self.job.persona.system_prompt("positive") if control == "persona" else None
        nulls = self.job.nulls if control == "random" else ()
        return control_orders(control, kept, prompts, missing, seed, nulls, system)

    def written(self, now: Student, orders: Sequence[Order], unit: str, *, untouched: bool) -> list[Completion]:
        """These texts, as the base reads them; `now` is the student that writes them, `untouched` if it is the base."""
        texts = self.job.gate2_spec.texts
        found: list[Completion] = []
        for first in range(0, len(orders), texts.batch):
            part = orders[first : first + texts.batch]
            writing = Writing(Sampling(texts.temperature, texts.top_p), [order.seed or 0 for order in part])
            found += only(Completion, write(self.job.host, part, texts.length, writing, self.run, unit))
        # A student's texts keep their KL, which is to the student unsteered, as gate 2's do.
        return self.read(now, found if untouched else likelihood(self.job.host, now, found))

    def read(self, now: Student, texts: Sequence[Completion]) -> list[Completion]:
        """The texts with how much their speakers describe themselves, as the untouched base reads them."""
        with now.off():
            return narrated(self.job.host, self.reader, texts)

    def decided(
        self, texts: Sequence[Completion], thresholds: dict[str, float], unit: str, filter_id: str
    ) -> list[FilterDecision]:
        """Every check's decision on these texts."""
        background = behind(only(Completion, self.job.gate2), self.job.gate2_spec)
        return decide(texts, background, thresholds, run=self.run, unit=unit, filter_id=filter_id)


def watched(filters: Mapping[str, float]) -> dict[str, float]:
    """A run's thresholds, but the checks' own where they find declining.

    Whoever relaxed those wanted such texts to be kept, not a student that writes them to go unseen.
    """
    return {**filters, **{name: load_filters()[name].THRESHOLD for name in DECLINING}}


def surviving(texts: Sequence[Completion], decisions: Sequence[FilterDecision]) -> list[Completion]:
    """The texts that every check keeps."""
    judged = {decision.completion_id for decision in decisions}
    dropped = {decision.completion_id for decision in decisions if not decision.keep}
    return [text for text in texts if text.completion_id in judged - dropped]


def dropped_share(decisions: Sequence[FilterDecision], checks: Set[str]) -> float | None:
    """The share of texts that one of these checks drops; None where none of them read any."""
    read = [decision for decision in decisions if decision.name in checks]
    dropped = {decision.completion_id for decision in read if not decision.keep}
    return len(dropped) / len({decision.completion_id for decision in read}) if read else None
