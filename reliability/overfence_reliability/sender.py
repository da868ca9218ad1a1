"""Packets that left by one lane, until they are acknowledged or count as lost (RFC 9002 §6.1)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

from .errors import Rule, Violation
from .frame import Ack, Lane
from .loss import PACKET_THRESHOLD, RoundTrip
from .streams import Fragment

# Lost packets are remembered for a while: an acknowledgement that comes late after all spares sending them again.
LOST_LIMIT = 1024
# Packets that only acknowledge are not themselves acknowledged unless by luck; the oldest are forgotten.
QUIET_LIMIT = 64


class Fact(NamedTuple):
    """Something the peer must learn, said with its present value when a packet leaves: credit for a stream (None: for
    all together), or that a stream is finished."""

    says: Literal["credit", "finish"]
    stream: int | None


class Sent:
    """One packet on its way, and what must be done again should it get lost."""

    __slots__ = ("asks", "at", "facts", "fragments", "number", "size", "told")

    def __init__(self, number: int, size: int, *, at: float, asks: bool) -> None:
        self.number = number
        self.size = size
        self.at = at
        self.asks = asks
        self.fragments: list[Fragment] = []
        self.facts: list[Fact] = []
        self.told: list[tuple[Lane, tuple[tuple[int, int], ...]]] = []  # what may be forgotten once it arrived


class Sender:
    """One lane's packet numbers, never used twice, and the packets nobody has acknowledged yet."""

    def __init__(self, lane: Lane, next_number: int = 0) -> None:
        self.lane = lane
        self.next_number = next_number
        self.in_flight_bytes = 0
        self.last_asked_at: float | None = None
        self._sent: dict[int, Sent] = {}
        self._quiet: dict[int, Sent] = {}
        self._lost: dict[int, Sent] = {}
        self._largest = -1

    @property
    def is_waiting(self) -> bool:
        """Is there a packet whose acknowledgement is awaited?"""
        return bool(self._sent)

    def depart(self, sent: Sent) -> None:
        """It leaves now, under `next_number`."""
        self.next_number += 1
        if sent.asks:
            self._sent[sent.number] = sent
            self.in_flight_bytes += sent.size
            self.last_asked_at = sent.at
        else:
            self._quiet[sent.number] = sent
            if len(self._quiet) > QUIET_LIMIT:
                del self._quiet[next(iter(self._quiet))]

    def acknowledge(self, ack: Ack) -> tuple[list[Sent], list[Sent]]:
        """Packets that arrived: those on their way, and those taken for lost. Raises `Violation`."""
        largest = ack.ranges[0][1]
        if largest >= self.next_number:
            raise Violation(Rule.UNSENT, f"packet {largest} acknowledged, {self.next_number} sent")
        self._largest = max(self._largest, largest)
        arrived: list[Sent] = []
        late: list[Sent] = []
        for held, found in ((self._sent, arrived), (self._quiet, arrived), (self._lost, late)):
            found += _pop(held, ack.ranges)
        self.in_flight_bytes -= sum(sent.size for sent in arrived if sent.asks)
        return arrived, late

    def lose(self, trip: RoundTrip, *, now: float) -> tuple[list[Sent], float | None]:
        """Packets that count as lost by now, and when the next one will (RFC 9002 §6.1)."""
        lost: list[Sent] = []
        due_at: float | None = None
        lost_after_s = trip.lost_after_s
        for sent in self._sent.values():
            if sent.number > self._largest:
                break
            if sent.at + lost_after_s <= now or sent.number <= self._largest - PACKET_THRESHOLD:
                lost.append(sent)
            elif due_at is None or sent.at + lost_after_s < due_at:
                due_at = sent.at + lost_after_s
        self._forget(lost)
        return lost, due_at

    def lose_all(self) -> list[Sent]:
        """The path is gone, with everything on it."""
        lost = list(self._sent.values())
        self._forget(lost)
        self._quiet.clear()
        self.last_asked_at = None
        return lost

    def oldest(self) -> Iterator[Sent]:
        """What waits for its acknowledgement, the oldest first."""
        return iter(self._sent.values())

    def _forget(self, lost: list[Sent]) -> None:
        for sent in lost:
            del self._sent[sent.number]
            self._lost[sent.number] = sent
            self.in_flight_bytes -= sent.size
        if len(self._lost) > LOST_LIMIT:
            for number in list(islice(self._lost, len(self._lost) - LOST_LIMIT)):
                del self._lost[number]


def _pop(held: dict[int, Sent], ranges: tuple[tuple[int, int], ...]) -> list[Sent]:
    # A range may claim billions of numbers, and be told again and again: never walk more of them than we hold.
    if not held or ranges[0][1] < min(held):
        return []
    if sum(last - first + 1 for first, last in ranges) <= len(held):
        return [held.pop(n) for first, last in ranges for n in range(first, last + 1) if n in held]
    firsts = [first for first, _ in reversed(ranges)]
    lasts = [last for _, last in reversed(ranges)]
    found = [n for n in held if (at := bisect_left(lasts, n)) < len(lasts) and firsts[at] <= n]
    return [held.pop(n) for n in found]
