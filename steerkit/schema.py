"""What a store's file holds: its migrations and views, and how segments get in. The connection comes from the store."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit import __version__, resources
from steerkit.errors import UsageError
from steerkit.records import TABLES

if TYPE_CHECKING:
    import duckdb


def applied(con: "duckdb.DuckDBPyConnection", path: Path) -> tuple[int, str]:
    """The file's newest migration (0: none yet) and the hash of its views.

    Raises UsageError for a database that is not a store, or a newer one.
    """
    tables = {name for (name,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "schema_version" not in tables:
        if tables:
            raise UsageError(f"the store must be steerkit's, but {path} is another database; give another --store")
        return 0, ""
    rows = con.sql("SELECT number, name, sha256, version FROM schema_version ORDER BY rowid").fetchall()
    number, known = max(row[0] for row in rows), max(resources.migrations())
    if number > known:
        raise UsageError(
            f"the store's schema must be {known} or older, but {path} has {number}, written by steerkit {rows[-1][3]}; "
            f"this is steerkit {__version__}: upgrade it, or give another --store"
        )
    return number, [sha256 for _, name, sha256, _ in rows if name == "views"][-1]


def behind(con: "duckdb.DuckDBPyConnection", path: Path) -> bool:
    """Whether the file waits for a migration or for newer views."""
    return applied(con, path) != (max(resources.migrations()), _sha256(resources.views()))


def migrate(con: "duckdb.DuckDBPyConnection", path: Path) -> None:
    """Bring the file up to this version's schema and views.

    Raises UsageError for a database that is not a store, or a newer one.
    """
    number, views = applied(con, path)
    todo = [(n, file.name, file.read_text()) for n, file in resources.migrations().items() if n > number]
    if todo or views != _sha256(resources.views()):
        todo.append((max(resources.migrations()), "views", resources.views()))
    for n, name, sql in todo:
        con.execute(sql)
        con.execute("INSERT INTO schema_version VALUES ($1, $2, $3, $4)", [n, name, _sha256(sql), __version__])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def arrived(con: "duckdb.DuckDBPyConnection") -> set[str]:
    """Names of the segments that the database has."""
    return {name for (name,) in con.sql("SELECT name FROM segment").fetchall()}


def load(con: "duckdb.DuckDBPyConnection", names: Sequence[str], files: Mapping[str, Sequence[Path]]) -> None:
    """Insert whole segments, given by name and as files by table; run it and commit in one transaction.

    Raises UsageError for a table that this version does not know.
    """
    rows = dict.fromkeys(names, 0)
    for table, paths in files.items():
        if table not in TABLES:
            raise UsageError(f"every table must be known, but {paths[0]} is of a newer steerkit; upgrade this one")
        # DuckDB reads a path as a pattern.
        patterns = {"files": [re.sub(r"([*?\[])", r"[\1]", str(path)) for path in paths]}
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet($files, union_by_name = true)", patterns)
        counts = con.sql("SELECT file_name, num_rows FROM parquet_file_metadata($files)", params=patterns).fetchall()
        for file, count in counts:
            rows[Path(file).parent.name] += count
    if rows:
        con.execute("INSERT INTO segment SELECT unnest($1), unnest($2)", [list(rows), list(rows.values())])
