"""A comparison's pipeline: base > capture > fit > dose > screen > score what can be on the front > judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from msgspec import structs

from steerkit.errors import RunError
from steerkit.host.places import block_of, entry_block
from steerkit.pipeline.contest import READ_AT, Contested, ContestJob, Rows
from steerkit.pipeline.scorer import arm_id
from steerkit.pipeline.study import Memory, Step, Work
from steerkit.plugins import distribution, load, load_method, sources
from steerkit.records import Answer, Arm, Contender, Direction, PointEffect, Record
from steerkit.spec import digest
from steerkit.spec_compare import CompareSpec
from steerkit.stages.assemble import only
from steerkit.stages.capture import band
from steerkit.stages.contest import PROMPT, Source, joined, part_evidence, point_id, readings, screened, survivors
from steerkit.stages.fit import fit, kept, tensors
from steerkit.stages.ranking import Parts, Placed, lost, ranked
from steerkit.stages.steer import Fitted
from steerkit.stages.trial import tried

NULLS: tuple[tuple[Literal["random", "shuffled"], str], ...] = (("random", "random"), ("shuffled", "label-shuffled"))
"""A null arm's kind, and what the method `null` calls it."""


@dataclass(frozen=True, kw_only=True)
class CompareJob(ContestJob):
    """A spec of a comparison with everything it names, loaded; `method_configs` by method."""

    spec: CompareSpec
    method_configs: dict[str, Any]


