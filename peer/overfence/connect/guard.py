"""What stands between a peer's bytes and us (RFC 9260): shape checks, a meter, and what has arrived. Pure.

The stack behind loops for ever on a parameter of length 0 and raises on short chunks, so a packet
is walked here first. What it does with data has no bound either; `Inbox` does that work instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from struct import pack, unpack_from
from typing import TypeAlias

from overfence_reliability import Lane

from .errors import Reason
from .sdp import PACKET_LIMIT_BYTES

_COMMON_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 4
DATA_HEADER_BYTES = 16

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK = 0, 1, 2, 3, 4, 5
ABORT, SHUTDOWN, ERROR, RECONFIG, FORWARD_TSN = 6, 7, 9, 130, 192

LAST_FRAGMENT, FIRST_FRAGMENT, UNORDERED, AT_ONCE = 1, 2, 4, 8
WHOLE = UNORDERED | FIRST_FRAGMENT | LAST_FRAGMENT
BINARY = 53

_TSN_MODULO = 2**32

_LANES = tuple(Lane)

# A chunk in a packet: kind, flags, where its body begins and where it ends.
Span: TypeAlias = tuple[int, int, int, int]

# How far a peer may run ahead of a gap. Past it chunks are dropped, so no peer can make us
# remember more runs of numbers than half of these.
WINDOW_CHUNKS = 4096

# Pieces kept while the rest of their packet is missing. We never cut a packet; a browser does, where
# one would not fit beside what its datagram holds already. Past it pieces are dropped, but for the
# one that everything waits for; a peer with twice as many makes them up. At most 600 kB.
HELD_LIMIT = 256

# What a peer may send past that window before it is flooding us: an honest sender runs over it
# only by what was in flight when the gap opened.
FLOOD_CHUNKS = 8192

# Chunks of any kind a second, sustained, and at once after a pause. One event loop in Python
# receives fewer full packets than that, so only crumbs made to keep us busy come to more.
RATE_CHUNKS = 20_000

# Gaps told in one acknowledgement: it must fit one datagram, and the rest is told by the next.
GAPS_LIMIT = 256

# What we say may be in flight to us. Nothing is held here, so it never shrinks.
ADVERTISED_BYTES = 1024 * 1024

# An acknowledgement waits for a second packet, or for one going the other way, at most this long
# (RFC 9260 §6.2 allows 200 ms; the sender's shortest timer is 100 ms).
ACK_DELAY_S = 0.02
_PACKETS_PER_ACK = 2
# A fast packet isn't sent again, nor does it take up our sender's window, so its sender waits for nothing here: it
# counts for a quarter, which saves an acknowledgement for each pair of them.
_FAST_PER_ACK = 8


class Violation(Exception):
    """The other side broke the rules in a way that ends its link."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def read_packet(packet: bytes) -> list[Span] | None:
    """The chunks of an SCTP packet; None unless every chunk and parameter is as long as it says and must be."""
    position = _COMMON_HEADER_BYTES
    end = len(packet)
    if end < position + _CHUNK_HEADER_BYTES:
        return None
    chunks: list[Span] = []
    while position < end:
        if end - position < _CHUNK_HEADER_BYTES:
            return None
        kind, flags, length = unpack_from("!BBH", packet, position)
        begin, after = position + _CHUNK_HEADER_BYTES, position + length
        if length < _CHUNK_HEADER_BYTES or after > end:
            return None
        if kind == DATA:
            if length <= DATA_HEADER_BYTES:
                return None
        elif (check := _CHECKS.get(kind)) is not None and not check(packet[begin:after]):
            return None
        chunks.append((kind, flags, begin, after))
        position = after + -length % 4
        # RFC 9260 §6.10: an INIT travels alone, and its tag is zero.
        if kind == INIT and not (len(chunks) == 1 and position >= end and packet[4:8] == bytes(4)):
            return None
    return chunks


def _parameters_fit(body: bytes, each: Callable[[int, bytes], bool] = lambda _kind, _value: True) -> bool:
    position = 0
    while position < len(body):
        if len(body) - position < 4:
            return False
        kind, length = unpack_from("!HH", body, position)
        if length < 4 or position + length > len(body) or not each(kind, body[position + 4 : position + length]):
            return False
        position += length + -length % 4
    return True


