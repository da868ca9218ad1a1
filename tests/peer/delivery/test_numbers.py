"""How many of a session's numbers may be used unheard: what a server swallows must never part two people for good."""

from __future__ import annotations

from overfence.delivery import incoming, outgoing
from overfence.delivery.outcome import Outcome
from overfence.delivery.outgoing import SPARE_LIMIT
from overfence.delivery.payload import Ring
from overfence.history import people
from overfence.sealing import CHAIN_LIMIT, Sessions

from .conftest import Home, World


def unheard(home: Home, other: Home) -> int:
    row = people.device(home.tx, other.me.dsk)
    assert row is not None
    return Sessions.decode(row.sessions).unheard


def seal_call(home: Home, other: Home) -> bytes | None:
    def work(tx: object) -> bytes | None:
        row = people.device(home.tx, other.me.dsk)
        assert row is not None
        return outgoing.seal_items(home.tx, home.me, row, Ring(), spare=True)

    return home.do(work)


def burn_calls(home: Home, other: Home) -> int:
    """Calls that are sealed and lost, as many as there may be."""
    burnt = 0
    while seal_call(home, other) is not None:
        burnt += 1
        assert burnt <= 3 * CHAIN_LIMIT, "without end"
    return burnt


def test_lost_calls_leave_room_for_what_people_say(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    assert 0 < burn_calls(ada, bob) <= SPARE_LIMIT
    ada.say(ada.contact(bob).id, "are you there?")
    bob.say(bob.contact(ada).id, "I am")
    world.settle(rounds=3)
    world.check(ada, bob)
    assert not ada.dropped + bob.dropped
    assert ada.texts(bob) == bob.texts(ada) == ["are you there?", "I am"]
    assert seal_call(ada, bob) is not None, "heard, so there is room again"


def test_two_chains_lost_in_a_row_are_still_skipped(world: World) -> None:
    """The worst a server can do: all that follows one message of a chain, and then the next chain."""
    ada, bob = world.ada, world.bob
    world.acquaint()
    # One message of Ada's chain arrives, the rest of it is swallowed; his answer begins her next chain.
    ada.say(ada.contact(bob).id, "one")
    world.settle(rounds=1)
    burn_calls(ada, bob)
    bob.say(bob.contact(ada).id, "answer")
    bob.errands()
    ada.fetch()
    ada.errands()
    for box in world.node.boxes.values():
        box.items.clear()
    burn_calls(ada, bob)
    ada.say(ada.contact(bob).id, "two")
    world.settle(rounds=3)
    world.check(ada, bob)
    assert bob.texts(ada)[-1] == "two"


def test_what_people_say_is_not_sealed_past_the_chains_end(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    ada.say(ada.contact(bob).id, "again and again")
    while ada.seal_one(bob.me.dsk):
        ada.progress.clear()
        ada.tx.execute("DELETE FROM puts")
        assert unheard(ada, bob) <= CHAIN_LIMIT
    assert unheard(ada, bob) == CHAIN_LIMIT
    bob.say(bob.contact(ada).id, "hello")
    bob.errands()
    ada.fetch()
    assert ada.texts(bob)[-1] == "hello", "what comes in is read all the same"


def test_replayed_messages_do_not_use_up_what_is_kept_for_people(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    burn_calls(ada, bob)
    before = unheard(ada, bob)

    def answer(tx: object) -> Outcome:
        outcome = Outcome(owed={bob.me.dsk: None}, duplicates={bob.me.dsk})
        incoming.answer(ada.tx, ada.me, outcome, frozenset())
        return outcome

    for _ in range(10):
        assert not ada.do(answer).nodes
    assert unheard(ada, bob) == before
