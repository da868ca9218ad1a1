"""Frames and bytes: the layout of one packet (docs/protocol.md §7.1). Parsing gives records, or a `Violation`.

A packet is its number and one frame after another. Integers are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from .errors import Rule, Violation
from .numbers import RANGES_LIMIT

VERSION = 1
# One SCTP chunk in one datagram: longer ones were lost in bulk on an unreliable channel.
PACKET_LIMIT_BYTES = 1160
# What one DATA frame carries at most, so that a HELLO and an ACK still fit beside it.
FRAGMENT_BYTES = 1090
# What one packet may ask of us: a thousand pings in a kilobyte would cost a millisecond each time.
FRAMES_LIMIT = 128
NUMBER_LIMIT = 2**48
CONNECTION_ID_BYTES = 8
REASON_LIMIT_BYTES = 200
DELAY_UNIT_S = 1e-4

_HELLO, _ACK_FAST, _ACK_BULK, _CREDIT, _CREDIT_ALL, _PING, _FINISH, _NOW, _GOODBYE = range(1, 10)
_DATA, _FRAGMENT, _UNORDERED = 0x40, 0x01, 0x02


class Lane(IntEnum):
    """Which channel a packet travels by; each has packet numbers of its own."""

    FAST = 0  # unordered, no retransmission: ours decides
    BULK = 1  # unordered, reliable for as long as its link lives


class Hello(NamedTuple):
    """Who speaks, and whom they take us for: zeros before they have heard us (§7.2)."""

    version: int
    me: bytes
    you: bytes


class Ack(NamedTuple):
    """Packets of ``lane`` that arrived: inclusive ranges, the highest first, ``delay_s`` ago (§7.3)."""

    lane: Lane
    delay_s: float
    ranges: tuple[tuple[int, int], ...]


class Data(NamedTuple):
    """A message of a stream, or the fragment of ``total`` bytes that begins at ``offset`` (§7.4)."""

    stream: int
    message: int
    ordered: bool
    offset: int
    total: int
    body: bytes


class Now(NamedTuple):
    """A message for the moment: sent once, delivered at most once, in no order (§7.4)."""

    stream: int
    body: bytes


class Credit(NamedTuple):
    """How many bytes of messages a stream may bring in all; of every stream together where it is None (§7.5)."""

    stream: int | None
    limit: int


class Ping(NamedTuple):
    """Asks for an acknowledgement."""


class Finish(NamedTuple):
    """A stream has ``messages`` messages, and will have no more (§7.4)."""

    stream: int
    messages: int


class Goodbye(NamedTuple):
    """The connection is over, by the code of a `Rule`, or 0 for no fault (§7.6)."""

    code: int
    reason: str


Frame = Hello | Ack | Data | Now | Credit | Ping | Finish | Goodbye

_number = Struct("!HI")
_hello = Struct("!BB8s8s")
_ack = Struct("!BHIHBI")
_ack_range = Struct("!II")
_whole = Struct("!BHIH")
_fragment = Struct("!BHIHII")
_credit = Struct("!BHHI")
_credit_all = Struct("!BHI")
_finish = Struct("!BHI")
_now = Struct("!BHH")
_goodbye = Struct("!BBB")

NUMBER_BYTES = _number.size
DATA_OVERHEAD_BYTES = _fragment.size


def encode_number(number: int) -> bytes:
    """A packet's first bytes."""
    return _number.pack(number >> 32, number & 0xFFFFFFFF)


def encode_data(frame: Data) -> bytes:
    """A message, or a fragment of one."""
    flags = _DATA if frame.ordered else _DATA | _UNORDERED
    size = len(frame.body)
    if size == frame.total:
        return _whole.pack(flags, frame.stream, frame.message, size) + frame.body
    head = _fragment.pack(flags | _FRAGMENT, frame.stream, frame.message, size, frame.offset, frame.total)
    return head + frame.body


def encode_ack(frame: Ack) -> bytes:
    """An acknowledgement of at least one range."""
    kind = _ACK_FAST if frame.lane is Lane.FAST else _ACK_BULK
    (first, largest), *rest = frame.ranges
    delay = min(int(frame.delay_s / DELAY_UNIT_S), 0xFFFF)
    parts = [_ack.pack(kind, largest >> 32, largest & 0xFFFFFFFF, delay, len(rest), min(largest - first, 0xFFFFFFFF))]
    lowest = first
    for first, last in rest:
        parts.append(_ack_range.pack(lowest - last - 2, last - first))
        lowest = first
    return b"".join(parts)


def ack_ranges_within(size_bytes: int) -> int:
    """How many ranges an acknowledgement of that size can tell."""
    return (size_bytes - _ack.size) // _ack_range.size + 1 if size_bytes >= _ack.size else 0


def encode(frame: Hello | Now | Credit | Ping | Finish | Goodbye) -> bytes:
    """Any other frame."""
    match frame:
        case Hello():
            return _hello.pack(_HELLO, frame.version, frame.me, frame.you)
        case Now():
            return _now.pack(_NOW, frame.stream, len(frame.body)) + frame.body
        case Credit(stream=None):
            return _credit_all.pack(_CREDIT_ALL, frame.limit >> 32, frame.limit & 0xFFFFFFFF)
        case Credit(stream=int() as stream):
            return _credit.pack(_CREDIT, stream, frame.limit >> 32, frame.limit & 0xFFFFFFFF)
        case Ping():
            return bytes((_PING,))
        case Finish():
            return _finish.pack(_FINISH, frame.stream, frame.messages)
        case Goodbye():
            # Cut, but not inside a character.
            reason = frame.reason.encode()[:REASON_LIMIT_BYTES].decode(errors="ignore").encode()
            return _goodbye.pack(_GOODBYE, frame.code, len(reason)) + reason
    raise TypeError(type(frame))


