"""Taking in sealed messages, from any path, once. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import assert_never

from ..errors import BadPayload, DeviceListConflict, RevokedDevice, StaleDeviceList, UnknownDevice
from ..history import people, postbox
from ..history.people import ContactState
from ..identity import KEY_BYTES, BadDeviceList, Device, DeviceList
from ..sealing import (
    BadEnvelope,
    Duplicate,
    Forged,
    MalformedMessage,
    Opened,
    Pre,
    SealingError,
    Sessions,
    UnknownPrekey,
    UnknownSession,
    open_envelope,
    session_of,
)
from . import learning, listing, moving, planning, prekeys, rekeying, trust
from .handshakes import Shelf as Shelf
from .handshakes import check_introduction as check_introduction
from .me import Me
from .outcome import Outcome
from .outgoing import haves, parts, post, seal_items
from .payload import (
    AnyItem,
    Batch,
    Devices,
    Fork,
    FreshPrekeys,
    Have,
    Introduction,
    Refusal,
    Reset,
    Ring,
    Sdp,
    decode_payload,
)


def take_envelope(tx: sqlite3.Connection, me: Me, box: postbox.Mailbox, envelope: bytes, outcome: Outcome) -> None:
    """One envelope from a contact's mailbox. One that does not open is dropped, and changes nothing (§3)."""
    if box.contact is None:
        raise AssertionError("an invite's mailbox is the meeting's")
    try:
        hint, message = open_envelope(box.key, box.mailbox, envelope)
    except BadEnvelope as error:
        outcome.drop(error, box.contact)
        return
    device = people.device_by_hint(tx, box.contact, hint)
    if device is None:
        take_newcomer(tx, me, people.contact(tx, box.contact), message, outcome)
    else:
        take_message(tx, me, device.dsk, message, outcome)


def take_message(
    tx: sqlite3.Connection, me: Me, dsk: bytes, message: bytes, outcome: Outcome, *, source: bytes | None = None
) -> bool:
    """One sealed message from a known device, whatever way it came; whether it was authentic, and not read before.

    ``source`` is blamed for forgeries: the device, if nobody else could have brought it.
    """
    device = people.device(tx, dsk)
    if device is None:
        return False
    contact = people.contact(tx, device.contact)
    if device.revoked_s:
        outcome.drop(RevokedDevice("a message from a device that its account took off its list"), contact.id)
        return False
    sessions = planning.stored(device)
    opened = open_sealed(
        tx,
        me,
        sessions,
        contact.account,
        Device(device.dsk, device.dik),
        message,
        outcome,
        source=source or dsk,
        contact=contact.id,
    )
    if isinstance(opened, SealingError):
        if source is None:
            # What a stranger brings, by an invite's link, may not make us begin anew with anybody.
            _answer_unread(tx, me, device, message, opened, outcome)
        return False
    people.set_sessions(tx, dsk, sessions.encode(), device.introduced)
    if opened.new_session or opened.answered:
        planning.succeeded(tx, dsk)
    try:
        items = decode_payload(opened.payload)
        if opened.new_session:
            check_introduction(contact.account, Device(device.dsk, device.dik), items)
    except (BadPayload, BadDeviceList) as error:
        outcome.drop(error, contact.id)
        return False
    if sessions.topic_secret is not None and (opened.new_session or opened.answered):
        people.add_topic(tx, contact.id, sessions.topic_secret)
        outcome.contacts.add(contact.id)
    if opened.new_session:
        # Whoever begins anew waits to hear that it was read, and may have lost what it once confirmed.
        outcome.owed[dsk] = None
    if (opened.new_session or opened.answered) and contact.state is ContactState.ACCEPTED and contact.invite:
        people.set_contact(tx, contact.id, invite=None)
    take_items(tx, me, contact, dsk, items, outcome, epoch=opened.epoch)
    return True


def take_newcomer(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, message: bytes, outcome: Outcome) -> None:
    """A message in a contact's mailbox from a device not known here: one newly listed shows that it is theirs (§1)."""
    try:
        pre = Pre.peek(message)
    except MalformedMessage as error:
        outcome.drop(error, contact.id)
        return
    if pre is not None and pre.account != contact.account:
        trust.claim_key(tx, me, contact, pre, message, outcome)
        return
    if pre is None or contact.state is not ContactState.ACCEPTED:
        outcome.drop(UnknownDevice("a message from a device that is none of the contact's"), contact.id)
        return
    if people.device(tx, pre.dsk) is not None:
        outcome.drop(UnknownDevice("a device known here, under another's name"), contact.id)
        return
    device, sessions = Device(pre.dsk, pre.dik), Sessions()
    opened = open_sealed(
        tx, me, sessions, contact.account, device, message, outcome, source=contact.account, contact=contact.id
    )
    if isinstance(opened, SealingError):
        if isinstance(opened, UnknownPrekey):
            prekeys.unknown(tx, me, contact.id, outcome)
        return
    try:
        items = decode_payload(opened.payload)
        introduction = check_introduction(contact.account, device, items)
        listed = DeviceList.parse(introduction.device_list)
        listing.welcome(tx, me, contact, device, sessions, opened, listed, outcome)
    except (BadPayload, BadDeviceList, UnknownDevice, StaleDeviceList, DeviceListConflict) as error:
        outcome.drop(error, contact.id)
        return
    if sessions.topic_secret is not None:
        people.add_topic(tx, contact.id, sessions.topic_secret)
    take_items(tx, me, contact, device.dsk, items, outcome, epoch=opened.epoch)


