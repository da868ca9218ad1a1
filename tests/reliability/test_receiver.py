"""What arrives: whole messages, in order, once; and when its arrival is told."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import Lane, Rule, Violation
from overfence_reliability.frame import FRAGMENT_BYTES, Data
from overfence_reliability.loss import ACK_DELAY_S
from overfence_reliability.numbers import RANGES_LIMIT
from overfence_reliability.receiver import ACK_EVERY, BULK_ACK_DELAY_S, Arrived, Incoming
from overfence_reliability.streams import AHEAD_LIMIT, cost_bytes

WINDOW_BYTES = 256 * 1024
LIMIT_BYTES = 65_536
SIZES = st.sampled_from([0, 1, 200, FRAGMENT_BYTES - 1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, 3 * FRAGMENT_BYTES, 4000])


def fragments(number: int, body: bytes, *, ordered: bool) -> list[Data]:
    offsets = range(0, max(1, len(body)), FRAGMENT_BYTES)
    return [Data(0, number, ordered, at, len(body), body[at : at + FRAGMENT_BYTES]) for at in offsets]


@given(st.lists(st.tuples(SIZES, st.booleans()), max_size=8), st.randoms(use_true_random=False), st.booleans())
def test_messages_come_out_whole_once_and_in_order(
    messages: list[tuple[int, bool]], random: Random, doubled: bool
) -> None:
    bodies = [(bytes([number + 1]) * size, ordered) for number, (size, ordered) in enumerate(messages)]
    frames = [
        each for number, (body, ordered) in enumerate(bodies) for each in fragments(number, body, ordered=ordered)
    ]
    frames *= 2 if doubled else 1
    random.shuffle(frames)
    incoming = Incoming(WINDOW_BYTES, LIMIT_BYTES)
    heard: list[bytes] = []
    cost = 0
    for frame in frames:
        more, delivered = incoming.take(frame)
        cost += more
        heard += delivered
    assert sorted(heard) == sorted(body for body, _ in bodies)
    ordered_ones = [body for body, ordered in bodies if ordered and body]
    assert [body for body in heard if body in ordered_ones] == ordered_ones
    assert cost == sum(cost_bytes(len(body)) for body, _ in bodies)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_ordered_messages_wait_for_those_before_and_others_do_not(order: list[int], unordered: set[int]) -> None:
    incoming = Incoming(WINDOW_BYTES, LIMIT_BYTES)
    arrived: set[int] = set()
    told: set[int] = set()
    for number in order:
        _, delivered = incoming.take(Data(0, number, number not in unordered, 0, 1, bytes([number])))
        arrived.add(number)
        first_gap = next(each for each in count() if each not in arrived)
        due = {each for each in arrived if each in unordered or each < first_gap}
        assert {body[0] for body in delivered} == due - told
        waited = [body[0] for body in delivered if body[0] not in unordered]
        assert waited == sorted(waited)
        told |= due


def test_the_bounds_of_what_runs_ahead() -> None:
    incoming = Incoming(WINDOW_BYTES, LIMIT_BYTES)
    assert incoming.take(Data(0, AHEAD_LIMIT - 1, True, 0, 1, b"x"))[1] == []
    with pytest.raises(Violation) as raised:
        incoming.take(Data(0, AHEAD_LIMIT, True, 0, 1, b"x"))
    assert raised.value.rule is Rule.CREDIT
    assert incoming.take(Data(0, 0, True, 0, 1, b"0"))[1] == [b"0"]
    assert incoming.take(Data(0, AHEAD_LIMIT, True, 0, 1, b"x"))[1] == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Data(0, 0, True, 0, 3000, bytes(1090)), Data(0, 0, True, 1090, 2900, bytes(1090))),  # of another length
        (Data(0, 0, True, 0, 3000, bytes(1090)), Data(0, 0, True, 0, 9, bytes(9))),  # now whole
    ],
)
def test_fragments_that_contradict_each_other(first: Data, second: Data) -> None:
    incoming = Incoming(WINDOW_BYTES, LIMIT_BYTES)
    incoming.take(first)
    with pytest.raises(Violation) as raised:
        incoming.take(second)
    assert raised.value.rule is Rule.LENGTH


def test_an_end_that_contradicts_what_came() -> None:
    incoming = Incoming(WINDOW_BYTES, LIMIT_BYTES)
    incoming.take(Data(0, 4, True, 0, 1, b"x"))
    with pytest.raises(Violation, match="4 messages"):
        incoming.finish(4)
    incoming.finish(5)
    incoming.finish(5)
    with pytest.raises(Violation, match="6 messages"):
        incoming.finish(6)
    with pytest.raises(Violation, match="message 5 of 5"):
        incoming.take(Data(0, 5, True, 0, 1, b"x"))
    for number in range(4):
        assert not incoming.is_finished
        incoming.take(Data(0, number, True, 0, 1, b"x"))
    assert incoming.is_finished


@pytest.mark.parametrize(("lane", "delay_s"), [(Lane.FAST, ACK_DELAY_S), (Lane.BULK, BULK_ACK_DELAY_S)])
def test_several_packets_are_acknowledged_at_once_and_fewer_soon(lane: Lane, delay_s: float) -> None:
    arrived = Arrived(lane)
    for number in range(ACK_EVERY - 1):
        assert arrived.take(number, asks=True, now=10.0 + number / 10_000)
        # From the first that waits, not from the last.
        assert arrived.due_at == 10.0 + delay_s
    assert arrived.take(ACK_EVERY - 1, asks=True, now=10.002)
    assert arrived.due_at == 10.002
    ack = arrived.tell(RANGES_LIMIT, now=10.003)
    assert ack is not None
    assert ack.ranges == ((0, ACK_EVERY - 1),)
    assert ack.delay_s == pytest.approx(0.001)
    assert arrived.due_at is None


def test_a_gap_and_its_filling_are_acknowledged_at_once() -> None:
    arrived = Arrived(Lane.FAST)
    arrived.take(0, asks=True, now=10.0)
    arrived.tell(RANGES_LIMIT, now=10.0)
    arrived.take(2, asks=True, now=11.0)
    assert arrived.due_at == 11.0
    arrived.tell(RANGES_LIMIT, now=11.0)
    arrived.take(1, asks=True, now=12.0)
    assert arrived.due_at == 12.0


def test_what_asks_for_nothing_is_not_acknowledged_for_itself() -> None:
    arrived = Arrived(Lane.FAST)
    arrived.take(0, asks=False, now=10.0)
    arrived.take(5, asks=False, now=10.0)
    assert arrived.due_at is None
    ack = arrived.tell(RANGES_LIMIT, now=10.0)
    assert ack is not None
    assert ack.ranges == ((5, 5), (0, 0))


def test_a_repeated_packet_is_acknowledged_again() -> None:
    arrived = Arrived(Lane.FAST)
    arrived.take(0, asks=True, now=10.0)
    arrived.forget(((0, 0),))
    arrived.tell(RANGES_LIMIT, now=10.0)
    assert not arrived.take(0, asks=True, now=11.0)
    assert arrived.due_at == 11.0
    ack = arrived.tell(RANGES_LIMIT, now=11.0)
    assert ack is not None
    assert ack.ranges == ((0, 0),)
