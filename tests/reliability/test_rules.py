"""Every rule a peer can break: it is closed with that very violation, and what it had said before stays said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from overfence_reliability import Closed, Config, ConnectionClosed, Lane, Mode, Received, Rule, Silent, Violation
from overfence_reliability.connection import STREAMS_LIMIT
from overfence_reliability.frame import (
    FRAGMENT_BYTES,
    FRAMES_LIMIT,
    VERSION,
    Ack,
    Data,
    Finish,
    Frame,
    Goodbye,
    Hello,
    Now,
    Ping,
)
from overfence_reliability.inbound import NOW_BURST, NOW_PER_S, USELESS_BURST, USELESS_PER_S
from overfence_reliability.outbound import DEAF_PROBES
from overfence_reliability.streams import AHEAD_LIMIT, FIRST_CREDIT_ALL_BYTES, FIRST_CREDIT_BYTES

from .conftest import STRANGER, Puppet, Wire, pack, whole

Crime = Callable[[Puppet], object]


def unreleased(puppet: Puppet, *, streams: int, limit: int) -> None:
    """Bytes beyond all credit: nothing completes, so nothing is released."""
    for number in range(1, limit // FRAGMENT_BYTES + 2):
        puppet.say(whole(number % streams, 1 + number // streams, bytes(FRAGMENT_BYTES)))


def many_pings(puppet: Puppet) -> None:
    for _ in range(int(USELESS_BURST) + 10):
        puppet.say(Ping())


def one_packet_again_and_again(puppet: Puppet) -> None:
    for _ in range(int(USELESS_BURST) + 10):
        puppet.throw(pack(77, Ping()))


def many_messages_for_the_moment(puppet: Puppet) -> None:
    for _ in range(2 * int(NOW_BURST + USELESS_BURST)):
        puppet.say(Now(0, b"x"))


def what_is_already_known(puppet: Puppet) -> None:
    puppet.say(whole(1, 0, b"x"), Finish(1, 1))
    for _ in range(int(USELESS_BURST) // 2 + 10):
        puppet.say(whole(1, 0, b"x"))
        puppet.say(Finish(1, 1))


def one_stream_too_many(puppet: Puppet) -> list[Frame]:
    said: list[Frame] = []
    for stream in range(1, STREAMS_LIMIT + 1):
        said += puppet.say(whole(1000 * stream, 0, b"x"))
    return said


CRIMES: dict[str, tuple[Rule, Crime]] = {
    "nothing at all": (Rule.MALFORMED, lambda puppet: puppet.throw(b"")),
    "a number alone": (Rule.MALFORMED, lambda puppet: puppet.throw(bytes(6))),
    "a packet too long": (Rule.MALFORMED, lambda puppet: puppet.throw(bytes(5) + b"\x06" * 1160)),
    "an unknown kind of frame": (Rule.MALFORMED, lambda puppet: puppet.throw(bytes(6) + b"\x3f")),
    "a frame cut short": (Rule.MALFORMED, lambda puppet: puppet.throw(pack(9, whole(0, 9, b"hello"))[:-1])),
    "a reason that is no text": (Rule.MALFORMED, lambda puppet: puppet.throw(bytes(6) + b"\x09\x00\x01\xff")),
    "our own hello": (Rule.MALFORMED, lambda puppet: puppet.say(Hello(VERSION, b"honest-1", bytes(8)))),
    "a hello from nobody": (Rule.MALFORMED, lambda puppet: puppet.say(Hello(VERSION, bytes(8), bytes(8)))),
    "a second process on one path": (Rule.MALFORMED, lambda puppet: puppet.say(Hello(VERSION, b"another!", bytes(8)))),
    "another version": (Rule.VERSION, lambda puppet: puppet.say(Hello(VERSION + 1, STRANGER, bytes(8)))),
    "a packet never sent": (Rule.UNSENT, lambda puppet: puppet.say(Ack(Lane.FAST, 0.0, ((0, 10**6),)))),
    "a bulk packet never sent": (Rule.UNSENT, lambda puppet: puppet.say(Ack(Lane.BULK, 0.0, ((0, 0),)))),
    "a message too long": (Rule.LENGTH, lambda puppet: puppet.say(Data(0, 9, True, 0, 2**31, bytes(FRAGMENT_BYTES)))),
    "a whole message too long for a frame": (
        Rule.LENGTH,
        lambda puppet: puppet.say(whole(0, 9, bytes(FRAGMENT_BYTES + 1))),
    ),
    "a fragment of nothing": (Rule.LENGTH, lambda puppet: puppet.say(Data(0, 9, True, 0, 5000, b""))),
    "two lengths of one message": (
        Rule.LENGTH,
        lambda puppet: puppet.say(Data(0, 9, True, 0, 4000, bytes(FRAGMENT_BYTES)), whole(0, 9, b"no")),
    ),
    "two ends of one stream": (Rule.LENGTH, lambda puppet: puppet.say(Finish(0, 9), Finish(0, 8))),
    "a message after the end": (Rule.LENGTH, lambda puppet: puppet.say(Finish(0, 9), whole(0, 9, b"more"))),
    "a message far beyond a gap": (Rule.CREDIT, lambda puppet: puppet.say(whole(0, 1 + AHEAD_LIMIT, b"far"))),
    "more on a stream than granted": (
        Rule.CREDIT,
        lambda puppet: unreleased(puppet, streams=1, limit=FIRST_CREDIT_BYTES),
    ),
    "more on all streams than granted": (
        Rule.CREDIT,
        lambda puppet: unreleased(puppet, streams=60, limit=2 * FIRST_CREDIT_ALL_BYTES),
    ),
    "a stream too many": (Rule.STREAMS, one_stream_too_many),
    "a packet number from far away": (Rule.MALFORMED, lambda puppet: puppet.throw(pack(2**40, Ping()))),
    "too many frames in one packet": (Rule.FLOOD, lambda puppet: puppet.say(*[Ping()] * (FRAMES_LIMIT + 1))),
    "pings without end": (Rule.FLOOD, many_pings),
    "one packet again and again": (Rule.FLOOD, one_packet_again_and_again),
    "what is already known, without end": (Rule.FLOOD, what_is_already_known),
    "messages for the moment without end": (Rule.FLOOD, many_messages_for_the_moment),
}


def spoken_to() -> Puppet:
    """One who has said something decent first, and has room for no more than the first credit."""
    puppet = Puppet(Config(manual_release=True)).shake_hands()
    puppet.say(whole(0, 0, b"decent"))
    puppet.acknowledge()
    assert puppet.heard() == [b"decent"]
    return puppet


@pytest.mark.parametrize("crime", CRIMES)
def test_whoever_breaks_a_rule_is_closed_with_it_and_keeps_what_was_said(crime: str) -> None:
    rule, commit = CRIMES[crime]
    puppet = spoken_to()
    commit(puppet)
    [closed] = puppet.told(Closed)
    assert isinstance(closed.violation, Violation)
    assert closed.violation.rule is rule
    assert closed.by_peer is False
    assert puppet.heard()[0] == b"decent"
    with pytest.raises(ConnectionClosed):
        puppet.honest.open()
    # It is over: whatever else comes is not even looked at.
    assert puppet.throw(b"") == []
    assert len(puppet.told(Closed)) == 1
    assert puppet.honest.next_timer() is None


@pytest.mark.parametrize("crime", ["a packet too long", "a packet never sent", "a stream too many"])
def test_the_peer_is_told_which_rule(crime: str) -> None:
    rule, commit = CRIMES[crime]
    said = commit(spoken_to())
    assert isinstance(said, list)
    assert Goodbye(rule.value, rule.name.lower()) in said


def test_in_the_same_packet_what_came_before_the_crime_is_delivered() -> None:
    puppet = spoken_to()
    puppet.say(whole(0, 1, b"still decent"), Finish(0, 0))
    assert puppet.heard() == [b"decent", b"still decent"]
    assert [type(event) for event in puppet.events[-2:]][1] is Closed


def test_whoever_is_heard_but_acknowledges_nothing_is_deaf() -> None:
    puppet = spoken_to()
    stream = puppet.honest.open()
    puppet.honest.send(stream, b"do you hear me?")
    waited_s = 0.0
    while not puppet.told(Closed) and waited_s < 60:
        puppet.say(Ping())
        puppet.wait(0.5)
        waited_s += 0.5
    [closed] = puppet.told(Closed)
    assert closed.violation is not None
    assert closed.violation.rule is Rule.DEAF
    # Twenty probes: the first few soon after each other, then one a second.
    assert DEAF_PROBES / 2 <= waited_s <= DEAF_PROBES + 1


def test_whoever_is_not_heard_either_is_only_silent() -> None:
    puppet = spoken_to()
    stream = puppet.honest.open()
    puppet.honest.send(stream, b"do you hear me?")
    puppet.wait(120)
    assert not puppet.told(Closed)
    assert len(puppet.told(Silent)) >= 30


def test_a_blackout_does_not_make_an_honest_peer_deaf(wire: Wire) -> None:
    """One packet heard just after the first probe is no proof that the peer hears us and will not answer."""
    wire.loses = lambda flight: flight.sender == "ada"
    wire.ada.say(b"hello")
    wire.run_for(0.3)
    wire.bob.say(b"in between")
    wire.run_for(0.1)
    wire.loses = lambda _flight: True
    wire.run_for(30)
    wire.loses = lambda _flight: False
    wire.run_for(2)
    assert not wire.ada.told(Closed)
    assert wire.bob.heard == [b"hello"]


def test_an_honest_rate_of_pings_is_no_flood() -> None:
    puppet = spoken_to()
    for _ in range(int(1.2 * USELESS_BURST)):
        puppet.say(Ping())
        puppet.acknowledge()
        puppet.now += 4 / USELESS_PER_S
    assert not puppet.told(Closed)


def test_a_path_that_repeats_every_packet_makes_no_flood_of_them() -> None:
    puppet = spoken_to()
    for number in range(2 * int(USELESS_BURST)):
        packet = pack(1000 + number, whole(1, number, b"x"))
        puppet.throw(packet)
        puppet.throw(packet)
        puppet.honest.release(Received(1, b"x"))
        if number % 100 == 0:
            puppet.acknowledge()
    assert not puppet.told(Closed)


def test_answers_to_what_we_asked_are_no_flood_however_late() -> None:
    """Acknowledgements that a path holds back and lets out in disorder, each behind a newer one that told it all."""
    puppet = spoken_to()
    stream = puppet.honest.open()
    for _ in range(700):
        for _ in range(5):
            puppet.honest.send(stream, b"x")
            assert puppet.say(Ack(Lane.FAST, 0.0, ((0, 0),)))
            puppet.wait(0.001)
        puppet.acknowledge()
        for _ in range(4):
            puppet.say(Ack(Lane.FAST, 0.0, ((0, 0),)))
    assert not puppet.told(Closed)


def test_a_message_for_the_moment_finds_room_beside_hellos_and_acknowledgements() -> None:
    puppet = Puppet()
    puppet.say(Hello(VERSION, STRANGER, bytes(8)), Ping())
    for number in range(4, 40, 2):
        puppet.honest.receive(pack(number, Ping()), lane=Lane.FAST, now=puppet.now)
    stream = puppet.honest.open()
    puppet.honest.send(stream, bytes(1000), Mode.AT_MOST_ONCE)
    said = puppet.wait(5)
    assert sum(isinstance(frame, Now) for frame in said) == 1
    assert len(said) < 100


def test_acknowledged_numbers_that_are_billions_apart_fit_into_a_frame() -> None:
    puppet = spoken_to()
    for jump in range(1, 8):
        number = jump * (2**31 - 1000)
        puppet.throw(pack(number, Ping()))
        puppet.throw(pack(number + 500, Ping()))
    puppet.wait(1)
    assert not puppet.told(Closed)


def test_of_messages_for_the_moment_only_so_many_are_taken() -> None:
    puppet = spoken_to()
    for number in range(4 * int(NOW_BURST)):
        puppet.say(Now(0, b"%d" % number))
        puppet.now += 0.5 / NOW_PER_S
    taken = len(puppet.heard())
    assert 2.9 * NOW_BURST <= taken <= 3.1 * NOW_BURST, "the first at once, and then half of them"
    assert not puppet.told(Closed)


def test_nobody_else_is_concerned() -> None:
    wire = Wire()
    wire.meet()
    puppet = spoken_to()
    puppet.throw(b"")
    wire.ada.say(b"hello")
    wire.run_for(0.1)
    assert wire.bob.heard == [b"hello"]
