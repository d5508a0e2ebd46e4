"""A synthetic loop: its ledger from the runs of its rounds, judged by gate 4 itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from msgspec.structs import replace

from steerkit.demo.collected import Collected
from steerkit.demo.healed import Healed
from steerkit.demo.notebook import Notebook, moved
from steerkit.demo.steered import Steered
from steerkit.gates import gate4_loop
from steerkit.gates._gate4_course import course
from steerkit.gates._gate4_measured import measured
from steerkit.records import Answer, Arm, Completion, Prior, Record, Round
from steerkit.request_loop import LoopRequest
from steerkit.spec import digest
from steerkit.spec_loop import LoopSpec
from steerkit.stages.assemble import loop_evidence, only
from steerkit.stages.ledger import drafted, placed
from steerkit.stages.score import level


@dataclass(frozen=True)
class Played:
    """One round's runs."""

    gate1: Steered
    gate2: Collected
    gate3: Healed


def begun(request: LoopRequest, number: int, chance: np.random.Generator) -> Notebook:
    """A loop that has no round yet."""
    return Notebook(request.spec(digest("synthetic"), "float32", 0), number, chance)


def played(book: Notebook, request: LoopRequest, rounds: Sequence[Played], number: int) -> Round:
    """Write round `number` down, and return its row of the ledger."""
    own, found = book.unit("round", str(number), 900.0), rounds[number]
    taken = _taken(book.run, own, found, number)
    before = only(Round, book.records)
    sources = (found.gate1.records, found.gate2.taught, found.gate3.notebook.records)
    draft = drafted(_row(book, own, rounds, number), *sources, book.spec.heal)
    study = measured(_evidence(book.spec, request, [*book.records, *taken], [*before, draft]), 500)
    whole = placed(draft, study.rounds[-1], before[-1] if before else None)
    where = course(study, request.gate_config)
    last = number == book.spec.rounds - 1
    made = replace(whole, best_round=where.best, stop=where.stop if last else "", stop_why=where.why if last else "")
    book.add(*taken, made)
    return made


def judged(book: Notebook, request: LoopRequest) -> None:
    """What gate 4 itself says of the loop."""
    own = book.unit("judge", "gate4", 0.8)
    judgement = gate4_loop.judge(
        _evidence(book.spec, request, book.records, only(Round, book.records)), request.gate_config
    )
    book.judged(judgement, "gate4", own)
    book.finish()


def _taken(run: str, own: dict[str, Any], found: Played, number: int) -> list[Record]:
    """The arms that rounds are compared by, as the loop's own: the base and the front once, then three a round."""
    first, gate3 = found.gate1.records, found.gate3.notebook.records
    arms = _own(gate3)
    if not number:
        arms += [arm for arm in only(Arm, first) if arm.kind in ("base", "prompt")]
        arms += [arm for arm in only(Arm, first) if arm.kind == "steered" and arm.dose > 0]
    names = {arm.arm_id: digest(run, number, arm.arm_id) for arm in arms}
    answers = [answer for answer in only(Answer, [*first, *gate3]) if answer.arm_id in names]
    places = names | ({} if number else _base_of(gate3, names, arms))
    texts = [text for text in only(Completion, gate3) if text.arm_id in places]
    return [
        *(replace(arm, **own, arm_id=names[arm.arm_id]) for arm in arms),
        *(replace(answer, **own, arm_id=names[answer.arm_id]) for answer in answers),
        *([] if number else moved(only(Prior, first), own)),
        *(
            replace(
                text,
                **own,
                completion_id=digest(run, number, text.completion_id),
                arm_id=places[text.arm_id],  # type: ignore[index]
            )
            for text in texts
        ),
    ]


def _own(gate3: Sequence[Record]) -> list[Arm]:
    """Arms that gate 3 scored itself: its students, and the steered model that its texts came from."""
    steered = [arm for arm in only(Arm, gate3) if arm.kind == "steered"][-1:]
    return [*steered, *(arm for arm in only(Arm, gate3) if arm.kind in ("plain", "healed"))]


def _base_of(gate3: Sequence[Record], names: dict[str, str], arms: Sequence[Arm]) -> dict[str, str]:
    """Gate 3's name of the base, whose texts it wrote, to the loop's."""
    base = next(arm.arm_id for arm in arms if arm.kind == "base")
    return {arm.arm_id: names[base] for arm in only(Arm, gate3) if arm.kind == "base"}


def _row(book: Notebook, own: dict[str, Any], rounds: Sequence[Played], number: int) -> dict[str, Any]:
    """What the round's own runs do not say of it."""
    found = rounds[number]
    gate3 = found.gate3.notebook.records
    base = next(arm.arm_id for arm in only(Arm, gate3) if arm.kind == "base")
    answers = [answer for answer in only(Answer, gate3) if answer.arm_id == base]
    vectors = [each.gate1.vector for each in rounds[: number + 1]]
    return {
        **own,
        "round": number,
        "gate1_run": found.gate1.notebook.run,
        "gate2_run": found.gate2.run,
        "gate3_run": found.gate3.notebook.run,
        **{f"{arm.kind}_arm": digest(book.run, number, arm.arm_id) for arm in _own(gate3)},
        "lowest_dose": min(book.spec.control.ladder),
        "base_nats": level(answers, only(Prior, gate3), book.spec.target)[0],
        "stop": "",
        "stop_why": "",
        "cosine_first": _cosine(vectors[-1], vectors[0]),
        "cosine_last": _cosine(vectors[-1], vectors[-2]) if number else None,
    }


def _cosine(one: Float[np.ndarray, "block dim"], other: Float[np.ndarray, "block dim"]) -> float:
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


def _evidence(spec: LoopSpec, request: LoopRequest, records: Sequence[Record], rows: Sequence[Round]) -> Any:
    return loop_evidence(records, rows, spec, request.first.persona)
