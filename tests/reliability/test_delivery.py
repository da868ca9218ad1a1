"""Chat over a path that loses packets: what is said arrives once, in order, soon, and costs no more than it must."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from overfence_reliability import Lane, Mode, Opened, Priority, Silent
from overfence_reliability.frame import Ack, Data, Now, Ping
from overfence_reliability.loss import ACK_DELAY_S, SLACK_S
from overfence_reliability.pacing import COPY_AFTER_S, COPY_BURST_BYTES, COPY_RATE_BYTES_PER_S
from overfence_reliability.receiver import ACK_EVERY

from .conftest import Flight, Side, Wire

ROUND_TRIP_S = 0.05


def carries(flight: Flight, body: bytes) -> bool:
    return any(isinstance(frame, Data | Now) and frame.body == body for frame in flight.frames)


def times_sent(side: Side, body: bytes) -> int:
    return sum(carries(flight, body) for flight in side.left)


def chatted(wire: Wire) -> None:
    """Both have talked for a while, and know their path."""
    for number in range(20):
        wire.ada.say(b"a%d" % number)
        wire.bob.say(b"b%d" % number)
        wire.run_for(0.1)
    wire.run_for(0.3)


def packets_since(side: Side, left: int) -> list[Flight]:
    return side.left[left:]


def test_what_is_said_is_heard_after_one_way(wire: Wire) -> None:
    said_at = wire.now
    wire.ada.say(b"hello")
    wire.run_for(1)
    assert wire.bob.heard == [b"hello"]
    assert wire.bob.heard_at == [pytest.approx(said_at + ROUND_TRIP_S / 2)]
    assert times_sent(wire.ada, b"hello") == 1
    assert wire.ada.connection.unconfirmed_bytes == 0


def test_small_messages_share_a_packet(wire: Wire) -> None:
    before = len(wire.ada.left)
    bodies = [b"%03d" % number for number in range(60)]
    for body in bodies:
        wire.ada.say(body)
    wire.flush()
    assert len(packets_since(wire.ada, before)) == 1
    wire.run_for(1)
    assert wire.bob.heard == bodies


def test_a_lost_packet_is_said_again_when_its_probe_is_due(wire: Wire) -> None:
    chatted(wire)
    wire.lose_next()
    said_at = wire.now
    wire.ada.say(b"hello")
    wire.run_for(1.4)
    assert wire.bob.heard[-1] == b"hello"
    # The round trip, 5 ms and 10 ms, four times what variation is left; then one way.
    late_s = wire.bob.heard_at[-1] - said_at - ROUND_TRIP_S / 2
    assert ROUND_TRIP_S + ACK_DELAY_S + SLACK_S <= late_s <= ROUND_TRIP_S + ACK_DELAY_S + SLACK_S + 0.01


def test_a_lost_packet_is_said_again_as_soon_as_three_later_ones_arrived(wire: Wire) -> None:
    wire.lose_next()
    said_at = wire.now
    for number in range(4):
        wire.ada.say(b"%d" % number)
        wire.run_for(0.001)
    wire.run_for(0.2)
    assert wire.bob.heard == [b"0", b"1", b"2", b"3"]
    # One way for the third, one back for its acknowledgement, one way again: no timer was waited for.
    assert wire.bob.heard_at[0] - said_at == pytest.approx(3 * ROUND_TRIP_S / 2 + 0.003, abs=0.004)


def test_a_lost_packet_is_said_again_nine_eighths_of_a_round_trip_after_one_later_arrived(wire: Wire) -> None:
    wire.lose_next()
    said_at = wire.now
    wire.ada.say(b"lost")
    wire.run_for(0.002)
    wire.ada.say(b"arrives")
    wire.run_for(0.2)
    assert wire.bob.heard == [b"lost", b"arrives"]
    again_s = wire.bob.heard_at[0] - said_at - ROUND_TRIP_S / 2
    assert again_s == pytest.approx(ROUND_TRIP_S * 9 / 8, abs=0.006)


def test_packets_that_overtake_each_other_are_not_said_again(wire: Wire) -> None:
    late = [b"first"]
    wire.delays = lambda flight: wire.one_way_s + (0.004 if carries(flight, late[0]) else 0.0)
    for body in (b"first", b"second"):
        wire.ada.say(body)
        wire.run_for(0.001)
    wire.run_for(0.3)
    assert wire.bob.heard == [b"first", b"second"]
    assert times_sent(wire.ada, b"first") == 1


def test_probes_come_at_least_every_second_however_long_the_silence(wire: Wire) -> None:
    wire.loses = lambda _flight: True
    wire.ada.say(b"hello")
    wire.run_for(15)
    asked_at = [flight.at for flight in wire.ada.left if flight.lost and not isinstance(flight.frames[-1], Ack)]
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert max(pauses) <= 1.01
    assert len(pauses) < 40
    assert times_sent(wire.ada, b"hello") >= 10
    wire.loses = lambda _flight: False
    back_at = wire.now
    wire.run_for(1.2)
    assert wire.bob.heard == [b"hello"]
    assert wire.bob.heard_at[0] - back_at <= 1.0 + ROUND_TRIP_S


def test_several_packets_are_acknowledged_at_once_and_a_lone_one_after_5_ms(wire: Wire) -> None:
    chatted(wire)
    before = len(wire.bob.left)
    wire.ada.say(b"lone")
    wire.run_for(0.026)
    assert not packets_since(wire.bob, before)
    wire.run_for(0.005)
    [ack] = packets_since(wire.bob, before)
    assert [type(frame) for frame in ack.frames] == [Ack]
    wire.run_for(0.5)
    before, said_at = len(wire.bob.left), wire.now
    for number in range(ACK_EVERY):
        wire.ada.say(b"%d" % number)
        wire.flush()
    wire.run_for(0.027)
    [ack] = packets_since(wire.bob, before)
    assert ack.at == pytest.approx(said_at + ROUND_TRIP_S / 2)


def test_acknowledgements_are_not_themselves_acknowledged_for_ever(wire: Wire) -> None:
    wire.ada.say(b"hello")
    wire.run_for(0.9)
    before = len(wire.ada.left) + len(wire.bob.left)
    wire.run_for(0.09)
    assert len(wire.ada.left) + len(wire.bob.left) == before


def test_once_an_acknowledgement_is_known_to_have_arrived_its_ranges_are_told_no_more(wire: Wire) -> None:
    for number in range(30):
        if number % 3 == 0:
            wire.lose_next()
        wire.ada.say(b"a%d" % number)
        wire.bob.say(b"b%d" % number)
        wire.run_for(0.2)
    last = wire.bob.frames(Ack)[-1]
    assert wire.bob.heard == [b"a%d" % number for number in range(30)]
    assert len(last.ranges) <= 3
    # … and without pruning all gaps ever made would still be told.
    assert last.ranges[-1][0] > 10


def test_copies_follow_only_while_packets_get_lost(wire: Wire) -> None:
    for number in range(40):
        wire.ada.say(b"clean %d" % number)
        wire.run_for(0.1)
    assert all(times_sent(wire.ada, b"clean %d" % number) == 1 for number in range(40))
    wire.lose_next()
    wire.ada.say(b"lost")
    wire.run_for(0.5)
    assert wire.ada.connection.loss > 0.01
    said_at = wire.now
    wire.ada.say(b"twice")
    wire.run_for(0.5)
    left = [flight.at for flight in wire.ada.left if carries(flight, b"twice")]
    assert left == [pytest.approx(said_at), pytest.approx(said_at + COPY_AFTER_S)]
    assert wire.bob.heard.count(b"twice") == 1


def test_copies_keep_to_their_budget() -> None:
    wire = Wire()
    wire.meet()
    random = Random(5)  # noqa: S311 (a path that can be repeated)
    wire.loses = lambda _flight: random.random() < 0.25
    body = bytes(1000)
    seconds = 6
    for _ in range(seconds * 50):
        wire.ada.say(body)
        wire.run_for(0.02)
    wire.loses = lambda _flight: False
    wire.run_for(3)
    assert len(wire.bob.heard) == seconds * 50
    copies_bytes = sum(
        len(frame.body) for flight in wire.ada.left for frame in flight.frames if isinstance(frame, Data)
    ) - seconds * 50 * len(body)
    # What was really lost is said again besides.
    lost_bytes = sum(flight.lost for flight in wire.ada.left) * 1160
    assert copies_bytes <= COPY_BURST_BYTES + COPY_RATE_BYTES_PER_S * (seconds + 3) + lost_bytes
    assert copies_bytes > COPY_RATE_BYTES_PER_S


def test_a_long_message_goes_by_the_bulk_lane_in_order_with_the_short_ones(wire: Wire) -> None:
    bodies = [b"before", bytes(20_000), b"after"]
    for body in bodies:
        wire.ada.say(body)
    wire.run_for(1)
    assert wire.bob.heard == bodies
    lanes = {
        flight.lane for flight in wire.ada.left for frame in flight.frames if isinstance(frame, Data) and frame.offset
    }
    assert lanes == {Lane.BULK}


def test_the_bulk_lane_gets_no_more_than_it_has_room_for(wire: Wire) -> None:
    wire.room = 0
    wire.ada.say(bytes(20_000), priority=Priority.BULK)
    wire.run_for(1)
    assert not [flight for flight in wire.ada.left if flight.lane is Lane.BULK]
    wire.room = 4096
    before = len(wire.ada.left)
    wire.flush()
    assert sum(len(flight.packet) for flight in packets_since(wire.ada, before) if flight.lane is Lane.BULK) <= 4096
    assert [flight for flight in packets_since(wire.ada, before) if flight.lane is Lane.BULK]
    wire.run_for(1)
    while not wire.bob.heard and wire.now < 1100:
        wire.run_for(0.1)
    assert wire.bob.heard == [bytes(20_000)]


def test_a_chat_goes_on_beside_a_file(wire: Wire) -> None:
    wire.room = 0
    for _ in range(10):
        wire.ada.say(bytes(60_000), priority=Priority.BULK)
    wire.run_for(0.01)
    said_at = wire.now
    wire.ada.say(b"hello")
    wire.run_for(0.1)
    assert wire.bob.heard == [b"hello"]
    assert wire.bob.heard_at[0] - said_at <= ROUND_TRIP_S / 2 + 0.001


def test_control_overtakes_chat_that_waits_for_its_window(wire: Wire) -> None:
    wire.room = 0
    for number in range(120):
        wire.ada.say(b"%04d" % number + bytes(1000))
    wire.flush()
    wire.ada.say(b"urgent", priority=Priority.CONTROL)
    wire.run_for(3)
    assert len(wire.bob.heard) == 121
    assert wire.bob.heard.index(b"urgent") < 40


def test_one_stream_does_not_wait_for_what_another_lost(wire: Wire) -> None:
    one, other = wire.ada.connection.open(), wire.ada.connection.open()
    wire.lose_next()
    wire.ada.say(b"lost", stream=one)
    wire.flush()
    wire.ada.say(b"arrives", stream=other)
    wire.run_for(0.03)
    assert wire.bob.heard == [b"arrives"]
    wire.run_for(1)
    assert wire.bob.heard == [b"arrives", b"lost"]


def test_at_least_once_is_delivered_as_it_comes(wire: Wire) -> None:
    wire.lose_next()
    wire.ada.say(b"first", mode=Mode.AT_LEAST_ONCE)
    wire.flush()
    wire.ada.say(b"second", mode=Mode.AT_LEAST_ONCE)
    wire.run_for(1)
    assert wire.bob.heard == [b"second", b"first"]


def test_at_most_once_is_sent_once_and_forgotten(wire: Wire) -> None:
    assert wire.ada.say(b"typing", mode=Mode.AT_MOST_ONCE) is None
    wire.run_for(0.5)
    assert wire.bob.heard == [b"typing"]
    wire.lose_next()
    wire.ada.say(b"gone", mode=Mode.AT_MOST_ONCE)
    wire.run_for(3)
    assert wire.bob.heard == [b"typing"]
    assert times_sent(wire.ada, b"gone") == 1
    wire.cut()
    wire.ada.say(b"to nobody", mode=Mode.AT_MOST_ONCE)
    wire.meet()
    assert wire.bob.heard == [b"typing"]


def test_of_many_messages_for_the_moment_the_latest_go(wire: Wire) -> None:
    for number in range(200):
        wire.ada.say(b"%d" % number, mode=Mode.AT_MOST_ONCE)
    wire.run_for(0.5)
    assert wire.bob.heard == [b"%d" % number for number in range(136, 200)]


def test_a_repeated_packet_is_delivered_once(wire: Wire) -> None:
    wire.ada.say(b"hello")
    wire.flush()
    flight = wire.ada.left[-1]
    wire.run_for(0.2)
    for _ in range(3):
        wire.bob.connection.receive(flight.packet, lane=Lane.FAST, now=wire.now)
    wire.run_for(0.2)
    assert wire.bob.heard == [b"hello"]


def test_an_idle_path_is_asked_after_each_second(wire: Wire) -> None:
    before = len(wire.ada.left)
    wire.run_for(10)
    pings = [flight for flight in packets_since(wire.ada, before) if Ping() in flight.frames]
    assert 4 <= len(pings) <= 11
    assert not wire.ada.told(Silent)
    assert len(packets_since(wire.ada, before)) <= 22


def test_a_dead_path_is_noticed_after_3_s_and_told_again(wire: Wire) -> None:
    wire.bob.say(b"the last word")
    wire.run_for(0.025)
    wire.loses = lambda _flight: True
    wire.run_for(2.9)
    assert not wire.ada.told(Silent)
    wire.run_for(0.2)
    assert len(wire.ada.told(Silent)) == 1
    wire.run_for(3)
    assert len(wire.ada.told(Silent)) == 2


def test_a_process_that_stood_still_asks_before_it_declares_anybody_dead(wire: Wire) -> None:
    wire.ada.stands_still = True
    wire.run_for(60)
    wire.ada.stands_still = False
    wire.run_for(0.2)
    assert not wire.ada.told(Silent)
    wire.ada.say(b"slept well")
    wire.run_for(1)
    assert wire.bob.heard == [b"slept well"]
    assert not wire.ada.told(Silent)
    assert wire.ada.told(Opened) == [Opened(resumed=False)]
