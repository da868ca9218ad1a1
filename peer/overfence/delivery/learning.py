"""What a contact's events and confirmations teach. Every function runs inside a transaction (docs/protocol.md §6)."""

from __future__ import annotations

import sqlite3

from overfence_reliability import Run

from ..errors import BadConfirmation, BadEvent, BadPayload, ForeignEvent, ForkedLog
from ..history import logbook, people, postbox
from ..history.event import LAMPORT_LIMIT, Addresses, Event, Profile, Topic
from ..history.log import Verdict
from . import moving
from .me import Me
from .outcome import Outcome
from .payload import LOGS_LIMIT, Batch, Have


def take_batch(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, batch: Batch, outcome: Outcome) -> None:
    authors = {device.dsk for device in people.devices(tx, contact.id)} - {me.dsk}
    logs = logbook.logs_of(tx, contact.conv)
    intake = logbook.Intake(tx)
    for header, body in batch.events:
        try:
            event = Event.parse(header, body)
        except BadEvent as error:
            outcome.drop(error, contact.id)
            continue
        if event.header.conv != contact.conv or event.header.device not in authors:
            outcome.drop(ForeignEvent("an event of another conversation or author"), contact.id)
            continue
        log = (event.header.device, event.header.log)
        if log not in logs and len(logs) >= LOGS_LIMIT:
            outcome.drop(BadEvent("an event of one log too many"), contact.id)
            continue
        logs.add(log)
        verdict, ordered = intake.take(event)
        if verdict is Verdict.FORK:
            outcome.drop(ForkedLog("an event that contradicts the one held at its number"), contact.id)
        elif verdict is Verdict.FAR:
            outcome.drop(BadEvent("an event too far beyond a gap"), contact.id)
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
            moving.take_addresses(tx, entry.event.header.device, addresses, outcome)
            outcome.contacts.add(contact.id)
        case Topic():
            moving.settle_topic(tx, contact)
            outcome.contacts.add(contact.id)
        case _:
            pass


def take_have(
    tx: sqlite3.Connection,
    me: Me,
    contact: people.ContactRow,
    dsk: bytes,
    item: Have,
    outcome: Outcome,
    epoch: int,
) -> None:
    if item.conv != contact.conv:
        outcome.drop(BadConfirmation("a confirmation of another conversation"), contact.id)
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
        outcome.drop(error, contact.id)
        return
    if run.end > mine.end or not _agrees(tx, contact, me, run):
        outcome.drop(BadConfirmation("a confirmation of what was never written here"), contact.id)
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
