"""Events and runs in the database. Every function here runs inside a transaction of the store's thread."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from overfence_reliability import Run, ranges

from ..errors import BadEvent
from .event import LAMPORT_LIMIT, NO_ID, Content, Event, Header, Text
from .log import Verdict, extend, judge
from .search import fts_query

# Events of one conversation kept above gaps, in all its logs. They fill the disk before anything confirms them, and
# each have lists them; what is beyond this is dropped, and comes again once the gaps are filled.
ABOVE_LIMIT = 2_000


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
                "SELECT seq FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? ORDER BY seq LIMIT ?",
                (conv, device, log, end, ABOVE_LIMIT),
            )
            found[device, log] = Run(end, tip, ranges([seq for (seq,) in above]))
    return found


def logs_of(tx: sqlite3.Connection, conv: bytes) -> set[tuple[bytes, bytes]]:
    """The logs known of a conversation: author device and name each."""
    return set(tx.execute("SELECT device, log FROM runs WHERE conv = ?", (conv,)).fetchall())


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
    lamport, end, tip = tx.execute(
        """SELECT c.lamport, coalesce(r.end, 0), coalesce(r.tip, x'') FROM contacts c
           LEFT JOIN runs r ON r.conv = c.conv AND r.device = ? AND r.log = ? WHERE c.conv = ?""",
        (device, log, conv),
    ).fetchone()
    event = extend(
        Run(end, tip),
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
    _index(tx, entry, content)
    _set_run(tx, event)
    _raise_lamport(tx, conv, event.header.lamport)
    return entry


class Intake:
    """Events taken in together: each log's run is read once and written once, by `close`."""

    def __init__(self, tx: sqlite3.Connection) -> None:
        self._tx = tx
        # (conv, device, log) → its run, and whether anything is held above it
        self._runs: dict[tuple[bytes, bytes, bytes], tuple[Run, bool]] = {}
        self._last: dict[tuple[bytes, bytes, bytes], Event] = {}
        self._lamports: dict[bytes, int] = {}
        # conv → how many events of it are held above gaps
        self._above: dict[bytes, int] = {}

    def take(self, event: Event) -> tuple[Verdict, list[Entry]]:
        """What an event is, and the entries that its arrival put in order, first to last."""
        header = event.header
        key = (header.conv, header.device, header.log)
        run, above = self._runs.get(key) or self._load(key)
        held = self._held(header) if above or header.seq <= run.end else None
        verdict = judge(event, run, held)
        if verdict is Verdict.ABOVE:
            if self._count_above(header.conv) >= ABOVE_LIMIT:
                return Verdict.FAR, []
            self._above[header.conv] += 1
            self._keep(event)
            if run == Run():
                # A log is known from its first event on, even where that is not event 1.
                self._tx.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, 0, x'')", key)
            self._runs[key] = (run, True)
        if verdict is not Verdict.NEXT and not self._fills(header, run, held, event):
            return verdict, []
        ordered: list[Entry] = []
        last, entry = event, _at(self._tx, *key, header.seq) if held else self._keep(event)
        if entry is not None:
            ordered.append(entry)
        while above and (following := _at(self._tx, *key, last.header.seq + 1)):
            if following.event.header.prev != last.id:
                # Held above the gap, but of another past: it goes, and sync brings the right one.
                self._tx.execute("DELETE FROM events WHERE row = ?", (following.row,))
                break
            ordered.append(following)
            last = following.event
        for entry in ordered:
            # Words of what is still beyond a gap would be found before they can be shown.
            if entry.event.header.kind == "text" and not entry.refused:
                _index(self._tx, entry, entry.event.content())
        if header.conv in self._above:
            self._above[header.conv] -= len(ordered) - (held is None)
        self._runs[key] = (Run(last.header.seq, last.id), above)
        self._last[key] = last
        return Verdict.NEXT, ordered

    def close(self) -> None:
        """Write what the runs and clocks have become."""
        for event in self._last.values():
            _set_run(self._tx, event)
        for conv, lamport in self._lamports.items():
            _raise_lamport(self._tx, conv, lamport)

    def _load(self, key: tuple[bytes, bytes, bytes]) -> tuple[Run, bool]:
        run = run_of(self._tx, *key)
        above = self._tx.execute(
            "SELECT 1 FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? LIMIT 1", (*key, run.end)
        ).fetchone()
        self._runs[key] = (run, above is not None)
        return self._runs[key]

    def _count_above(self, conv: bytes) -> int:
        if conv not in self._above:
            # Log by log, for the index leads to what is above each; the runs of this intake are ahead of the table's.
            count = 0
            for device, log, end in self._tx.execute(
                "SELECT device, log, end FROM runs WHERE conv = ?", (conv,)
            ).fetchall():
                run, _ = self._runs.get((conv, device, log), (Run(end), False))
                (more,) = self._tx.execute(
                    "SELECT count(*) FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ?",
                    (conv, device, log, run.end),
                ).fetchone()
                count += more
            self._above[conv] = count
        return self._above[conv]

    def _held(self, header: Header) -> bytes | None:
        row = self._tx.execute(
            "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?",
            (header.conv, header.device, header.log, header.seq),
        ).fetchone()
        return row[0] if row else None

    @staticmethod
    def _fills(header: Header, run: Run, held: bytes | None, event: Event) -> bool:
        """Is it the very event that is held just above the run, its past now known?"""
        return header.seq == run.end + 1 and held == event.id and header.prev == (run.tip or NO_ID)

    def _keep(self, event: Event) -> Entry:
        try:
            event.content()
            refused = False
        except BadEvent:
            refused = True
        conv = event.header.conv
        self._lamports[conv] = max(self._lamports.get(conv, 0), event.header.lamport)
        return _insert(self._tx, event, refused=refused)


