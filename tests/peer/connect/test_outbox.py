"""What was sent arrives, whatever the wire does to it: on a clock the test moves."""

from __future__ import annotations

import random
from struct import unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.connect.guard import AT_ONCE, DATA, FORWARD_TSN, Inbox, Violation, read_packet
from overfence.connect.outbox import (
    FLIGHT_LIMIT_BYTES,
    RTO_BACKED_OFF_S,
    RTO_FIRST_S,
    RTO_MIN_S,
    SENT_LIMIT,
    WINDOW_FIRST_BYTES,
    Outbox,
)
from overfence_reliability import Lane

MIB = 1024 * 1024


def tsn_of(chunk: bytes) -> int:
    assert chunk[0] == DATA
    return int(unpack_from("!L", chunk, 4)[0])


class Wire:
    """One way from an outbox to an inbox and back, with a delay, losses and a bandwidth."""

    def __init__(self, seed: int = 1, *, start: int = 1000, one_way_s: float = 0.025, loss: float = 0.0) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.outbox = Outbox(next_tsn=start, window_bytes=MIB)
        self.inbox = Inbox(last_tsn=(start - 1) % 2**32)
        self.now = 100.0
        self.one_way_s = one_way_s
        self.loss = loss
        self.jitter_s = 0.0
        self.rate_bytes_s = 0.0
        self.queue_bytes = 64 * 1024
        self.is_cut = False
        self.heard: list[bytes] = []
        self.sent = 0
        self.lost = 0
        self._free_at = 0.0
        self._order = 0
        self._events: list[tuple[float, int, bool, bytes]] = []

    def post(self, lane: Lane, *packets: bytes) -> None:
        for packet in packets:
            self.outbox.post(lane, packet)
        self.flush()

    def flush(self) -> None:
        for chunk in self.outbox.poll(now=self.now):
            self.sent += 1
            self._carry(chunk, forward=True)

    def _carry(self, chunk: bytes, *, forward: bool) -> None:
        if self.is_cut or self.random.random() < self.loss:
            self.lost += 1
            return
        at = self.now
        if forward and self.rate_bytes_s:
            if (self._free_at - at) * self.rate_bytes_s > self.queue_bytes:
                self.lost += 1
                return
            self._free_at = at = max(at, self._free_at) + (len(chunk) + 80) / self.rate_bytes_s
        self._order += 1
        delay_s = self.one_way_s + self.random.random() * self.jitter_s
        self._events.append((at + delay_s, self._order, forward, chunk))

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(1_000_000):
            timers = [each for each in (self.outbox.next_timer(), self.inbox.next_timer()) if each is not None]
            event = min(self._events, default=None)
            at = min([*timers, *([event[0]] if event else [])], default=end)
            if at >= end:
                self.now = end
                return
            self.now = max(self.now, at)
            if event is not None and event[0] <= self.now:
                self._events.remove(event)
                self._arrive(*event[2:])
            due_at = self.inbox.next_timer()
            if due_at is not None and due_at <= self.now:
                self._carry(self.inbox.acknowledgement(), forward=False)
            self.flush()
        raise AssertionError("the wire never fell silent")

    def _arrive(self, forward: bool, chunk: bytes) -> None:
        [(kind, flags, begin, end)] = read_packet(bytes(12) + chunk) or []
        body = chunk[begin - 12 : end - 12]
        if not forward:
            cumulative, window, gap_count, _ = unpack_from("!LLHH", body)
            gaps = [unpack_from("!HH", body, 12 + 4 * each) for each in range(gap_count)]
            self.outbox.acknowledge(cumulative, window, [(first, last) for first, last in gaps], now=self.now)
            return
        if kind == FORWARD_TSN:
            self.inbox.skip(unpack_from("!L", body)[0])
        else:
            tsn, stream, _, protocol = unpack_from("!LHHL", body)
            whole = self.inbox.take(tsn=tsn, stream=stream, protocol=protocol, flags=flags, body=body[12:])
            if whole is not None:
                self.heard.append(whole[1])
        self.inbox.packet_ended(now=self.now)

    def feed(self, total: int, seconds: float) -> float:
        """Keep bulk fed by its room, as the scheduler above does; returns what arrived, in bytes a second."""
        left, begun_at = total, self.now
        while self.now < begun_at + seconds and len(self.heard) < total:
            while left and self.outbox.room_bytes(Lane.BULK) >= 1160:
                self.post(Lane.BULK, bytes(1160))
                left -= 1
            self.run_for(0.001)
        return len(self.heard) * 1160 / (self.now - begun_at)


