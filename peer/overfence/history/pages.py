"""What people see of a conversation, in its order (docs/protocol.md §6.1). Inside a transaction."""

from __future__ import annotations

import sqlite3

from . import rows
from .event import FACTS_SQL
from .search import fts_query


def page(tx: sqlite3.Connection, conv: bytes, limit: int, before: rows.Place | None) -> list[rows.Entry]:
    """What people and apps said, in timeline order, the last ``limit`` before that place."""
    found = tx.execute(
        f"""SELECT e.row, e.header, e.body, e.refused, e.hidden FROM events e JOIN runs r USING (conv, device, log)
            WHERE e.conv = ? AND e.seq <= r.end AND kind NOT IN {FACTS_SQL} AND NOT refused AND NOT hidden
              AND (e.lamport, e.device, e.origin) < (?, ?, ?)
            ORDER BY e.lamport DESC, e.device DESC, e.origin DESC LIMIT ?""",  # noqa: S608 (our own kinds)
        (conv, *(before or (2**62, b"", b"")), limit),
    )
    return [rows.entry_of(row) for row in found][::-1]


def search(tx: sqlite3.Connection, words: str, limit: int) -> list[rows.Entry]:
    """Events whose text has every word, newest first."""
    query = fts_query(words)
    if not query:
        return []
    found = tx.execute(
        """SELECT e.row, e.header, e.body, e.refused, e.hidden FROM words w JOIN events e ON e.row = w.rowid
           WHERE w.text MATCH ? AND NOT e.hidden ORDER BY w.rowid DESC LIMIT ?""",
        (query, limit),
    )
    return [rows.entry_of(row) for row in found]


def unticked(tx: sqlite3.Connection, conv: bytes, devices: set[bytes], ticked: dict[tuple[bytes, bytes], int]) -> int:
    """How many things these devices said stand beyond what was ticked of each log."""
    count = 0
    for device, log in rows.logs_of(tx, conv):
        if device in devices:
            (more,) = tx.execute(
                f"""SELECT count(*) FROM events WHERE conv = ? AND device = ? AND log = ? AND seq > ? AND NOT hidden
                    AND kind NOT IN {FACTS_SQL}""",  # noqa: S608 (our own kinds)
                (conv, device, log, ticked.get((device, log), 0)),
            ).fetchone()
            count += int(more)
    return count
