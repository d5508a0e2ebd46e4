"""What comparisons and scans share: vignettes in halves, captures through the store, directions, matched doses."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from steerkit.host import chat_ids
from steerkit.host.places import entry_block, places
from steerkit.inputs import Context, VignetteText, drawn_apart, halves, stratified, text_hash
from steerkit.pipeline.matching import Measure, Rungs, matched, reached
from steerkit.pipeline.scorer import Scorer, need_readable
from steerkit.pipeline.study import Job, Study, Work, restored
from steerkit.records import Answer, Arm, Calibration, Capture, Direction, Dose, Prior, Record
from steerkit.spec_compare import CompareSpec, ScanSpec
from steerkit.stages.activations import capture_id, packed, unpacked
from steerkit.stages.assemble import only
from steerkit.stages.capture import Captured, capture, completed
from steerkit.stages.dose import ladder
from steerkit.stages.score import level, mass, set_mean_prior
from steerkit.stages.steer import Fitted

Rows = Literal["all", "choice", "test", "mass"]
"""Vignettes that are read: all, the choosing half, the other half, or the few that answer mass is matched on."""


READ_AT = {"weighted": "residual", "everywhere": "residual"}
"""Sites whose activations are those of another: what differs are the model's weights, or it is one block of many."""
MARGIN = 1.5
"""How far beyond a similar direction's strengths the first rungs of another reach, as a factor."""


@dataclass(frozen=True, kw_only=True)
class ContestJob(Job):
    """A spec of a comparison or a scan with everything it names, loaded.

    `captures`: those that the store has from earlier runs, by their id.
    """

    spec: CompareSpec | ScanSpec
    contexts: tuple[Context, ...]
    instrument_config: Any
    captures: Mapping[str, Capture]


