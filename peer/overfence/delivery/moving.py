"""New mailboxes and a new topic secret for a contact, and the end of the old ones (docs/protocol.md §4.2, §6.1).

Every function runs in a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from ..history import forks, people, postbox
from ..history.event import Address, Addresses, Event, Topic
from ..sealing import mailbox_address
from .me import FACTS_OF_A_LOG, Me
from .outcome import Outcome

# Mailboxes kept over a block: one for each node there is.
KEPT_LIMIT = 8
_Kept = list[tuple[bytes, bytes, str]]


def renew(tx: sqlite3.Connection, me: Me, contact: people.ContactRow) -> set[str]:
    """Draw new mailboxes and a new topic secret for a contact and tell it; the nodes that are to hear of it.

    The old ones are followed until every device of the contact's knows the new (`close_replaced`).
    """
    old = postbox.mailbox_for(tx, contact.id)
    nodes = {box.node for box in old} | ({me.server} if me.server is not None else set())
    for node in nodes:
        me.new_mailbox(tx, node, contact.id)
    replaced = {box.mailbox for box in old}
    named = Addresses(tuple(at for at in me.addresses(tx, contact.id) if at.mailbox not in replaced))
    me.write(tx, contact, "addresses", named)
    topics, secret = people.contact(tx, contact.id).topics, me.random(32)
    last = me.write(tx, contact, "topic", Topic(secret))
    settle_topic(tx, contact)
    seq = last.event.header.seq
    for box in old:
        postbox.replace_mailbox(tx, box.mailbox, contact.log, seq)
    people.set_setting(tx, _replaced_key(contact.id), contact.log + seq.to_bytes(8, "big") + topics)
    return nodes


def keep_for_return(tx: sqlite3.Connection, contact: int) -> None:
    """Remember the mailboxes that are about to close: if both block each other, neither knows another way back."""
    kept = [(box.mk, box.key, box.node) for box in postbox.mailbox_for(tx, contact)][:KEPT_LIMIT]
    people.set_setting(tx, _kept_key(contact), msgspec.msgpack.encode(kept))


def follow_again(tx: sqlite3.Connection, contact: int) -> None:
    """Open these again, to be replaced: what the contact says of its new addresses may come there, and nowhere else."""
    raw = people.setting(tx, _kept_key(contact))
    people.forget_setting(tx, _kept_key(contact))
    for mk, key, node in msgspec.msgpack.decode(raw, type=_Kept) if isinstance(raw, bytes) else ():
        if postbox.mailbox(tx, mailbox_address(mk)) is None:
            postbox.add_mailbox(tx, mailbox_address(mk), mk, key, node, contact)
        else:
            postbox.keep_open(tx, mailbox_address(mk))


def close_replaced(tx: sqlite3.Connection, me: Me, contacts: Iterable[int], outcome: Outcome) -> None:
    """Close what was replaced for these contacts, wherever all of their devices know the new."""
    for number in contacts:
        kept = people.setting(tx, _replaced_key(number))
        if not isinstance(kept, bytes):
            continue
        for box, log, seq in postbox.replaced_mailboxes(tx, number):
            if _is_known(tx, me, number, log, seq):
                postbox.close_mailbox(tx, box.mailbox)
                outcome.nodes.add(box.node)
        if _is_known(tx, me, number, kept[:8], int.from_bytes(kept[8:16], "big")):
            people.forget_setting(tx, _replaced_key(number))
            old = _secrets(kept[16:])
            left = [one for one in _secrets(people.contact(tx, number).topics) if one not in old]
            if left:
                people.set_contact(tx, number, topics=b"".join(left))
                outcome.contacts.add(number)


def close_replaced_for(tx: sqlite3.Connection, me: Me, outcome: Outcome) -> None:
    """The same for whoever just told what they hold."""
    devices = (people.device(tx, dsk) for dsk, _, _ in outcome.told)
    close_replaced(tx, me, {device.contact for device in devices if device is not None}, outcome)


def settle_topic(tx: sqlite3.Connection, contact: people.ContactRow) -> None:
    """The topic secret that is last by order comes first, on both sides; of the others the newest stays beside it."""
    row = tx.execute(
        """SELECT header, body FROM events WHERE conv = ? AND kind = 'topic' AND NOT refused
             AND device NOT IN (SELECT dsk FROM devices WHERE revoked_s)
           ORDER BY lamport DESC, device DESC, origin DESC LIMIT 1""",
        (contact.conv,),
    ).fetchone()
    content = Event.parse(*row).content() if row is not None else None
    if isinstance(content, Topic):
        others = [one for one in _secrets(people.contact(tx, contact.id).topics) if one != content.secret]
        people.set_contact(tx, contact.id, topics=b"".join([content.secret, *others][:2]))


def take_addresses(tx: sqlite3.Connection, dsk: bytes, addresses: Iterable[Address], outcome: Outcome) -> None:
    """Where a device takes envelopes from now on; what was left elsewhere is sealed anew.

    It may never look there again: one set back to an older copy has lost the keys of mailboxes it drew since.
    """
    people.set_addresses(tx, dsk, addresses)
    if postbox.forget_puts_elsewhere(tx, dsk):
        outcome.lowered.add(dsk)


def _is_known(tx: sqlite3.Connection, me: Me, contact: int, log: bytes, seq: int) -> bool:
    row = people.contact(tx, contact)
    closed = forks.closed_at(tx, row.conv, me.dsk, log)
    if closed is not None and closed < seq:
        # The log forked below it; the one that followed begins with what holds now.
        log, seq = row.log, FACTS_OF_A_LOG
    devices = tx.execute("SELECT dsk FROM devices WHERE contact = ? AND revoked_s = 0", (contact,)).fetchall()
    return bool(devices) and all(people.told(tx, dsk, me.dsk, log).end >= seq for (dsk,) in devices)


def _secrets(topics: bytes) -> list[bytes]:
    return [topics[at : at + 32] for at in range(0, len(topics), 32)]


def _kept_key(contact: int) -> str:
    """The setting that keeps the mailboxes of a blocked contact."""
    return f"kept mailboxes {contact}"


def _replaced_key(contact: int) -> str:
    """The setting that keeps which topic secrets were replaced, and by which number of which log of mine."""
    return f"replaced topics {contact}"
