"""A whole conversation from bytes: what a peer says, when, and what the application does meanwhile."""

from __future__ import annotations

from overfence_reliability import (
    Config,
    Connection,
    ConnectionClosed,
    Lane,
    Mode,
    Priority,
    ReliabilityError,
)
from overfence_reliability.frame import (
    FRAGMENT_BYTES,
    PACKET_LIMIT_BYTES,
    VERSION,
    Ack,
    Credit,
    Data,
    Finish,
    Frame,
    Goodbye,
    Hello,
    Now,
    Ping,
    decode,
    encode,
    encode_ack,
    encode_data,
    encode_number,
)

STRANGER, SELF = b"stranger", b"honest-1"
STEPS_LIMIT = 300
PACKETS_LIMIT = 400


class Bytes:
    """Choices read from bytes; 0 where there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size), "big")


class Peer:
    """Speaks mostly sound frames to one honest connection: noise alone would not get past the first byte."""

    def __init__(self, choices: Bytes) -> None:
        self._choices = choices
        self._now = 1000.1
        self._next = {lane: 0 for lane in Lane}
        self._told = {lane: -1 for lane in Lane}
        config = Config(window_bytes=128 * 1024, window_all_bytes=256 * 1024, buffer_bytes=64 * 1024)
        self._connection = Connection(SELF, config)
        self._connection.path_opened(now=self._now)

    def step(self) -> None:
        """One thing happens."""
        choices, connection = self._choices, self._connection
        match choices.number() % 12:
            case 0:
                self._receive(choices.take(choices.number()))
            case 1 | 2 | 3:
                self._say(*(self._frame() for _ in range(1 + choices.number() % 3)))
            case 4:
                self._say(Hello(VERSION, STRANGER, (bytes(8), SELF)[choices.number() % 2]), Ping())
            case 5:
                self._now += choices.number() / 100
            case 6:
                self._now += choices.number() / 4
            case 7:
                connection.path_opened(now=self._now)
            case 8:
                connection.path_closed()
            case 9 | 10:
                self._application()
            case 11:
                acks = [Ack(lane, 0.0, ((0, told),)) for lane, told in self._told.items() if told >= 0]
                self._say(*acks, Ping())
        self._settle()

    def _application(self) -> None:
        choices, connection = self._choices, self._connection
        try:
            match choices.number() % 6:
                case 0:
                    connection.open(Priority(choices.number() % 3), weight=1 + choices.number())
                case 1:
                    connection.finish(choices.number() % 4)
                case 2 if choices.number() == 255:
                    connection.close()
                case _:
                    connection.send(choices.number() % 4, bytes(choices.number(2) % 6000), Mode(choices.number() % 3))
        except (ReliabilityError, ConnectionClosed):
            pass

    def _frame(self) -> Frame:
        choices = self._choices
        stream, number = choices.number() % 10, choices.number() % 40
        match choices.number() % 9:
            case 0 | 1:
                body = bytes(choices.number(2) % FRAGMENT_BYTES)
                return Data(stream, number, bool(choices.number() % 2), 0, len(body), body)
            case 2:
                total = FRAGMENT_BYTES + 1 + choices.number(2) % 66_000
                offset = choices.number() * FRAGMENT_BYTES % total // FRAGMENT_BYTES * FRAGMENT_BYTES
                return Data(stream, number, True, offset, total, bytes(min(FRAGMENT_BYTES, total - offset)))
            case 3:
                return Now(stream, bytes(number))
            case 4:
                return Finish(stream, number)
            case 5:
                return Credit(None if choices.number() % 2 else stream, choices.number(3))
            case 6:
                lane = Lane(choices.number() % 2)
                last = max(0, self._told[lane] + choices.number() % 4 - 2)
                return Ack(lane, choices.number() / 1000, ((max(0, last - choices.number() % 8), last),))
            case 7:
                return Goodbye(choices.number() % 10, "bye")
            case _:
                return Ping()

    def _say(self, *frames: Frame) -> None:
        choice = self._choices.number()
        lane = Lane(choice % 2)
        # Mostly the next number; sometimes one again, or with a gap.
        number = max(0, self._next[lane] + {0: -3, 1: 2}.get(choice // 2 % 8, 0))
        self._next[lane] = max(self._next[lane], number + 1)
        parts = [encode_number(number)]
        for each in frames:
            if isinstance(each, Data):
                parts.append(encode_data(each))
            else:
                parts.append(encode_ack(each) if isinstance(each, Ack) else encode(each))
        self._receive(b"".join(parts)[:PACKET_LIMIT_BYTES], lane)

    def _receive(self, packet: bytes, lane: Lane = Lane.FAST) -> None:
        self._connection.receive(packet, lane=lane, now=self._now)

    def _settle(self) -> None:
        connection = self._connection
        room = 4096 if self._choices.number() % 2 else None
        for lane, packet in connection.poll(now=self._now, room=room):
            number, _ = decode(packet)
            self._told[lane] = max(self._told[lane], number)
        for _ in connection.events():
            pass
        connection.poll(now=self._now, room=room)
        due_at = connection.next_timer()
        if due_at is not None and due_at <= self._now:
            raise AssertionError(f"a timer that is due when everything was done, by {self._now - due_at} s")
        if connection.unconfirmed_bytes < 0:
            raise AssertionError("fewer bytes than none wait")


def converse(data: bytes) -> None:
    """Whatever the peer says, nothing is raised, and every timer lies ahead."""
    choices = Bytes(data)
    peer = Peer(choices)
    for _ in range(STEPS_LIMIT):
        if not choices:
            return
        peer.step()
