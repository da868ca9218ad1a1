"""What waits to be sent, stream by stream, and whose turn it is (docs/protocol.md §7.4, §7.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, IntEnum

from .frame import FRAGMENT_BYTES, Data, Lane, encode_data

# How many messages a stream may run ahead of its first unconfirmed one; both sides hold to it, so that
# nobody can be made to keep more messages than this beyond a gap.
AHEAD_LIMIT = 1024
# What a stream, and a connection, may bring before any credit was given. Every receiver has room for it.
FIRST_CREDIT_BYTES = 128 * 1024
FIRST_CREDIT_ALL_BYTES = 256 * 1024
# What a frame costs of credit beyond its bytes, so that nobody fills our memory with empty messages.
FRAME_COST_BYTES = 32
# Longer messages go by the bulk lane, whose window is made for them.
FAST_MESSAGE_BYTES = 4 * 1024
# Whoever is passed over for so long gets a packet, however urgent the others are.
AGING_S = 0.5


class Priority(IntEnum):
    """Whose frames go first. Within one, `BULK` streams share by weight, the others take turns."""

    CONTROL = 0
    CHAT = 1
    BULK = 2


class Mode(Enum):
    """What is promised of one message; MQTT 5.0 §4.3 calls these QoS 0, 1 and 2."""

    AT_MOST_ONCE = 0  # for the moment: sent once, or not at all
    AT_LEAST_ONCE = 1  # delivered as it comes, in no order; sent again even to a peer that forgot us
    EXACTLY_ONCE = 2  # once and in its stream's order; if the peer forgot us, a `Discontinuity` says it is open


def cost_bytes(length: int) -> int:
    """What a message of that length takes of credit."""
    return length + FRAME_COST_BYTES * max(1, -(-length // FRAGMENT_BYTES))


class Message:
    """One message on its way, and how many of its fragments are unconfirmed."""

    __slots__ = ("body", "left", "number", "ordered")

    def __init__(self, number: int, body: bytes, *, ordered: bool) -> None:
        self.number = number
        self.body = body
        self.ordered = ordered
        self.left = max(1, -(-len(body) // FRAGMENT_BYTES))


class Fragment:
    """What one DATA frame carries; ``copies`` are under way at the moment."""

    __slots__ = ("acked", "copies", "message", "offset", "size", "stream")

    def __init__(self, stream: Outgoing, message: Message, offset: int) -> None:
        self.stream = stream
        self.message = message
        self.offset = offset
        self.size = min(FRAGMENT_BYTES, len(message.body) - offset)
        self.copies = 0
        self.acked = False

    @property
    def cost(self) -> int:
        """What it takes of credit: the first takes all of its message, or halves could wait for each other for ever."""
        return 0 if self.offset else cost_bytes(len(self.message.body))

    def encode(self) -> bytes:
        """The frame."""
        body, message = self.message.body, self.message
        part = body if self.size == len(body) else body[self.offset : self.offset + self.size]
        return encode_data(Data(self.stream.number, message.number, message.ordered, self.offset, len(body), part))


class Outgoing:
    """One stream's messages, from `say` until all their fragments are confirmed."""

    def __init__(self, number: int, priority: Priority, weight: int, *, fast_only: bool = False) -> None:
        self.number = number
        self._fast_only = fast_only
        self.priority = priority
        self.weight = weight
        self.turn = 0.0
        self.waiting_since: float | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """The peer knows nothing of this stream: numbers and credit start again. What waited is forgotten."""
        self.credit = FIRST_CREDIT_BYTES
        self.sent_bytes = 0
        # The end was told, and the peer knows.
        self.is_finished = False
        # From the first that is not confirmed on.
        self.unconfirmed: dict[int, Message] = {}
        self._next = 0
        self._fresh: deque[Fragment] = deque()
        self._again: deque[Fragment] = deque()

    @property
    def has_work(self) -> bool:
        """Does anything wait to be sent?"""
        return bool(self._fresh or self._again)

    @property
    def count(self) -> int:
        """How many messages were said."""
        return self._next

    def say(self, body: bytes, *, ordered: bool) -> Message:
        """Queue a message; it gets the stream's next number."""
        message = Message(self._next, body, ordered=ordered)
        self._next += 1
        self.unconfirmed[message.number] = message
        self._fresh.extend(Fragment(self, message, offset) for offset in range(0, max(1, len(body)), FRAGMENT_BYTES))
        return message

    def again(self, fragments: Iterable[Fragment]) -> None:
        """These were lost."""
        self._again.extend(fragments)

    def confirm(self, fragment: Fragment) -> int:
        """The peer has it; the number of bytes that thereby need no more room here."""
        message = fragment.message
        message.left -= 1
        if message.left:
            return 0
        size_bytes, message.body = len(message.body), b""
        # Beyond a gap it may wait for its turn over there, and be lost with that process.
        while (first := next(iter(self.unconfirmed.values()), None)) is not None and not first.left:
            del self.unconfirmed[first.number]
        return size_bytes

    def head(self, lane: Lane, room_bytes: int) -> Fragment | None:
        """What would go next by that lane, with ``room_bytes`` of the connection's credit; None for nothing (now)."""
        again = self._again
        while again and again[0].acked:
            again.popleft()
        if again:
            return again[0] if self._takes(lane, again[0]) else None
        if not self._fresh:
            return None
        fragment = self._fresh[0]
        if fragment.cost > min(room_bytes, self.credit - self.sent_bytes) or not self._takes(lane, fragment):
            return None
        first = next(iter(self.unconfirmed))
        return fragment if fragment.message.number < first + AHEAD_LIMIT else None

    def take(self, fragment: Fragment) -> bool:
        """It leaves now; True if for the first time."""
        if self._again and self._again[0] is fragment:
            self._again.popleft()
            return False
        self._fresh.popleft()
        self.sent_bytes += fragment.cost
        return True

    def _takes(self, lane: Lane, fragment: Fragment) -> bool:
        if self._fast_only:
            return lane is Lane.FAST
        if lane is Lane.BULK:
            return True
        return self.priority is not Priority.BULK and len(fragment.message.body) <= FAST_MESSAGE_BYTES


