"""A home of an earlier version opens, with everything where it was."""

from __future__ import annotations

import sqlite3

from overfence.history import logbook, migrations, pages, postbox, rows
from overfence.history.event import Text
from overfence.history.log import extend
from overfence_reliability import Run
from sqlite_utils import Database

from .conftest import CONV, device_of, log_of


def of_the_second_version() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    database = Database(connection, execute_plugins=False)
    migrations.first(database)
    migrations.second(database)
    return connection


def test_messages_stand_where_they_stood_and_envelopes_know_their_author() -> None:
    tx, device, log = of_the_second_version(), device_of("me"), log_of("me")
    tx.execute(
        "INSERT INTO contacts (account, conv, state, log, lamport) VALUES (?, ?, 'accepted', ?, 7)",
        (bytes(32), CONV, log),
    )
    tx.execute("INSERT INTO devices (dsk, dik, contact, hint, sessions) VALUES (x'01', x'02', 1, x'03', x'')")
    run = Run()
    for number in range(1, 6):
        event = extend(
            run,
            conv=CONV,
            device=device,
            log=log,
            lamport=number,
            at_ms=number,
            kind="text",
            content=Text(f"text {number}"),
            salt=bytes(16),
        )
        run = Run(number, event.id)
        tx.execute(
            """INSERT INTO events (conv, device, log, seq, id, lamport, kind, header, body)
               VALUES (?, ?, ?, ?, ?, ?, 'text', ?, ?)""",
            (CONV, device, log, number, event.id, number, event.header_bytes, event.body),
        )
    tx.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (CONV, device, log, run.end, run.tip))
    tx.execute(
        """INSERT INTO puts (id, dsk, node, mailbox, envelope, log, last, made)
           VALUES (x'05', x'01', '', x'', x'', ?, 5, 1)""",
        (log,),
    )
    tx.execute("INSERT INTO prekeys VALUES (x'06', x'07', 100, 200)")
    migrations.third(Database(tx, execute_plugins=False))
    assert tx.execute("PRAGMA user_version").fetchone() == (migrations.SCHEMA_VERSION,)
    page = pages.page(tx, CONV, 3, None)
    assert [entry.event.content() for entry in page] == [Text(f"text {number}") for number in (3, 4, 5)]
    assert [row for (row,) in tx.execute("SELECT origin FROM events ORDER BY seq")] == [
        log + number.to_bytes(8, "big") + (rows.id_at(tx, CONV, device, log, number) or b"") for number in range(1, 6)
    ]
    assert postbox.on_the_way(tx, b"\x01") == [(device, log, 5)]
    assert tx.execute("SELECT used_s FROM prekeys").fetchone() == (200,)
    # And it goes on.
    following = logbook.append(tx, CONV, device, log, kind="text", content=Text("on"), at_ms=9, salt=bytes(16))
    assert (following.event.header.seq, following.event.header.prev) == (6, run.tip)
    assert pages.page(tx, CONV, 1, None) == [following]
