"""Two people and an invite: it makes one contact, of the one who held it, whatever gets lost on the way."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from functools import partial

import pytest
from overfence.delivery import meeting, outgoing
from overfence.delivery.meeting import REFUSALS_LIMIT, InviteExpired, OwnInvite
from overfence.delivery.payload import LOGS_LIMIT, Batch, Introduction, encode_payload
from overfence.history import people, postbox
from overfence.history.event import Text
from overfence.history.log import extend
from overfence.history.people import ContactState
from overfence.identity import Device, DeviceList, Invite, fingerprint
from overfence.sealing import BadCard, Sessions, open_card, open_envelope, seal_card, seal_envelope
from overfence_reliability import Run

from .conftest import START_S, Home, World


def state(home: Home, other: Home) -> str:
    return home.contact(other).state.value


def guests(home: Home) -> list[bytes | None]:
    return [guest for (guest,) in home.tx.execute("SELECT guest FROM invites")]


def test_invite_knock_answer(world: World) -> None:
    ada, bob = world.ada, world.bob
    contact = bob.accept(ada.invite())
    assert (contact.state, contact.conv) == (ContactState.WAITING, bob.contact(ada).conv)
    bob.say(contact.id, "may I?")
    world.settle()
    world.check(ada, bob)
    assert (state(ada, bob), state(bob, ada)) == ("accepted", "accepted")
    assert (ada.contact(bob).name, bob.contact(ada).name) == ("Bob", "Ada")
    assert ada.texts(bob) == ["may I?"]
    ada.say(ada.contact(bob).id, "come in")
    world.settle()
    assert bob.texts(ada) == ["may I?", "come in"]
    assert ada.contact(bob).topics == bob.contact(ada).topics != b""
    assert guests(ada) == [], "a used invite's mailbox is closed once its guest has heard"
    assert not ada.dropped + bob.dropped


def test_what_was_written_before_the_answer_goes_with_the_first_knock(world: World) -> None:
    contact = world.bob.accept(world.ada.invite())
    for number in range(3):
        world.bob.say(contact.id, f"{number}")
    world.bob.errands()
    world.ada.fetch()
    assert world.ada.texts(world.bob) == ["0", "1", "2"]


def test_a_second_guest_is_refused_and_keeps_the_text(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite()
    bob.accept(invite)
    late = eve.accept(invite)
    eve.say(late.id, "me too")
    bob.errands()
    eve.errands()
    ada.fetch()
    world.settle()
    assert (state(bob, ada), state(eve, ada)) == ("accepted", "refused")
    assert not ada.knows(eve)
    assert eve.texts(ada) == ["me too"]


def test_a_guest_who_comes_when_the_mailbox_is_gone_is_refused(world: World) -> None:
    invite = world.ada.invite()
    world.bob.accept(invite)
    world.settle()
    world.eve.accept(invite)
    world.settle()
    assert state(world.eve, world.ada) == "refused"


def test_a_refused_guest_with_a_fresh_invite_begins_anew_and_its_text_arrives_at_once(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite()
    bob.accept(invite)
    eve.say(eve.accept(invite).id, "me too")
    bob.errands()
    eve.errands()
    ada.fetch()
    ada.errands()
    eve.fetch()
    assert state(eve, ada) == "refused"
    eve.accept(ada.invite())
    assert state(eve, ada) == "waiting"
    eve.errands()
    ada.fetch()
    assert ada.texts(eve) == ["me too"]
    world.settle()
    world.check(ada, eve)
    world.check(ada, bob)


def test_a_guest_whose_answer_was_lost_asks_again_and_is_answered(world: World) -> None:
    ada, bob = world.ada, world.bob
    bob.accept(ada.invite())
    bob.errands()
    ada.fetch()
    ada.errands()
    for box in postbox.mailboxes(bob.tx):
        world.node.boxes[box.mailbox].items.clear()
    assert state(bob, ada) == "waiting"
    world.settle()
    world.check(ada, bob)
    assert state(bob, ada) == "accepted"
    assert len(people.contacts(ada.tx)) == 1


def test_a_knock_the_node_lost_is_made_again(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    bob.say(bob.accept(invite).id, "hello?")
    bob.errands()
    world.node.boxes[invite.mailbox].items.clear()
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == ["hello?"]


def test_the_same_knock_again_and_again_is_one_guest(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    bob.say(bob.accept(invite).id, "once")
    bob.errands()
    [item, *_] = world.node.boxes[invite.mailbox].items
    ada.fetch()
    for _ in range(5):
        ada.take_envelope(invite.mailbox, item[2])
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == ["once"]
    assert len(ada.shown) == len(bob.log(ada, bob))


def test_an_expired_invite_is_not_accepted_and_not_taken(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite(life_s=3600)
    eve.accept(invite)
    world.clock.now_s = START_S + 3600
    with pytest.raises(InviteExpired):
        bob.accept(invite)
    assert not bob.knows(ada)
    eve.errands()
    assert state(eve, ada) == "expired"
    # One who knocks all the same, two days late by the node's count.
    row = eve.contact(ada)
    card = open_card(invite.key, invite.mailbox, world.node.boxes[invite.mailbox].card or b"")
    eve.do(lambda tx: people.set_contact(tx, row.id, state=ContactState.WAITING))
    eve.do(lambda tx: meeting.knock(tx, eve.me, row, invite, card))
    world.clock.now_s = START_S + 2 * 86_400
    eve.seal_all()
    eve.post_all()
    ada.fetch()
    assert not ada.knows(eve)
    ada.errands()
    eve.fetch()
    assert state(eve, ada) == "expired"


def test_what_the_node_received_in_time_counts_however_late_it_is_read(world: World) -> None:
    ada, bob = world.ada, world.bob
    bob.accept(ada.invite(life_s=3600))
    bob.errands()
    world.clock.now_s += 5 * 86_400
    ada.fetch()
    assert state(ada, bob) == "accepted"


def test_ones_own_invite_is_not_accepted(world: World) -> None:
    with pytest.raises(OwnInvite):
        world.ada.accept(world.ada.invite())
    assert people.contacts(world.ada.tx) == []


def test_a_card_of_another_device_is_not_believed(world: World) -> None:
    """The node, or somebody with the invite, puts another card there."""
    ada, bob, eve = world.homes
    invite, other = ada.invite(), eve.invite()
    card = open_card(other.key, other.mailbox, world.node.boxes[other.mailbox].card or b"")
    row = bob.accept(invite)
    before = bob.fingerprint()
    with pytest.raises(BadCard):
        bob.do(lambda tx: meeting.knock(tx, bob.me, row, invite, card))
    assert bob.fingerprint() == before


def knock_with(
    guest: Home,
    host: Home,
    invite: Invite,
    proof: bytes | None,
    *,
    listed: bytes | None = None,
    consent: bytes | None = None,
) -> bytes:
    """A knock whose introduction says what we like; ``proof`` None: the right one."""
    card = open_card(invite.key, invite.mailbox, host.node.boxes[invite.mailbox].card or b"")
    sessions = Sessions()
    sessions.initiate(
        guest.identity, card.device, invite.account, card.prekeys, now_s=guest.me.now_s, random=guest.random
    )
    if proof is None:
        proof = outgoing.proof_of(invite.key, sessions.transcript or b"")
    consent = guest.me.consent if consent is None else consent
    payload = encode_payload(Introduction(listed or guest.me.device_list.raw, (), consent, proof))
    message = sessions.seal(payload, random=guest.random)
    return seal_envelope(invite.key, invite.mailbox, guest.me.dsk, message, guest.random)


def test_a_guest_must_prove_that_it_holds_the_invite(world: World) -> None:
    ada, _, eve = world.homes
    invite = ada.invite()
    honest = outgoing.proof_of(invite.key, os.urandom(32))
    for proof in (b"", bytes(32), honest):
        ada.take_envelope(invite.mailbox, knock_with(eve, ada, invite, proof))
    assert not ada.knows(eve)
    assert guests(ada) == [None]
    ada.take_envelope(invite.mailbox, knock_with(eve, ada, invite, None))
    assert ada.knows(eve)
    assert guests(ada) == [eve.identity.account]


def test_a_guest_whose_device_is_not_in_its_accounts_list_is_nobody(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite()
    ada.take_envelope(invite.mailbox, knock_with(eve, ada, invite, None, listed=bob.me.device_list.raw))
    ada.take_envelope(invite.mailbox, knock_with(eve, ada, invite, None, listed=b"garbage"))
    assert people.contacts(ada.tx) == []
    assert guests(ada) == [None]


def test_garbage_in_an_invites_mailbox_changes_nothing(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    good = knock_with(bob, ada, invite, None)
    _, message = open_envelope(invite.key, invite.mailbox, good)
    wrapped = [
        os.urandom(10),
        os.urandom(2000),
        good[:-1],
        good + b"x",
        *(
            seal_envelope(invite.key, invite.mailbox, bob.me.dsk, inside, os.urandom)
            for inside in (
                b"",
                b"\x01\x02",
                b"\x01\x01" + os.urandom(200),
                message[:400],
                message[:-1] + bytes((message[-1] ^ 1,)),
                message[:100] + bytes((message[100] ^ 1,)) + message[101:],
            )
        ),
    ]
    before = ada.fingerprint()
    for envelope in wrapped:
        ada.take_envelope(invite.mailbox, envelope)
        assert ada.fingerprint() == before
    ada.take_envelope(invite.mailbox, good)
    assert ada.knows(bob)


def test_strangers_who_hold_a_used_link_make_us_write_only_so_often(world: World) -> None:
    ada, bob, _ = world.homes
    invite = ada.invite()
    bob.accept(invite)
    bob.errands()
    ada.fetch()
    for number in range(REFUSALS_LIMIT + 8):
        stranger = Home(f"stranger {number}", world.node)
        stranger.accept(invite)
        stranger.errands()
    ada.fetch()
    refusals = [put for put in postbox.waiting_puts(ada.tx, "ws://127.0.0.1:1", ada.me.now_s, 1000) if put.log is None]
    assert REFUSALS_LIMIT - 1 <= len(refusals) <= REFUSALS_LIMIT + 4
    assert len(people.contacts(ada.tx)) == 1


@pytest.mark.parametrize("ada_first", [True, False])
@pytest.mark.parametrize("crossing", [True, False])
def test_two_people_accept_each_others_invites(world: World, ada_first: bool, crossing: bool) -> None:
    ada, bob, eve = world.homes
    from_ada, from_bob = ada.invite(), bob.invite()
    ada.say(ada.accept(from_bob).id, "from Ada")
    bob.say(bob.accept(from_ada).id, "from Bob")
    one, other = (ada, bob) if ada_first else (bob, ada)
    one.errands()
    if crossing:
        other.errands()
    other.fetch()
    one.fetch()
    world.settle()
    world.check(ada, bob)
    assert (state(ada, bob), state(bob, ada)) == ("accepted", "accepted")
    assert sorted(ada.texts(bob)) == sorted(bob.texts(ada)) == ["from Ada", "from Bob"]
    ada.say(ada.contact(bob).id, "both ways")
    bob.say(bob.contact(ada).id, "both ways")
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == bob.texts(ada)
    assert set(ada.contact(bob).topics[at : at + 32] for at in (0, 32)) & set(
        bob.contact(ada).topics[at : at + 32] for at in (0, 32)
    ) - {b""}, "they meet in a topic"
    # Whoever else holds a link that was knocked at must not come in by it.
    knocked = [(one, from_ada if one is ada else from_bob)] if crossing else []
    for host, invite in [*knocked, (other, from_bob if one is ada else from_ada)]:
        eve.accept(invite)
        world.settle(rounds=4)
        assert not host.knows(eve), f"{host.name}'s invite was used twice"


def test_a_knock_forged_in_a_contacts_name_does_not_use_the_invite_up(world: World) -> None:
    """Whoever holds the link could else bind it to an account that never comes."""
    ada, bob, eve = world.homes
    world.acquaint()
    invite = ada.invite()
    raw = open_envelope(invite.key, invite.mailbox, knock_with(bob, ada, invite, None))[1]
    forged = raw[:-1] + bytes((raw[-1] ^ 1,))
    before = ada.fingerprint()
    ada.take_envelope(invite.mailbox, seal_envelope(invite.key, invite.mailbox, bob.me.dsk, forged, os.urandom))
    assert ada.fingerprint() == before
    eve.accept(invite)
    world.settle(rounds=4)
    world.check(ada, eve)


def remove(tx: sqlite3.Connection, number: int) -> None:
    for box in postbox.mailbox_for(tx, number):
        postbox.close_mailbox(tx, box.mailbox)
    people.set_contact(tx, number, state=ContactState.REMOVED)


def test_somebody_removed_comes_back_by_a_fresh_invite(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    bob.say(bob.contact(ada).id, "before")
    world.settle(rounds=3)
    for home, other in ((ada, bob), (bob, ada)):
        home.do(partial(remove, number=home.contact(other).id))
    world.settle(rounds=2)
    bob.say(bob.accept(ada.invite()).id, "after")
    world.settle()
    assert (state(ada, bob), state(bob, ada)) == ("accepted", "accepted")
    ada.say(ada.contact(bob).id, "welcome back")
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == bob.texts(ada) == ["before", "after", "welcome back"]


def test_somebody_i_removed_does_not_come_back_uninvited(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    row = ada.contact(bob)
    ada.do(lambda tx: people.set_contact(tx, row.id, state=ContactState.REMOVED))
    bob.say(bob.contact(ada).id, "hello?")
    bob.errands()
    ada.fetch()
    ada.errands()
    assert ada.contact(bob).state is ContactState.REMOVED
    assert ada.texts(bob) == []


def test_an_invite_accepted_removed_and_accepted_again_waits_again(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    row = bob.accept(invite)
    bob.do(lambda tx: people.set_contact(tx, row.id, state=ContactState.REMOVED))
    assert bob.accept(invite).state is ContactState.WAITING
    assert dataclasses.replace(row, state=ContactState.WAITING) == bob.contact(ada)
    world.settle()
    world.check(ada, bob)
    assert state(ada, bob) == "accepted"


def test_nobody_can_claim_another_persons_device(world: World) -> None:
    ada, bob, eve = world.homes
    bob.accept(ada.invite())
    world.settle()
    before = [(row.dsk, row.contact) for row in people.devices(ada.tx)]
    invite = ada.invite()
    listed = DeviceList.sign(eve.identity, [Device(eve.me.dsk, eve.identity.dik)], START_S)
    stolen = DeviceList.sign(eve.identity, [Device(bob.me.dsk, bob.identity.dik)], START_S)
    for raw, consent in ((stolen.raw, None), (listed.raw, bob.me.consent), (listed.raw, b""), (listed.raw, bytes(64))):
        ada.take_envelope(invite.mailbox, knock_with(eve, ada, invite, None, listed=raw, consent=consent))
    assert [(row.dsk, row.contact) for row in people.devices(ada.tx)] == before
    assert not ada.knows(eve)
    bob.say(bob.contact(ada).id, "still me")
    world.settle()
    assert ada.texts(bob) == ["still me"]


def test_an_invite_whose_card_names_a_contacts_device_is_refused(world: World) -> None:
    ada, bob, eve = world.homes
    known = bob.invite()
    ada.accept(known)
    world.settle()
    # Eve holds an invite of Bob's own, and so his card: she shows it under her account's name.
    genuine = open_card(*fresh_card(bob))
    invite = eve.invite()
    listed = DeviceList.sign(eve.identity, [Device(bob.me.dsk, bob.identity.dik)], START_S)
    invite = dataclasses.replace(invite, device_hash=fingerprint(bob.me.dsk, bob.identity.dik))
    row = ada.accept(invite)
    card = dataclasses.replace(genuine, device_list=listed)
    before = ada.fingerprint()
    with pytest.raises(BadCard):
        ada.do(lambda tx: meeting.knock(tx, ada.me, row, invite, card))
    assert ada.fingerprint() == before


@pytest.mark.parametrize("eve_first", [True, False])
def test_an_invite_with_a_borrowed_card_takes_no_device_from_its_owner(world: World, eve_first: bool) -> None:
    """Eve, a contact of Bob's, lists his device as hers and shows the prekeys he gave her; he is away meanwhile."""
    ada, bob, eve = world.homes
    eve.accept(bob.invite())
    world.settle(rounds=4)
    genuine, from_bob, from_eve = open_card(*fresh_card(bob)), bob.invite(), eve.invite()
    stolen = DeviceList.sign(
        eve.identity, [Device(eve.me.dsk, eve.identity.dik), Device(bob.me.dsk, bob.identity.dik)], START_S + 5
    )
    borrowed = dataclasses.replace(genuine, device_list=stolen)
    world.node.boxes[from_eve.mailbox].card = seal_card(from_eve.key, from_eve.mailbox, borrowed, os.urandom)
    from_eve = dataclasses.replace(from_eve, device_hash=fingerprint(bob.me.dsk, bob.identity.dik))
    for invite in (from_eve, from_bob) if eve_first else (from_bob, from_eve):
        row = ada.accept(invite)
        if invite is from_eve:
            with pytest.raises(BadCard):
                ada.errands()
            ada.do(partial(people.set_contact, number=row.id, state=ContactState.REFUSED))
        else:
            ada.errands()
    ada.say(ada.contact(bob).id, "only for you")
    world.settle()
    world.check(ada, bob)
    assert (state(ada, bob), state(ada, eve)) == ("accepted", "refused")
    assert bob.texts(ada) == ["only for you"]


