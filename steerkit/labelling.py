"""What people say of texts: which one to read next, labels as CSV, and how often every check is right.

A text is *good* when it is coherent and does not narrate the trait. With several labellers the majority counts; a tie
counts for nothing. Kept and dropped texts are labelled at different rates, so each labelled text stands for as many as
its group has unlabelled ones; the intervals are Wilson's at the effective number of texts (Kish 1965).
"""

import csv
import io
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from steerkit.errors import UsageError
from steerkit.evidence import TextEvidence
from steerkit.records import Label, Trait
from steerkit.spec import unit_id
from steerkit.stats import Interval, wilson

COLUMNS = ("completion_id", "labeller", "coherent", "trait")
TRAITS: tuple[Trait, ...] = ("enacts", "narrates", "neither")
KEYS: dict[str, tuple[bool, Trait]] = {
    "1": (True, "enacts"),
    "2": (True, "narrates"),
    "3": (True, "neither"),
    "0": (False, "neither"),
}
"""What a reader presses, and whether the text then is coherent, and what it does with the trait."""
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
ALL = "all checks"
FEWEST_SHARED = 10
"""Texts two labellers must share before their agreement is reported."""


@dataclass(frozen=True)
class Quality:
    """How often a check is right. For one check a hit is a text it drops, for all together one that is kept.

    `hits`: labelled texts it hits, `right`: those of them that it should. `missed`: labelled ones it should hit and
    does not. `precision`: right hits among its hits; `recall`: among all it should hit; both as for all texts of the
    run, with 95% intervals; None where there is nothing to divide by. `recall` is None too while no kept or no dropped
    text is labelled: what it should hit may be among those.
    """

    name: str
    hits: int
    right: int
    missed: int
    precision: Interval | None
    recall: Interval | None


def labelled(
    run: str, completion_id: str, labeller: str, coherent: bool | None, trait: Trait | None, seq: int
) -> Label:
    """What a labeller says of one text from `seq` on (nanoseconds since the epoch); None for both takes it back."""
    return Label(
        run_id=run,
        unit_id=unit_id(run, "label"),
        completion_id=completion_id,
        seq=seq,
        labeller=labeller,
        coherent=coherent,
        trait=trait,
    )


def reading_order(texts: Sequence[TextEvidence], seed: int) -> list[TextEvidence]:
    """The texts in a seeded order: pairs of a kept and a dropped one as long as both last, either of them first.

    The turn within a pair is drawn too, or a reader would learn what the checks say.
    """
    draw = random.Random(seed)
    shuffled = draw.sample(list(texts), len(texts))
    kept, dropped = [t for t in shuffled if t.kept], [t for t in shuffled if not t.kept]
    pairs = (draw.sample(pair, 2) for pair in zip_longest(kept, dropped))
    return [text for pair in pairs for text in pair if text is not None]


def good(text: TextEvidence) -> bool | None:
    """Whether most labellers call the text coherent and not narrating; None without labels and at a tie."""
    said = [bool(label.coherent) and label.trait != "narrates" for label in text.labels]
    return None if not said or 2 * sum(said) == len(said) else 2 * sum(said) > len(said)


def qualities(texts: Sequence[TextEvidence]) -> list[Quality]:
    """All checks together, then each, against the labels."""
    labelled = [(text, truth) for text in texts if (truth := good(text)) is not None]
    weights = _weights(texts, [text for text, _ in labelled])
    both = {text.kept for text in texts} == {text.kept for text, _ in labelled}
    names = sorted({decision.name for text in texts for decision in text.decisions})
    rows = [(ALL, [text.kept for text, _ in labelled], [truth for _, truth in labelled])]
    rows += [(n, [n in text.dropped_by for text, _ in labelled], [not truth for _, truth in labelled]) for n in names]
    return [_quality(name, hit, wanted, weights, both) for name, hit, wanted in rows]


