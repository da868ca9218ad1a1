"""Ways in which a connection once stood still, or was closed though nobody had done wrong."""

from __future__ import annotations

from overfence_reliability import Closed, Config, Lane, Priority
from overfence_reliability.frame import VERSION, Ack, Hello, Ping
from overfence_reliability.receiver import Arrived
from overfence_reliability.streams import cost_bytes

from .conftest import STRANGER, Puppet, Wire, pack


def test_pace_timer_does_not_spin(wire: Wire) -> None:
    """A wait that rounding swallows would be due for ever."""
    wire.room = 0
    for number in range(120):
        wire.ada.say(b"%04d" % number + bytes(1000))
    wire.run_for(3)
    assert len(wire.bob.heard) == 120


def test_a_restarted_peer_is_not_flooded_by_streams_long_finished(wire: Wire) -> None:
    """Our stream numbers go on where they were; those long finished are no streams of its."""
    for _ in range(80):
        stream = wire.ada.connection.open()
        wire.ada.say(b"x", stream=stream)
        wire.ada.connection.finish(stream)
        wire.run_for(0.08)
    wire.cut()
    bob = wire.restart(wire.bob)
    wire.meet(1)
    wire.ada.say(b"hello")
    wire.run_for(1)
    assert not bob.told(Closed)
    assert bob.heard == [b"hello"]


def test_the_last_bulk_message_is_confirmed_though_its_acknowledgement_got_lost(wire: Wire) -> None:
    """The bulk lane has no retransmission: its acknowledgements must get through."""
    wire.ada.say(bytes(10_000))
    wire.run_for(0.5)
    wire.loses = lambda flight: any(isinstance(frame, Ack) and frame.lane is Lane.BULK for frame in flight.frames)
    wire.ada.say(bytes(5_000))
    wire.run_for(0.2)
    wire.loses = lambda _flight: False
    wire.run_for(20)
    assert wire.bob.heard == [bytes(10_000), bytes(5_000)]
    assert wire.ada.connection.unconfirmed_bytes == 0


def test_what_filled_a_gap_after_it_was_told_is_still_acknowledged() -> None:
    """Forgotten is what was told, not all below it."""
    arrived = Arrived(Lane.BULK)
    for number in (0, 1, 3):
        arrived.take(number, asks=True, now=1.0)
    told = arrived.tell(32, now=1.0)
    assert told is not None
    arrived.take(2, asks=True, now=1.01)
    arrived.forget(told.ranges)
    ack = arrived.tell(32, now=1.035)
    assert ack is not None
    assert any(first <= 2 <= last for first, last in ack.ranges)


def test_a_packet_too_old_to_know_is_not_acknowledged() -> None:
    """It was dropped unread, so it must come again."""
    arrived = Arrived(Lane.FAST)
    arrived.take(5000, asks=True, now=1.0)
    assert not arrived.take(0, asks=True, now=1.0)
    ack = arrived.tell(32, now=1.0)
    assert ack is not None
    assert ack.ranges == ((5000, 5000),)


def test_several_long_messages_at_once_do_not_eat_the_shared_credit_unfinished() -> None:
    """In turns they would use up the shared credit with none of them whole, and none to release."""
    wire = Wire()
    for _ in range(6):
        wire.ada.say(bytes(65_536), stream=wire.ada.connection.open(Priority.BULK))
    wire.meet(20)
    assert len(wire.bob.heard) == 6


def test_a_window_of_one_message_still_moves() -> None:
    """What is left untold of the credit never keeps a whole message from leaving."""
    config = Config(window_bytes=cost_bytes(65_536), message_limit_bytes=65_536)
    wire = Wire(bob=config)
    wire.meet()
    for size in (20_000, 65_536, 65_536, 65_536):
        wire.ada.say(bytes(size))
    wire.run_for(20)
    assert len(wire.bob.heard) == 4


def test_an_old_packet_to_who_we_were_is_dropped_even_after_the_hello_to_us() -> None:
    """It overtook nothing: its acknowledgements are of packets we never sent."""
    puppet = Puppet()
    puppet.throw(pack(1, Hello(VERSION, STRANGER, b"honest-1"), Ping()))
    puppet.throw(pack(0, Hello(VERSION, STRANGER, b"previous"), Ack(Lane.FAST, 0.0, ((0, 500),)), Ping()))
    assert not puppet.told(Closed)
