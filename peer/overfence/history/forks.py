"""Logs that forked: where they are closed, and what is said anew (docs/protocol.md §6.2). Inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from ..errors import TooLong
from . import rows
from .event import FACTS_SQL, NO_ID, make


def supplied(tx: sqlite3.Connection, conv: bytes) -> list[tuple[bytes, bytes, int]]:
    """Each log of a conversation and up to where it is sent: author, name, number. Those that forked come first."""
    found = tx.execute(
        """SELECT r.device, r.log, min(r.end, coalesce(c.end, r.end)) FROM runs r
           LEFT JOIN closed_logs c USING (conv, device, log) WHERE r.conv = ? ORDER BY c.end IS NULL, r.log""",
        (conv,),
    )
    return found.fetchall()


def closed_at(tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes) -> int | None:
    """Up to where a log that forked is sent and compared; None for one that did not."""
    row = tx.execute(
        "SELECT end FROM closed_logs WHERE conv = ? AND device = ? AND log = ?", (conv, device, log)
    ).fetchone()
    return row[0] if row else None


def closed_logs(tx: sqlite3.Connection, conv: bytes, device: bytes) -> dict[bytes, int]:
    """A device's logs of a conversation that forked, and up to where each is compared."""
    found = tx.execute("SELECT log, end FROM closed_logs WHERE conv = ? AND device = ?", (conv, device))
    return dict(found.fetchall())


def all_closed_logs(tx: sqlite3.Connection, conv: bytes) -> list[tuple[bytes, bytes, int]]:
    """The logs of a conversation that forked: author, name, and up to where it is compared."""
    return tx.execute("SELECT device, log, end FROM closed_logs WHERE conv = ?", (conv,)).fetchall()


def set_closed_logs(tx: sqlite3.Connection, conv: bytes, device: bytes, logs: Mapping[bytes, int]) -> None:
    """From here on nothing of these logs above its number is sent or compared; others of the device's are whole."""
    tx.execute("DELETE FROM closed_logs WHERE conv = ? AND device = ?", (conv, device))
    tx.executemany(
        "INSERT INTO closed_logs VALUES (?, ?, ?, ?)", [(conv, device, log, end) for log, end in logs.items()]
    )


def say_anew(
    tx: sqlite3.Connection, conv: bytes, device: bytes, log: bytes, first: int, last: int, into: bytes, ticked: int
) -> None:
    """Write what stands in a log from ``first`` to ``last`` into another, each as a copy of its first self (§6.2).

    It stands where it stood on every screen. One ticked already, up to ``ticked``, stays the one that is shown.
    """
    found = tx.execute(
        f"""SELECT row, header, body, refused, hidden FROM events
            WHERE conv = ? AND device = ? AND log = ? AND seq BETWEEN ? AND ?
              AND kind NOT IN {FACTS_SQL} ORDER BY seq""",  # noqa: S608 (our own kinds)
        (conv, device, log, first, last),
    ).fetchall()
    for row in found:
        entry = rows.entry_of(row)
        run, header = rows.run_of(tx, conv, device, into), entry.event.header
        header = msgspec.structs.replace(
            header, log=into, seq=run.end + 1, prev=run.tip or NO_ID, was=entry.event.origin
        )
        try:
            event = make(header, entry.event.body or b"")
        except TooLong:
            continue  # of a version that left no room for it
        copy = rows.insert(tx, event, refused=entry.refused)
        rows.set_run(tx, copy.event)
        stays = entry.hidden or entry.event.header.seq <= ticked
        rows.hide(tx, copy.row if stays else entry.row)
        if not stays:
            rows.index(tx, copy, copy.event.content())


def copies(tx: sqlite3.Connection, conv: bytes, place: rows.Place) -> list[tuple[bytes, int]]:
    """Every log and number at which the thing said that stands at that place is written."""
    found = tx.execute(
        "SELECT log, seq FROM events WHERE conv = ? AND lamport = ? AND device = ? AND origin = ?", (conv, *place)
    )
    return found.fetchall()


def is_shown(tx: sqlite3.Connection, entry: rows.Entry) -> bool:
    """Whether another that says the same has come into order and is shown."""
    row = tx.execute(
        """SELECT 1 FROM events e JOIN runs r USING (conv, device, log)
           WHERE e.conv = ? AND e.lamport = ? AND e.device = ? AND e.origin = ?
             AND e.row != ? AND NOT e.hidden AND e.seq <= r.end""",
        (entry.event.header.conv, *entry.place, entry.row),
    ).fetchone()
    return row is not None
