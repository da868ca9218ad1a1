"""The invariant of sessions: each message is read at most once, as it was written, and none that arrives is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.sealing import Duplicate

if TYPE_CHECKING:
    from tests.peer.sealing.conftest import Pair, Person

MOVE = st.tuples(
    st.sampled_from(["say", "say", "deliver", "deliver", "repeat", "lose", "restart", "wait", "renew"]),
    st.booleans(),
    st.integers(0, 1000),
)


class Wire:
    """What was said and where it is; it checks every arrival."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.under_way: list[tuple[Person, bytes, bytes]] = []
        self.arrived: list[tuple[Person, bytes, bytes]] = []
        self.renewals = 0

    def move(self, kind: str, by_ada: bool, pick: int) -> None:
        pair = self.pair
        who = pair.ada if by_ada else pair.bob
        if kind == "say":
            self.say(who)
        elif kind == "deliver" and self.under_way:
            self.deliver(*self.under_way.pop(pick % len(self.under_way)))
        elif kind == "repeat" and self.arrived:
            hearer, message, _ = self.arrived[pick % len(self.arrived)]
            pair.refuses(hearer, message, Duplicate)
        elif kind == "lose" and self.under_way:
            self.under_way.pop(pick % len(self.under_way))
        elif kind == "restart":
            who.restart()
        elif kind == "wait":
            pair.now_s += pick
        elif kind == "renew" and self.renewals < 4:
            # More would push out sessions that still have messages under way, as it should.
            self.renewals += 1
            pair.begin(who)
            self.send(who, pair.offer)

    def say(self, who: Person) -> None:
        if who.sessions.can_seal:
            self.send(who, self.pair.say)

    def send(self, who: Person, seal: Callable[[Person, bytes], bytes]) -> None:
        payload = b"message %d" % len(self.under_way + self.arrived) + self.pair.random(8)
        self.under_way.append((self.pair.other(who), seal(who, payload), payload))

    def deliver(self, hearer: Person, message: bytes, payload: bytes) -> None:
        assert self.pair.hear(hearer, message).payload == payload
        self.arrived.append((hearer, message, payload))

    def settle(self) -> None:
        """All that is still under way arrives, and both say a few words more."""
        for item in self.under_way:
            self.deliver(*item)
        self.under_way = []
        for _ in range(3):
            for who in (self.pair.ada, self.pair.bob):
                self.say(who)
                for item in self.under_way:
                    self.deliver(*item)
                self.under_way = []


@given(moves=st.lists(MOVE, max_size=50), seed=st.integers(0, 2**32))
def test_loss_reordering_and_repetition_never_lose_double_or_change_what_arrives(
    moves: list[tuple[str, bool, int]], seed: int, new_pair: Callable[[int], Pair]
) -> None:
    pair = new_pair(seed)
    wire = Wire(pair)
    pair.begin(pair.ada)
    wire.say(pair.ada)
    for move in moves:
        wire.move(*move)
    wire.settle()
    for hearer, message, _ in wire.arrived:
        pair.refuses(hearer, message, Duplicate)
    assert pair.ada.sessions.topic_secret == pair.bob.sessions.topic_secret
    assert pair.tell(pair.ada, b"agreed").sid == pair.tell(pair.bob, b"agreed").sid


def test_the_wire_notices_a_message_read_twice(pair: Pair) -> None:
    wire = Wire(pair)
    pair.begin(pair.ada)
    wire.say(pair.ada)
    fresh = pair.bob.sessions.encode()
    wire.move("deliver", True, 0)
    pair.bob.sessions = type(pair.bob.sessions).decode(fresh)
    with pytest.raises(pytest.fail.Exception):
        wire.move("repeat", True, 0)
