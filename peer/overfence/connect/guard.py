"""What stands between a peer's bytes and the SCTP stack (RFC 9260): shape checks, and a bounded inbox. Pure.

The stack behind loops for ever on a parameter of length 0 and raises on short chunks, so a packet
is walked here first. Its own reassembly has no bound either; `Inbox` does that work instead.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

from .errors import Reason

_COMMON_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 4

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK = 0, 1, 2, 3, 4, 5
ABORT, SHUTDOWN, ERROR, RECONFIG, FORWARD_TSN = 6, 7, 9, 130, 192

FIRST_FRAGMENT, LAST_FRAGMENT, UNORDERED = 2, 1, 4
BINARY = 53

_TSN_MODULO = 2**32

# How far a peer may run ahead of a gap. Past it chunks are dropped and come back by retry, so no
# peer can make us hoard memory: 1 MiB, or 4096 chunks for those who send crumbs.
WINDOW_BYTES = 1024 * 1024
WINDOW_CHUNKS = 4096

# What a peer may send past that window before it is flooding us: an honest sender runs over it
# only by what was in flight when the gap opened.
FLOOD_BYTES = 8 * 1024 * 1024
_CHUNK_COST_BYTES = 256

# Gaps told in one acknowledgement: it must fit one datagram, and the rest is told by the next.
GAPS_LIMIT = 256


class Violation(Exception):
    """The other side broke the rules in a way that ends its link."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def is_sound_packet(packet: bytes) -> bool:
    """Whether every chunk and parameter of an SCTP packet is as long as it says and must be."""
    position = _COMMON_HEADER_BYTES
    end = len(packet)
    if end < position + _CHUNK_HEADER_BYTES:
        return False
    alone = True
    while position < end:
        if end - position < _CHUNK_HEADER_BYTES:
            return False
        kind, _, length = unpack_from("!BBH", packet, position)
        if length < _CHUNK_HEADER_BYTES or position + length > end:
            return False
        check = _CHECKS.get(kind)
        if check is not None and not check(packet[position + _CHUNK_HEADER_BYTES : position + length]):
            return False
        position += _padded(length)
        # RFC 9260 §6.10: an INIT travels alone, and its tag is zero.
        if kind == INIT and not (alone and position >= end and packet[4:8] == bytes(4)):
            return False
        alone = False
    return True


def _padded(length: int) -> int:
    return length + -length % 4


def _parameters_fit(body: bytes, each: Callable[[int, bytes], bool] = lambda _kind, _value: True) -> bool:
    position = 0
    while position < len(body):
        if len(body) - position < 4:
            return False
        kind, length = unpack_from("!HH", body, position)
        if length < 4 or position + length > len(body) or not each(kind, body[position + 4 : position + length]):
            return False
        position += _padded(length)
    return True


def _init_fits(body: bytes) -> bool:
    return len(body) >= 16 and _parameters_fit(body[16:])


def _sack_fits(body: bytes) -> bool:
    if len(body) < 12:
        return False
    gap_count, duplicate_count = unpack_from("!HH", body, 8)
    if len(body) != 12 + 4 * (gap_count + duplicate_count):
        return False
    # Ascending and apart, or a few hundred of them would describe millions of numbers to walk.
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
    DATA: lambda body: len(body) >= 13,
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


class Inbox:
    """What arrived on the one ordered stream: whole messages come out in order, each once, and what
    waits for them to be whole never passes the window."""

    def __init__(self, *, last_tsn: int, message_limit_bytes: int) -> None:
        self.last_tsn = last_tsn
        self._message_limit_bytes = message_limit_bytes
        self._ahead: dict[int, tuple[int, bytes]] = {}
        self._ahead_bytes = 0
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._past_window_bytes = 0

    @property
    def room_bytes(self) -> int:
        """What fits now: the window to advertise."""
        return max(0, WINDOW_BYTES - self._ahead_bytes - self._parts_bytes)

    def take(self, *, tsn: int, stream: int, protocol: int, flags: int, body: bytes) -> list[bytes]:
        """One DATA chunk in, the messages it completes out; raises `Violation`."""
        if stream != 0 or protocol != BINARY or flags & UNORDERED:
            raise Violation("protocol", "data outside the one ordered binary channel")
        distance = (tsn - self.last_tsn - 1) % _TSN_MODULO
        if distance >= _TSN_MODULO // 2 or tsn in self._ahead:
            return []
        if distance == 0:
            self._past_window_bytes = 0
            messages = self._advance(tsn, flags, body)
            while (following := (self.last_tsn + 1) % _TSN_MODULO) in self._ahead:
                flags, body = self._ahead.pop(following)
                self._ahead_bytes -= len(body)
                messages += self._advance(following, flags, body)
            return messages
        if distance >= WINDOW_CHUNKS or self._ahead_bytes + len(body) > WINDOW_BYTES:
            self._past_window_bytes += len(body) + _CHUNK_COST_BYTES
            if self._past_window_bytes > FLOOD_BYTES:
                raise Violation("flooded", "data far past the window, again and again")
            return []
        self._ahead[tsn] = (flags, body)
        self._ahead_bytes += len(body)
        return []

    def gaps(self) -> list[tuple[int, int]]:
        """The runs held beyond the first missing number, as distances from the last in order (RFC 9260 §3.3.4)."""
        runs: list[tuple[int, int]] = []
        for distance in sorted((tsn - self.last_tsn) % _TSN_MODULO for tsn in self._ahead):
            if runs and runs[-1][1] + 1 == distance:
                runs[-1] = (runs[-1][0], distance)
            elif len(runs) == GAPS_LIMIT:
                break
            else:
                runs.append((distance, distance))
        return runs

    def _advance(self, tsn: int, flags: int, body: bytes) -> list[bytes]:
        self.last_tsn = tsn
        if bool(flags & FIRST_FRAGMENT) == bool(self._parts):
            raise Violation("protocol", "a message's fragments are out of place")
        self._parts.append(body)
        self._parts_bytes += len(body)
        if self._parts_bytes > self._message_limit_bytes:
            raise Violation("protocol", "a message is longer than agreed")
        if not flags & LAST_FRAGMENT:
            return []
        message = b"".join(self._parts)
        self._parts.clear()
        self._parts_bytes = 0
        return [message]
