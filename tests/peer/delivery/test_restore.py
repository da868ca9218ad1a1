"""One of two people sets their home back to an older copy: a fresh invite brings back all that the other still has."""

from __future__ import annotations

import sqlite3

import pytest
from overfence.delivery.payload import Have, HeldRun
from overfence.history import people
from overfence.history.people import ContactState

from .conftest import Home, World


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    for number in range(5):
        world.ada.say(world.ada.contact(world.bob).id, f"early {number}")
    world.settle(rounds=3)
    return world


def set_back(home: Home, copy: bytes) -> None:
    home.tx.close()
    home.tx = sqlite3.connect(":memory:", isolation_level=None)
    home.tx.deserialize(copy)
    home.restart()
    home.shown.clear()  # what was shown since is news again


def lose_later_messages(world: World) -> None:
    """Bob's home is copied, four messages come, and the copy is put back."""
    ada, bob = world.ada, world.bob
    copy = bob.tx.serialize()
    for number in range(4):
        ada.say(ada.contact(bob).id, f"later {number}")
    world.settle(rounds=3)
    assert len(bob.texts(ada)) == 9
    set_back(bob, copy)
    assert len(bob.texts(ada)) == 5


@pytest.mark.parametrize("who_invites", ["ada", "bob"])
def test_a_fresh_invite_brings_back_what_was_lost(world: World, who_invites: str) -> None:
    ada, bob = world.ada, world.bob
    lose_later_messages(world)
    shown = people.delivered_upto(ada.tx, ada.contact(bob).id)
    host, guest = (ada, bob) if who_invites == "ada" else (bob, ada)
    assert guest.accept(host.invite()).state is ContactState.ACCEPTED
    ticks = []
    for _ in range(12):
        world.settle(rounds=1)
        ticks.append(people.delivered_upto(ada.tx, ada.contact(bob).id))
    assert ticks == [shown] * 12, "a tick never goes back"
    assert [text for text in bob.texts(ada) if text.startswith("later")] == [f"later {number}" for number in range(4)]
    ada.say(ada.contact(bob).id, "and now?")
    bob.say(bob.contact(ada).id, "all is here")
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == bob.texts(ada)
    assert guest.contact(host).invite is None, "answered"


def test_an_invite_that_leads_nowhere_leaves_a_contact_as_it_was(world: World) -> None:
    ada, bob, eve = world.homes
    used = ada.invite()
    eve.accept(used)
    world.settle()
    assert bob.accept(used).state is ContactState.ACCEPTED
    world.settle(rounds=3)
    ada.say(ada.contact(bob).id, "still here")
    bob.say(bob.contact(ada).id, "me too")
    world.settle(rounds=3)
    world.check(ada, bob)
    assert (bob.contact(ada).state, bob.contact(ada).invite) == (ContactState.ACCEPTED, None)
    assert bob.texts(ada)[-2:] == ["still here", "me too"] or bob.texts(ada)[-2:] == ["me too", "still here"]


def test_a_renewal_nobody_needed_loses_and_doubles_nothing(world: World) -> None:
    ada, bob = world.ada, world.bob
    bob.say(bob.contact(ada).id, "on its way")
    invite = ada.invite()
    for _ in range(3):
        bob.accept(invite)
        bob.errands()
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob).count("on its way") == 1
    assert not ada.dropped + bob.dropped
    expired = ada.invite(life_s=1)
    world.clock.now_s += 2
    before = bob.fingerprint()
    assert bob.accept(expired).state is ContactState.ACCEPTED
    assert bob.fingerprint() == before


def position(ada: Home, bob: Home) -> int:
    return people.told(ada.tx, bob.me.dsk, ada.me.dsk, ada.contact(bob).log).end


def test_an_older_word_that_comes_late_lowers_nothing(world: World) -> None:
    ada, bob = world.ada, world.bob
    row, held = ada.contact(bob), ada.log(bob, ada)
    end = position(ada, bob)
    for low in (0, 3):
        late = HeldRun(ada.me.dsk, row.log, low, held[low - 1] if low else b"")
        ada.take_message(bob.me.dsk, bob.seal(ada, Have(row.conv, (late,))))
        assert position(ada, bob) == end


def test_a_gap_below_what_was_confirmed_is_filled(world: World) -> None:
    """The session outlived it, yet the device lacks what it had confirmed."""
    ada, bob = world.ada, world.bob
    row, held, end = ada.contact(bob), ada.log(bob, ada), position(ada, bob)
    ada.say(row.id, "beyond")
    gap = HeldRun(ada.me.dsk, row.log, 3, held[2], ((end + 1, end + 1),))
    outcome = ada.take_message(bob.me.dsk, bob.seal(ada, Have(row.conv, (gap,))))
    assert outcome.lowered == {bob.me.dsk}
    assert position(ada, bob) == 3
    assert people.delivered_upto(ada.tx, row.id) == end
