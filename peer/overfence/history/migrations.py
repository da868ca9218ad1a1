"""The tables of a home, and how they came to be."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

# Raised with each migration; a file that says more is from a newer version, and is left alone.
SCHEMA_VERSION = 3

migrations = Migrations("overfence")

_TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE contacts (
    id INTEGER PRIMARY KEY,
    account BLOB NOT NULL UNIQUE,
    conv BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL DEFAULT '',      -- what they call themselves
    alias TEXT NOT NULL DEFAULT '',     -- what I call them
    state TEXT NOT NULL,
    invite TEXT,                        -- the link I accepted, until it is answered
    topics BLOB NOT NULL DEFAULT x'',   -- topic secrets, 32 bytes each, newest first
    log BLOB NOT NULL,                  -- the name of my log in this conversation
    lamport INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE devices (
    dsk BLOB PRIMARY KEY,
    dik BLOB NOT NULL,
    contact INTEGER NOT NULL REFERENCES contacts(id),
    hint BLOB NOT NULL,
    sessions BLOB NOT NULL,
    introduced BLOB NOT NULL DEFAULT x'' -- the session in which my addresses were told
) WITHOUT ROWID;

CREATE TABLE device_lists (account BLOB, seq INTEGER, raw BLOB NOT NULL, PRIMARY KEY (account, seq)) WITHOUT ROWID;

CREATE TABLE addresses (
    dsk BLOB NOT NULL, place INTEGER NOT NULL, node TEXT NOT NULL, mailbox BLOB NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (dsk, mailbox)
) WITHOUT ROWID;

CREATE TABLE mailboxes (
    mailbox BLOB PRIMARY KEY,
    mk BLOB NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL,
    contact INTEGER REFERENCES contacts(id),    -- null: an invite's
    epoch INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 0,
    prekey BLOB,                                -- the prekey its card should show; null: make a new one
    card_set INTEGER NOT NULL DEFAULT 0,
    closing INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE invites (
    mailbox BLOB PRIMARY KEY REFERENCES mailboxes(mailbox),
    expires_s INTEGER NOT NULL,
    guest BLOB,
    refusals INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE prekeys (
    prekey_id BLOB PRIMARY KEY, secret BLOB NOT NULL, made_s INTEGER NOT NULL, replaced_s INTEGER
) WITHOUT ROWID;

CREATE TABLE runs (
    conv BLOB, device BLOB, log BLOB, end INTEGER NOT NULL, tip BLOB NOT NULL,
    PRIMARY KEY (conv, device, log)
) WITHOUT ROWID;

CREATE TABLE events (
    row INTEGER PRIMARY KEY,
    conv BLOB NOT NULL, device BLOB NOT NULL, log BLOB NOT NULL, seq INTEGER NOT NULL,
    id BLOB NOT NULL, lamport INTEGER NOT NULL, kind TEXT NOT NULL,
    header BLOB NOT NULL, body BLOB,
    refused INTEGER NOT NULL DEFAULT 0,
    UNIQUE (conv, device, log, seq)
);
CREATE INDEX events_in_order ON events (conv, lamport, device, log, seq);
CREATE VIRTUAL TABLE words USING fts5(text, content='');

-- What each device of a contact has confirmed to hold of my account's logs.
CREATE TABLE told (
    dsk BLOB, device BLOB, log BLOB, end INTEGER NOT NULL, tip BLOB NOT NULL,
    PRIMARY KEY (dsk, device, log)
) WITHOUT ROWID;

-- Envelopes on their way by mailbox. Those with a log stay until the log is confirmed up to `last`.
CREATE TABLE puts (
    id BLOB PRIMARY KEY,
    dsk BLOB NOT NULL, node TEXT NOT NULL, mailbox BLOB NOT NULL, envelope BLOB NOT NULL,
    log BLOB, last INTEGER,
    stored INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    due_s INTEGER NOT NULL DEFAULT 0,
    made INTEGER NOT NULL
);
CREATE INDEX puts_by_node ON puts (node, stored, made);
"""


