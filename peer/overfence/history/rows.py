"""Events and runs as they are stored. Every function here runs inside a transaction of the store's thread."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from overfence_reliability import Run, ranges

from .event import Content, Event, Text

# Events of one conversation kept above gaps, in all its logs. They fill the disk before anything confirms them, and
# each have lists them; what is beyond this is dropped, and comes again once the gaps are filled.
ABOVE_LIMIT = 2_000
# A clock that is told to be at its end would order nothing any more: all that follows would stand by device.
STEP_LIMIT = 2**20
# lamport, device, origin
Place = tuple[int, bytes, bytes]


@dataclass(frozen=True)
class Entry:
    """One stored event; ``hidden`` where another that says the same is shown in its stead (§6.2)."""

    row: int
    event: Event
    refused: bool
    hidden: bool = False

    @property
    def place(self) -> Place:
        """Where it stands on every screen (§6.1)."""
        return self.event.header.lamport, self.event.header.device, self.event.origin


def run_of(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes) -> Run:
    """What is held of a log, unconfirmed ranges left out."""
    row = tx.execute(
        "SELECT end, tip FROM runs WHERE conv = ? AND device = ? AND log = ?", (conv, device, log)
    ).fetchone()
    return Run(*row) if row else Run()


def runs_of(tx: sqlite3.Connection, conv: bytes, devices: set[bytes]) -> dict[tuple[bytes, bytes], Run]:
    """Each log of these devices in a conversation, unconfirmed ranges included."""
    found = {}
    for device, log, end, tip in tx.execute(
        "SELECT device, log, end, tip FROM runs WHERE conv = ?", (conv,)
    ).fetchall():
        if device in devices:
            above = tx.execute(
                "SELECT seq FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? ORDER BY seq LIMIT ?",
                (conv, device, log, end, ABOVE_LIMIT),
            )
            found[device, log] = Run(end, tip, ranges([seq for (seq,) in above]))
    return found


def logs_of(tx: sqlite3.Connection, conv: bytes) -> set[tuple[bytes, bytes]]:
    """The logs known of a conversation: author device and name each."""
    return set(tx.execute("SELECT device, log FROM runs WHERE conv = ?", (conv,)).fetchall())


def id_at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> bytes | None:
    """The id of the event at a number of a log."""
    row = tx.execute(
        "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?", (conv, device, log, seq)
    ).fetchone()
    return row[0] if row else None


def entry_of(row: tuple[int, bytes, bytes | None, int, int]) -> Entry:
    return Entry(row[0], Event.parse(row[1], row[2]), bool(row[3]), bool(row[4]))


def entry_at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> Entry | None:
    row = tx.execute(
        "SELECT row, header, body, refused, hidden FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?",
        (conv, device, log, seq),
    ).fetchone()
    return entry_of(row) if row else None


def insert(tx: sqlite3.Connection, event: Event, *, refused: bool) -> Entry:
    header = event.header
    row = tx.execute(
        """INSERT INTO events (conv, device, log, seq, id, lamport, kind, header, body, refused, origin, is_copy)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(header.conv, header.device, header.log, header.seq, event.id),
            *(header.lamport, header.kind, event.header_bytes, event.body, refused),
            *(event.origin, header.was is not None),
        ),
    ).lastrowid
    return Entry(row or 0, event, refused)


def index(tx: sqlite3.Connection, entry: Entry, content: Content) -> None:
    if isinstance(content, Text):
        tx.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (entry.row, content.text))


def hide(tx: sqlite3.Connection, row: int) -> None:
    tx.execute("UPDATE events SET hidden = 1 WHERE row = ?", (row,))


def set_run(tx: sqlite3.Connection, event: Event) -> None:
    header = event.header
    tx.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
        (header.conv, header.device, header.log, header.seq, event.id),
    )


def raise_lamport(tx: sqlite3.Connection, conv: bytes, lamport: int) -> None:
    """The conversation's clock rises to what was told; in one step no further than a busy year of it would."""
    tx.execute(
        "UPDATE contacts SET lamport = max(lamport, min(?, lamport + ?)) WHERE conv = ?", (lamport, STEP_LIMIT, conv)
    )
