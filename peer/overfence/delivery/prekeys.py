"""Prekeys: mine, in cards and inside sessions, and those others sent. Every function runs in a transaction (§1, §2)."""

from __future__ import annotations

import sqlite3

from ..history import people, postbox
from ..history.people import DeviceRow
from ..identity import DeviceList
from ..sealing import BadCard, BadState, Prekeys, PrekeySecret, new_prekey
from .handshakes import Shelf
from .me import Me
from .outcome import Outcome
from .payload import FreshPrekeys

# Cards are replaced at least so often, though nobody used them; for a prekey not known here, not more often than that.
CARD_LIFE_S = 7 * 24 * 3600
CARD_EVERY_S = 3600
# §1 How long secrets outlive their successors' publication, used and unused; and how long any lives.
USED_LIFE_S = 24 * 3600
UNUSED_LIFE_S = 30 * 24 * 3600
PREKEY_LIFE_S = 60 * 24 * 3600


def fresh(tx: sqlite3.Connection, me: Me, device: DeviceRow) -> FreshPrekeys:
    """Prekeys of mine for the next session with a device; they count as published with the message they go in.

    Those it was sent and has not used are sent again: telling them over and over fills no disk.
    """
    secret = _unused(tx, me, device.dsk)
    if secret is None:
        secret = new_prekey(me.random)
        postbox.add_prekey(tx, secret.prekey_id, secret.encode(), me.now_s, device.dsk)
    postbox.prekey_published(tx, secret.prekey_id, me.now_s)
    return FreshPrekeys(Prekeys.sign(me.identity, secret).raw)


def card_is_set(tx: sqlite3.Connection, mailbox: bytes, prekey_id: bytes, listed: DeviceList, now_s: int) -> None:
    """The node shows it from now on; not what another prekey or device list has come in place of meanwhile."""
    box = postbox.mailbox(tx, mailbox)
    is_listed = people.setting(tx, "device_list") in (None, listed.raw)
    if box is not None and box.prekey == prekey_id and is_listed and postbox.prekey(tx, prekey_id) is not None:
        postbox.set_card(tx, mailbox, prekey_id, at_node=True)
        postbox.prekey_published(tx, prekey_id, now_s)


def keep(tx: sqlite3.Connection, contact: int, dsk: bytes, item: FreshPrekeys, outcome: Outcome) -> None:
    """Prekeys a device sent for the next session; they must be its own."""
    try:
        prekeys = Prekeys.parse(item.raw)
        if prekeys.dsk != dsk:
            raise BadCard("prekeys of another device")
    except BadCard as error:
        outcome.drop(error, contact)
        return
    people.set_rekeying(tx, dsk, prekeys=prekeys.raw)


def tend(tx: sqlite3.Connection, me: Me) -> list[str]:
    """Delete secrets whose time is over, and let cards show others where theirs is; the nodes they are at (§1)."""
    now_s = me.now_s
    postbox.prekeys_out_of_reach(tx, now_s)
    # First, while what a card shows is still known here.
    nodes = postbox.renew_cards(tx, now_s - CARD_LIFE_S)
    postbox.drop_old_prekeys(
        tx,
        used_before_s=now_s - USED_LIFE_S,
        unused_before_s=now_s - UNUSED_LIFE_S,
        made_before_s=now_s - PREKEY_LIFE_S,
    )
    return nodes


def unknown(tx: sqlite3.Connection, me: Me, contact: int | None, outcome: Outcome) -> None:
    """A handshake came on a prekey that is gone: the card it was taken from is old, so a new one is shown."""
    if contact is not None:
        outcome.nodes.update(postbox.renew_cards(tx, me.now_s - CARD_EVERY_S, contact))


def unknown_at_invite(tx: sqlite3.Connection, me: Me, mailbox: bytes, outcome: Outcome) -> None:
    """The same at an invite's mailbox, where anybody can name any prekey: at most once an hour, unless ours is gone."""
    box = postbox.mailbox(tx, mailbox)
    made_s = postbox.prekey_made_s(tx, box.prekey) if box is not None and box.prekey else None
    is_gone = box is not None and (not box.prekey or Shelf(tx).get(box.prekey) is None)
    if box is not None and (is_gone or (made_s is not None and made_s < me.now_s - CARD_EVERY_S)):
        postbox.set_card(tx, mailbox, None, at_node=False)
        outcome.nodes.add(box.node)


def _unused(tx: sqlite3.Connection, me: Me, dsk: bytes) -> PrekeySecret | None:
    raw = postbox.unused_prekey(tx, dsk, me.now_s - CARD_LIFE_S)
    try:
        return None if raw is None else PrekeySecret.decode(raw)
    except BadState:
        return None