def decode(packet: bytes) -> tuple[int, list[Frame]]:
    """A packet's number and frames. Raises `Violation` for anything else, whatever the bytes are."""
    size = len(packet)
    if not NUMBER_BYTES < size <= PACKET_LIMIT_BYTES:
        raise Violation(Rule.MALFORMED, f"a packet of {size} bytes")
    high, low = _number.unpack_from(packet)
    frames: list[Frame] = []
    at = NUMBER_BYTES
    while at < size:
        kind = packet[at]
        read = _read_data if kind & ~(_FRAGMENT | _UNORDERED) == _DATA else _READERS.get(kind)
        if read is None:
            raise Violation(Rule.MALFORMED, f"a frame of unknown kind {kind}")
        try:
            frame, at = read(packet, at)
        except (StructError, UnicodeDecodeError) as error:
            raise Violation(Rule.MALFORMED, f"a frame of kind {kind}: {type(error).__name__}") from None
        if at > size:
            raise Violation(Rule.MALFORMED, f"a frame of kind {kind} is cut short")
        frames.append(frame)
        if len(frames) > FRAMES_LIMIT:
            raise Violation(Rule.FLOOD, f"more than {FRAMES_LIMIT} frames in a packet")
    return high << 32 | low, frames


def _read_data(packet: bytes, at: int) -> tuple[Frame, int]:
    kind = packet[at]
    if kind & _FRAGMENT:
        _, stream, message, size, offset, total = _fragment.unpack_from(packet, at)
        begin = at + _fragment.size
        end = offset + size
        # Cut at fixed places, so that no crumbs can be kept for ever, and two cuts can't contradict each other.
        fits = 0 < size <= FRAGMENT_BYTES < total and offset % FRAGMENT_BYTES == 0 and end <= total
        if not fits or (size < FRAGMENT_BYTES and end < total):
            raise Violation(Rule.LENGTH, f"a fragment of {size} bytes at {offset} of {total}")
    else:
        _, stream, message, size = _whole.unpack_from(packet, at)
        begin, offset, total = at + _whole.size, 0, size
        if size > FRAGMENT_BYTES:
            raise Violation(Rule.LENGTH, f"{size} bytes in one frame, of at most {FRAGMENT_BYTES}")
    end = begin + size
    return Data(stream, message, not kind & _UNORDERED, offset, total, packet[begin:end]), end


def _read_hello(packet: bytes, at: int) -> tuple[Frame, int]:
    _, version, me, you = _hello.unpack_from(packet, at)
    return Hello(version, me, you), at + _hello.size


def _read_ack(packet: bytes, at: int) -> tuple[Frame, int]:
    kind, high, low, delay, more, length = _ack.unpack_from(packet, at)
    at += _ack.size
    last = high << 32 | low
    first = last - length
    ranges = [(first, last)]
    for _ in range(more):
        gap, length = _ack_range.unpack_from(packet, at)
        at += _ack_range.size
        last = first - gap - 2
        first = last - length
        ranges.append((first, last))
    if first < 0 or more >= RANGES_LIMIT:
        raise Violation(Rule.MALFORMED, "an acknowledgement below 0, or of too many ranges")
    return Ack(Lane.FAST if kind == _ACK_FAST else Lane.BULK, delay * DELAY_UNIT_S, tuple(ranges)), at


def _read_credit(packet: bytes, at: int) -> tuple[Frame, int]:
    _, stream, high, low = _credit.unpack_from(packet, at)
    return Credit(stream, high << 32 | low), at + _credit.size


def _read_credit_all(packet: bytes, at: int) -> tuple[Frame, int]:
    _, high, low = _credit_all.unpack_from(packet, at)
    return Credit(None, high << 32 | low), at + _credit_all.size


def _read_ping(packet: bytes, at: int) -> tuple[Frame, int]:
    return Ping(), at + 1


def _read_finish(packet: bytes, at: int) -> tuple[Frame, int]:
    _, stream, count = _finish.unpack_from(packet, at)
    return Finish(stream, count), at + _finish.size


def _read_now(packet: bytes, at: int) -> tuple[Frame, int]:
    _, stream, size = _now.unpack_from(packet, at)
    begin = at + _now.size
    return Now(stream, packet[begin : begin + size]), begin + size


def _read_goodbye(packet: bytes, at: int) -> tuple[Frame, int]:
    _, code, size = _goodbye.unpack_from(packet, at)
    begin = at + _goodbye.size
    return Goodbye(code, packet[begin : begin + size].decode()), begin + size


_READERS: dict[int, Callable[[bytes, int], tuple[Frame, int]]] = {
    _HELLO: _read_hello,
    _ACK_FAST: _read_ack,
    _ACK_BULK: _read_ack,
    _CREDIT: _read_credit,
    _CREDIT_ALL: _read_credit_all,
    _PING: _read_ping,
    _FINISH: _read_finish,
    _NOW: _read_now,
    _GOODBYE: _read_goodbye,
}
