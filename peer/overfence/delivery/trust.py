"""Whom one trusts: what was compared, and keys that change (docs/protocol.md §1). In a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import BadPayload, NoKeyChange, UnknownDevice
from ..history import people
from ..history.people import ContactRow, ContactState
from ..identity import BadDeviceList, Device, DeviceList, user_id
from ..sealing import Card, Forged, Opened, Pre, SealingError, Sessions
from .handshakes import Shelf, check_introduction
from .me import Me
from .outcome import Outcome
from .payload import AnyItem, decode_payload

# Accounts remembered as rejected for one contact. Whoever holds its mailbox could raise the question again with each
# new account they make; the same one asks once.
REJECTED_LIMIT = 8


@dataclass(frozen=True)
class Claim:
    """Another account that writes for a contact: its first message, empty where only a card showed it."""

    account: bytes
    message: bytes
    at_s: int


@dataclass(frozen=True)
class Proved:
    """A claim's message, opened: its session, and what it says."""

    pre: Pre
    sessions: Sessions
    opened: Opened
    items: list[AnyItem]
    listed: DeviceList


def set_verified(tx: sqlite3.Connection, contact: int, at_s: int) -> None:
    """The safety number was compared then; 0: it does not count as compared any more."""
    people.set_contact(tx, contact, verified_s=at_s)


def claim_key(tx: sqlite3.Connection, me: Me, contact: ContactRow, pre: Pre, message: bytes, outcome: Outcome) -> None:
    """A message in the contact's own mailbox that begins as another account: kept for a person to decide.

    Only if its handshake opens and proves device and account: a node, or somebody who knows but the mailbox's name,
    raises no alarm. Nothing else of it is used, and the prekey stays, so that `prove` can read it again.
    """
    if _is_beyond_question(tx, me, contact, pre.account):
        outcome.drop(UnknownDevice("a device of an account that is not the contact's"), contact.id)
        return
    try:
        prove(tx, me, message, source=contact.account)
    except (SealingError, BadPayload, BadDeviceList) as error:
        if isinstance(error, Forged):
            me.wary.forged(contact.account, now_s=me.now_s)
        outcome.drop(error, contact.id)
        return
    _keep(tx, me, contact, Claim(pre.account, message, me.now_s), outcome)


def claim_card(tx: sqlite3.Connection, me: Me, contact: ContactRow, card: Card, outcome: Outcome) -> None:
    """The card at the contact's own address names another account. It can be decided on; they must write first."""
    account = card.device_list.account
    if not _is_beyond_question(tx, me, contact, account):
        _keep(tx, me, contact, Claim(account, b"", me.now_s), outcome)


def prove(tx: sqlite3.Connection, me: Me, message: bytes, *, source: bytes) -> Proved:
    """Open a message by the handshake it begins with, as of a device never met. ``source``: whose mailbox brought it.

    Raises a `SealingError`, `BadPayload` or `BadDeviceList` where it does not open or does not prove its account.
    """
    pre = Pre.peek(message)
    if pre is None:
        raise BadPayload("no handshake where one was to be")
    sessions, peer = Sessions(), Device(pre.dsk, pre.dik)
    opened = sessions.open(
        message,
        me=me.identity,
        peer=peer,
        peer_account=pre.account,
        prekey_secrets=Shelf(tx),
        now_s=me.now_s,
        random=me.random,
        jump_limit=me.wary.jump_limit(source, now_s=me.now_s),
    )
    items = decode_payload(opened.payload)
    introduction = check_introduction(pre.account, peer, items)
    return Proved(pre, sessions, opened, items, DeviceList.parse(introduction.device_list))


def claim(tx: sqlite3.Connection, contact: int) -> Claim | None:
    """The changed key that waits for a decision."""
    row = tx.execute("SELECT account, message, at_s FROM key_changes WHERE contact = ?", (contact,)).fetchone()
    return Claim(*row) if row else None


def meant_claim(tx: sqlite3.Connection, contact: int, new_id: str | None) -> Claim:
    """The claim that a decision is about; raises `NoKeyChange` if there is none, or it is not of ``new_id``."""
    found = claim(tx, contact)
    if found is None:
        raise NoKeyChange("no changed key of this contact waits for a decision")
    if new_id not in (None, user_id(found.account)):
        raise NoKeyChange("meanwhile somebody writes under yet another key: look again before you decide")
    return found


def forget_claim(tx: sqlite3.Connection, contact: int) -> None:
    """It was decided."""
    tx.execute("DELETE FROM key_changes WHERE contact = ?", (contact,))


def keep_old_key(tx: sqlite3.Connection, contact: int, new_id: str | None = None) -> None:
    """The contact stays who it was, and that other account is not asked about again. Raises `NoKeyChange`."""
    found = meant_claim(tx, contact, new_id)
    forget_claim(tx, contact)
    people.set_setting(tx, _rejected_key(contact), b"".join([found.account, *_rejected(tx, contact)][:REJECTED_LIMIT]))


def _is_beyond_question(tx: sqlite3.Connection, me: Me, contact: ContactRow, account: bytes) -> bool:
    """Whether that account need not be asked about: known already, rejected, or nobody is to be asked."""
    # Somebody one is in contact with already writes in their own name: that is no changed key.
    is_met = account in (me.identity.account, contact.account) or people.contact_of(tx, account) is not None
    known = is_met or account in _rejected(tx, contact.id)
    return known or contact.state not in (ContactState.WAITING, ContactState.ACCEPTED)


def _keep(tx: sqlite3.Connection, me: Me, contact: ContactRow, new: Claim, outcome: Outcome) -> None:
    before = claim(tx, contact.id)
    if before is not None and before.account == new.account and not new.message:
        return  # a card says less than the message that is kept
    tx.execute(
        "INSERT OR REPLACE INTO key_changes (contact, account, message, at_s) VALUES (?, ?, ?, ?)",
        (contact.id, new.account, new.message, new.at_s),
    )
    outcome.contacts.add(contact.id)
    # Whoever holds the mailbox could make accounts without end: told once a minute, the newest is what one decides on.
    if before is None or before.account != new.account:
        outcome.key_changes.add(contact.id)


def _rejected(tx: sqlite3.Connection, contact: int) -> list[bytes]:
    kept = people.setting(tx, _rejected_key(contact))
    raw = kept if isinstance(kept, bytes) else b""
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def _rejected_key(contact: int) -> str:
    """The setting that keeps the accounts that are not this contact."""
    return f"rejected keys {contact}"
