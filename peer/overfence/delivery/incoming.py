"""Taking in sealed messages, from any path, once. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from overfence_reliability import Run

from ..errors import BadEvent, BadPayload
from ..history import logbook, people, postbox
from ..history.event import LAMPORT_LIMIT, Addresses, Event, Profile
from ..history.log import Verdict
from ..history.people import ContactState
from ..identity import BadDeviceList, Device, DeviceList, verify
from ..sealing import (
    BadEnvelope,
    BadState,
    Duplicate,
    Forged,
    Opened,
    Pre,
    PrekeySecret,
    SealingError,
    Sessions,
    UnknownSession,
    open_envelope,
)
from .me import Me
from .outgoing import have, post, seal_items
from .payload import (
    LOGS_LIMIT,
    AnyItem,
    Batch,
    Have,
    Introduction,
    Refusal,
    Reset,
    Ring,
    Sdp,
    decode_payload,
)


@dataclass
class Outcome:
    """What taking messages in led to; acted on only once the transaction is durable."""

    ordered: list[tuple[int, logbook.Entry]] = field(default_factory=list)  # contact, event
    told: list[tuple[bytes, Run]] = field(default_factory=list)  # device, what it holds of my log
    calls: list[tuple[bytes, Sdp | Ring]] = field(default_factory=list)
    to_link: list[tuple[bytes, bytes]] = field(default_factory=list)  # device, sealed message
    owed: dict[bytes, None] = field(default_factory=dict)  # devices that are owed a have
    duplicates: set[bytes] = field(default_factory=set)
    wasted: list[bytes] = field(
        default_factory=list
    )  # devices whose line brought what could not be read, or was before
    nodes: set[str] = field(default_factory=set)  # where something new waits to be said
    contacts: set[int] = field(default_factory=set)  # whose state, name, devices or addresses changed
    lowered: set[bytes] = field(default_factory=set)  # devices that hold less than they did
    met: list[bytes] = field(default_factory=list)  # devices of guests that were just taken
    dropped: list[str] = field(default_factory=list)  # why a message was, in words without content

    def add(self, other: Outcome) -> None:
        """What one more message led to."""
        self.ordered += other.ordered
        self.told += other.told
        self.calls += other.calls
        self.to_link += other.to_link
        self.owed.update(other.owed)
        self.duplicates |= other.duplicates
        self.wasted += other.wasted
        self.nodes |= other.nodes
        self.contacts |= other.contacts
        self.lowered |= other.lowered
        self.met += other.met
        self.dropped += other.dropped


class Shelf(Mapping[bytes, PrekeySecret]):
    """My prekey secrets by id, read only when a handshake asks."""

    def __init__(self, tx: sqlite3.Connection) -> None:
        self._tx = tx

    def __getitem__(self, prekey_id: bytes) -> PrekeySecret:
        raw = postbox.prekey(self._tx, prekey_id)
        if raw is None:
            raise KeyError(prekey_id)
        try:
            return PrekeySecret.decode(raw)
        except BadState:
            # As good as gone; whoever used it meets the next card.
            raise KeyError(prekey_id) from None

    def __iter__(self) -> Iterator[bytes]:
        yield from (row[0] for row in self._tx.execute("SELECT prekey_id FROM prekeys"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def take_envelope(tx: sqlite3.Connection, me: Me, box: postbox.Mailbox, envelope: bytes, outcome: Outcome) -> None:
    """One envelope from a contact's mailbox. One that does not open is dropped, and changes nothing (§3)."""
    if box.contact is None:
        raise AssertionError("an invite's mailbox is the meeting's")
    try:
        hint, message = open_envelope(box.key, box.mailbox, envelope)
    except BadEnvelope as error:
        outcome.dropped.append(str(error))
        return
    device = people.device_by_hint(tx, box.contact, hint)
    if device is None:
        outcome.dropped.append("an envelope from a device that is none of the contact's")
        return
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
    sessions = Sessions.decode(device.sessions)
    opened = open_sealed(
        tx, me, sessions, contact.account, Device(device.dsk, device.dik), message, outcome, source=source or dsk
    )
    if opened is None:
        return False
    people.set_sessions(tx, dsk, sessions.encode(), device.introduced)
    try:
        items = decode_payload(opened.payload)
        if opened.new_session:
            check_introduction(contact.account, Device(device.dsk, device.dik), items)
    except (BadPayload, BadDeviceList) as error:
        outcome.dropped.append(str(error))
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
) -> Opened | None:
    """What is inside; None, with the reason noted, for what is not to be read. ``source`` is blamed for forgeries."""
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
    except Duplicate:
        outcome.duplicates.add(peer.dsk)
        return None
    except UnknownSession:
        outcome.dropped.append("a message of a session not known here")
        return None
    except SealingError as error:
        if isinstance(error, Forged):
            me.wary.forged(source, now_s=me.now_s)
        outcome.dropped.append(f"{type(error).__name__}: {error}")
        return None
    if opened.new_session and (pre := Pre.peek(message)) is not None:
        postbox.replace_prekey(tx, pre.prekey_id, me.now_s)
        outcome.nodes.update(box.node for box in postbox.mailboxes(tx) if not box.card_set)
    return opened


