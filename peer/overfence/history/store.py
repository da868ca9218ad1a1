"""One database, one thread that owns it; whoever waits shares one transaction and hears after its fsync."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from ..errors import ChatClosed, HistoryDamaged, HistoryTooNew, HomeInUse, StorageFailed
from .migrations import SCHEMA_VERSION, migrations

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_Entry = tuple[Work[Any], "asyncio.Future[Any]"]

# What one transaction gathers at most: an fsync's cost is shared by many, and nobody waits for thousands.
GROUP_LIMIT = 128
# After so long without work the write-ahead log is emptied: it holds earlier states of every page, and with them keys
# that were deleted so that what they sealed can't be read any more.
IDLE_S = 2.0

logger = logging.getLogger(__name__)


class Store:
    """Work is done in the order it was handed in, all of it or none, and is durable when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._finished = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="overfence-history", daemon=True)

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Raises `HomeInUse`, `HistoryTooNew`, `HistoryDamaged`, `StorageFailed`; then the file is as it was."""
        store = cls(path)
        store._thread.start()
        try:
            await asyncio.shield(store._ready)
        except asyncio.CancelledError:
            store._queue.put(None)
            raise
        return store

    async def write(self, work: Work[T]) -> T:
        """Do ``work`` in a transaction; its result comes after the fsync. What it raises undoes it, alone.

        It may be done twice, the first time undone, so it changes nothing but the database.
        """
        if self._closed:
            raise ChatClosed("the history is closed")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((work, answer))
        return await answer

    async def close(self) -> None:
        """Finish what was handed in, and close the file."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await self._finished.wait()

    def _run(self) -> None:
        try:
            connection = _open(self._path)
        except Exception as error:
            self._tell(self._ready.set_exception, error)
            self._tell(self._finished.set)
            return
        self._tell(self._ready.set_result, None)
        going_on, is_clean = True, True
        while going_on:
            try:
                entry = self._queue.get(timeout=None if is_clean else IDLE_S)
            except queue.Empty:
                _empty_log(connection)
                is_clean = True
                continue
            if entry is None:
                break
            group, results, going_on = self._group(connection, entry)
            is_clean = False
            self._tell(_answer, group, results)
        connection.close()
        self._tell(self._finished.set)

    def _group(
        self, connection: sqlite3.Connection, first: _Entry
    ) -> tuple[list[_Entry], list[tuple[bool, Any]], bool]:
        """Do the first entry and whatever else is waiting until then in one transaction; False last: the end."""
        group = [first]
        going_on = True
        try:
            connection.execute("BEGIN IMMEDIATE")
            results: list[tuple[bool, Any]] = [(True, _unless_given_up(connection, first))]
            while len(group) < GROUP_LIMIT and not self._queue.empty():
                entry = self._queue.get()
                if entry is None:
                    going_on = False
                    break
                group.append(entry)
                results.append((True, _unless_given_up(connection, entry)))
            connection.execute("COMMIT")
        except Exception as error:
            # Somebody's work failed, or the disk did: all is undone, and each is done again for itself.
            logger.debug("a transaction is done again in parts: %s", type(error).__name__)
            _undo(connection)
            results = [_alone(connection, entry) for entry in group]
        return group, results, going_on

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        # The loop may be gone when an embedder drops everything; then nobody waits for an answer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


def _empty_log(connection: sqlite3.Connection) -> None:
    """Move what is in the log into the database, whose free space is overwritten, and cut the log to nothing."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        # Nothing is lost by it: the log is as good a place as any.
        logger.warning("the write-ahead log stays: %s", error)


def _answer(group: list[_Entry], results: list[tuple[bool, Any]]) -> None:
    for (_, answer), (good, result) in zip(group, results, strict=True):
        if answer.done():
            continue
        if good:
            answer.set_result(result)
        else:
            answer.set_exception(result)


def _unless_given_up(connection: sqlite3.Connection, entry: _Entry) -> Any:
    work, answer = entry
    return None if answer.cancelled() else work(connection)


def _alone(connection: sqlite3.Connection, entry: _Entry) -> tuple[bool, Any]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = _unless_given_up(connection, entry)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        logger.error("a transaction failed: %s", error)
        _undo(connection)
        return False, StorageFailed(f"the disk refused it: {error}")
    except Exception as error:
        _undo(connection)
        return False, error
    return True, result


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        # If even this fails the next transaction fails likewise, and whoever waits is told.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    if (found := max(_version(path), _version_in_log(path))) > SCHEMA_VERSION:
        raise HistoryTooNew(found, SCHEMA_VERSION)
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=1)
    except sqlite3.Error as error:
        raise StorageFailed(f"{path}: {error}") from None
    try:
        # With it a second process is refused, and the write-ahead log needs no shared memory file.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        migrations.apply(Database(connection, execute_plugins=False))
        # So that the version stands in the file itself, where `_version` reads it.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        connection.close()
        code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.OperationalError) else -1
        if code == sqlite3.SQLITE_BUSY:
            raise HomeInUse(f"{path.parent} is open in another process") from None
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise HistoryDamaged(f"{path}: {error}") from None
        raise StorageFailed(f"{path}: {error}") from None
    return connection


def _version(path: Path) -> int:
    """``user_version`` from the file's header, read without SQLite, which would make files beside it."""
    try:
        # Made here so that it is 0600 from its first byte; SQLite gives its log file the same mode.
        path.touch(mode=0o600)
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from None
    if header and not header.startswith(b"SQLite format 3\x00"):
        raise HistoryDamaged(f"{path} is not a history of Overfence")
    return int.from_bytes(header[60:64], "big")


def _version_in_log(path: Path) -> int:
    """``user_version`` in what a killed process committed and no checkpoint moved yet (sqlite.org/fileformat2, §4)."""
    found = pending = 0
    try:
        with path.with_name(path.name + "-wal").open("rb") as log:
            head = log.read(32)
            page_bytes, salts = int.from_bytes(head[8:12], "big"), head[16:24]
            while len(frame := log.read(24)) == 24 and frame[8:16] == salts:
                page = log.read(page_bytes)
                if frame[:4] == b"\x00\x00\x00\x01":
                    pending = int.from_bytes(page[60:64], "big")
                if frame[4:8] != bytes(4):  # the last frame of a transaction
                    found = pending
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from None
    return found
