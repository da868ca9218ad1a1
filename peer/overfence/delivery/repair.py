"""A log of mine that forked: another of my devices' disks, or this one's, was set back to an older copy (§6.2).

It is closed where a device last agreed, and the rest is said anew in a fresh log. Every function runs in a transaction.
"""

from __future__ import annotations

import sqlite3

from ..errors import BadConfirmation
from ..history import forks, people, postbox, rows
from ..history.event import Closed
from .me import Me
from .outcome import Outcome
from .sync import LogKey

# Each repair says anew what the contact has not confirmed, and costs a log of the 64 there may be: one who claims a
# fork again and again may make us do that so often a day.
REPAIRS_LIMIT = 8
REPAIRS_S = 24 * 3600
# Of the 64 logs a conversation may have, so many may be of mine that forked; the rest stays for the other side's.
CLOSED_LIMIT = 30


def heal(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, key: LogKey, number: int, outcome: Outcome
) -> None:
    """A device holds another event than mine at ``number`` of my log, or one where I have none any more."""
    contact = people.contact(tx, contact.id)  # its log may have been replaced since this message began
    closed = forks.closed_at(tx, *key)
    mine = rows.run_of(tx, *key).end
    if (closed is not None and number > closed) or not _may_repair(tx, me, contact, outcome):
        return
    recorded = [people.told(tx, device.dsk, *key[1:]).end for device in people.devices(tx)]
    at = max((end for end in recorded if end < number), default=0)
    _say_anew(tx, me, contact, {key.log: at}, outcome)
    outcome.notices.append(_words(contact, number - mine))


def replace_log(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, lost: LogKey, end: int, outcome: Outcome
) -> None:
    """A device holds a log of mine that is gone here whole: the one written now is of an older past, and is closed."""
    contact = people.contact(tx, contact.id)
    if not end or lost.log in forks.closed_logs(tx, *lost[:2]) or not _may_repair(tx, me, contact, outcome):
        return
    recorded = [people.told(tx, device.dsk, me.dsk, contact.log).end for device in people.devices(tx, contact.id)]
    _say_anew(tx, me, contact, {lost.log: 0, contact.log: max(recorded, default=0)}, outcome)
    outcome.notices.append(_words(contact, end))


def _say_anew(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, ends: dict[bytes, int], outcome: Outcome
) -> None:
    """Close these logs there, and write what stood beyond into the log that is written from now on."""
    before = forks.closed_logs(tx, contact.conv, me.dsk)
    forks.set_closed_logs(tx, contact.conv, me.dsk, before | ends)
    if contact.log in ends:
        people.set_contact(tx, contact.id, log=me.random(8))
        contact = people.contact(tx, contact.id)
        me.write_facts(tx, contact)
    me.write(tx, contact, "closed", Closed(tuple((before | ends).items())))
    ticked = people.ticked(tx, contact.id)
    for log, at in ends.items():
        key = LogKey(contact.conv, me.dsk, log)
        postbox.forget_puts_above(tx, me.dsk, log, at)
        people.lower_told(tx, me.dsk, log, at, rows.id_at(tx, *key, at) or b"")
        upto = before.get(log, rows.run_of(tx, *key).end)
        forks.say_anew(tx, *key, at + 1, upto, contact.log, ticked.get(key[1:], 0))
    outcome.lowered.update(device.dsk for device in people.devices(tx))
    outcome.contacts.add(contact.id)


def _may_repair(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, outcome: Outcome) -> bool:
    repairs, since_s = people.repairs(tx, contact.id)
    if me.now_s - since_s >= REPAIRS_S:
        repairs, since_s = 0, me.now_s
    if repairs >= REPAIRS_LIMIT or len(forks.closed_logs(tx, contact.conv, me.dsk)) >= CLOSED_LIMIT:
        outcome.drop(BadConfirmation("one forked log too many"), contact.id)
        return False
    people.set_contact(tx, contact.id, repairs=repairs + 1, repaired_s=since_s)
    return True


def _words(contact: people.ContactRow, lost: int) -> str:
    who = contact.alias or contact.name or "a contact"
    what = f"{lost:,} or more of your messages" if lost > 0 else "messages of yours"
    return (
        f"{who} holds {what} that this device no longer has: its history was set back to an older copy."
        " What this device has was sent again, and is shown once"
    )