def test_a_device_stays_with_the_one_who_waits_for_its_answer(world: World) -> None:
    """Even one whose owner agreed to be two accounts' is the first one's."""
    ada, bob, eve = world.homes
    ada.accept(bob.invite())
    ada.errands()
    key, mailbox, raw = fresh_card(bob)
    card = dataclasses.replace(
        open_card(key, mailbox, raw),
        device_list=DeviceList.sign(eve.identity, [Device(bob.me.dsk, bob.identity.dik)], START_S),
    )
    invite = dataclasses.replace(eve.invite(), device_hash=fingerprint(bob.me.dsk, bob.identity.dik))
    row = ada.accept(invite)
    before = ada.fingerprint()
    with pytest.raises(BadCard):
        ada.do(lambda tx: meeting.knock(tx, ada.me, row, invite, card))
    assert ada.fingerprint() == before


def fresh_card(home: Home) -> tuple[bytes, bytes, bytes]:
    """The key, mailbox and card of a new invite."""
    invite = home.invite()
    return invite.key, invite.mailbox, home.node.boxes[invite.mailbox].card or b""


def test_a_contact_with_endless_logs_is_bounded_and_still_answered(world: World) -> None:
    ada, bob = world.ada, world.bob
    bob.accept(ada.invite())
    world.settle()
    conv = bob.contact(ada).conv
    for number in range(100):
        event = extend(
            Run(),
            conv=conv,
            device=bob.me.dsk,
            log=number.to_bytes(8, "big"),
            lamport=1,
            at_ms=2**53 - 1,
            kind="text",
            content=Text("x"),
            salt=bytes(16),
        )
        ada.take_message(bob.me.dsk, bob.seal(ada, Batch(((event.header_bytes, event.body),))))
    [told] = outgoing.haves(ada.tx, ada.me, ada.contact(bob))
    assert len(told.runs) == LOGS_LIMIT


def test_a_damaged_prekey_costs_a_new_one_and_nothing_else(world: World) -> None:
    ada, bob = world.ada, world.bob
    invite = ada.invite()
    ada.tx.execute("UPDATE prekeys SET secret = x'0102'")
    ada.tx.execute("UPDATE mailboxes SET card_set = 0")
    bob.say(bob.accept(invite).id, "hello")
    world.settle()
    world.check(ada, bob)
    assert ada.texts(bob) == ["hello"]


def test_damaged_sessions_are_replaced_by_a_fresh_invite(world: World) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    ada.tx.execute("UPDATE devices SET sessions = x'0102'")
    ada.accept(bob.invite())
    for box in postbox.mailboxes(ada.tx):
        world.node.boxes[box.mailbox].items.clear()
    [(contact, knocked_at, made)] = meeting.knocks(ada.tx)
    assert not made
    ada.knock(contact, knocked_at)
    world.settle()
    ada.say(contact.id, "back")
    world.settle()
    world.check(ada, bob)
    assert bob.texts(ada) == ["back"]