def check_introduction(account: bytes, device: Device, items: list[AnyItem]) -> Introduction:
    """A session's first message must show its device in its account's list, before anything of it is shown (§2)."""
    introduction = next((item for item in items if isinstance(item, Introduction)), None)
    if introduction is None:
        raise BadPayload("a new session without an introduction")
    listed = DeviceList.parse(introduction.device_list)
    if listed.account != account or not listed.holds(device.dsk, device.dik):
        raise BadDeviceList("the device is not in its account's list")
    # An account can list any key; only its holder can sign that it belongs there.
    if not verify(device.dsk, "device", account + device.dik, introduction.consent):
        raise BadDeviceList("the device has not signed that it is its account's")
    return introduction


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
    if contact.state is ContactState.REMOVED:
        return
    for item in items:
        match item:
            case Introduction():
                _take_introduction(tx, contact, dsk, item, outcome)
            case Batch():
                _take_batch(tx, me, contact, item, outcome)
                outcome.owed[dsk] = None
            case Have():
                _take_have(tx, me, contact, dsk, item, outcome, epoch)
            case Sdp() | Ring():
                outcome.calls.append((dsk, item))
            case Refusal(reason):
                state = ContactState.EXPIRED if reason == "expired" else ContactState.REFUSED
                if contact.state is ContactState.WAITING:
                    people.set_contact(tx, contact.id, state=state)
                    outcome.contacts.add(contact.id)
            case Reset(sid):
                _take_reset(tx, dsk, sid)
            case _:
                assert_never(item)


def answer(tx: sqlite3.Connection, me: Me, outcome: Outcome, direct: frozenset[bytes]) -> None:
    """Seal the haves that are owed, in the very transaction of what they confirm (§3)."""
    for dsk in outcome.owed:
        device = people.device(tx, dsk)
        contact = people.contact(tx, device.contact) if device else None
        if device is None or contact is None or contact.state is ContactState.REMOVED:
            continue
        replaced = [] if dsk in direct else postbox.words_to(tx, dsk)
        if replaced:
            # One of them may have been the first of its session.
            device = replace(device, introduced=b"")
        message = seal_items(tx, me, device, have(tx, contact), spare=dsk in outcome.duplicates)
        if message is None:
            continue
        postbox.forget_puts(tx, replaced)
        if dsk in direct:
            outcome.to_link.append((dsk, message))
        elif node := post(tx, me, dsk, message):
            outcome.nodes.add(node)


def _take_introduction(
    tx: sqlite3.Connection, contact: people.ContactRow, dsk: bytes, item: Introduction, outcome: Outcome
) -> None:
    try:
        listed = DeviceList.parse(item.device_list)
    except BadDeviceList as error:
        outcome.dropped.append(str(error))
        return
    if listed.account != contact.account:
        outcome.dropped.append("an introduction of another account")
        return
    people.keep_device_list(tx, listed.account, listed.seq, listed.raw)
    if item.addresses:
        people.set_addresses(tx, dsk, item.addresses)
    outcome.contacts.add(contact.id)