def _weights(texts: Sequence[TextEvidence], labelled: Sequence[TextEvidence]) -> list[float]:
    """How many texts each labelled one stands for: its group is the kept ones or the dropped ones."""
    size = {kept: sum(text.kept == kept for text in texts) for kept in (True, False)}
    seen = {kept: sum(text.kept == kept for text in labelled) for kept in (True, False)}
    return [size[text.kept] / seen[text.kept] for text in labelled]


def _quality(name: str, hit: Sequence[bool], wanted: Sequence[bool], weights: Sequence[float], both: bool) -> Quality:
    rows = list(zip(hit, wanted, weights, strict=True))
    return Quality(
        name=name,
        hits=sum(hit),
        right=sum(h and w for h, w, _ in rows),
        missed=sum(w and not h for h, w, _ in rows),
        precision=_share([(w, weight) for h, w, weight in rows if h]),
        recall=_share([(h, weight) for h, w, weight in rows if w]) if both else None,
    )


def _share(rows: Sequence[tuple[bool, float]]) -> Interval | None:
    """The weighted share of true rows, with Wilson's interval at the effective number of rows."""
    if not rows:
        return None
    total = sum(weight for _, weight in rows)
    effective = total**2 / sum(weight**2 for _, weight in rows)
    return wilson(sum(weight for true, weight in rows if true) / total, effective)


def kappa(texts: Sequence[TextEvidence]) -> float | None:
    """Cohen's kappa between the two labellers who share most texts, on good or not; None where they share too few."""
    from sklearn.metrics import cohen_kappa_score

    pairs: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for text in texts:
        said = sorted((label.labeller, bool(label.coherent) and label.trait != "narrates") for label in text.labels)
        for place, (first, one) in enumerate(said):
            for second, other in said[place + 1 :]:
                pairs.setdefault((first, second), []).append((one, other))
    most = max(pairs.values(), key=len, default=[])
    ours, theirs = {one for one, _ in most}, {other for _, other in most}
    # Without both answers from either labeller there is nothing to agree about beyond chance.
    enough = len(most) >= FEWEST_SHARED and len(ours) == len(theirs) == 2
    return float(cohen_kappa_score(*zip(*most, strict=True))) if enough else None


def to_csv(texts: Iterable[TextEvidence]) -> str:
    """Every label with its text, one row each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, "text"])
    for text in texts:
        for label in text.labels:
            said = (label.completion_id, label.labeller, str(label.coherent).lower(), label.trait)
            writer.writerow([*said, text.completion.text])
    return out.getvalue()


def from_csv(path: Path, known: frozenset[str], *, run: str, seq: int) -> list[Label]:
    """The labels of a file with the columns completion_id, labeller, coherent, trait; others are left aside.

    Raises UsageError naming file and row for a missing column, an unknown completion or a bad value.
    """
    try:
        # Not by str.splitlines, which would end a row at characters that a text may hold, such as a form feed.
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"labels must be a readable CSV file, but {path} gave: {error}") from error
    if not rows:
        raise UsageError(f"labels must hold at least one row below the header, but {path} has none")
    missing = [name for name in COLUMNS if name not in rows[0]]
    if missing:
        raise UsageError(f"{path}: the header must have {', '.join(COLUMNS)}, but {', '.join(missing)} is missing")
    return [_label(row, f"{path}, row {n}", known, run, seq + n) for n, row in enumerate(rows, 1)]


def _label(row: dict[str, str], where: str, known: frozenset[str], run: str, seq: int) -> Label:
    if row["completion_id"] not in known:
        raise UsageError(f"{where}: completion_id must be a text of run {run}, but got {row['completion_id']!r}")
    coherent = TRUTH.get((row["coherent"] or "").strip().lower())
    if coherent is None:
        raise UsageError(f"{where}: coherent must be true or false, but got {row['coherent']!r}")
    trait = next((name for name in TRAITS if name == (row["trait"] or "").strip().lower()), None)
    if trait is None:
        raise UsageError(f"{where}: trait must be one of {', '.join(TRAITS)}, but got {row['trait']!r}")
    if not (row["labeller"] or "").strip():
        raise UsageError(f"{where}: labeller must be a name, but is empty")
    return labelled(run, row["completion_id"], row["labeller"].strip(), coherent, trait, seq)
