"""The rules of mailboxes (docs/protocol.md §4.2): addresses, days, quotas, and who was sent what."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from enum import Enum

from .limits import DAY_S, RECORD_OVERHEAD_BYTES, NodeLimits
from .messages import Item


def mailbox_address(mk: bytes) -> bytes:
    """§4.2 The 16-byte address of the mailbox whose owner drew ``mk`` (32 bytes)."""
    return hashlib.blake2b(b"overfence/1 mailbox" + mk, digest_size=32).digest()[:16]


def day_of(unix_s: float) -> int:
    """The UTC day of an instant, in days since 1970: as near as a node remembers when anything came."""
    return int(unix_s // DAY_S)


def last_day(unix_s: float, ttl_s: int) -> int:
    """The last day on which an item put now may still be delivered; it goes when that whole day has passed."""
    return day_of(unix_s + ttl_s)


class PutState(Enum):
    """What a node already knows about the id of a put."""

    NEW = "new"
    HELD = "held"
    TAKEN = "taken"


class Full(Enum):
    """Whose bound refuses a put."""

    MAILBOX = "mailbox_full"
    NODE = "node_full"


@dataclass(frozen=True)
class Usage:
    """What lies in one mailbox."""

    items: int
    size_bytes: int


def admit(usage: Usage, envelope_bytes: int, *, node_is_full: bool, limits: NodeLimits) -> Full | None:
    """Whether a new envelope still fits. Repeats aren't asked: they take no place."""
    if node_is_full:
        return Full.NODE
    if usage.items >= limits.mailbox_items or usage.size_bytes + envelope_bytes > limits.mailbox_bytes:
        return Full.MAILBOX
    return None


@dataclass(frozen=True)
class Cursor:
    """How far an owner holds a mailbox durably, as it tells and is told it."""

    epoch: int
    seq: int


def told_epoch(mailbox_epoch: int, boot: int) -> int:
    """The epoch clients are told: new when the mailbox was made anew, and at each start of the node.

    A node restored from yesterday's copy counts again from a lower number; under the old epoch an owner's
    cursor would hide what comes next from it. Costs at most one in-flight window sent twice.
    """
    return mailbox_epoch ^ boot


def resume_after(cursor: Cursor, *, epoch: int, head: int) -> int:
    """The seq after which an opener still lacks items: its own, if it is of this epoch and possible; else 0."""
    if cursor.epoch != epoch or cursor.seq > head:
        return 0
    return cursor.seq


def size_of(item: Item) -> int:
    """What an item counts for in a page, a window or an outbox."""
    return len(item.envelope) + RECORD_OVERHEAD_BYTES


class Window:
    """What one follower of a mailbox was sent and hasn't acknowledged: each item once, in order, within a bound."""

    def __init__(self, *, after: int, head: int, limit_bytes: int) -> None:
        self._sent: deque[tuple[int, int]] = deque()
        self._limit_bytes = limit_bytes
        self.in_flight_bytes = 0
        self.acknowledged = after
        self.sent_to = after
        self.head = head

    @property
    def behind(self) -> bool:
        """Whether the mailbox holds something this follower wasn't sent."""
        return self.sent_to < self.head

    @property
    def room_bytes(self) -> int:
        """How much more may be sent now."""
        return self._limit_bytes - self.in_flight_bytes

    def appeared(self, seq: int) -> None:
        """The mailbox now reaches to ``seq``."""
        self.head = max(self.head, seq)

    def follows(self, seq: int) -> bool:
        """Whether a new item is next, so that it may go out as it comes, without being read from the store."""
        return seq == self.sent_to + 1

    def fits(self, item: Item) -> bool:
        """Whether there is room for it; a lone item always goes, however large."""
        return not self._sent or size_of(item) <= self.room_bytes

    def sent(self, item: Item) -> None:
        """An item is on its way."""
        size_bytes = size_of(item)
        self._sent.append((item.seq, size_bytes))
        self.in_flight_bytes += size_bytes
        self.sent_to = item.seq
        self.appeared(item.seq)

    def nothing_until(self, seq: int) -> None:
        """Up to ``seq`` the store holds nothing more (what lay there has expired)."""
        self.sent_to = max(self.sent_to, seq)

    def acknowledge(self, seq: int) -> int | None:
        """The owner holds all up to ``seq``: what may be forgotten, or None for nothing new.

        What it was never sent it can't hold: a mistaken owner loses nothing by a number too high.
        """
        seq = min(seq, self.sent_to)
        if seq <= self.acknowledged:
            return None
        self.acknowledged = seq
        while self._sent and self._sent[0][0] <= seq:
            self.in_flight_bytes -= self._sent.popleft()[1]
        return seq
