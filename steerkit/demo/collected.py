"""A synthetic run of gate 2: thousands of texts with every check's decision, judged by gate 2 itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from steerkit.demo.decided import decisions
from steerkit.demo.notebook import Notebook
from steerkit.demo.steered import Stage, Steered
from steerkit.demo.tales import Teller, Told, records
from steerkit.gates import gate2_filter
from steerkit.inputs import drawn_prompts
from steerkit.records import (
    Backtrack,
    Completion,
    ControllerStep,
    FilterDecision,
    FilterSet,
    Label,
    Record,
    TextGain,
)
from steerkit.request_gate2 import Gate2Request, Parent
from steerkit.spec import Gate2Spec, canonical, digest
from steerkit.spool import columns
from steerkit.stages.assemble import gate2_evidence
from steerkit.stages.control import chosen_dose, planned_doses

if TYPE_CHECKING:
    import polars

SHARES = {"base": 0.1, "probe": 0.3, "collected": 0.54, "random": 0.06}
"""What the texts were written for (fraction)."""
GAIN, GAIN_NOISE = 0.22, 0.07
"""Mean gain of a text at dose 1, and its spread (nats per token)."""
LABELLED, RIGHT = 80, 0.9
"""How many texts a made-up reader labels, and how often that reader agrees with what was planted (fraction)."""


@dataclass(frozen=True)
class Collected:
    """A finished run of gate 2; `taught`: kept texts that an adapter may be trained on, with what was decided."""

    notebook: Notebook
    parent: Parent
    spec: Gate2Spec
    filter_id: str
    taught: tuple[Record, ...]
    verdict: str

    @property
    def run(self) -> str:
        """The run's id."""
        return self.notebook.run


def collected(
    stage: Stage, before: Steered, request: Gate2Request, texts: int, number: int, chance: np.random.Generator
) -> Collected:
    """Everything that a run of gate 2 would have written down, with about that many texts."""
    parent = Parent.of(before.records)
    spec = _sized(request.after(parent).spec(0), texts)
    book = Notebook(spec, number, chance, (), parent.run.run_id)
    teller = Teller(stage.library, before.planted.knee, spec.texts.length, chance)
    run = _Writing(book, teller, before, drawn_prompts(stage.prompts, spec.texts.prompts, spec.seed), spec)
    run.base()
    run.steered()
    run.random()
    filter_id = run.filter()
    run.gain()
    if spec.texts.backtrack:
        run.backtracks()
    run.labels()
    judgement = run.judge(parent.verdict)
    book.finish()
    return Collected(book, parent, spec, filter_id, tuple(run.taught()), judgement.outcome)


def _sized(spec: Gate2Spec, texts: int) -> Gate2Spec:
    """The spec with a controller that asks for so many texts."""
    doses = len(spec.control.ladder)
    control = msgspec.structs.replace(
        spec.control,
        keep=max(8, int(0.45 * texts)),
        per_dose=max(4, int(SHARES["probe"] * texts / doses)),
        base=max(8, int(SHARES["base"] * texts)),
        random=max(4, int(SHARES["random"] * texts)),
    )
    return msgspec.structs.replace(spec, control=control)


