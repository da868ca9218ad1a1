"""Events and runs in the database. Every function here runs inside a transaction of the store's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
from overfence_reliability import Run, ranges

from ..errors import BadEvent
from .event import FACTS, LAMPORT_LIMIT, NO_ID, Content, Event, Header, Text, make
from .log import Verdict, extend, judge
from .search import fts_query

# Events of one conversation kept above gaps, in all its logs. They fill the disk before anything confirms them, and
# each have lists them; what is beyond this is dropped, and comes again once the gaps are filled.
ABOVE_LIMIT = 2_000
_SAID = f"kind NOT IN ({', '.join(repr(kind) for kind in FACTS)})"


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


def supplied(tx: sqlite3.Connection, conv: bytes) -> list[tuple[bytes, bytes, int]]:
    """Each log of a conversation and up to where it is sent: author, name, number. Those that forked come first."""
    rows = tx.execute(
        """SELECT r.device, r.log, min(r.end, coalesce(c.end, r.end)) FROM runs r
           LEFT JOIN closed_logs c USING (conv, device, log) WHERE r.conv = ? ORDER BY c.end IS NULL, r.log""",
        (conv,),
    )
    return rows.fetchall()


def closed_at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes) -> int | None:
    """Up to where a log that forked is sent and compared; None for one that did not."""
    row = tx.execute(
        "SELECT end FROM closed_logs WHERE conv = ? AND device = ? AND log = ?", (conv, device, log)
    ).fetchone()
    return row[0] if row else None


def closed_logs(tx: sqlite3.Connection, conv: bytes, device: bytes) -> dict[bytes, int]:
    """A device's logs of a conversation that forked, and up to where each is compared."""
    rows = tx.execute("SELECT log, end FROM closed_logs WHERE conv = ? AND device = ?", (conv, device))
    return dict(rows.fetchall())


def all_closed_logs(tx: sqlite3.Connection, conv: bytes) -> list[tuple[bytes, bytes, int]]:
    """The logs of a conversation that forked: author, name, and up to where it is compared."""
    return tx.execute("SELECT device, log, end FROM closed_logs WHERE conv = ?", (conv,)).fetchall()


def set_closed_logs(tx: sqlite3.Connection, conv: bytes, device: bytes, logs: Mapping[bytes, int]) -> None:
    """From here on nothing of these logs above its number is sent or compared; others of the device's are whole."""
    tx.execute("DELETE FROM closed_logs WHERE conv = ? AND device = ?", (conv, device))
    tx.executemany(
        "INSERT INTO closed_logs VALUES (?, ?, ?, ?)", [(conv, device, log, end) for log, end in logs.items()]
    )


def is_outdated(tx: sqlite3.Connection, entry: Entry) -> bool:
    """Whether its author said something of that kind later, by the order on screen, which is known already."""
    header = entry.event.header
    if header.kind not in FACTS:
        return False
    row = tx.execute(
        """SELECT 1 FROM events e JOIN runs r USING (conv, device, log)
           WHERE e.conv = ? AND e.kind = ? AND e.device = ? AND e.seq <= r.end 
             AND (e.lamport, e.device, e.origin) > (?, ?, ?) LIMIT 1""",
        (header.conv, header.kind, header.device, *entry.place),
    ).fetchone()
    return row is not None


def id_at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> bytes | None:
    """The id of the event at a number of a log."""
    row = tx.execute(
        "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?", (conv, device, log, seq)
    ).fetchone()
    return row[0] if row else None


