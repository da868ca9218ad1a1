"""The one way in: whatever arrives, by mailbox or link, each source in turn, acknowledged once durable."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from overfence_signalling import Ack, Item, Items

from ..connect.nodes import NodeClient
from ..errors import StorageFailed
from ..history import postbox
from ..history.store import Store
from . import incoming, meeting, moving
from .me import Me
from .outcome import Outcome

logger = logging.getLogger(__name__)

# What waits to be taken in from one node (a line has its own window). Past it that one is cut off: nobody can fill our
# memory faster than our disk takes it, and what is lost with it comes again by the mailbox.
QUEUE_LIMIT_BYTES = 4 * 1024 * 1024
# What each item and frame counts beyond its bytes: those without any would else be without number.
OVERHEAD_BYTES = 512
# What one transaction takes in at most, in things and in time: what is written meanwhile waits that long.
TAKE_LIMIT = 128
TAKE_S = 0.02
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
        return len(self.message) + OVERHEAD_BYTES


@dataclass(frozen=True)
class _ByMail:
    node: NodeClient
    mailbox: bytes
    epoch: int
    item: Item

    @property
    def source(self) -> str:
        return self.node.url

    @property
    def size_bytes(self) -> int:
        return len(self.item.envelope) + OVERHEAD_BYTES


_Arrived = _ByLine | _ByMail
_Acks = list[tuple[NodeClient, Ack]]


class Arrivals:
    """What one source brings is taken in in the order it came, and acted on only once it is durable.

    Sources take turns: whoever brings much, or what is slow to open, holds up no one else.
    """

    def __init__(
        self,
        store: Store,
        me: Me,
        *,
        direct: Callable[[], frozenset[bytes]],
        act: Callable[[Outcome], Awaitable[None]],
        acknowledge: Callable[[NodeClient, Ack], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._store = store
        self._me = me
        self._direct = direct  # the devices a line is up to
        self._act = act
        self._acknowledge = acknowledge
        self._trouble = trouble
        # The one whose turn it is comes first.
        self._queues: dict[bytes | str, deque[_Arrived]] = {}
        self._queued: dict[bytes | str, int] = {}
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._answered_at: dict[bytes, float] = {}

    def by_line(self, dsk: bytes, message: bytes, release: Callable[[], None]) -> None:
        """One message from a device's line, whose own window bounds what waits here until `release`."""
        self._put([_ByLine(dsk, message, release)], dsk)

    def by_mail(self, node: NodeClient, items: Items) -> bool:
        """Items from a node; False where too much waits already, and these were left."""
        arrived = [_ByMail(node, items.mailbox, items.epoch, item) for item in items.items]
        if self._queued.get(node.url, 0) + sum(one.size_bytes for one in arrived) > QUEUE_LIMIT_BYTES:
            return False
        self._put(arrived, node.url)
        return True

    def drop(self, dsk: bytes) -> None:
        """What waits of a device's line is not worth reading; were anything of it, that would come again."""
        self._forget(list(self._queues.pop(dsk, ())))

    async def room(self, node: NodeClient) -> None:
        """Return once no more than half of what may wait of that node does."""
        while self._queued.get(node.url, 0) > QUEUE_LIMIT_BYTES // 2:
            self._taken.clear()
            await self._taken.wait()

    async def run(self) -> None:
        """Take in until cancelled."""
        while True:
            await self._arrived.wait()
            batch = self._next()
            if not batch:
                self._arrived.clear()
                continue
            taken = batch
            try:
                outcome, taken = await self._take_in(batch)
                await self._act(outcome)
            except Exception:
                # The way in must stay open, whatever one batch brought.
                logger.exception("acting on what arrived failed")
            finally:
                self._forget(taken)

    def _put(self, arrived: Sequence[_Arrived], source: bytes | str) -> None:
        if arrived:
            self._queued[source] = self._queued.get(source, 0) + sum(one.size_bytes for one in arrived)
            self._queues.setdefault(source, deque()).extend(arrived)
            self._arrived.set()

    def _forget(self, taken: list[_Arrived]) -> None:
        for arrived in taken:
            self._queued[arrived.source] -= arrived.size_bytes
            if not self._queued[arrived.source]:
                del self._queued[arrived.source]
            if isinstance(arrived, _ByLine):
                arrived.release()
        self._taken.set()

    def _next(self) -> list[_Arrived]:
        batch: list[_Arrived] = []
        while self._queues and len(batch) < TAKE_LIMIT:
            source = next(iter(self._queues))
            queue = self._queues.pop(source)
            batch.append(queue.popleft())
            if queue:
                self._queues[source] = queue
        return batch

    async def _take_in(self, batch: list[_Arrived]) -> tuple[Outcome, list[_Arrived]]:
        """What the first of a batch led to, durable, and which those were; the others wait again."""
        direct = self._direct()
        while True:
            try:
                outcome, acks, taken = await self._store.write(lambda tx: self._take(tx, batch, direct))
                break
            except StorageFailed as error:
                # Nothing is acknowledged, so nothing is lost; the sender keeps it until the disk is well.
                self._trouble(f"what arrives cannot be stored: {error}")
                await asyncio.sleep(STORAGE_RETRY_S)
        for arrived in reversed(batch[taken:]):
            # Back to the head of its queue, and that to the head of all: its turn was not used.
            queue = self._queues.pop(arrived.source, deque())
            queue.appendleft(arrived)
            self._queues = {arrived.source: queue, **self._queues}
        now = time.monotonic()
        self._answered_at.update((dsk, now) for dsk in outcome.duplicates & outcome.owed.keys())
        for node, ack in acks:
            self._acknowledge(node, ack)
        return outcome, batch[:taken]

    def _take(
        self, tx: sqlite3.Connection, batch: list[_Arrived], direct: frozenset[bytes]
    ) -> tuple[Outcome, _Acks, int]:
        """What the first of them led to, and how many those were."""
        outcome = Outcome()
        acks: dict[tuple[str, bytes], tuple[NodeClient, Ack]] = {}
        until = time.monotonic() + TAKE_S
        taken = 0
        for arrived in batch:
            match arrived:
                case _ByLine(dsk, message):
                    _apart(tx, outcome, _taking_message(tx, self._me, dsk, message))
                case _ByMail(node, mailbox):
                    ack = self._take_item(tx, arrived, outcome)
                    if ack is not None:
                        acks[node.url, mailbox] = (node, ack)
            taken += 1
            if time.monotonic() > until:
                break
        meeting.close_used_invites(tx, outcome)
        moving.close_replaced_for(tx, self._me, outcome)
        now = time.monotonic()
        for dsk in outcome.duplicates:
            if now - self._answered_at.get(dsk, -DUPLICATE_ANSWER_S) >= DUPLICATE_ANSWER_S:
                outcome.owed[dsk] = None
        meeting.greet(tx, self._me, outcome)
        incoming.answer(tx, self._me, outcome, direct)
        return outcome, list(acks.values()), taken

    def _take_item(self, tx: sqlite3.Connection, arrived: _ByMail, outcome: Outcome) -> Ack | None:
        box = postbox.mailbox(tx, arrived.mailbox)
        if box is None or box.node != arrived.node.url:
            return None
        seq, reached = arrived.item.seq, box.seq if box.epoch == arrived.epoch else 0
        # Whatever its number: a node that counted us ahead of what it holds would else have us drop what comes after.
        _apart(tx, outcome, _taking_item(tx, self._me, box, arrived.item))
        if max(seq, reached) == 0:
            return None
        postbox.set_cursor(tx, box.mailbox, arrived.epoch, max(seq, reached))
        return Ack(mailbox=box.mailbox, epoch=arrived.epoch, seq=max(seq, reached))


_Taking = Callable[[Outcome], object]


def _taking_message(tx: sqlite3.Connection, me: Me, dsk: bytes, message: bytes) -> _Taking:
    def take(outcome: Outcome) -> None:
        if not incoming.take_message(tx, me, dsk, message, outcome):
            outcome.wasted.append(dsk)

    return take


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
    except sqlite3.IntegrityError:
        # No fault of the disk's: what contradicts the tables is a mistake of ours, and tried again it would be again.
        logger.exception("a message could not be taken in; it is left")
        tx.execute("ROLLBACK TO arrival")
    except sqlite3.Error:
        raise
    except Exception:
        logger.exception("a message could not be taken in; it is left")
        tx.execute("ROLLBACK TO arrival")
    else:
        outcome.add(tried)
    tx.execute("RELEASE arrival")
