"""Somebody who talks: a log that outlives the process, and one life after another with a connection in it."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from random import Random
from zlib import crc32

from overfence_reliability import BufferFull, Connection, ConnectionClosed, Mode, Priority, Run, TooManyStreams, ranges

from .story import Role, Story

_seq = struct.Struct("!I")
_have = struct.Struct("!IIIH")
_mark = struct.Struct("!HH")
_range = struct.Struct("!II")
SEQ_BYTES = _seq.size
POOL_BYTES = 1 << 17
POOL = Random(0).randbytes(POOL_BYTES)  # noqa: S311 (filling for messages)
# Streams below these are opened at the beginning of each life, in the same order by both.
CONTROL, SHORT, LEAST, MOST, FIRST_LOG_STREAM = range(5)


class Broken(AssertionError):
    """A promise was broken; ``rule`` names it, for a shrunken story must break the same one."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def require(holds: bool, rule: str, detail: object = "") -> None:
    """Or the rule is `Broken`."""
    if not holds:
        raise Broken(rule, str(detail))


class Log:
    """What one person said, numbered from 1, each entry chained to those before."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self._tips: list[int] = [0]

    def add(self, body: bytes) -> None:
        """The next entry."""
        self.entries.append(body)
        self._tips.append(crc32(body, self._tips[-1]))

    def tip(self, end: int) -> bytes:
        """What identifies entries 1 to ``end``."""
        return _seq.pack(self._tips[end])


class Person:
    """What is on this person's disk: what was said, and what was heard of the other; both survive every crash."""

    def __init__(self, who: int, story: Story, counts: Counter[str]) -> None:
        self.who = who
        self.counts = counts
        self.said = Log()
        self.held = Log()
        self._above: dict[int, bytes] = {}
        self._log_streams = [FIRST_LOG_STREAM + index for index in range(story.chats)]
        self._piece_streams = [FIRST_LOG_STREAM + story.chats + index for index in range(story.pieces)]
        self.fixed_streams = FIRST_LOG_STREAM + story.chats + story.pieces
        self._streams: list[int] = []
        self._random = Random(f"{story.seed} {who}")  # noqa: S311

    def say(self, size_bytes: int, role: Role) -> int:
        """Something for ever; its number."""
        number = len(self.said.entries) + 1
        self.said.add(_seq.pack(number) + self.filling(size_bytes - SEQ_BYTES))
        streams = self._piece_streams if role is Role.PIECE else self._log_streams
        self._streams.append(streams[number % len(streams)])
        return number

    def filling(self, size_bytes: int) -> bytes:
        """Bytes that nothing else is likely to have."""
        at = int(self._random.random() * (POOL_BYTES - size_bytes))
        return POOL[at : at + size_bytes] if size_bytes > 0 else b""

    def stream_of(self, number: int) -> int:
        """Where that entry is said: always the same, as a message of one conversation is."""
        return self._streams[number - 1]

    def hear(self, body: bytes, log: Log) -> None:
        """Commit an entry of the other's ``log``, once; anything that isn't one would not have opened."""
        number = _seq.unpack_from(body)[0] if len(body) >= SEQ_BYTES else 0
        if not 1 <= number <= len(log.entries) or log.entries[number - 1] != body:
            self.counts["unopened"] += 1
            return
        end = len(self.held.entries)
        if number <= end or number in self._above:
            self.counts["entry twice"] += 1
            return
        self._above[number] = body
        while (following := self._above.pop(len(self.held.entries) + 1, None)) is not None:
            self.held.add(following)

    def have(self) -> bytes:
        """What is held of the other's log, to tell them."""
        end = len(self.held.entries)
        above = ranges(sorted(self._above))
        body = _have.pack(end, _seq.unpack(self.held.tip(end))[0], 0, len(above))
        body += b"".join(_range.pack(*one) for one in above)
        return _seq.pack(crc32(body)) + body

    def lacks(self, told: bytes) -> Iterable[int]:
        """Entries of ours that the other lacks, by what they told; None of them if it is damaged."""
        if len(told) < SEQ_BYTES + _have.size or _seq.unpack_from(told)[0] != crc32(told[SEQ_BYTES:]):
            self.counts["unopened"] += 1
            return []
        end, tip, _, count = _have.unpack_from(told, SEQ_BYTES)
        require(end <= len(self.said.entries), "held what was never said", end)
        require(self.said.tip(end) == _seq.pack(tip), "another history", end)
        at = SEQ_BYTES + _have.size
        above = tuple(_range.unpack_from(told, at + index * _range.size) for index in range(count))
        run = Run(end, b"", tuple((first, last) for first, last in above))
        gaps = run.gaps(len(self.said.entries))
        return [number for first, last in gaps for number in range(first, last + 1)]