@dataclass
class _Writing:
    """A run under way."""

    book: Notebook
    teller: Teller
    before: Steered
    prompts: tuple[Any, ...]
    spec: Gate2Spec

    def __post_init__(self) -> None:
        """Nothing is written yet."""
        self.told: list[Told] = []
        self.seeds = count()
        self.kept: Bool[np.ndarray, text] = np.zeros(0, bool)
        self.decided: polars.DataFrame | None = None
        self.gains: polars.DataFrame | None = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def tell(self, own: dict[str, Any], role: str, dose: Float[np.ndarray, "text"], **fields: Any) -> Told:
        """Texts of one role, written down."""
        import polars

        seeds = polars.Series([next(self.seeds) for _ in dose])
        schedule = self.spec.texts.schedule
        told = self.teller.told(own, dose, self.prompts, role=role, sample_seed=seeds, schedule=schedule, **fields)
        self.told.append(told)
        self.book.add_many(Completion, told.rows)
        return told

    def along(self, dose: Float[np.ndarray, "text"]) -> dict[str, Any]:
        """Columns of texts along the run's direction."""
        import polars

        return {"direction_id": self.before.direction, "strength": polars.Series(dose * self.before.strength)}

    def base(self) -> None:
        """Unsteered texts."""
        own = self.book.unit("write", "base", 20.0)
        self.tell(own, "base", np.zeros(self.spec.control.base), strength=0.0)

    def steered(self) -> None:
        """Probes at every dose of the ladder, a choice, and what is collected below it."""
        control, own = self.spec.control, self.book.unit("write", "probes", 60.0)
        doses = np.repeat(sorted(control.ladder), control.per_dose)
        probes = self.tell(own, "probe", doses, **self.along(doses))
        alive = probes.rows["dose"].filter(self._surviving(probes)).to_list()
        made, survived = Counter(doses.tolist()), Counter(alive)
        moves = [("probe", dose, made[dose], survived[dose], "") for dose in sorted(made)]
        chosen = chosen_dose(made, survived, control.survival) or min(made)
        note = f"the highest probed dose that keeps {control.survival:.0%} of its texts, smoothed"
        moves.append(("choose", chosen, made[chosen], survived[chosen], note))
        self.chosen = chosen
        self._moved(own, moves, 0, 0)
        self._collect(planned_doses(chosen, control), survived.total(), len(moves))

    def _collect(self, doses: Sequence[float], kept: int, number: int) -> None:
        """Two batches, an equal part at each dose."""
        whole = int(SHARES["collected"] / SHARES["base"] * self.spec.control.base)
        for batch, size in enumerate((whole * 2 // 3, whole - whole * 2 // 3)):
            own = self.book.unit("write", f"batch {batch}", 90.0)
            dose = np.sort(np.resize(np.asarray(doses), max(len(doses), size)))
            told = self.tell(own, "collected", dose, **self.along(dose))
            alive = Counter(told.rows["dose"].filter(self._surviving(told)).to_list())
            moves = [("collect", each, int((dose == each).sum()), alive[each], "") for each in doses]
            kept, number = self._moved(own, moves, kept, number)

    def _surviving(self, told: Told) -> "polars.Series":
        return decisions(told, self.spec.filters)[1]

    def _moved(
        self, own: dict[str, Any], moves: Sequence[tuple[str, float, int, int, str]], kept: int, number: int
    ) -> tuple[int, int]:
        """Write the controller's moves down; returns how many texts are kept so far, and the next move's number."""
        counts = accumulate((0 if phase == "choose" else alive for phase, _, _, alive, _ in moves), initial=kept)
        for (phase, dose, made, alive, note), whole in zip(moves, list(counts)[1:], strict=True):
            self.book.add(
                ControllerStep(
                    **own,
                    number=number,
                    phase=phase,  # type: ignore[arg-type]
                    dose=dose,
                    made=made,
                    survived=alive,
                    kept=whole,
                    note=note,
                )
            )
            number, kept = number + 1, whole
        return kept, number

    def random(self) -> None:
        """Texts along random directions at the chosen dose."""
        import polars

        own = self.book.unit("write", "random directions", 15.0)
        parent = Parent.of(self.before.records)
        dose = np.full(self.spec.control.random, self.chosen)
        names = np.resize([each.direction_id for each in parent.random_directions()], len(dose))
        strength = [parent.strengths[str(name)] * self.chosen for name in names]
        self.tell(own, "random", dose, direction_id=polars.Series(names), strength=polars.Series(strength))

    # -- judging ------------------------------------------------------------------------------------------------------

    def filter(self) -> str:
        """Every check's decision on every text."""
        import polars

        own, filters = self.book.unit("filter", "decisions", 4.0), self.spec.filters
        filter_id = digest(self.book.run, filters)
        self.book.add(FilterSet(**own, filter_id=filter_id, seq=0, thresholds=canonical(filters)))
        parts = [decisions(told, filters) for told in self.told]
        self.kept = polars.concat([kept for _, kept in parts]).to_numpy()
        rows = polars.concat([rows for rows, _ in parts]).with_columns(
            **{name: polars.lit(value) for name, value in own.items()}, filter_id=polars.lit(filter_id)
        )
        self.decided = rows.select(polars.col(name).cast(kind) for name, kind in columns(FilterDecision).items())
        self.book.add_many(FilterDecision, self.decided)
        return filter_id

    def gain(self) -> None:
        """How much likelier each text is under steering."""
        import polars

        own, texts = self.book.unit("gain", "likelihood ratio", 12.0), self._texts()
        along = (texts["direction_id"] == self.before.direction).fill_null(False).to_numpy()
        mean = GAIN * texts["dose"].to_numpy() ** 0.7 * np.where(along, 1.0, 0.2)
        mean = mean * min(1.0, self.before.planted.push / 0.5)
        operating = self.spec.operating_dose or self.chosen
        self.gains = texts.select(
            **{name: polars.lit(value) for name, value in own.items()},
            completion_id="completion_id",
            strength=polars.lit(operating * self.before.strength),
            gain=polars.Series(np.round(mean + self.book.chance.normal(0, GAIN_NOISE, len(mean)), 5)),
            tokens="tokens",
        )
        self.book.add_many(TextGain, self.gains)

    def _texts(self) -> "polars.DataFrame":
        import polars

        return polars.concat([told.rows for told in self.told])

    def backtracks(self) -> None:
        """Where texts broke while they were written, at strong doses mostly."""
        own = self.book.unit("write", "retries", 0.0)
        chance, texts = self.book.chance, self._texts().filter(self._texts()["dose"] > 0)
        broke = chance.random(texts.height) < 0.15 * texts["dose"].to_numpy()
        for text in texts.filter(broke).select("completion_id", "tokens", "strength").iter_rows(named=True):
            place, looped = int(chance.integers(9, max(10, text["tokens"]))), bool(chance.random() < 0.4)
            self.book.add(
                Backtrack(
                    **own,
                    completion_id=text["completion_id"],
                    attempt=1,
                    at_token=place,
                    rewound_to=max(0, place - 12),
                    why="loop" if looped else "kl",
                    value=round(float(chance.uniform(0.2, 0.5) if looped else chance.uniform(0.9, 1.6)), 3),
                    strength_before=text["strength"],
                    strength_after=0.7 * text["strength"],
                )
            )

    def labels(self) -> None:
        """What a made-up reader says of a few steered texts."""
        own, texts = self.book.unit("label", "reader", 0.0), self._texts()
        drawn = np.concatenate([told.prose.drawn for told in self.told])
        steered = np.flatnonzero(texts["role"].is_in(["probe", "collected"]).to_numpy())
        for seq, place in enumerate(self.book.chance.permutation(steered)[:LABELLED]):
            right = self.book.chance.random() < RIGHT
            said = {0: "enacts", 1: "narrates"}.get(int(drawn[place]), "neither")
            self.book.add(
                Label(
                    **own,
                    completion_id=texts["completion_id"][int(place)],
                    seq=seq + 1,
                    labeller="synthetic",
                    coherent=bool(drawn[place] < 3) is right,
                    trait=said,  # type: ignore[arg-type]
                )
            )

    def judge(self, gate1_verdict: str) -> gate2_filter.Judgement:
        """What gate 2 itself says of all this."""
        assert self.decided is not None and self.gains is not None
        import polars

        own = self.book.unit("judge", "gate2", 0.5)
        # The judge does not read tokens, which are nearly all there is to a text.
        light = self._texts().with_columns(
            token_kl=polars.lit([], polars.List(polars.Float64)), pieces=None, token_ids=None
        )
        few: list[Record] = [*records(light), *self.book.records]
        few += msgspec.convert(self.decided.to_dicts(), list[FilterDecision])
        few += msgspec.convert(self.gains.to_dicts(), list[TextGain])
        config = msgspec.convert(self.spec.gate_config, gate2_filter.Config)
        judgement = gate2_filter.judge(gate2_evidence(few, self.spec, gate1_verdict), config)
        self.book.judged(judgement, "gate2", own)
        return judgement

    def taught(self) -> list[Record]:
        """A few hundred texts with their decisions, those that are kept at strong doses first."""
        assert self.decided is not None and self.gains is not None
        import polars

        order = self._texts().with_row_index("place").filter(self.kept)
        steered = order.filter(polars.col("role") == "collected").sort("dose", descending=True).head(100)
        some = polars.concat([steered, order.filter(polars.col("role") == "base").head(100)])
        wanted = some["completion_id"]
        decided = self.decided.filter(polars.col("completion_id").is_in(wanted.implode()))
        gained = self.gains.filter(polars.col("completion_id").is_in(wanted.implode()))
        return [
            *self.book.records,
            *records(some.drop("place")),
            *msgspec.convert(decided.to_dicts(), list[FilterDecision]),
            *msgspec.convert(gained.to_dicts(), list[TextGain]),
        ]