def events_from(
    tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, first: int, last: int, size_bytes: int
) -> list[tuple[int, bytes, bytes | None]]:
    """Consecutive events for sending (number, header, body), as many as fit in ``size_bytes``, at least one."""
    found: list[tuple[int, bytes, bytes | None]] = []
    rows = tx.execute(
        """SELECT seq, header, body FROM events
           WHERE conv = ? AND device = ? AND log = ? AND seq BETWEEN ? AND ? ORDER BY seq""",
        (conv, device, log, first, last),
    )
    for seq, header, body in rows:
        size_bytes -= len(header) + len(body or b"") + 8
        if found and size_bytes < 0:
            break
        found.append((seq, header, body))
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
           WHERE e.conv = ? AND e.seq <= r.end AND NOT refused
             AND kind NOT IN ('profile', 'addresses', 'devices', 'topic')
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
        """INSERT INTO events (conv, device, log, seq, id, lamport, kind, header, body, refused, origin)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(header.conv, header.device, header.log, header.seq, event.id),
            *(header.lamport, header.kind, event.header_bytes, event.body, refused, event.origin),
        ),
    ).lastrowid
    return Entry(row or 0, event, refused)


def _index(tx: sqlite3.Connection, entry: Entry, content: Content) -> None:
    if isinstance(content, Text):
        tx.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (entry.row, content.text))


def _raise_lamport(tx: sqlite3.Connection, conv: bytes, lamport: int) -> None:
    tx.execute("UPDATE contacts SET lamport = max(lamport, ?) WHERE conv = ?", (lamport, conv))


def _set_run(tx: sqlite3.Connection, event: Event) -> None:
    header = event.header
    tx.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
        (header.conv, header.device, header.log, header.seq, event.id),
    )


def count_after(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> int:
    """How many things said stand in a log after ``seq``."""
    (count,) = tx.execute(
        """SELECT count(*) FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ?
           AND kind NOT IN ('profile', 'addresses', 'devices', 'topic')""",
        (conv, device, log, seq),
    ).fetchone()
    return int(count)
