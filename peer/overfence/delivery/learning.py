"""What events and confirmations teach, whoever brings them. Every function runs inside a transaction (§6)."""

from __future__ import annotations

import sqlite3

from overfence_reliability import Run

from ..errors import BadConfirmation, BadEvent, BadPayload, ForeignEvent, ForkedLog
from ..history import forks, logbook, people, postbox, rows
from ..history.event import LAMPORT_LIMIT, Addresses, Closed, Devices, Event, Profile, Topic
from ..history.log import Verdict
from . import listing, moving, repair
from .me import Me
from .outcome import Outcome
from .payload import LOGS_LIMIT, Batch, Fork, Have
from .sync import LogKey


def take_batch(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, dsk: bytes, batch: Batch, outcome: Outcome
) -> None:
    """Events from a device: of its own account's logs, or, from a device of mine, of any I know."""
    scopes: dict[bytes, _Scope | None] = {}
    intake = logbook.Intake(tx)
    for header, body in batch.events:
        try:
            event = Event.parse(header, body)
        except BadEvent as error:
            outcome.drop(error, contact.id)
            continue
        conv = event.header.conv
        if conv not in scopes:
            scopes[conv] = _scope(tx, me, contact, conv)
        scope = scopes[conv]
        if scope is None or event.header.device not in scope.authors:
            outcome.drop(ForeignEvent("an event of another conversation or author"), contact.id)
            continue
        log = (event.header.device, event.header.log)
        if log not in scope.logs and len(scope.logs) >= LOGS_LIMIT:
            outcome.drop(BadEvent("an event of one log too many"), contact.id)
            continue
        scope.logs.add(log)
        verdict, ordered = intake.take(event)
        if verdict is Verdict.FORK:
            _note_fork(tx, intake, dsk, event, outcome)
            outcome.drop(ForkedLog("an event that contradicts the one held at its number"), contact.id)
        elif verdict is Verdict.FAR:
            outcome.drop(BadEvent("an event too far beyond a gap"), contact.id)
        for entry in ordered:
            if not entry.hidden:
                outcome.ordered.append((scope.contact.id, entry))
            is_mine = entry.event.header.device in scope.mine
            if not is_mine or scope.is_own or entry.event.header.kind == "closed":
                _learn(tx, me, scope.contact, entry, outcome)
    intake.close()


class _Scope:
    """A conversation that a device may bring events of: whose, and by which authors."""

    def __init__(self, tx: sqlite3.Connection, me: Me, contact: people.ContactRow, *, by_sibling: bool) -> None:
        self.contact = contact
        self.is_own = contact.account == me.identity.account
        self.mine = me.authors(tx)
        theirs = people.authors(tx, contact.account)
        self.authors = theirs | self.mine if by_sibling else theirs - self.mine
        # A device that is gone may not have used up the room of those that are there.
        gone = people.revoked(tx)
        self.logs = {(device, log) for device, log in rows.logs_of(tx, contact.conv) if device not in self.mine | gone}


def _scope(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, conv: bytes) -> _Scope | None:
    if contact.account != me.identity.account:
        return _Scope(tx, me, contact, by_sibling=False) if conv == contact.conv else None
    about = people.contact_by_conv(tx, conv)
    return _Scope(tx, me, about, by_sibling=True) if about else None


def _note_fork(tx: sqlite3.Connection, intake: logbook.Intake, dsk: bytes, event: Event, outcome: Outcome) -> None:
    """What is held where the other's log differs: at the event's number, or at the one before, which it disowns."""
    header = event.header
    key = LogKey(header.conv, header.device, header.log)
    number = header.seq
    held = rows.id_at(tx, *key, number)
    if held is None:
        number, held = header.seq - 1, intake.tip(*key)
    if number and held:
        outcome.forked.setdefault((dsk, key), Fork(*key, number, held))
        outcome.owed[dsk] = None


