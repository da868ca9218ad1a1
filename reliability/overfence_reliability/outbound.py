"""Everything on its way to the peer: what waits, what left, what must be said again, and the packets that carry it."""

from __future__ import annotations

from collections import deque

from .errors import Rule, Violation
from .frame import (
    DATA_OVERHEAD_BYTES,
    FRAGMENT_BYTES,
    PACKET_LIMIT_BYTES,
    VERSION,
    Ack,
    Credit,
    Finish,
    Goodbye,
    Hello,
    Lane,
    Now,
    Ping,
)
from .inbound import Inbound
from .packer import Packer
from .path import Path
from .sender import Fact, Sender, Sent
from .streams import Fragment, Message, Outgoing, Schedule

# Probes in a row without an acknowledgement, from a peer that is heard all the same: some 18 s at the longest.
DEAF_PROBES = 20
# At-most-once messages that wait for the next packet; the oldest are dropped, as their promise allows.
NOW_LIMIT = 64

NOBODY = bytes(8)

Packets = list[tuple[Lane, bytes]]


class Outbound:
    """Says everything that was given to it until the peer has confirmed it, over whatever path there is."""

    def __init__(self, me: bytes, inbound: Inbound, *, fast_only: bool = False) -> None:
        self.me = me
        self.peer: bytes | None = None
        self._inbound = inbound  # what every packet acknowledges
        self._fast_only = fast_only
        self.schedule = Schedule(fast_only=fast_only)
        self.buffered_bytes = 0
        self.asks = False
        self.finishing: set[int] = set()
        self.now: deque[Now] = deque(maxlen=NOW_LIMIT)
        self.pending: dict[Fact, None] = {}
        self._senders = {lane: Sender(lane) for lane in Lane}
        self._paced_at: float | None = None

    # ── what the peer tells ───────────────────────────────────────────────────────────────────────

    def met(self, path: Path) -> None:
        """The peer is heard on this path: from here on our hellos name it."""
        path.is_heard = self.asks = True
        path.names_peer_from = self._senders[Lane.FAST].next_number

    def acknowledged(self, path: Path, ack: Ack, *, now: float) -> bool:
        """Packets arrived there; True if that is news. Raises `Violation`."""
        sender = self._senders[ack.lane]
        was_full = sender.in_flight_bytes * 2 > path.window.size
        arrived, late = sender.acknowledge(ack)
        for sent in (*arrived, *late):
            self._confirm(sent)
        if ack.lane is Lane.FAST:
            self._learn(path, ack, arrived, late, was_full=was_full, now=now)
            self.detect_loss(path, now=now)
        return bool(arrived or late)

    def _learn(
        self, path: Path, ack: Ack, arrived: list[Sent], late: list[Sent], *, was_full: bool, now: float
    ) -> None:
        for _ in late:
            path.loss.mistaken()
        if not arrived:
            return
        for sent in arrived:
            if sent.asks:
                path.loss.arrived()
                path.window.acknowledged(sent.size, was_full=was_full)
            path.is_known = path.is_known or sent.number >= path.names_peer_from
        newest = max(arrived, key=_number)
        if newest.number == ack.ranges[0][1] and newest.asks:
            path.trip.sample(now - newest.at, ack.delay_s)
        path.probes = path.unheeded = 0

    def credited(self, credit: Credit) -> bool:
        """The peer takes more; True if that is news."""
        holder = self.schedule if credit.stream is None else self.schedule.streams.get(credit.stream)
        if holder is None or credit.limit <= holder.credit:
            return False
        holder.credit = credit.limit
        return True

    def _confirm(self, sent: Sent) -> None:
        for fragment in sent.fragments:
            fragment.copies -= 1
            if not fragment.acked:
                fragment.acked = True
                self.buffered_bytes -= fragment.stream.confirm(fragment)
                self._tidy(fragment.stream)
        for fact in sent.facts:
            stream = self.schedule.streams.get(fact.stream) if fact.stream is not None else None
            if fact.says == "finish" and stream is not None:
                stream.is_finished = True
                self._tidy(stream)
        for lane, ranges in sent.told:
            self._inbound.arrived[lane].forget(ranges)

    def _tidy(self, stream: Outgoing) -> None:
        if stream.is_finished and not stream.unconfirmed:
            self.schedule.streams.pop(stream.number, None)
            self.finishing.discard(stream.number)

    # ── what is lost ──────────────────────────────────────────────────────────────────────────────

    def detect_loss(self, path: Path, *, now: float) -> None:
        """Say again what counts as lost by now."""
        sender = self._senders[Lane.FAST]
        lost, path.lost_at = sender.lose(path.trip, now=now)
        for sent in lost:
            path.loss.lost()
            path.window.lost(sent.number, sender.next_number)
        self._put_back(lost)
        if any(lane is Lane.BULK for sent in lost for lane, _ in sent.told):
            self._inbound.arrived[Lane.BULK].tell_again(now=now)

    def path_lost(self) -> None:
        """All that was on its way is lost."""
        self.now.clear()
        for sender in self._senders.values():
            self._put_back(sender.lose_all())

    def unconfirmed(self) -> tuple[tuple[int, int], ...]:
        """The messages of which nobody knows whether they arrived, as (stream, number)."""
        streams = self.schedule.streams.values()
        return tuple((each.number, number) for each in streams for number, one in each.unconfirmed.items() if one.left)

    def begin_anew(self) -> tuple[tuple[int, int], ...]:
        """The peer is another process: nothing of what the last one knew counts. The messages that are open, as
        (stream, number); those promised at least once are said again."""
        again: list[tuple[Outgoing, Message]] = []
        unconfirmed: list[tuple[int, int]] = []
        for stream in self.schedule.streams.values():
            for message in stream.unconfirmed.values():
                if message.ordered:
                    unconfirmed.append((stream.number, message.number))
                    self.buffered_bytes -= len(message.body)
                elif message.left:
                    again.append((stream, message))
        self.schedule.begin_anew()
        for stream, message in again:
            stream.say(message.body, ordered=False)
        self._senders = {lane: Sender(lane, sender.next_number) for lane, sender in self._senders.items()}
        self.pending = {Fact("finish", stream): None for stream in self.finishing}
        return tuple(unconfirmed)

    def _put_back(self, lost: list[Sent]) -> None:
        for sent in lost:
            for fact in sent.facts:
                self.pending[fact] = None
            for fragment in sent.fragments:
                fragment.copies -= 1
                if not fragment.acked and not fragment.copies:
                    fragment.stream.again((fragment,))

    # ── when ──────────────────────────────────────────────────────────────────────────────────────

    def next_timer(self, path: Path) -> float:
        """When something is due even if nothing happens before."""
        due = (path.lost_at, path.copy_at(), self._probe_at(path), self._paced_at)
        return min((at for at in due if at is not None), default=float("inf"))

    def run_timers(self, path: Path, *, now: float) -> Packets:
        """Packets that time alone asks for: copies and probes. Raises `Violation` where the peer is deaf."""
        out: Packets = []
        if path.lost_at is not None and path.lost_at <= now:
            self.detect_loss(path, now=now)
        while (fragments := path.copy_now(now=now)) is not None:
            in_flight_bytes = self._senders[Lane.FAST].in_flight_bytes
            if fragments and path.may_leave(PACKET_LIMIT_BYTES, in_flight_bytes, now=now):
                self._send_again(path, fragments, out, now=now)
        probe_at = self._probe_at(path)
        if probe_at is not None and probe_at <= now:
            self._probe(path, out, now=now)
        return out

    def _probe_at(self, path: Path) -> float | None:
        sender = self._senders[Lane.FAST]
        if not sender.is_waiting or sender.last_asked_at is None:
            return None
        return sender.last_asked_at + path.trip.probe_after_s(path.probes)

    def _probe(self, path: Path, out: Packets, *, now: float) -> None:
        # A dead path is nobody's fault; one on which we are only talked at is.
        path.unheeded = path.unheeded + 1 if path.is_heard_since_probe else 0
        path.is_heard_since_probe = False
        if path.unheeded >= DEAF_PROBES:
            raise Violation(Rule.DEAF, f"heard, but {path.unheeded} probes without an acknowledgement")
        path.probes += 1
        path.window.probed(path.probes)
        fragments: dict[Fragment, None] = {}
        size_bytes = 0
        for sent in self._senders[Lane.FAST].oldest():
            for fragment in sent.fragments:
                if fragment.acked or fragment in fragments:
                    continue
                size_bytes += fragment.size + DATA_OVERHEAD_BYTES
                if size_bytes <= FRAGMENT_BYTES + DATA_OVERHEAD_BYTES:
                    fragments[fragment] = None
            if size_bytes > FRAGMENT_BYTES:
                break
        self._send_again(path, list(fragments), out, now=now)

    def _send_again(self, path: Path, fragments: list[Fragment], out: Packets, *, now: float) -> None:
        packet = self._begin(path, Lane.FAST, fragments[0] if fragments else None, now=now)
        for fragment in fragments:
            if packet.carry(fragment):
                fragment.copies += 1
        if not packet.sent.fragments:
            packet.say(Ping())
        self._depart(path, Lane.FAST, packet, out)

    # ── packets ───────────────────────────────────────────────────────────────────────────────────

    def fill(self, path: Path, *, room: int | None, now: float) -> Packets:
        """Packets for what waits, as far as window, pace and ``room`` on the bulk lane allow."""
        out: Packets = []
        # Who hasn't heard the peer doesn't know which of its processes takes this, and could not tell if another did.
        ready = path.is_heard
        self._paced_at = None
        while self._fill_fast(path, out, ready=ready, now=now):
            pass
        while ready and (room is None or room >= PACKET_LIMIT_BYTES):
            size_bytes = self._fill_bulk(path, out, now=now)
            if not size_bytes:
                break
            room = None if room is None else room - size_bytes
        return out

    def goodbye(self, path: Path, goodbye: Goodbye, *, now: float) -> Packets:
        """The last packet."""
        out: Packets = []
        lane = Lane.FAST if self._fast_only else Lane.BULK
        packet = self._begin(path, lane, None, now=now)
        packet.say(goodbye)
        self._depart(path, lane, packet, out)
        return out

    def _fill_fast(self, path: Path, out: Packets, *, ready: bool, now: float) -> bool:
        in_flight_bytes = self._senders[Lane.FAST].in_flight_bytes
        fragment = self.schedule.next(Lane.FAST, now=now) if ready else None
        talks = fragment is not None or bool(self.now and ready)
        if talks and not path.may_leave(PACKET_LIMIT_BYTES, in_flight_bytes, now=now):
            talks, fragment = False, None
            if in_flight_bytes + PACKET_LIMIT_BYTES <= path.window.size:
                self._paced_at = path.pace_at(PACKET_LIMIT_BYTES, now=now)
        says = self.asks or (self.pending and path.is_heard)
        if not (talks or says or self._inbound.is_due(now=now)):
            return False
        now_bytes = len(self.now[0].body) + DATA_OVERHEAD_BYTES if talks and self.now else 0
        packet = self._begin(path, Lane.FAST, fragment, reserve_bytes=now_bytes, now=now)
        if self.asks:
            self.asks = not packet.say(Ping())
        if path.is_heard:
            self._say_facts(packet)
        while talks and self.now and packet.say(self.now[0]):
            self.now.popleft()
        fresh: list[Fragment] = []
        while fragment is not None and packet.carry(fragment):
            if self.schedule.take(fragment):
                fresh.append(fragment)
            fragment = self.schedule.next(Lane.FAST, now=now)
        if fresh:
            path.copy_later(fresh, now=now)
        self._depart(path, Lane.FAST, packet, out)
        return True

    def _fill_bulk(self, path: Path, out: Packets, *, now: float) -> int:
        fragment = self.schedule.next(Lane.BULK, now=now)
        if fragment is None:
            return 0
        packet = self._begin(path, Lane.BULK, fragment, now=now)
        while fragment is not None and packet.carry(fragment):
            self.schedule.take(fragment)
            fragment = self.schedule.next(Lane.BULK, now=now)
        return self._depart(path, Lane.BULK, packet, out)

    def _begin(
        self, path: Path, lane: Lane, fragment: Fragment | None, *, reserve_bytes: int = 0, now: float
    ) -> Packer:
        """A packet with what every packet tells, and room for that fragment."""
        packet = Packer(self._senders[lane].next_number, now=now)
        if fragment is not None:
            reserve_bytes = max(reserve_bytes, fragment.size + DATA_OVERHEAD_BYTES)
        if not path.is_known:
            packet.greet(Hello(VERSION, self.me, self.peer or NOBODY))
        for arrived in self._inbound.arrived.values():
            if arrived.due_at is not None or not path.is_known:
                packet.ack(arrived, reserve_bytes=reserve_bytes, now=now)
        return packet

    def _say_facts(self, packet: Packer) -> None:
        for fact in list(self.pending):
            frame = self._fact_now(fact)
            if frame is not None and not packet.say(frame, fact):
                return
            del self.pending[fact]

    def _fact_now(self, fact: Fact) -> Credit | Finish | None:
        if fact.says == "finish" and fact.stream is not None:
            outgoing = self.schedule.streams.get(fact.stream)
            return Finish(fact.stream, outgoing.count) if outgoing is not None else None
        if fact.stream is None:
            return Credit(None, self._inbound.arrivals.grant())
        incoming = self._inbound.arrivals.streams.get(fact.stream)
        return Credit(fact.stream, incoming.grant()) if incoming is not None else None

    def _depart(self, path: Path, lane: Lane, packet: Packer, out: Packets) -> int:
        if packet.is_empty:
            return 0
        data = packet.seal()
        self._senders[lane].depart(packet.sent)
        if packet.sent.asks:
            self._inbound.asked()
        if lane is Lane.FAST:
            path.left(len(data))
        out.append((lane, data))
        return len(data)


def _number(sent: Sent) -> int:
    return sent.number
