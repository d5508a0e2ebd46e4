"""The store: what goes in comes out, and what cannot work says so."""

import math
import os
import subprocess
import threading
import time
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import msgspec
import polars
import pytest
import store_child
import torch

from steerkit import resources, store
from steerkit.errors import RunError, StoreLocked, UsageError
from steerkit.records import TABLES, Arm, Direction, Record, Run, Unit
from steerkit.spool import NAMES
from steerkit.store import Store

ODD_FLOATS = (0.1, math.nan, math.inf, -math.inf, -0.0, 1e-310)


@pytest.fixture
def new(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.duckdb", deadline=5.0)


def value(hint: object, turn: int) -> object:
    """A value of that type, an odd one where there are any; None on every third turn where it may be."""
    # A union with a Literal is typing's own kind.
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return None if turn % 3 == 1 else value(typing.get_args(hint)[0], turn)
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[turn % len(typing.get_args(hint))]
    if typing.get_origin(hint) is list:
        return [value(typing.get_args(hint)[0], item) for item in range(turn % 4)]
    simple = {str: f"ä'\n\x00{turn}", int: 2**62 + turn, bool: turn % 2 == 0, float: ODD_FLOATS[turn % len(ODD_FLOATS)]}
    return simple[typing.cast(type, hint)]


def sample(kind: type[Record], turn: int) -> Record:
    hints = typing.get_type_hints(kind)
    return kind(**{field: value(hints[field], turn) for field in kind.__struct_fields__} | {"run_id": "run"})


def everything() -> list[Record]:
    return [sample(kind, turn) for turn in range(6) for kind in TABLES.values()]


def dump(target: Store) -> dict[str, str]:
    """Every table's rows in order, NaN and all."""
    rows = ", ".join(f"(SELECT list({table}) FROM {table})::VARCHAR AS {table}" for table in TABLES)
    return target.query(f"SELECT {rows}").row(0, named=True)


def test_columns_are_the_fields_in_their_order(new: Store) -> None:
    new.append([sample(Unit, 0)])
    new.ingest()
    columns = new.query("SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() GROUP BY ALL")
    found = dict(columns.iter_rows())
    assert {table: found[table] for table in TABLES} == {
        table: list(kind.__struct_fields__) for table, kind in TABLES.items()
    }


def test_every_table_and_column_says_what_it_means(new: Store) -> None:
    new.append([sample(Unit, 0)])
    new.ingest()
    silent = new.query(
        "SELECT table_name, column_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (table_name) "
        "WHERE comment IS NULL"
    )
    assert silent.rows() == []
    assert new.query("SELECT table_name FROM duckdb_tables() WHERE comment IS NULL").rows() == []
    assert new.query("SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL").rows() == []


@pytest.mark.parametrize("ingested", [False, True], ids=["spooled", "ingested"])
def test_every_record_comes_back_as_it_went_in(new: Store, ingested: bool) -> None:
    written = everything()
    new.append(written[:40])
    new.append(written[40:])
    if ingested:
        assert new.ingest() == 2
    for kind in TABLES.values():
        # repr, because NaN is not equal to itself.
        assert repr(new.records(kind, "run")) == repr([r for r in written if type(r) is kind])
        assert new.records(kind, "another run") == []


def test_units_are_known_before_and_after_they_arrive(new: Store) -> None:
    assert new.units("run") == set()
    new.append(store_child.segment("one"))
    new.ingest()
    new.append(store_child.segment("two"))
    assert new.units("run") == {"one", "two"}
    assert new.units("another run") == set()


def test_appending_nothing_makes_nothing(new: Store) -> None:
    new.append([])
    assert new.ingest() == 0
    assert not new.folder.exists() and not new.path.exists()


def test_a_record_of_no_table_is_refused(new: Store) -> None:
    with pytest.raises(RunError, match="must be one of run, .* got a Record"):
        new.append([sample(Unit, 0), Record(run_id="run", unit_id="unit")])
    assert new.units("run") == set()


def test_odd_paths_are_no_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "a [b]* é"
    folder.mkdir()
    odd = Store(folder / "runs 'x'.duckdb")
    odd.append(everything())
    assert odd.ingest() == 1 and len(odd.records(Unit, "run")) == 6


def test_background_ingest_moves_segments_while_the_run_goes_on(new: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TICK", 0.05)
    with new.ingesting():
        new.append(store_child.segment("one"))
        until = time.monotonic() + 10
        while not new.path.exists() or new.query("FROM unit").is_empty():
            assert time.monotonic() < until, "nothing was ingested in the background"
            time.sleep(0.05)
        new.append(store_child.segment("two"))
    assert new.query("SELECT unit_id FROM unit").rows() == [("one",), ("two",)]
    assert new.trouble is None


def test_what_broke_the_run_is_what_is_raised(new: Store) -> None:
    with pytest.raises(ZeroDivisionError), new.ingesting():
        new.append(store_child.segment(str(1 // 0)))


def test_what_a_broken_run_had_done_is_ingested(new: Store) -> None:
    with suppress(ZeroDivisionError), new.ingesting():
        new.append(store_child.segment("one"))
        new.append(store_child.segment(str(1 // 0)))
    assert new.query("SELECT unit_id FROM unit").rows() == [("one",)]


def test_queries_can_neither_write_nor_leave(new: Store, tmp_path: Path) -> None:
    new.append(everything())
    new.ingest()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (
        "DELETE FROM unit",
        "CREATE TABLE mine (a INT)",
        f"FROM read_csv('{tmp_path}/secret.csv')",
        f"FROM '{tmp_path}/secret.csv'",
        f"COPY unit TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/other.duckdb'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "FROM tmp_path",
        "FROM nowhere",
    ):
        with pytest.raises(UsageError, match="DuckDB refused"):
            new.query(sql)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "runs.duckdb",
        "runs.duckdb.d",
        "runs.duckdb.gate",
        "secret.csv",
    ]


def test_queries_take_parameters(new: Store) -> None:
    new.append(everything())
    new.ingest()
    answer = new.query("SELECT $a + 1 AS a, $b AS b, $c IS NULL AS c", {"a": 1, "b": "x", "c": None})
    assert answer.rows() == [(2, "x", True)]


def test_a_query_before_any_run_says_so(new: Store) -> None:
    with pytest.raises(UsageError, match="does not exist; a run makes it"):
        new.query("FROM run")
    assert not new.path.exists()


def test_tensors_come_back_and_are_checked(new: Store) -> None:
    block = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": block, "b": block[:, 1], "c": torch.tensor([math.nan, math.inf]).bfloat16()}
    sha256 = new.put_tensors(tensors)
    assert new.put_tensors(tensors) == sha256
    back = new.get_tensors(sha256)
    assert {name: repr(t) for name, t in back.items()} == {name: repr(t) for name, t in tensors.items()}
    path = new.folder / "artifacts" / f"{sha256}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="is damaged: its sha256 must be its name"):
        new.get_tensors(sha256)
    with pytest.raises(RunError, match="is missing"):
        new.get_tensors("0" * 64)


def test_check_accepts_a_new_store_and_touches_nothing(new: Store, tmp_path: Path) -> None:
    new.check()
    assert list(tmp_path.iterdir()) == []


def test_check_accepts_a_store_of_ours(new: Store) -> None:
    new.append(everything())
    new.ingest()
    new.check()


def _text(path: Path) -> None:
    path.write_text("not a database " * 1000)


def _empty(path: Path) -> None:
    path.touch()


def _foreign(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE sales (a INT)")


def _newer(path: Path) -> None:
    target = Store(path)
    target.append([sample(Unit, 0)])
    target.ingest()
    with duckdb.connect(str(path)) as con:
        con.execute("INSERT INTO schema_version VALUES (999, 'x', 'x', '9.9')")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.mkdir, "must be a file, but .* is a folder"),
        (_text, "must be a DuckDB file that opens"),
        (_empty, "must be a DuckDB file that opens"),
        (_foreign, "is another database"),
        (_newer, f"must be {max(resources.migrations())} or older, but .* has 999, written by steerkit 9.9"),
    ],
    ids=["folder", "text", "empty", "foreign", "newer"],
)
def test_check_refuses_what_is_not_a_store(new: Store, spoil: typing.Callable[[Path], None], message: str) -> None:
    spoil(new.path)
    with pytest.raises(UsageError, match=message):
        new.check()
    if not new.path.is_dir():
        new.append([sample(Unit, 0)])
        with pytest.raises(UsageError, match=message):
            new.ingest()
        assert len(list((new.folder / "spool").iterdir())) == 1, "the segment must stay safe"


def test_check_refuses_a_path_that_duckdb_would_misread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must have no '\\?'"):
        Store(tmp_path / "what?.duckdb").check()


def test_check_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder must exist"):
        Store(tmp_path / "no" / "runs.duckdb").check()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB that can be filled or made read-only."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_is_refused_but_can_be_read(tiny: Path) -> None:
    target = Store(tiny / "runs.duckdb")
    target.append(everything())
    target.ingest()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(UsageError, match="must be writable"):
        target.check()
    with pytest.raises(RunError, match="[Rr]ead-only"):
        target.append(everything())
    assert target.query("FROM unit").height == 6
    assert len(target.records(Unit, "run")) == 6


@pytest.mark.parametrize("spare", [0, 100_000, 600_000, 2_000_000])
def test_a_full_disk_breaks_the_run_and_nothing_else(tiny: Path, spare: int) -> None:
    target = Store(tiny / "runs.duckdb")
    target.append(everything())
    assert target.ingest() == 1
    ballast = tiny / "ballast"
    space = os.statvfs(tiny)
    ballast.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - spare)))
    written = 1
    with pytest.raises(RunError, match="[Nn]o space left.*free some space and run again with --resume"):  # noqa: PT012
        for turn in range(1000):
            noise = os.urandom(20_000).hex()
            target.append([store_child.plain(Unit, unit_id=str(turn), name=noise)])
            written += 1
            target.ingest()
    assert not list((target.folder / "spool").glob(".*")), "something half-written stayed"
    assert target.query("FROM unit").height >= 6, "the file must open while the disk is full"
    ballast.unlink()
    target.append([sample(Unit, 0)])
    target.ingest()
    assert target.query("SELECT count(*), count(DISTINCT name) FROM segment").rows() == [(written + 1, written + 1)]
    assert target.query("FROM unit").height == 6 + written


def test_a_run_is_not_started_on_a_full_disk(tiny: Path) -> None:
    space = os.statvfs(tiny)
    (tiny / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - (1 << 20)))
    with pytest.raises(UsageError, match="must have 16 MiB free"):
        Store(tiny / "runs.duckdb").check()
    assert [file.name for file in tiny.iterdir()] == ["ballast"], "nothing may be written"


def test_a_full_disk_takes_no_tensors(tiny: Path) -> None:
    target = Store(tiny / "runs.duckdb")
    with pytest.raises(RunError, match="[Nn]o space left"):
        target.put_tensors({"a": torch.zeros(8_000_000)})
    assert list((target.folder / "artifacts").iterdir()) == []


def test_rebuild_gives_the_same_rows(new: Store) -> None:
    for turn in range(5):
        new.append([sample(kind, turn) for kind in TABLES.values()])
        if turn != 2:
            new.ingest()
    before = dump(new)
    assert new.rebuild() == 5
    assert dump(new) == before
    new.append([sample(Unit, 9)])
    assert new.rebuild() == 6, "what still waits is rebuilt too"
    assert new.ingest() == 0
    assert new.query("FROM unit").height == 6


def test_rebuild_of_a_damaged_or_missing_file(new: Store) -> None:
    new.append(everything())
    new.ingest()
    before = dump(new)
    new.path.write_bytes(b"damaged" * 1000)
    with pytest.raises(UsageError, match="move it away and let `steerkit db rebuild`"):
        new.rebuild()
    new.path.unlink()
    new.rebuild()
    assert dump(new) == before


def test_rebuild_refuses_to_lose_rows(new: Store) -> None:
    new.append(everything())
    new.ingest()
    (new.folder / "segments").rename(new.folder / "elsewhere")
    with pytest.raises(RunError, match="needs every segment, but 1 are gone"):
        new.rebuild()
    assert new.query("FROM unit").height == 6


def test_older_views_are_renewed(new: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        old.setattr(
            resources, "views", lambda: "CREATE VIEW trait AS SELECT 1 AS old; CREATE VIEW gone AS SELECT 2 AS x"
        )
        new.append([sample(Unit, 0)])
        new.ingest()
        assert new.query("FROM trait").columns == ["old"]
    assert "auth_nats" in new.query("FROM trait").columns


def first_schema(old: pytest.MonkeyPatch) -> None:
    """Make this the version that knew the first schema only."""
    first = {1: resources.migrations()[1]}
    old.setattr(resources, "migrations", lambda: first)
    old.setattr(resources, "views", lambda: "SELECT 1")


def append_as_the_first_schema(target: Store, records: list[Record], columns: dict[str, list[str]]) -> None:
    """One segment that waits, as the first version wrote it."""
    target.append(records)
    newest = max((target.folder / "spool").iterdir(), key=lambda segment: segment.name)
    for file in newest.iterdir():
        polars.read_parquet(file).select(columns[file.stem]).write_parquet(file)


def as_read_back(record: Record, columns: list[str]) -> Record:
    """The record with None in every field that the first schema lacks."""
    lacking = set(record.__struct_fields__) - set(columns)
    return msgspec.structs.replace(record, **dict.fromkeys(lacking))


@pytest.mark.parametrize("way", ["ingested before", "waiting"])
def test_a_store_of_the_first_schema_goes_on(new: Store, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with monkeypatch.context() as old:
        first_schema(old)
        new.rebuild()
        sql = "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() GROUP BY ALL"
        columns = {table: names for table, names in new.query(sql).iter_rows() if table in TABLES}
        assert "filter_decision" not in columns and "role" not in columns["completion"]
        before = [sample(kind, turn) for turn in range(6) for table, kind in TABLES.items() if table in columns]
        append_as_the_first_schema(new, before[:20], columns)
        append_as_the_first_schema(new, before[20:], columns)
        if way == "ingested before":
            assert new.ingest() == 2
    after = everything()
    expected = [as_read_back(record, columns[NAMES[type(record)]]) for record in before] + after
    new.append(after)
    assert_holds(new, expected)
    assert new.ingest() == (1 if way == "ingested before" else 3)
    assert_holds(new, expected)
    assert new.query("SELECT number, name FROM schema_version WHERE name <> 'views'").rows()[1:] == [
        (number, file.name) for number, file in resources.migrations().items() if number > 1
    ]
    # Old and new segments of one table in one batch.
    assert new.rebuild() == 3
    assert_holds(new, expected)
    old, all_of_them = new.query("SELECT count(*) FILTER (pieces IS NULL), count(*) FROM completion").row(0)
    assert 6 <= old < all_of_them == 12


def assert_holds(target: Store, expected: list[Record]) -> None:
    """The run's records are these, in their order."""
    for kind in TABLES.values():
        assert repr(target.records(kind, "run")) == repr([r for r in expected if type(r) is kind])


def test_problems_name_what_is_wrong(new: Store) -> None:
    new.append([store_child.plain(Run), *store_child.segment("one")])
    new.ingest()
    assert new.problems() == ["40 row(s) of answer belong to arm arm of run run, which is not stored"]
    new.append(store_child.segment("one", run="ghost"))
    new.append(store_child.segment("two") * 2)
    new.append([store_child.plain(Direction, artifact="0" * 64)])
    new.ingest()
    kept = sorted((new.folder / "segments").iterdir())
    (kept[0] / "unit.parquet").unlink()
    (kept[1] / "unit.parquet").write_bytes(b"PAR1")
    kept[2].rename(new.folder / "elsewhere")
    found = "\n".join(new.problems())
    assert "1 row(s) of unit belong to run ghost, which is not registered" in found
    assert "unit two of run run is stored 2 times" in found
    assert f"artifact {'0' * 64} is missing" in found
    assert f"segment {kept[0].name} is damaged: it must have 42 rows, but has 41" in found
    assert f"segment {kept[1].name} is damaged" in found
    assert f"segment {kept[2].name} (82 rows) is lost" in found


def test_arms_of_different_evaluations_are_not_compared(new: Store) -> None:
    hashes = {"a": "hash1", "b": "hash2", "c": "hash1"}
    new.append([store_child.plain(Arm, arm_id=arm, eval_hash=hashes[arm]) for arm in hashes])
    new.ingest()
    with pytest.raises(UsageError, match="must share an eval hash to be compared, but a has hash1 and b has hash2"):
        new.delta_arms("a", "b")
    with pytest.raises(UsageError, match="'nobody' is not"):
        new.delta_arms("a", "nobody")
    assert new.delta_arms("a", "c").columns == ["foundation", "base_nats", "arm_nats", "d_nats", "paired"]


def test_a_thread_may_read_while_another_ingests(new: Store) -> None:
    new.append(store_child.segment("first"))
    new.ingest()
    seen: list[int] = []

    def read() -> None:
        for _ in range(20):
            seen.append(Store(new.path).query("SELECT count(*) FROM answer").item())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(10):
        new.append(store_child.segment(str(turn)))
        new.ingest()
    reader.join()
    assert len(seen) == 20 and seen == sorted(seen) and all(count % store_child.ROWS == 0 for count in seen)


def test_a_reader_elsewhere_does_not_starve_the_writer(new: Store) -> None:
    new.append(store_child.segment("first"))
    new.ingest()
    with store_child.child("read", new.path, "2.5") as reader:
        waits, turn, until = [], 0, time.monotonic() + 3.5
        while time.monotonic() < until:
            new.append(store_child.segment(str(turn)))
            start = time.monotonic()
            new.ingest()
            waits.append(time.monotonic() - start)
            turn += 1
            time.sleep(0.1)
        assert int(reader.communicate(timeout=20)[0]) > 5
    assert max(waits) < 4 and len(waits) > 5


def test_whoever_holds_the_file_does_not_hold_up_the_run(new: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TICK", 0.2)
    new.append(store_child.segment("first"))
    new.ingest()
    slowest = 0.0
    with new.ingesting(), store_child.child("hold", new.path, "ro") as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        until, turn = time.monotonic() + 3, 0
        while time.monotonic() < until:
            start = time.monotonic()
            new.append(store_child.segment(str(turn)))
            slowest = max(slowest, time.monotonic() - start)
            turn += 1
            time.sleep(0.05)
        assert new.trouble is not None and "PID" in str(new.trouble)
        assert len(new.units("run")) == turn + 1, "a foreign reader must not hide what waits"
    assert new.query("SELECT count(DISTINCT unit_id), count(*) FROM unit").rows() == [(turn + 1, turn + 1)]
    assert slowest < 1.0
    assert new.trouble is None


@pytest.mark.parametrize("how", ["ro", "rw"])
def test_a_file_held_beyond_the_deadline_is_an_error(new: Store, how: str) -> None:
    new.append(store_child.segment("first"))
    new.ingest()
    new.append(store_child.segment("second"))
    impatient = Store(new.path, deadline=0.3)
    with store_child.child("hold", new.path, how) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        impatient.check()
        with pytest.raises(StoreLocked, match=r"must be free, but .*\(PID \d+\) held it .* 1 segment\(s\) wait"):
            impatient.ingest()
        with pytest.raises(StoreLocked, match="Nothing is lost: 2 segment"), impatient.ingesting():
            impatient.append(store_child.segment("third"))
        with pytest.raises(StoreLocked):
            impatient.rebuild()
    assert impatient.ingest() == 2
    assert polars.Series(sorted(new.units("run"))).to_list() == ["first", "second", "third"]