def _init_fits(body: bytes) -> bool:
    return len(body) >= 16 and _parameters_fit(body[16:])


def _sack_fits(body: bytes) -> bool:
    if len(body) < 12:
        return False
    gap_count, duplicate_count = unpack_from("!HH", body, 8)
    if len(body) != 12 + 4 * (gap_count + duplicate_count):
        return False
    # Ascending and apart, or what follows could not go through them once, in order.
    last = 0
    for position in range(12, 12 + 4 * gap_count, 4):
        first_gap, last_gap = unpack_from("!HH", body, position)
        if not last < first_gap <= last_gap:
            return False
        last = last_gap
    return True


def _reset_fits(kind: int, value: bytes) -> bool:
    if kind == 13:  # outgoing stream reset (RFC 6525 §4.1)
        return len(value) >= 12 and len(value) % 2 == 0
    if kind in (16, 17):  # response, more streams (§4.4, §4.5)
        return len(value) >= 8
    return True


# A kind of chunk that is not here carries nothing anybody behind us reads.
_CHECKS: dict[int, Callable[[bytes], bool]] = {
    INIT: _init_fits,
    INIT_ACK: _init_fits,
    SACK: _sack_fits,
    HEARTBEAT: _parameters_fit,
    HEARTBEAT_ACK: _parameters_fit,
    ABORT: _parameters_fit,
    SHUTDOWN: lambda body: len(body) >= 4,
    ERROR: _parameters_fit,
    RECONFIG: lambda body: _parameters_fit(body, _reset_fits),
    FORWARD_TSN: lambda body: len(body) >= 4 and len(body) % 4 == 0,
}


class Meter:
    """How much a peer may make us do: `rate` units a second, `at_once` of them (a second's worth) together."""

    def __init__(self, rate: int = RATE_CHUNKS, *, at_once: int | None = None, units: str = "chunks") -> None:
        self._rate = rate
        self._most = float(rate if at_once is None else at_once)
        self._left = self._most
        self._units = units
        self._filled_at: float | None = None

    def spend(self, units: int, *, now: float) -> None:
        """Raises `Violation` when the peer has used up what it had."""
        if self._filled_at is not None:
            self._left = min(self._most, self._left + (now - self._filled_at) * self._rate)
        self._filled_at = now
        self._left -= units
        if self._left < 0:
            raise Violation("flooded", f"more than {self._rate} {self._units} a second, for too long")


