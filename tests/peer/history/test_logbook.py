"""The invariant of a log: whatever arrives, in whatever order and however often, all ends hold the same."""

from __future__ import annotations

import sqlite3
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.errors import BadEvent
from overfence.history import logbook, pages, rows
from overfence.history.event import LAMPORT_LIMIT, Event, Text, digest
from overfence.history.log import AHEAD_LIMIT, Verdict, judge
from overfence.history.rows import STEP_LIMIT
from overfence_reliability import Run

from .conftest import CONV, database, device_of, log_of, receive, receive_together, stored, texts, whole_page, writes

AUTHORS = ("ada", "bob", "eve")
LOGS = {name: writes(name, [f"{name} {number}" for number in range(1, 13)]) for name in AUTHORS}
# The order of §6: lamport, device, log, seq.
IN_ORDER = sorted(
    (event for log in LOGS.values() for event in log),
    key=lambda event: (event.header.lamport, event.header.device, event.header.log, event.header.seq),
)


def say(tx: sqlite3.Connection, text: str) -> Event:
    entry = logbook.append(
        tx, CONV, device_of("me"), log_of("me"), kind="text", content=Text(text), at_ms=1, salt=bytes(16)
    )
    return entry.event


def runs(tx: sqlite3.Connection) -> dict[tuple[bytes, bytes], Run]:
    return rows.runs_of(tx, CONV, {device_of(name) for name in AUTHORS})


@settings(max_examples=60)
@given(st.data())
def test_any_arrival_of_any_multiset_of_events_ends_the_same(data: st.DataObject) -> None:
    tx = database()
    arrivals = data.draw(st.lists(st.sampled_from(IN_ORDER), max_size=90))
    handed_over: list[Event] = []
    waiting = arrivals[:]
    while waiting:
        together = data.draw(st.integers(1, 12))
        handed_over += receive_together(tx, waiting[:together])
        del waiting[:together]
    held = {event.id for event in arrivals}
    assert sorted(stored(tx)) == sorted(held), "each is stored, once"
    confirmed = {}
    for name, log in LOGS.items():
        end = next((number for number, event in enumerate(log) if event.id not in held), len(log))
        confirmed[name] = end
        run = runs(tx).get((device_of(name), log_of(name)), Run())
        assert (run.end, run.tip) == (end, log[end - 1].id if end else b"")
        assert {number for number in range(1, 13) if run.holds(number)} == {
            event.header.seq for event in log if event.id in held
        }
        mine = [event for event in handed_over if event.header.device == device_of(name)]
        assert mine == log[:end], "each author's events are handed over in order, once, and none beyond a gap"
    shown = [entry.event for entry in whole_page(tx)]
    assert shown == [event for event in IN_ORDER if event.header.seq <= confirmed[name_of(event)]]

    handed_over += receive_together(tx, data.draw(st.permutations(IN_ORDER)))
    assert len(handed_over) == len({event.id for event in handed_over}) == len(IN_ORDER)
    for event in IN_ORDER:
        [text] = texts([rows.Entry(0, event, False)])
        assert texts(pages.search(tx, f'"{text}"', 50)).count(text) == 1, "found once"
    assert [entry.event for entry in whole_page(tx)] == IN_ORDER


def name_of(event: Event) -> str:
    return next(name for name in AUTHORS if device_of(name) == event.header.device)


@settings(max_examples=60)
@given(st.data())
def test_two_pasts_never_mix(data: st.DataObject) -> None:
    """An author whose device was rolled back wrote some numbers twice: what is confirmed is one chain."""
    first = writes("ada", [f"first {number}" for number in range(8)])
    forked_at = data.draw(st.integers(0, 7))
    after = Run(forked_at, first[forked_at - 1].id) if forked_at else Run()
    second = writes("ada", [f"second {number}" for number in range(8 - forked_at)], salt=b"s" * 16, after=after)
    tx = database()
    for event in data.draw(st.lists(st.sampled_from(first + second), min_size=20, max_size=60)):
        receive(tx, event)
        run = rows.run_of(tx, CONV, device_of("ada"), log_of("ada"))
        chain = [entry.event for entry in whole_page(tx)]
        assert [event.header.seq for event in chain] == list(range(1, run.end + 1))
        assert all(later.header.prev == earlier.id for earlier, later in pairwise(chain))
        assert (chain[-1].id if chain else b"") == run.tip


@settings(max_examples=40)
@given(st.permutations(range(6)))
def test_what_is_searched_is_what_is_held(order: list[int]) -> None:
    """Events of another past that lay above a gap are dropped: their words must not point at what took their place."""
    first = writes("ada", [f"apple{number}" for number in range(6)])
    second = writes("ada", [f"pear{number}" for number in range(5)], salt=b"s" * 16, after=Run(1, first[0].id))
    tx = database()
    for number in order:
        receive(tx, ([*second, first[5]] if number % 2 else [*first])[number % 5])
    for event in first:
        receive(tx, event)
    for text in [f"apple{number}" for number in range(6)] + [f"pear{number}" for number in range(5)]:
        assert all(found == text for found in texts(pages.search(tx, text, 20)))


def test_a_dropped_events_words_are_not_found_any_more() -> None:
    first = writes("ada", ["apple", "cherry"])
    [other] = writes("ada", ["pear"], salt=b"s" * 16, after=Run(1, bytes(32)))
    tx = database()
    receive(tx, other)
    receive(tx, first[0])
    assert list(stored(tx)) == [first[0].id]
    receive(tx, first[1])
    assert texts(pages.search(tx, "cherry", 20)) == ["cherry"]
    assert texts(pages.search(tx, "pear", 20)) == []


