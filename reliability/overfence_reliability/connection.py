"""A connection that outlives its paths: numbers, acknowledgements, streams and timers behind one face. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
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
    DATA_OVERHEAD_BYTES,
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
    Lane,
    Now,
    Ping,
    decode,
)
from .liveness import Beat, Liveness
from .pacing import Bucket
from .packer import Packer
from .path import Path
from .receiver import Arrivals, Arrived
from .sender import Fact, Sender, Sent
from .streams import Fragment, Message, Mode, Outgoing, Priority, Schedule

# Streams either side keeps of the other at a time: an endless number would be endless memory.
STREAMS_LIMIT = 64
# Packets that brought nothing: no data, no news of ours. A noisy path repeats some; past this rate it is a flood.
USELESS_PER_S = 2000.0
USELESS_BURST = 8000.0
# Probes in a row without an acknowledgement, from a peer that is heard all the same: some 18 s at the longest.
DEAF_PROBES = 20
# At-most-once messages that wait for the next packet; the oldest are dropped, as their promise allows.
NOW_LIMIT = 64

_NOBODY = bytes(CONNECTION_ID_BYTES)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What one side grants the other, and keeps for itself; sizes in bytes.

    `window_bytes`, `window_all_bytes`: what a stream, and all together, may bring beyond what was released.
    `message_limit_bytes`: the longest message, either way. `buffer_bytes`: what `send` takes before it raises
    `BufferFull`. `manual_release`: credit grows only by `Connection.release`, not by draining `events`.
    """

    window_bytes: int = 256 * 1024
    window_all_bytes: int = 1024 * 1024
    message_limit_bytes: int = 65_536
    buffer_bytes: int = 1024 * 1024
    streams: int = STREAMS_LIMIT
    manual_release: bool = False


