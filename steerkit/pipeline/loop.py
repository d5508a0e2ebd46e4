"""The loop's pipeline: one unit per round, in which gates 1 to 3 run on the student so far; then the verdict."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from steerkit.gates import gate4_loop
from steerkit.gates._gate4_course import course
from steerkit.gates._gate4_measured import measured
from steerkit.pipeline.study import Job, Memory, Step, Study, Work, own_columns
from steerkit.records import Answer, Arm, Completion, Effect, Prior, Record, Round, Run, Stop, Verdict
from steerkit.spec import digest
from steerkit.spec_loop import LoopSpec
from steerkit.stages.assemble import loop_evidence, only
from steerkit.stages.heading import cosine_between
from steerkit.stages.ledger import drafted, placed
from steerkit.stages.score import level
from steerkit.stages.steer import Fitted


@dataclass(frozen=True)
class Played:
    """Records of a round's runs; `gate3` is None where there was none, and then `stop` and `why` say why."""

    gate1: tuple[Record, ...]
    gate2: tuple[Record, ...]
    gate3: tuple[Record, ...] | None
    stop: Stop = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Gate4Job(Job):
    """A spec of a loop with what it needs.

    `play`: runs the gates of a round, or finds them done, given its number, the adapters so far and the first run.
    `direction_of`: the direction that a run of gate 1 fitted.
    """

    spec: LoopSpec
    play: Callable[[int, tuple[str, ...], str], Played]
    direction_of: Callable[[str], Fitted]


