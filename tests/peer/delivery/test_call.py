"""Two devices that call each other: a link comes about once messages flow, and neither asks without end."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.connect.backoff import Backoff
from overfence.connect.call import (
    CALL_TIMEOUT_S,
    FORGIVEN_AFTER_S,
    RING_AFTER_S,
    SHUN_FIRST_S,
    SHUN_LAST_S,
    STEADY_S,
    Action,
    Call,
    Event,
    State,
)

FIRST_S, LAST_S = 1.0, 60.0
FLIGHT_S = 0.05


def fresh_call(*, offers: bool, jitter: Callable[[], float] = lambda: 0.0) -> Call:
    return Call(
        offers=offers,
        backoff=Backoff(first_s=FIRST_S, last_s=LAST_S, jitter=jitter),
        shunning=Backoff(first_s=SHUN_FIRST_S, last_s=SHUN_LAST_S, jitter=jitter),
    )


class Side:
    """One device's end: its call, and which set-up its link belongs to."""

    def __init__(self, *, offers: bool, jitter: Callable[[], float]) -> None:
        self.offers = offers
        self.call = fresh_call(offers=offers, jitter=jitter)
        self.link: int | None = None
        self.actions: list[tuple[float, Action]] = []


class Wire:
    """Two sides, a mailbox between them that may lose anything, and the time."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)  # noqa: S311 (a world that can be repeated)
        self.ada = Side(offers=True, jitter=self.random.random)
        self.bob = Side(offers=False, jitter=self.random.random)
        self.now = 0.0
        self.losing = False
        self.events = 0
        self._due: list[tuple[float, int, Side, Event, int]] = []
        self._order = count()
        self._calls = count(1)

    def other(self, side: Side) -> Side:
        return self.bob if side is self.ada else self.ada

    def take(self, side: Side, event: Event, link: int = 0) -> None:
        self.events += 1
        was, held = side.call.state, side.link
        action = side.call.take(event, now=self.now)
        if action is not None:
            side.actions.append((self.now, action))
        match action:
            case Action.OFFER:
                side.link = next(self._calls)
                self.end(side, held)
                self.say(side, Event.OFFERED, side.link)
            case Action.ANSWER:
                side.link = link
                self.end(side, held)
                # The answer opens both ends; lost, it opens neither.
                if self.say(side, Event.OPENED, link):
                    self.later(FLIGHT_S, side, Event.OPENED, link)
            case Action.RING:
                self.say(side, Event.RANG)
            case Action.DROP:
                side.link = None
                self.end(side, held)
        if was is State.OPEN and side.call.state is not State.OPEN and action is None:
            side.link = None

    def end(self, side: Side, link: int | None) -> None:
        """One's own link is closed: the other end notices, later."""
        if link is not None and self.other(side).link == link:
            self.later(3.0, self.other(side), Event.FAILED, link)

    def say(self, side: Side, event: Event, link: int = 0) -> bool:
        if self.losing and self.random.random() < 0.7:
            # Often the node says so, and the set-up is given up; sometimes nobody knows.
            if side.link is not None and self.random.random() < 0.6:
                self.later(FLIGHT_S, side, Event.FAILED, side.link)
            return False
        self.later(FLIGHT_S, self.other(side), event, link)
        return True

    def later(self, after_s: float, side: Side, event: Event, link: int = 0) -> None:
        heapq.heappush(self._due, (self.now + after_s, next(self._order), side, event, link))

    def break_link(self, noticed_by: Side) -> None:
        """The path dies; one side notices, the other only if it is told or calls."""
        if noticed_by.link is not None:
            self.later(0.0, noticed_by, Event.FAILED, noticed_by.link)

    def run_for(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            timers = [(at, side) for side in (self.ada, self.bob) if (at := side.call.next_timer()) is not None]
            next_timer = min((at for at, _ in timers), default=until + 1)
            next_due = self._due[0][0] if self._due else until + 1
            if min(next_timer, next_due) > until:
                break
            if next_due <= next_timer:
                self.now, _, side, event, link = heapq.heappop(self._due)
                # News of a set-up that was given up is no news (as `Direct` holds it).
                if event in (Event.OPENED, Event.FAILED) and link != side.link:
                    continue
                self.take(side, event, link)
                if event is Event.FAILED and side.call.state is not State.OPEN:
                    side.link = None
            else:
                side = next(side for at, side in timers if at == next_timer)
                self.now = max(self.now, next_timer)
                self.take(side, Event.TIMER)
                after = side.call.next_timer()
                assert after is None or after > self.now, "a timer that is due again at once"
        self.now = until

    @property
    def open(self) -> bool:
        same = self.ada.link == self.bob.link is not None
        return same and self.ada.call.state is self.bob.call.state is State.OPEN


def test_both_in_sight_are_connected_at_once() -> None:
    for first in ("ada", "bob"):
        wire = Wire()
        wire.take(getattr(wire, first), Event.APPEARED)
        wire.run_for(0.02)
        wire.take(wire.bob if first == "ada" else wire.ada, Event.APPEARED)
        wire.run_for(0.3)
        assert wire.open
        assert [action for _, action in wire.ada.actions + wire.bob.actions] == [Action.OFFER, Action.ANSWER]


MOVES = ["appear", "vanish", "break", "lose", "flow", "wait", "wait"]


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(MOVES), st.booleans(), st.integers(0, 200)), max_size=40),
    st.integers(0, 1000),
    st.booleans(),
)
def test_a_link_comes_about_once_messages_flow(moves: list[tuple[str, bool, int]], seed: int, ada_first: bool) -> None:
    wire = Wire(seed)
    for move, ada, size in moves:
        side = wire.ada if ada else wire.bob
        match move:
            case "appear":
                wire.take(side, Event.APPEARED)
            case "vanish":
                wire.take(side, Event.VANISHED)
            case "break":
                wire.break_link(side)
            case "lose":
                wire.losing = True
            case "flow":
                wire.losing = False
            case "wait":
                wire.run_for(size / 10)
    wire.losing = False
    for side in (wire.ada, wire.bob) if ada_first else (wire.bob, wire.ada):
        wire.take(side, Event.APPEARED)
    wire.run_for(2 * (LAST_S + CALL_TIMEOUT_S))
    assert wire.open
    wire.events = 0
    wire.run_for(3600)
    assert wire.open
    assert wire.events <= 2, "an open link asks for nothing"


