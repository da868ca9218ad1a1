"""Whose turn it is: by priority, by weight, and nobody for ever last."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import Lane, Priority
from overfence_reliability.frame import FRAGMENT_BYTES
from overfence_reliability.streams import (
    AGING_S,
    AHEAD_LIMIT,
    FAST_MESSAGE_BYTES,
    FIRST_CREDIT_BYTES,
    FRAME_COST_BYTES,
    Fragment,
    Outgoing,
    Schedule,
)


def turns(schedule: Schedule, lane: Lane, times: int, *, now: float = 0.0) -> list[int]:
    """The numbers of the streams whose turn it was."""
    taken: list[int] = []
    for _ in range(times):
        fragment = schedule.next(lane, now=now)
        if fragment is None:
            break
        schedule.take(fragment)
        taken.append(fragment.stream.number)
    return taken


def filled(
    schedule: Schedule, priority: Priority, *, weight: int = 1, messages: int = 60, size: int = 1000
) -> Outgoing:
    stream = schedule.open(priority, weight)
    stream.credit = 10**9
    schedule.credit = 10**9
    for _ in range(messages):
        stream.say(bytes(size), ordered=True)
    return stream


def test_control_goes_before_chat_and_chat_before_bulk() -> None:
    schedule = Schedule()
    bulk, chat, control = (filled(schedule, priority, messages=3) for priority in reversed(Priority))
    first_six = [control.number] * 3 + [chat.number] * 3
    assert turns(schedule, Lane.BULK, 9) == first_six + [bulk.number] * 3


def test_streams_of_one_priority_take_turns() -> None:
    schedule = Schedule()
    streams = [filled(schedule, Priority.CHAT) for _ in range(3)]
    taken = turns(schedule, Lane.FAST, 30)
    assert Counter(taken) == {stream.number: 10 for stream in streams}
    assert all(one != other for one, other in pairwise(taken))


@given(st.lists(st.integers(1, 8), min_size=2, max_size=5))
def test_bulk_streams_share_by_weight(weights: list[int]) -> None:
    schedule = Schedule()
    streams = [filled(schedule, Priority.BULK, weight=weight, messages=500) for weight in weights]
    rounds = 12
    taken = Counter(turns(schedule, Lane.BULK, rounds * sum(weights)))
    for stream in streams:
        assert abs(taken[stream.number] - rounds * stream.weight) <= 2 * len(weights) + stream.weight


def test_who_waited_long_enough_gets_one_turn() -> None:
    schedule = Schedule()
    chat, bulk = filled(schedule, Priority.CHAT), filled(schedule, Priority.BULK)
    assert turns(schedule, Lane.BULK, 5, now=10.0) == [chat.number] * 5
    assert turns(schedule, Lane.BULK, 5, now=10.0 + AGING_S - 0.01) == [chat.number] * 5
    assert turns(schedule, Lane.BULK, 5, now=10.0 + AGING_S) == [bulk.number] + [chat.number] * 4


def test_who_was_silent_does_not_catch_up_on_turns_it_never_wanted() -> None:
    schedule = Schedule()
    busy, quiet = filled(schedule, Priority.CHAT, messages=200), schedule.open(Priority.CHAT, 1)
    quiet.credit = 10**9
    turns(schedule, Lane.FAST, 100)
    for _ in range(50):
        quiet.say(bytes(1000), ordered=True)
    assert Counter(turns(schedule, Lane.FAST, 20))[busy.number] >= 9


def test_long_messages_and_bulk_streams_keep_off_the_fast_lane() -> None:
    schedule = Schedule()
    chat, bulk = schedule.open(Priority.CHAT, 1), schedule.open(Priority.BULK, 1)
    bulk.say(b"short, but of a file", ordered=True)
    chat.say(bytes(FAST_MESSAGE_BYTES + 1), ordered=True)
    assert turns(schedule, Lane.FAST, 1) == []
    assert turns(schedule, Lane.BULK, 5) == [chat.number] * 4 + [bulk.number]
    chat.say(bytes(FAST_MESSAGE_BYTES), ordered=True)
    assert turns(schedule, Lane.FAST, 9) == [chat.number] * 4


def test_no_byte_leaves_without_credit() -> None:
    schedule = Schedule()
    stream = schedule.open(Priority.CHAT, 1)
    for _ in range(200):
        stream.say(bytes(1000), ordered=True)
    assert len(turns(schedule, Lane.FAST, 200)) == FIRST_CREDIT_BYTES // (1000 + FRAME_COST_BYTES)
    stream.credit += 1000 + FRAME_COST_BYTES
    assert len(turns(schedule, Lane.FAST, 100)) == 1
    stream.credit = 10**9
    schedule.credit = schedule.sent_bytes + 2500
    assert len(turns(schedule, Lane.FAST, 100)) == 2


def test_what_was_lost_needs_no_new_credit_and_goes_first() -> None:
    schedule = Schedule()
    stream = schedule.open(Priority.CHAT, 1)
    stream.credit = 1000 + FRAME_COST_BYTES
    stream.say(b"a" * 1000, ordered=True)
    stream.say(b"b" * 1000, ordered=True)
    fragment = schedule.next(Lane.FAST, now=0.0)
    assert fragment is not None
    assert schedule.take(fragment)
    assert schedule.next(Lane.FAST, now=0.0) is None
    stream.again([fragment])
    assert schedule.next(Lane.FAST, now=0.0) is fragment
    assert not schedule.take(fragment)
    assert schedule.sent_bytes == 1000 + FRAME_COST_BYTES


def test_a_stream_does_not_run_further_ahead_than_the_peer_takes() -> None:
    schedule = Schedule()
    stream = filled(schedule, Priority.CHAT, messages=AHEAD_LIMIT + 5, size=1)
    assert len(turns(schedule, Lane.FAST, AHEAD_LIMIT + 5)) == AHEAD_LIMIT
    confirmed = stream.unconfirmed[0]
    assert confirmed.left == 1
    stream.confirm(Fragment(stream, confirmed, 0))
    assert len(turns(schedule, Lane.FAST, AHEAD_LIMIT + 5)) == 1


def test_a_message_is_cut_into_as_few_fragments_as_fit() -> None:
    stream = Schedule().open(Priority.CHAT, 1)
    for size, parts in ((0, 1), (1, 1), (FRAGMENT_BYTES, 1), (FRAGMENT_BYTES + 1, 2), (3 * FRAGMENT_BYTES, 3)):
        assert stream.say(bytes(size), ordered=True).left == parts
