"""Training while texts are written: who writes, what is counted, what it is compared with, and when it gives up."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from small_adapters import IDS, bits, host_of, layers, logits
from small_gate2 import Ran, Ready, ran
from small_gate3 import gate3, gathered

from steerkit.host import Host
from steerkit.host.adapter import attached, without
from steerkit.records import Adapter, Completion, FilterDecision, HealStep, HealText
from steerkit.spec_heal import HealSpec
from steerkit.stages.bake import hooked, stack
from steerkit.stages.heal import Example, HealStopped
from steerkit.stages.online import DRY, State, heal_online
from steerkit.store import Store

SPEC = HealSpec(fewest_texts=2, rank=4, batch=4, learning_rate=5e-3, band=(0.5, 1.0), online=4)
TEXT = tuple(range(97, 109))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(tmp_path_factory.mktemp("model"))


def example(number: int) -> Example:
    return Example(f"text{number}", (256, 97 + number % 20), TEXT)


def writer(host: Host, per_batch: Iterator[int], seen: list[float]) -> object:
    """Writes as many copies of one text as it is told, and notes how likely the student so far finds that text."""

    def write(off: State) -> list[Example]:
        now = torch.log_softmax(logits(host, [256, *TEXT])[0, :-1], -1)
        seen.append(float(-now[range(len(TEXT)), list(TEXT)].mean()))
        return [example(i) for i in range(next(per_batch))]

    return write


def online(host: Host, counts: list[int], texts: int, spec: HealSpec = SPEC, tau: float | None = None) -> object:
    seen: list[float] = []
    made = heal_online(
        host,
        writer(host, iter([*counts, *[0] * DRY]), seen),  # type: ignore[arg-type]
        [example(50), example(51)],
        spec,
        texts=texts,
        tau=tau,
        outside=None,
        seed=0,
        adapter_id="adapter",
        run="run",
        unit="unit",
    )
    return made, seen


def test_each_batch_is_written_by_the_student_so_far(host: Host) -> None:
    _, seen = online(host, [3] * 8, 24)
    assert len(seen) == 8
    assert all(later < earlier for earlier, later in pairwise(seen))


def test_one_update_per_batch_that_something_is_kept_of(host: Host) -> None:
    healed, seen = online(host, [2, 0, 3, 0, 0, 1], 6)
    assert len(seen) == 6 and len(healed.steps) == 3
    assert healed.train_tokens == 6 * len(TEXT)
    assert [epoch.epoch for epoch in healed.epochs] == [0, 1]
    assert healed.epochs[1].validation_nll < healed.epochs[0].validation_nll
    rates = [step.learning_rate for step in healed.steps]
    assert rates[-1] < rates[0] and min(rates) > 0


def test_what_it_is_compared_with_is_the_model_without_the_adapter(host: Host) -> None:
    healed, _ = online(host, [4] * 4, 16)
    apart = [step.d_mean for step in healed.steps]
    assert apart[0] == pytest.approx(0, abs=1e-5)
    assert apart[-1] > 0.01 and apart[-1] > apart[1]


def test_the_barrier_holds_the_student_back(host: Host) -> None:
    free, _ = online(host, [4] * 10, 40)
    held, _ = online(host, [4] * 10, 40, msgspec.structs.replace(SPEC, lam=5.0), tau=0.0)
    assert held.steps[-1].d_rmse < 0.7 * free.steps[-1].d_rmse
    assert held.steps[-1].over == 1 and math.isfinite(held.steps[-1].barrier)


def test_it_gives_up_when_nothing_is_kept_any_more(host: Host) -> None:
    with pytest.raises(HealStopped, match=r"kept\s+none after 3 of 9 texts; lower the dose"):
        online(host, [3], 9)


def test_the_model_is_left_as_it_was(host: Host) -> None:
    before = logits(host)
    online(host, [2, 2], 4)
    with pytest.raises(HealStopped):
        online(host, [], 4)
    assert torch.equal(bits(logits(host)), bits(before))


def test_an_adapter_in_training_and_what_is_baked_in_can_be_left_out_and_come_back(host: Host) -> None:
    base = logits(host, IDS[1])
    with hooked(host, stack(host, layers(host)[:1])) as before:
        old = logits(host, IDS[1])
        with attached(host, 2, 4.0, (0.5, 1.0), 0) as lora:
            torch.nn.init.normal_(lora.layers[0].up, generator=torch.Generator().manual_seed(0))
            new = logits(host, IDS[1])
            with without(host, lora):
                assert torch.equal(bits(logits(host, IDS[1])), bits(old))
                with before.off():
                    assert torch.equal(bits(logits(host, IDS[1])), bits(base))
            assert torch.equal(bits(logits(host, IDS[1])), bits(new)) and not torch.equal(new, old)
            assert all(parameter.requires_grad for parameter in lora.parameters)


# A whole run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ready, Path, Ran]:
    before = gathered(tmp_path_factory.mktemp("online"))
    store = before.store
    return before, store, ran(gate3(before, store, before.run, "--online", "4", "--controls", "none"))


def test_a_run_trains_its_healed_adapter_online_and_the_plain_one_as_ever(run: tuple[Ready, Path, Ran]) -> None:
    _, store, found = run
    assert found.code in (0, 1, 3), found.said
    reader, name = Store(store), found.document["run_id"]
    adapters = {adapter.role: adapter for adapter in reader.records(Adapter, name)}
    texts = {text.completion_id: text for text in reader.records(Completion, name) if text.role == "online"}
    dropped = {d.completion_id for d in reader.records(FilterDecision, name) if not d.keep}
    parts = [t for t in reader.records(HealText, name) if t.adapter_id == adapters["healed"].adapter_id]
    shown = {text.completion_id for text in parts if text.part == "train"}
    assert shown == set(texts) - dropped
    assert len(shown) >= 2 * adapters["plain"].train_texts
    held = {t.completion_id for t in parts if t.part == "validation"}
    plain = [t for t in reader.records(HealText, name) if t.adapter_id == adapters["plain"].adapter_id]
    assert held == {t.completion_id for t in plain if t.part == "validation"}
    steps = [s for s in reader.records(HealStep, name) if s.adapter_id == adapters["healed"].adapter_id]
    assert len(steps) <= len(texts) / 4 and all(text.dose > 0 for text in texts.values())


def test_no_text_is_written_to_a_prompt_that_is_held_out(run: tuple[Ready, Path, Ran]) -> None:
    _, store, found = run
    both = Store(store).query(
        """SELECT count(*) FROM completion c WHERE c.run_id = $run AND c.role = 'online' AND c.prompt_id IN (
            SELECT kept.prompt_id FROM heal_text t JOIN completion kept USING (completion_id)
            WHERE t.run_id = $run AND t.part = 'validation' AND kept.role <> 'online')""",
        {"run": found.document["run_id"]},
    )
    assert both.item() == 0


@pytest.mark.slow
def test_it_gives_the_same_texts_and_losses_twice(run: tuple[Ready, Path, Ran], tmp_path: Path) -> None:
    before, store, found = run
    again = Ready(before.planted, store, before.run).copy(tmp_path / "again")
    parent = Store(store).query("SELECT run_id FROM run WHERE gate = 'gate2'").item()
    second = ran(gate3(before, again, parent, "--online", "4", "--controls", "none", "--again"))
    reader, runs = Store(again), [each.document["run_id"] for each in (found, second)]
    written = [[t.text for t in reader.records(Completion, name) if t.role == "online"] for name in runs]
    losses = [[(s.step, s.nll) for s in reader.records(HealStep, name)] for name in runs]
    assert runs[0] != runs[1] and sorted(written[0]) == sorted(written[1])
    assert np.allclose(sorted(losses[0]), sorted(losses[1]), atol=1e-4)


def test_a_negative_number_is_refused(run: tuple[Ready, Path, Ran]) -> None:
    before, store, _ = run
    parent = Store(store).query("SELECT run_id FROM run WHERE gate = 'gate2'").item()
    refused = ran(gate3(before, store, parent, "--online", "-1"))
    assert refused.code == 2 and "heal.online must be at least 0" in refused.document["error"]["message"]