def test_a_side_that_lost_the_link_rings_and_is_called() -> None:
    wire = Wire()
    for side in (wire.ada, wire.bob):
        wire.take(side, Event.APPEARED)
    wire.run_for(1 + STEADY_S)
    assert wire.open
    wire.break_link(wire.bob)
    wire.run_for(RING_AFTER_S + 4 * FLIGHT_S)
    assert wire.open
    wire.run_for(STEADY_S)
    wire.break_link(wire.ada)
    wire.run_for(4 * FLIGHT_S)
    assert wire.open


def test_links_that_break_as_soon_as_they_open_are_placed_ever_more_seldom() -> None:
    wire = Wire()
    for side in (wire.ada, wire.bob):
        wire.take(side, Event.APPEARED)
    calls = []
    for _ in range(8):
        began_at = wire.now
        while not wire.open:
            wire.run_for(0.05)
            assert wire.now < began_at + 2 * LAST_S
        calls.append(wire.now - began_at)
        wire.break_link(wire.ada)
        wire.break_link(wire.bob)
        wire.run_for(FLIGHT_S)
    assert calls[-1] > 4 * calls[1] > 0


@pytest.mark.parametrize("offers", [True, False])
def test_nobody_answers_for_a_day_and_nothing_spins(offers: bool) -> None:
    wire = Wire()
    side = wire.ada if offers else wire.bob
    wire.losing = True
    wire.random.random = lambda: 0.5  # type: ignore[method-assign] # everything is lost
    wire.take(side, Event.APPEARED)
    wire.run_for(24 * 3600)
    assert 24 * 60 <= len(side.actions) <= 24 * 3600 / LAST_S * 2 * 2 + 20


