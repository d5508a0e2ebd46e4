"""Two runs that differ in one setting of their evaluation have no difference between them, wherever one looks."""

from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from conftest import Command
from msgspec.structs import replace
from store_child import plain
from test_queries import Planted

from steerkit.errors import UsageError
from steerkit.records import Run
from steerkit.spec import RunSpec, canonical, digest
from steerkit.store import Store, differing

SPEC = RunSpec(
    gate="gate1",
    method="svd",
    trait="planted",
    persona="p",
    target="Authority",
    sign=-1,
    model="m",
    fingerprint="f32",
    dtype="float32",
    seed=0,
    instrument="fewshot",
    instrument_text="shown",
    vignettes_hash="set",
    vignettes=21,
    instrument_config={"orders": 2},
)
BFLOAT16 = {"dtype": "bfloat16", "fingerprint": "bf16"}
SAID = "dtype is float32 for one and bfloat16 for the other"


class Two(Planted):
    """The planted run, and another with the same answers plus half a nat, evaluated in another way."""

    def __init__(self, folder: Path, other: dict[str, Any]) -> None:
        super().__init__(folder)
        second = replace(SPEC, **other, attempt=1)
        self.second = digest(second)
        mine = [
            replace(record, run_id="two", unit_id="two", arm_id=f"two-{record.arm_id}")
            for record in (*self.arm_records(), *self.answers())
        ]
        mine = [replace(r, eval_hash=self.second) if "eval_hash" in r.__struct_fields__ else r for r in mine]
        runs = [_run("run", SPEC), _run("two", second)]
        self.store.append([*runs, *mine])
        self.store.ingest()


def _run(name: str, spec: RunSpec) -> Run:
    facts = {field: getattr(spec, field) for field in ("model", "fingerprint", "dtype", "seed", "method", "trait")}
    return plain(Run, run_id=name, unit_id=f"of {name}", gate="gate1", spec=canonical(spec), **facts)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return Two(tmp_path_factory.mktemp("two"), BFLOAT16)


def test_a_comparison_is_refused_with_the_fields_that_differ(two: Two) -> None:
    with pytest.raises(UsageError, match="must share an eval hash") as refused:
        two.store.delta_arms("base", "two-up")
    assert SAID in str(refused.value) and "fingerprint" not in str(refused.value)
    assert two.store.delta_arms("two-base", "two-up")["paired"].sum() == 21


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (BFLOAT16, f": {SAID}"),
        ({"fingerprint": "other"}, ": fingerprint is f32 for one and other for the other"),
        (
            {"vignettes": 20, "model": "n"},
            ": vignettes is 21 for one and 20 for the other, model is m for one and n for",
        ),
        ({}, ": what the tokenizer makes of the vignettes differs"),
        (None, ""),
    ],
)
def test_the_fields_that_differ_are_named_and_no_others(other: dict[str, Any] | None, said: str) -> None:
    first = {"eval_hash": "a", "vignettes": 21, "model": "m", "fingerprint": "f32", "dtype": "float32"}
    second = None if other is None else first | {"eval_hash": "b"} | other
    assert differing(first, second).startswith(said) and bool(differing(first, second)) == bool(said)


def test_the_command_refuses_it_too(two: Two, steerkit: Command) -> None:
    def compare(*arms: str) -> CompletedProcess[str]:
        given = [
            part for name, arm in zip(("base", "arm"), arms, strict=False) for part in ("--param", f"{name}={arm}")
        ]
        return steerkit("show", "compare", *given, "--store", str(two.store.path))

    refused = compare("base", "two-up")
    assert refused.returncode == 2 and refused.stdout == ""
    assert SAID in refused.stderr
    assert "Traceback" not in refused.stderr
    missing = compare("base")
    assert missing.returncode == 2 and "arms must be stored to be compared" in missing.stderr
    assert compare("two-base", "two-up").returncode == 0


@pytest.fixture(scope="module")
def bare(two: Two) -> Store:
    """Both runs' arms, but the second run's base is gone."""
    store = Store(two.store.path.with_name("bare.duckdb"))
    records = [*two.arm_records(), *two.answers()]
    mine = [replace(r, run_id="two", unit_id="two", arm_id=f"two-{r.arm_id}") for r in records if r.arm_id != "base"]
    mine = [replace(r, eval_hash=two.second) if "eval_hash" in r.__struct_fields__ else r for r in mine]
    store.append([plain(Run), plain(Run, run_id="two"), *records, *mine])
    store.ingest()
    return store


@pytest.mark.parametrize(
    ("view", "change"),
    [("delta", "d_nats"), ("trait", "coherence"), ("coherence", "coherence"), ("pareto", "d_auth")],
)
def test_no_other_base_steps_in_where_a_run_has_none(bare: Store, view: str, change: str) -> None:
    sql = f"SELECT count({change}) AS n FROM {view} WHERE run_id = $run"
    assert bare.query(sql, {"run": "two"}).item() == 0 and bare.query(sql, {"run": "run"}).item() > 0


def test_every_change_is_taken_from_the_own_base(two: Two) -> None:
    rows = two.store.query("SELECT run_id, foundation, d_nats FROM delta WHERE arm_id IN ('up', 'two-up')").rows()
    by_run: dict[str, dict[str, float]] = {"run": {}, "two": {}}
    for run, foundation, nats in rows:
        by_run[run][foundation] = nats
    assert by_run["run"].keys() == by_run["two"].keys() and len(by_run["run"]) == 7
    hashes = two.store.query("SELECT run_id, eval_hash FROM delta GROUP BY ALL").rows()
    assert len(hashes) == 2 and len({eval_hash for _, eval_hash in hashes}) == 2


def test_an_evaluation_says_what_its_hash_stands_for(two: Two) -> None:
    rows = {row["dtype"]: row for row in two.store.query("FROM evaluation").to_dicts()}
    assert rows["float32"]["eval_hash"] == "hash" and rows["bfloat16"]["eval_hash"] == two.second
    assert rows["float32"]["vignettes"] == 21 and rows["float32"]["instrument"] == "x"
    assert rows["float32"]["vignettes_hash"] == "set" and rows["float32"]["instrument_config"] == '{"orders":2}'
