"""A connection that outlives its paths: numbers, acknowledgements, streams and timers behind one face. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from .errors import (
    BufferFull,
    ConnectionClosed,
    MessageTooLong,
    NoSuchStream,
    ReliabilityError,
    Rule,
    TooManyStreams,
    Violation,
)
from .events import Closed, Discontinuity, Event, Finished, Opened, Received, Silent, Writable
from .frame import (
    CONNECTION_ID_BYTES,
    FRAGMENT_BYTES,
    VERSION,
    Ack,
    Credit,
    Data,
    Finish,
    Frame,
    Goodbye,
    Hello,
    Lane,
    Now,
    Ping,
    decode,
)
from .inbound import Inbound
from .liveness import Beat
from .outbound import NOBODY, Outbound, Packets
from .path import Path
from .sender import Fact
from .streams import FIRST_CREDIT_BYTES, Mode, Priority, cost_bytes

# Streams either side keeps of the other at a time: an endless number would be endless memory.
STREAMS_LIMIT = 64
STREAM_NUMBERS = 2**16


@dataclass(frozen=True, kw_only=True)
class Config:
    """What one side grants the other, and keeps for itself; sizes in bytes.

    `window_bytes`, `window_all_bytes`: what a stream, and all together, may bring beyond what was released.
    Windows below what every peer may bring at first (§7.5: 128 KiB a stream, 256 KiB in all) only slow it down later.
    `message_limit_bytes`: the longest message, either way; both sides must have agreed on it, nothing negotiates it.
    `buffer_bytes`: what `send` takes before it raises `BufferFull`. `manual_release`: credit grows only by
    `Connection.release`, not by draining `events`. `bulk_lane`: False where there is only one channel, which may lose
    packets; then everything goes by the fast lane.
    """

    window_bytes: int = 256 * 1024
    window_all_bytes: int = 1024 * 1024
    message_limit_bytes: int = 65_536
    buffer_bytes: int = 1024 * 1024
    manual_release: bool = False
    bulk_lane: bool = True


class Connection:
    """Delivers what `send` takes, as its mode promises, over one path after another, to one peer process.

    Bytes go in by `receive`, out by `poll`; time only by ``now`` (monotonic seconds). The caller asks `next_timer`
    when to poll again, and `events` for what happened, after each call. What the peer sends never raises here: it
    closes the connection, and a `Closed` event says why.
    """

    def __init__(self, connection_id: bytes, config: Config | None = None) -> None:
        """``connection_id``: 8 random bytes, new for each process and peer. Raises `ReliabilityError` for others."""
        if len(connection_id) != CONNECTION_ID_BYTES or connection_id == NOBODY:
            raise ReliabilityError("a connection id has 8 bytes, not all zero")
        self._config = config = config or Config()
        least_window_bytes = min(config.window_bytes, config.window_all_bytes, FIRST_CREDIT_BYTES)
        if cost_bytes(config.message_limit_bytes) > least_window_bytes:
            raise ReliabilityError("a message that is longer than the window could never arrive")
        self._path: Path | None = None
        self._is_open = False
        self._was_full = False
        self._closed: Closed | None = None
        self._goodbye: Goodbye | None = None
        self._events: deque[Event] = deque()
        self._inbound = Inbound(
            streams=STREAMS_LIMIT,
            window_bytes=config.window_bytes,
            window_all_bytes=config.window_all_bytes,
            message_limit_bytes=config.message_limit_bytes,
        )
        self._outbound = Outbound(connection_id, self._inbound, fast_only=not config.bulk_lane)

    # ── what the application does ─────────────────────────────────────────────────────────────────

    def open(self, priority: Priority = Priority.CHAT, *, weight: int = 1) -> int:
        """A new stream to send on; its number. ``weight``, at least 1: its share among bulk streams.

        Raises `TooManyStreams`, `ConnectionClosed`, and `ReliabilityError` for what is no priority or weight.
        """
        self._check_open()
        if not isinstance(priority, Priority) or weight < 1:
            raise ReliabilityError(f"a stream has a Priority, and a weight of at least 1: {priority!r}, {weight!r}")
        schedule = self._outbound.schedule
        if len(schedule.streams) >= STREAMS_LIMIT or schedule.opened >= STREAM_NUMBERS:
            raise TooManyStreams(f"{len(schedule.streams)} streams are open, {schedule.opened} were")
        return schedule.open(priority, weight).number

    def send(self, stream: int, body: bytes, mode: Mode = Mode.EXACTLY_ONCE) -> int | None:
        """Take a message for ``stream``; its number there, None for one at most once.

        A message at most once has at most 1,090 bytes, others what `Config.message_limit_bytes` says. Raises
        `BufferFull`, `MessageTooLong`, `NoSuchStream`, `ConnectionClosed`, and `ReliabilityError` for what is no bytes
        or no mode; then nothing was taken.
        """
        self._check_open()
        if not isinstance(body, bytes) or not isinstance(mode, Mode):
            raise ReliabilityError(f"a message is bytes, sent in a Mode: {type(body).__name__}, {mode!r}")
        outbound = self._outbound
        outgoing = outbound.schedule.streams.get(stream)
        if outgoing is None or stream in outbound.finishing:
            raise NoSuchStream(f"stream {stream}")
        limit = FRAGMENT_BYTES if mode is Mode.AT_MOST_ONCE else self._config.message_limit_bytes
        if len(body) > limit:
            raise MessageTooLong(len(body), limit)
        if mode is Mode.AT_MOST_ONCE:
            if self._path is not None:
                outbound.now.append(Now(stream, body))
            return None
        if outbound.buffered_bytes and outbound.buffered_bytes + len(body) > self._config.buffer_bytes:
            self._was_full = True
            raise BufferFull(f"{outbound.buffered_bytes} bytes wait for their acknowledgement")
        outbound.buffered_bytes += len(body)
        return outgoing.say(body, ordered=mode is Mode.EXACTLY_ONCE).number

    def finish(self, stream: int) -> None:
        """Say nothing more on ``stream``; what was said before still arrives. Raises `NoSuchStream`."""
        self._check_open()
        if stream not in self._outbound.schedule.streams or stream in self._outbound.finishing:
            raise NoSuchStream(f"stream {stream}")
        self._outbound.finishing.add(stream)
        self._outbound.pending[Fact("finish", stream)] = None

    def release(self, received: Received) -> None:
        """The application is done with that message (`Config.manual_release`): the peer may send more."""
        if received.at_most_once:
            return  # it cost no credit
        arrivals, pending = self._inbound.arrivals, self._outbound.pending
        incoming = arrivals.streams.get(received.stream)
        cost = cost_bytes(len(received.body))
        if incoming is not None and incoming.release(cost):
            pending[Fact("credit", received.stream)] = None
        if arrivals.release(cost):
            pending[Fact("credit", None)] = None

    def close(self) -> None:
        """Say goodbye at the next poll, and nothing after it: what is still unconfirmed may not arrive."""
        self._end(Closed(by_peer=False, violation=None), Goodbye(0, ""))

    @property
    def unconfirmed_bytes(self) -> int:
        """What `send` took and the peer has not acknowledged."""
        return self._outbound.buffered_bytes

    @property
    def round_trip_s(self) -> float | None:
        """The smoothed round-trip time of the present path; None before it was measured."""
        return self._path.trip.smoothed_s if self._path else None

    @property
    def loss(self) -> float:
        """The share of packets the present path loses, 0 to 1, averaged over the last hundred or so."""
        return self._path.loss.average if self._path else 0.0

    def events(self) -> Iterator[Event]:
        """What happened since the last call, first to last."""
        if self._was_full and self._outbound.buffered_bytes * 2 <= self._config.buffer_bytes:
            self._was_full = False
            self._events.append(Writable())
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Received) and not self._config.manual_release:
                self.release(event)
            yield event

    # ── paths and time ────────────────────────────────────────────────────────────────────────────

    def path_opened(self, *, now: float) -> None:
        """There is a path to the peer, in place of any before; what was on its way there is lost."""
        self.path_closed()
        if self._closed is None:
            self._path = Path(now=now)
            self._outbound.asks = True

    def path_closed(self) -> None:
        """The path is gone. Everything waits for the next."""
        if self._path is not None:
            self._path, self._is_open = None, False
            self._outbound.path_lost()

    def next_timer(self) -> float | None:
        """When to `poll` even if nothing happens before; None for never."""
        path = self._path
        if path is None or self._closed is not None:
            return None
        return min(path.liveness.next_timer(), self._outbound.next_timer(path), self._inbound.next_timer())

    def poll(self, *, now: float, room: int | None = None) -> Packets:
        """Packets to send now, in order. ``room``: bytes the bulk lane takes without queueing them; None for any."""
        path = self._path
        if path is None:
            return []
        packets: Packets = []
        if self._closed is None:
            match path.liveness.poll(now=now):
                case Beat.PING:
                    self._outbound.asks = True
                case Beat.DEAD:
                    self._events.append(Silent())
                case None:
                    pass
            try:
                packets = self._outbound.run_timers(path, now=now)
            except Violation as violation:
                self._accuse(violation)
        if self._closed is None:
            return packets + self._outbound.fill(path, room=room, now=now)
        if self._goodbye is not None:
            packets += self._outbound.goodbye(path, self._goodbye, now=now)
            self._goodbye = None
        return packets

    # ── bytes in ──────────────────────────────────────────────────────────────────────────────────

    def receive(self, packet: bytes, *, lane: Lane, now: float) -> None:
        """A packet came by ``lane`` of the present path."""
        path = self._path
        if path is None or self._closed is not None:
            return
        try:
            number, frames = decode(packet)
            path.liveness.heard(now=now)
            path.is_heard_since_probe = True
            self._inbound.judge(useful=self._take(path, lane, number, frames, now=now), now=now)
        except Violation as violation:
            self._accuse(violation)

    def _take(self, path: Path, lane: Lane, number: int, frames: list[Frame], *, now: float) -> bool:
        """True if the packet brought anything."""
        for frame in frames:
            if isinstance(frame, Hello) and not self._meet(path, frame):
                return False
        if not path.is_heard:
            # It is meant for who we were, or overtook the hello; what matters in it comes again.
            return False
        asks = any(map(_asks, frames))
        if not self._inbound.arrived[lane].take(number, asks=asks, now=now):
            return False
        useful = False
        for frame in frames:
            useful |= self._obey(path, frame, now=now)
        return useful

    def _obey(self, path: Path, frame: Frame, *, now: float) -> bool:
        match frame:
            case Data():
                useful, messages = self._inbound.arrivals.take(frame)
                self._events.extend(Received(frame.stream, body) for body in messages)
                self._note_finished()
                return useful
            case Ack():
                return self._outbound.acknowledged(path, frame, now=now)
            case Now():
                taken = self._inbound.takes_now(now=now)
                if taken:
                    self._events.append(Received(frame.stream, frame.body, at_most_once=True))
                return taken
            case Credit():
                return self._outbound.credited(frame)
            case Finish():
                useful = self._inbound.arrivals.finish(frame.stream, frame.messages)
                self._note_finished()
                return useful
            case Goodbye():
                rule = next((rule for rule in Rule if rule.value == frame.code), None)
                violation = Violation(rule, "so says the peer") if rule else None
                self._end(Closed(by_peer=True, violation=violation), None)
                return True
            case Ping() | Hello():
                return False
            case _:
                assert_never(frame)

    def _meet(self, path: Path, hello: Hello) -> bool:
        """Is what came with this hello meant for us?"""
        outbound = self._outbound
        if hello.version != VERSION:
            raise Violation(Rule.VERSION, f"version {hello.version}")
        if hello.me in (NOBODY, outbound.me):
            raise Violation(Rule.MALFORMED, "a hello without a sender, or our own")
        if hello.you not in (NOBODY, outbound.me):
            # They take us for the process we were before; our own hello puts that right.
            return False
        resumed = hello.me == outbound.peer
        if path.is_heard and not resumed:
            raise Violation(Rule.MALFORMED, "two processes on one path")
        if outbound.peer is not None and not resumed:
            self._inbound.begin_anew()
            self._events.append(Discontinuity(outbound.begin_anew()))
        outbound.peer = hello.me
        if not path.is_heard:
            outbound.met(path)
        if not self._is_open:
            self._is_open = True
            self._events.append(Opened(resumed))
        return True

    def _note_finished(self) -> None:
        finished = self._inbound.arrivals.finished
        if finished:
            self._events.extend(map(Finished, finished))
            finished.clear()

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def _accuse(self, violation: Violation) -> None:
        goodbye = Goodbye(violation.rule.value, violation.rule.name.lower())
        self._end(Closed(by_peer=False, violation=violation), goodbye)

    def _end(self, closed: Closed, goodbye: Goodbye | None) -> None:
        if self._closed is None:
            self._closed, self._goodbye = closed, goodbye
            self._events.append(replace(closed, unconfirmed=self._outbound.unconfirmed()))

    def _check_open(self) -> None:
        if self._closed is not None:
            raise ConnectionClosed(str(self._closed.violation or "closed"))


def _asks(frame: Frame) -> bool:
    """Does it ask for an acknowledgement (§7.3)?"""
    return frame.lane is Lane.BULK if isinstance(frame, Ack) else not isinstance(frame, Goodbye | Hello)