@given(st.lists(st.sampled_from(list(Event)), max_size=40), st.booleans())
def test_every_event_in_every_state_leaves_a_timer_or_a_reason_for_none(events: list[Event], offers: bool) -> None:
    call = fresh_call(offers=offers, jitter=lambda: 0.5)
    now = 0.0
    for event in events:
        now += 1.0
        action = call.take(event, now=now)
        assert (call.next_timer() is None) == (call.state in (State.AWAY, State.OPEN))
        if action in (Action.OFFER, Action.ANSWER):
            assert call.state in (State.CALLING, State.DOUBTED)
            if call.state is State.CALLING:
                assert call.next_timer() == now + CALL_TIMEOUT_S
        if event is Event.TIMER and call.state in (State.WAITING, State.DOUBTED):
            timer = call.next_timer()
            assert timer is not None
            assert timer > now, "a timer that is due again at once"


def state(call: Call) -> State:
    # Asked anew each time, which a type checker doesn't expect of an attribute.
    return call.state


@pytest.mark.parametrize("offers", [True, False])
def test_a_silent_link_is_called_anew_ever_more_seldom_and_kept_when_it_is_heard_again(offers: bool) -> None:
    call = fresh_call(offers=offers, jitter=lambda: 0.0)
    asks = Action.OFFER if offers else Action.RING
    call.take(Event.APPEARED, now=0.0)
    if offers:
        call.take(Event.OPENED, now=0.1)
    else:
        call.take(Event.OFFERED, now=0.05)
        call.take(Event.OPENED, now=0.1)
    assert state(call) is State.OPEN
    assert call.take(Event.SILENT, now=100.0) is asks
    waits, now = [], 100.0
    for _ in range(4):
        due_at = call.next_timer()
        assert due_at is not None
        waits.append(due_at - now)
        now = due_at
        assert call.take(Event.TIMER, now=now) is asks
        assert state(call) is State.DOUBTED
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert call.take(Event.HEARD, now=now + 1) is Action.DROP
    assert state(call) is State.OPEN
    assert call.next_timer() is None
    assert call.take(Event.SILENT, now=now + 2) is asks
    assert call.take(Event.OPENED, now=now + 3) is None, "another link took its place"
    assert state(call) is State.OPEN
    call.take(Event.SILENT, now=now + 4)
    call.take(Event.FAILED, now=now + 5)
    assert state(call) is State.WAITING


@pytest.mark.parametrize("offers", [True, False])
def test_who_comes_back_into_sight_while_the_link_is_doubted_is_called_at_once_and_once(offers: bool) -> None:
    call = fresh_call(offers=offers, jitter=lambda: 0.0)
    asks = Action.OFFER if offers else Action.RING
    call.take(Event.APPEARED, now=0.0)
    if not offers:
        call.take(Event.OFFERED, now=0.05)
    call.take(Event.OPENED, now=0.1)
    assert call.take(Event.SILENT, now=50.0) is asks, "which nobody may have heard: our own network changed, say"
    assert call.take(Event.VANISHED, now=50.1) is None
    assert call.take(Event.APPEARED, now=50.2) is asks
    assert call.take(Event.APPEARED, now=50.21) is None, "in another topic too; the call that is under way goes on"
    assert state(call) is State.DOUBTED


def test_a_device_that_vanished_from_the_topic_keeps_its_link() -> None:
    wire = Wire()
    for side in (wire.ada, wire.bob):
        wire.take(side, Event.APPEARED)
    wire.run_for(1)
    for side in (wire.ada, wire.bob):
        wire.take(side, Event.VANISHED)
    wire.run_for(3600)
    assert wire.open
    wire.break_link(wire.ada)
    wire.break_link(wire.bob)
    wire.run_for(3600)
    assert wire.ada.call.state is wire.bob.call.state is State.AWAY


