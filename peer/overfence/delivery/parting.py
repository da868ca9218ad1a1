"""Contacts that are ended, shut out, let in again, or go on under another key. Every function runs in a transaction."""

from __future__ import annotations

import sqlite3

from ..errors import BadPayload, ContactBlocked, KeyChangeLost, StaleDeviceList
from ..history import people, postbox
from ..history.people import ContactRow, ContactState
from ..identity import DEVICE_LIMIT, BadDeviceList, Device
from ..sealing import SealingError
from . import incoming, listing, meeting, moving, trust
from .me import Me
from .outcome import Outcome


def remove(tx: sqlite3.Connection, contact: ContactRow) -> set[str]:
    """Nothing goes to the contact any more, and its mailboxes close; the nodes that are to hear of it."""
    return _shut(tx, contact, ContactState.REMOVED)


def block(tx: sqlite3.Connection, contact: ContactRow) -> set[str]:
    """The same until `unblock`; the nodes that are to hear of it."""
    if contact.state.is_shut:
        raise ContactBlocked("there is nothing more to block: nothing goes or comes")
    people.set_setting(tx, _before_key(contact.id), contact.state.value)
    moving.keep_for_return(tx, contact.id)
    return _shut(tx, contact, ContactState.BLOCKED)


def unblock(tx: sqlite3.Connection, me: Me, contact: ContactRow) -> set[str]:
    """As before the block, by new mailboxes and a new topic secret, which the contact is told."""
    if contact.state is not ContactState.BLOCKED:
        return set()
    before = people.setting(tx, _before_key(contact.id))
    people.forget_setting(tx, _before_key(contact.id))
    state = ContactState(str(before)) if before else ContactState.ACCEPTED
    people.set_contact(tx, contact.id, state=state)
    moving.follow_again(tx, contact.id)
    return moving.renew(tx, me, contact)


def accept_new_key(
    tx: sqlite3.Connection, me: Me, contact: ContactRow, new_id: str | None, outcome: Outcome
) -> ContactRow:
    """The account that writes for ``contact`` is a contact, unverified, and the old one is removed.

    ``new_id``: the one that is meant, if it was named. Raises `NoKeyChange`, `KeyChangeLost`, `ContactBlocked`.
    """
    claim = trust.meant_claim(tx, contact.id, new_id)
    known = people.contact_of(tx, claim.account)
    if known is not None and known.state is ContactState.BLOCKED:
        raise ContactBlocked("the new key is that of a contact you blocked: unblock them first")
    try:
        proved = trust.prove(tx, me, claim.message, source=contact.account)
        listing.check(tx, Device(proved.pre.dsk, proved.pre.dik), proved.listed)
    except (SealingError, BadPayload, BadDeviceList, StaleDeviceList) as error:
        raise KeyChangeLost(
            "the message that named the new key cannot be read any more; ask them to write again, or for an invite"
        ) from error
    pre = proved.pre
    full = known is not None and len(people.devices(tx, known.id)) >= DEVICE_LIMIT
    if full or not meeting.is_free(tx, me, pre.dsk, pre.account):
        raise KeyChangeLost("the new key's device is another contact's, or one too many; ask them for an invite")
    postbox.prekey_used(tx, pre.prekey_id, me.now_s)
    outcome.nodes |= remove(tx, contact)
    fresh = meeting.welcome(tx, me, known, pre, proved.sessions, outcome)
    people.set_contact(tx, fresh.id, name=fresh.name or contact.name, alias=fresh.alias or contact.alias, verified_s=0)
    outcome.contacts |= {contact.id, fresh.id}
    outcome.owed[pre.dsk] = None
    fresh = people.contact(tx, fresh.id)
    incoming.take_items(tx, me, fresh, pre.dsk, proved.items, outcome, epoch=proved.opened.epoch)
    meeting.greet(tx, me, outcome)
    incoming.answer(tx, me, outcome, frozenset())
    return people.contact(tx, fresh.id)


def _shut(tx: sqlite3.Connection, contact: ContactRow, state: ContactState) -> set[str]:
    people.forget_puts(tx, contact.id)
    trust.forget_claim(tx, contact.id)
    people.set_contact(tx, contact.id, state=state)
    nodes = postbox.close_all_for(tx, contact.id)
    # The invite they came by too: whoever holds the link could come in by it again.
    for box in postbox.used_invites(tx, contact.account):
        postbox.close_mailbox(tx, box.mailbox)
        nodes.add(box.node)
    return nodes


def _before_key(contact: int) -> str:
    """The setting that keeps how far one had come with a contact before it was blocked."""
    return f"before block {contact}"
