"""The store: one DuckDB file fed from a spool of segments. The only file that knows DuckDB, and the only writer."""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import msgspec

from steerkit import resources
from steerkit.durable import PAUSE, Artifacts, Ticker, disk_trouble, durable_folder, locked, pass_gate, refusal, sync
from steerkit.errors import RunError, SteerkitError, StoreLocked, UsageError, unknown
from steerkit.records import Record, Unit
from steerkit.schema import applied, arrived, behind, load, migrate
from steerkit.spool import NAMES, NOTHING, Spool

if TYPE_CHECKING:
    import polars
    import torch

R = TypeVar("R", bound=Record)
Connection = duckdb.DuckDBPyConnection
TICK = 1.5
"""Between two ingests in the background (seconds)."""
PATIENCE = 2.0
"""How long a background ingest waits for its turn, and a reader at the gate (seconds)."""
BATCH = 500
"""Segments per transaction."""
ROOM = 16 << 20
"""Free disk space below which a run is not started (bytes)."""
Settings = dict[str, str | bool | int | float | list[str]]
KEPT = "SELECT artifact FROM direction UNION SELECT artifact FROM capture ORDER BY ALL"
"""Tensors that lie beside the database."""
OFFLINE: Settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
READER: Settings = {"enable_external_access": False, "lock_configuration": True, "python_enable_replacements": False}
# Two threads: a run's model needs the other cores. The 1.5 format: both DuckDB 1.5 and 2 open it.
WRITER: Settings = {"storage_compatibility_version": "v1.5.0", "threads": 2}