@dataclass
class Contested(Study):
    """A comparison or a scan under way."""

    job: ContestJob
    scorers: dict[tuple[Rows, int], Scorer] = field(default_factory=dict)
    hashes: dict[Rows, str] = field(default_factory=dict)
    activations: dict[tuple[int, str], Captured] = field(default_factory=dict)

    def rows(self, rows: Rows) -> tuple[VignetteText, ...]:
        """The vignettes of that name; both halves come from the seed alone."""
        spec = self.job.spec
        choice, test = halves(self.job.vignettes, spec.seed)
        if rows == "mass":
            return stratified(choice, spec.contest.mass_vignettes)
        return {"all": self.job.vignettes, "choice": choice, "test": test}[rows]

    def scorer(self, rows: Rows, first_block: int) -> Scorer:
        """What reads those vignettes where no edit is before a block."""
        if (rows, first_block) not in self.scorers:
            job, own = self.job, self.rows(rows)
            spec = replace(job.spec, vignettes_hash=text_hash(own), vignettes=len(own))
            scorer = Scorer(job.host, spec, own, job.instrument_config, self.run, first_block, rows)
            self.scorers[rows, first_block] = scorer
        return self.scorers[rows, first_block]

    @abstractmethod
    def blocks(self) -> tuple[int, ...]:
        """The blocks that activations are captured at."""

    def eval_hash(self, rows: Rows) -> str:
        """What all arms over those vignettes share."""
        if rows not in self.hashes:
            self.hashes[rows] = self.scorer(rows, self.blocks()[0]).eval_hash()
        return self.hashes[rows]

    def base(self, *rows: Rows) -> Work:
        """The work of scoring the untouched model, once for each set of vignettes, with its label bias there."""

        def work(unit: str) -> list[Record]:
            found: list[Record] = []
            for name in rows:
                scored = self.scorer(name, self.blocks()[0]).score(unit, "base")
                own = only(Answer, scored)
                need_readable(own, [v.foundation for v in self.rows(name)], self.job.persona.target)
                found += scored
                if self.corrected():
                    found += set_mean_prior(only(Arm, scored)[0], own)
            return found

        return work

    def corrected(self) -> bool:
        """Whether the answers' label bias is taken off."""
        return bool(self.job.instrument_config.prior == "set-mean")

    def draws(self) -> tuple[tuple[tuple[Context, ...], ...], tuple[Context, ...]]:
        """Contexts to fit on, per seed, and others to match doses on."""
        spec = self.job.spec
        return drawn_apart(self.job.contexts, spec.capture.contexts, spec.contest.seeds, spec.dose.prompts, spec.seed)

    def capture(self, site: str, seed: int) -> Work:
        """The work of capturing one draw of contexts, or of finding it among what earlier runs captured."""

        def work(unit: str) -> list[Record]:
            job, spec = self.job, self.job.spec
            texts = [context.text for context in self.draws()[0][seed]]
            name = capture_id(spec.fingerprint, spec.dtype, job.persona, texts, site, self.blocks())
            known = job.captures.get(name)
            if known is not None:
                return [replace(known, run_id=self.run, unit_id=unit, seed=seed, reused=True)]
            captured = capture(job.host, job.persona, texts, self.blocks(), site, self._topics(seed))
            return [self._captured(captured, name, site, seed, unit)]

        return work

    def _captured(self, captured: Captured, name: str, site: str, seed: int, unit: str) -> Capture:
        flat, extraction = packed(captured)
        return Capture(
            run_id=self.run,
            unit_id=unit,
            capture_id=name,
            trait=self.job.persona.name,
            site=site,
            seed=seed,
            contexts=self.job.spec.capture.contexts,
            blocks=list(self.blocks()),
            artifact=self.memory.put_tensors(flat),
            extraction=extraction,
            reused=False,
        )

    def _topics(self, seed: int) -> list[str]:
        return [context.category for context in self.draws()[0][seed]]

    def captured(self, seed: int, site: str = "residual") -> Captured:
        """The activations of one draw of contexts at a site."""
        if (seed, site) not in self.activations:
            read = READ_AT.get(site, site)
            found = next(one for one in only(Capture, self.records) if (one.seed, one.site) == (seed, read))
            contrasts, facts = unpacked(self.memory.get_tensors(found.artifact), found.extraction)
            if site == "everywhere":
                # Such a method is fitted at one block; its other places share what is learned there.
                first = places(self.job.host, site, self.blocks())[0]
                contrasts = {first: contrasts[first]}
            whole = completed(self.job.host, contrasts, facts, site, self.blocks(), self._topics(seed))
            self.activations[seed, site] = whole
        return self.activations[seed, site]

    def directions(self, method: str, kind: str = "real") -> list[Fitted]:
        """What was fitted, in the order of seeds, on the model's device."""
        found = [one for one in only(Direction, self.records) if one.method == method and one.kind == kind]
        return restored(self.job.host, found, self.memory.get_tensors)

    def match(self, directions: Sequence[Fitted], prompts: int, like: Fitted | None = None) -> Work:
        """The work of finding every direction's strength for every dose, beginning where a similar one had them."""

        def work(unit: str) -> list[Record]:
            spec = self.job.spec
            contest, measure = spec.contest, self._measure(unit, prompts)
            # An older version matched all draws at once; a run that it began goes on with what it found.
            known = {calibration.direction_id for calibration in only(Calibration, self.records)}
            left = [fitted for fitted in directions if fitted.direction_id not in known]
            rungs = [(fitted, strength) for fitted in left for strength in self._first_rungs(like)]
            if not rungs:
                return []
            return matched(measure, rungs, contest.doses, contest.scale, self.base_mass(), self.run, unit)

        return work

    def _first_rungs(self, like: Fitted | None) -> Sequence[float]:
        """The spec's ladder; where a similar direction's strengths are all known, those and one more on either side."""
        spec, known = self.job.spec, self.strengths()
        found = [known.get((like.direction_id, dose)) for dose in spec.contest.doses] if like else []
        strengths = sorted({strength for strength in found if strength is not None})
        if not strengths or None in found:
            return spec.dose.ladder
        return [strengths[0] / MARGIN, *strengths, strengths[-1] * MARGIN]

    def _measure(self, unit: str, prompts: int) -> Measure:
        job, spec = self.job, self.job.spec
        texts = [chat_ids(job.host, context.text) for context in self.draws()[1][:prompts]]

        def divergence(rungs: Rungs) -> list[Record]:
            return [*ladder(job.host, rungs, texts, spec.dose.tokens, self.run, unit)]

        def answer_mass(rungs: Rungs) -> list[Record]:
            return [
                record
                for fitted, strength in rungs
                for record in self.scorer("mass", entry_block(fitted.states)).score(
                    unit, "steered", fitted, strength, strength
                )
            ]

        return answer_mass if spec.contest.scale == "answer-mass" else divergence

    def base_mass(self) -> float:
        """The base's answer mass on the vignettes that it is matched on; 1 on a scale that has no use for it."""
        if self.job.spec.contest.scale != "answer-mass":
            return 1.0
        return float(mass(self.answers_of(self._base_arm(self.eval_hash("mass")))).mean())

    def strengths(self) -> dict[tuple[str, float], float]:
        """Calibrated strength by direction and dose."""
        found = only(Calibration, self.records)
        return {(one.direction_id, one.target): one.strength for one in found if one.strength is not None}

    def reached(self) -> dict[tuple[str, float], float]:
        """What was measured, by direction and strength."""
        return reached(self._ladders(), self.job.spec.contest.scale, self.base_mass())

    def _ladders(self) -> list[Record]:
        """What doses were matched with: ladders of KL, or steered arms on the few vignettes for that."""
        if self.job.spec.contest.scale != "answer-mass":
            return [*only(Dose, self.records)]
        hashed = self.eval_hash("mass")
        arms = [arm for arm in only(Arm, self.records) if arm.eval_hash == hashed and arm.kind != "base"]
        own = {arm.arm_id for arm in arms}
        return [*arms, *(answer for answer in only(Answer, self.records) if answer.arm_id in own)]

    def answers_of(self, arm: Arm) -> list[Answer]:
        """An arm's raw answers."""
        return [answer for answer in only(Answer, self.records) if answer.arm_id == arm.arm_id]

    def _base_arm(self, eval_hash: str) -> Arm:
        return next(arm for arm in only(Arm, self.records) if arm.kind == "base" and arm.eval_hash == eval_hash)

    def headline(self, records: list[Record]) -> str:
        """The target's shift and the coherence of the first steered arm; what a waiting user wants to know first."""
        arms = [arm for arm in only(Arm, records) if arm.kind in ("steered", "prompt", "random", "shuffled")]
        if not arms or only(Calibration, records):
            return ""
        base, target = self._base_arm(arms[0].eval_hash), self.job.persona.target
        prior = [prior for prior in only(Prior, self.records) if prior.eval_hash == base.eval_hash]
        nats, own = level([a for a in only(Answer, records) if a.arm_id == arms[0].arm_id], prior, target)
        base_nats, base_mass = level(self.answers_of(base), prior, target)
        return f"d{target} {nats - base_nats:+.2f} nats, coherence {own / base_mass:.2f}"
