"""Sessions that one side lost, or cannot read, are begun anew by themselves; nothing is lost or shown twice by it."""

from __future__ import annotations

import os
import sqlite3
from itertools import pairwise

import pytest
from overfence.delivery import planning, rekeying
from overfence.delivery.payload import Reset, Ring
from overfence.delivery.planning import BACK_OFF_S, LAPSES_LIMIT
from overfence.history import people, postbox
from overfence.sealing import Sessions, seal_envelope

from .conftest import NODE, Home, World


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def say(home: Home, to: Home, *texts: str) -> None:
    for text in texts:
        home.say(home.contact(to).id, text)


def lose_sessions(home: Home, of: Home) -> None:
    """As by a damaged database: the contact is known, and no key is."""
    home.do(lambda tx: people.set_sessions(tx, of.me.dsk, Sessions().encode(), b""))
    home.restart()


def set_back(home: Home, copy: bytes) -> None:
    home.tx.close()
    home.tx = sqlite3.connect(":memory:", isolation_level=None)
    home.tx.deserialize(copy)
    home.restart()


def plan(home: Home, of: Home) -> people.Rekeying:
    return people.rekeying(home.tx, of.me.dsk)


def both_can_talk(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada speaks")
    say(bob, ada, "Bob speaks")
    world.settle(rounds=3)
    assert "Ada speaks" in bob.texts(ada) and "Bob speaks" in ada.texts(bob)
    assert ada.unticked(bob) == bob.unticked(ada) == 0
    world.check(ada, bob)
    world.check_shown_once()


@pytest.mark.parametrize("who", ["ada", "bob", "both"])
def test_lost_sessions_are_begun_anew_and_what_was_unread_comes_again(world: World, who: str) -> None:
    ada, bob = world.ada, world.bob
    identity = ada.contact(bob).account, ada.contact(bob).log
    if who in ("ada", "both"):
        lose_sessions(ada, bob)
    if who in ("bob", "both"):
        lose_sessions(bob, ada)
    say(ada, bob, "Ada 1")
    say(bob, ada, "Bob 1")
    world.settle(rounds=6)
    assert bob.texts(ada) == ada.texts(bob) and set(ada.texts(bob)) == {"Ada 1", "Bob 1"}
    assert (ada.contact(bob).account, ada.contact(bob).log) == identity, "a reset never changes who is who"
    assert plan(ada, bob).begin_s == plan(bob, ada).begin_s == 0
    both_can_talk(world)


@pytest.mark.parametrize("who", ["ada", "bob"])
def test_a_home_set_back_talks_again(world: World, who: str) -> None:
    """The numbers it sends under were used: what comes under them is dropped unread, until a new session is begun."""
    ada, bob = world.ada, world.bob
    home, other = (ada, bob) if who == "ada" else (bob, ada)
    copy = home.tx.serialize()
    for number in range(4):
        say(home, other, f"{home.name} {number}")
        world.settle(rounds=1)
    kept = {row[0] for row in home.tx.execute("SELECT id FROM events")}
    set_back(home, copy)
    kept &= {row[0] for row in home.tx.execute("SELECT id FROM events")}
    home.shown = [(contact, event) for contact, event in home.shown if event.id in kept]
    say(home, other, f"{home.name} anew")
    world.settle(rounds=12)
    # Its clock of messages went back too, so that the newest may stand among the lost.
    heard = [text for text in other.texts(home) if text.startswith(home.name)]
    assert sorted(heard) == [*(f"{home.name} {number}" for number in range(4)), f"{home.name} anew"]
    assert home.unticked(other) == 0
    both_can_talk(world)


def test_the_first_reset_goes_at_once_and_others_wait_ever_longer(world: World) -> None:
    """Whoever is to answer is away: the clock is moved, and each handshake is counted."""
    ada, bob = world.ada, world.bob
    world.clock.now_s += 3600
    forged = bytearray(bob.seal(ada, Ring()))
    forged[-1] ^= 1
    ada.take_message(bob.me.dsk, bytes(forged))
    begun_at = []
    start_s, epoch = world.clock.now_s, 0
    while world.clock.now_s < start_s + 3 * 3600:
        ada.errands()
        sessions = Sessions.decode((people.device(ada.tx, bob.me.dsk) or pytest.fail("gone")).sessions)
        if sessions.begun_s > max(epoch, start_s - 1):
            begun_at.append(world.clock.now_s - start_s)
            epoch = sessions.begun_s
        world.clock.now_s += 1
    waits = [later - earlier for earlier, later in pairwise(begun_at)]
    assert begun_at[0] == 0
    assert waits[: len(BACK_OFF_S)] == list(BACK_OFF_S)
    assert set(waits[len(BACK_OFF_S) - 1 :]) == {BACK_OFF_S[-1]}
    world.settle(rounds=3)
    assert plan(ada, bob).resets == 0, "cleared by success"
    both_can_talk(world)


def test_who_makes_us_reset_again_and_again_gets_one_in_ten_seconds(world: World) -> None:
    ada, bob = world.ada, world.bob
    begun, epochs = 0, set[int]()
    for _ in range(120):
        forged = bytearray(bob.seal(ada, Ring()))
        forged[-1] ^= 1
        ada.take_message(bob.me.dsk, bytes(forged))
        for home in (ada, bob):
            home.errands()
        for home in (bob, ada):
            home.fetch()
        device = people.device(ada.tx, bob.me.dsk)
        assert device is not None
        begun_s = Sessions.decode(device.sessions).begun_s
        begun += begun_s not in epochs
        epochs.add(begun_s)
        world.clock.now_s += 1
    assert begun <= 120 / BACK_OFF_S[0] + 2


def test_a_reset_is_heeded_once_and_only_for_a_session_that_is_held(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(bob, ada, "on its way")
    bob.errands()
    for sid in (os.urandom(8), os.urandom(8)):
        assert not bob.take_message(ada.me.dsk, ada.seal(bob, Reset(sid))).lowered
    device = people.device(bob.tx, ada.me.dsk)
    assert device is not None
    sending = Sessions.decode(device.sessions).sending_sid
    assert sending is not None
    messages = [ada.seal(bob, Reset(sending)) for _ in range(2)]
    assert bob.take_message(ada.me.dsk, messages[0]).lowered == {ada.me.dsk}
    assert not bob.take_message(ada.me.dsk, messages[1]).lowered


def test_an_envelope_that_does_not_open_and_a_stranger_with_a_link_reset_nothing(world: World) -> None:
    ada, bob, _ = world.homes
    before = plan(ada, bob)
    [box] = [box for box in postbox.mailboxes(ada.tx) if box.contact is not None]
    ada.take_envelope(box.mailbox, os.urandom(400))
    invite = ada.invite()
    # In Bob's name, by anybody who has the link: his keys are known to all his contacts.
    forged = bob.offer_on(ada, b"unknown!")
    ada.take_envelope(invite.mailbox, seal_envelope(invite.key, invite.mailbox, bob.me.dsk, forged, os.urandom))
    assert ada.dropped[-1].startswith("UnknownPrekey")
    assert plan(ada, bob) == before


def test_a_card_that_is_swapped_or_withheld_is_told_and_tried_again(world: World) -> None:
    ada, bob, eve = world.homes
    eve.accept(ada.invite())
    world.settle(rounds=4)
    lose_sessions(ada, bob)
    say(bob, ada, "Bob 1")
    [address, *_] = people.addresses(ada.tx, bob.me.dsk)
    [of_eve, *_] = people.addresses(ada.tx, eve.me.dsk)
    genuine = world.node.boxes[address.mailbox].card
    bad_cards: list[bytes | None] = [os.urandom(3000), world.node.boxes[of_eve.mailbox].card, None]
    for bad in bad_cards:
        world.node.boxes[address.mailbox].card = bad
        bob.errands()
        ada.fetch()
        ada.errands()
        if bad is not None:
            assert ada.dropped[-1].startswith("BadCard")
        world.clock.now_s += BACK_OFF_S[-1]
    world.node.boxes[address.mailbox].card = genuine
    world.settle(rounds=6)
    assert ada.texts(bob) == ["Bob 1"]
    both_can_talk(world)


def test_three_offers_in_a_row_that_nobody_confirms_begin_a_new_session(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.clock.now_s += 3600
    for turn in range(LAPSES_LIMIT):
        say(ada, bob, f"Ada {turn}")
        ada.errands()
        [box] = [world.node.boxes[at.mailbox] for at in postbox.mailboxes(bob.tx) if at.contact is not None]
        box.items.clear()  # somebody took them, and it was not Bob
        assert plan(ada, bob).begin_s == 0
        ada.ask_after()
    assert plan(ada, bob).begin_s > 0
    world.settle(rounds=4)
    assert bob.texts(ada) == [f"Ada {turn}" for turn in range(LAPSES_LIMIT)]
    assert plan(ada, bob).lapses == 0


def test_a_reset_does_not_wait_for_a_renewal_that_nobody_answers(world: World) -> None:
    ada, bob = world.ada, world.bob
    people.set_rekeying(ada.tx, bob.me.dsk, begin_s=ada.me.now_s)
    ada.errands()
    assert plan(ada, bob).begin_s >= ada.me.now_s + 3600, "a renewal, tried again in an hour"
    for box in world.node.boxes.values():
        box.items.clear()
    world.clock.now_s += 60
    forged = bytearray(bob.seal(ada, Ring()))
    forged[-1] ^= 1
    ada.take_message(bob.me.dsk, bytes(forged))
    assert plan(ada, bob).unread is not None
    assert plan(ada, bob).begin_s <= ada.me.now_s + BACK_OFF_S[0]


def test_a_confirmation_does_not_take_the_place_of_a_handshake_on_its_way(world: World) -> None:
    ada, bob = world.ada, world.bob
    people.set_rekeying(ada.tx, bob.me.dsk, begin_s=ada.me.now_s)
    for beginning in rekeying.due(ada.tx, ada.me, NODE)[0]:
        ada.begin(beginning)
    # The node is away; by its own mailbox, Bob's words still come.
    say(bob, ada, "meanwhile")
    bob.errands()
    ada.fetch()
    ada.post_all()
    bob.fetch()
    device = people.device(bob.tx, ada.me.dsk)
    begun = people.device(ada.tx, bob.me.dsk)
    assert device is not None and begun is not None
    assert Sessions.decode(device.sessions).begun_s == Sessions.decode(begun.sessions).begun_s


def test_offers_to_a_device_that_was_forgotten_meanwhile_begin_nothing(world: World) -> None:
    """A contact is begun anew with a fresh invite while an answer about the old device is on its way."""
    ada, bob = world.ada, world.bob
    ada.do(lambda tx: people.forget_devices(tx, ada.contact(bob).id))
    ada.do(lambda tx: planning.lapsed(tx, ada.me, bob.me.dsk))
    ada.do(lambda tx: planning.tried(tx, ada.me, bob.me.dsk))
    assert people.to_begin_with(ada.tx) == []
