"""Students of a store's runs: an adapter with the ones it was trained on top of, on the model they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit.errors import UsageError, unknown
from steerkit.host import Host, chat_ids, load, text_ids
from steerkit.inputs import dilemmas
from steerkit.records import Adapter, Run
from steerkit.runner import find_run, layered
from steerkit.session import opened
from steerkit.stages.bake import Layered, Stack, stack, with_peft
from steerkit.store import Store

if TYPE_CHECKING:
    import peft

CHECKED_TEXTS = 8
"""Texts at which hooked and baked are compared."""


@dataclass(frozen=True)
class Found:
    """A run's adapter behind all it was trained on top of, itself last."""

    run: Run
    layers: tuple[Layered, ...]

    @property
    def adapter(self) -> Adapter:
        """The newest one."""
        return self.layers[-1].adapter

    def gates(self, by_round: Mapping[int, float]) -> list[float]:
        """One gate per adapter, 1 where none is given for its round.

        Raises UsageError for a round that the student does not have.
        """
        rounds = [layered.adapter.round for layered in self.layers]
        for given in by_round:
            if given not in rounds:
                raise unknown("round", str(given), map(str, rounds))
        return [float(by_round.get(number, 1.0)) for number in rounds]

    def host(self, device: str = "auto", *, trust_remote_code: bool = False) -> Host:
        """The base model, in the dtype that the adapter was trained in."""
        return load(self.run.model, self.run.dtype, device, trust_remote_code=trust_remote_code)


@dataclass(frozen=True)
class LoadedStudent:
    """A student to work with: `model` is peft's, and whatever runs `host` runs the student."""

    host: Host
    model: "peft.PeftModel"
    stack: Stack


def find_student(
    store: Store, prefix: str, role: str = "healed", round_: int | None = None, adapter: str | None = None
) -> Found:
    """The newest (or that round's) adapter of a role in the one run whose id begins so, with its history.

    `adapter`: the beginning of one's id, which says which of several of a role, as a sweep has them. Raises UsageError
    for a run, adapter, role or round that is not there, or a history that is not in this store.
    """
    run_id = find_run(store, prefix)
    run = store.records(Run, run_id)[0]
    made = store.records(Adapter, run_id)
    if not made:
        raise UsageError(f"a student needs a run with adapters, but {run_id} ({run.gate}) has none; gate 3 trains them")
    if adapter is not None:
        named = _by_id(made, adapter)
        return Found(run, layered(store, [*named.history, named.adapter_id]))
    fitting = [each for each in made if each.role == role]
    if not fitting:
        raise unknown(f"role of run {run_id}'s adapters", role, {each.role for each in made})
    if role == "swept" and len(fitting) > 1:
        raise UsageError(
            f"run {run_id} has {len(fitting)} adapters of role swept; name one with --adapter-id, as its table has them"
        )
    if round_ is not None and round_ not in {each.round for each in fitting}:
        raise unknown(f"round of run {run_id}", str(round_), {str(each.round) for each in fitting})
    last = max(fitting, key=lambda each: each.round)
    newest = last if round_ is None else next(each for each in fitting if each.round == round_)
    return Found(run, layered(store, [*newest.history, newest.adapter_id]))


def _by_id(made: Sequence[Adapter], prefix: str) -> Adapter:
    """The one adapter whose id begins so.

    Raises UsageError when there is none, or more than one.
    """
    found = [adapter for adapter in made if prefix and adapter.adapter_id.startswith(prefix)]
    if len(found) != 1:
        raise UsageError(
            f"--adapter-id must be the beginning of one adapter's id, but {prefix!r} fits {len(found)} of "
            f"{', '.join(sorted(adapter.adapter_id for adapter in made))}"
        )
    return found[0]


def load_student(
    run: str,
    round_: int | None = None,
    gates: Sequence[float] | None = None,
    *,
    role: str = "healed",
    store: Path | str = "steerkit.duckdb",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> LoadedStudent:
    """A run's student for a notebook, with one gate per round: all 0 is the base to the bit, all 1 the student.

    Raises UsageError for a run, role or round that is not there, or a model that has changed since.
    """
    place = opened(Path(store))
    found = find_student(place, run, role, round_)
    host = found.host(device, trust_remote_code=trust_remote_code)
    adapters = stack(host, found.layers)
    return LoadedStudent(host, with_peft(host, adapters, gates), adapters)


def checked_texts(store: Store, host: Host, adapter: Adapter) -> list[list[int]]:
    """Token ids of some texts that the adapter was trained on behind their prompts; where there are none, prompts."""
    sql = """
        SELECT DISTINCT completion_id, prompt, text FROM completion JOIN heal_text USING (completion_id)
        WHERE heal_text.adapter_id = $adapter ORDER BY completion_id LIMIT $limit
    """
    rows = store.query(sql, {"adapter": adapter.adapter_id, "limit": CHECKED_TEXTS}).rows()
    pairs = [(prompt, text) for _, prompt, text in rows] or [(d.text, "") for d in dilemmas()[:CHECKED_TEXTS]]
    return [_prompt_ids(host, prompt) + text_ids(host, text, start=False) for prompt, text in pairs]


def _prompt_ids(host: Host, prompt: str) -> list[int]:
    return chat_ids(host, prompt) if host.tokenizer.chat_template else text_ids(host, prompt)