@dataclass
class _Compare(Contested):
    """A comparison under way."""

    job: CompareJob
    left: list[tuple[str, float]] | None = None
    """Points to be read in full, once the race is over."""

    def blocks(self) -> tuple[int, ...]:
        """The steered blocks."""
        return band(self.job.host, self.job.spec.capture)

    def total(self) -> int:
        """How many units the run has, as far as the screen has not ruled any out."""
        contest, running = self.job.spec.contest, len(self.running())
        fixed = 2 + contest.seeds * len(self.sites()) + 2 + len(contest.doses) + 1 + contest.race * 2
        left = running * len(contest.doses) if self.left is None else len(self.left)
        again = (running if self.left is None else len(self.later())) * (contest.seeds > 1)
        return fixed + len(self.job.spec.methods) + running * (1 + contest.race) + again + left

    def sites(self) -> list[str]:
        """Where activations are read."""
        sites = (load_method(method).SITE for method in (*self.job.spec.methods, "null"))
        return list(dict.fromkeys(READ_AT.get(site, site) for site in sites))

    def running(self) -> list[str]:
        """Methods that have not failed."""
        failed = {one.method for one in only(Contender, self.records) if one.standing == "failed"}
        return [method for method in self.job.spec.methods if method not in failed]

    def guarded(self, method: str, work: Work) -> Work:
        """The same work, except that whatever a method breaks with becomes a record: the others go on."""

        def guard(unit: str) -> list[Record]:
            try:
                return work(unit)
            except Exception as error:
                said = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
                by = distribution("methods", sources("methods")[method])
                return [lost(method, by, "failed", said, self.run, unit)]

        return guard

    def fit(self, method: str) -> Work:
        """The work of fitting a method on every draw of contexts, and of trying what it learned."""

        def work(unit: str) -> list[Record]:
            found: list[Record] = []
            for seed in range(self.job.spec.contest.seeds):
                captured = self.captured(seed, load_method(method).SITE)
                fitted = fit(captured, method, self.job.method_configs[method], digest(self.run, seed))
                tried(fitted, captured.contrasts)
                found += kept(captured, fitted, self.memory.put_tensors(tensors(fitted)), self.run, unit)
            return found

        return work

    def fit_nulls(self, unit: str) -> list[Record]:
        """Random and label-shuffled directions on every draw of contexts; all methods are held against the same."""
        dose, found = self.job.spec.dose, []
        counts = {"random": dose.random_directions, "shuffled": dose.shuffled_directions}
        for seed in range(self.job.spec.contest.seeds):
            for kind, called in NULLS:
                for number in range(counts[kind]):
                    fitted = self._null(kind, called, seed, number)
                    artifact = self.memory.put_tensors(tensors(fitted))
                    found += kept(self.captured(seed), fitted, artifact, self.run, unit)
        return found

    def _null(self, kind: str, called: str, seed: int, number: int) -> Fitted:
        """One null direction: another one at every block, each of the true contrast's norm."""
        null, first = load_method("null"), (self.job.spec.seed * 100 + seed) * 100 + number
        states = {
            block: null.fit(contrast, null.Config(kind=called, seed=first * 1000 + block_of(block)))
            for block, contrast in self.captured(seed).contrasts.items()
        }
        name = digest(self.run, "null", kind, seed, number)
        return Fitted(name, "null", kind, null.Config(kind=called, seed=first), states)

    def nulls(self) -> list[Fitted]:
        """The null directions."""
        return [fitted for kind, _ in NULLS for fitted in self.directions("null", kind)]

    def read(self, rows: Rows, fitted: Fitted, dose: float, kind: Any, unit: str) -> list[Record]:
        """One arm at a signed dose; nothing where the direction does not reach it."""
        strength = self.strengths().get((fitted.direction_id, abs(dose)))
        if strength is None:
            return []
        scorer = self.scorer(rows, entry_block(fitted.states))
        return scorer.score(unit, kind, fitted, strength if dose > 0 else -strength, dose)

    def complete(self, fitted: Fitted, dose: float, unit: str) -> list[Record]:
        """The arm over all vignettes; what the screen has read of it is taken from there, and only the rest is read."""
        seen = self._screened().get(arm_id(self.run, "steered", fitted, dose, None, "choice"))
        if seen is None:
            return self.read("all", fitted, dose, "steered", unit)
        rest = self.read("test", fitted, dose, "steered", unit)
        name = arm_id(self.run, "steered", fitted, dose, None, "all")
        arm = structs.replace(only(Arm, rest)[0], arm_id=name, eval_hash=self.eval_hash("all"))
        had = [*self.answers_of(seen), *only(Answer, rest)]
        return [arm, *joined(arm, had, [vignette.id for vignette in self.job.vignettes])]

    def _screened(self) -> dict[str, Arm]:
        """What the screen read, by arm, where the instrument reads each vignette as if it were alone; else nothing."""
        if not getattr(load("instruments", self.job.spec.instrument), "READS_ALONE", False):
            return {}
        return {arm.arm_id: arm for arm in only(Arm, self.records) if arm.kind == "steered"}

    def screen(self, method: str) -> Work:
        """The work of the cheap read: the first draw of contexts, positive doses, the choosing half."""

        def work(unit: str) -> list[Record]:
            first, doses = self.directions(method)[0], self.job.spec.contest.doses
            return [r for dose in doses for r in self.read("choice", first, dose, "steered", unit)]

        return work

    def prompt(self, rows: Rows, *poles: Literal["positive", "negative"]) -> Work:
        """The work of reading the model under the persona as a system prompt."""

        def work(unit: str) -> list[Record]:
            scorer, persona = self.scorer(rows, self.blocks()[0]), self.job.persona
            sides = [(replace(scorer, part=f"{rows} {pole}"), persona.system_prompt(pole)) for pole in poles]
            return [record for side, system in sides for record in side.score(unit, "prompt", system=system)]

        return work

    def race(self, unit: str) -> list[Record]:
        """What the screen saw of every point."""
        spec, part = self.job.spec, self._part("choice", None)
        return [*screened(part, spec.seed, self.job.gate_config, self.run, unit)]

    def survivors(self) -> set[str] | None:
        """Points that the screen cannot rule out; None before the race and without one."""
        seen = [effect for effect in only(PointEffect, self.records) if effect.part == "screen"]
        return survivors(seen, self.job.gate_config.front_chance) if seen else None

    def contestants(self) -> list[tuple[str, float]]:
        """Points that are read in full: calibrated on every draw of contexts, and not ruled out by the screen."""
        placed = [one for one in self.placed() if one.whole and not one.ruled_out]
        return [(one.method, one.dose) for one in placed if one.dose is not None]

    def later(self) -> list[str]:
        """Methods whose other draws of contexts are worth a calibration, now that the first is known."""
        left = {one.method for one in self.placed() if one.strength is not None and not one.ruled_out}
        return [method for method in self.running() if method in left]

    def full(self, method: str, dose: float) -> Work:
        """The work of reading a point in full: every draw of contexts, both signs, all vignettes."""

        def work(unit: str) -> list[Record]:
            directions = self.directions(method)
            signed = [(fitted, sign * dose) for fitted in directions for sign in (1, -1)]
            return [r for fitted, at in signed for r in self.complete(fitted, at, unit)]

        return work

    def full_nulls(self, dose: float) -> Work:
        """The work of reading all null directions at one dose."""
        return lambda unit: [r for null in self.nulls() for r in self.read("all", null, dose, null.kind, unit)]

    def placed(self) -> list[Placed]:
        """Every point with its strength and what that reaches, means over seeds; the prompt has neither."""
        left = self.survivors()
        found = [Placed(point_id(self.run, PROMPT, None), PROMPT, None, None, None, True, False)]
        strengths, reached = self.strengths(), self.reached()
        for method in self.running():
            own = self._directions_of(method)
            for dose in self.job.spec.contest.doses:
                name = point_id(self.run, method, dose)
                known = [(direction, strengths.get((direction, dose))) for direction in own]
                had = [(direction, strength) for direction, strength in known if strength is not None]
                first = bool(had) and known[0][1] is not None
                strength = fmean(strength for _, strength in had) if first else None
                at = fmean(reached[one] for one in had) if first else None
                ruled_out = left is not None and first and name not in left
                found.append(Placed(name, method, dose, strength, at, len(had) == len(own), ruled_out))
        return found

    def _directions_of(self, method: str) -> list[str]:
        """Ids of a method's directions, in the order of seeds."""
        found = only(Direction, self.records)
        return [one.direction_id for one in found if (one.method, one.kind) == (method, "real")]

    def _places(self) -> dict[str, Source]:
        """Method and seed of every real direction of a method that did not fail."""
        return {
            name: Source(method, seed)
            for method in self.running()
            for seed, name in enumerate(self._directions_of(method))
        }

    def _part(self, rows: Rows, within: Rows | None) -> Any:
        """The arms that were read on some vignettes, over those of them that are also in another set."""
        keep = None if within is None else {vignette.id for vignette in self.rows(within)}
        return part_evidence(
            self.records,
            self.job.persona,
            self._places(),
            self.eval_hash(rows),
            lambda name: keep is None or name in keep,
            self.corrected(),
        )

    def judge(self, unit: str) -> list[Record]:
        """Every point, every method, and what the race saved."""
        spec, limits = self.job.spec, self.job.gate_config
        parts = Parts(self._part("all", None), self._part("all", "choice"), self._part("all", "test"))
        placed = self.placed()
        by = {method: distribution("methods", sources("methods")[method]) for method in self.running()}
        readings = self._readings(placed)
        return ranked(parts, placed, spec, limits, by | {PROMPT: "steerkit"}, readings, self.run, unit)

    def _readings(self, placed: Sequence[Placed]) -> tuple[int, int]:
        """Vignettes read, and what it would have been without racing."""
        each = 2 * self.job.spec.contest.seeds * len(self.job.vignettes)
        whole = each * sum(place.strength is not None for place in placed)
        reused = bool(self._screened())
        return readings(self.records, self.eval_hash("all"), self.eval_hash("choice"), whole, reused=reused)


