"""Mailboxes in SQLite. Every operation here runs in the writer's thread, inside a transaction it shares."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import StorageFailed
from ..limits import RECORD_OVERHEAD_BYTES, NodeLimits
from ..mailboxes import Cursor, Full, PutState, Usage, admit, day_of, last_day, resume_after, told_epoch
from ..messages import Item
from .schema import open_database
from .writer import Writer

T = TypeVar("T")
Then = Callable[[T | StorageFailed], None]

# About what one sweep's transaction touches (and at most one full mailbox more): nobody's put waits long behind it.
SWEEP_ROWS = 1_000
SWEEP_PAGES = 10_000


@dataclass(frozen=True)
class Kept:
    """What became of a put; ``item`` is there when it is new."""

    state: PutState
    item: Item | None = None


@dataclass(frozen=True)
class Followed:
    """A mailbox as its opener finds it."""

    epoch: int
    head: int
    after: int


@dataclass(frozen=True)
class Page:
    """The next items of a mailbox; ``read_to``: up to there it holds no others."""

    items: tuple[Item, ...]
    read_to: int


class Store:
    """What a node keeps. Durable when it has a directory; an answer comes after the fsync that covers it."""

    def __init__(self, connection: sqlite3.Connection, *, durable: bool, limits: NodeLimits) -> None:
        self.durable = durable
        self.size_bytes = 0
        self._limits = limits
        # Its change at each start moves every epoch (see `told_epoch`).
        self._boot = secrets.randbits(52)
        self._writer = Writer(
            connection,
            waiting_limit=limits.store_waiting,
            waiting_limit_bytes=limits.store_waiting_bytes,
            before_each_batch=self._measure,
        )

    @classmethod
    async def open(cls, data: Path | None, limits: NodeLimits) -> Store:
        """Raises `DataInUse`, `DataTooNew`, `DataUnusable`. Whoever opened it awaits its `close`."""
        opening = asyncio.ensure_future(asyncio.to_thread(open_database, data))
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise
        return cls(connection, durable=data is not None, limits=limits)

    async def close(self) -> None:
        """Commit what was submitted, and close."""
        await self._writer.close()

    def put(
        self,
        address: bytes,
        put_id: bytes,
        envelope: bytes,
        *,
        ttl_s: int,
        unix_s: float,
        then: Then[Kept | Full | None],
    ) -> None:
        """Keep an envelope, once for its id; None if there is no such mailbox."""
        day, last = day_of(unix_s), last_day(unix_s, ttl_s)

        def operation(connection: sqlite3.Connection) -> Kept | Full | None:
            row = connection.execute(
                "SELECT id, head, items, size_bytes FROM mailbox WHERE address = ?", (address,)
            ).fetchone()
            if row is None:
                return None
            mailbox, head, items, size_bytes = row
            key = (mailbox, put_id)
            if connection.execute("SELECT 1 FROM item WHERE mailbox = ? AND put_id = ?", key).fetchone():
                return Kept(PutState.HELD)
            if connection.execute("SELECT 1 FROM taken WHERE mailbox = ? AND put_id = ?", key).fetchone():
                return Kept(PutState.TAKEN)
            refusal = admit(Usage(items, size_bytes), len(envelope), node_is_full=self._is_full, limits=self._limits)
            if refusal is not None:
                return refusal
            seq = head + 1
            connection.execute(
                "INSERT INTO item (mailbox, seq, put_id, envelope, day, last_day) VALUES (?, ?, ?, ?, ?, ?)",
                (mailbox, seq, put_id, envelope, day, last),
            )
            connection.execute(
                "UPDATE mailbox SET head = ?, items = items + 1, size_bytes = size_bytes + ? WHERE id = ?",
                (seq, len(envelope), mailbox),
            )
            return Kept(PutState.NEW, Item(seq=seq, id=put_id, envelope=envelope, day=day))

        self._writer.submit(operation, then, size_bytes=len(envelope))

    def follow(self, address: bytes, cursor: Cursor, *, unix_s: float, then: Then[Followed | Full]) -> None:
        """Open a mailbox, made if missing; what the opener holds already is acknowledged by that."""

        def operation(connection: sqlite3.Connection) -> Followed | Full:
            mailbox = self._make(connection, address, day_of(unix_s))
            if isinstance(mailbox, Full):
                return mailbox
            stored_epoch, head = connection.execute(
                "SELECT epoch, head FROM mailbox WHERE id = ?", (mailbox,)
            ).fetchone()
            epoch = told_epoch(stored_epoch, self._boot)
            after = resume_after(cursor, epoch=epoch, head=head)
            self._take(connection, mailbox, "seq <= ?", after, day_of(unix_s))
            return Followed(epoch, head, after)

        self._writer.submit(operation, then)

    def page(self, address: bytes, *, after: int, room_bytes: int, then: Then[Page | None]) -> None:
        """Items after a seq: as many as fit, at least one if there is one. None if the mailbox is gone."""

        def operation(connection: sqlite3.Connection) -> Page | None:
            row = connection.execute("SELECT id, head FROM mailbox WHERE address = ?", (address,)).fetchone()
            if row is None:
                return None
            mailbox, head = row
            items: list[Item] = []
            room = room_bytes
            rows = connection.execute(
                "SELECT seq, put_id, envelope, day FROM item WHERE mailbox = ? AND seq > ? ORDER BY seq",
                (mailbox, after),
            )
            for seq, put_id, envelope, day in rows:
                room -= len(envelope) + RECORD_OVERHEAD_BYTES
                if items and room < 0:
                    rows.close()
                    return Page(tuple(items), items[-1].seq)
                items.append(Item(seq=seq, id=put_id, envelope=envelope, day=day))
            return Page(tuple(items), head)

        self._writer.submit(operation, then)

    def acknowledge(self, address: bytes, seq: int, *, unix_s: float, then: Then[None]) -> None:
        """Forget the items up to ``seq``, and remember their ids."""

        def operation(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT id FROM mailbox WHERE address = ?", (address,)).fetchone()
            if row is not None:
                self._take(connection, row[0], "seq <= ?", seq, day_of(unix_s))

        self._writer.submit(operation, then)

    def set_card(self, address: bytes, card: bytes, *, unix_s: float, then: Then[Full | None]) -> None:
        """Replace a mailbox's card; the mailbox is made if missing."""

        def operation(connection: sqlite3.Connection) -> Full | None:
            mailbox = self._make(connection, address, day_of(unix_s))
            if isinstance(mailbox, Full):
                return mailbox
            connection.execute("UPDATE mailbox SET card = ? WHERE id = ?", (card, mailbox))
            return None

        self._writer.submit(operation, then)

    def card(self, address: bytes, *, then: Then[tuple[bytes | None] | None]) -> None:
        """A mailbox's card, if set, in a tuple; None if there is no such mailbox."""

        def operation(connection: sqlite3.Connection) -> tuple[bytes | None] | None:
            row: tuple[bytes | None] | None = connection.execute(
                "SELECT card FROM mailbox WHERE address = ?", (address,)
            ).fetchone()
            return row

        self._writer.submit(operation, then)

    def delete(self, address: bytes, *, then: Then[bool]) -> None:
        """Delete a mailbox with all it holds and remembers; False if there was none."""

        def operation(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT id FROM mailbox WHERE address = ?", (address,)).fetchone()
            if row is None:
                return False
            self._drop(connection, row[0])
            return True

        self._writer.submit(operation, then)

    async def node_secret(self) -> bytes:
        """The 32-byte seed of this node's key, made the first time."""

        def operation(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO node (id, secret) VALUES (1, ?)", (secrets.token_bytes(32),))
            (secret,) = connection.execute("SELECT secret FROM node").fetchone()
            return bytes(secret)

        return await self._writer.ask(operation)

    async def answers(self) -> None:
        """Return when the writer has come round; raises `StorageFailed` if it can't begin a transaction."""
        await self._writer.ask(lambda _: None)

    async def sweep(self, *, unix_s: float, followed: Iterable[bytes]) -> int:
        """Forget what is past its day, in short transactions; how many rows went. Raises `StorageFailed`.

        What was forgotten before is then no more on the disk.
        """
        today = day_of(unix_s)
        addresses = [(today, address) for address in followed]

        def touch(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE mailbox SET opened_day = ? WHERE address = ?", addresses)

        await self._writer.ask(touch)
        gone = 0
        while count := await self._writer.ask(lambda connection: self._sweep_some(connection, today)):
            gone += count
        self._writer.empty_log_next()
        await self._writer.ask(
            lambda connection: connection.execute(f"PRAGMA incremental_vacuum({SWEEP_PAGES})").fetchall()
        )
        return gone

    def _sweep_some(self, connection: sqlite3.Connection, today: int) -> int:
        mailboxes = connection.execute(
            "SELECT DISTINCT mailbox FROM (SELECT mailbox FROM item WHERE last_day < ? LIMIT ?)", (today, SWEEP_ROWS)
        ).fetchall()
        gone = 0
        for (mailbox,) in mailboxes:
            gone += self._take(connection, mailbox, "last_day < ?", today, today)
            if gone >= SWEEP_ROWS:
                return gone
        gone += connection.execute(
            "DELETE FROM taken WHERE (mailbox, put_id) IN (SELECT mailbox, put_id FROM taken WHERE day < ? LIMIT ?)",
            (today - self._limits.taken_days, SWEEP_ROWS),
        ).rowcount
        idle = connection.execute(
            "SELECT id FROM mailbox WHERE opened_day < ? LIMIT 10", (today - self._limits.mailbox_idle_days,)
        ).fetchall()
        for (mailbox,) in idle:
            self._drop(connection, mailbox)
        return gone + len(idle)

    def _make(self, connection: sqlite3.Connection, address: bytes, today: int) -> int | Full:
        row = connection.execute("SELECT id, opened_day FROM mailbox WHERE address = ?", (address,)).fetchone()
        if row is None:
            if self._is_full:
                return Full.NODE
            made = connection.execute(
                "INSERT INTO mailbox (address, epoch, opened_day) VALUES (?, ?, ?)",
                (address, secrets.randbits(52), today),
            )
            return int(made.lastrowid or 0)
        mailbox: int = row[0]
        if row[1] != today:
            connection.execute("UPDATE mailbox SET opened_day = ? WHERE id = ?", (today, mailbox))
        return mailbox

    def _take(self, connection: sqlite3.Connection, mailbox: int, which: str, bound: int, today: int) -> int:
        """Forget the items that ``which`` names (our SQL, with one bound) but their ids; how many they were."""
        where = f"WHERE mailbox = ? AND {which}"
        items, size_bytes = connection.execute(
            f"SELECT count(*), coalesce(sum(length(envelope)), 0) FROM item {where}",  # noqa: S608 (ours)
            (mailbox, bound),
        ).fetchone()
        if not items:
            return 0
        remember = f"INSERT OR REPLACE INTO taken SELECT mailbox, put_id, seq, ? FROM item {where}"  # noqa: S608 (ours)
        connection.execute(remember, (today, mailbox, bound))
        connection.execute(f"DELETE FROM item {where}", (mailbox, bound))  # noqa: S608 (ours)
        connection.execute(
            "UPDATE mailbox SET items = items - ?, size_bytes = size_bytes - ? WHERE id = ?",
            (items, size_bytes, mailbox),
        )
        connection.execute(
            "DELETE FROM taken WHERE mailbox = ?1 AND seq <= (SELECT head FROM mailbox WHERE id = ?1) - ?2",
            (mailbox, self._limits.mailbox_taken),
        )
        return int(items)

    def _drop(self, connection: sqlite3.Connection, mailbox: int) -> None:
        connection.execute("DELETE FROM item WHERE mailbox = ?", (mailbox,))
        connection.execute("DELETE FROM taken WHERE mailbox = ?", (mailbox,))
        connection.execute("DELETE FROM mailbox WHERE id = ?", (mailbox,))

    @property
    def _is_full(self) -> bool:
        return self.size_bytes >= self._limits.store_bytes

    def _measure(self, connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        self.size_bytes = (pages - free) * page_bytes


def _close_late(opening: asyncio.Future[sqlite3.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
