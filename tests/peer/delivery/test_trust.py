"""Changed keys, contacts shut out and let in again, addresses renewed, invites withdrawn: as the database sees it."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable
from functools import partial

import pytest
from overfence.delivery import invites, moving, parting, trust
from overfence.delivery.me import Me
from overfence.delivery.outcome import Outcome
from overfence.errors import (
    ContactBlocked,
    InviteAccepted,
    KeyChangeLost,
    NoKeyChange,
    UnknownInvite,
)
from overfence.history import people, postbox
from overfence.history.event import Topic
from overfence.history.people import ContactState
from overfence.identity import Device, DeviceList, Invite, fingerprint, user_id
from overfence.sealing import decline_message, open_envelope, seal_envelope, seal_nameless

from .conftest import NODE, START_S, Home, World


def heir(bob: Home, ada: Home, name: str = "Bob", seed: int = 7) -> Home:
    """A home under another account that holds what Bob knows of Ada's mailbox for him, and knocks there."""
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    home = Home(name, bob.node, seed)
    device_hash = fingerprint(ada.me.dsk, ada.identity.dik)
    home.accept(Invite(ada.identity.account, address.node, address.mailbox, address.key, START_S + 10**6, device_hash))
    home.errands()
    return home


def claimed(home: Home, of: Home) -> bytes | None:
    return home.contact(of).claimed


def accept_new(home: Home, of: Home) -> Outcome:
    outcome = Outcome()
    home.do(lambda tx: parting.accept_new_key(tx, home.me, people.contact(tx, home.contact(of).id), None, outcome))
    return outcome


@pytest.fixture
def acquainted(world: World) -> World:
    world.acquaint()
    return world


# ── a changed key ─────────────────────────────────────────────────────────────────────────────────


