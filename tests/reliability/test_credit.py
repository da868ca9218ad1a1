"""Credit, buffers and streams: nobody has to keep more than it granted, and whoever waits goes on."""

from __future__ import annotations

import pytest
from overfence_reliability import (
    BufferFull,
    Config,
    Finished,
    MessageTooLong,
    NoSuchStream,
    Priority,
    Received,
    ReliabilityError,
    TooManyStreams,
    Writable,
)
from overfence_reliability.connection import STREAMS_LIMIT
from overfence_reliability.frame import Credit, Data, Finish
from overfence_reliability.streams import FIRST_CREDIT_BYTES, cost_bytes

from .conftest import Puppet, Wire, whole

MESSAGE = bytes(1000)
TAKEN_AT_FIRST = FIRST_CREDIT_BYTES // cost_bytes(len(MESSAGE))


def test_whoever_drains_nothing_gets_no_more_than_it_granted_and_goes_on_when_it_does() -> None:
    wire = Wire()
    wire.meet()
    wire.bob.drains = False
    for _ in range(3 * TAKEN_AT_FIRST):
        wire.ada.say(MESSAGE)
    wire.run_for(20)
    sent = {frame.message for frame in wire.ada.frames(Data)}
    assert len(sent) == TAKEN_AT_FIRST
    wire.bob.drains = True
    wire.run_for(5)
    assert wire.bob.heard == [MESSAGE] * (3 * TAKEN_AT_FIRST)


def test_credit_that_gets_lost_is_told_again() -> None:
    wire = Wire()
    wire.meet()
    withheld = [6]

    def loses(flight: object) -> bool:
        credit = any(isinstance(frame, Credit) for frame in getattr(flight, "frames", ()))
        withheld[0] -= credit
        return credit and withheld[0] >= 0

    wire.loses = loses
    for _ in range(3 * TAKEN_AT_FIRST):
        wire.ada.say(MESSAGE)
    wire.run_for(20)
    assert withheld[0] < 0
    assert len(wire.bob.heard) == 3 * TAKEN_AT_FIRST


def test_credit_grows_only_by_release_where_the_application_says_so() -> None:
    wire = Wire(bob=Config(manual_release=True))
    wire.meet()
    for _ in range(3 * TAKEN_AT_FIRST):
        wire.ada.say(MESSAGE)
    wire.run_for(5)
    assert len(wire.bob.heard) == TAKEN_AT_FIRST
    assert not wire.bob.frames(Credit)
    for event in wire.bob.told(Received):
        wire.bob.connection.release(event)
    wire.run_for(5)
    assert len(wire.bob.heard) > 2 * TAKEN_AT_FIRST


def test_one_stream_that_stalls_does_not_stall_another() -> None:
    wire = Wire(bob=Config(manual_release=True))
    wire.meet()
    stalled = wire.ada.connection.open()
    for _ in range(2 * TAKEN_AT_FIRST):
        wire.ada.say(MESSAGE, stream=stalled)
    wire.run_for(2)
    wire.ada.say(b"hello", stream=wire.ada.connection.open())
    wire.run_for(0.2)
    assert wire.bob.heard[-1] == b"hello"


def test_a_full_buffer_takes_nothing_and_says_when_it_has_room_again() -> None:
    wire = Wire(ada=Config(buffer_bytes=100_000))
    wire.meet()
    wire.loses = lambda _flight: True
    wire.room = 0
    for _ in range(100):
        wire.ada.say(MESSAGE)
    with pytest.raises(BufferFull):
        wire.ada.say(MESSAGE)
    assert wire.ada.connection.unconfirmed_bytes == 100_000
    wire.run_for(1)
    assert not wire.ada.told(Writable)
    wire.loses = lambda _flight: False
    wire.room = None
    wire.run_for(5)
    assert wire.ada.told(Writable) == [Writable()]
    wire.ada.say(MESSAGE)
    wire.run_for(1)
    assert len(wire.bob.heard) == 101


def test_an_empty_buffer_takes_one_message_of_any_length() -> None:
    wire = Wire(ada=Config(buffer_bytes=10))
    wire.meet()
    wire.ada.say(bytes(60_000))
    wire.run_for(2)
    assert wire.bob.heard == [bytes(60_000)]