@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    jitter_s=st.sampled_from([0.0, 0.05]),
    start=st.sampled_from([1000, 2**32 - 5]),
    said=st.lists(st.tuples(st.sampled_from(Lane), st.integers(0, 300)), min_size=1, max_size=60),
)
@settings(max_examples=150)
@pytest.mark.timeout(120)
def test_bulk_arrives_once_and_fast_at_most_once_and_then_there_is_silence(
    seed: int, loss: float, jitter_s: float, start: int, said: list[tuple[Lane, int]]
) -> None:
    wire = Wire(seed, start=start, loss=loss)
    wire.jitter_s = jitter_s
    for number, (lane, wait_ms) in enumerate(said):
        wire.post(lane, b"%d %d" % (lane, number))
        wire.run_for(wait_ms / 1000)
    wire.run_for(60)
    assert len(wire.heard) == len(set(wire.heard))
    bulk = {b"1 %d" % number for number, (lane, _) in enumerate(said) if lane is Lane.BULK}
    assert {each for each in wire.heard if each.startswith(b"1")} == bulk
    wire.loss = 0.0
    wire.run_for(5)
    assert wire.outbox.next_timer() is None
    assert (len(wire.outbox), wire.outbox._flight_bytes, wire.outbox._lost) == (0, 0, type(wire.outbox._lost)())
    assert wire.inbox.gaps() == []
    if not loss and not jitter_s:
        assert len(wire.heard) == len(said)


def test_numbers_are_given_on_leaving_so_fast_overtakes_waiting_bulk() -> None:
    outbox = Outbox(next_tsn=7, window_bytes=MIB)
    for _ in range(10):
        outbox.post(Lane.BULK, bytes(1160))
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.0)] == [7, 8, 9, 10]
    assert outbox.room_bytes(Lane.BULK) == 0
    outbox.post(Lane.FAST, b"now")
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.0)] == [11]
    outbox.acknowledge(8, MIB, [(3, 3)], now=0.05)
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.05)][:2] == [12, 13]


def test_fast_takes_no_room_of_bulk() -> None:
    outbox = Outbox(next_tsn=7, window_bytes=MIB)
    for _ in range(100):
        outbox.post(Lane.FAST, bytes(1160))
    assert len(outbox.poll(now=0.0)) == 100
    assert outbox.room_bytes(Lane.BULK) == WINDOW_FIRST_BYTES


def test_room_counts_what_waits() -> None:
    outbox = Outbox(next_tsn=7, window_bytes=MIB)
    outbox.post(Lane.BULK, bytes(1000))
    assert outbox.room_bytes(Lane.BULK) == WINDOW_FIRST_BYTES - 1000
    outbox.poll(now=0.0)
    assert outbox.room_bytes(Lane.BULK) == WINDOW_FIRST_BYTES - 1000


def test_a_lost_fast_packet_never_leaves_again_and_is_skipped() -> None:
    wire = Wire()
    wire.is_cut = True
    wire.post(Lane.FAST, b"lost")
    wire.is_cut = False
    wire.run_for(3)
    assert (wire.heard, wire.sent) == ([], 2)  # the packet, and one word to skip it
    assert wire.inbox.last_tsn == 1000


def test_losses_of_fast_alone_cost_bulk_nothing() -> None:
    wire = Wire()
    wire.feed(200, 5)
    before = wire.outbox._cwnd_bytes
    assert before > 4 * WINDOW_FIRST_BYTES
    wire.run_for(1)
    for wait_s in [0.0, 0.01, 0.05, 0.6] * 5:  # found missing by what came after, or by the timer
        wire.is_cut = True
        wire.post(Lane.FAST, b"lost")
        wire.is_cut = False
        wire.run_for(wait_s)
        for _ in range(4):
            wire.post(Lane.FAST, b"kept")
        wire.run_for(0.6)
    assert wire.outbox._cwnd_bytes == before
    assert wire.outbox.next_timer() is None


