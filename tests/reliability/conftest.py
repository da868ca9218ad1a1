"""Two connections and the wire between them, on a clock that only the test moves; and a peer played by hand."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import NamedTuple, TypeVar

import pytest
from overfence_reliability import Config, Connection, Event, Lane, Mode, Priority, Received
from overfence_reliability.frame import (
    VERSION,
    Ack,
    Data,
    Frame,
    Hello,
    Ping,
    decode,
    encode,
    encode_ack,
    encode_data,
    encode_number,
)

# Not 0, where a forgotten `is None` would hide; not round, where a rounding error would.
EPOCH = 1000.1
STEPS_LIMIT = 100_000
STRANGER = b"stranger"

F = TypeVar("F")
E = TypeVar("E")


def pack(number: int, *frames: Frame) -> bytes:
    """A packet of those frames, whether or not anybody honest would send it."""
    parts = [encode_number(number)]
    for frame in frames:
        if isinstance(frame, Data):
            parts.append(encode_data(frame))
        elif isinstance(frame, Ack):
            parts.append(encode_ack(frame))
        else:
            parts.append(encode(frame))
    return b"".join(parts)


def whole(stream: int, message: int, body: bytes, *, ordered: bool = True) -> Data:
    return Data(stream, message, ordered, 0, len(body), body)


class Flight(NamedTuple):
    """One packet that left, and whether it got lost."""

    at: float
    sender: str
    lane: Lane
    packet: bytes
    lost: bool

    @property
    def frames(self) -> list[Frame]:
        return decode(self.packet)[1]

    @property
    def number(self) -> int:
        return decode(self.packet)[0]


class Side:
    """One end: a connection, what it told, and what left it."""

    def __init__(self, name: str, generation: int, config: Config | None, now: Callable[[], float]) -> None:
        self.name = name
        self.config = config
        self.generation = generation
        self.connection = Connection(f"{name}-{generation:03}".encode().ljust(8)[:8], config)
        self.events: list[Event] = []
        self.left: list[Flight] = []
        self.heard_at: list[float] = []
        self.drains = True
        self.stands_still = False
        self._now = now
        self._streams: dict[Priority, int] = {}

    @property
    def heard(self) -> list[bytes]:
        return [event.body for event in self.events if isinstance(event, Received)]

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def frames(self, kind: type[F]) -> list[F]:
        """Every frame of that kind that left here."""
        return [frame for flight in self.left for frame in flight.frames if isinstance(frame, kind)]

    def stream(self, priority: Priority = Priority.CHAT) -> int:
        if priority not in self._streams:
            self._streams[priority] = self.connection.open(priority)
        return self._streams[priority]

    def say(
        self,
        body: bytes,
        *,
        mode: Mode = Mode.EXACTLY_ONCE,
        priority: Priority = Priority.CHAT,
        stream: int | None = None,
    ) -> int | None:
        return self.connection.send(self.stream(priority) if stream is None else stream, body, mode)

    def drain(self) -> None:
        for event in self.connection.events():
            self.events.append(event)
            if isinstance(event, Received):
                self.heard_at.append(self._now())


class Wire:
    """Ada, Bob, and one path at a time between them. The fast lane loses what `loses` says; the bulk lane nothing."""

    def __init__(self, *, one_way_s: float = 0.025, ada: Config | None = None, bob: Config | None = None) -> None:
        self.now = EPOCH
        self.one_way_s = one_way_s
        self.loses: Callable[[Flight], bool] = lambda _flight: False
        self.delays: Callable[[Flight], float] = lambda _flight: self.one_way_s
        self.room: int | None = None
        self.most_timers_at_once = 0
        self._order = count()
        self._flying: list[tuple[float, int, str, Lane, bytes]] = []
        self._lose: dict[str, int] = {}
        self._connected = False
        self.ada = Side("ada", 1, ada, self._read_clock)
        self.bob = Side("bob", 1, bob, self._read_clock)

    def _read_clock(self) -> float:
        return self.now

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.ada, self.bob

    def other(self, side: Side) -> Side:
        return self.bob if side is self.ada else self.ada

    def connect(self) -> None:
        """A new path, in place of any before."""
        self._flying.clear()
        self._connected = True
        for side in self.sides:
            side.connection.path_opened(now=self.now)

    def meet(self, settle_s: float = 0.5) -> None:
        """A path, and time for everybody to know everybody."""
        self.connect()
        self.run_for(settle_s)

    def cut(self) -> None:
        """The path is gone, with everything on it."""
        self._flying.clear()
        self._connected = False
        for side in self.sides:
            side.connection.path_closed()

    def restart(self, side: Side) -> Side:
        """Another process in its place; it has no path yet."""
        fresh = Side(side.name, side.generation + 1, side.config, self._read_clock)
        if side is self.ada:
            self.ada = fresh
        else:
            self.bob = fresh
        return fresh

    def lose_next(self, packets: int = 1, *, of: Side | None = None) -> None:
        """The next packets on the fast lane get lost: Ada's, unless said otherwise."""
        self._lose[(of or self.ada).name] = packets

    def flush(self) -> None:
        """Everything that may leave now leaves, and is noted, without time passing."""
        for side in self.sides:
            if not side.stands_still:
                self._poll(side)

    def run_for(self, seconds: float) -> None:
        """Let time pass: packets arrive, timers run, events are drained."""
        until = self.now + seconds
        timers_at_once = 0
        for _ in range(STEPS_LIMIT):
            self.flush()
            due_at, side = self._next()
            if due_at > until:
                self.now = until
                return
            timers_at_once = timers_at_once + 1 if due_at <= self.now and side is not None else 0
            self.most_timers_at_once = max(self.most_timers_at_once, timers_at_once)
            self.now = max(self.now, due_at)
            if side is None:
                self._arrive()
        raise AssertionError("time stands still")

    def _next(self) -> tuple[float, Side | None]:
        due: list[tuple[float, Side | None]] = [(self._flying[0][0], None)] if self._flying else []
        for side in self.sides:
            at = None if side.stands_still else side.connection.next_timer()
            if at is not None:
                due.append((at, side))
        return min(due, key=lambda each: each[0], default=(float("inf"), None))

    def _poll(self, side: Side) -> None:
        for lane, packet in side.connection.poll(now=self.now, room=self.room):
            flight = Flight(self.now, side.name, lane, packet, False)
            lost = lane is Lane.FAST and (self._lose.get(side.name, 0) > 0 or self.loses(flight))
            if lost:
                self._lose[side.name] = max(0, self._lose.get(side.name, 0) - 1)
                flight = flight._replace(lost=True)
            elif self._connected:
                arrives_at = self.now + self.delays(flight)
                heapq.heappush(self._flying, (arrives_at, next(self._order), side.name, lane, packet))
            side.left.append(flight)
        if side.drains:
            side.drain()

    def _arrive(self) -> None:
        _, _, sender, lane, packet = heapq.heappop(self._flying)
        side = self.bob if sender == "ada" else self.ada
        side.connection.receive(packet, lane=lane, now=self.now)
        if side.drains:
            side.drain()