def test_an_event_beyond_the_hoarding_limit_comes_back_later() -> None:
    log = writes("ada", ["x"] * (AHEAD_LIMIT + 1))
    tx = database()
    assert receive(tx, log[AHEAD_LIMIT])[0] is Verdict.FAR
    assert receive(tx, log[AHEAD_LIMIT - 1])[0] is Verdict.ABOVE
    assert list(stored(tx)) == [log[AHEAD_LIMIT - 1].id]
    for event in log:
        receive(tx, event)
    assert rows.run_of(tx, CONV, device_of("ada"), log_of("ada")) == Run(AHEAD_LIMIT + 1, log[-1].id)


def test_an_invalid_event_fills_its_number_and_is_never_shown() -> None:
    [good] = writes("ada", ["fine"])
    body = bytes(16) + b"\xc1"
    header = msgspec.structs.replace(good.header, body_hash=digest(body))
    bad = Event.parse(msgspec.msgpack.encode(header), body)
    [after] = writes("ada", ["after"], after=Run(1, bad.id))
    tx = database()
    verdict, [entry] = receive(tx, bad)
    assert verdict is Verdict.NEXT
    assert entry.refused
    receive(tx, after)
    assert rows.run_of(tx, CONV, device_of("ada"), log_of("ada")).end == 2
    assert texts(whole_page(tx)) == ["after"]
    with pytest.raises(BadEvent):
        bad.content()


def test_one_event_with_the_highest_clock_leaves_the_conversation_writable() -> None:
    """The clock rises by a step at most, so that its end is never reached by one word of anybody's (§6)."""
    [last] = writes("ada", ["the end of time"])
    header = msgspec.structs.replace(last.header, lamport=LAMPORT_LIMIT)
    tx = database()
    receive(tx, Event.parse(msgspec.msgpack.encode(header), last.body))
    for number, text in enumerate(("and yet", "it goes on"), start=1):
        event = say(tx, text)
        assert event.header.lamport == STEP_LIMIT + number
        assert Event.parse(event.header_bytes, event.body) == event
    assert texts(whole_page(tx)) != []
    assert len(logbook.events_from(tx, CONV, device_of("me"), log_of("me"), 1, 2, 10_000)) == 2


def test_an_own_event_is_later_than_everything_held() -> None:
    tx = database()
    for event in LOGS["ada"]:
        receive(tx, event)
    mine = say(tx, "an answer")
    assert mine.header.lamport == 13
    assert whole_page(tx)[-1].event == mine


def test_batches_for_sending_are_whole_events_in_order_and_bounded() -> None:
    tx = database()
    for number in range(20):
        say(tx, f"{number} " + "x" * 1000)
    device, log = device_of("me"), log_of("me")
    sent: list[int] = []
    while len(sent) < 20:
        batch = logbook.events_from(tx, CONV, device, log, len(sent) + 1, 20, 5000)
        assert 1 <= len(batch) <= 4
        sent += [seq for seq, _, _ in batch]
    assert sent == list(range(1, 21))
    assert len(logbook.events_from(tx, CONV, device, log, 3, 20, 1)) == 1, "one too large for any batch still goes"
    assert pages.unticked(tx, CONV, {device}, {(device, log): 15}) == 5


@given(st.integers(0, 5), st.integers(1, 9), st.booleans(), st.booleans())
def test_the_verdict_is_told_by_number_and_past(end: int, seq: int, held: bool, chained: bool) -> None:
    log = writes("ada", [f"{number}" for number in range(10)])
    event = log[seq - 1]
    run = Run(end, (log[end - 1].id if chained else bytes(31) + b"x") if end else b"")
    verdict = judge(event, run, event.id if held else None)
    if held or seq <= end:
        assert verdict is Verdict.HELD
    elif seq > end + 1:
        assert verdict is Verdict.ABOVE
    else:
        assert verdict is (Verdict.NEXT if chained or end == 0 else Verdict.FORK)
    assert judge(event, run, bytes(32)) is Verdict.FORK


def test_what_waits_above_gaps_is_bounded_for_the_conversation_and_not_for_each_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixty logs of one contact would each have had room for two thousand events that nothing confirms."""
    monkeypatch.setattr(logbook, "ABOVE_LIMIT", 50)
    tx = database()
    logs = [writes(f"log {number}", [f"{number} {at}" for at in range(30)]) for number in range(10)]
    for log in logs:
        receive_together(tx, log[1:])
    assert len(list(stored(tx))) == 50
    verdict, _ = receive(tx, logs[9][5])
    assert verdict is Verdict.FAR
    # A gap that is filled makes room, within one batch too, and everything still comes in order in the end.
    intake = logbook.Intake(tx)
    assert intake.take(logs[9][5])[0] is Verdict.FAR
    assert intake.take(logs[0][0])[0] is Verdict.NEXT
    assert intake.take(logs[9][5])[0] is Verdict.ABOVE
    intake.close()
    for log in logs:
        receive_together(tx, log)
    assert len(list(stored(tx))) == 300
    assert all(run.end == 30 for run in rows.runs_of(tx, CONV, {device_of(f"log {n}") for n in range(10)}).values())
