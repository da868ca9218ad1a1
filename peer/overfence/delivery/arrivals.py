"""The one way in: whatever arrives, by mailbox or link, in one queue, taken in together, acknowledged once durable."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from overfence_signalling import Ack, Item, Items

from ..connect.nodes import NodeClient
from ..errors import StorageFailed
from ..history import postbox
from ..history.store import Store
from . import incoming, meeting
from .incoming import Outcome
from .me import Me

logger = logging.getLogger(__name__)

# What waits to be taken in from one link or node. Past it that one is cut off: nobody can fill our memory
# faster than our disk takes it, and what is lost with it comes again, by sync or by the mailbox.
QUEUE_LIMIT_BYTES = 4 * 1024 * 1024
# What one transaction takes in at most.
TAKE_LIMIT = 64
# A duplicate is answered with a have at most this often: a replayed message cannot make us chatter (§6).
DUPLICATE_ANSWER_S = 60.0
STORAGE_RETRY_S = 1.0


@dataclass(frozen=True)
class _ByLine:
    dsk: bytes
    message: bytes
    release: Callable[[], None]

    @property
    def source(self) -> bytes:
        return self.dsk

    @property
    def size_bytes(self) -> int:
        return len(self.message)


@dataclass(frozen=True)
class _ByMail:
    node: NodeClient
    items: Items

    @property
    def source(self) -> str:
        return self.node.url

    @property
    def size_bytes(self) -> int:
        return sum(len(item.envelope) for item in self.items.items)


_Arrived = _ByLine | _ByMail


class Arrivals:
    """Everything is taken in in the order it came, and acted on only once it is durable."""

    def __init__(
        self,
        store: Store,
        me: Me,
        *,
        direct: Callable[[], frozenset[bytes]],
        act: Callable[[Outcome], Awaitable[None]],
        trouble: Callable[[str], None],
    ) -> None:
        self._store = store
        self._me = me
        self._direct = direct  # the devices a line is up to
        self._act = act
        self._trouble = trouble
        self._queue: asyncio.Queue[_Arrived] = asyncio.Queue()
        self._queued: dict[bytes | str, int] = {}
        self._answered_at: dict[bytes, float] = {}

    def by_line(self, dsk: bytes, message: bytes, release: Callable[[], None]) -> None:
        """One message from a device's line, whose own window bounds what waits here until `release`."""
        self._put(_ByLine(dsk, message, release))

    def by_mail(self, node: NodeClient, items: Items) -> bool:
        """Items from a node; False where too much waits already, and these were left."""
        return self._put(_ByMail(node, items))

    async def run(self) -> None:
        """Take in until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < TAKE_LIMIT and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for arrived in batch:
                self._queued[arrived.source] -= arrived.size_bytes
            try:
                await self._take_in(batch)
            except Exception:
                # The way in must stay open, whatever one batch brought.
                logger.exception("acting on what arrived failed")
            finally:
                for arrived in batch:
                    if isinstance(arrived, _ByLine):
                        arrived.release()

    def _put(self, arrived: _Arrived) -> bool:
        queued = self._queued.get(arrived.source, 0) + arrived.size_bytes
        if queued > QUEUE_LIMIT_BYTES:
            return False
        self._queued[arrived.source] = queued
        self._queue.put_nowait(arrived)
        return True

    async def _take_in(self, batch: list[_Arrived]) -> None:
        direct = self._direct()
        while True:
            try:
                outcome, acks = await self._store.write(lambda tx: self._take(tx, batch, direct))
                break
            except StorageFailed as error:
                # Nothing is acknowledged, so nothing is lost; the sender keeps it until the disk is well.
                self._trouble(f"what arrives cannot be stored: {error}")
                await asyncio.sleep(STORAGE_RETRY_S)
        now = time.monotonic()
        self._answered_at.update((dsk, now) for dsk in outcome.duplicates & outcome.owed.keys())
        for node, ack in acks:
            await node.say(ack)
        await self._act(outcome)

    def _take(
        self, tx: sqlite3.Connection, batch: list[_Arrived], direct: frozenset[bytes]
    ) -> tuple[Outcome, list[tuple[NodeClient, Ack]]]:
        outcome = Outcome()
        acks = []
        for arrived in batch:
            match arrived:
                case _ByLine(dsk, message):
                    _apart(tx, outcome, _taking_message(tx, self._me, dsk, message))
                case _ByMail(node, items):
                    ack = self._take_items(tx, node, items, outcome)
                    acks += [(node, ack)] if ack else []
        meeting.close_used_invites(tx, outcome)
        now = time.monotonic()
        for dsk in outcome.duplicates:
            if now - self._answered_at.get(dsk, -DUPLICATE_ANSWER_S) >= DUPLICATE_ANSWER_S:
                outcome.owed[dsk] = None
        meeting.greet(tx, self._me, outcome)
        incoming.answer(tx, self._me, outcome, direct)
        return outcome, acks

    def _take_items(self, tx: sqlite3.Connection, node: NodeClient, items: Items, outcome: Outcome) -> Ack | None:
        box = postbox.mailbox(tx, items.mailbox)
        if box is None or box.node != node.url:
            return None
        reached = box.seq if box.epoch == items.epoch else 0
        for item in items.items:
            if 0 < item.seq <= reached:
                continue
            _apart(tx, outcome, _taking_item(tx, self._me, box, item))
            reached = max(reached, item.seq)
        if reached == 0:
            return None
        postbox.set_cursor(tx, box.mailbox, items.epoch, reached)
        return Ack(mailbox=box.mailbox, epoch=items.epoch, seq=reached)


_Taking = Callable[[Outcome], object]


def _taking_message(tx: sqlite3.Connection, me: Me, dsk: bytes, message: bytes) -> _Taking:
    return lambda outcome: incoming.take_message(tx, me, dsk, message, outcome)


def _taking_item(tx: sqlite3.Connection, me: Me, box: postbox.Mailbox, item: Item) -> _Taking:
    if box.contact is None:
        return lambda outcome: meeting.take_knock(tx, me, box, item.envelope, item.day, outcome)
    return lambda outcome: incoming.take_envelope(tx, me, box, item.envelope, outcome)


def _apart(tx: sqlite3.Connection, outcome: Outcome, take: _Taking) -> None:
    """Take one thing in; one that trips over a mistake of ours is undone and left, and spoils no other."""
    tried = Outcome()
    tx.execute("SAVEPOINT arrival")
    try:
        take(tried)
    except sqlite3.Error:
        raise
    except Exception:
        logger.exception("a message could not be taken in; it is left")
        tx.execute("ROLLBACK TO arrival")
    else:
        outcome.add(tried)
    tx.execute("RELEASE arrival")
