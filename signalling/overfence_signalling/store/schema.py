"""The node's database: its tables, its migrations, and opening it so that nothing else writes there."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from ..errors import DataInUse, DataTooNew, DataUnusable
from ..limits import MIB

FILE_NAME = "node.db"
SCHEMA_VERSION = 1
# A node that is just closing still holds the lock for a moment.
LOCK_WAIT_S = 1.0

migrations = Migrations("overfence-node")


@migrations()
def m001_mailboxes(db: Database) -> None:
    """Addresses, never the keys behind them; days, never times."""
    for statement in (
        "CREATE TABLE node (id INTEGER PRIMARY KEY CHECK (id = 1), secret BLOB NOT NULL)",
        """CREATE TABLE mailbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT, address BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL,
            head INTEGER NOT NULL DEFAULT 0, items INTEGER NOT NULL DEFAULT 0, size_bytes INTEGER NOT NULL DEFAULT 0,
            opened_day INTEGER NOT NULL, card BLOB)""",
        """CREATE TABLE item (
            mailbox INTEGER NOT NULL, seq INTEGER NOT NULL, put_id BLOB NOT NULL, envelope BLOB NOT NULL,
            day INTEGER NOT NULL, last_day INTEGER NOT NULL)""",
        "CREATE UNIQUE INDEX item_by_seq ON item (mailbox, seq)",
        "CREATE UNIQUE INDEX item_by_put ON item (mailbox, put_id)",
        "CREATE INDEX item_by_last_day ON item (last_day)",
        """CREATE TABLE taken (
            mailbox INTEGER NOT NULL, put_id BLOB NOT NULL, seq INTEGER NOT NULL, day INTEGER NOT NULL,
            PRIMARY KEY (mailbox, put_id)) WITHOUT ROWID""",
        "CREATE INDEX taken_by_seq ON taken (mailbox, seq)",
        "CREATE INDEX taken_by_day ON taken (day)",
        "PRAGMA user_version = 1",
    ):
        db.execute(statement)


class OwnedConnection(sqlite3.Connection):
    """A database whose directory is ours as long as it is open."""

    directory: int | None = None

    def close(self) -> None:
        super().close()
        if self.directory is not None:
            os.close(self.directory)
            self.directory = None


def open_database(data: Path | None) -> sqlite3.Connection:
    """The database in the directory ``data`` (made if missing), or one in memory, ready and ours alone.

    Raises `DataInUse`, `DataTooNew`, `DataUnusable`.
    """
    if data is None:
        return _prepare(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = _own(data)
    except OSError as error:
        raise DataUnusable(data, error.strerror or str(error)) from None
    try:
        connection = _open_file(data)
    except BaseException:
        if directory is not None:
            os.close(directory)
        raise
    connection.directory = directory
    return connection


def _own(data: Path) -> int | None:
    """Take the directory before its database is touched.

    To close any handle of a file drops all this process's locks on it, SQLite's too: looking comes second.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(directory)
        raise DataInUse(data) from None
    except OSError:
        # Some network file systems lock no directories; there SQLite's own lock has to do.
        os.close(directory)
        return None
    return directory


def _open_file(data: Path) -> OwnedConnection:
    path = data / FILE_NAME
    try:
        # SQLite gives its -wal file the mode of the database: nobody else on this machine reads either.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        found = stored_version(path)
    except OSError as error:
        raise DataUnusable(data, error.strerror or str(error)) from None
    if found > SCHEMA_VERSION:
        raise DataTooNew(data, found, SCHEMA_VERSION)
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S, factory=OwnedConnection
    )
    try:
        # Before the first read: with it the write-ahead log needs no shared memory file, and a second node is refused.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise DataInUse(data) from None
        raise DataUnusable(data, str(error)) from None
    return connection


def _prepare(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # FAST would leave pages that fall free as they were, and acknowledged envelopes to whoever takes the disk.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA journal_size_limit = {64 * MIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    migrations.apply(Database(connection, execute_plugins=False))
    # So that the version stands in the database file itself, where `stored_version` finds it soonest.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return connection


def stored_version(path: Path) -> int:
    """The ``user_version`` of a database, read without SQLite, which even when reading makes files beside it.

    See "Database File Format" of sqlite.org, §1.3 (header) and §4 (write-ahead log: there the newest page 1 counts).
    """
    with path.open("rb") as database:
        header = database.read(100)
    newest = header if len(header) == 100 else b""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        newest = _newest_header_in_log(log) or newest
    if not newest.startswith(b"SQLite format 3\x00"):
        return 0
    return int.from_bytes(newest[60:64], "big")


def _newest_header_in_log(log: Path) -> bytes | None:
    waiting: bytes | None = None
    committed: bytes | None = None
    with log.open("rb") as file:
        start = file.read(32)
        if len(start) < 32:
            return None
        page_bytes, salts = struct.unpack(">8xI4x8s8x", start)
        while len(frame := file.read(24)) == 24:
            page, database_pages, frame_salts = struct.unpack(">II8s8x", frame)
            if frame_salts != salts:
                break
            content = file.read(100)
            file.seek(page_bytes - len(content), os.SEEK_CUR)
            if page == 1:
                waiting = content
            if database_pages:
                committed = waiting
    return committed
