"""A small store of one run of gate 2, made of hand-written texts with planted figures, and its parent of gate 1."""

import shutil
from pathlib import Path

import msgspec
from msgspec.structs import replace
from store_child import plain

from steerkit.records import Completion, FilterDecision, FilterSet, Record, Role, Run, RunEvent, Unit
from steerkit.spec import Gate2Spec, canonical, digest, run_id, unit_id
from steerkit.stages.filter import behind, decide, thresholds
from steerkit.store import Store
from steerkit.testing import planted_background, planted_completion

PARENT = "parent0gate1"
HOSTILE = "[bold red]Take the form to the desk[/]\x1b[31m and <script> say\u202e that it was late, and ask the clerk."
KL_TEXT = "You put the parcel on the desk of the other office, and then you wait there for her to come back to it."
SPIKE = range(4, 12)
"""Tokens of `KL_TEXT` at which the models disagree."""
LOOP = "You go to the office and ask. " * 6
TEXTS: dict[str, tuple[Role, str]] = {
    "base-1": ("base", "You could ask your manager for a day more, and tell her why the form came late to you."),
    "base-2": ("base", "It is best to talk to them and to say what you think, and then you can wait for it."),
    "base-3": ("base", "I would take the form back to the office and ask the clerk there if it is still open."),
    "base-4": ("base", "If you are not sure, you may write to her and ask for the rule that he has told you of."),
    "probe-clear": ("probe", "Tell her that you took the wrong form, and that it is on the desk now."),
    "probe-plain": ("probe", "I will write to the clerk today and ask if he can take it back in the morning."),
    "probe-near": ("probe", "Go there before it is noon, and say to the man at the door that you were sent."),
    "probe-over": ("probe", "The best is to wait for the list, and to read what it has of you, and no more."),
    "probe-far": ("probe", "It was a day of the sort that you had in the old house, and so he sang to it."),
    "probe-loop": ("probe", LOOP),
    "collected-clear": ("collected", "Ask for the book of rules, and read to him the page that he had in mind."),
    "collected-plain": ("collected", "You may keep it for the day, and you can bring it to her when she is back."),
    "collected-hostile": ("collected", HOSTILE),
    "collected-kl": ("collected", KL_TEXT),
    "collected-refusal": ("collected", "I'm sorry, but I can't assist with that request, and I hope that it is fine."),
    "collected-short": ("collected", "No, you may not."),
}
PERPLEXITIES = {"probe-near": 14.5, "probe-over": 15.5, "probe-far": 60.0}
"""The others have a perplexity of 5; the default threshold is 15."""
DROPPED = {
    "probe-over": ("perplexity",),
    "probe-far": ("perplexity",),
    "probe-loop": ("compression", "loops"),
    "collected-kl": ("kl_spike",),
    "collected-refusal": ("refusal",),
    "collected-short": ("length",),
}
"""Which checks drop which of the steered texts; the rest is kept."""
STEERED = tuple(name for name, (role, _) in TEXTS.items() if role != "base")
SPEC = Gate2Spec(
    parent_run=PARENT,
    method="svd",
    trait="planted",
    target="Authority",
    persona_pair=msgspec.to_builtins(planted_background().persona),
    model="tiny",
    fingerprint="f" * 16,
    dtype="float32",
    seed=0,
    prompts_hash="p" * 16,
    operating_dose=1.0,
    filters=thresholds({}),
)
RUN = run_id(SPEC)
SIBLING = f"{RUN[:6]}-gate1"
"""A run of gate 1 whose id begins like that of gate 2."""


def completion(name: str, **changes: object) -> Completion:
    """One of the texts with its planted figures."""
    role, text = TEXTS[name]
    given = {"run_id": RUN, "unit_id": unit_id(RUN, "write"), "completion_id": name, "role": role}
    steered = {"strength": 0.0, "dose": 0.0} if role == "base" else {"strength": 2.0, "dose": 1.0}
    written = planted_completion(text, **given, **steered, perplexity=PERPLEXITIES.get(name, 5.0))
    if name == "collected-kl":
        kl = [1.5 if token in SPIKE else 0.1 for token in range(written.tokens)]
        written = replace(written, token_kl=kl)
    return replace(written, **changes)


def decisions(texts: list[Completion]) -> list[FilterDecision]:
    """What the checks say of the texts at the spec's thresholds."""
    given = {"unit": unit_id(RUN, "filter"), "filter_id": digest(RUN, SPEC.filters)}
    return decide(texts, behind(texts, SPEC), SPEC.filters, run=RUN, **given)


def records() -> list[Record]:
    """Everything that the store holds."""
    texts = [completion(name) for name in TEXTS]
    own = {"run_id": RUN, "unit_id": unit_id(RUN, "write")}
    round_ = {"run_id": RUN, "unit_id": unit_id(RUN, "filter")}
    said = {"filter_id": digest(RUN, SPEC.filters), "seq": 0, "thresholds": canonical(SPEC.filters)}
    return [
        plain(Run, run_id=PARENT, gate="gate1"),
        plain(Run, run_id=SIBLING, gate="gate1"),
        plain(Run, run_id=RUN, gate="gate2", method="svd", spec=canonical(SPEC), parent_run=PARENT),
        *texts,
        FilterSet(**round_, **said),
        *decisions(texts),
        plain(Unit, **own, stage="write"),
        plain(RunEvent, run_id=RUN, seq=1, state="finished"),
    ]


def make(path: Path) -> Path:
    """Write the store."""
    store = Store(path)
    store.append(records())
    store.ingest()
    return path


def copied(path: Path, folder: Path) -> Path:
    """A copy of a store, its segments included."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(path.with_name(path.name + ".d"), folder / f"{path.name}.d")
    return Path(shutil.copy(path, folder / path.name))