class Life:
    """One process of a person's: a connection, and what must hold between it and the peer's process."""

    def __init__(self, person: Person, connection: Connection, number: int) -> None:
        self.person = person
        self.connection = connection
        self.number = number
        # Exactly-once messages said since the peer last changed, by stream; and how many of theirs came.
        self.said: dict[int, list[bytes]] = {}
        self.came: Counter[int] = Counter()
        # At-least-once messages nobody received yet; at-most-once ones somebody might.
        self.least: dict[bytes, None] = {}
        self.most: dict[bytes, None] = {}
        self.finished: dict[int, None] = {}
        self.heard_finished: set[int] = set()
        self.is_full = False
        self._is_told = False
        self._owes_have = False
        self._marks = 0
        self._queue: deque[int] = deque()
        for priority in (Priority.CONTROL, Priority.CHAT, Priority.CHAT, Priority.CHAT):
            connection.open(priority)
        for _ in person._log_streams:
            connection.open()
        for weight, _ in enumerate(person._piece_streams):
            connection.open(Priority.BULK, weight=1 + weight % 3)

    # What it says.

    def want(self, number: int) -> None:
        """An entry was committed: it goes out as soon as the other's state is known."""
        if self._is_told:
            self._queue.append(number)
            self.pump()

    def owe_have(self) -> None:
        """The other is a stranger: tell what is held, and wait for the same."""
        self._is_told, self._owes_have = False, True
        self._queue.clear()
        self.pump()

    def told(self, have: bytes) -> None:
        """The other told what they hold."""
        self._is_told = True
        self._queue = deque(self.person.lacks(have))
        self.pump()

    def pump(self) -> None:
        """As much as there is room for; after that only a `Writable` goes on."""
        if self.is_full:
            return
        if self._owes_have:
            if not self._say(CONTROL, self.person.have()):
                return
            self._owes_have = False
        queue, person = self._queue, self.person
        while queue:
            number = queue[0]
            if not self._say(person.stream_of(number), person.said.entries[number - 1]):
                return
            queue.popleft()

    def say_short(self, size_bytes: int) -> None:
        """Exactly once, for this life only."""
        if not self.is_full:
            self._say(SHORT, self.person.filling(size_bytes))

    def say_least(self, size_bytes: int) -> None:
        """At least once."""
        body = self._mark() + self.person.filling(size_bytes - SEQ_BYTES)
        if not self.is_full and self._send(LEAST, body, Mode.AT_LEAST_ONCE):
            self.least[body] = None

    def say_most(self, size_bytes: int) -> None:
        """At most once."""
        body = self._mark() + self.person.filling(size_bytes - SEQ_BYTES)
        with suppress(ConnectionClosed):
            self.connection.send(MOST, body, Mode.AT_MOST_ONCE)
            self.most[body] = None

    def say_aside(self, size_bytes: int) -> None:
        """A stream of its own: one message, and no more."""
        try:
            stream = self.connection.open()
        except TooManyStreams:
            self.person.counts["too many streams"] += 1
            return
        if not self.is_full:
            self._say(stream, self.person.filling(size_bytes))
        self.connection.finish(stream)
        self.finished[stream] = None

    def _mark(self) -> bytes:
        """What no other message begins with."""
        self._marks += 1
        return _mark.pack(self.number & 0xFFFF, self._marks & 0xFFFF)

    def _say(self, stream: int, body: bytes) -> bool:
        if not self._send(stream, body, Mode.EXACTLY_ONCE):
            return False
        self.said.setdefault(stream, []).append(body)
        return True

    def _send(self, stream: int, body: bytes, mode: Mode) -> bool:
        try:
            self.connection.send(stream, body, mode)
        except BufferFull:
            self.is_full = True
            self.person.counts["buffer full"] += 1
            return False
        except ConnectionClosed:
            # Whatever came just before the end is told first; that it may have ended is for `Closed` to judge.
            self.is_full = True
            return False
        return True

    # What it hears.

    def hear(self, stream: int, body: bytes, other: Life) -> None:
        """A message came from that life of the other's: it is the one promised next."""
        if stream == MOST:
            require(body in other.most, "at most once", f"{len(body)} bytes")
            del other.most[body]
            self.person.counts["came at most once"] += 1
            return
        if stream == LEAST:
            self.person.counts["came at least once" if body in other.least else "came again"] += 1
            other.least.pop(body, None)
            return
        number = self.came[stream]
        self.came[stream] = number + 1
        said = other.said.get(stream, ())
        if number >= len(said) or said[number] != body:
            where = next((index for index, one in enumerate(said) if one == body), None)
            raise Broken("once and in order", f"stream {stream}: message {number} expected, {where} came")
        if stream == CONTROL:
            self.told(body)
        elif FIRST_LOG_STREAM <= stream < self.person.fixed_streams:
            self.person.hear(body, other.person.said)

    def hear_unsafe(self, stream: int, body: bytes, other: Life) -> None:
        """The same where bytes may be damaged: only what opens counts."""
        if stream == CONTROL:
            self.told(body)
        elif FIRST_LOG_STREAM <= stream < self.person.fixed_streams:
            self.person.hear(body, other.person.said)

    def hear_finished(self, stream: int, other: Life) -> None:
        """A stream of theirs ended: whole, and once."""
        require(stream in other.finished and stream not in self.heard_finished, "finished once", stream)
        require(self.came[stream] == len(other.said.get(stream, ())), "finished whole", stream)
        self.heard_finished.add(stream)

    def begin_anew(self) -> None:
        """The peer is another process; what was promised between us and the last one is over."""
        self.said.clear()
        self.came.clear()
        self.heard_finished.clear()
