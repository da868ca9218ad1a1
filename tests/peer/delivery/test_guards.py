"""What a contact, or the time between two transactions, may not bring about."""

from __future__ import annotations

import os

import pytest
from overfence.delivery import listing, parting, planning, rekeying, trust
from overfence.delivery.outcome import Outcome
from overfence.delivery.payload import Fork, Have, Ring
from overfence.delivery.planning import BACK_OFF_S
from overfence.history import people, postbox
from overfence.history.event import Devices
from overfence.identity import Device, DeviceList, Identity
from overfence.sealing import Sessions, open_card, seal_envelope

from .conftest import NODE, START_S, Home, World


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def to_begin(world: World, home: Home, other: Home) -> tuple[rekeying.Due, object]:
    """A session that is due, and the card it is to be begun on, just come from the node."""
    home.do(lambda tx: people.set_rekeying(tx, other.me.dsk, begin_s=home.me.now_s, unread=b"unread!!"))
    [beginning], _ = rekeying.due(home.tx, home.me, NODE)
    box = world.node.boxes[beginning.address.mailbox]
    assert box.card is not None
    return beginning, open_card(beginning.address.key, beginning.address.mailbox, box.card)


def test_whoever_was_blocked_while_a_card_was_awaited_is_not_written_to(world: World) -> None:
    ada, bob = world.ada, world.bob
    beginning, card = to_begin(world, ada, bob)
    ada.do(lambda tx: parting.block(tx, people.contact(tx, beginning.device.contact)))
    outcome = ada.do(lambda tx: rekeying.begin(tx, ada.me, beginning, card))  # type: ignore[arg-type] # a card it is
    assert not outcome.nodes
    assert ada.tx.execute("SELECT count(*) FROM puts WHERE dsk = ?", (bob.me.dsk,)).fetchone() == (0,)


def test_a_session_answered_while_a_card_was_awaited_is_not_begun_again(world: World) -> None:
    ada, bob = world.ada, world.bob
    beginning, card = to_begin(world, ada, bob)
    ada.do(lambda tx: planning.succeeded(tx, bob.me.dsk))
    before = ada.fingerprint()
    ada.do(lambda tx: rekeying.begin(tx, ada.me, beginning, card))  # type: ignore[arg-type] # a card it is
    ada.do(lambda tx: planning.tried(tx, ada.me, bob.me.dsk))
    assert ada.fingerprint() == before


def test_nothing_goes_to_a_verified_contact_whose_key_is_in_question(world: World) -> None:
    ada, bob = world.ada, world.bob
    number = ada.contact(bob).id
    ada.say(number, "before it was known")
    ada.do(lambda tx: trust.set_verified(tx, number, 1))
    ada.tx.execute("INSERT INTO key_changes VALUES (?, ?, x'', 0)", (number, os.urandom(32)))
    world.settle(rounds=2)
    assert bob.texts(ada) == []
    ada.do(lambda tx: trust.keep_old_key(tx, number))
    world.settle(rounds=2)
    assert bob.texts(ada) == ["before it was known"]


def test_a_log_that_was_replaced_a_moment_ago_is_not_written_to(world: World) -> None:
    """Two forks told in one message: what is said anew goes where it is read."""
    ada, bob = world.ada, world.bob
    for number in range(4):
        ada.say(ada.contact(bob).id, f"{number}")
    row = ada.contact(bob)
    ada.take_message(bob.me.dsk, bob.seal(ada, Fork(row.conv, ada.me.dsk, row.log, 1, os.urandom(32))))
    second = ada.contact(bob).log
    claims = [Fork(row.conv, ada.me.dsk, log, 1, os.urandom(32)) for log in (second, row.log)]
    ada.take_message(bob.me.dsk, bob.seal(ada, *claims))
    world.settle(rounds=6)
    assert bob.texts(ada) == ["0", "1", "2", "3"]