def test_a_lost_first_offer_costs_little() -> None:
    """The node says that nobody was there to take it: the caller does not wait out the whole call."""
    wire = Wire()
    wire.losing = True
    wire.random.random = lambda: 0.5  # type: ignore[method-assign] # everything is lost
    wire.take(wire.ada, Event.APPEARED)
    wire.take(wire.bob, Event.APPEARED)
    wire.losing = False
    wire.run_for(2.0)
    assert wire.open


@pytest.mark.parametrize("offers", [True, False])
def test_a_device_that_is_shown_coming_and_going_is_called_no_more_often(offers: bool) -> None:
    """A server can replay somebody's sealed entry: each call would use up a number that is then lost."""
    wire = Wire()
    side = wire.ada if offers else wire.bob
    wire.losing = True
    wire.random.random = lambda: 0.5  # type: ignore[method-assign] # everything is lost
    for _ in range(3600):
        wire.take(side, Event.APPEARED)
        wire.run_for(0.9)
        wire.take(side, Event.VANISHED)
        wire.run_for(0.1)
    assert 60 <= len(side.actions) <= 3600 / LAST_S * 2 + 20


def reopen(call: Call, *, offers: bool, now: float) -> bool:
    """The other side tries to get through right now."""
    call.take(Event.RANG if offers else Event.OFFERED, now=now)
    return state(call) is State.CALLING and call.take(Event.OPENED, now=now) is None


@pytest.mark.parametrize("offers", [True, False])
def test_a_device_that_breaks_the_rules_is_left_alone_for_longer_each_time_and_forgiven(offers: bool) -> None:
    call, now = fresh_call(offers=offers), 0.0
    call.take(Event.APPEARED, now=now)
    shunned_s = []
    for _ in range(10):
        assert state(call) is State.CALLING or reopen(call, offers=offers, now=now)
        call.take(Event.OPENED, now=now)
        now += FORGIVEN_AFTER_S - 1
        assert call.take(Event.BROKE_RULES, now=now) is Action.DROP
        due_at = call.next_timer()
        assert due_at is not None
        shunned_s.append(due_at - now)
        assert not reopen(call, offers=offers, now=due_at - 0.1), "nor is it heard"
        call.take(Event.VANISHED, now=due_at - 0.1)
        call.take(Event.APPEARED, now=due_at - 0.1)
        assert not reopen(call, offers=offers, now=due_at - 0.1), "even if it comes anew"
        now = due_at
        if offers:
            assert call.take(Event.TIMER, now=now) is Action.OFFER
    assert shunned_s[:4] == [SHUN_FIRST_S, 2 * SHUN_FIRST_S, 4 * SHUN_FIRST_S, 8 * SHUN_FIRST_S]
    assert shunned_s[-1] == SHUN_LAST_S
    assert state(call) is State.CALLING or reopen(call, offers=offers, now=now)
    call.take(Event.OPENED, now=now)
    now += FORGIVEN_AFTER_S
    call.take(Event.BROKE_RULES, now=now)
    assert call.next_timer() == now + SHUN_FIRST_S


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("offers", [True, False])
def test_a_link_that_opens_after_the_one_it_was_to_replace_has_ended_is_the_link(offers: bool, present: bool) -> None:
    call = fresh_call(offers=offers)
    call.take(Event.APPEARED, now=0.0)
    call.take(Event.OFFERED, now=0.0)
    call.take(Event.OPENED, now=1.0)
    call.take(Event.SILENT, now=20.0)
    if not present:
        call.take(Event.VANISHED, now=20.1)
    call.take(Event.FAILED, now=20.2)
    assert state(call) is (State.WAITING if present else State.AWAY)
    assert call.take(Event.OPENED, now=20.3) is None
    assert state(call) is State.OPEN
    assert call.next_timer() is None