class Store:
    """Every run's records in one DuckDB file; all else that belongs to it lies in `<file>.d/`.

    Nobody holds the database open. A writer holds `<file>.gate` while it opens, writes and closes; a reader waits at
    the gate and opens read-only. `deadline`: how long to wait for a foreign process that holds the file (seconds).
    `memory`: how much a query may take (MiB), with nothing put aside on disk; None is DuckDB's own limit. One process
    uses one limit.
    `trouble`: why the newest background ingest did not work, or None.
    """

    def __init__(self, path: Path, deadline: float = 10.0, memory: int | None = None) -> None:
        # One spelling per file: DuckDB tells a process's connections apart by their paths.
        self.path = Path(os.path.realpath(path))
        self.folder = self.path.with_name(self.path.name + ".d")
        self.gate = self.path.with_name(self.path.name + ".gate")
        self.pictures = self.folder / "pictures"
        self.deadline, self.memory = deadline, memory
        self.trouble: SteerkitError | None = None
        self._spool = Spool(self.folder)
        self._artifacts = Artifacts(self.folder / "artifacts")
        # One connection at a time: closing a file drops every lock its process holds on it.
        self._one = threading.Lock()

    def check(self) -> None:
        """Find out before a run whether its results can be stored.

        Raises UsageError, saying what to do, when the folder is missing, something is read-only, or the file is not
        ours or newer than this steerkit. A file that somebody holds is fine: the spool does not need it.
        """
        if "?" in str(self.path):
            raise UsageError(
                f"the store's path must have no '?', which DuckDB takes for an option, but got {self.path}"
            )
        if self.path.is_dir():
            raise UsageError(f"the store must be a file, but {self.path} is a folder; name a file in it")
        if not self.path.parent.is_dir():
            raise UsageError(f"the store's folder must exist, but {self.path.parent} does not; make it first")
        for place in (self.path.parent, self.path, self.folder):
            if place.exists() and not os.access(place, os.W_OK):
                raise UsageError(f"the store must be writable, but {place} is not; change that or give another --store")
        free = shutil.disk_usage(self.path.parent).free
        if free < ROOM:
            raise UsageError(
                f"the store's disk must have {ROOM >> 20} MiB free, but {self.path.parent} has {free >> 20}; "
                "free some, or give another --store"
            )
        if self.path.exists():
            with suppress(StoreLocked), self._reading(PATIENCE):
                pass

    def append(self, records: Sequence[Record], many: Mapping[type[Record], "polars.DataFrame"] = NOTHING) -> None:
        """Make records durable as one segment, all or none; waits for no lock and returns when they are safe.

        `many`: more of them, as frames with the columns of their kind. Raises RunError when the disk is full or
        refuses; nothing half-written stays.
        """
        if records or many:
            self._spool.write(records, many)

    def ingest(self) -> int:
        """Move what waits in the spool into the database, each segment exactly once; returns how many arrived.

        Raises StoreLocked when a foreign process holds the file beyond the deadline (the segments stay safe), RunError
        when the disk is full, UsageError for a file that is not ours.
        """
        return self._ingest(self.deadline)

    @contextmanager
    def ingesting(self) -> Iterator[None]:
        """Ingest in the background while the body runs, in one process per store, and once more at its end.

        Raises StoreLocked at the end when segments still wait and a foreign process holds the file.
        """
        with disk_trouble(self.folder):
            durable_folder(self.folder)
        try:
            with Ticker(self.folder / ".ingest", TICK, self._ingest_quietly):
                yield
        except BaseException:
            # What broke the run matters more than a late segment, which the next run brings in.
            with suppress(SteerkitError):
                self._ingest(PATIENCE)
            raise
        try:
            self._ingest(self.deadline)
        except StoreLocked:
            # Another process may have drained the spool while this one waited for the gate.
            if self._spool.waiting():
                raise

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, rows: int | None = None
    ) -> "polars.DataFrame":
        """The answer to a query with `$name` parameters, which can neither write nor reach files or the network.

        `rows`: how many of its rows are wanted at most.

        Raises UsageError when there is no store or DuckDB refuses the query, StoreLocked beyond the deadline.
        """
        with self._reading(self.deadline) as con:
            try:
                answer = con.sql(sql, params=dict(parameters) if parameters else None)
                if answer is not None:
                    return (answer if rows is None else answer.limit(rows)).pl()
            except duckdb.Error as error:
                raise UsageError(f"DuckDB refused the query: {error}") from error
        raise UsageError("a query must return rows, but this one returns none; start it with SELECT or FROM")

    def ask(self, question: str, parameters: Mapping[str, Any] | None = None) -> "polars.DataFrame":
        """The answer to a named query of `db/queries`; parameters left out are NULL.

        Raises UsageError for an unknown question or parameter, listing the known ones, for a comparison of arms that
        were not evaluated alike, and whatever `query` raises.
        """
        sql = resources.question(question)
        values: dict[str, Any] = dict.fromkeys(re.findall(r"\$([a-z_]+)", sql))
        for name, value in (parameters or {}).items():
            if name not in values:
                raise unknown(f"parameter of {question}", name, values)
            values[name] = value
        if question == "compare" and values["base"] is not None:
            self._need_one_evaluation(values["base"], values["arm"])
        return self.query(sql, values)

    def delta_arms(self, base: str, arm: str) -> "polars.DataFrame":
        """How far `arm` is from `base`: per foundation `base_nats`, `arm_nats`, `d_nats` (nats) and `paired` vignettes.

        Raises UsageError for an unknown arm, or for arms of different eval hashes, whose difference means nothing.
        """
        return self.ask("compare", {"base": base, "arm": arm})

    def _need_one_evaluation(self, base: str | None, arm: str | None) -> None:
        """Raises UsageError unless both arms are stored and share an eval hash, naming the fields that differ."""
        rows = self.query("SELECT arm_id, eval_hash FROM arm WHERE arm_id IN ($base, $arm)", {"base": base, "arm": arm})
        hashes = {str(name): str(value) for name, value in rows.iter_rows()}
        for name in (base, arm):
            if name not in hashes:
                raise UsageError(f"arms must be stored to be compared, but {name!r} is not; `FROM arm` lists all")
        first, second = hashes[str(base)], hashes[str(arm)]
        if first == second:
            return
        kept = self.query("FROM evaluation WHERE eval_hash IN ($first, $second)", {"first": first, "second": second})
        by_hash = {str(row["eval_hash"]): row for row in kept.to_dicts()}
        raise UsageError(
            f"arms must share an eval hash to be compared, but {base} has {first} and {arm} has {second}"
            f"{differing(by_hash.get(first), by_hash.get(second))}; score both with the same vignettes, instrument, "
            "model and dtype"
        )

    def records(self, kind: type[R], run_id: str) -> list[R]:
        """One run's records of one kind in the order they were stored, from the database and the spool."""
        return self._records([kind], run_id)

    def everything(self, run_id: str) -> list[Record]:
        """Every record of one run, table by table; the database is opened once."""
        return self._records([*NAMES], run_id)

    def _records(self, kinds: Sequence[type[R]], run_id: str) -> list[R]:
        # The spool first: a segment that moves in between is then found in the database.
        spooled = {kind: self._spool.read(NAMES[kind]) for kind in kinds}
        known, rows = self._stored(kinds, run_id) if self.path.exists() else (set(), {kind: [] for kind in kinds})
        for kind, frames in spooled.items():
            for name, frame in frames.items():
                if name not in known:
                    rows[kind] += frame.filter(frame["run_id"] == run_id).to_dicts()
        return [record for kind in kinds for record in msgspec.convert(rows[kind], list[kind])]  # type: ignore[valid-type]

    def units(self, run_id: str) -> set[str]:
        """Ids of the run's finished units of work, from the database and the spool."""
        return {unit.unit_id for unit in self.records(Unit, run_id)}

    def put_tensors(self, tensors: Mapping[str, "torch.Tensor"]) -> str:
        """Store tensors durably beside the database and return their file's sha256.

        Raises RunError when the disk is full or refuses.
        """
        return self._artifacts.write(tensors)

    def get_tensors(self, sha256: str) -> dict[str, "torch.Tensor"]:
        """The tensors of that hash, on the processor.

        Raises RunError when they are missing or damaged.
        """
        return self._artifacts.read(sha256)

    def rebuild(self) -> int:
        """Remake the database from all its segments, aside and then in one step; returns how many it holds.

        Raises StoreLocked when somebody holds the file, RunError when the database has a segment whose files are gone.
        """
        with self._one, disk_trouble(self.folder):
            durable_folder(self.folder)
            with locked(self.gate, self.deadline):
                names = sorted({*self._spool.kept(), *self._spool.waiting()})
                self._build(names)
                self._spool.keep(names)
        return len(names)

    def problems(self) -> list[str]:
        """Everything wrong with the store, in sentences: lost segments, orphans, duplicates, damaged artifacts."""
        with self._reading(self.deadline) as con:
            found = [str(problem) for sql in resources.checks() for (problem,) in con.sql(sql).fetchall()]
            segments = dict(con.sql("SELECT name, rows FROM segment ORDER BY name").fetchall())
            artifacts = con.sql(KEPT).fetchall()
        found += self._spool.problems(segments)
        return found + [problem for (sha256,) in artifacts if (problem := self._artifacts.problem(sha256))]

    def _ingest(self, deadline: float) -> int:
        names = self._spool.waiting()
        count = sum(self._take(names[i : i + BATCH], deadline) for i in range(0, len(names), BATCH))
        self.trouble = None
        return count

    def _take(self, names: list[str], deadline: float) -> int:
        with self._writing(deadline) as con:
            known = arrived(con)
            fresh = [name for name in names if name not in known]
            load(con, fresh, self._spool.files(fresh))
        self._spool.keep(names)
        return len(fresh)

    def _ingest_quietly(self) -> None:
        try:
            self._spool.sweep()
            self._ingest(PATIENCE)
        except SteerkitError as trouble:
            # The run goes on: its segments are safe, and the next tick tries again.
            self.trouble = trouble

    def _stored(self, kinds: Sequence[type[R]], run_id: str) -> tuple[set[str], dict[type[R], list[dict[str, Any]]]]:
        """Names of the segments that arrived, and a run's rows of each kind."""
        with self._reading(self.deadline) as con:
            found = {}
            for kind in kinds:
                sql = (
                    f"SELECT {', '.join(kind.__struct_fields__)} FROM {NAMES[kind]} WHERE run_id = $run ORDER BY rowid"
                )
                found[kind] = con.sql(sql, params={"run": run_id}).pl().to_dicts()
            return arrived(con), found

    def _build(self, names: Sequence[str]) -> None:
        """Make the database aside and put it in place: a kill leaves the old one or the new one, never half of one."""
        aside, log = self.folder / "new.duckdb", self.path.with_name(self.path.name + ".wal")
        for leftover in (aside, aside.with_name(aside.name + ".wal")):
            leftover.unlink(missing_ok=True)
        with self._transaction(aside, self.deadline) as con:
            load(con, names, self._spool.files(names))
        if self.path.exists():
            self._refuse_loss(names)
        # DuckDB refuses a database beside another's log.
        log.unlink(missing_ok=True)
        aside.replace(self.path)
        sync(self.path.parent)

    def _refuse_loss(self, names: Sequence[str]) -> None:
        with closing(self._connect(self.path, False, self.deadline)) as con:
            lost = arrived(con) - set(names) if applied(con, self.path)[0] else set()
        if lost:
            raise RunError(
                f"a rebuild needs every segment, but {len(lost)} are gone from {self.folder / 'segments'}, for example "
                f"{min(lost)}; put them back, or keep the database as it is"
            )

    @contextmanager
    def _reading(self, deadline: float) -> Iterator[Connection]:
        if not self.path.exists():
            raise UsageError(f"there must be a store, but {self.path} does not exist; a run makes it")
        with self._one, closing(self._connect(self.path, True, deadline)) as con:
            if not behind(con, self.path):
                yield con
                return
        with self._writing(deadline):
            pass
        with self._one, closing(self._connect(self.path, True, deadline)) as con:
            yield con

    @contextmanager
    def _writing(self, deadline: float) -> Iterator[Connection]:
        with self._one, disk_trouble(self.path), locked(self.gate, deadline):
            if not self.path.exists():
                self._build(())
            with self._transaction(self.path, deadline) as con:
                yield con

    @contextmanager
    def _transaction(self, path: Path, deadline: float) -> Iterator[Connection]:
        with closing(self._connect(path, False, deadline)) as con:
            try:
                con.execute("BEGIN")
                migrate(con, path)
                yield con
                con.execute("COMMIT")
                # Now, not on close, where a full disk would go unnoticed.
                con.execute("CHECKPOINT")
            except duckdb.Error as error:
                raise RunError(refusal(path, _first_line(error))) from error

    def _connect(self, path: Path, reads: bool, deadline: float) -> Connection:
        until = time.monotonic() + deadline
        settings = OFFLINE | (READER if reads else WRITER) | {"temp_directory": str(self.folder / "tmp")}
        if self.memory is not None:
            settings |= {"memory_limit": f"{self.memory}MiB", "temp_directory": "", "threads": 2}
        while True:
            if reads:
                pass_gate(self.gate, PATIENCE)
            try:
                return duckdb.connect(str(path), read_only=reads, config=settings)
            except duckdb.Error as error:
                if not _is_locked(error):
                    raise _unusable(path, error) from error
                if time.monotonic() > until:
                    raise self._busy(error, deadline) from error
            time.sleep(PAUSE)

    def _busy(self, error: duckdb.Error, deadline: float) -> StoreLocked:
        holder = re.search(r"held in (.*?\(PID \d+\))", str(error))
        return StoreLocked(
            f"{self.path} must be free, but {holder[1] if holder else 'another program'} held it for {deadline:g} s; "
            f"close that program. Nothing is lost: {len(self._spool.waiting())} segment(s) wait for the next run or "
            "`steerkit db ingest`"
        )


def differing(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> str:
    """In which fields two evaluations differ, for a sentence; empty where one is not known."""
    if first is None or second is None:
        return ""
    found = {name: (first[name], second[name]) for name in first if name != "eval_hash" and first[name] != second[name]}
    if {"dtype", "model"} & found.keys():
        # Of the model's name and type the fingerprint is only a hash.
        found.pop("fingerprint", None)
    if not found:
        return ": what the tokenizer makes of the vignettes differs"
    return ": " + ", ".join(
        f"{name} is {mine} for one and {other} for the other" for name, (mine, other) in found.items()
    )


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _is_locked(error: duckdb.Error) -> bool:
    # The second: another thread of this process has it open the other way.
    return "Could not set lock on file" in str(error) or "different configuration" in str(error)


def _unusable(path: Path, error: duckdb.Error) -> SteerkitError:
    if "no space left" in str(error).lower():
        return RunError(refusal(path, _first_line(error)))
    return UsageError(
        f"the store must be a DuckDB file that opens, but {path} is not: {_first_line(error)}; give another --store, "
        "or, if it is damaged, move it away and let `steerkit db rebuild` remake it from its segments"
    )