def test_a_fast_packet_lost_beside_bulk_halves_the_window_once() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox._cwnd_bytes = outbox._limit_bytes = 100_000
    for lane in (Lane.FAST, Lane.FAST, *[Lane.BULK] * 8):
        outbox.post(lane, bytes(1160))
    assert len(outbox.poll(now=0.0)) == 10
    for newest in (3, 4, 5, 6):
        outbox.acknowledge(0, MIB, [(3, newest)], now=0.005)
    assert outbox._cwnd_bytes == 50_000
    assert outbox.poll(now=0.005)[0][0] == FORWARD_TSN


def test_the_first_silence_only_asks_and_the_second_is_congestion() -> None:
    wire = Wire()
    wire.feed(100, 5)
    wire.run_for(1)
    before, heard = wire.outbox._cwnd_bytes, len(wire.heard)
    wire.is_cut = True
    wire.post(Lane.BULK, b"a", b"b", b"c")
    wire.is_cut = False
    wire.run_for(1)
    assert sorted(wire.heard[heard:]) == [b"a", b"b", b"c"]
    assert wire.outbox._cwnd_bytes >= before // 2
    wire.is_cut = True
    wire.post(Lane.BULK, b"d")
    wire.run_for(1.0)
    assert wire.outbox._cwnd_bytes == 1160


def test_a_late_acknowledgement_costs_one_copy_and_no_window() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox.post(Lane.BULK, b"x")
    outbox.poll(now=0.0)
    outbox.acknowledge(1, MIB, now=0.05)
    before = outbox._cwnd_bytes
    for tsn in range(2, 5):
        outbox.post(Lane.BULK, b"x")
        outbox.poll(now=float(tsn))
        assert outbox.next_timer() == tsn + outbox._rto_s
        assert len(outbox.poll(now=tsn + outbox._rto_s)) == 1
        outbox.acknowledge(tsn, MIB, now=tsn + 0.2)
    assert outbox._cwnd_bytes >= before
    assert outbox.next_timer() is None


def test_a_lost_copy_is_found_without_waiting_for_a_timer() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox._cwnd_bytes = outbox._limit_bytes = outbox._ssthresh_bytes = 100_000
    for _ in range(6):
        outbox.post(Lane.BULK, bytes(1000))
    outbox.poll(now=0.0)
    for newest in (2, 3, 4):
        outbox.acknowledge(0, MIB, [(2, newest)], now=0.001)
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.001)] == [1]
    for _ in range(4):
        outbox.post(Lane.BULK, bytes(1000))
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.001)] == [7, 8, 9, 10]
    outbox.acknowledge(0, MIB, [(2, 6)], now=0.002)
    assert outbox.poll(now=0.002) == []  # these were sent before the copy and prove nothing
    for newest in (7, 8, 9):
        outbox.acknowledge(0, MIB, [(2, newest)], now=0.003)
    assert [tsn_of(chunk) for chunk in outbox.poll(now=0.003)] == [1]


def test_after_a_blackout_bulk_moves_again_within_the_cap() -> None:
    wire = Wire()
    wire.feed(50, 5)
    wire.run_for(1)
    wire.is_cut = True
    wire.post(Lane.BULK, b"before")
    wire.run_for(20)
    wire.run_for(1800)
    sent = wire.sent
    wire.run_for(10)
    assert 9 <= wire.sent - sent <= 11
    wire.is_cut = False
    wire.run_for(RTO_BACKED_OFF_S + 0.06)
    assert wire.heard[-1] == b"before"


def test_the_timer_follows_the_path_and_never_goes_below_its_floor() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    for tsn in range(1, 40):
        outbox.post(Lane.BULK, b"x")
        outbox.poll(now=float(tsn))
        assert outbox.next_timer() == tsn + (RTO_FIRST_S if tsn == 1 else outbox._rto_s)
        outbox.acknowledge(tsn, MIB, now=tsn + 0.01)
    assert outbox._rto_s == RTO_MIN_S


def test_a_pause_takes_the_burst_away_and_not_the_window() -> None:
    wire = Wire()
    wire.feed(400, 5)
    wire.run_for(3)
    before = wire.outbox._cwnd_bytes
    sent = wire.sent
    wire.post(Lane.BULK, *[bytes(1160)] * 60)
    assert wire.sent - sent == 4
    wire.run_for(0.2)
    assert wire.outbox._cwnd_bytes >= before
    assert wire.sent - sent == 60