class Puppet:
    """A peer that keeps to no rule but those the test wants, in front of one honest connection."""

    def __init__(self, config: Config | None = None) -> None:
        self.now = EPOCH
        self.honest = Connection(b"honest-1", config)
        self.honest.path_opened(now=self.now)
        self.events: list[Event] = []
        self._numbers = {lane: count() for lane in Lane}
        self._told = {lane: -1 for lane in Lane}
        self._hears()

    def shake_hands(self) -> Puppet:
        """Both have said hello, and it was acknowledged."""
        self.say(Hello(VERSION, STRANGER, bytes(8)), Ping())
        self.wait(0.01)  # its answer names us; only that answer's acknowledgement makes us known
        self.acknowledge()
        return self

    def say(self, *frames: Frame, lane: Lane = Lane.FAST) -> list[Frame]:
        """One packet in; what the honest side answers at once."""
        return self.throw(pack(next(self._numbers[lane]), *frames), lane=lane)

    def throw(self, packet: bytes, lane: Lane = Lane.FAST) -> list[Frame]:
        """Any bytes in."""
        self.honest.receive(packet, lane=lane, now=self.now)
        return self._hears()

    def wait(self, seconds: float) -> list[Frame]:
        """Time passes without a word of ours; everything the honest side says in it."""
        until = self.now + seconds
        said: list[Frame] = []
        for _ in range(STEPS_LIMIT):
            due_at = self.honest.next_timer()
            if due_at is None or due_at > until:
                self.now = until
                return said
            self.now = max(self.now, due_at)
            said += self._hears()
        raise AssertionError("time stands still")

    def acknowledge(self) -> list[Frame]:
        """Everything that was heard, arrived."""
        acks = [Ack(lane, 0.0, ((0, told),)) for lane, told in self._told.items() if told >= 0]
        return self.say(*acks, Ping())

    def heard(self) -> list[bytes]:
        return [event.body for event in self.events if isinstance(event, Received)]

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def _hears(self) -> list[Frame]:
        said: list[Frame] = []
        for lane, packet in self.honest.poll(now=self.now):
            number, frames = decode(packet)
            self._told[lane] = max(self._told[lane], number)
            said += frames
        self.events += self.honest.events()
        return said


@pytest.fixture
def wire() -> Wire:
    """Two who have met, 50 ms apart and back."""
    made = Wire()
    made.meet()
    return made


@pytest.fixture
def puppet() -> Puppet:
    return Puppet().shake_hands()