@migrations()
def first(db: Database) -> None:
    """Contacts, devices and their sessions, mailboxes, logs, events, and what is on its way."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            db.conn.execute(statement)
    db.conn.execute("PRAGMA user_version = 1")


@migrations()
def second(db: Database) -> None:
    """What a device has confirmed may go back with its disk; what was shown as delivered does not."""
    # The session's epoch in which it was told, and the most that ever was.
    db.conn.execute("ALTER TABLE told ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("ALTER TABLE told ADD COLUMN most INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("UPDATE told SET most = end")
    db.conn.execute("PRAGMA user_version = 2")


_THIRD = """
-- When their safety number was compared; 0: it was not.
ALTER TABLE contacts ADD COLUMN verified_s INTEGER NOT NULL DEFAULT 0;
-- How many forks of my log were repaired since then.
ALTER TABLE contacts ADD COLUMN repairs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contacts ADD COLUMN repaired_s INTEGER NOT NULL DEFAULT 0;

-- Prekeys a device sent inside a session, unused (§2).
ALTER TABLE devices ADD COLUMN prekeys BLOB;
-- The session that could not be read here, when one is to be begun (0: none is), and how often that was tried (§3).
ALTER TABLE devices ADD COLUMN unread BLOB;
ALTER TABLE devices ADD COLUMN begin_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN resets INTEGER NOT NULL DEFAULT 0;
-- Offers in a row that went unconfirmed (§6).
ALTER TABLE devices ADD COLUMN lapses INTEGER NOT NULL DEFAULT 0;
-- When a list without it came; 0: never.
ALTER TABLE devices ADD COLUMN revoked_s INTEGER NOT NULL DEFAULT 0;

-- When it was used, and to whom it was shown: a mailbox's card, or a device. replaced_s: its successor was published.
ALTER TABLE prekeys ADD COLUMN used_s INTEGER;
ALTER TABLE prekeys ADD COLUMN place BLOB;
UPDATE prekeys SET used_s = replaced_s;
UPDATE prekeys SET place = (SELECT mailbox FROM mailboxes WHERE mailboxes.prekey = prekeys.prekey_id);

-- A mailbox that was replaced is followed until every device of the contact holds this number of my log.
ALTER TABLE mailboxes ADD COLUMN until_log BLOB;
ALTER TABLE mailboxes ADD COLUMN until_seq INTEGER;

-- Where what an event says was said first, as log, number and id; of several with one origin, one is shown.
ALTER TABLE events ADD COLUMN origin BLOB NOT NULL DEFAULT x'';
ALTER TABLE events ADD COLUMN is_copy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
UPDATE events SET origin = origin(log, seq, id);
DROP INDEX events_in_order;
CREATE INDEX events_in_order ON events (conv, lamport, device, origin);
CREATE INDEX copies ON events (conv) WHERE is_copy;

-- Whose log it is that an envelope carries.
ALTER TABLE puts ADD COLUMN author BLOB;
UPDATE puts SET author = (
    SELECT r.device FROM devices d JOIN contacts c ON c.id = d.contact JOIN runs r ON r.conv = c.conv AND r.log = c.log
    WHERE d.dsk = puts.dsk
) WHERE log IS NOT NULL;

-- Logs of my account that forked: up to `end` they are sent and compared, nothing above.
CREATE TABLE closed_logs (
    conv BLOB, device BLOB, log BLOB, end INTEGER NOT NULL, PRIMARY KEY (conv, device, log)
) WITHOUT ROWID;

-- A message in a contact's own mailbox that names another account: their key changed, or somebody says so.
CREATE TABLE key_changes (
    contact INTEGER PRIMARY KEY REFERENCES contacts(id),
    account BLOB NOT NULL, message BLOB NOT NULL, at_s INTEGER NOT NULL
);
"""


@migrations()
def third(db: Database) -> None:
    """Trust, several devices, sessions begun anew, and logs that forked."""
    db.conn.create_function("origin", 3, lambda log, seq, id: log + seq.to_bytes(8, "big") + id)
    for statement in _THIRD.split(";\n"):
        if statement.strip():
            db.conn.execute(statement)
    db.conn.execute("PRAGMA user_version = 3")