def _take_batch(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, batch: Batch, outcome: Outcome) -> None:
    authors = {device.dsk for device in people.devices(tx, contact.id)} - {me.dsk}
    logs = logbook.logs_of(tx, contact.conv)
    intake = logbook.Intake(tx)
    for header, body in batch.events:
        try:
            event = Event.parse(header, body)
        except BadEvent as error:
            outcome.dropped.append(str(error))
            continue
        if event.header.conv != contact.conv or event.header.device not in authors:
            outcome.dropped.append("an event of another conversation or author")
            continue
        log = (event.header.device, event.header.log)
        if log not in logs and len(logs) >= LOGS_LIMIT:
            outcome.dropped.append("an event of one log too many")
            continue
        logs.add(log)
        verdict, ordered = intake.take(event)
        if verdict in (Verdict.FORK, Verdict.FAR):
            outcome.dropped.append(f"an event that is a {verdict.name.lower()}")
        for entry in ordered:
            outcome.ordered.append((contact.id, entry))
            _learn(tx, contact, entry, outcome)
    intake.close()


def _learn(tx: sqlite3.Connection, contact: people.ContactRow, entry: logbook.Entry, outcome: Outcome) -> None:
    if entry.refused:
        return
    match entry.event.content():
        case Profile(name):
            people.set_contact(tx, contact.id, name=name)
            outcome.contacts.add(contact.id)
        case Addresses(addresses) if addresses:
            people.set_addresses(tx, entry.event.header.device, addresses)
            outcome.contacts.add(contact.id)
        case _:
            pass


def _take_have(
    tx: sqlite3.Connection,
    me: Me,
    contact: people.ContactRow,
    dsk: bytes,
    item: Have,
    outcome: Outcome,
    epoch: int,
) -> None:
    if item.conv != contact.conv:
        outcome.dropped.append("a have of another conversation")
        return
    if item.lamport <= LAMPORT_LIMIT:
        tx.execute("UPDATE contacts SET lamport = max(lamport, ?) WHERE id = ?", (item.lamport, contact.id))
    mine = logbook.run_of(tx, contact.conv, me.dsk, contact.log)
    found = next((held for held in item.runs if (held.device, held.log) == (me.dsk, contact.log)), None)
    if found is None and (
        len(item.runs) >= LOGS_LIMIT or epoch <= people.told_epoch(tx, dsk, me.dsk, contact.log) or mine.end == 0
    ):
        return
    try:
        run = found.run() if found else Run()
    except BadPayload as error:
        outcome.dropped.append(str(error))
        return
    if run.end > mine.end or not _agrees(tx, contact, me, run):
        outcome.dropped.append("a confirmation of what was never written here")
        return
    _believe(tx, me, contact, dsk, run, epoch, outcome)


def _believe(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, dsk: bytes, run: Run, epoch: int, outcome: Outcome
) -> None:
    """A device's word on my log: more counts at once; less, where it cannot be an older word that comes late."""
    known, known_epoch = people.told(tx, dsk, me.dsk, contact.log), people.told_epoch(tx, dsk, me.dsk, contact.log)
    if epoch < known_epoch:
        return
    # It was set back to an older copy of its disk: it began anew, or lacks what lies between it and what it just got.
    set_back = run.end < known.end and (epoch > known_epoch or (run.above != () and run.above[0][0] > known.end))
    if run.end > known.end or set_back:
        people.set_told(tx, dsk, me.dsk, contact.log, Run(run.end, run.tip), epoch)
        postbox.forget_covered_puts(tx, dsk, contact.log, run.end)
    if set_back:
        people.forget_puts_to(tx, dsk)
        outcome.lowered.add(dsk)
    if run.end > 0 or known_epoch >= 0:
        outcome.told.append((dsk, run))


def _agrees(tx: sqlite3.Connection, contact: people.ContactRow, me: Me, run: Run) -> bool:
    if run.end == 0:
        return True
    row = tx.execute(
        "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?",
        (contact.conv, me.dsk, contact.log, run.end),
    ).fetchone()
    return row is not None and row[0] == run.tip


def _take_reset(tx: sqlite3.Connection, dsk: bytes, sid: bytes) -> None:
    device = people.device(tx, dsk)
    if device is not None:
        sessions = Sessions.decode(device.sessions)
        sessions.mute(sid)
        people.set_sessions(tx, dsk, sessions.encode(), device.introduced)