@dataclass
class _Loop(Study):
    """A loop under way."""

    job: Gate4Job

    def total(self) -> int:
        """How many units the loop has, if nothing stops it."""
        return self.job.spec.rounds + 1

    def headline(self, records: list[Record]) -> str:
        """Where the round's student stands."""
        rows = only(Round, records)
        if not rows:
            return ""
        row, target = rows[0], self.job.spec.target
        stopped = f"; stopped: {row.stop}" if row.stop else ""
        if row.d_target is None or row.coherence is None:
            return f"{row.kept} of {row.made} texts kept{stopped}"
        return f"d{target} {row.d_target:+.2f} nats, coherence {row.coherence:.3f}{stopped}"

    def rows(self) -> list[Round]:
        """The rounds so far."""
        return only(Round, self.records)

    def history(self) -> tuple[str, ...]:
        """The adapters that the next round starts from."""
        return tuple(row.adapter_id for row in self.rows() if row.adapter_id is not None)

    def round(self, number: int) -> Work:
        """The work of one round."""

        def work(unit: str) -> list[Record]:
            before = self.rows()
            played = self.job.play(number, self.history(), before[0].gate1_run if before else "")
            taken = self._taken(played, number, unit)
            return [*taken, self._row(played, taken, number, unit)]

        return work

    def _taken(self, played: Played, number: int, unit: str) -> list[Record]:
        """The arms that rounds are compared by, as this run's own: of later rounds the three that are new."""
        own = {"run_id": self.run, "unit_id": unit}
        arms = [arm for arm in only(Arm, played.gate3 or ()) if arm.arm_id in self._new(played)]
        if not number:
            first = only(Arm, played.gate1)
            arms += [arm for arm in first if arm.kind in ("base", "prompt") or (arm.kind == "steered" and arm.dose > 0)]
        names = {arm.arm_id: digest(self.run, number, arm.arm_id) for arm in arms}
        sources = [*played.gate1, *(played.gate3 or ())]
        answers = [each for each in only(Answer, sources) if each.arm_id in names]
        prior = [] if number else only(Prior, played.gate1)
        return [
            *(replace(arm, **own, arm_id=names[arm.arm_id]) for arm in arms),
            *(replace(answer, **own, arm_id=names[answer.arm_id]) for answer in answers),
            *(replace(each, **own) for each in prior),
            *self._texts(played, names, number, unit),
        ]

    def _new(self, played: Played) -> set[str]:
        """Arms of gate 3 that it scored itself: its students, and the steered one that its texts came from."""
        found = played.gate3 or ()
        wrote = {text.arm_id for text in only(Completion, found)}
        kinds = ("steered", "healed", "plain")
        return {arm.arm_id for arm in only(Arm, found) if arm.kind in kinds and arm.arm_id in wrote}

    def _texts(self, played: Played, names: dict[str, str], number: int, unit: str) -> list[Completion]:
        """Greedy texts of the students and, once, of the base."""
        found = played.gate3 or ()
        places = dict(names)
        if not number:
            base = next(arm.arm_id for arm in only(Arm, played.gate1) if arm.kind == "base")
            places |= {arm.arm_id: names[base] for arm in only(Arm, found) if arm.kind == "base"}
        return [
            replace(
                text,
                run_id=self.run,
                unit_id=unit,
                completion_id=digest(self.run, number, text.completion_id),
                arm_id=places[text.arm_id],
            )
            for text in only(Completion, found)
            if text.arm_id in places
        ]

    def _row(self, played: Played, taken: Sequence[Record], number: int, unit: str) -> Round:
        """The round's row of the ledger."""
        spec, before = self.job.spec, self.rows()
        scored = {arm.kind: arm.arm_id for arm in only(Arm, taken) if arm.arm_id in self._scored(played, number)}
        gate1, gate2 = (only(Run, records)[0].run_id for records in (played.gate1, played.gate2))
        own: dict[str, Any] = {
            "run_id": self.run,
            "unit_id": unit,
            "round": number,
            "gate1_run": gate1,
            "gate2_run": gate2,
            "gate3_run": only(Run, played.gate3)[0].run_id if played.gate3 else None,
            **{f"{kind}_arm": scored.get(kind) for kind in ("steered", "healed", "plain")},
            "lowest_dose": min(spec.control.ladder),
            "base_nats": self._base_nats(played, taken),
            "stop": played.stop,
            "stop_why": played.why,
            **self._cosines(gate1, before),
        }
        draft = drafted(own, played.gate1, played.gate2, played.gate3, spec.heal)
        records = [*self.records, *taken]
        study = measured(self._evidence(records, [*before, draft]), self.job.gate_config.resamples)
        row = placed(draft, study.rounds[-1], before[-1] if before else None)
        where = course(study, self.job.gate_config)
        return replace(row, best_round=where.best, stop=where.stop, stop_why=where.why)

    def _scored(self, played: Played, number: int) -> set[str]:
        return {digest(self.run, number, name) for name in self._new(played)}

    def _base_nats(self, played: Played, taken: Sequence[Record]) -> float:
        """The target's level on the base that this round's students were compared with."""
        source = list(played.gate3) if played.gate3 else [*self.records, *taken]
        base = next(arm.arm_id for arm in only(Arm, source) if arm.kind == "base")
        answers = [answer for answer in only(Answer, source) if answer.arm_id == base]
        return level(answers, only(Prior, source), self.job.spec.target)[0]

    def _cosines(self, gate1: str, before: Sequence[Round]) -> dict[str, float | None]:
        """Where the round's direction points, beside the first one and the one before."""
        if not before:
            return {"cosine_first": 1.0, "cosine_last": None}
        now, first, last = (self.job.direction_of(run) for run in (gate1, before[0].gate1_run, before[-1].gate1_run))
        return {"cosine_first": cosine_between(now, first), "cosine_last": cosine_between(now, last)}

    def _evidence(self, records: Sequence[Record], rows: Sequence[Round]) -> Any:
        return loop_evidence(records, rows, self.job.spec, self.job.persona)

    def judge(self, unit: str) -> list[Record]:
        """Every quantity with its interval and every check's verdict."""
        judgement = gate4_loop.judge(self._evidence(self.records, self.rows()), self.job.gate_config)
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit}
        return [
            *(Effect(**own, **own_columns(effect, Effect)) for effect in judgement.effects),
            *(Verdict(**own, gate="gate4", **own_columns(verdict, Verdict)) for verdict in judgement.verdicts),
        ]


def loop(job: Gate4Job, memory: Memory) -> Iterator[Step]:
    """round > round > ... > judge, one step per round."""
    study = _Loop(job, memory)
    for number in range(job.spec.rounds):
        yield study.step("round", str(number), study.round(number))
        if study.rows()[-1].stop:
            break
    yield study.step("judge", "gate4", study.judge)