def test_acknowledgements_that_come_in_a_bunch_keep_the_line_full() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox._cwnd_bytes = outbox._limit_bytes = outbox._burst_to_bytes = 100_000
    for _ in range(80):
        outbox.post(Lane.BULK, bytes(1000))
    assert len(outbox.poll(now=0.0)) == 80
    for tsn in range(2, 62, 2):
        outbox.acknowledge(tsn, MIB, now=0.05)
    assert outbox.room_bytes(Lane.BULK) >= 60_000


def test_what_was_sent_twice_or_fast_says_nothing_about_the_path() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox.post(Lane.BULK, b"x")
    outbox.poll(now=0.0)
    assert len(outbox.poll(now=RTO_FIRST_S)) == 1
    outbox.acknowledge(1, MIB, now=3.0)
    outbox.post(Lane.FAST, b"x")
    outbox.poll(now=4.0)
    outbox.acknowledge(2, MIB, now=4.2)
    outbox.post(Lane.BULK, b"x")
    outbox.poll(now=5.0)
    assert outbox.next_timer() == 5.0 + RTO_FIRST_S


def test_a_lone_bulk_packet_asks_to_be_acknowledged_at_once_and_so_does_a_copy() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    for _ in range(2):
        outbox.post(Lane.BULK, b"x")
    outbox.post(Lane.FAST, b"x")
    assert [chunk[1] & AT_ONCE for chunk in outbox.poll(now=0.0)] == [0, AT_ONCE, 0]
    _skip, copy = outbox.poll(now=RTO_FIRST_S)
    assert copy[1] & AT_ONCE


def test_a_peer_that_acknowledges_nothing_makes_us_remember_a_bounded_number() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    for _ in range(3 * SENT_LIMIT):
        outbox.post(Lane.FAST, b"x")
        outbox.poll(now=0.0)
    assert len(outbox) == SENT_LIMIT
    assert outbox.room_bytes(Lane.FAST) == outbox.room_bytes(Lane.BULK) == 0
    outbox.post(Lane.BULK, b"later")
    assert outbox.poll(now=0.0) == []
    outbox.acknowledge(SENT_LIMIT, MIB, now=0.1)
    assert len(outbox.poll(now=0.1)) == 1


def test_a_window_of_nothing_lets_one_packet_through_at_a_time() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    for _ in range(4):
        outbox.post(Lane.BULK, bytes(1160))
    assert len(outbox.poll(now=0.0)) == 4
    for _ in range(4):
        outbox.post(Lane.BULK, bytes(1160))
    outbox.acknowledge(4, 0, now=0.1)
    assert len(outbox.poll(now=0.1)) == 1
    assert outbox.poll(now=0.11) == []
    outbox.acknowledge(5, 0, now=0.2)
    assert len(outbox.poll(now=0.2)) == 1


@pytest.mark.parametrize(("cumulative", "gaps"), [(4, []), (2**31 - 10, []), (1, [(2, 3)]), (3, [(1, 1)])])
def test_what_was_never_sent_cannot_be_acknowledged(cumulative: int, gaps: list[tuple[int, int]]) -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    for _ in range(3):
        outbox.post(Lane.FAST, b"x")
    outbox.poll(now=0.0)
    with pytest.raises(Violation):
        outbox.acknowledge(cumulative, MIB, gaps, now=0.1)


def test_an_acknowledgement_that_was_overtaken_changes_nothing() -> None:
    outbox = Outbox(next_tsn=1, window_bytes=MIB)
    outbox.post(Lane.BULK, b"x")
    outbox.poll(now=0.0)
    outbox.acknowledge(1, MIB, now=0.1)
    outbox.acknowledge(0, 0, now=0.2)
    assert outbox.room_bytes(Lane.BULK) >= WINDOW_FIRST_BYTES


@pytest.mark.parametrize(("loss", "least"), [(0.0, 0.85), (0.001, 0.3)])
def test_a_file_fed_by_room_fills_a_line_of_20_mbit(loss: float, least: float) -> None:
    wire = Wire(seed=3, loss=loss)
    wire.rate_bytes_s = 2.5e6
    assert wire.feed(12_000, 6.0) >= least * 2.5e6 * 1160 / 1256
    assert wire.outbox._flight_bytes <= FLIGHT_LIMIT_BYTES
