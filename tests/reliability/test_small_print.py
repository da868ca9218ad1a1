"""What costs nothing earns nothing, what is cut reads back, what ended is told, what asks nothing leaves no trace."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import Closed, Config, Finished, Mode, Violation
from overfence_reliability.frame import VERSION, Data, Finish, Goodbye, Hello, Now, Ping, decode, encode, encode_number
from overfence_reliability.streams import AHEAD_LIMIT, cost_bytes

from .conftest import STRANGER, Puppet, Wire, pack, whole


def test_messages_for_the_moment_earn_no_credit() -> None:
    config = Config(window_bytes=256 * 1024, window_all_bytes=1024 * 1024)
    puppet = Puppet(config).shake_hands()
    hoarded = 0
    for number in range(1, AHEAD_LIMIT):
        puppet.say(whole(0, number, bytes(1090)))
        puppet.say(Now(0, bytes(1090)))
        puppet.acknowledge()
        puppet.wait(0.01)
        if puppet.told(Closed):
            break
        hoarded += cost_bytes(1090)
    assert hoarded <= config.window_bytes


@pytest.mark.parametrize("total", [2190, 2181])
def test_the_last_fragment_is_no_longer_than_the_others(total: int) -> None:
    with pytest.raises(Violation):
        decode(pack(0, Data(0, 0, True, 1090, total, bytes(total - 1090))))


@given(st.text(min_size=60, max_size=120))
def test_a_reason_reads_back(reason: str) -> None:
    [read] = decode(encode_number(0) + encode(Goodbye(1, reason)))[1]
    assert isinstance(read, Goodbye)
    assert reason.startswith(read.reason)
    assert len(read.reason) >= 50, "of at most 200 bytes, four a character"


def test_a_stream_that_was_ended_for_the_last_process_is_ended_for_the_next(wire: Wire) -> None:
    wire.room = 0
    stream = wire.ada.connection.open()
    wire.ada.say(bytes(10_000), stream=stream, mode=Mode.AT_LEAST_ONCE)
    wire.ada.connection.finish(stream)
    wire.run_for(0.5)  # the end is acknowledged, the message has not left
    wire.cut()
    bob = wire.restart(wire.bob)
    wire.room = None
    wire.loses = lambda flight: any(isinstance(frame, Finish) for frame in flight.frames)
    wire.connect()
    wire.run_for(0.3)
    wire.loses = lambda _flight: False
    wire.run_for(5)
    assert bob.heard == [bytes(10_000)]
    assert bob.told(Finished) == [Finished(stream)]


def test_whoever_never_acknowledges_anything_costs_no_memory_a_packet() -> None:
    puppet = Puppet()
    puppet.say(Hello(VERSION, STRANGER, bytes(8)), Ping())
    tracemalloc.start()
    try:
        for number in range(6000):
            puppet.say(whole(0, number, b""))
            puppet.now += 0.0005
        puppet.events.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 128 * 1024
