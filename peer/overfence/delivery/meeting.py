"""How two people who share an invite become contacts (docs/protocol.md §4.5). Every function runs in a transaction."""

from __future__ import annotations

import hmac
import sqlite3

from overfence_signalling import day_of

from ..errors import (
    BadPayload,
    ContactBlocked,
    DeviceListConflict,
    OverfenceError,
    StaleDeviceList,
    UnprovenGuest,
)
from ..history import people, postbox
from ..history.event import Address
from ..history.people import ContactRow, ContactState, DeviceRow
from ..identity import DEVICE_LIMIT, BadDeviceList, Device, DeviceList, Invite, fingerprint
from ..sealing import (
    BadCard,
    BadEnvelope,
    Card,
    MalformedMessage,
    Pre,
    Prekeys,
    SealingError,
    Sessions,
    UnknownPrekey,
    direct_conversation,
    is_decline,
    new_prekey,
    open_envelope,
    seal_card,
    seal_envelope,
    sender_hint,
)
from . import invites, listing, planning, prekeys
from .handshakes import Shelf, check_introduction
from .incoming import open_sealed, take_items, take_message
from .me import Me
from .outcome import Outcome
from .outgoing import haves, load_supply, post, proof_of, seal_items, seal_next
from .payload import Introduction, Refusal, decode_payload, encode_payload

# Strangers who are told that an invite is used; whoever holds the link could else make us write for ever.
REFUSALS_LIMIT = 32


class OwnInvite(OverfenceError):
    """The invite is one's own; nothing was done. Send it to somebody."""


class InviteExpired(OverfenceError):
    """The invite's time is over; nothing was done. Ask for a new one."""


def make_invite(tx: sqlite3.Connection, me: Me, node: str, expires_s: int) -> Invite:
    """A new invite; it can be used once its mailbox and card are at the node."""
    box = me.new_mailbox(tx, node, None)
    postbox.add_invite(tx, box.mailbox, expires_s)
    return Invite(me.identity.account, node, box.mailbox, box.key, expires_s, fingerprint(me.dsk, me.identity.dik))


def card_for(tx: sqlite3.Connection, me: Me, box: postbox.Mailbox) -> tuple[bytes, bytes]:
    """A mailbox's card, with a fresh prekey where the last was used; and that prekey's id."""
    known = Shelf(tx).get(box.prekey) if box.prekey else None
    secret = known or new_prekey(me.random)
    if known is None:
        postbox.add_prekey(tx, secret.prekey_id, secret.encode(), me.now_s, box.mailbox)
        postbox.set_card(tx, box.mailbox, secret.prekey_id, at_node=False)
    card = Card(me.device_list, Prekeys.sign(me.identity, secret), me.consent)
    return seal_card(box.key, box.mailbox, card, me.random), secret.prekey_id


# ── the guest ─────────────────────────────────────────────────────────────────────────────────────


def accept(tx: sqlite3.Connection, me: Me, invite: Invite) -> ContactRow:
    """The contact at once, waiting and writable. Raises `OwnInvite`, `InviteExpired`, `ContactBlocked`."""
    contact = _accept(tx, me, invite)
    if contact.invite == str(invite):
        people.set_setting(tx, invited_key(contact.id), invite.node)
    return contact


def _accept(tx: sqlite3.Connection, me: Me, invite: Invite) -> ContactRow:
    if invite.account == me.identity.account:
        raise OwnInvite("this is your own invite: send it to somebody else")
    known = people.contact_of(tx, invite.account)
    if known is not None and known.state is ContactState.BLOCKED:
        raise ContactBlocked("this invite is of a contact you blocked: unblock them first")
    if known is not None and known.state is ContactState.ACCEPTED:
        return _renew(tx, me, known, invite)
    if me.now_s >= invite.expires_s:
        raise InviteExpired("this invite has expired: ask for a new one")
    if known is not None:
        # A fresh invite after a refused, expired or removed one, or the same once more: begin anew, keep the text.
        if known.invite != str(invite) or known.state is not ContactState.WAITING:
            people.set_contact(tx, known.id, state=ContactState.WAITING, invite=str(invite))
            people.forget_devices(tx, known.id)
            me.keep_up(tx, known, renamed=False)
        return people.contact(tx, known.id)
    return _new_contact(tx, me, invite.account, ContactState.WAITING, str(invite))


def _renew(tx: sqlite3.Connection, me: Me, contact: ContactRow, invite: Invite) -> ContactRow:
    """A contact's fresh invite means that one of the two lost their sessions: what is there stays, until it is read."""
    if me.now_s < invite.expires_s and contact.invite != str(invite):
        for device in people.devices(tx, contact.id):
            sessions = planning.stored(device)
            sessions.give_up()
            people.set_sessions(tx, device.dsk, sessions.encode(), device.introduced)
        people.set_contact(tx, contact.id, invite=str(invite))
    return people.contact(tx, contact.id)


