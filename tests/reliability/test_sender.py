"""What left and is not acknowledged yet, against a plain model; and what counts as lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import Lane, Rule, Violation
from overfence_reliability.frame import Ack
from overfence_reliability.loss import PACKET_THRESHOLD, TIME_THRESHOLD, RoundTrip
from overfence_reliability.sender import LOST_LIMIT, QUIET_LIMIT, Sender, Sent


def departed(sender: Sender, packets: int, *, now: float = 0.0, asks: Callable[[int], bool] = lambda _: True) -> None:
    for _ in range(packets):
        sender.depart(Sent(sender.next_number, 100, at=now, asks=asks(sender.next_number)))


@st.composite
def an_ack(draw: st.DrawFn, below: int) -> Ack:
    numbers = draw(st.sets(st.integers(0, below - 1), min_size=1))
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers, reverse=True):
        if ranges and ranges[-1][0] == number + 1:
            ranges[-1] = (number, ranges[-1][1])
        else:
            ranges.append((number, number))
    return Ack(Lane.FAST, 0.0, tuple(ranges))


@given(st.data(), st.integers(1, 30), st.sets(st.integers(0, 29)))
def test_each_packet_is_confirmed_once_by_the_first_acknowledgement_that_covers_it(
    data: st.DataObject, packets: int, quiet: set[int]
) -> None:
    sender = Sender(Lane.FAST)
    departed(sender, packets, asks=lambda number: number not in quiet)
    on_the_way, lost_ones = set(range(packets)), set[int]()
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            lost = {sent.number for sent in sender.lose_all()}
            assert lost == on_the_way - quiet
            lost_ones |= lost
            on_the_way.clear()
        ack = data.draw(an_ack(packets))
        covered = {number for first, last in ack.ranges for number in range(first, last + 1)}
        arrived, late = sender.acknowledge(ack)
        assert {sent.number for sent in arrived} == covered & on_the_way
        assert {sent.number for sent in late} == covered & lost_ones
        on_the_way -= covered
        lost_ones -= covered
        assert sender.in_flight_bytes == 100 * len(on_the_way - quiet)
        assert sender.is_waiting == bool(on_the_way - quiet)


def test_an_acknowledgement_of_what_was_never_sent() -> None:
    sender = Sender(Lane.FAST)
    departed(sender, 3)
    sender.acknowledge(Ack(Lane.FAST, 0.0, ((2, 2),)))
    with pytest.raises(Violation) as raised:
        sender.acknowledge(Ack(Lane.FAST, 0.0, ((3, 3),)))
    assert raised.value.rule is Rule.UNSENT


def test_a_range_of_billions_is_no_work() -> None:
    sender = Sender(Lane.FAST, next_number=2**47)
    departed(sender, 3)
    arrived, _ = sender.acknowledge(Ack(Lane.FAST, 0.0, ((0, 2**47 + 2),)))
    assert [sent.number for sent in arrived] == [2**47, 2**47 + 1, 2**47 + 2]


def test_a_packet_counts_as_lost_once_three_later_ones_arrived() -> None:
    sender, trip = Sender(Lane.FAST), RoundTrip()
    trip.sample(0.05, 0.0)
    departed(sender, 5, now=1.0)
    sender.acknowledge(Ack(Lane.FAST, 0.0, ((2, 2),)))
    lost, due_at = sender.lose(trip, now=1.05)
    assert lost == []
    assert due_at == pytest.approx(1.0 + 0.05 * TIME_THRESHOLD)
    sender.acknowledge(Ack(Lane.FAST, 0.0, ((PACKET_THRESHOLD, PACKET_THRESHOLD),)))
    lost, _ = sender.lose(trip, now=1.05)
    assert [sent.number for sent in lost] == [0]


def test_a_packet_counts_as_lost_after_nine_eighths_of_a_round_trip() -> None:
    sender, trip = Sender(Lane.FAST), RoundTrip()
    trip.sample(0.08, 0.0)
    departed(sender, 1, now=1.0)
    departed(sender, 2, now=1.01)
    sender.acknowledge(Ack(Lane.FAST, 0.0, ((1, 1),)))
    assert sender.lose(trip, now=1.0899)[0] == []
    lost, due_at = sender.lose(trip, now=1.0901)
    assert [sent.number for sent in lost] == [0]
    # Number 2 is later than anything acknowledged: nothing says it is lost.
    assert due_at is None


def test_what_is_remembered_is_bounded() -> None:
    sender = Sender(Lane.FAST)
    departed(sender, LOST_LIMIT + 10)
    sender.lose_all()
    departed(sender, QUIET_LIMIT + 10, asks=lambda _: False)
    arrived, late = sender.acknowledge(Ack(Lane.FAST, 0.0, ((0, sender.next_number - 1),)))
    assert len(late) == LOST_LIMIT
    assert late[0].number == 10
    assert len(arrived) == QUIET_LIMIT