def test_another_account_in_the_contacts_own_mailbox_is_a_question_and_nothing_else(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    new = heir(bob, ada)
    new.say(new.contact(ada).id, "it is me, Bob, with a new phone")
    new.errands()
    ada.fetch()
    assert claimed(ada, bob) == new.identity.account
    assert not ada.knows(new)
    assert ada.texts(bob) == []
    assert ada.shown == [one for one in ada.shown if one[1].header.device == bob.me.dsk]
    bob.say(bob.contact(ada).id, "who is that?")
    acquainted.settle()
    assert ada.texts(bob) == ["who is that?"]
    assert claimed(ada, bob) == new.identity.account


def test_it_is_told_once_and_again_for_another_account(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    number = ada.contact(bob).id

    def told() -> list[set[int]]:
        found = []
        for mine in postbox.mailboxes(ada.tx, NODE):
            for seq, _, envelope, day in ada.node.boxes[mine.mailbox].items:
                found.append(ada.take_envelope(mine.mailbox, envelope, day, seq).key_changes)
        return found

    new = heir(bob, ada)
    assert told() == [{number}]
    acquainted.clock.now_s += 120
    new.say(new.contact(ada).id, "again")
    new.errands()
    assert told()[-1] == set()
    other = heir(bob, ada, "Mallory", 9)
    assert told()[-1] == {number}
    assert claimed(ada, bob) == other.identity.account
    # Of accounts by the dozen only the newest is kept, and one a minute is told (`Exchange`, by `Wariness.is_news`).
    third = heir(bob, ada, "Trudy", 11)
    assert told()[-1] == {number}
    assert claimed(ada, bob) == third.identity.account


def test_the_new_key_is_accepted_and_the_conversation_goes_on_there(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    bob.say(bob.contact(ada).id, "with the old key")
    acquainted.settle(rounds=3)
    old = ada.contact(bob)
    ada.do(lambda tx: people.set_contact(tx, old.id, alias="Bobby", verified_s=5))
    new = heir(bob, ada)
    acquainted.homes.append(new)
    new.say(new.contact(ada).id, "with the new one")
    new.errands()
    ada.fetch()
    accept_new(ada, bob)
    row = ada.contact(new)
    assert (row.state, row.verified_s, row.alias) == (ContactState.ACCEPTED, 0, "Bobby")
    assert ada.contact(bob).state is ContactState.REMOVED
    ada.say(row.id, "welcome back")
    acquainted.settle()
    assert ada.texts(new) == new.texts(ada) == ["with the new one", "welcome back"]
    assert ada.texts(bob) == ["with the old key"]
    acquainted.check(ada, new)
    assert new.contact(ada).state is ContactState.ACCEPTED
    with pytest.raises(NoKeyChange):
        ada.do(lambda tx: trust.keep_old_key(tx, old.id))


def test_the_old_key_is_kept_and_that_account_does_not_ask_again(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    new = heir(bob, ada)
    ada.fetch()
    ada.do(lambda tx: trust.keep_old_key(tx, ada.contact(bob).id))
    assert claimed(ada, bob) is None
    ada.dropped.clear()
    new.say(new.contact(ada).id, "hello?")
    new.errands()
    ada.fetch()
    assert claimed(ada, bob) is None
    assert ada.dropped[0].startswith("UnknownDevice")
    bob.say(bob.contact(ada).id, "still me")
    acquainted.settle()
    assert ada.texts(bob) == ["still me"]
    for seed in range(20, 20 + trust.REJECTED_LIMIT + 2):
        heir(bob, ada, "another", seed)
        ada.fetch()
        ada.do(lambda tx: trust.keep_old_key(tx, ada.contact(bob).id))
    (size,) = ada.tx.execute("SELECT length(value) FROM settings WHERE key LIKE 'rejected%'").fetchone()
    assert size == 32 * trust.REJECTED_LIMIT


def test_what_one_looked_at_is_what_one_decides_on(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    seen = heir(bob, ada)
    ada.fetch()
    heir(bob, ada, "Mallory", 9)
    ada.fetch()
    row = ada.contact(bob)
    for decide in (
        lambda tx: parting.accept_new_key(tx, ada.me, row, user_id(seen.identity.account), Outcome()),
        lambda tx: trust.keep_old_key(tx, row.id, user_id(seen.identity.account)),
    ):
        before = ada.fingerprint()
        with pytest.raises(NoKeyChange):
            ada.do(decide)
        assert ada.fingerprint() == before


def test_a_new_key_whose_message_cannot_be_read_any_more_changes_nothing(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    heir(bob, ada)
    ada.fetch()
    ada.tx.execute("DELETE FROM prekeys")
    before = ada.fingerprint()
    with pytest.raises(KeyChangeLost):
        accept_new(ada, bob)
    assert ada.fingerprint() == before
    assert ada.contact(bob).state is ContactState.ACCEPTED


def forged_list(home: Home, ada: Home, bob: Home) -> None:
    """The account's list names another device than the one that writes."""
    listed = DeviceList.sign(home.identity, [Device(bob.me.dsk, bob.identity.dik)], START_S)
    home.me = dataclasses.replace(home.me, device_list=listed)


def others_list(home: Home, ada: Home, bob: Home) -> None:
    """Another account's list: one may not raise the alarm in somebody's name."""
    home.me = dataclasses.replace(home.me, device_list=ada.me.device_list)


class _Unwilling(Me):
    @property
    def consent(self) -> bytes:
        return bytes(64)


def no_consent(home: Home, ada: Home, bob: Home) -> None:
    """The device has not agreed."""
    home.me = _Unwilling(*(getattr(home.me, one.name) for one in dataclasses.fields(home.me)))


@pytest.mark.parametrize("spoil", [forged_list, others_list, no_consent])
def test_without_proof_of_account_and_device_nobody_raises_the_alarm(
    acquainted: World, spoil: Callable[[Home, Home, Home], None]
) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    home = Home("Bob", acquainted.node, 7)
    spoil(home, ada, bob)
    home.accept(
        Invite(
            *(ada.identity.account, address.node, address.mailbox, address.key, START_S + 10**6),
            fingerprint(ada.me.dsk, ada.identity.dik),
        )
    )
    home.errands()
    before = ada.fingerprint()
    [(_, _, envelope, _)] = ada.node.boxes[address.mailbox].items
    assert ada.take_envelope(address.mailbox, envelope).key_changes == set()
    assert ada.fingerprint() == before


def test_a_handshake_changed_on_its_way_or_half_made_raises_no_alarm(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    heir(bob, ada)
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    [(_, _, envelope, _)] = ada.node.boxes[address.mailbox].items
    _, message = open_envelope(address.key, address.mailbox, envelope)
    before = ada.fingerprint()
    for at in (5, 40, 80, 120, 1300, len(message) - 1):
        bent = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        sealed = seal_envelope(address.key, address.mailbox, os.urandom(32), bent, os.urandom)
        assert ada.take_envelope(address.mailbox, sealed).key_changes == set()
        assert ada.fingerprint() == before
    ada.take_envelope(address.mailbox, envelope)
    assert claimed(ada, bob) is not None


def test_the_question_survives_a_restart_and_goes_with_the_contact(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    new = heir(bob, ada)
    ada.fetch()
    ada.restart()
    assert claimed(ada, bob) == new.identity.account
    ada.do(lambda tx: parting.remove(tx, ada.contact(bob)))
    assert claimed(ada, bob) is None


def test_a_new_key_of_somebody_blocked_is_not_let_in(acquainted: World) -> None:
    ada, bob, eve = acquainted.homes
    eve.accept(ada.invite())
    acquainted.settle(rounds=4)
    ada.do(lambda tx: parting.block(tx, ada.contact(eve)))
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    stolen = Invite(
        *(ada.identity.account, address.node, address.mailbox, address.key, START_S + 10**6),
        fingerprint(ada.me.dsk, ada.identity.dik),
    )
    eve.accept(stolen)
    eve.errands()
    ada.fetch()
    # She is known here in her own name: that is no changed key of Bob's, and no way around the block.
    assert claimed(ada, bob) is None
    assert ada.contact(eve).state is ContactState.BLOCKED
    assert ada.dropped[-1].startswith("UnknownDevice")


# ── block and unblock ─────────────────────────────────────────────────────────────────────────────


def test_nothing_goes_or_comes_while_blocked_and_what_was_said_meanwhile_comes_then(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    bob.say(bob.contact(ada).id, "before")
    acquainted.settle(rounds=3)
    number = ada.contact(bob).id
    ada.do(lambda tx: parting.block(tx, people.contact(tx, number)))
    bob.say(bob.contact(ada).id, "while blocked")
    acquainted.settle()
    assert ada.texts(bob) == ["before"]
    assert bob.ticked == len(bob.log(ada, bob)) - 1
    ada.do(lambda tx: parting.unblock(tx, ada.me, people.contact(tx, number)))
    ada.say(number, "hello again")
    acquainted.settle()
    assert ada.contact(bob).state is ContactState.ACCEPTED
    assert ada.texts(bob) == bob.texts(ada)
    assert sorted(ada.texts(bob)) == ["before", "hello again", "while blocked"]
    acquainted.check(ada, bob)
    assert ada.contact(bob).topics[:32] == bob.contact(ada).topics[:32]


def test_a_blocked_contacts_link_brings_nothing(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    number = ada.contact(bob).id
    bob.links[ada.me.dsk] = []
    bob.say(bob.contact(ada).id, "by link")
    bob.seal_all()
    ada.do(lambda tx: parting.block(tx, people.contact(tx, number)))
    [message] = bob.links.pop(ada.me.dsk)
    outcome = ada.take_message(bob.me.dsk, message)
    assert outcome.ordered == [] and ada.texts(bob) == []
    assert outcome.to_link == [] and not postbox.waiting_puts(ada.tx, NODE, 2**50, 10)


def test_a_blocked_contact_comes_back_by_no_invite(acquainted: World) -> None:
    ada, bob, eve = acquainted.homes
    number = ada.contact(bob).id
    ada.do(lambda tx: parting.block(tx, people.contact(tx, number)))
    theirs, mine = bob.invite(), ada.invite()
    with pytest.raises(ContactBlocked):
        ada.accept(theirs)
    bob.accept(mine)
    acquainted.settle()
    assert ada.contact(bob).state is ContactState.BLOCKED
    eve.accept(mine)
    acquainted.settle()
    assert ada.contact(eve).state is ContactState.ACCEPTED


def test_who_was_waiting_waits_again_after_a_block(world: World) -> None:
    ada, bob = world.ada, world.bob
    row = bob.accept(ada.invite())
    bob.do(lambda tx: parting.block(tx, people.contact(tx, row.id)))
    bob.errands()
    with pytest.raises(ContactBlocked):
        bob.do(lambda tx: parting.block(tx, people.contact(tx, row.id)))
    bob.do(lambda tx: parting.unblock(tx, bob.me, people.contact(tx, row.id)))
    assert bob.contact(ada).state is ContactState.WAITING
    bob.say(row.id, "here I am")
    world.settle()
    assert ada.texts(bob) == ["here I am"]
    world.check(ada, bob)


# ── new addresses ─────────────────────────────────────────────────────────────────────────────────


def test_the_old_mailbox_is_followed_until_they_know_the_new_and_then_closed(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    row = ada.contact(bob)
    [old] = postbox.mailbox_for(ada.tx, row.id)
    before = row.topics
    bob.say(bob.contact(ada).id, "to the old one")
    bob.errands()
    ada.do(lambda tx: moving.renew(tx, ada.me, people.contact(tx, row.id)))
    [new] = postbox.mailbox_for(ada.tx, row.id)
    assert new.mailbox != old.mailbox
    topics = ada.contact(bob).topics
    assert topics[32:64] == before[:32] and topics[:32] not in before
    ada.errands()
    assert old.mailbox in ada.node.boxes
    bob.fetch()
    assert [one.mailbox for one in people.addresses(bob.tx, ada.me.dsk)] == [new.mailbox]
    assert old.mailbox in ada.node.boxes
    acquainted.settle()
    assert old.mailbox not in ada.node.boxes and new.mailbox in ada.node.boxes
    assert ada.texts(bob) == ["to the old one"]
    assert ada.contact(bob).topics == topics[:32]
    assert bob.contact(ada).topics[:32] == topics[:32]
    bob.say(bob.contact(ada).id, "to the new one")
    acquainted.settle()
    acquainted.check(ada, bob)
    assert ada.texts(bob)[-1] == "to the new one"


def test_what_they_confirm_of_earlier_closes_nothing(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    row = ada.contact(bob)
    [old] = postbox.mailbox_for(ada.tx, row.id)
    ada.say(row.id, "earlier")
    ada.errands()
    bob.fetch()
    bob.errands()
    ada.do(partial(renewed, me=ada.me, number=row.id))
    ada.fetch()
    ada.errands()
    assert ada.ticked == len(bob.log(ada, ada))
    assert old.mailbox in ada.node.boxes


def test_what_was_left_at_an_old_address_is_sealed_anew_at_once(acquainted: World) -> None:
    """Its owner may never look there again: who was set back to an older copy has lost that mailbox's key."""
    ada, bob = acquainted.ada, acquainted.bob
    bob.say(bob.contact(ada).id, "to the old one")
    bob.errands()
    [old] = [mailbox for (mailbox,) in bob.tx.execute("SELECT mailbox FROM puts WHERE log IS NOT NULL")]
    ada.do(partial(renewed, me=ada.me, number=ada.contact(bob).id))
    ada.errands()
    bob.fetch()
    bob.errands()
    [new] = [mailbox for (mailbox,) in bob.tx.execute("SELECT mailbox FROM puts WHERE log IS NOT NULL")]
    assert new != old
    del ada.node.boxes[old]
    acquainted.settle()
    assert ada.texts(bob) == ["to the old one"]


def test_both_renew_at_once_and_meet_under_one_secret(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    for one, other in ((ada, bob), (bob, ada)):
        one.do(partial(renewed, me=one.me, number=one.contact(other).id))
    acquainted.settle()
    assert ada.contact(bob).topics[:32] == bob.contact(ada).topics[:32]
    assert len(ada.contact(bob).topics) == 64
    ada.say(ada.contact(bob).id, "still here")
    acquainted.settle()
    assert bob.texts(ada) == ["still here"]
    acquainted.check(ada, bob)


def renewed(tx: sqlite3.Connection, me: Me, number: int) -> None:
    moving.renew(tx, me, people.contact(tx, number))


def test_renewed_twice_before_they_hear_of_it_closes_both(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    number = ada.contact(bob).id
    for _ in range(2):
        ada.do(partial(renewed, me=ada.me, number=number))
    acquainted.settle()
    kept = [box.mailbox for box in postbox.mailboxes(ada.tx) if box.contact == number]
    assert kept == [at.mailbox for at in people.addresses(bob.tx, ada.me.dsk)]
    assert len(ada.contact(bob).topics) == 32
    bob.say(bob.contact(ada).id, "found you")
    acquainted.settle()
    assert ada.texts(bob) == ["found you"]


def test_a_topic_that_is_no_secret_is_refused(acquainted: World) -> None:
    ada, bob = acquainted.ada, acquainted.bob
    before = ada.contact(bob).topics
    bob.do(lambda tx: bob.me.write(tx, bob.contact(ada), "topic", Topic(b"short")))
    acquainted.settle()
    assert ada.contact(bob).topics == before
    acquainted.check(ada, bob)


# ── invites ───────────────────────────────────────────────────────────────────────────────────────


def test_an_open_invite_is_listed_and_cancelled(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    assert [(one.invite, one.guest) for one in invites.open_invites(ada.tx, ada.me)] == [(invite, None)]
    ada.do(lambda tx: invites.cancel(tx, invite.mailbox))
    assert invites.open_invites(ada.tx, ada.me) == []
    ada.errands()
    bob.accept(invite)
    world.settle()
    assert bob.contact(ada).state is ContactState.REFUSED
    with pytest.raises(UnknownInvite):
        ada.do(lambda tx: invites.cancel(tx, invite.mailbox))


def test_who_has_come_stays_when_the_invite_is_cancelled(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    bob.accept(invite)
    bob.errands()
    ada.fetch()
    assert [one.guest for one in invites.open_invites(ada.tx, ada.me)] == [ada.contact(bob).id]
    ada.do(lambda tx: invites.cancel(tx, invite.mailbox))
    world.settle()
    assert (ada.contact(bob).state, bob.contact(ada).state) == (ContactState.ACCEPTED, ContactState.ACCEPTED)


def test_an_expired_invite_is_not_listed(world: World) -> None:
    world.ada.invite(life_s=60)
    world.clock.now_s += 61
    assert invites.open_invites(world.ada.tx, world.ada.me) == []


def test_an_invite_is_declined_by_nobody_known(world: World) -> None:
    ada, eve = world.ada, world.eve
    invite = ada.invite()
    eve.do(lambda tx: invites.decline(tx, eve.me, invite))
    eve.errands()
    [(_, _, envelope, _)] = ada.node.boxes[invite.mailbox].items
    hint, message = open_envelope(invite.key, invite.mailbox, envelope)
    assert hint == bytes(8) and eve.me.dsk not in message and len(message) == 34
    outcome = ada.take_envelope(invite.mailbox, envelope)
    assert outcome.declined == [invite]
    ada.errands()
    assert invite.mailbox not in ada.node.boxes
    assert people.contacts(ada.tx) == people.contacts(eve.tx) == []


def test_declining_needs_the_link_and_an_invite_nobody_used(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite()
    for message in (
        decline_message(os.urandom(32), invite.mailbox),
        decline_message(invite.key, os.urandom(16)),
        decline_message(invite.key, invite.mailbox)[:-1],
        b"\x01\x03",
    ):
        before = ada.fingerprint()
        ada.take_envelope(invite.mailbox, seal_nameless(invite.key, invite.mailbox, message, os.urandom))
        assert ada.fingerprint() == before
    bob.accept(invite)
    bob.errands()
    ada.fetch()
    with pytest.raises(InviteAccepted):
        bob.do(lambda tx: invites.decline(tx, bob.me, invite))
    eve.do(lambda tx: invites.decline(tx, eve.me, invite))
    eve.errands()
    ada.dropped.clear()
    ada.fetch()
    assert len(ada.dropped) == 1 and "declined that was used" in ada.dropped[0]
    world.settle()
    world.check(ada, bob)


def test_what_could_not_be_declined_in_time_is_left(world: World) -> None:
    ada, eve = world.ada, world.eve
    invite = ada.invite(life_s=60)
    eve.do(lambda tx: invites.decline(tx, eve.me, invite))
    eve.do(lambda tx: invites.forget_declined(tx, invite.expires_s - 1))
    assert len(postbox.waiting_puts(eve.tx, NODE, 2**50, 10)) == 1
    eve.do(lambda tx: invites.forget_declined(tx, invite.expires_s))
    assert postbox.waiting_puts(eve.tx, NODE, 2**50, 10) == []
    assert eve.tx.execute("SELECT count(*) FROM settings WHERE key LIKE 'declined%'").fetchone() == (0,)