def _answer_unread(
    tx: sqlite3.Connection, me: Me, device: people.DeviceRow, message: bytes, error: SealingError, outcome: Outcome
) -> None:
    """What cannot be read is answered with a new session that names the old one (§3)."""
    match error:
        case UnknownSession(sid=sid):
            planning.unread(tx, me, device, sid, outcome)
        case UnknownPrekey():
            prekeys.unknown(tx, me, device.contact, outcome)
            planning.unread(tx, me, device, session_of(message), outcome)
        case Forged():
            planning.unread(tx, me, device, session_of(message), outcome)
        case _:
            pass


def open_sealed(
    tx: sqlite3.Connection,
    me: Me,
    sessions: Sessions,
    account: bytes,
    peer: Device,
    message: bytes,
    outcome: Outcome,
    *,
    source: bytes,
    contact: int | None = None,
) -> Opened | SealingError:
    """What is inside, or why it was not read, which is noted. ``source`` is blamed for forgeries."""
    try:
        opened = sessions.open(
            message,
            me=me.identity,
            peer=peer,
            peer_account=account,
            prekey_secrets=Shelf(tx),
            now_s=me.now_s,
            random=me.random,
            jump_limit=me.wary.jump_limit(source, now_s=me.now_s),
        )
    except Duplicate as error:
        outcome.duplicates.add(peer.dsk)
        return error
    except SealingError as error:
        if isinstance(error, Forged):
            me.wary.forged(source, now_s=me.now_s)
        outcome.drop(error, contact)
        return error
    if opened.new_session and (pre := Pre.peek(message)) is not None:
        postbox.prekey_used(tx, pre.prekey_id, me.now_s)
        outcome.nodes.update(box.node for box in postbox.mailboxes(tx) if not box.card_set)
    return opened


def take_items(
    tx: sqlite3.Connection,
    me: Me,
    contact: people.ContactRow,
    dsk: bytes,
    items: list[AnyItem],
    outcome: Outcome,
    *,
    epoch: int,
) -> None:
    """Act on the items of an authentic message, each by itself: a bad one spoils no other. ``epoch``: its session's."""
    answered = contact.state in (ContactState.WAITING, ContactState.EXPIRED, ContactState.REFUSED)
    if answered and not any(isinstance(item, Refusal) for item in items):
        people.set_contact(tx, contact.id, state=ContactState.ACCEPTED, invite=None)
        contact = replace(contact, state=ContactState.ACCEPTED, invite=None)
        outcome.contacts.add(contact.id)
    if contact.state.is_shut:
        return
    for item in items:
        if dsk in outcome.revoked:
            return  # by the list it brought itself
        match item:
            case Introduction():
                _take_introduction(tx, me, contact, dsk, item, outcome)
            case Batch():
                learning.take_batch(tx, me, contact, dsk, item, outcome)
                outcome.owed[dsk] = None
            case Have():
                learning.take_have(tx, me, contact, dsk, item, outcome, epoch)
            case Sdp() | Ring():
                outcome.calls.append((dsk, item))
            case Refusal(reason):
                state = ContactState.EXPIRED if reason == "expired" else ContactState.REFUSED
                if contact.state is ContactState.WAITING:
                    people.set_contact(tx, contact.id, state=state)
                    outcome.contacts.add(contact.id)
            case Reset(sid):
                rekeying.reset(tx, dsk, sid, outcome)
            case Fork():
                learning.take_fork(tx, me, contact, dsk, item, outcome)
            case FreshPrekeys():
                prekeys.keep(tx, contact.id, dsk, item, outcome)
            case Devices(raw):
                listing.hear_of_mine(tx, me, raw, outcome)
            case _:
                assert_never(item)


def answer(tx: sqlite3.Connection, me: Me, outcome: Outcome, direct: frozenset[bytes]) -> None:
    """Seal the haves that are owed, in the very transaction of what they confirm (§3)."""
    for dsk in outcome.owed:
        device = people.device(tx, dsk)
        contact = people.contact(tx, device.contact) if device else None
        if device is None or device.revoked_s or contact is None or contact.state.is_shut:
            continue
        lists = [Devices(raw) for raw in (outcome.lists.get(dsk),) if raw is not None]
        items: list[AnyItem] = [*outcome.forks(dsk), *lists, *haves(tx, me, contact)]
        replaced = [] if dsk in direct else postbox.words_to(tx, dsk)
        for part in parts(items):
            _answer(tx, me, dsk, part, outcome, is_direct=dsk in direct, replaced=replaced)
            replaced = []


def _answer(
    tx: sqlite3.Connection,
    me: Me,
    dsk: bytes,
    items: list[AnyItem],
    outcome: Outcome,
    *,
    is_direct: bool,
    replaced: list[bytes],
) -> None:
    """One message of an answer, instead of those that nobody has taken yet."""
    device = people.device(tx, dsk)
    if device is None:
        return
    if replaced:
        # One of them may have been the first of its session.
        device = replace(device, introduced=b"")
    message = seal_items(tx, me, device, *items, spare=dsk in outcome.duplicates)
    if message is None:
        return
    postbox.forget_puts(tx, replaced)
    if is_direct:
        outcome.to_link.append((dsk, message))
    elif node := post(tx, me, dsk, message):
        outcome.nodes.add(node)


def _take_introduction(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, dsk: bytes, item: Introduction, outcome: Outcome
) -> None:
    listing.hear(tx, me, contact, dsk, item.device_list, outcome)
    if item.addresses:
        moving.take_addresses(tx, dsk, item.addresses, outcome)
    if len(item.topic) == KEY_BYTES:
        people.add_topic(tx, contact.id, item.topic)
    outcome.contacts.add(contact.id)
