"""An author who writes a log, and databases to take it in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import blake2b

from overfence.history import logbook, pages, people, rows
from overfence.history.event import Event, Text
from overfence.history.log import Verdict, extend
from overfence.history.migrations import migrations
from overfence.history.people import ContactState
from overfence_reliability import Run
from sqlite_utils import Database

NOTHING = Run()
CONV = blake2b(b"a conversation", digest_size=32).digest()


def device_of(name: str) -> bytes:
    """The device key of someone called so."""
    return blake2b(name.encode(), digest_size=32).digest()


def log_of(name: str) -> bytes:
    """The name of their one log."""
    return device_of(name)[:8]


def database() -> sqlite3.Connection:
    """A home's tables in memory, with the one contact whose conversation is `CONV`."""
    tx = sqlite3.connect(":memory:", isolation_level=None)
    migrations.apply(Database(tx, execute_plugins=False))
    people.add_contact(tx, device_of("the account"), CONV, log_of("me"), ContactState.ACCEPTED, None)
    return tx


def writes(
    name: str, texts: list[str], *, conv: bytes = CONV, salt: bytes = bytes(16), after: Run = NOTHING
) -> list[Event]:
    """A log of these texts, each event chained to the one before."""
    run, log = after, []
    for text in texts:
        event = extend(
            run,
            conv=conv,
            device=device_of(name),
            log=log_of(name),
            lamport=run.end + 1,
            at_ms=1_800_000_000_000 + run.end,
            kind="text",
            content=Text(text),
            salt=salt,
        )
        log.append(event)
        run = Run(event.header.seq, event.id)
    return log


def texts(entries: list[rows.Entry]) -> list[str]:
    """What these entries say."""
    return [content.text for entry in entries if isinstance(content := entry.event.content(), Text)]


def whole_page(tx: sqlite3.Connection, page_size: int = 7) -> list[rows.Entry]:
    """The timeline, read page by page from its end as a person scrolls up."""
    found: list[rows.Entry] = []
    while True:
        before = found[0].place if found else None
        page = pages.page(tx, CONV, page_size, before)
        if not page:
            return found
        found = page + found


def stored(tx: sqlite3.Connection) -> Iterator[bytes]:
    """The ids of all events held, confirmed or not."""
    yield from (row[0] for row in tx.execute("SELECT id FROM events"))


def receive_together(tx: sqlite3.Connection, events: list[Event]) -> list[Event]:
    """A batch; what it put in order."""
    intake = logbook.Intake(tx)
    ordered = [entry.event for event in events for entry in intake.take(event)[1]]
    intake.close()
    return ordered


def receive(tx: sqlite3.Connection, event: Event) -> tuple[Verdict, list[rows.Entry]]:
    """One event taken in by itself."""
    intake = logbook.Intake(tx)
    taken = intake.take(event)
    intake.close()
    return taken