def _learn(tx: sqlite3.Connection, me: Me, contact: people.ContactRow, entry: rows.Entry, outcome: Outcome) -> None:
    if entry.refused or logbook.is_outdated(tx, entry):
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
        case Devices(raw):
            listing.hear(tx, me, contact, entry.event.header.device, raw, outcome)
        case Closed(logs):
            forks.set_closed_logs(tx, contact.conv, entry.event.header.device, dict(logs))
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
    """What a device holds of my account's logs in a conversation; of a device of mine: of all logs."""
    scope = _scope(tx, me, contact, item.conv)
    if scope is None:
        outcome.drop(BadConfirmation("a confirmation of another conversation"), contact.id)
        return
    if item.lamport <= LAMPORT_LIMIT:
        rows.raise_lamport(tx, scope.contact.conv, item.lamport)
    by_sibling = contact.account == me.identity.account
    try:
        held = {(run.device, run.log): run.run() for run in item.runs}
    except BadPayload as error:
        outcome.drop(error, contact.id)
        return
    known = {(device, log): end for device, log, end in forks.supplied(tx, item.conv)}
    for (device, log), end in known.items():
        if not by_sibling and device not in scope.mine:
            continue
        key = LogKey(item.conv, device, log)
        run = held.get((device, log))
        if run is None:
            # Left out is not held, but only from one who began anew since: an older word may come late.
            if len(item.runs) >= LOGS_LIMIT or epoch <= people.told_epoch(tx, dsk, device, log) or end == 0:
                continue
            run = Run()
        _take_run(tx, me, scope.contact, dsk, key, run, epoch, outcome, by_sibling=by_sibling)
    for device, log in held.keys() - known.keys():
        if device == me.dsk:
            repair.replace_log(tx, me, scope.contact, LogKey(item.conv, device, log), held[device, log].end, outcome)


def _take_run(
    tx: sqlite3.Connection,
    me: Me,
    contact: people.ContactRow,
    dsk: bytes,
    key: LogKey,
    run: Run,
    epoch: int,
    outcome: Outcome,
    *,
    by_sibling: bool,
) -> None:
    closed = forks.closed_at(tx, *key)
    if closed is not None and run.end > closed:
        return  # it has not heard yet that nothing beyond is compared
    mine = rows.run_of(tx, *key)
    if run.end and (run.end > mine.end or rows.id_at(tx, *key, run.end) != run.tip):
        if key.device != me.dsk:
            pass  # its author's to settle
        elif by_sibling and run.end > mine.end:
            pass  # what is missing here is about to come from there
        else:
            outcome.drop(BadConfirmation("a confirmation of what is not written here"), contact.id)
            repair.heal(tx, me, contact, key, run.end, outcome)
        return
    _believe(tx, dsk, key, run, epoch, outcome)


def _believe(tx: sqlite3.Connection, dsk: bytes, key: LogKey, run: Run, epoch: int, outcome: Outcome) -> None:
    """A device's word on a log: more counts at once; less, where it cannot be an older word that comes late."""
    known, known_epoch = people.told(tx, dsk, *key[1:]), people.told_epoch(tx, dsk, *key[1:])
    if epoch < known_epoch:
        return
    # It was set back to an older copy of its disk: it began anew, or lacks what lies between it and what it just got.
    set_back = run.end < known.end and (epoch > known_epoch or (run.above != () and run.above[0][0] > known.end))
    if run.end > known.end:
        people.set_rekeying(tx, dsk, lapses=0)
    if run.end > known.end or set_back:
        people.set_told(tx, dsk, *key[1:], Run(run.end, run.tip), epoch)
        postbox.forget_covered_puts(tx, dsk, key.log, run.end)
    if set_back:
        people.forget_puts_to(tx, dsk)
        outcome.lowered.add(dsk)
    if run.end > 0 or known_epoch >= 0:
        outcome.told.append((dsk, key, run))


def take_fork(
    tx: sqlite3.Connection, me: Me, contact: people.ContactRow, dsk: bytes, item: Fork, outcome: Outcome
) -> None:
    """A device holds another event than it was sent at a number of my log (§6.2)."""
    key = LogKey(item.conv, item.device, item.log)
    scope = _scope(tx, me, contact, item.conv)
    if scope is None or item.device != me.dsk or rows.id_at(tx, *key, item.number) in (item.id, None):
        outcome.drop(BadConfirmation("a fork of no log of this device's"), contact.id)
        return
    repair.heal(tx, me, scope.contact, key, item.number, outcome)