class Inbox:
    """What arrived on the two lanes, and when that must be acknowledged. A packet is handed up once, as
    soon as it is whole, whatever is missing before it."""

    def __init__(self, *, last_tsn: int) -> None:
        # Counted on past 2³² here; the wire carries the low 32 bits.
        self._last = last_tsn
        # Runs of numbers beyond the first missing one, ascending and apart.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._pieces: dict[int, tuple[int, int, bytes]] = {}
        self._past_window = 0
        self._is_news = False
        self._is_urgent = False
        self._weight = 0
        self._due_at: float | None = None

    @property
    def last_tsn(self) -> int:
        """The number up to which nothing is missing."""
        return self._last % _TSN_MODULO

    def take(self, *, tsn: int, stream: int, protocol: int, flags: int, body: bytes) -> tuple[Lane, bytes] | None:
        """One DATA chunk: the packet it makes whole, if any, and its lane; raises `Violation`."""
        if stream > Lane.BULK or protocol != BINARY or not flags & UNORDERED:
            raise Violation("protocol", "data outside the two unordered binary channels")
        if len(body) > PACKET_LIMIT_BYTES:
            raise Violation("protocol", "a packet is longer than agreed")
        self._is_news = True
        self._weight += 1 if stream == Lane.FAST else _FAST_PER_ACK // _PACKETS_PER_ACK
        if flags & AT_ONCE:  # RFC 7053
            self._is_urgent = True
        is_whole = flags & WHOLE == WHOLE
        distance = (tsn - self._last) % _TSN_MODULO
        if distance == 1:
            self._advance(self._last + 1)
        elif distance == 0 or distance >= _TSN_MODULO // 2:
            self._is_urgent = True
            return None
        elif distance > WINDOW_CHUNKS or not (is_whole or len(self._pieces) < HELD_LIMIT):
            self._refuse()
            return None
        elif not self._note(self._last + distance):
            self._is_urgent = True
            return None
        if is_whole:
            return _LANES[stream], body
        packet = self._join(tsn, flags, stream, body)
        return None if packet is None else (_LANES[stream], packet)

    def skip(self, tsn: int) -> None:
        """A FORWARD-TSN chunk (RFC 3758 §3.6): nothing up to `tsn` will come again; raises `Violation`."""
        self._is_news = self._is_urgent = True
        distance = (tsn - self._last) % _TSN_MODULO
        if distance >= _TSN_MODULO // 2:
            return
        # An honest sender never has more than our window under way.
        if distance > WINDOW_CHUNKS:
            raise Violation("protocol", "told to skip more than can be under way")
        self._advance(self._last + distance)
        # A fast packet with a piece skipped will never be whole; a bulk one only lacks what comes later.
        for each in [each for each, (_, stream, _) in self._pieces.items() if stream == Lane.FAST]:
            if (tsn - each) % _TSN_MODULO < _TSN_MODULO // 2:
                del self._pieces[each]

    def packet_ended(self, *, now: float) -> None:
        """All chunks of a packet have been taken: decides when to acknowledge (RFC 9260 §6.2)."""
        if not self._is_news:
            return
        self._is_news = False
        if self._is_urgent or self._firsts or self._weight >= _FAST_PER_ACK:
            self._due_at = now
        elif self._due_at is None:
            self._due_at = now + ACK_DELAY_S

    def next_timer(self) -> float | None:
        """When an acknowledgement is due; None when nothing new arrived."""
        return self._due_at

    def acknowledgement(self) -> bytes:
        """The SACK chunk (RFC 9260 §3.3.4) of this moment; it counts as sent."""
        self._is_urgent = False
        self._weight = 0
        self._due_at = None
        gaps = self.gaps()
        length = 16 + 4 * len(gaps)
        head = pack("!BBHLLHH", SACK, 0, length, self.last_tsn, ADVERTISED_BYTES, len(gaps), 0)
        return head + b"".join(pack("!HH", first, last) for first, last in gaps) if gaps else head

    def gaps(self) -> list[tuple[int, int]]:
        """The runs beyond the first missing number, as distances from the last in order."""
        runs = zip(self._firsts[:GAPS_LIMIT], self._lasts, strict=False)
        return [(first - self._last, last - self._last) for first, last in runs]

    def _refuse(self) -> None:
        self._is_urgent = True
        self._past_window += 1
        if self._past_window > FLOOD_CHUNKS:
            raise Violation("flooded", "data far past the window, again and again")

    def _join(self, tsn: int, flags: int, stream: int, body: bytes) -> bytes | None:
        """The packet a piece completes (RFC 9260 §6.9: its pieces are numbered in a row)."""
        if len(self._pieces) >= 2 * HELD_LIMIT:
            raise Violation("flooded", "pieces that never make a packet")
        pieces = self._pieces
        pieces[tsn] = flags, stream, body
        first = last = tsn
        while not pieces[first][0] & FIRST_FRAGMENT:
            first = (first - 1) % _TSN_MODULO
            if first not in pieces:
                return None
        while not pieces[last][0] & LAST_FRAGMENT:
            last = (last + 1) % _TSN_MODULO
            if last not in pieces:
                return None
        row = [pieces.pop((first + each) % _TSN_MODULO) for each in range((last - first) % _TSN_MODULO + 1)]
        packet = b"".join(each[2] for each in row)
        if len(packet) > PACKET_LIMIT_BYTES or any(each[1] != stream for each in row):
            raise Violation("protocol", "pieces do not fit together")
        return packet

    def _advance(self, number: int) -> None:
        self._past_window = 0
        firsts, lasts = self._firsts, self._lasts
        reached = bisect_right(firsts, number + 1)
        if reached:
            number = max(number, lasts[reached - 1])
            del firsts[:reached], lasts[:reached]
        self._last = number

    def _note(self, number: int) -> bool:
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, number)
        if at and number <= lasts[at - 1]:
            return False
        joins_before = at > 0 and lasts[at - 1] == number - 1
        joins_after = at < len(firsts) and firsts[at] == number + 1
        if joins_before and joins_after:
            lasts[at - 1] = lasts.pop(at)
            del firsts[at]
        elif joins_before:
            lasts[at - 1] = number
        elif joins_after:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True
