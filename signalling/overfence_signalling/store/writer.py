"""One thread writes; whoever waits shares one transaction, and hears only after the COMMIT that covers it."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..errors import StorageBusy, StorageFailed
from ..logs import log

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Answer = Callable[[Any], None]

# An operation, who hears of it, and how many bytes it brings.
_Submitted = tuple[Operation[Any], Answer, int]

# What one transaction gathers at most: an fsync's cost is shared by a few hundred, and nobody waits for thousands.
BATCH_LIMIT = 256


class Writer:
    """Operations run in the order they were submitted, and their answers come on the event loop in that order.

    An operation that fails undoes itself alone; a transaction that fails undoes all in it, and all are told.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        waiting_limit: int,
        waiting_limit_bytes: int,
        before_each_batch: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._connection = connection
        self._waiting_limit = waiting_limit
        self._waiting_limit_bytes = waiting_limit_bytes
        self._waiting = 0
        self._waiting_bytes = 0
        self._before_each_batch = before_each_batch
        self._queue: queue.SimpleQueue[_Submitted | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        self._closing = False
        self._empty_log = False
        self._thread = threading.Thread(target=self._run, name="overfence-node-store", daemon=True)
        self._thread.start()

    def submit(
        self, operation: Operation[T], then: Callable[[T | StorageFailed], None], *, size_bytes: int = 0
    ) -> None:
        """Have ``operation`` done; ``then`` gets what it returned, once that is durable, or why it isn't."""
        if self._closing:
            self._loop.call_soon(then, StorageBusy("the store is closing"))
        elif self._waiting >= self._waiting_limit or self._waiting_bytes + size_bytes > self._waiting_limit_bytes:
            self._loop.call_soon(then, StorageBusy("the disk is behind"))
        else:
            self._waiting += 1
            self._waiting_bytes += size_bytes
            self._queue.put((operation, then, size_bytes))

    async def ask(self, operation: Operation[T]) -> T:
        """Like `submit`, awaited; raises `StorageFailed`."""
        answer: asyncio.Future[T] = self._loop.create_future()

        def then(result: T | StorageFailed) -> None:
            if answer.done():
                return
            if isinstance(result, StorageFailed):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self.submit(operation, then)
        return await answer

    def empty_log_next(self) -> None:
        """After the next batch, and before it is answered, no older copy of a page is left in the write-ahead log."""
        self._empty_log = True

    async def close(self) -> None:
        """Finish what was submitted, tell its answers, and close the database."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await self._finished.wait()
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch: list[_Submitted] = []
            entry = self._queue.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) == BATCH_LIMIT or self._queue.empty():
                    break
                entry = self._queue.get()
            going_on = entry is not None
            if batch:
                results = self._transact([operation for operation, _, _ in batch])
                if self._empty_log:
                    self._checkpoint()
                self._loop.call_soon_threadsafe(self._tell, batch, results)
        try:
            self._connection.close()
        except sqlite3.Error as error:
            log.error("database not closed cleanly", why=str(error))
        self._loop.call_soon_threadsafe(self._finished.set)

    def _checkpoint(self) -> None:
        self._empty_log = False
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            # What it holds is durable all the same, and the next sweep tries again.
            log.error("write-ahead log not emptied", why=str(error))

    def _transact(self, operations: list[Operation[Any]]) -> list[object]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._before_each_batch(connection)
            results = [self._attempt(operation) for operation in operations]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            log.error("transaction failed", why=str(error), operations=len(operations))
            if connection.in_transaction:
                # If even this fails the next batch fails likewise, and everyone is told.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            return [StorageFailed(str(error))] * len(operations)
        return results

    def _attempt(self, operation: Operation[Any]) -> object:
        connection = self._connection
        connection.execute("SAVEPOINT one")
        try:
            result: object = operation(connection)
        except Exception as error:
            log.error("operation failed", exc_info=error)
            # If this raises, SQLite has undone the whole transaction, and all its operations failed.
            connection.execute("ROLLBACK TO one")
            result = StorageFailed(str(error))
        connection.execute("RELEASE one")
        return result

    def _tell(self, batch: list[_Submitted], results: list[object]) -> None:
        for (_, then, size_bytes), result in zip(batch, results, strict=True):
            self._waiting -= 1
            self._waiting_bytes -= size_bytes
            try:
                then(result)
            except Exception as error:
                log.error("answer failed", exc_info=error)
