"""Writing one's own logs and taking in others'. Every function here runs inside a transaction of the store's thread."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from overfence_reliability import Run

from ..errors import BadEvent
from . import forks, rows
from .event import FACTS, LAMPORT_LIMIT, NO_ID, Content, Event, Header
from .log import Verdict, extend, judge
from .rows import ABOVE_LIMIT


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
) -> rows.Entry:
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
    # What a sibling brought of a past that this disk has lost gives way: it is of another.
    tx.execute("DELETE FROM events WHERE conv = ? AND device = ? AND log = ? AND seq = ?", (conv, device, log, end + 1))
    entry = rows.insert(tx, event, refused=False)
    rows.index(tx, entry, content)
    rows.set_run(tx, event)
    rows.raise_lamport(tx, conv, event.header.lamport)
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
        self._settled: set[tuple[bytes, int, bytes, bytes]] = set()

    def take(self, event: Event) -> tuple[Verdict, list[rows.Entry]]:
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
        ordered: list[rows.Entry] = []
        last, entry = event, rows.entry_at(self._tx, *key, header.seq) if held else self._keep(event)
        if entry is not None:
            ordered.append(entry)
        while above and (following := rows.entry_at(self._tx, *key, last.header.seq + 1)):
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
                rows.index(self._tx, entry, entry.event.content())
        if header.conv in self._above:
            self._above[header.conv] -= len(ordered) - (held is None)
        self._runs[key] = (Run(last.header.seq, last.id), above)
        self._last[key] = last
        return Verdict.NEXT, ordered

    def _settle(self, entry: rows.Entry) -> rows.Entry:
        """An entry come into order; hidden where another that says the same is shown."""
        header = entry.event.header
        if header.was is not None:
            self._has_copies[header.conv] = True
        elif header.conv not in self._has_copies:
            found = self._tx.execute("SELECT 1 FROM events WHERE conv = ? AND is_copy LIMIT 1", (header.conv,))
            self._has_copies[header.conv] = found.fetchone() is not None
        what = (header.conv, *entry.place)
        if self._has_copies[header.conv] and (what in self._settled or forks.is_shown(self._tx, entry)):
            rows.hide(self._tx, entry.row)
            return replace(entry, hidden=True)
        self._settled.add(what)
        return entry

    def close(self) -> None:
        """Write what the runs and clocks have become."""
        for event in self._last.values():
            rows.set_run(self._tx, event)
        for conv, lamport in self._lamports.items():
            rows.raise_lamport(self._tx, conv, lamport)

    def tip(self, conv: bytes, device: bytes, log: bytes) -> bytes:
        """The id at the end of a log's run, with what was taken just now."""
        run, _ = self._runs.get((conv, device, log)) or self._load((conv, device, log))
        return run.tip

    def _load(self, key: tuple[bytes, bytes, bytes]) -> tuple[Run, bool]:
        run = rows.run_of(self._tx, *key)
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

    def _keep(self, event: Event) -> rows.Entry:
        try:
            event.content()
            refused = False
        except BadEvent:
            refused = True
        conv = event.header.conv
        self._lamports[conv] = max(self._lamports.get(conv, 0), event.header.lamport)
        return rows.insert(self._tx, event, refused=refused)


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


def said_ms(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, seq: int) -> int | None:
    """When its author says the event at a number was made, in unix milliseconds."""
    entry = rows.entry_at(tx, conv, device, log, seq)
    return entry.event.header.at_ms if entry else None


def is_outdated(tx: sqlite3.Connection, entry: rows.Entry) -> bool:
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