def said_ms(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> int | None:
    """When its author says the event at a number was made, in unix milliseconds."""
    entry = _at(tx, conv, device, log, seq)
    return entry.event.header.at_ms if entry else None


def say_anew(
    tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, first: int, last: int, into: bytes, ticked: int
) -> int:
    """Write what stands in a log from ``first`` to ``last`` into another, each as a copy of its first self (§6.2).

    It stands where it stood on every screen. One ticked already, up to ``ticked``, stays the one that is shown. Returns
    how many there were.
    """
    rows = tx.execute(
        f"""SELECT row, header, body, refused, hidden FROM events
            WHERE conv = ? AND device = ? AND log = ? AND seq BETWEEN ? AND ? AND {_SAID} ORDER BY seq""",  # noqa: S608 (our own kinds)
        (conv, device, log, first, last),
    ).fetchall()
    for row in rows:
        entry = _entry(row)
        run, header = run_of(tx, conv, device, into), entry.event.header
        header = msgspec.structs.replace(
            header, log=into, seq=run.end + 1, prev=run.tip or NO_ID, was=entry.event.origin
        )
        copy = _insert(tx, make(header, entry.event.body or b""), refused=entry.refused)
        _set_run(tx, copy.event)
        stays = entry.hidden or entry.event.header.seq <= ticked
        _hide(tx, copy.row if stays else entry.row)
        if not stays:
            _index(tx, copy, copy.event.content())
    return len(rows)


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
        # conversations in which something was said anew after a fork, and what came into order just now
        self._has_copies: dict[bytes, bool] = {}
        self._settled: set[tuple[bytes, bytes, bytes]] = set()

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
        ordered = [self._settle(entry) for entry in ordered]
        for entry in ordered:
            # Words of what is still beyond a gap would be found before they can be shown.
            if entry.event.header.kind == "text" and not entry.refused and not entry.hidden:
                _index(self._tx, entry, entry.event.content())
        if header.conv in self._above:
            self._above[header.conv] -= len(ordered) - (held is None)
        self._runs[key] = (Run(last.header.seq, last.id), above)
        self._last[key] = last
        return Verdict.NEXT, ordered

    def _settle(self, entry: Entry) -> Entry:
        """An entry come into order; hidden where another that says the same is shown."""
        header = entry.event.header
        if header.was is not None:
            self._has_copies[header.conv] = True
        elif header.conv not in self._has_copies:
            found = self._tx.execute("SELECT 1 FROM events WHERE conv = ? AND is_copy LIMIT 1", (header.conv,))
            self._has_copies[header.conv] = found.fetchone() is not None
        what = (header.conv, header.device, entry.event.origin)
        if self._has_copies[header.conv] and (what in self._settled or _is_shown(self._tx, entry)):
            _hide(self._tx, entry.row)
            return replace(entry, hidden=True)
        self._settled.add(what)
        return entry

    def close(self) -> None:
        """Write what the runs and clocks have become."""
        for event in self._last.values():
            _set_run(self._tx, event)
        for conv, lamport in self._lamports.items():
            _raise_lamport(self._tx, conv, lamport)

    def tip(self, conv: bytes, device: bytes, log: bytes) -> bytes:
        """The id at the end of a log's run, with what was taken just now."""
        run, _ = self._runs.get((conv, device, log)) or self._load((conv, device, log))
        return run.tip

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


def page(tx: sqlite3.Connection, conv: bytes, limit: int, before: Place | None) -> list[Entry]:
    """What people and apps said, in timeline order, the last ``limit`` before that place."""
    rows = tx.execute(
        f"""SELECT e.row, e.header, e.body, e.refused, e.hidden FROM events e JOIN runs r USING (conv, device, log)
            WHERE e.conv = ? AND e.seq <= r.end AND {_SAID} AND NOT refused AND NOT hidden
              AND (e.lamport, e.device, e.origin) < (?, ?, ?)
            ORDER BY e.lamport DESC, e.device DESC, e.origin DESC LIMIT ?""",  # noqa: S608 (our own kinds)
        (conv, *(before or (2**62, b"", b"")), limit),
    )
    return [_entry(row) for row in rows][::-1]


def search(tx: sqlite3.Connection, words: str, limit: int) -> list[Entry]:
    """Events whose text has every word, newest first."""
    query = fts_query(words)
    if not query:
        return []
    rows = tx.execute(
        """SELECT e.row, e.header, e.body, e.refused, e.hidden FROM words w JOIN events e ON e.row = w.rowid
           WHERE w.text MATCH ? AND NOT e.hidden ORDER BY w.rowid DESC LIMIT ?""",
        (query, limit),
    )
    return [_entry(row) for row in rows]


def _entry(row: tuple[int, bytes, bytes | None, int, int]) -> Entry:
    return Entry(row[0], Event.parse(row[1], row[2]), bool(row[3]), bool(row[4]))


def copies(tx: sqlite3.Connection, conv: bytes, place: Place) -> list[tuple[bytes, int]]:
    """Every log and number at which the thing said that stands at that place is written."""
    rows = tx.execute(
        "SELECT log, seq FROM events WHERE conv = ? AND lamport = ? AND device = ? AND origin = ?", (conv, *place)
    )
    return rows.fetchall()


def _is_shown(tx: sqlite3.Connection, entry: Entry) -> bool:
    """Whether another that says the same has come into order and is shown."""
    row = tx.execute(
        """SELECT 1 FROM events e JOIN runs r USING (conv, device, log)
           WHERE e.conv = ? AND e.lamport = ? AND e.device = ? AND e.origin = ?
             AND e.row != ? AND NOT e.hidden AND e.seq <= r.end""",
        (entry.event.header.conv, *entry.place, entry.row),
    ).fetchone()
    return row is not None


def _hide(tx: sqlite3.Connection, row: int) -> None:
    tx.execute("UPDATE events SET hidden = 1 WHERE row = ?", (row,))


def _at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> Entry | None:
    row = tx.execute(
        "SELECT row, header, body, refused, hidden FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?",
        (conv, device, log, seq),
    ).fetchone()
    return _entry(row) if row else None


def _insert(tx: sqlite3.Connection, event: Event, *, refused: bool) -> Entry:
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


def unticked(tx: sqlite3.Connection, conv: bytes, devices: set[bytes], ticked: dict[tuple[bytes, bytes], int]) -> int:
    """How many things these devices said stand beyond what was ticked of each log."""
    count = 0
    for device, log in logs_of(tx, conv):
        if device in devices:
            (more,) = tx.execute(
                f"""SELECT count(*) FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? AND NOT hidden
                    AND {_SAID}""",  # noqa: S608 (our own kinds)
                (conv, device, log, ticked.get((device, log), 0)),
            ).fetchone()
            count += int(more)
    return count
