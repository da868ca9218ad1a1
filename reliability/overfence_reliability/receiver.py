"""What arrives: packets to acknowledge, and messages put together in order (docs/protocol.md §7.3, §7.4)."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Rule, Violation
from .frame import FRAGMENT_BYTES, Ack, Data, Lane
from .loss import ACK_DELAY_S
from .numbers import RANGES_LIMIT, REPLAY_WINDOW, Ranges, ReplayWindow
from .streams import AHEAD_LIMIT, FIRST_CREDIT_ALL_BYTES, FIRST_CREDIT_BYTES, FRAME_COST_BYTES, cost_bytes

# So many packets are acknowledged at once. RFC 9000 §13.2.2 has 2; here what is out of order is told at once, and
# the rest within milliseconds, so more costs no latency and saves every fourth packet of a fast conversation.
ACK_EVERY = 8
BULK_ACK_DELAY_S = 0.025
# The reliable lane sends nothing again, so what arrived on it must be told whatever it takes: a range for each packet
# that may be ahead of a gap. Past it the lowest are forgotten, and their sender waits for the path to change.
BULK_RANGES_LIMIT = 1024
# A packet number further ahead was never sent: it would have to be told in ranges that no frame can hold.
JUMP_LIMIT = 2**31


def grant_step(window_bytes: int, message_limit_bytes: int) -> int:
    """How much more credit is worth a frame; what is left untold never keeps a whole message from leaving."""
    return max(1, min(window_bytes // 2, window_bytes - cost_bytes(message_limit_bytes)))


class Arrived:
    """One lane's packets that arrived, and when to say so."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._replay = ReplayWindow()
        self._ranges = Ranges(RANGES_LIMIT if lane is Lane.FAST else BULK_RANGES_LIMIT)
        self._newest_at = 0.0
        self._untold = 0
        self._told_largest = -1
        self._tells_more = False
        self.due_at: float | None = None

    def take(self, number: int, *, asks: bool, now: float) -> bool:
        """Packet ``number`` came; ``asks``: it wants to be acknowledged. False if it came before."""
        if self._replay.largest >= 0 and number - self._replay.largest > JUMP_LIMIT:
            raise Violation(Rule.MALFORMED, f"packet {number} after {self._replay.largest}")
        if not self._replay.take(number):
            # Its acknowledgement was lost; but what is too old to be told from new wasn't taken, and must come again.
            if asks and number > self._replay.largest - REPLAY_WINDOW:
                self.due_at = now
                self._ranges.add(number)
            return False
        gap = number > (self._ranges.largest if self._ranges else self._told_largest) + 1
        late = bool(self._ranges) and number < self._ranges.largest
        # Nobody asks after numbers that far back, and no frame could tell of both.
        self._ranges.discard(0, number - JUMP_LIMIT)
        self._ranges.add(number)
        if not late:
            self._newest_at = now
        if asks:
            self._untold += 1
            delay_s = ACK_DELAY_S if self._lane is Lane.FAST else BULK_ACK_DELAY_S
            hurry = self._lane is Lane.FAST and (gap or late)
            at_once = hurry or self._untold >= ACK_EVERY
            if at_once or self.due_at is None:
                self.due_at = now if at_once else now + delay_s
        return True

    def tell(self, fit: int, *, now: float) -> Ack | None:
        """The acknowledgement to send, of at most ``fit`` ranges; `forget` takes them once it has arrived."""
        if not self._ranges:
            self.due_at, self._untold = None, 0
            return None
        if not fit:
            return None  # still due
        ranges = self._ranges.descending()
        all_fit = len(ranges) <= fit
        if not all_fit:
            # Of the reliable lane nothing may stay untold: the lowest first, which are then forgotten.
            ranges = ranges[-fit:] if self._lane is Lane.BULK else ranges[:fit]
        self._tells_more = not all_fit and self._lane is Lane.BULK
        self.due_at, self._untold = None, 0
        self._told_largest = max(self._told_largest, self._ranges.largest)
        return Ack(self._lane, max(0.0, now - self._newest_at), ranges)

    def tell_again(self, *, now: float) -> None:
        """What told it was lost."""
        if self._ranges:
            self.due_at = now

    def forget(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """The peer was told of these: exactly they need no telling any more, whatever came between them since."""
        for first, last in ranges:
            self._ranges.discard(first, last)
        if self._tells_more and self._ranges and self.due_at is None:
            self.due_at = self._newest_at


class Incoming:
    """One stream of the peer's: its messages come out whole, ordered ones in order, each once."""

    def __init__(self, window_bytes: int, message_limit_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._message_limit_bytes = message_limit_bytes
        self._grant_step = grant_step(window_bytes, message_limit_bytes)
        self._next = 0
        # Complete beyond the first gap: waiting for it, or None where it was delivered already.
        self._ahead: dict[int, bytes | None] = {}
        self._parts: dict[int, tuple[int, dict[int, bytes]]] = {}
        self._received_bytes = 0
        self._released_bytes = 0
        self._count: int | None = None
        self.credit = FIRST_CREDIT_BYTES

    @property
    def is_finished(self) -> bool:
        """Did all its messages come?"""
        return self._next == self._count

    def take(self, data: Data) -> tuple[int, list[bytes]]:
        """One DATA frame in; what it costs of credit, and messages that can be delivered now. Raises `Violation`."""
        number = data.message
        if data.total > self._message_limit_bytes:
            raise Violation(Rule.LENGTH, f"a message of {data.total} bytes, of at most {self._message_limit_bytes}")
        if number >= self._next + AHEAD_LIMIT:
            raise Violation(Rule.CREDIT, f"message {number} while {self._next} is missing")
        if self._count is not None and number >= self._count:
            raise Violation(Rule.LENGTH, f"message {number} of {self._count}")
        if number < self._next or number in self._ahead:
            return 0, []
        body = self._assemble(data)
        if body is None:
            return 0, []
        size, whole = body
        self._received_bytes += size
        if self._received_bytes > self.credit:
            raise Violation(Rule.CREDIT, f"{self._received_bytes} bytes, credit for {self.credit}")
        return size, [] if whole is None else list(self._deliver(number, whole, ordered=data.ordered))

    def finish(self, count: int) -> bool:
        """It has so many messages; True if that is news. Raises `Violation` where that can't be."""
        if count == self._count:
            return False
        begun = max(max(self._ahead, default=-1), max(self._parts, default=-1), self._next - 1)
        if self._count not in (None, count) or count <= begun:
            raise Violation(Rule.LENGTH, f"{count} messages in a stream that has others")
        known, self._count = self._count, count
        return known is None

    def release(self, size_bytes: int) -> bool:
        """The application is done with so much of it; True when the peer should be told of more credit."""
        self._released_bytes = min(self._released_bytes + size_bytes, self._received_bytes)
        return self._released_bytes + self._window_bytes - self.credit >= self._grant_step

    def grant(self) -> int:
        """The credit to tell now."""
        self.credit = max(self.credit, self._released_bytes + self._window_bytes)
        return self.credit

    def _assemble(self, data: Data) -> tuple[int, bytes | None] | None:
        if len(data.body) == data.total:
            if data.message in self._parts:
                raise Violation(Rule.LENGTH, "a message that was in fragments before")
            return data.total + FRAME_COST_BYTES, data.body
        total, parts = self._parts.setdefault(data.message, (data.total, {}))
        if total != data.total:
            raise Violation(Rule.LENGTH, f"a message of {total} bytes that now has {data.total}")
        if data.offset in parts:
            return None
        parts[data.offset] = data.body
        if len(parts) * FRAGMENT_BYTES < total:
            return len(data.body) + FRAME_COST_BYTES, None
        del self._parts[data.message]
        return len(data.body) + FRAME_COST_BYTES, b"".join(parts[offset] for offset in sorted(parts))

    def _deliver(self, number: int, body: bytes, *, ordered: bool) -> Iterator[bytes]:
        if not ordered:
            yield body
        if number != self._next:
            self._ahead[number] = body if ordered else None
            return
        if ordered:
            yield body
        self._next += 1
        while self._next in self._ahead:
            waiting = self._ahead.pop(self._next)
            self._next += 1
            if waiting is not None:
                yield waiting


class Arrivals:
    """All streams of the peer's, and the credit they share."""

    def __init__(self, *, streams: int, window_bytes: int, window_all_bytes: int, message_limit_bytes: int) -> None:
        self._streams_limit = streams
        self._window_bytes = window_bytes
        self._window_all_bytes = window_all_bytes
        self._message_limit_bytes = message_limit_bytes
        self._grant_step = grant_step(window_all_bytes, message_limit_bytes)
        # One bit a number that ended: 8 KiB at most. Those that ended before we met are never heard of.
        self._ended = 0
        self._received_bytes = 0
        self._released_bytes = 0
        self.credit = FIRST_CREDIT_ALL_BYTES
        self.streams: dict[int, Incoming] = {}
        self.finished: list[int] = []

    def stream(self, number: int) -> Incoming | None:
        """The stream of that number, opened if it is new; None if it is finished."""
        if number not in self.streams and not self._ended >> number & 1:
            if len(self.streams) >= self._streams_limit:
                raise Violation(Rule.STREAMS, f"more than {self._streams_limit} streams at a time")
            self.streams[number] = Incoming(self._window_bytes, self._message_limit_bytes)
        return self.streams.get(number)

    def take(self, data: Data) -> tuple[bool, list[bytes]]:
        """One DATA frame in; whether it brought anything, and what can be delivered. Raises `Violation`."""
        stream = self.stream(data.stream)
        if stream is None:
            return False, []
        size, messages = stream.take(data)
        self._received_bytes += size
        if self._received_bytes > self.credit:
            raise Violation(Rule.CREDIT, f"{self._received_bytes} bytes in all, credit for {self.credit}")
        self._tidy(data.stream)
        return bool(size or messages), messages

    def finish(self, number: int, count: int) -> bool:
        """A stream has so many messages; True if that is news."""
        stream = self.stream(number)
        if stream is None:
            return False
        is_news = stream.finish(count)
        self._tidy(number)
        return is_news

    def release(self, size_bytes: int) -> bool:
        """The application is done with so much; True when the peer should be told of more credit."""
        self._released_bytes = min(self._released_bytes + size_bytes, self._received_bytes)
        return self._released_bytes + self._window_all_bytes - self.credit >= self._grant_step

    def grant(self) -> int:
        """The credit to tell now."""
        self.credit = max(self.credit, self._released_bytes + self._window_all_bytes)
        return self.credit

    def _tidy(self, number: int) -> None:
        if self.streams[number].is_finished:
            del self.streams[number]
            self._ended |= 1 << number
            self.finished.append(number)
