"""A scan's pipeline: base > capture every block > fit > dose and score each band > score the best on the other half."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steerkit.host.places import block_of, entry_block
from steerkit.pipeline.contest import READ_AT, Contested, ContestJob
from steerkit.pipeline.study import Memory, Step, Work
from steerkit.plugins import load_method
from steerkit.records import Arm, Band, Capture, Direction, Record
from steerkit.spec import CaptureSpec, digest
from steerkit.spec_compare import ScanSpec
from steerkit.stages.activations import unpacked
from steerkit.stages.assemble import only
from steerkit.stages.capture import Captured, band, completed
from steerkit.stages.contest import Source, part_evidence
from steerkit.stages.fit import fit, kept, tensors
from steerkit.stages.points import Weighed, choose, weigh
from steerkit.stages.ranking import arm_effects
from steerkit.stages.steer import Fitted

STARTS = 10
"""About how many bands of a width there are, unless a stride was asked for."""
Cell = tuple[int, int]
"""First and last block of a band."""


@dataclass(frozen=True, kw_only=True)
class ScanJob(ContestJob):
    """A spec of a scan with everything it names, loaded."""

    spec: ScanSpec
    method_config: Any


@dataclass
class _Scan(Contested):
    """A scan under way."""

    job: ScanJob

    def blocks(self) -> tuple[int, ...]:
        """Activations are captured at every block, once for all bands."""
        return tuple(range(len(self.job.host.blocks)))

    def default(self) -> Cell:
        """The band that is steered where none is asked for."""
        usual = band(self.job.host, CaptureSpec())
        return usual[0], usual[-1]

    def cells(self) -> list[Cell]:
        """Every band, and the default one, from the bottom of the model to the top."""
        depth, spec = len(self.job.host.blocks), self.job.spec
        stride = spec.stride or max(1, round(depth / STARTS))
        found = {
            (first, first + width - 1)
            for width in spec.widths
            for first in range(0, depth - width + 1, stride)
            if width <= depth
        }
        return sorted(found | {self.default()})

    def total(self) -> int:
        """How many units the run has."""
        return 4 + 2 * len(self.cells()) + 1

    def captured_in(self, cell: Cell) -> Captured:
        """The activations of one band, as if only it had been captured."""
        job, site = self.job, self.site()
        blocks, found = range(cell[0], cell[1] + 1), only(Capture, self.records)[0]
        contrasts, facts = unpacked(self.memory.get_tensors(found.artifact), found.extraction)
        inside = {place: contrast for place, contrast in contrasts.items() if block_of(place) in blocks}
        return completed(job.host, inside, facts, site, blocks, self._topics(0))

    def site(self) -> str:
        """Where the method acts."""
        return load_method(self.job.spec.method).SITE

    def fit(self, unit: str) -> list[Record]:
        """The method fitted on every band."""
        job, found = self.job, []
        for cell in self.cells():
            captured = self.captured_in(cell)
            fitted = fit(captured, job.spec.method, job.method_config, digest(self.run, cell))
            found += kept(captured, fitted, self.memory.put_tensors(tensors(fitted)), self.run, unit)
        return found

    def by_cell(self) -> dict[Cell, Fitted]:
        """Each band's direction."""
        return dict(zip(self.cells(), self.directions(self.job.spec.method), strict=True))

    def score(self, rows: Any, fitted: Fitted) -> Work:
        """The work of reading one band at the matched dose; nothing where it does not reach that."""

        def work(unit: str) -> list[Record]:
            [dose] = self.job.spec.contest.doses
            strength, first = self.strengths().get((fitted.direction_id, dose)), entry_block(fitted.states)
            if strength is None:
                return []
            # What blocks below the band make of the vignettes is another thing for each band's first block.
            self.scorers = {key: scorer for key, scorer in self.scorers.items() if key[1] == first}
            return self.scorer(rows, first).score(unit, "steered", fitted, strength, dose)

        return work

    def weighed(self, rows: Any) -> list[Weighed]:
        """Every band that was read on some vignettes, as points of a contest among bands."""
        spec = self.job.spec
        return weigh(self.part(rows), spec.seed, spec.gate_config["resamples"])

    def part(self, rows: Any) -> Any:
        """The arms that were read on some vignettes; each band is a method of its own."""
        places = {d.direction_id: Source(d.direction_id, 0) for d in only(Direction, self.records)}
        hashed = self.eval_hash(rows)
        return part_evidence(self.records, self.job.persona, places, hashed, lambda _: True, self.corrected())

    def best(self) -> Cell | None:
        """The band that moves the target most while it is coherent, on the choosing half; None where none does."""
        chosen = choose(self.weighed("choice"), self.job.gate_config.coherence)
        if chosen is None:
            return None
        return next(cell for cell, fitted in self.by_cell().items() if fitted.direction_id == chosen.point.method)

    def judge(self, unit: str) -> list[Record]:
        """Every band, the chosen one marked, and every arm's effects."""
        job, best = self.job, self.best()
        [dose] = job.spec.contest.doses
        strengths, reached = self.strengths(), self.reached()
        own: dict[str, Any] = {"run_id": self.run, "unit_id": unit}
        bands = []
        for cell, fitted in self.by_cell().items():
            name = fitted.direction_id
            strength = strengths.get((name, dose))
            bands.append(
                Band(
                    **own,
                    direction_id=name,
                    first_block=cell[0],
                    last_block=cell[1],
                    scale=job.spec.contest.scale,
                    dose=dose,
                    strength=strength,
                    reached=None if strength is None else reached[name, strength],
                    arm_id=self._arm("choice", name),
                    test_arm_id=self._arm("test", name),
                    chosen=cell == best,
                )
            )
        parts = [self.part(rows) for rows in ("choice", "test")]
        effects = [e for p in parts for e in arm_effects(p, job.spec.seed, job.gate_config.resamples, self.run, unit)]
        return [*bands, *effects]

    def _arm(self, rows: Any, direction: str) -> str | None:
        hashed = self.eval_hash(rows)
        arms = (arm for arm in only(Arm, self.records) if arm.eval_hash == hashed)
        return next((arm.arm_id for arm in arms if arm.direction_id == direction), None)


def named(cell: Cell) -> str:
    """A band in words."""
    return f"blocks {cell[0]}-{cell[1]}"


def layers(job: ScanJob, memory: Memory) -> Iterator[Step]:
    """base > capture > fit > dose and score each band > score the best and the default on the other half > judge."""
    study, spec = _Scan(job, memory), job.spec
    weighs: Sequence[Any] = ("mass",) if spec.contest.scale == "answer-mass" else ()
    yield study.step("score", "base", study.base("choice", "test", *weighs))
    yield study.step("capture", "every block", study.capture(READ_AT.get(study.site(), study.site()), 0))
    yield study.step("fit", spec.method, study.fit)
    for cell, fitted in study.by_cell().items():
        yield study.step("dose", named(cell), study.match([fitted], spec.dose.prompts))
        yield study.step("score", named(cell), study.score("choice", fitted))
    best, usual = study.best(), study.default()
    for cell in dict.fromkeys([usual if best is None else best, usual]):
        yield study.step("score", f"{named(cell)}, other half", study.score("test", study.by_cell()[cell]))
    yield study.step("judge", "scan", study.judge)
