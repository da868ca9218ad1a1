"""Where there is only one channel, which loses packets, everything goes by the fast lane; and what no call can mean."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import pytest
from overfence_reliability import Closed, Config, Lane, Mode, Priority, ReliabilityError

from .conftest import Wire

ONE_CHANNEL = Config(bulk_lane=False)
SIZES = (0, 1, 200, 1_140, 4_000, 4_097, 20_000, 65_536)


@pytest.mark.parametrize("priority", Priority)
def test_messages_of_every_size_arrive_in_order_by_one_channel_that_loses_a_third(priority: Priority) -> None:
    random = Random(int(priority))  # noqa: S311 (a path that can be repeated)
    wire = Wire(ada=ONE_CHANNEL, bob=ONE_CHANNEL)
    wire.loses = lambda _flight: random.random() < 1 / 3
    wire.connect()
    said = [number.to_bytes(2, "big") * (size // 2) for number, size in enumerate(SIZES * 3)]
    for body in said:
        wire.ada.say(body, priority=priority)
    wire.run_for(60)
    assert wire.bob.heard == said
    assert {flight.lane for side in wire.sides for flight in side.left} == {Lane.FAST}


def test_goodbye_goes_by_the_one_channel_too() -> None:
    wire = Wire(ada=ONE_CHANNEL, bob=ONE_CHANNEL)
    wire.meet()
    wire.ada.connection.close()
    wire.run_for(0.1)
    assert wire.bob.told(Closed)
    assert wire.ada.left[-1].lane is Lane.FAST


def test_whoever_closes_is_told_what_nobody_knows_the_fate_of(wire: Wire) -> None:
    wire.ada.say(b"arrived")
    wire.run_for(0.5)
    number = wire.ada.say(b"on its way")
    wire.ada.connection.close()
    wire.run_for(0.5)
    [closed] = wire.ada.told(Closed)
    assert closed.unconfirmed == ((wire.ada.stream(), number),)


@pytest.mark.parametrize("weight", [0, -1])
def test_a_stream_without_weight_is_refused(wire: Wire, weight: int) -> None:
    with pytest.raises(ReliabilityError, match="weight"):
        wire.ada.connection.open(Priority.BULK, weight=weight)


def test_what_is_no_priority_no_mode_and_no_bytes_is_refused_and_nothing_is_taken(wire: Wire) -> None:
    ada, stream = wire.ada.connection, wire.ada.stream()
    with pytest.raises(ReliabilityError, match="Priority"):
        ada.open(cast(Any, 7))
    with pytest.raises(ReliabilityError, match="Mode"):
        ada.send(stream, b"x", cast(Any, 9))
    with pytest.raises(ReliabilityError, match="str"):
        ada.send(stream, cast(Any, "text"), Mode.EXACTLY_ONCE)
    wire.ada.say(b"bytes")
    wire.run_for(0.5)
    assert wire.bob.heard == [b"bytes"]