class Schedule:
    """All streams that send, and whose turn it is."""

    def __init__(self, *, fast_only: bool = False) -> None:
        self._fast_only = fast_only
        self.streams: dict[int, Outgoing] = {}
        self.credit = FIRST_CREDIT_ALL_BYTES
        self.sent_bytes = 0
        self.opened = 0
        self._turn = 0.0

    def open(self, priority: Priority, weight: int) -> Outgoing:
        """A new stream, with the next number."""
        stream = Outgoing(self.opened, priority, weight, fast_only=self._fast_only)
        stream.turn = self._turn
        self.streams[stream.number] = stream
        self.opened += 1
        return stream

    def begin_anew(self) -> None:
        """The peer knows nothing of any stream."""
        self.credit, self.sent_bytes = FIRST_CREDIT_ALL_BYTES, 0
        for stream in self.streams.values():
            stream.begin_anew()

    def next(self, lane: Lane, *, now: float) -> Fragment | None:
        """Whose turn it is on that lane: by priority, but nobody waits longer than `AGING_S`."""
        best: tuple[int, float] | None = None
        found: Fragment | None = None
        room_bytes = self.credit - self.sent_bytes
        for stream in self.streams.values():
            fragment = stream.head(lane, room_bytes) if stream.has_work else None
            if fragment is None:
                continue
            if stream.waiting_since is None:
                stream.waiting_since = now
            aged = now - stream.waiting_since >= AGING_S
            rank = (-1 if aged else stream.priority, stream.turn)
            if best is None or rank < best:
                best, found = rank, fragment
        return found

    def take(self, fragment: Fragment) -> bool:
        """It leaves now; True if for the first time."""
        stream = fragment.stream
        first = stream.take(fragment)
        if first:
            self.sent_bytes += fragment.cost
        stream.waiting_since = None
        # A stream that comes back from silence doesn't catch up on turns it never wanted.
        self._turn = max(self._turn, stream.turn)
        stream.turn = self._turn + max(1, fragment.size) / stream.weight
        fragment.copies += 1
        return first