def knocks(tx: sqlite3.Connection) -> list[tuple[ContactRow, Invite, bool]]:
    """Invites I accepted, which nobody answered yet; True where the knock has been made."""
    found = []
    for contact in people.contacts(tx):
        if contact.invite is None:
            continue
        devices = people.devices(tx, contact.id)
        if contact.state is ContactState.WAITING:
            found.append((contact, Invite.parse(contact.invite), bool(devices)))
        elif contact.state is ContactState.ACCEPTED:
            made = any(planning.stored(device).unanswered for device in devices)
            found.append((contact, Invite.parse(contact.invite), made))
    return found


def invited_key(contact: int) -> str:
    """The setting that keeps the node by which a contact was met: who links by relays only goes to no other of its."""
    return f"invited {contact}"


def give_up(tx: sqlite3.Connection, contact: ContactRow, state: ContactState) -> None:
    """The invite leads nowhere: one who waits is refused or expired, one who is accepted goes on as before."""
    if contact.state is ContactState.ACCEPTED:
        people.set_contact(tx, contact.id, invite=None)
    else:
        people.set_contact(tx, contact.id, state=state)


def knock(tx: sqlite3.Connection, me: Me, contact: ContactRow, invite: Invite, card: Card) -> Outcome:
    """Begin the session on the card's prekeys: what is for its device may now be sealed. Raises `BadCard`."""
    outcome = Outcome()
    device = card.device
    if card.device_list.account != invite.account or fingerprint(*device) != invite.device_hash:
        raise BadCard("the card is not of the one who made the invite")
    if not is_free(tx, me, device.dsk, invite.account):
        raise BadCard("the card names another's device")
    known = people.device(tx, device.dsk)
    sessions = planning.stored(known) if known else Sessions()
    sessions.mute_all()
    sessions.initiate(me.identity, device, invite.account, card.prekeys, now_s=me.now_s, random=me.random)
    row = DeviceRow(device.dsk, device.dik, contact.id, sessions.encode(), b"")
    people.put_device(tx, row, sender_hint(device.dsk))
    try:
        listing.learn(tx, me, contact, card.device_list, outcome)
    except (StaleDeviceList, DeviceListConflict) as error:
        raise BadCard(str(error)) from None
    people.set_addresses(tx, device.dsk, [Address(invite.node, invite.mailbox, invite.key)])
    if contact.state is ContactState.ACCEPTED:
        # Nothing new may be there to be said, and only a message carries the handshake.
        people.forget_puts(tx, contact.id)
        if message := seal_items(tx, me, row, *haves(tx, me, contact)):
            post(tx, me, device.dsk, message)
    return outcome


# ── the host ──────────────────────────────────────────────────────────────────────────────────────


def take_knock(
    tx: sqlite3.Connection, me: Me, box: postbox.Mailbox, envelope: bytes, day: int, outcome: Outcome
) -> None:
    """One envelope from an invite's mailbox: a guest's first messages, or anything at all."""
    invite = postbox.invite(tx, box.mailbox)
    try:
        _, message = open_envelope(box.key, box.mailbox, envelope)
        if is_decline(message):
            invites.take_decline(tx, me, box, message, outcome)
            return
        pre = Pre.peek(message)
    except (BadEnvelope, MalformedMessage) as error:
        outcome.drop(error)
        return
    if pre is None or invite is None:
        outcome.drop(UnprovenGuest("no handshake where one was to come"))
        return
    known = people.device(tx, pre.dsk)
    owner = people.contact(tx, known.contact) if known else None
    if owner is not None and owner.account == pre.account and not owner.state.is_shut:
        # Two who accept each other's invites know each other already when the second knock comes.
        if take_message(tx, me, pre.dsk, message, outcome, source=box.mailbox) and invite.guest is None:
            postbox.bind_invite(tx, box.mailbox, pre.account)
        return
    peer = Device(pre.dsk, pre.dik)
    sessions = Sessions()
    opened = open_sealed(tx, me, sessions, pre.account, peer, message, outcome, source=box.mailbox)
    if isinstance(opened, SealingError):
        if isinstance(opened, UnknownPrekey):
            # Whoever comes again takes the next card.
            prekeys.unknown_at_invite(tx, me, box.mailbox, outcome)
        return
    try:
        items = decode_payload(opened.payload)
        introduction = check_introduction(pre.account, peer, items)
        listing.check(tx, peer, DeviceList.parse(introduction.device_list))
    except (BadPayload, BadDeviceList, StaleDeviceList) as error:
        outcome.drop(error)
        return
    if not hmac.compare_digest(introduction.proof, proof_of(box.key, opened.transcript)):
        outcome.drop(UnprovenGuest("a guest without the invite's proof"))
        return
    if invite.guest not in (None, pre.account):
        _refuse(tx, me, box, introduction, sessions, Refusal("used"), invite, outcome)
        return
    if day > day_of(invite.expires_s):
        _refuse(tx, me, box, introduction, sessions, Refusal("expired"), invite, outcome)
        return
    contact = people.contact_of(tx, pre.account)
    if contact is not None and contact.state is ContactState.BLOCKED:
        # No link that somehow came to them undoes what I chose; it stays open for whom it was meant.
        outcome.drop(UnprovenGuest("a blocked contact used an invite"), contact.id)
        return
    full = contact is not None and len(people.devices(tx, contact.id)) >= DEVICE_LIMIT
    if full or not is_free(tx, me, pre.dsk, pre.account):
        outcome.drop(UnprovenGuest("a device that is another's, or one too many"))
        return
    postbox.bind_invite(tx, box.mailbox, pre.account)
    contact = welcome(tx, me, contact, pre, sessions, outcome)
    outcome.owed[pre.dsk] = None
    take_items(tx, me, contact, pre.dsk, items, outcome, epoch=opened.epoch)


