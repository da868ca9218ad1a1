"""What is not said: no more than the path bears, nothing twice without need, nothing late that was for the moment."""

from __future__ import annotations

import pytest
from overfence_reliability import Config, Lane, Mode, Opened
from overfence_reliability.frame import Ack, Data, Ping, decode
from overfence_reliability.pacing import BURST_BYTES, FIRST_WINDOW_BYTES

from .conftest import Puppet, Side, Wire

BODY = bytes(1000)


def on_the_fast_lane(side: Side, since: int) -> int:
    """Bytes that left there."""
    return sum(len(flight.packet) for flight in side.left[since:] if flight.lane is Lane.FAST)


def widen_the_window(wire: Wire) -> None:
    """A window that was in use, and full, and lost nothing, grows."""
    wire.room = 0
    for _ in range(4):
        for _ in range(40):
            wire.ada.say(BODY)
        wire.run_for(0.5)


def test_no_more_than_the_window_is_on_its_way(wire: Wire) -> None:
    wire.room = 0
    wire.bob.stands_still = True
    before = len(wire.ada.left)
    for _ in range(100):
        wire.ada.say(BODY)
    wire.run_for(0.06)
    assert FIRST_WINDOW_BYTES / 2 < on_the_fast_lane(wire.ada, before) <= FIRST_WINDOW_BYTES


def test_what_waits_leaves_at_a_pace_and_not_at_once(wire: Wire) -> None:
    widen_the_window(wire)
    before = len(wire.ada.left)
    for _ in range(60):
        wire.ada.say(BODY)
    wire.flush()
    assert BURST_BYTES / 2 < on_the_fast_lane(wire.ada, before) <= BURST_BYTES
    # The rest follows within the round trip, for the window has room for it.
    wire.run_for(2 * wire.one_way_s)
    assert on_the_fast_lane(wire.ada, before) > 60 * len(BODY)


def test_no_copy_follows_what_has_arrived() -> None:
    """A short path answers before the copy is due."""
    wire = Wire(one_way_s=0.002)
    wire.meet()
    wire.lose_next()
    wire.ada.say(b"lost")
    wire.run_for(0.5)
    assert wire.ada.connection.loss > 0.01
    before = len(wire.ada.frames(Data))
    wire.ada.say(b"arrives")
    wire.run_for(0.5)
    assert wire.bob.heard == [b"lost", b"arrives"]
    assert len(wire.ada.frames(Data)) - before == 1


def test_a_gap_in_one_stream_holds_up_no_other(wire: Wire) -> None:
    one, other = wire.ada.connection.open(), wire.ada.connection.open()
    wire.lose_next()
    wire.ada.say(b"lost", stream=one)
    wire.flush()
    wire.ada.say(b"waits for it", stream=one)
    wire.flush()
    wire.ada.say(b"does not", stream=other)
    wire.run_for(0.03)
    assert wire.bob.heard == [b"does not"]
    wire.run_for(1)
    assert wire.bob.heard == [b"does not", b"lost", b"waits for it"]


def test_a_long_conversation_never_runs_out_of_credit() -> None:
    """Each of four streams, and all together, bring several times what was granted at first."""
    wire = Wire(bob=Config(window_bytes=160 * 1024, window_all_bytes=256 * 1024))
    wire.meet()
    streams = [wire.ada.connection.open() for _ in range(4)]
    for _ in range(25):
        for _ in range(20):
            for stream in streams:
                wire.ada.say(BODY, stream=stream)
        wire.run_for(1)
    assert len(wire.bob.heard) == 25 * 20 * 4


def test_what_is_for_the_moment_is_heard_once_though_its_packet_comes_twice(wire: Wire) -> None:
    wire.ada.say(b"typing", mode=Mode.AT_MOST_ONCE)
    wire.flush()
    flight = wire.ada.left[-1]
    wire.run_for(0.2)
    for _ in range(3):
        wire.bob.connection.receive(flight.packet, lane=flight.lane, now=wire.now)
    wire.run_for(0.2)
    assert wire.bob.heard == [b"typing"]


def test_what_was_for_the_moment_is_not_said_on_a_later_path(wire: Wire) -> None:
    """It was taken while a path was there that brought no word from the other side."""
    wire.cut()
    wire.ada.connection.path_opened(now=wire.now)
    wire.ada.say(b"typing", mode=Mode.AT_MOST_ONCE)
    wire.ada.connection.path_closed()
    wire.run_for(60)
    wire.meet()
    assert wire.bob.told(Opened)[-1] == Opened(resumed=True)
    assert wire.bob.heard == []


def test_an_acknowledgement_that_comes_in_two_parts_measures_one_round_trip(puppet: Puppet) -> None:
    """What an earlier packet took, when it is named only later, is no round trip: somebody waited in between."""
    stream = puppet.honest.open()
    puppet.acknowledge()
    sent = []
    for body in (b"first", b"second"):
        puppet.honest.send(stream, body)
        [(_, packet)] = puppet.honest.poll(now=puppet.now)
        sent.append(decode(packet)[0])
    first, second = sent
    puppet.now += 0.05
    puppet.say(Ack(Lane.FAST, 0.0, ((second, second),)), Ping())
    measured_s = puppet.honest.round_trip_s
    puppet.now += 0.004
    puppet.say(Ack(Lane.FAST, 0.0, ((first, second),)), Ping())
    assert puppet.honest.round_trip_s == measured_s
    assert puppet.honest.unconfirmed_bytes == 0


def test_a_probe_is_reckoned_from_the_last_word(puppet: Puppet) -> None:
    stream = puppet.honest.open()
    puppet.acknowledge()
    due_at = []
    for body in (b"first", b"second"):
        puppet.honest.send(stream, body)
        puppet.honest.poll(now=puppet.now)
        due_at.append(puppet.honest.next_timer())
        puppet.now += 0.005
    first_at, second_at = due_at
    assert first_at is not None
    assert second_at == pytest.approx(first_at + 0.005)
