"""Which devices speak for an account: what its lists say, newest first. Every function runs in a transaction (§1)."""

from __future__ import annotations

import sqlite3

from ..errors import DeviceListConflict, StaleDeviceList, UnknownDevice
from ..history import people, postbox
from ..history.event import Devices
from ..history.people import ContactState
from ..identity import DEVICE_LIMIT, BadDeviceList, Device, DeviceList
from ..sealing import Opened, Sessions, sender_hint
from . import moving
from .me import Me
from .outcome import Outcome

# How often a contact that revokes devices makes us draw other mailboxes.
SHUT_OUT_EVERY_S = 3600
TELL_EVERY_S = 60
# Devices ever listed by one account that are remembered, revoked ones included; more are not taken.
EVER_LIMIT = 32


def learn(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, listed: DeviceList, outcome: Outcome
) -> DeviceList:
    """The account's newest list, which may be this one; then the devices it leaves out are revoked.

    Raises `BadDeviceList` for another account's, `StaleDeviceList` and `DeviceListConflict`; then the one held stays.
    """
    if listed.account != contact.account:
        raise BadDeviceList("a device list of another account")
    raw = people.newest_device_list(tx, contact.account)
    known = DeviceList.parse(raw) if raw else None
    if known is not None and listed.seq < known.seq:
        raise StaleDeviceList("an older device list than the one held")
    if known is not None and listed.seq == known.seq and listed.raw != known.raw:
        raise DeviceListConflict("two device lists with one number")
    if known is not None and listed.seq == known.seq:
        return known
    people.keep_device_list(tx, listed.account, listed.seq, listed.raw)
    gone = [device for device in people.devices(tx, contact.id) if not listed.holds(device.dsk, device.dik)]
    for device in gone:
        people.revoke(tx, device.dsk, me.now_s)
        outcome.revoked.add(device.dsk)
        outcome.notices.append(f"{_whose(me, contact)} a device: nothing goes to it any more")
    if gone:
        _shut_out(tx, me, contact, outcome)
    outcome.contacts.add(contact.id)
    return listed


def _shut_out(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, outcome: Outcome) -> None:
    """A device that was revoked knows the mailboxes and topics it had to do with: from now on there are others (§6)."""
    is_own = contact.account == me.identity.account
    for met in people.contacts(tx) if is_own else [contact]:
        if met.state is ContactState.ACCEPTED and (is_own or _may_renew(tx, me, met)):
            outcome.nodes |= moving.renew(tx, me, met)
            outcome.contacts.add(met.id)


def _may_renew(tx: sqlite3.Connection, me: Me, contact: people.ContactRow) -> bool:
    """Not more than once an hour: a contact that lists devices and takes them off again would fill our disk."""
    key = f"shut out {contact.id}"
    before = people.setting(tx, key)
    if isinstance(before, str) and 0 <= me.now_s - int(before) < SHUT_OUT_EVERY_S:
        return False
    people.set_setting(tx, key, str(me.now_s))
    return True


def hear(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, dsk: bytes, raw: bytes, outcome: Outcome) -> None:
    """A list from a contact's device: learnt from; one that is older than ours is answered with ours."""
    try:
        listed = learn(tx, me, contact, DeviceList.parse(raw), outcome)
        if contact.account == me.identity.account and listed.seq > me.device_list.seq:
            _adopt(tx, me, listed, outcome)
    except StaleDeviceList as error:
        outcome.drop(error, contact.id)
        newest = people.newest_device_list(tx, contact.account)
        if newest is not None and _may_tell(tx, me, dsk):
            outcome.lists[dsk] = newest
            outcome.owed[dsk] = None
    except (BadDeviceList, DeviceListConflict) as error:
        outcome.drop(error, contact.id)


def _may_tell(tx: sqlite3.Connection, me: Me, dsk: bytes) -> bool:
    """Once a minute to one device: who shows old lists without end is not answered without end."""
    key = f"list told {dsk.hex()}"
    before = people.setting(tx, key)
    if isinstance(before, str) and 0 <= me.now_s - int(before) < TELL_EVERY_S:
        return False
    people.set_setting(tx, key, str(me.now_s))
    return True


def hear_of_mine(tx: sqlite3.Connection, me: Me, raw: bytes, outcome: Outcome) -> None:
    """Somebody holds a newer list of my own account than I showed; it is signed by my account's key."""
    try:
        listed = DeviceList.parse(raw)
    except BadDeviceList as error:
        outcome.drop(error)
        return
    if listed.account != me.identity.account or listed.seq <= me.device_list.seq:
        outcome.drop(StaleDeviceList("a list of this account that is not newer than its own"))
        return
    own = people.contact_of(tx, listed.account)
    if own is not None:
        hear(tx, me, own, me.dsk, raw, outcome)
    else:
        _adopt(tx, me, listed, outcome)


def publish(tx: sqlite3.Connection, me: Me, listed: DeviceList, outcome: Outcome) -> None:
    """A list this device has just signed: from here on it holds, and everybody is told (§6.1)."""
    own = people.contact_of(tx, listed.account)
    if own is not None:
        learn(tx, me, own, listed, outcome)
    _adopt(tx, me, listed, outcome)
    for contact in people.contacts(tx):
        me.write(tx, contact, "devices", Devices(listed.raw))


def _adopt(tx: sqlite3.Connection, me: Me, listed: DeviceList, outcome: Outcome) -> None:
    people.set_setting(tx, "device_list", listed.raw)
    outcome.relisted = listed
    outcome.nodes.update(postbox.show_cards_again(tx))
    if not listed.holds(me.dsk, me.identity.dik):
        outcome.notices.append("this device was removed from your account: your contacts do not read it any more")


def check(tx: sqlite3.Connection, device: Device, listed: DeviceList) -> None:
    """Raises `StaleDeviceList` for a device that a newer list of its account than the one it shows leaves out."""
    raw = people.newest_device_list(tx, listed.account)
    known = DeviceList.parse(raw) if raw else None
    if known is not None and known.seq >= listed.seq and not known.holds(*device):
        raise StaleDeviceList("an older device list, and the newer one leaves its device out")


def welcome(
    tx: sqlite3.Connection,
    me: Me,
    contact: people.ContactRow,
    device: Device,
    sessions: Sessions,
    opened: Opened,
    listed: DeviceList,
    outcome: Outcome,
) -> None:
    """A device of a contact's that is new here, listed by its account, becomes one of theirs.

    Raises what `learn` does, and `UnknownDevice` for one too many or another's.
    """
    known = people.device(tx, device.dsk)
    if known is not None or device.dsk == me.dsk:
        raise UnknownDevice("a device that is another's")
    newest = learn(tx, me, contact, listed, outcome)
    ever = len(people.authors(tx, contact.account))
    if not newest.holds(*device) or len(people.devices(tx, contact.id)) >= DEVICE_LIMIT or ever >= EVER_LIMIT:
        raise UnknownDevice("a device that its account does not list, or one too many")
    row = people.DeviceRow(device.dsk, device.dik, contact.id, sessions.encode(), b"")
    people.put_device(tx, row, sender_hint(device.dsk))
    outcome.contacts.add(contact.id)
    outcome.owed[device.dsk] = None
    outcome.notices.append(f"{_name(contact)} has a new device")


def _whose(me: Me, contact: people.ContactRow) -> str:
    return "your account has removed" if contact.account == me.identity.account else f"{_name(contact)} has removed"


def _name(contact: people.ContactRow) -> str:
    return contact.alias or contact.name or "a contact"