def welcome(
    tx: sqlite3.Connection, me: Me, contact: ContactRow | None, pre: Pre, sessions: Sessions, outcome: Outcome
) -> ContactRow:
    """Whoever the handshake names is a contact from here on, with a mailbox of its own."""
    contact = contact or _new_contact(tx, me, pre.account, ContactState.ACCEPTED, None)
    if contact.state is not ContactState.ACCEPTED:
        people.set_contact(tx, contact.id, state=ContactState.ACCEPTED, invite=None)
        contact = people.contact(tx, contact.id)
    me.keep_up(tx, contact, renamed=False)
    people.put_device(tx, DeviceRow(pre.dsk, pre.dik, contact.id, sessions.encode(), b""), sender_hint(pre.dsk))
    if sessions.topic_secret is not None:
        people.add_topic(tx, contact.id, sessions.topic_secret)
    outcome.contacts.add(contact.id)
    outcome.met.append(pre.dsk)
    outcome.nodes.update(box.node for box in postbox.mailbox_for(tx, contact.id))
    return contact


def close_used_invites(tx: sqlite3.Connection, outcome: Outcome) -> None:
    """A guest that confirms what we answered needs the invite's mailbox no more."""
    for dsk, _, _ in outcome.told:
        device = people.device(tx, dsk)
        if device is None:
            continue
        account = people.contact(tx, device.contact).account
        for box in postbox.used_invites(tx, account):
            postbox.close_mailbox(tx, box.mailbox)
            outcome.nodes.add(box.node)


def greet(tx: sqlite3.Connection, me: Me, outcome: Outcome) -> None:
    """The first answer to a guest carries my name and whatever else I have for them, in the same transaction."""
    for dsk in outcome.met:
        supply = load_supply(tx, me, dsk)
        sealed = seal_next(tx, me, dsk, supply, direct=False) if supply else None
        if sealed is not None and sealed.node is not None:
            outcome.nodes.add(sealed.node)


def is_free(tx: sqlite3.Connection, me: Me, dsk: bytes, account: bytes) -> bool:
    """May this device be that account's? Not if it is mine, or has proved to be somebody else's."""
    known = people.device(tx, dsk)
    if known is None:
        return dsk != me.dsk
    return people.contact(tx, known.contact).account == account


def _new_contact(tx: sqlite3.Connection, me: Me, account: bytes, state: ContactState, invite: str | None) -> ContactRow:
    conv = direct_conversation(me.identity.account, account)
    number = people.add_contact(tx, account, conv, me.random(8), state, invite)
    if me.server is not None:
        me.new_mailbox(tx, me.server, number)
    contact = people.contact(tx, number)
    me.write_facts(tx, contact)
    return contact


def _refuse(
    tx: sqlite3.Connection,
    me: Me,
    box: postbox.Mailbox,
    introduction: Introduction,
    sessions: Sessions,
    refusal: Refusal,
    invite: postbox.OpenInvite,
    outcome: Outcome,
) -> None:
    # Only where the stranger is already: no link of ours makes us write to whatever place it names.
    address = next((one for one in introduction.addresses if one.node == box.node), None)
    if invite.refusals >= REFUSALS_LIMIT or address is None:
        return
    postbox.count_refusal(tx, box.mailbox)
    told = Introduction(me.device_list.raw, (), me.consent)
    message = sessions.seal(encode_payload(told, refusal), random=me.random)
    envelope = seal_envelope(address.key, address.mailbox, me.dsk, message, me.random)
    postbox.add_put(
        tx, me.random(16), dsk=me.dsk, node=address.node, mailbox=address.mailbox, envelope=envelope, covers=None
    )
    outcome.nodes.add(address.node)
