"""The spool: records as atomic Parquet segments, written without a lock; nothing here knows DuckDB."""

import io
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from steerkit.durable import disk_trouble, durable_folder, sync, write
from steerkit.errors import RunError
from steerkit.records import TABLES, Record

if TYPE_CHECKING:
    import polars

STALE = 3600.0
"""A half-written segment this old belongs to a killed process (seconds)."""
NAMES = {kind: table for table, kind in TABLES.items()}
NOTHING: Mapping[type[Record], "polars.DataFrame"] = MappingProxyType({})


def columns(kind: type[Record]) -> dict[str, Any]:
    """The columns of a kind's table with their polars types, in the fields' order."""
    import polars

    dtypes: dict[type[msgspec.inspect.Type], Any] = {
        msgspec.inspect.StrType: polars.String,
        msgspec.inspect.LiteralType: polars.String,
        msgspec.inspect.IntType: polars.Int64,
        msgspec.inspect.FloatType: polars.Float64,
        msgspec.inspect.BoolType: polars.Boolean,
    }

    def dtype(field: msgspec.inspect.Type) -> Any:
        if isinstance(field, msgspec.inspect.UnionType):
            return dtype(next(t for t in field.types if not isinstance(t, msgspec.inspect.NoneType)))
        if isinstance(field, msgspec.inspect.ListType):
            return polars.List(dtype(field.item_type))
        return dtypes[type(field)]

    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: dtype(field.type) for field in info.fields}


def frame(kind: type[Record], records: Sequence[Record]) -> "polars.DataFrame":
    """Records of one kind as a typed frame: one column per field, in the fields' order."""
    import polars

    return polars.DataFrame([msgspec.structs.astuple(r) for r in records], schema=columns(kind), orient="row")


def _parquet(kind: type[Record], records: Sequence[Record], many: "polars.DataFrame | None") -> bytes:
    # Encoded in memory: a full disk then meets one plain write, not the encoder.
    buffer = io.BytesIO()
    rows = frame(kind, records)
    whole = rows if many is None else rows.vstack(many.select(rows.columns))
    whole.write_parquet(buffer, statistics=False)
    return buffer.getvalue()


class Spool:
    """Segments: folders of one Parquet file per table that appear whole or not at all.

    `spool/` holds those that wait for the database, `segments/` those it has; names sort by time of writing.
    """

    def __init__(self, folder: Path) -> None:
        self.waiting_folder = folder / "spool"
        self.kept_folder = folder / "segments"

    def write(self, records: Sequence[Record], many: Mapping[type[Record], "polars.DataFrame"] = NOTHING) -> str:
        """Make the records durable as one segment and return its name.

        `many`: more of them, as frames that have the columns of their kind; thousands of records take seconds as
        objects. Raises RunError for a record of no table, or when the disk is full or refuses; nothing half-written
        stays.
        """
        tables: dict[type[Record], list[Record]] = {kind: [] for kind in many}
        for record in records:
            if type(record) not in NAMES:
                raise RunError(f"a record must be one of {', '.join(TABLES)}, but got a {type(record).__name__}")
            tables.setdefault(type(record), []).append(record)
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        aside = self.waiting_folder / f".{name}"
        with disk_trouble(self.waiting_folder):
            try:
                durable_folder(self.waiting_folder)
                aside.mkdir()
                for kind, rows in tables.items():
                    write(aside / f"{NAMES[kind]}.parquet", _parquet(kind, rows, many.get(kind)))
                sync(aside)
                aside.rename(self.waiting_folder / name)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            sync(self.waiting_folder)
        return name

    def waiting(self) -> list[str]:
        """Names of the segments that the database may not have yet, oldest first."""
        return _segments(self.waiting_folder)

    def kept(self) -> list[str]:
        """Names of the segments that the database has taken, oldest first."""
        return _segments(self.kept_folder)

    def files(self, names: Sequence[str]) -> dict[str, list[Path]]:
        """Those segments' files by table, in the segments' order."""
        found: dict[str, list[Path]] = {}
        for name in names:
            waiting, kept = self.waiting_folder / name, self.kept_folder / name
            for file in sorted((waiting if waiting.is_dir() else kept).iterdir()):
                found.setdefault(file.stem, []).append(file)
        return found

    def read(self, table: str) -> dict[str, "polars.DataFrame"]:
        """That table's rows by waiting segment, less the segments that the database takes meanwhile."""
        import polars

        found = {}
        for name in self.waiting():
            place = self.waiting_folder / name / f"{table}.parquet"
            with suppress(FileNotFoundError):
                found[name] = polars.read_parquet(place.read_bytes())
        return found

    def keep(self, names: Sequence[str]) -> None:
        """Move segments out of the way after the database took them."""
        durable_folder(self.kept_folder)
        for name in names:
            # Another ingester may have moved it: both saw it arrive.
            with suppress(FileNotFoundError):
                (self.waiting_folder / name).rename(self.kept_folder / name)

    def problems(self, rows: Mapping[str, int]) -> list[str]:
        """What is wrong with the segments that the database has, given how many rows each brought."""
        here = {*self.kept(), *self.waiting()}
        lost = [
            f"segment {name} ({rows[name]} rows) is lost: a rebuild would miss it" for name in rows if name not in here
        ]
        stray = [name for name in self.kept() if name not in rows]
        late = [f"segment {name} never arrived; `steerkit db rebuild` brings it in" for name in stray]
        return lost + late + [damage for name in rows if name in here and (damage := self._damage(name, rows[name]))]

    def _damage(self, name: str, rows: int) -> str | None:
        import polars

        try:
            files = [file for paths in self.files([name]).values() for file in paths]
            read = sum(polars.read_parquet(file.read_bytes()).height for file in files)
        except polars.exceptions.PolarsError as error:
            return f"segment {name} is damaged: {error}"
        return None if read == rows else f"segment {name} is damaged: it must have {rows} rows, but has {read}"

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for aside in self.waiting_folder.glob(".*"):
            with suppress(FileNotFoundError):
                if time.time() - aside.stat().st_mtime > STALE:
                    shutil.rmtree(aside, ignore_errors=True)


def _segments(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
