"""The catalogue's file: its format, how it is opened, and what SQLite's errors mean for us.

    table revision   (number)                 one row: the version given last
    table registers  (key, value, version)    key: UTF-8 bytes, so their order is the code points'

``application_id`` says whose file it is, ``user_version`` which format.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from redundancy.errors import EvenflowError
from storage_server.catalogue.errors import (
    CatalogueDamaged,
    CatalogueFull,
    CatalogueReadOnly,
    CatalogueUnavailable,
    UnknownCatalogueFormat,
)

APPLICATION_ID = 0x45564E46  # "EVNF"
FORMAT = 1

# Somebody may look into the file with another program while we write.
BUSY_TIMEOUT_S = 2.0

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE revision (number INTEGER NOT NULL);
INSERT INTO revision VALUES (0);
CREATE TABLE registers (
    key BLOB NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    version INTEGER NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""


def open_for_writing(path: Path) -> tuple[sqlite3.Connection, int]:
    """Open the file, making it if it is new; return the connection and the last version given.

    Every page is checked first: damage found now loses less than damage found later.
    Raises: UnknownCatalogueFormat, CatalogueError.
    """
    with translated(path):
        connection = _connect(f"{path.absolute().as_uri()}?mode=rwc")
        try:
            _settle_format(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _check_pages(connection, path)
            (revision,) = connection.execute("SELECT number FROM revision").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection, revision


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a file that is there already."""
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw")
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise error_from_sqlite(error, path) from error


def error_from_sqlite(error: sqlite3.Error, path: Path) -> EvenflowError:
    """Return what an error of SQLite means, and what to do."""
    text = f"{path}: {error}"
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            return CatalogueFull(
                f"{text}: nothing was written",
                hint="free some space there; nothing else is needed",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return CatalogueReadOnly(
                text, hint="make the directory and the file writable for the coordinator"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CatalogueDamaged(
                f"{text}: the catalogue is damaged",
                hint="move the file away and restore a copy of it; the fragments on the nodes "
                "are not touched",
            )
        case _:
            return CatalogueUnavailable(text, hint="check the disk; then try again")


def may_have_happened(error: sqlite3.Error) -> bool:
    """Whether a write that failed like this may still be found after a restart."""
    return _primary_code(error) == sqlite3.SQLITE_IOERR


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _settle_format(connection: sqlite3.Connection, path: Path) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not owner and not version:
        connection.executescript(_SCHEMA)
    elif owner != APPLICATION_ID:
        raise UnknownCatalogueFormat(
            f"{path} is a database of another program; nothing was changed",
            hint="give the coordinator a directory of its own",
        )
    elif version != FORMAT:
        raise UnknownCatalogueFormat(
            f"{path} has format {version}, which is not known here (known: {FORMAT})",
            hint="start a version of Evenflow that knows it; nothing was changed",
        )


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise CatalogueDamaged(
            f"{path} is damaged: {found[0]}",
            hint="move the file away and restore a copy of it; the fragments on the nodes are "
            "not touched",
            detail={"found": found},
        )
