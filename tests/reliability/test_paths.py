"""One path after another: what arrived is not sent again, and a peer that forgot us is known from one that did not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from overfence_reliability import Closed, Discontinuity, Lane, Mode, Opened, Priority, Violation
from overfence_reliability.frame import VERSION, Data, Hello, Ping

from .conftest import STRANGER, Flight, Puppet, Wire, pack, whole


def test_the_first_words_go_to_a_process_that_is_known() -> None:
    wire = Wire()
    wire.ada.say(b"hello")
    began_at = wire.now
    wire.connect()
    wire.run_for(1)
    assert wire.bob.heard == [b"hello"]
    assert wire.bob.heard_at == [pytest.approx(began_at + 2 * wire.one_way_s)], "once his hello came"
    assert [wire.ada.told(Opened), wire.bob.told(Opened)] == [[Opened(False)], [Opened(False)]]


def test_what_a_process_took_and_could_not_confirm_is_not_said_to_the_next() -> None:
    wire = Wire()
    wire.connect()
    wire.loses = lambda flight: flight.sender == "bob"
    wire.ada.say(b"pay 10")
    wire.run_for(0.2)
    first = wire.bob
    wire.cut()
    wire.restart(wire.bob)
    wire.loses = lambda _flight: False
    wire.meet(1)
    assert first.heard + wire.bob.heard == [b"pay 10"]


def test_a_new_process_meets_one_that_has_sent_billions_of_packets() -> None:
    puppet = Puppet()
    puppet.throw(pack(2**40, Hello(VERSION, STRANGER, bytes(8)), Ping()))
    puppet.wait(0.01)
    puppet.throw(pack(2**40 + 1, whole(0, 0, b"decent")))
    assert puppet.heard() == [b"decent"]


def test_hellos_stop_once_both_are_known(wire: Wire) -> None:
    assert len(wire.ada.frames(Hello)) <= 4
    wire.ada.say(b"hello")
    wire.run_for(0.1)
    assert not [frame for frame in wire.ada.left[-1].frames if isinstance(frame, Hello)]
    assert wire.ada.frames(Hello)[-1].you == b"bob-001 "


@pytest.mark.parametrize("lost", list(product((0, 1, 2), repeat=4)), ids=lambda lost: "".join(map(str, lost)))
def test_whichever_hellos_get_lost_both_meet(lost: tuple[int, int, int, int]) -> None:
    """So many of Ada's and Bob's packets on the first path, then on the second."""
    wire = Wire()
    for round_, (of_ada, of_bob) in enumerate((lost[:2], lost[2:])):
        wire.lose_next(of_ada, of=wire.ada)
        wire.lose_next(of_bob, of=wire.bob)
        wire.ada.say(b"a%d" % round_)
        wire.bob.say(b"b%d" % round_)
        wire.meet(4)
    assert wire.bob.heard == [b"a0", b"a1"]
    assert wire.ada.heard == [b"b0", b"b1"]
    for side in wire.sides:
        assert side.told(Opened) == [Opened(resumed=False), Opened(resumed=True)]
        assert side.connection.unconfirmed_bytes == 0
        assert not side.told(Discontinuity)


def test_it_goes_on_in_one_round_trip_and_sends_nothing_that_had_arrived(wire: Wire) -> None:
    """All of it arrives, but no acknowledgement comes back before the path is gone."""
    wire.loses = lambda flight: flight.sender == "bob"
    for number in range(20):
        wire.ada.say(b"%04d" % number + bytes(500))
    wire.ada.say(b"long" + bytes(30_000))
    wire.run_for(0.04)
    assert len(wire.bob.heard) == 21
    wire.cut()
    wire.loses = lambda _flight: False
    wire.ada.say(b"new")
    resumed_at = wire.now
    before = len(wire.ada.left)
    wire.meet(1)
    again = [frame for flight in wire.ada.left[before:] for frame in flight.frames if isinstance(frame, Data)]
    assert [frame.body for frame in again] == [b"new"]
    assert wire.bob.heard[-1] == b"new"
    assert wire.bob.heard_at[-1] - resumed_at == pytest.approx(2 * wire.one_way_s, abs=0.001)
    assert wire.ada.connection.unconfirmed_bytes == 0
    assert wire.ada.told(Opened)[-1] == Opened(resumed=True)


def test_what_was_lost_with_a_path_is_said_on_the_next(wire: Wire) -> None:
    wire.loses = lambda _flight: True
    for number in range(20):
        wire.ada.say(b"%d" % number)
    wire.ada.say(bytes(10_000))
    wire.flush()
    wire.cut()
    wire.loses = lambda _flight: False
    wire.run_for(3600)
    wire.meet(1)
    assert wire.bob.heard == [b"%d" % number for number in range(20)] + [bytes(10_000)]


def test_many_paths_in_a_row_lose_and_double_nothing(wire: Wire) -> None:
    for number in range(60):
        wire.ada.say(b"a%d" % number + bytes(number * 40))
        wire.bob.say(b"b%d" % number)
        wire.run_for(0.011)
        wire.cut()
        wire.run_for(0.004)
        wire.connect()
        wire.run_for(0.03 if number % 3 else 0.2)
    wire.run_for(2)
    assert wire.bob.heard == [b"a%d" % number + bytes(number * 40) for number in range(60)]
    assert wire.ada.heard == [b"b%d" % number for number in range(60)]


def test_a_restarted_peer_gets_what_is_promised_at_least_once_and_the_rest_is_told(wire: Wire) -> None:
    wire.ada.say(b"heard by the old one")
    wire.run_for(0.5)
    wire.cut()
    open_number = wire.ada.say(b"exactly")
    wire.ada.say(b"at least", mode=Mode.AT_LEAST_ONCE)
    bob = wire.restart(wire.bob)
    wire.meet(1)
    assert bob.heard == [b"at least"]
    assert wire.ada.told(Discontinuity) == [Discontinuity(unconfirmed=((wire.ada.stream(), open_number or 0),))]
    assert wire.ada.told(Opened)[-1] == Opened(resumed=False)
    assert wire.ada.connection.unconfirmed_bytes == 0
    wire.ada.say(b"anew")
    wire.run_for(0.5)
    assert bob.heard == [b"at least", b"anew"]


def test_we_restarted_and_the_peer_has_words_for_who_we_were(wire: Wire) -> None:
    wire.cut()
    wire.bob.say(b"for the old one")
    wire.bob.say(b"for whoever", mode=Mode.AT_LEAST_ONCE)
    ada = wire.restart(wire.ada)
    ada.say(b"I am new")
    wire.meet(2)
    assert ada.heard == [b"for whoever"]
    assert not ada.told(Discontinuity)
    assert wire.bob.heard == [b"I am new"]
    assert [len(each.unconfirmed) for each in wire.bob.told(Discontinuity)] == [1]


def test_no_packet_number_is_used_twice_not_even_for_another_process(wire: Wire) -> None:
    """A used number would be taken for a repeated packet, and acknowledged unread."""
    for _ in range(3):
        wire.cut()
        wire.restart(wire.bob)
        wire.meet(1)
        for number in range(30):
            wire.ada.say(b"%d" % number)
            wire.ada.say(bytes(5000), priority=Priority.BULK)
            wire.run_for(0.06)
        assert [body for body in wire.bob.heard if len(body) < 5000] == [b"%d" % number for number in range(30)]
    numbers = [(flight.lane, flight.number) for flight in wire.ada.left]
    assert len(set(numbers)) == len(numbers)


def test_both_restarted(wire: Wire) -> None:
    wire.ada.say(b"before")
    wire.run_for(0.2)
    wire.cut()
    ada, bob = wire.restart(wire.ada), wire.restart(wire.bob)
    ada.say(b"a")
    bob.say(b"b")
    wire.meet(1)
    assert (ada.heard, bob.heard) == ([b"b"], [b"a"])
    assert not ada.told(Discontinuity) + bob.told(Discontinuity)


def test_a_discontinuity_frees_what_was_buffered_and_says_so() -> None:
    wire = Wire()
    wire.meet()
    wire.loses = lambda _flight: True
    stream = wire.ada.stream()
    with pytest.raises(Exception, match="wait for their acknowledgement"):
        for _ in range(100):
            wire.ada.say(bytes(60_000), stream=stream)
    wire.cut()
    wire.restart(wire.bob)
    wire.loses = lambda _flight: False
    wire.meet(1)
    assert [type(event).__name__ for event in wire.ada.events[-3:]] == ["Discontinuity", "Opened", "Writable"]
    assert wire.ada.connection.unconfirmed_bytes == 0


def test_a_hello_to_who_we_were_is_ignored() -> None:
    puppet = Puppet()
    puppet.say(Hello(VERSION, STRANGER, b"previous"), whole(0, 0, b"for the one before"))
    assert puppet.events == []
    puppet.say(Hello(VERSION, STRANGER, b"honest-1"), whole(0, 0, b"for us"))
    assert puppet.heard() == [b"for us"]
    assert puppet.told(Opened) == [Opened(resumed=False)]


def test_nothing_is_believed_before_a_hello() -> None:
    puppet = Puppet()
    assert puppet.throw(pack(5, whole(0, 0, b"hello"))) == []
    assert puppet.events == []


def test_a_peer_that_knows_us_is_told_no_message_before_it_says_what_it_has(wire: Wire) -> None:
    wire.cut()
    wire.ada.say(b"waits")
    wire.ada.connection.path_opened(now=wire.now)
    packets = wire.ada.connection.poll(now=wire.now)
    flights = [Flight(wire.now, "ada", lane, packet, False) for lane, packet in packets]
    assert flights
    assert not [frame for flight in flights for frame in flight.frames if isinstance(frame, Data)]


@pytest.mark.parametrize("end", [Wire.cut, lambda wire: None], ids=["on another path", "on the same path"])
def test_a_goodbye_ends_both_without_fault(wire: Wire, end: Callable[[Wire], None]) -> None:
    wire.ada.say(b"last words")
    wire.run_for(0.2)
    wire.ada.connection.close()
    wire.run_for(0.2)
    assert wire.bob.heard == [b"last words"]
    assert wire.ada.told(Closed) == [Closed(by_peer=False, violation=None)]
    assert wire.bob.told(Closed) == [Closed(by_peer=True, violation=None)]
    end(wire)
    for side in wire.sides:
        with pytest.raises(Exception, match="closed"):
            side.connection.send(0, b"more")
        with pytest.raises(Exception, match="closed"):
            side.connection.open()
        assert side.connection.next_timer() is None
        assert side.connection.poll(now=wire.now) == []


def test_an_accusation_reaches_the_accused(puppet: Puppet) -> None:
    wire = Wire()
    wire.meet()
    wire.bob.connection.receive(b"no packet", lane=Lane.FAST, now=wire.now)
    wire.run_for(0.1)
    for side, by_peer in ((wire.ada, True), (wire.bob, False)):
        [closed] = side.told(Closed)
        assert closed.by_peer is by_peer
        assert isinstance(closed.violation, Violation)
        assert closed.violation.rule.name == "MALFORMED"