def test_renewals_that_nobody_answered_leave_a_resets_back_off_whole(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.clock.now_s += 3600
    ada.do(lambda tx: people.set_rekeying(tx, bob.me.dsk, begin_s=ada.me.now_s, resets=3))
    device = people.device(ada.tx, bob.me.dsk)
    assert device is not None
    ada.do(lambda tx: planning.unread(tx, ada.me, device, b"unread!!", Outcome()))
    ada.do(lambda tx: planning.tried(tx, ada.me, bob.me.dsk))
    assert people.rekeying(ada.tx, bob.me.dsk).begin_s == ada.me.now_s + BACK_OFF_S[0]


def hears(ada: Home, bob: Home, listed: DeviceList) -> None:
    ada.act(lambda tx, outcome: listing.hear(tx, ada.me, ada.contact(bob), bob.me.dsk, listed.raw, outcome))


def test_an_account_that_lists_devices_and_takes_them_off_again_costs_one_renewal_an_hour(world: World) -> None:
    ada, bob = world.ada, world.bob
    own = Device(bob.me.dsk, bob.identity.dik)
    strangers = [Identity.create(os.urandom) for _ in range(20)]

    def boxes() -> int:
        return len([box for box in postbox.mailboxes(ada.tx) if box.contact == ada.contact(bob).id])

    before = boxes()
    for number, stranger in enumerate(strangers):
        device = Device(stranger.dsk, stranger.dik)
        for at, devices in enumerate(([own, device], [own])):
            listed = DeviceList.sign(bob.identity, devices, START_S + 10 + 2 * number + at)
            hears(ada, bob, listed)
            if at == 0:
                row = people.DeviceRow(*device, ada.contact(bob).id, Sessions().encode(), b"")
                people.put_device(ada.tx, row, os.urandom(8))
    assert boxes() <= before + 1


def test_made_up_prekeys_at_an_invite_cost_one_card_an_hour(world: World) -> None:
    ada, eve = world.ada, world.eve
    invite = ada.invite()
    made = ada.tx.execute("SELECT count(*) FROM prekeys").fetchone()
    for _ in range(20):
        message = eve.offer_on(ada, os.urandom(8))
        ada.take_envelope(invite.mailbox, seal_envelope(invite.key, invite.mailbox, eve.me.dsk, message, os.urandom))
        ada.errands()
    assert ada.tx.execute("SELECT count(*) FROM prekeys").fetchone() == made


def test_many_envelopes_taken_at_once_are_one_offer_that_went_unconfirmed(world: World) -> None:
    ada, bob = world.ada, world.bob
    for number in range(5):
        ada.say(ada.contact(bob).id, f"{number}")
        ada.errands()
    [box] = [world.node.boxes[at.mailbox] for at in postbox.mailboxes(bob.tx) if at.contact is not None]
    box.items.clear()
    ada.ask_after()
    assert people.rekeying(ada.tx, bob.me.dsk).lapses == 1


def test_a_fact_of_a_revoked_device_holds_no_more(world: World) -> None:
    ada, bob = world.ada, world.bob
    listed = DeviceList.sign(bob.identity, [Device(bob.me.dsk, bob.identity.dik)], START_S + 99)
    bob.do(lambda tx: bob.me.write(tx, bob.contact(ada), "devices", Devices(listed.raw)))
    world.settle(rounds=2)
    assert people.newest_device_list(ada.tx, bob.identity.account) == listed.raw


def test_two_who_blocked_each_other_find_each_other_again(world: World) -> None:
    ada, bob = world.ada, world.bob
    for home, other in ((ada, bob), (bob, ada)):
        number = home.contact(other).id
        home.do(lambda tx, number=number: parting.block(tx, people.contact(tx, number)))  # type: ignore[misc] # mypy: no default in lambdas
        world.settle(rounds=2)
    for home, other in ((ada, bob), (bob, ada)):
        number = home.contact(other).id
        home.do(lambda tx, home=home, number=number: parting.unblock(tx, home.me, people.contact(tx, number)))  # type: ignore[misc] # as above
        world.settle(rounds=2)
    ada.say(ada.contact(bob).id, "Ada")
    bob.say(bob.contact(ada).id, "Bob")
    for _ in range(8):
        world.settle(rounds=2)
        world.clock.now_s += 3600
    assert set(ada.texts(bob)) == set(bob.texts(ada)) == {"Ada", "Bob"}


def test_the_clock_of_a_conversation_rises_by_steps(world: World) -> None:
    ada, bob = world.ada, world.bob
    row = ada.contact(bob)
    ada.take_message(bob.me.dsk, bob.seal(ada, Have(row.conv, (), 2**48)))
    assert ada.say(row.id, "and on").header.lamport < 2**21


def test_what_is_told_of_a_refusal_holds_no_key_and_no_message(world: World) -> None:
    """An error keeps the frames it was raised in, and they keep what was in hand there: keys and messages."""
    ada, bob = world.ada, world.bob
    genuine = bob.seal(ada, Ring())
    for damaged in (b"nonsense", genuine[:-1] + bytes((genuine[-1] ^ 1,)), bob.offer_on(ada, b"unknown!")):
        [refused] = ada.take_message(bob.me.dsk, damaged).dropped
        error = refused.error
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