class Connection:
    """Delivers what `send` takes, as its mode promises, over one path after another, to one peer process.

    Bytes go in by `receive`, out by `poll`; time only by ``now`` (monotonic seconds). The caller asks `next_timer`
    when to poll again, and `events` for what happened, after each call. What the peer sends never raises here: it
    closes the connection, and a `Closed` event says why.
    """

    def __init__(self, connection_id: bytes, config: Config | None = None) -> None:
        """``connection_id``: 8 random bytes, new for each process and peer. Raises `ReliabilityError` for others."""
        if len(connection_id) != CONNECTION_ID_BYTES or connection_id == _NOBODY:
            raise ReliabilityError("a connection id has 8 bytes, not all zero")
        self._config = config or Config()
        if self._config.message_limit_bytes > self._config.window_bytes:
            raise ReliabilityError("a message that is longer than the window could never arrive")
        self._me = connection_id
        self._peer: bytes | None = None
        self._path: Path | None = None
        self._opened = False
        self._closed: Closed | None = None
        self._goodbye: Goodbye | None = None
        self._events: deque[Event] = deque()
        self._schedule = Schedule()
        self._senders = {lane: Sender(lane) for lane in Lane}
        self._pending: dict[Fact, None] = {}
        self._finishing: set[int] = set()
        self._now: deque[Now] = deque(maxlen=NOW_LIMIT)
        self._asks = False
        self._paced_at: float | None = None
        self._buffered_bytes = 0
        self._was_full = False
        self._useless = Bucket(burst_bytes=USELESS_BURST)
        self._forget_peer()

    # ── what the application does ─────────────────────────────────────────────────────────────────

    def open(self, priority: Priority = Priority.CHAT, *, weight: int = 1) -> int:
        """A new stream to send on; its number. Raises `TooManyStreams`, `ConnectionClosed`."""
        self._check_open()
        if len(self._schedule.streams) >= STREAMS_LIMIT:
            raise TooManyStreams(f"{STREAMS_LIMIT} streams are open")
        return self._schedule.open(priority, weight).number

    def send(self, stream: int, body: bytes, mode: Mode = Mode.EXACTLY_ONCE) -> int | None:
        """Take a message for ``stream``; its number there, None for one at most once.

        Raises `BufferFull`, `MessageTooLong`, `NoSuchStream`, `ConnectionClosed`; then nothing was taken.
        """
        self._check_open()
        outgoing = self._schedule.streams.get(stream)
        if outgoing is None or stream in self._finishing:
            raise NoSuchStream(f"stream {stream}")
        limit = FRAGMENT_BYTES if mode is Mode.AT_MOST_ONCE else self._config.message_limit_bytes
        if len(body) > limit:
            raise MessageTooLong(len(body), limit)
        if mode is Mode.AT_MOST_ONCE:
            self._now.append(Now(stream, body))
            return None
        if self._buffered_bytes and self._buffered_bytes + len(body) > self._config.buffer_bytes:
            self._was_full = True
            raise BufferFull(f"{self._buffered_bytes} bytes wait for their acknowledgement")
        self._buffered_bytes += len(body)
        return outgoing.say(body, ordered=mode is Mode.EXACTLY_ONCE).number

    def finish(self, stream: int) -> None:
        """Say nothing more on it; the peer is told once everything before has arrived. Raises `NoSuchStream`."""
        self._check_open()
        if stream not in self._schedule.streams or stream in self._finishing:
            raise NoSuchStream(f"stream {stream}")
        self._finishing.add(stream)
        self._pending[Fact("finish", stream)] = None

    def release(self, stream: int, size_bytes: int) -> None:
        """The application is done with so many bytes of what it received (`Config.manual_release`)."""
        incoming = self._arrivals.streams.get(stream)
        if incoming is not None and incoming.release(size_bytes):
            self._pending[Fact("credit", stream)] = None
        if self._arrivals.release(size_bytes):
            self._pending[Fact("credit", None)] = None

    def close(self) -> None:
        """Say goodbye at the next poll, and nothing after it."""
        self._end(Closed(by_peer=False, violation=None), Goodbye(0, ""))

    @property
    def unconfirmed_bytes(self) -> int:
        """What `send` took and the peer has not acknowledged."""
        return self._buffered_bytes

    @property
    def round_trip_s(self) -> float | None:
        """The smoothed round-trip time of the present path; None before it was measured."""
        return self._path.trip.smoothed_s if self._path else None

    @property
    def loss(self) -> float:
        """The share of packets the present path loses, 0 to 1."""
        return self._path.loss.share if self._path else 0.0

    def events(self) -> Iterator[Event]:
        """What happened since the last call, first to last."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Received) and not self._config.manual_release:
                self.release(event.stream, len(event.body))
            yield event

    # ── paths ─────────────────────────────────────────────────────────────────────────────────────

    def path_opened(self, *, now: float) -> None:
        """There is a path to the peer, in place of any before; what was on its way there is lost."""
        self.path_closed()
        if self._closed is None:
            self._path = Path(now=now)
            self._asks = True

    def path_closed(self) -> None:
        """The path is gone. Everything waits for the next."""
        if self._path is None:
            return
        self._path, self._opened = None, False
        self._now.clear()
        for sender in self._senders.values():
            self._put_back(sender.lose_all())

    # ── bytes in ──────────────────────────────────────────────────────────────────────────────────

    def receive(self, packet: bytes, *, lane: Lane, now: float) -> None:
        """A packet came by ``lane`` of the present path."""
        path = self._path
        if path is None or self._closed is not None:
            return
        try:
            number, frames = decode(packet)
            path.liveness.heard(now=now)
            path.heard_while_probing = True
            if not self._take(path, lane, number, frames, now=now):
                self._useless.refill(USELESS_PER_S, now=now)
                if not self._useless.has(1):
                    raise Violation(Rule.FLOOD, "packets without end that bring nothing")
                self._useless.take(1)
        except Violation as violation:
            self._end(
                Closed(by_peer=False, violation=violation), Goodbye(violation.rule.value, violation.rule.name.lower())
            )

    def _take(self, path: Path, lane: Lane, number: int, frames: list[Frame], *, now: float) -> bool:
        """True if the packet brought anything."""
        for frame in frames:
            if isinstance(frame, Hello):
                self._meet(path, frame)
        if not path.is_heard:
            # It is meant for who we were, or overtook the hello; what matters in it comes again.
            return False
        asks = any(not isinstance(frame, Ack | Goodbye) for frame in frames)
        if not self._arrived[lane].take(number, asks=asks, now=now):
            return False
        useful = False
        for frame in frames:
            useful |= self._obey(path, frame, now=now)
        return useful

    def _obey(self, path: Path, frame: Frame, *, now: float) -> bool:
        match frame:
            case Data():
                useful, messages = self._arrivals.take(frame)
                self._events.extend(Received(frame.stream, body) for body in messages)
                self._note_finished()
                return useful
            case Ack():
                return self._acknowledged(path, frame, now=now)
            case Now():
                self._events.append(Received(frame.stream, frame.body))
                return True
            case Credit():
                return self._credited(frame)
            case Finish():
                self._arrivals.finish(frame.stream, frame.messages)
                self._note_finished()
                return True
            case Goodbye():
                rule = next((rule for rule in Rule if rule.value == frame.code), None)
                violation = Violation(rule, f"says the peer: {frame.reason!r}") if rule else None
                self._end(Closed(by_peer=True, violation=violation), None)
                return True
            case Ping() | Hello():
                return False
            case _:
                assert_never(frame)

    def _meet(self, path: Path, hello: Hello) -> None:
        if hello.version != VERSION:
            raise Violation(Rule.VERSION, f"version {hello.version}")
        if hello.me in (_NOBODY, self._me):
            raise Violation(Rule.MALFORMED, "a hello without a sender, or our own")
        if hello.you not in (_NOBODY, self._me):
            # They take us for the process we were before; our own hello puts that right.
            return
        resumed = hello.me == self._peer
        if self._peer is not None and not resumed:
            self._begin_anew()
        self._peer = hello.me
        if not path.is_heard:
            path.is_heard = True
            path.names_peer_from = self._senders[Lane.FAST].next_number
        if not self._opened:
            self._opened = True
            self._events.append(Opened(resumed))

    def _acknowledged(self, path: Path, ack: Ack, *, now: float) -> bool:
        sender = self._senders[ack.lane]
        window_was_full = sender.in_flight_bytes * 2 > path.window.size
        arrived, late = sender.acknowledge(ack)
        for sent in arrived:
            self._confirm(sent)
            if ack.lane is Lane.FAST:
                if sent.asks:
                    path.loss.arrived()
                    path.window.acknowledged(sent.size, was_full=window_was_full)
                if sent.number >= path.names_peer_from and path.is_heard:
                    path.is_known = True
        for sent in late:
            self._confirm(sent)
            path.loss.mistaken()
        if ack.lane is Lane.FAST and arrived:
            newest = max(arrived, key=_number)
            if newest.number == ack.ranges[0][1] and newest.asks:
                path.trip.sample(now - newest.at, ack.delay_s)
            path.probes, path.heard_while_probing = 0, False
        if ack.lane is Lane.FAST:
            self._detect_loss(path, now=now)
        return bool(arrived or late)

    def _confirm(self, sent: Sent) -> None:
        for fragment in sent.fragments:
            fragment.copies -= 1
            if not fragment.acked:
                fragment.acked = True
                self._buffered_bytes -= fragment.stream.confirm(fragment)
                self._tidy(fragment.stream)
        for fact in sent.facts:
            stream = self._schedule.streams.get(fact.stream) if fact.stream is not None else None
            if fact.says == "finish" and stream is not None:
                stream.is_finished = True
                self._tidy(stream)
        for lane, largest in sent.told:
            self._arrived[lane].forget_through(largest)
        if self._was_full and self._buffered_bytes * 2 <= self._config.buffer_bytes:
            self._was_full = False
            self._events.append(Writable())

    def _tidy(self, stream: Outgoing) -> None:
        if stream.is_finished and not stream.unconfirmed:
            self._schedule.streams.pop(stream.number, None)
            self._finishing.discard(stream.number)

    def _credited(self, credit: Credit) -> bool:
        if credit.stream is None:
            more = credit.limit > self._schedule.credit
            self._schedule.credit = max(self._schedule.credit, credit.limit)
            return more
        outgoing = self._schedule.streams.get(credit.stream)
        if outgoing is None or credit.limit <= outgoing.credit:
            return False
        outgoing.credit = credit.limit
        return True

    def _note_finished(self) -> None:
        self._events.extend(map(Finished, self._arrivals.finished))
        self._arrivals.finished.clear()

    # ── what is lost ──────────────────────────────────────────────────────────────────────────────

    def _detect_loss(self, path: Path, *, now: float) -> None:
        sender = self._senders[Lane.FAST]
        lost, path.lost_at = sender.lose(path.trip, now=now)
        for sent in lost:
            path.loss.lost()
            path.window.lost(sent.number, sender.next_number)
        self._put_back(lost)

    def _put_back(self, lost: list[Sent]) -> None:
        for sent in lost:
            for fact in sent.facts:
                self._pending[fact] = None
            for fragment in sent.fragments:
                fragment.copies -= 1
                if not fragment.acked and not fragment.copies:
                    fragment.stream.again((fragment,))

    def _begin_anew(self) -> None:
        """The peer is another process: nothing of what the last one knew counts."""
        again: list[tuple[Outgoing, Message]] = []
        unconfirmed: list[tuple[int, int]] = []
        for stream in self._schedule.streams.values():
            for message in stream.unconfirmed.values():
                if message.ordered:
                    unconfirmed.append((stream.number, message.number))
                    self._buffered_bytes -= len(message.body)
                else:
                    again.append((stream, message))
        self._schedule.begin_anew()
        for stream, message in again:
            stream.say(message.body, ordered=False)
        self._senders = {lane: Sender(lane, sender.next_number) for lane, sender in self._senders.items()}
        self._pending = {Fact("finish", stream): None for stream in self._finishing}
        self._forget_peer()
        self._events.append(Discontinuity(tuple(unconfirmed)))

    def _forget_peer(self) -> None:
        config = self._config
        self._arrived = {lane: Arrived(lane) for lane in Lane}
        self._arrivals = Arrivals(
            streams=config.streams,
            window_bytes=config.window_bytes,
            window_all_bytes=config.window_all_bytes,
            message_limit_bytes=config.message_limit_bytes,
        )

    # ── bytes out ─────────────────────────────────────────────────────────────────────────────────

    def next_timer(self) -> float | None:
        """When to `poll` even if nothing happens before; None for never."""
        path = self._path
        if path is None or self._closed is not None:
            return None
        due = [path.liveness.next_timer(), path.lost_at, path.copy_at(), self._probe_at(path), self._paced_at]
        due += [arrived.due_at for arrived in self._arrived.values()]
        return min(at for at in due if at is not None)

    def poll(self, *, now: float, room: int | None = None) -> list[tuple[Lane, bytes]]:
        """Packets to send now, in order. ``room``: bytes the bulk lane takes without queueing them; None for any."""
        path = self._path
        if path is None:
            return []
        out: list[tuple[Lane, bytes]] = []
        if self._closed is None:
            self._run_timers(path, out, now=now)
        if self._closed is not None:
            self._say_goodbye(path, out, now=now)
            return out
        ready = path.is_heard or self._peer is None
        self._paced_at = None
        while self._fill_fast(path, out, ready=ready, now=now):
            pass
        while ready and (room is None or room >= PACKET_LIMIT_BYTES):
            size_bytes = self._fill_bulk(path, out, now=now)
            if not size_bytes:
                break
            room = None if room is None else room - size_bytes
        return out

    def _run_timers(self, path: Path, out: list[tuple[Lane, bytes]], *, now: float) -> None:
        match path.liveness.poll(now=now):
            case Beat.PING:
                self._asks = True
            case Beat.DEAD:
                path.liveness = Liveness(now=now)
                self._events.append(Silent())
            case None:
                pass
        if path.lost_at is not None and path.lost_at <= now:
            self._detect_loss(path, now=now)
        while (fragments := path.copy_now(now=now)) is not None:
            sender = self._senders[Lane.FAST]
            if fragments and path.may_leave(PACKET_LIMIT_BYTES, sender.in_flight_bytes, now=now):
                self._send_again(path, fragments, out, now=now)
        probe_at = self._probe_at(path)
        if probe_at is not None and probe_at <= now:
            self._probe(path, out, now=now)

    def _probe_at(self, path: Path) -> float | None:
        sender = self._senders[Lane.FAST]
        if not sender.is_waiting or sender.last_asked_at is None:
            return None
        return sender.last_asked_at + path.trip.probe_after_s(path.probes)

    def _probe(self, path: Path, out: list[tuple[Lane, bytes]], *, now: float) -> None:
        if path.probes >= DEAF_PROBES and path.heard_while_probing:
            violation = Violation(Rule.DEAF, f"heard, but {path.probes} probes without an acknowledgement")
            self._end(Closed(by_peer=False, violation=violation), Goodbye(Rule.DEAF.value, "deaf"))
            return
        path.probes += 1
        path.window.probed(path.probes)
        fragments: dict[Fragment, None] = {}
        size_bytes = 0
        for sent in self._senders[Lane.FAST].oldest():
            for fragment in sent.fragments:
                size_bytes += 0 if fragment.acked or fragment in fragments else fragment.size + DATA_OVERHEAD_BYTES
                if size_bytes > FRAGMENT_BYTES + DATA_OVERHEAD_BYTES:
                    break
                if not fragment.acked:
                    fragments[fragment] = None
        self._send_again(path, list(fragments), out, now=now)

    def _send_again(self, path: Path, fragments: list[Fragment], out: list[tuple[Lane, bytes]], *, now: float) -> None:
        packet = self._begin(path, Lane.FAST, fragments[0] if fragments else None, now=now)
        for fragment in fragments:
            if packet.carry(fragment):
                fragment.copies += 1
        if not packet.sent.fragments:
            packet.say(Ping())
        self._depart(path, Lane.FAST, packet, out)

    def _fill_fast(self, path: Path, out: list[tuple[Lane, bytes]], *, ready: bool, now: float) -> bool:
        sender = self._senders[Lane.FAST]
        fragment = self._schedule.next(Lane.FAST, now=now) if ready else None
        talks = fragment is not None or bool(self._now and ready)
        if talks and not path.may_leave(PACKET_LIMIT_BYTES, sender.in_flight_bytes, now=now):
            talks, fragment = False, None
            if sender.in_flight_bytes + PACKET_LIMIT_BYTES <= path.window.size:
                self._paced_at = path.pace_at(PACKET_LIMIT_BYTES, now=now)
        due = any(arrived.due_at is not None and arrived.due_at <= now for arrived in self._arrived.values())
        if not (talks or due or self._asks or (self._pending and path.is_heard)):
            return False
        packet = self._begin(path, Lane.FAST, fragment, now=now)
        if self._asks:
            self._asks = not packet.say(Ping())
        if path.is_heard:
            self._say_facts(packet)
        while talks and self._now and packet.say(self._now[0]):
            self._now.popleft()
        fresh: list[Fragment] = []
        while fragment is not None and packet.carry(fragment):
            if self._schedule.take(fragment):
                fresh.append(fragment)
            fragment = self._schedule.next(Lane.FAST, now=now)
        if fresh:
            path.copy_later(fresh, now=now)
        self._depart(path, Lane.FAST, packet, out)
        return True

    def _fill_bulk(self, path: Path, out: list[tuple[Lane, bytes]], *, now: float) -> int:
        fragment = self._schedule.next(Lane.BULK, now=now)
        if fragment is None:
            return 0
        packet = self._begin(path, Lane.BULK, fragment, now=now)
        while fragment is not None and packet.carry(fragment):
            self._schedule.take(fragment)
            fragment = self._schedule.next(Lane.BULK, now=now)
        return self._depart(path, Lane.BULK, packet, out)

    def _begin(self, path: Path, lane: Lane, fragment: Fragment | None, *, now: float) -> Packer:
        """A packet with what every packet tells, and room for that fragment."""
        packet = Packer(self._senders[lane].next_number, now=now)
        reserve_bytes = fragment.size + DATA_OVERHEAD_BYTES if fragment is not None else 0
        if not path.is_known:
            packet.say(Hello(VERSION, self._me, self._peer or _NOBODY))
        for arrived in self._arrived.values():
            if arrived.due_at is not None or not path.is_known:
                ack = arrived.tell(now=now)
                if ack is not None:
                    packet.ack(ack, reserve_bytes=reserve_bytes)
        return packet

    def _say_facts(self, packet: Packer) -> None:
        for fact in list(self._pending):
            frame = self._fact_now(fact)
            if frame is not None and not packet.say(frame, fact):
                return
            del self._pending[fact]

    def _fact_now(self, fact: Fact) -> Credit | Finish | None:
        if fact.says == "finish" and fact.stream is not None:
            outgoing = self._schedule.streams.get(fact.stream)
            return Finish(fact.stream, outgoing.count) if outgoing is not None else None
        if fact.stream is None:
            return Credit(None, self._arrivals.grant())
        incoming = self._arrivals.streams.get(fact.stream)
        return Credit(fact.stream, incoming.grant()) if incoming is not None else None

    def _depart(self, path: Path, lane: Lane, packet: Packer, out: list[tuple[Lane, bytes]]) -> int:
        if packet.is_empty:
            return 0
        data = packet.seal()
        self._senders[lane].depart(packet.sent)
        if lane is Lane.FAST:
            path.left(len(data))
        out.append((lane, data))
        return len(data)

    def _say_goodbye(self, path: Path, out: list[tuple[Lane, bytes]], *, now: float) -> None:
        if self._goodbye is not None:
            packet = self._begin(path, Lane.BULK, None, now=now)
            packet.say(self._goodbye)
            self._goodbye = None
            self._depart(path, Lane.BULK, packet, out)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def _end(self, closed: Closed, goodbye: Goodbye | None) -> None:
        if self._closed is None:
            self._closed, self._goodbye = closed, goodbye
            self._events.append(closed)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise ConnectionClosed(str(self._closed.violation or "closed"))


def _number(sent: Sent) -> int:
    return sent.number