def compare(job: CompareJob, memory: Memory) -> Iterator[Step]:
    """base > capture > fit > dose > screen > score what can be on the front > judge, one step per unit of work."""
    study, spec = _Compare(job, memory), job.spec
    contest = spec.contest
    screens: tuple[Rows, ...] = ("choice",) if contest.race else ()
    weighs: tuple[Rows, ...] = ("mass",) if contest.scale == "answer-mass" else ()
    yield study.step("score", "base", study.base("all", *screens, *weighs))
    for site in study.sites():
        for seed in range(contest.seeds):
            yield study.step("capture", f"{site} {seed}", study.capture(site, seed))
    for method in spec.methods:
        yield study.step("fit", method, study.guarded(method, study.fit(method)))
    yield study.step("fit", "nulls", study.fit_nulls)
    for method in study.running():
        match = study.match(study.directions(method)[:1], spec.dose.prompts)
        yield study.step("dose", method, study.guarded(method, match))
    yield study.step("dose", "nulls", study.match(study.nulls(), spec.dose.null_prompts))
    if contest.race:
        for method in study.running():
            yield study.step("screen", method, study.guarded(method, study.screen(method)))
        yield study.step("screen", PROMPT, study.prompt("choice", "positive"))
        yield study.step("race", "screen", study.race)
    for method in study.later() if contest.seeds > 1 else ():
        first, *others = study.directions(method)
        match = study.match(others, spec.dose.prompts, like=first)
        yield study.step("dose", f"{method}, other contexts", study.guarded(method, match))
    study.left = study.contestants()
    for method, dose in study.left:
        yield study.step("score", f"{method} {dose:g}", study.guarded(method, study.full(method, dose)))
    yield study.step("score", PROMPT, study.prompt("all", "positive", "negative"))
    for dose in contest.doses:
        yield study.step("score", f"nulls {dose:g}", study.full_nulls(dose))
    yield study.step("judge", "comparison", study.judge)
