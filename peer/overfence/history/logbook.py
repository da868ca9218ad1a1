"""Events and runs in the database. Every function here runs inside a transaction of the store's thread."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from overfence_reliability import Run, ranges

from ..errors import BadEvent
from .event import LAMPORT_LIMIT, Content, Event, Text
from .log import Verdict, extend, judge
from .search import fts_query


@dataclass(frozen=True)
class Entry:
    """One stored event, with the database row that orders paging."""

    row: int
    event: Event
    refused: bool


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
                "SELECT seq FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? ORDER BY seq LIMIT 2000",
                (conv, device, log, end),
            )
            found[device, log] = Run(end, tip, ranges([seq for (seq,) in above]))
    return found


def append(
    tx: sqlite3.Connection,
    conv: bytes,
    device: bytes,
    log: bytes,
    *,
    kind: str,
    content: Content,
    at_ms: int,
    salt: bytes,
) -> Entry:
    """Write the next event of one's own log; raises `TooLong`."""
    (lamport,) = tx.execute("SELECT lamport FROM contacts WHERE conv = ?", (conv,)).fetchone()
    event = extend(
        run_of(tx, conv, device, log),
        conv=conv,
        device=device,
        log=log,
        lamport=min(LAMPORT_LIMIT, lamport + 1),
        at_ms=at_ms,
        kind=kind,
        content=content,
        salt=salt,
    )
    entry = _insert(tx, event, refused=False)
    _set_run(tx, event)
    return entry


def receive(tx: sqlite3.Connection, event: Event) -> tuple[Verdict, list[Entry]]:
    """Take an event in: what it is, and the entries that its arrival put in order, first to last."""
    header = event.header
    conv, device, log = header.conv, header.device, header.log
    run = run_of(tx, conv, device, log)
    row = tx.execute(
        "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?", (conv, device, log, header.seq)
    ).fetchone()
    verdict = judge(event, run, row[0] if row else None)
    if verdict is Verdict.ABOVE:
        _insert(tx, event, refused=_refused(event))
        if run == Run():
            # A log is known from its first event on, even where that is not event 1.
            tx.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, 0, x'')", (conv, device, log))
    if verdict is not Verdict.NEXT:
        return verdict, []
    ordered = [_insert(tx, event, refused=_refused(event))]
    last = event
    while following := _at(tx, conv, device, log, last.header.seq + 1):
        if following.event.header.prev != last.id:
            # Held above the gap, but of another past: it goes, and sync brings the right one.
            tx.execute("DELETE FROM events WHERE row = ?", (following.row,))
            break
        ordered.append(following)
        last = following.event
    _set_run(tx, last)
    return verdict, ordered


def events_from(
    tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, first: int, last: int, size_bytes: int
) -> list[Event]:
    """Consecutive events for sending, as many as fit in ``size_bytes``, at least one."""
    found: list[Event] = []
    rows = tx.execute(
        """SELECT header, body FROM events
           WHERE conv = ? AND device = ? AND log = ? AND seq BETWEEN ? AND ? ORDER BY seq""",
        (conv, device, log, first, last),
    )
    for header, body in rows:
        size_bytes -= len(header) + len(body or b"") + 8
        if found and size_bytes < 0:
            break
        found.append(Event.parse(header, body))
    rows.close()
    return found


def page(tx: sqlite3.Connection, conv: bytes, limit: int, before: bytes | None) -> list[Entry]:
    """What people and apps said, in timeline order, the last ``limit`` before the event ``before``."""
    bound = (2**62, b"", b"", 0)
    if before is not None:
        row = tx.execute(
            "SELECT lamport, device, log, seq FROM events WHERE conv = ? AND id = ?", (conv, before)
        ).fetchone()
        bound = row or bound
    rows = tx.execute(
        """SELECT e.row, e.header, e.body, e.refused FROM events e JOIN runs r USING (conv, device, log)
           WHERE e.conv = ? AND e.seq <= r.end AND kind NOT IN ('profile', 'addresses', 'devices') AND NOT refused
             AND (e.lamport, e.device, e.log, e.seq) < (?, ?, ?, ?)
           ORDER BY e.lamport DESC, e.device DESC, e.log DESC, e.seq DESC LIMIT ?""",
        (conv, *bound, limit),
    )
    return [_entry(row) for row in rows][::-1]


def search(tx: sqlite3.Connection, words: str, limit: int) -> list[Entry]:
    """Events whose text has every word, newest first."""
    query = fts_query(words)
    if not query:
        return []
    rows = tx.execute(
        """SELECT e.row, e.header, e.body, e.refused FROM words w JOIN events e ON e.row = w.rowid
           WHERE w.text MATCH ? ORDER BY w.rowid DESC LIMIT ?""",
        (query, limit),
    )
    return [_entry(row) for row in rows]


def _entry(row: tuple[int, bytes, bytes | None, int]) -> Entry:
    return Entry(row[0], Event.parse(row[1], row[2]), bool(row[3]))


def _at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> Entry | None:
    row = tx.execute(
        "SELECT row, header, body, refused FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?",
        (conv, device, log, seq),
    ).fetchone()
    return _entry(row) if row else None


def _insert(tx: sqlite3.Connection, event: Event, *, refused: bool) -> Entry:
    header = event.header
    row = tx.execute(
        """INSERT INTO events (conv, device, log, seq, id, lamport, kind, header, body, refused)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(header.conv, header.device, header.log, header.seq, event.id),
            *(header.lamport, header.kind, event.header_bytes, event.body, refused),
        ),
    ).lastrowid
    tx.execute("UPDATE contacts SET lamport = max(lamport, ?) WHERE conv = ?", (header.lamport, header.conv))
    if header.kind == "text" and not refused:
        content = event.content()
        if isinstance(content, Text):
            tx.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, content.text))
    return Entry(row or 0, event, refused)


def _set_run(tx: sqlite3.Connection, event: Event) -> None:
    header = event.header
    tx.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
        (header.conv, header.device, header.log, header.seq, event.id),
    )


def _refused(event: Event) -> bool:
    try:
        event.content()
    except BadEvent:
        return True
    return False


def count_after(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> int:
    """How many things said stand in a log after ``seq``."""
    (count,) = tx.execute(
        """SELECT count(*) FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ?
           AND kind NOT IN ('profile', 'addresses', 'devices')""",
        (conv, device, log, seq),
    ).fetchone()
    return int(count)
