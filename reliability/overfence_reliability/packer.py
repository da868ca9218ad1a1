"""One packet in the making."""

from __future__ import annotations

from .frame import (
    FRAMES_LIMIT,
    NUMBER_BYTES,
    PACKET_LIMIT_BYTES,
    Credit,
    Finish,
    Goodbye,
    Hello,
    Lane,
    Now,
    Ping,
    ack_ranges_within,
    encode,
    encode_ack,
    encode_number,
)
from .numbers import RANGES_LIMIT
from .receiver import Arrived
from .sender import Fact, Sent
from .streams import Fragment


class Packer:
    """Frames for one packet, until no more fit; remembers what is to be done again if it gets lost."""

    __slots__ = ("_parts", "_room", "sent")

    def __init__(self, number: int, *, now: float) -> None:
        self.sent = Sent(number, 0, at=now, asks=False)
        self._parts = [encode_number(number)]
        self._room = PACKET_LIMIT_BYTES - NUMBER_BYTES

    @property
    def is_empty(self) -> bool:
        """Is there nothing in it?"""
        return len(self._parts) == 1

    def ack(self, arrived: Arrived, *, reserve_bytes: int, now: float) -> None:
        """Acknowledge as many ranges as leave ``reserve_bytes``.

        Once that has arrived, they need not be told again; those of the reliable lane are repeated until then.
        """
        fit = min(ack_ranges_within(self._room - reserve_bytes), RANGES_LIMIT)
        ack = arrived.tell(fit, now=now)
        if ack is None:
            return
        self._put(encode_ack(ack))
        self.sent.told.append((ack.lane, ack.ranges))
        self.sent.asks = self.sent.asks or ack.lane is Lane.BULK

    def greet(self, hello: Hello) -> None:
        """Put in a hello, which asks for nothing by itself: it is repeated until something that does has arrived."""
        self._put(encode(hello))

    def say(self, frame: Now | Credit | Ping | Finish | Goodbye, fact: Fact | None = None) -> bool:
        """Put in a frame that asks for an acknowledgement; False if it doesn't fit."""
        if not self._put(encode(frame)):
            return False
        self.sent.asks = True
        if fact is not None:
            self.sent.facts.append(fact)
        return True

    def carry(self, fragment: Fragment) -> bool:
        """Put in a fragment; False if it doesn't fit."""
        if not self._put(fragment.encode()):
            return False
        self.sent.asks = True
        self.sent.fragments.append(fragment)
        return True

    def seal(self) -> bytes:
        """The packet."""
        packet = b"".join(self._parts)
        self.sent.size = len(packet)
        return packet

    def _put(self, frame: bytes) -> bool:
        if len(frame) > self._room or len(self._parts) > FRAMES_LIMIT:
            return False
        self._room -= len(frame)
        self._parts.append(frame)
        return True
