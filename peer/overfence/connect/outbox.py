"""What was sent and is not acknowledged: the sending half of SCTP for whole packets (RFC 9260, RFC 3758). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from struct import pack

from overfence_reliability import Lane

from .guard import AT_ONCE, BINARY, DATA, DATA_HEADER_BYTES, FORWARD_TSN, WHOLE, Violation
from .sdp import PACKET_LIMIT_BYTES

_TSN_MODULO = 2**32

# Bulk we keep in flight: little enough for the socket buffer of a busy receiver, where more was
# only dropped and sent again, and far below every receiver's window.
FLIGHT_LIMIT_BYTES = 160 * 1024

# Numbers under way, half of what a receiver of ours allows. A peer that acknowledges nothing makes
# us remember no more: fast packets past it are dropped, as any link may, and bulk ones wait.
SENT_LIMIT = 2048

WINDOW_FIRST_BYTES = 4404  # RFC 9260 §7.2.1
_SSTHRESH_MIN_BYTES = 4 * PACKET_LIMIT_BYTES
_BURST_BYTES = 4 * PACKET_LIMIT_BYTES

# A lost last packet is sent again after these. A browser holds an acknowledgement for up to 200 ms
# unless asked not to, as lone bulk packets do. Fast ones do not, they can wait: their timer only
# decides when the other side is told to skip them. Past a second, backing off would only delay
# the return from a blackout: a packet a second burdens nobody.
RTO_FIRST_S = 0.5
RTO_MIN_S = 0.1
RTO_FAST_MIN_S = 0.3
RTO_BACKED_OFF_S = 1.0

# When something sent later has arrived, a packet is lost after three such acknowledgements, or at
# this age or 5/4 of a round trip: before that it may have been overtaken.
_MISSES = 3
REORDER_S = 0.01


@dataclass(slots=True, eq=False)
class _Sent:
    number: int
    is_fast: bool
    chunk: bytes
    size_bytes: int
    sent_at: float
    # Which transmission of this association it was; a later one that arrived is what proves a loss.
    order: int
    is_repeat: bool = False
    is_lost: bool = False
    misses: int = 0


class Outbox:
    """Fast packets leave at once and once, whatever the congestion window says: they are paced above.
    Bulk packets leave as the window lets them, and again until the other side has them.

    Numbers are given on leaving, so the two lanes never stand in each other's way.
    """

    def __init__(self, *, next_tsn: int, window_bytes: int) -> None:
        # Counted on past 2³² here; the wire carries the low 32 bits.
        self._next = next_tsn
        self._acked = next_tsn - 1
        self._order = 0
        self._under_way: dict[int, _Sent] = {}
        self._posted: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost: deque[_Sent] = deque()
        # RFC 3758: the newest number given up on, and the last one the other side was told to skip.
        self._abandoned = self._acked
        self._skipped = self._acked
        self._skipped_at = 0.0
        self._flight_bytes = 0
        self._cwnd_bytes = WINDOW_FIRST_BYTES
        self._ssthresh_bytes = window_bytes
        self._peer_window_bytes = window_bytes
        self._grown_bytes = 0
        # Up to where bulk may be in flight, and the part of it that a pause takes away.
        self._burst_to_bytes = _BURST_BYTES
        self._bulk_left_at = 0.0
        self._limit_bytes = min(WINDOW_FIRST_BYTES, window_bytes)
        # Losses of what was sent before this belong to the congestion already answered.
        self._recovery_order = 0
        self._is_owed_one = False
        self._srtt_s: float | None = None
        self._rttvar_s = 0.0
        self._rto_s = RTO_FIRST_S
        self._expiries = 0
        self._retry_at: float | None = None

    def __len__(self) -> int:
        """Packets under way."""
        return len(self._under_way)

    def room_bytes(self, lane: Lane) -> int:
        """What would leave right now."""
        free_numbers = SENT_LIMIT - (self._next - 1 - self._acked)
        if free_numbers <= 0:
            return 0
        if lane is Lane.FAST:
            return free_numbers * PACKET_LIMIT_BYTES
        free_bytes = self._limit_bytes - self._flight_bytes - self._waiting_bytes
        return free_bytes if free_bytes > 0 else 0

    def post(self, lane: Lane, packet: bytes) -> None:
        """Queue a packet of 1 to 1,160 bytes for the next `poll`."""
        if lane is Lane.FAST:
            self._posted.append(packet)
        else:
            self._waiting.append(packet)
            self._waiting_bytes += len(packet)

    def poll(self, *, now: float) -> list[bytes]:
        """The chunks that leave now, in order."""
        if self._retry_at is not None and now >= self._retry_at:
            self._expire(now)
        chunks: list[bytes] = []
        if self._skip_is_due(now):
            self._skipped, self._skipped_at = self._skip_point(), now
            chunks.append(pack("!BBHL", FORWARD_TSN, 0, 8, self._skipped % _TSN_MODULO))
        while self._posted:
            packet = self._posted.popleft()
            if self._next - 1 - self._acked < SENT_LIMIT:
                chunks.append(self._leave(packet, True, now))
        if self._waiting and not self._flight_bytes and now - self._bulk_left_at > self._rto_s:
            # After a pause the window says nothing about now (RFC 5681 §4.1): begin with a few.
            self._burst_to_bytes = 0
            self._set_limit()
        limit_bytes = self._limit_bytes
        while self._lost and (self._flight_bytes < limit_bytes or self._is_owed_one):
            sent = self._lost.popleft()
            if sent.number in self._under_way and sent.is_lost:
                self._is_owed_one = False
                chunks.append(self._repeat(sent, now))
        while self._waiting and self._flight_bytes < limit_bytes and self._next - 1 - self._acked < SENT_LIMIT:
            packet = self._waiting.popleft()
            self._waiting_bytes -= len(packet)
            chunks.append(self._leave(packet, False, now))
        if chunks:
            self._retry_at = min(self._retry_at or float("inf"), now + self._wait_s())
        return chunks

    def next_timer(self) -> float | None:
        """When `poll` must be called without anything new; None while nothing is under way."""
        return self._retry_at

    def acknowledge(
        self, cumulative_tsn: int, window_bytes: int, gaps: Sequence[tuple[int, int]] = (), *, now: float
    ) -> None:
        """A SACK chunk: all up to `cumulative_tsn` and the runs beyond have arrived. Raises `Violation`."""
        ahead = (cumulative_tsn - self._acked) % _TSN_MODULO
        if ahead >= _TSN_MODULO // 2:
            return  # overtaken by a newer one
        most = self._next - 1 - self._acked
        if ahead > most or (gaps and ahead + gaps[-1][1] > most):
            raise Violation("protocol", "an acknowledgement of what was never sent")
        before_bytes = self._flight_bytes
        self._acked += ahead
        arrived = [self._under_way.pop(number) for number in self._covered(gaps)]
        grown_bytes = 0
        for sent in arrived:
            if not sent.is_fast:
                if not sent.is_lost:
                    self._flight_bytes -= sent.size_bytes
                if sent.order >= self._recovery_order:
                    grown_bytes += sent.size_bytes
        if arrived:
            self._measure(arrived, now)
            self._find_losses(arrived, now)
        self._grow(grown_bytes, before_bytes)
        # The window said is what the other side can take beyond what it still misses.
        self._peer_window_bytes = window_bytes + self._flight_bytes
        self._set_limit()
        if arrived or ahead:
            self._expiries = 0
            is_idle = not self._under_way and self._skip_point() == self._acked
            self._retry_at = None if is_idle else now + self._wait_s()

    def _wait_s(self) -> float:
        has_bulk = self._flight_bytes or self._lost
        wait_s = self._rto_s if has_bulk else max(self._rto_s, RTO_FAST_MIN_S)
        return max(wait_s, min(RTO_BACKED_OFF_S, wait_s * (1 << min(self._expiries, 10))))

    def _set_limit(self) -> None:
        # An empty flight always has room for one packet, or a window said to be 0 would be for ever.
        self._burst_to_bytes = max(self._burst_to_bytes, self._flight_bytes + _BURST_BYTES)
        self._limit_bytes = max(1, min(self._cwnd_bytes, self._burst_to_bytes, self._peer_window_bytes))

    def _leave(self, packet: bytes, is_fast: bool, now: float) -> bytes:
        lane = Lane.FAST if is_fast else Lane.BULK
        length = DATA_HEADER_BYTES + len(packet)
        flags = WHOLE if is_fast or self._flight_bytes else WHOLE | AT_ONCE
        head = pack("!BBHLHHL", DATA, flags, length, self._next % _TSN_MODULO, lane, 0, BINARY)
        chunk = head + packet + bytes(-length % 4)
        self._order += 1
        self._under_way[self._next] = _Sent(self._next, is_fast, chunk, len(packet), now, self._order)
        self._next += 1
        if not is_fast:
            self._flight_bytes += len(packet)
            self._bulk_left_at = now
        return chunk

    def _repeat(self, sent: _Sent, now: float) -> bytes:
        self._order += 1
        sent.order, sent.sent_at, sent.misses, sent.is_repeat = self._order, now, 0, True
        if sent.is_lost:
            sent.is_lost = False
            self._flight_bytes += sent.size_bytes
        return bytes((DATA, WHOLE | AT_ONCE)) + sent.chunk[2:]

    # What arrived.

    def _covered(self, gaps: Sequence[tuple[int, int]]) -> list[int]:
        acked, under_way = self._acked, self._under_way
        covered: list[int] = []
        for number in under_way:
            if number > acked:
                break
            covered.append(number)
        # By the shorter way: a peer may tell wide gaps again and again, or one while thousands are under way.
        if sum(last - first + 1 for first, last in gaps) < len(under_way):
            told = (number for first, last in gaps for number in range(acked + first, acked + last + 1))
            return covered + [number for number in told if number in under_way]
        at = 0
        for number in islice(under_way, len(covered), None):
            while at < len(gaps) and acked + gaps[at][1] < number:
                at += 1
            if at == len(gaps):
                break
            if number >= acked + gaps[at][0]:
                covered.append(number)
        return covered

    def _measure(self, arrived: list[_Sent], now: float) -> None:
        # The oldest, so that the time a receiver waits for a second packet is part of it. What was
        # sent twice says nothing (Karn), and a fast one little: its receiver was not asked to hurry.
        for sent in arrived:
            if not (sent.is_fast or sent.is_repeat):
                rtt_s = now - sent.sent_at
                if self._srtt_s is None:
                    self._srtt_s, self._rttvar_s = rtt_s, rtt_s / 2
                else:
                    self._rttvar_s += (abs(self._srtt_s - rtt_s) - self._rttvar_s) / 4
                    self._srtt_s += (rtt_s - self._srtt_s) / 8
                self._rto_s = max(RTO_MIN_S, self._srtt_s + 4 * self._rttvar_s)
                return

    def _grow(self, grown_bytes: int, before_bytes: int) -> None:
        # Only a window that was in use may grow. Acknowledgements come in bunches, so one that finds
        # the window not quite full again still counts.
        if self._cwnd_bytes < self._ssthresh_bytes:
            if before_bytes * 2 >= self._cwnd_bytes:
                # Two packets for an acknowledgement that may stand for two (RFC 3465).
                self._cwnd_bytes += min(grown_bytes, 2 * PACKET_LIMIT_BYTES)
        elif before_bytes + _BURST_BYTES > self._cwnd_bytes:
            self._grown_bytes += grown_bytes
            if self._grown_bytes >= self._cwnd_bytes:
                self._grown_bytes -= self._cwnd_bytes
                self._cwnd_bytes += PACKET_LIMIT_BYTES
        self._cwnd_bytes = min(self._cwnd_bytes, FLIGHT_LIMIT_BYTES)

    # What did not.

    def _find_losses(self, arrived: list[_Sent], now: float) -> None:
        highest = arrived[-1].number
        newest = max(sent.order for sent in arrived)
        old_at = now - max(REORDER_S, 1.25 * (self._srtt_s or self._rto_s))
        lost: list[_Sent] = []
        for number, sent in self._under_way.items():
            if number > highest:
                break
            if not sent.is_lost and sent.order < newest:
                sent.misses += 1
                if sent.misses >= _MISSES or sent.sent_at < old_at:
                    lost.append(sent)
        if not lost:
            return
        # A fast packet lost beside bulk is as good a sign of congestion as a bulk one. With no bulk
        # in flight it says nothing about the window: it was never sent by its leave.
        is_congestion = self._flight_bytes > 0 and any(sent.order >= self._recovery_order for sent in lost)
        for sent in lost:
            self._give_up(sent)
        if is_congestion:
            self._burst_to_bytes = 0
            self._ssthresh_bytes = self._cwnd_bytes = max(self._cwnd_bytes // 2, _SSTHRESH_MIN_BYTES)
            self._grown_bytes = 0
            self._recovery_order = self._order + 1
            self._is_owed_one = True

    def _give_up(self, sent: _Sent) -> None:
        if sent.is_fast:
            del self._under_way[sent.number]
            self._abandoned = max(self._abandoned, sent.number)
        elif not sent.is_lost:
            sent.is_lost = True
            self._flight_bytes -= sent.size_bytes
            self._lost.append(sent)

    def _expire(self, now: float) -> None:
        """Nothing was heard for a whole timeout (RFC 9260 §6.3.3, T3).

        Fast packets are given up, and the window stays as it is: it did not let them out. For bulk the
        first expiry sends the newest again, to be told what is missing, for the acknowledgement may be
        late rather than lost (RFC 9002 §6.2); only a second in a row is taken for congestion.
        """
        self._expiries += 1
        bulk = [sent for sent in self._under_way.values() if not sent.is_fast]
        for sent in [sent for sent in self._under_way.values() if sent.is_fast]:
            self._give_up(sent)
        if bulk and self._expiries == 1:
            self._give_up(bulk[-1])
            self._lost.remove(bulk[-1])
            self._lost.appendleft(bulk[-1])
            self._is_owed_one = True
        elif bulk:
            if self._expiries == 2:
                self._ssthresh_bytes = max(self._cwnd_bytes // 2, _SSTHRESH_MIN_BYTES)
            self._cwnd_bytes = PACKET_LIMIT_BYTES
            self._grown_bytes = self._burst_to_bytes = 0
            self._recovery_order = self._order + 1
            for sent in bulk:
                self._give_up(sent)
            self._set_limit()
        self._retry_at = now + self._wait_s() if bulk or self._skip_point() > self._acked else None

    # What the other side need not wait for (RFC 3758 §3.5).

    def _skip_point(self) -> int:
        """Up to where everything was given up or has arrived. What was told by a gap counts as arrived:
        a receiver of whole unordered messages hands them up at once, so it cannot take that back."""
        if self._abandoned <= self._acked:
            return self._acked
        first = next(iter(self._under_way), None)
        return self._abandoned if first is None else max(self._acked, min(self._abandoned, first - 1))

    def _skip_is_due(self, now: float) -> bool:
        point = self._skip_point()
        if point <= self._acked:
            return False
        return point > self._skipped or now - self._skipped_at > (self._srtt_s or self._rto_s)