def test_the_longest_message_arrives_and_one_byte_more_is_refused(wire: Wire) -> None:
    wire.ada.say(bytes(65_536))
    with pytest.raises(MessageTooLong) as raised:
        wire.ada.say(bytes(65_537))
    assert (raised.value.length, raised.value.limit) == (65_537, 65_536)
    wire.run_for(2)
    assert [len(body) for body in wire.bob.heard] == [65_536]


def test_an_empty_message_is_a_message(wire: Wire) -> None:
    for body in (b"", b"x", b""):
        wire.ada.say(body)
    wire.run_for(0.5)
    assert wire.bob.heard == [b"", b"x", b""]


def test_a_configuration_in_which_a_message_could_never_arrive() -> None:
    with pytest.raises(ReliabilityError, match="never arrive"):
        Wire(ada=Config(window_bytes=1000, message_limit_bytes=2000))
    with pytest.raises(ReliabilityError, match="never arrive"):
        Wire(ada=Config(window_all_bytes=64 * 1024))


def test_streams_finish_and_make_room_for_others(wire: Wire) -> None:
    """Many more in all than at a time."""
    for number in range(3 * STREAMS_LIMIT):
        stream = wire.ada.connection.open()
        wire.ada.say(b"%d" % number, stream=stream)
        wire.ada.connection.finish(stream)
        with pytest.raises(NoSuchStream):
            wire.ada.say(b"after the end", stream=stream)
        with pytest.raises(NoSuchStream):
            wire.ada.connection.finish(stream)
        wire.run_for(0.08)
    assert wire.bob.heard == [b"%d" % number for number in range(3 * STREAMS_LIMIT)]
    assert [event.stream for event in wire.bob.told(Finished)] == list(range(3 * STREAMS_LIMIT))


def test_no_more_streams_at_a_time_than_the_peer_keeps(wire: Wire) -> None:
    streams = [wire.ada.connection.open() for _ in range(STREAMS_LIMIT)]
    with pytest.raises(TooManyStreams):
        wire.ada.connection.open()
    wire.ada.say(b"the last", stream=streams[-1])
    wire.ada.connection.finish(streams[0])
    wire.run_for(0.5)
    assert wire.bob.heard == [b"the last"]
    another = wire.ada.connection.open()
    wire.ada.say(b"another", stream=another)
    wire.run_for(0.5)
    assert wire.bob.heard == [b"the last", b"another"]


def test_an_end_that_overtakes_the_messages_before_it_waits_for_them(wire: Wire) -> None:
    wire.lose_next()
    stream = wire.ada.connection.open()
    wire.ada.say(b"first", stream=stream)
    wire.flush()
    wire.ada.connection.finish(stream)
    wire.run_for(0.03)
    assert wire.ada.frames(Finish)
    assert not wire.bob.told(Finished)
    wire.run_for(1)
    assert [type(event) for event in wire.bob.events[-2:]] == [Received, Finished]


def test_an_end_that_gets_lost_is_told_again(wire: Wire) -> None:
    stream = wire.ada.connection.open()
    wire.ada.say(b"only", stream=stream)
    wire.run_for(0.5)
    wire.lose_next()
    wire.ada.connection.finish(stream)
    wire.run_for(2)
    assert wire.bob.told(Finished) == [Finished(stream)]


def test_weights_share_the_bulk_lane(wire: Wire) -> None:
    wire.room = 4096
    light = wire.ada.connection.open(Priority.BULK)
    heavy = wire.ada.connection.open(Priority.BULK, weight=3)
    for _ in range(60):
        for stream in (light, heavy):
            wire.ada.say(MESSAGE, stream=stream)
    wire.run_for(0.03)
    for _ in range(15):
        wire.flush()
    sent = [frame.stream for frame in wire.ada.frames(Data)][:40]
    assert 2.5 <= sent.count(heavy) / sent.count(light) <= 3.5


def test_a_peer_is_granted_a_window_beyond_what_was_released() -> None:
    config = Config(window_bytes=256 * 1024)
    puppet = Puppet(config).shake_hands()
    granted = FIRST_CREDIT_BYTES
    released = 0
    for number in range(1000):
        for frame in puppet.say(whole(0, number, MESSAGE)) + puppet.acknowledge():
            if isinstance(frame, Credit) and frame.stream == 0:
                granted = max(granted, frame.limit)
        released += cost_bytes(len(MESSAGE))
        assert granted <= released + config.window_bytes
        # Never so little that the next longest message would not fit.
        assert granted - released >= cost_bytes(config.message_limit_bytes)
