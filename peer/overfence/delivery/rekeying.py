"""Beginning anew with a device: the handshakes that are due, and what comes of them. Runs in transactions (§2, §3)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import DeviceListConflict, StaleDeviceList
from ..history import people, postbox
from ..history.event import Address
from ..history.people import DeviceRow
from ..identity import Device
from ..sealing import BadCard, Card, Prekeys, SealingError
from . import listing, planning, trust
from .me import Me
from .outcome import Outcome
from .outgoing import haves, introduction, parts, post
from .payload import Reset, encode_payload


@dataclass(frozen=True)
class Due:
    """A session that is to be begun; on ``prekeys`` where the device sent some, else on those of its card."""

    device: DeviceRow
    account: bytes
    address: Address
    prekeys: Prekeys | None


def due(tx: sqlite3.Connection, me: Me, node: str) -> tuple[list[Due], int | None]:
    """The sessions to begin now with devices at a node, and when the next one is."""
    found, later = [], None
    for device, begin_s in people.to_begin_with(tx):
        addresses = people.addresses(tx, device.dsk)
        contact = people.contact(tx, device.contact)
        if not addresses or addresses[0].node != node or contact.state not in planning.OPEN:
            continue
        if begin_s > me.now_s:
            later = min(begin_s, later or begin_s)
            continue
        state = people.rekeying(tx, device.dsk)
        # One that lost its sessions may have lost the secrets of what it sent in them.
        prekeys = (
            None if state.unread or state.resets or state.lapses >= planning.LAPSES_LIMIT else _sent(state.prekeys)
        )
        found.append(Due(device, contact.account, addresses[0], prekeys))
    return found, later


def begin(tx: sqlite3.Connection, me: Me, beginning: Due, card: Card | None) -> Outcome:
    """Send the handshake, in no older session's stead until it is answered; what that led to.

    Raises `BadCard` for another's card and `WeakKey`; then it is tried again later.
    """
    outcome = Outcome()
    device = people.device(tx, beginning.device.dsk)
    if device is None or device.revoked_s:
        return outcome
    state, contact = people.rekeying(tx, device.dsk), people.contact(tx, device.contact)
    if contact.state not in planning.OPEN or not 0 < state.begin_s <= me.now_s:
        return outcome  # shut out, or answered, while the card was awaited
    peer = Device(device.dsk, device.dik)
    planning.tried(tx, me, device.dsk)
    prekeys = beginning.prekeys
    if card is not None:
        if card.device_list.account != contact.account or card.device != peer:
            raise BadCard("the card is another's than the device's whose mailbox it lies at")
        try:
            listing.learn(tx, me, contact, card.device_list, outcome)
        except (StaleDeviceList, DeviceListConflict) as error:
            # Told, and not learnt from; the prekeys are the device's own, and by the list that holds it is theirs.
            outcome.drop(error, contact.id)
        prekeys = card.prekeys
    if prekeys is None:
        return outcome
    sessions = planning.stored(device)
    sessions.give_up()
    sessions.initiate(me.identity, peer, contact.account, prekeys, now_s=me.now_s, random=me.random)
    reset = () if state.unread is None else (Reset(state.unread),)
    items = (introduction(tx, me, device, sessions), *reset, *parts(haves(tx, me, contact))[0])
    message = sessions.seal_unanswered(encode_payload(*items), random=me.random)
    people.set_sessions(tx, device.dsk, sessions.encode(), device.introduced)
    people.set_rekeying(tx, device.dsk, prekeys=None, lapses=0)
    postbox.forget_handshakes(tx, device.dsk)
    if node := post(tx, me, device.dsk, message, is_handshake=True):
        outcome.nodes.add(node)
    return outcome


def failed(tx: sqlite3.Connection, me: Me, beginning: Due, card: Card | None, error: SealingError) -> Outcome:
    """There was no card to be used: told, and tried again by the back-off. One of another account is a changed key."""
    outcome = Outcome()
    planning.tried(tx, me, beginning.device.dsk)
    outcome.drop(error, beginning.device.contact)
    if card is not None and card.device_list.account != beginning.account:
        trust.claim_card(tx, me, people.contact(tx, beginning.device.contact), card, outcome)
    return outcome


def reset(tx: sqlite3.Connection, dsk: bytes, sid: bytes, outcome: Outcome) -> None:
    """The device cannot read that session: nothing more is sent in it, and what was is sealed anew."""
    device = people.device(tx, dsk)
    if device is None:
        return
    sessions = planning.stored(device)
    if not sessions.mute(sid):
        return  # once: a session nobody holds, or named again, makes no work
    people.set_sessions(tx, dsk, sessions.encode(), device.introduced)
    people.forget_puts_to(tx, dsk)
    outcome.lowered.add(dsk)


def _sent(raw: bytes | None) -> Prekeys | None:
    try:
        return None if raw is None else Prekeys.parse(raw)
    except BadCard:
        return None
