"""One packet in the making."""

from __future__ import annotations

from .frame import (
    FRAMES_LIMIT,
    NUMBER_BYTES,
    PACKET_LIMIT_BYTES,
    Ack,
    Credit,
    Finish,
    Goodbye,
    Hello,
    Now,
    Ping,
    ack_ranges_within,
    encode,
    encode_ack,
    encode_number,
)
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

    def ack(self, ack: Ack, *, reserve_bytes: int) -> None:
        """Acknowledge as many ranges as leave ``reserve_bytes``, the highest first.

        Once a packet that told them all has arrived, they need not be told again.
        """
        fit = ack_ranges_within(self._room - reserve_bytes)
        told = len(ack.ranges) <= fit
        if fit and self._put(encode_ack(ack if told else ack._replace(ranges=ack.ranges[:fit]))) and told:
            self.sent.told.append((ack.lane, ack.ranges[0][1]))

    def say(self, frame: Hello | Now | Credit | Ping | Finish | Goodbye, fact: Fact | None = None) -> bool:
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
