"""Contacts, their devices and addresses in the database. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from overfence_reliability import Run

from .event import Address

# Lists kept of one account.
DEVICE_LISTS_LIMIT = 64


class ContactState(StrEnum):
    """How far two people have come."""

    WAITING = "waiting"  # I accepted their invite, and they have not answered yet
    ACCEPTED = "accepted"
    REFUSED = "refused"  # their invite was used by somebody else
    EXPIRED = "expired"
    REMOVED = "removed"
    BLOCKED = "blocked"

    @property
    def is_shut(self) -> bool:
        """Whether nothing goes to them and nothing of theirs is taken, by my own choice."""
        return self in (ContactState.REMOVED, ContactState.BLOCKED)


@dataclass(frozen=True)
class ContactRow:
    """One contact as stored."""

    id: int
    account: bytes
    conv: bytes
    name: str
    alias: str
    state: ContactState
    invite: str | None
    topics: bytes
    log: bytes
    verified_s: int  # when their safety number was compared; 0: it was not
    claimed: bytes | None  # the other account under which somebody writes for them, while that is undecided


@dataclass(frozen=True)
class DeviceRow:
    """One device of a contact, with its encoded sessions.

    ``introduced``: the session in which my addresses were told, and a byte 01 where my prekeys were too.
    """

    dsk: bytes
    dik: bytes
    contact: int
    sessions: bytes
    introduced: bytes
    revoked_s: int = 0


@dataclass(frozen=True)
class Rekeying:
    """What is known of beginning anew with a device (§2, §3)."""

    prekeys: bytes | None  # its own, sent inside a session
    unread: bytes | None  # the session that could not be read here
    begin_s: int  # when a session is to be begun; 0: none is
    resets: int
    lapses: int


_CONTACT = """SELECT id, c.account, conv, name, alias, state, invite, topics, log, verified_s, k.account
    FROM contacts c LEFT JOIN key_changes k ON k.contact = c.id"""
_DEVICE = "SELECT dsk, dik, contact, sessions, introduced, revoked_s FROM devices"


def _contact(
    row: tuple[int, bytes, bytes, str, str, str, str | None, bytes, bytes, int, bytes | None],
) -> ContactRow:
    return ContactRow(*row[:5], ContactState(row[5]), *row[6:])


def contacts(tx: sqlite3.Connection) -> list[ContactRow]:
    """Everyone, in the order they came."""
    return [_contact(row) for row in tx.execute(f"{_CONTACT} ORDER BY id")]


def contact(tx: sqlite3.Connection, number: int) -> ContactRow:
    """The contact of that number, which must be there."""
    return _contact(tx.execute(f"{_CONTACT} WHERE id = ?", (number,)).fetchone())


def contact_of(tx: sqlite3.Connection, account: bytes) -> ContactRow | None:
    """The contact with that account key."""
    row = tx.execute(f"{_CONTACT} WHERE c.account = ?", (account,)).fetchone()
    return _contact(row) if row else None


def add_contact(
    tx: sqlite3.Connection, account: bytes, conv: bytes, log: bytes, state: ContactState, invite: str | None
) -> int:
    """A new contact's number."""
    row = tx.execute(
        "INSERT INTO contacts (account, conv, log, state, invite) VALUES (?, ?, ?, ?, ?)",
        (account, conv, log, state, invite),
    ).lastrowid
    return row or 0


def set_contact(tx: sqlite3.Connection, number: int, **columns: object) -> None:
    """Change columns of a contact (named by our code, never from outside)."""
    names = ", ".join(f"{name} = ?" for name in columns)
    tx.execute(f"UPDATE contacts SET {names} WHERE id = ?", (*columns.values(), number))  # noqa: S608 (our own names)


def repairs(tx: sqlite3.Connection, number: int) -> tuple[int, int]:
    """How many forks of my log with a contact were repaired, and since when."""
    row = tx.execute("SELECT repairs, repaired_s FROM contacts WHERE id = ?", (number,)).fetchone()
    return int(row[0]), int(row[1])


def add_topic(tx: sqlite3.Connection, number: int, secret: bytes) -> None:
    """Remember a pair's topic secret; the two newest are kept, for two may have met from both sides at once."""
    topics: bytes = tx.execute("SELECT topics FROM contacts WHERE id = ?", (number,)).fetchone()[0]
    known = [topics[at : at + 32] for at in range(0, len(topics), 32)]
    if secret not in known:
        set_contact(tx, number, topics=b"".join([secret, *known][:2]))


def devices(tx: sqlite3.Connection, number: int | None = None) -> list[DeviceRow]:
    """The devices of one contact, or of all; not those that were revoked."""
    where, bound = (
        (" WHERE NOT revoked_s", ()) if number is None else (" WHERE contact = ? AND NOT revoked_s", (number,))
    )
    return [DeviceRow(*row) for row in tx.execute(_DEVICE + where, bound)]


def device(tx: sqlite3.Connection, dsk: bytes) -> DeviceRow | None:
    """The device of that signing key."""
    row = tx.execute(f"{_DEVICE} WHERE dsk = ?", (dsk,)).fetchone()
    return DeviceRow(*row) if row else None


def device_by_hint(tx: sqlite3.Connection, number: int, hint: bytes) -> DeviceRow | None:
    """The contact's device that an envelope's hint names."""
    row = tx.execute(f"{_DEVICE} WHERE contact = ? AND hint = ?", (number, hint)).fetchone()
    return DeviceRow(*row) if row else None


def put_device(tx: sqlite3.Connection, row: DeviceRow, hint: bytes) -> None:
    """Add a device, or replace what is stored of it."""
    tx.execute(
        "INSERT OR REPLACE INTO devices (dsk, dik, contact, hint, sessions, introduced) VALUES (?, ?, ?, ?, ?, ?)",
        (row.dsk, row.dik, row.contact, hint, row.sessions, row.introduced),
    )


def set_sessions(tx: sqlite3.Connection, dsk: bytes, sessions: bytes, introduced: bytes) -> None:
    """Store a device's sessions after they were used."""
    tx.execute("UPDATE devices SET sessions = ?, introduced = ? WHERE dsk = ?", (sessions, introduced, dsk))


def rekeying(tx: sqlite3.Connection, dsk: bytes) -> Rekeying:
    """What is known of beginning anew with a device, which must be there."""
    row = tx.execute("SELECT prekeys, unread, begin_s, resets, lapses FROM devices WHERE dsk = ?", (dsk,)).fetchone()
    return Rekeying(*row)


def set_rekeying(tx: sqlite3.Connection, dsk: bytes, **columns: object) -> None:
    """Change what `Rekeying` holds (named by our code, never from outside)."""
    names = ", ".join(f"{name} = ?" for name in columns)
    tx.execute(f"UPDATE devices SET {names} WHERE dsk = ?", (*columns.values(), dsk))  # noqa: S608 (our own names)


def to_begin_with(tx: sqlite3.Connection) -> list[tuple[DeviceRow, int]]:
    """The devices with which a session is to be begun, and when."""
    rows = tx.execute(f"{_DEVICE.replace(' FROM', ', begin_s FROM')} WHERE begin_s > 0 AND NOT revoked_s")
    return [(DeviceRow(*row[:-1]), row[-1]) for row in rows]


def revoke(tx: sqlite3.Connection, dsk: bytes, now_s: int) -> None:
    """The account took the device off its list: its sessions are over, and nothing goes to it any more."""
    tx.execute(
        """UPDATE devices SET revoked_s = ?, sessions = x'', introduced = x'', prekeys = NULL, unread = NULL,
           begin_s = 0 WHERE dsk = ?""",
        (now_s, dsk),
    )
    tx.execute("DELETE FROM addresses WHERE dsk = ?", (dsk,))
    forget_puts_to(tx, dsk)


def forget_puts(tx: sqlite3.Connection, number: int) -> None:
    """What was sealed for a contact's devices does not go out any more."""
    tx.execute("DELETE FROM puts WHERE dsk IN (SELECT dsk FROM devices WHERE contact = ?)", (number,))


def forget_puts_to(tx: sqlite3.Connection, dsk: bytes) -> None:
    """What was sealed for a device cannot be read there any more."""
    tx.execute("DELETE FROM puts WHERE dsk = ?", (dsk,))


def forget_devices(tx: sqlite3.Connection, number: int) -> None:
    """A contact's devices, their sessions, and what was sealed for them: it is begun anew."""
    forget_puts(tx, number)
    tx.execute("DELETE FROM devices WHERE contact = ?", (number,))


def keep_device_list(tx: sqlite3.Connection, account: bytes, seq: int, raw: bytes) -> None:
    """All lists are kept (§1), up to the newest so many: an account could sign lists without end."""
    tx.execute("INSERT OR IGNORE INTO device_lists VALUES (?, ?, ?)", (account, seq, raw))
    tx.execute(
        """DELETE FROM device_lists WHERE account = ?1 AND seq NOT IN
           (SELECT seq FROM device_lists WHERE account = ?1 ORDER BY seq DESC LIMIT ?2)""",
        (account, DEVICE_LISTS_LIMIT),
    )


def newest_device_list(tx: sqlite3.Connection, account: bytes) -> bytes | None:
    """The account's list of the highest number known here."""
    row = tx.execute("SELECT raw FROM device_lists WHERE account = ? ORDER BY seq DESC LIMIT 1", (account,)).fetchone()
    return row[0] if row else None


def set_addresses(tx: sqlite3.Connection, dsk: bytes, addresses: Iterable[Address]) -> None:
    """Where a device takes envelopes; replaces what it said before. Nothing goes to a revoked one."""
    known = device(tx, dsk)
    if known is not None and known.revoked_s:
        return
    tx.execute("DELETE FROM addresses WHERE dsk = ?", (dsk,))
    for place, address in enumerate(addresses):
        tx.execute(
            "INSERT OR REPLACE INTO addresses VALUES (?, ?, ?, ?, ?)",
            (dsk, place, address.node, address.mailbox, address.key),
        )


def addresses(tx: sqlite3.Connection, dsk: bytes) -> list[Address]:
    """Where a device takes envelopes, what it prefers first."""
    rows = tx.execute("SELECT node, mailbox, key FROM addresses WHERE dsk = ? ORDER BY place", (dsk,))
    return [Address(*row) for row in rows]


def contact_by_conv(tx: sqlite3.Connection, conv: bytes) -> ContactRow | None:
    """The contact with whom that conversation is."""
    row = tx.execute(f"{_CONTACT} WHERE conv = ?", (conv,)).fetchone()
    return _contact(row) if row else None


def revoked(tx: sqlite3.Connection) -> set[bytes]:
    """Every device that its account took off its list."""
    return {dsk for (dsk,) in tx.execute("SELECT dsk FROM devices WHERE revoked_s")}


def authors(tx: sqlite3.Connection, account: bytes) -> set[bytes]:
    """Every device known of an account, those revoked included: what they said stays said."""
    rows = tx.execute("SELECT dsk FROM devices d JOIN contacts c ON c.id = d.contact WHERE c.account = ?", (account,))
    return {dsk for (dsk,) in rows}


def told(tx: sqlite3.Connection, dsk: bytes, device: bytes, log: bytes) -> Run:
    """What a device has confirmed to hold of a log."""
    row = tx.execute(
        "SELECT end, tip FROM told WHERE dsk = ? AND device = ? AND log = ?", (dsk, device, log)
    ).fetchone()
    return Run(*row) if row else Run()


def told_epoch(tx: sqlite3.Connection, dsk: bytes, device: bytes, log: bytes) -> int:
    """The epoch of the session in which `told` was said; -1 where nothing was."""
    row = tx.execute("SELECT epoch FROM told WHERE dsk = ? AND device = ? AND log = ?", (dsk, device, log)).fetchone()
    return int(row[0]) if row else -1


def set_told(tx: sqlite3.Connection, dsk: bytes, device: bytes, log: bytes, run: Run, epoch: int) -> None:
    """What a contact's device holds, as told in a session of that epoch; what counts as delivered only grows."""
    tx.execute(
        """INSERT INTO told (dsk, device, log, end, tip, epoch, most) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4)
           ON CONFLICT DO UPDATE SET end = ?4, tip = ?5, epoch = ?6, most = max(most, ?4)""",
        (dsk, device, log, run.end, run.tip, epoch),
    )


def lower_told(tx: sqlite3.Connection, device: bytes, log: bytes, end: int, tip: bytes) -> None:
    """The log forked beyond ``end``: nobody is taken to hold more of it. What was delivered stays so."""
    tx.execute(
        "UPDATE told SET end = ?, tip = ? WHERE device = ? AND log = ? AND end > ?", (end, tip, device, log, end)
    )


def told_of(tx: sqlite3.Connection, dsk: bytes) -> dict[tuple[bytes, bytes], Run]:
    """What a device has confirmed to hold, by author and log."""
    rows = tx.execute("SELECT device, log, end, tip FROM told WHERE dsk = ?", (dsk,))
    return {(device, log): Run(end, tip) for device, log, end, tip in rows}


def has_told(tx: sqlite3.Connection, dsk: bytes) -> bool:
    """Whether a device has ever confirmed anything of a log of mine."""
    return tx.execute("SELECT 1 FROM told WHERE dsk = ? AND most > 0 LIMIT 1", (dsk,)).fetchone() is not None


def ticked(tx: sqlite3.Connection, number: int) -> dict[tuple[bytes, bytes], int]:
    """Up to where each log, by author and name, is or was held by at least one of the contact's devices."""
    rows = tx.execute(
        """SELECT t.device, t.log, max(t.most) FROM told t JOIN devices d USING (dsk)
           WHERE d.contact = ? GROUP BY t.device, t.log""",
        (number,),
    )
    return {(device, log): most for device, log, most in rows}


def delivered_upto(tx: sqlite3.Connection, number: int) -> int:
    """Up to where the log that is written now is held by at least one of the contact's devices."""
    log = contact(tx, number).log
    return max((most for (_, name), most in ticked(tx, number).items() if name == log), default=0)


def forget_setting(tx: sqlite3.Connection, key: str) -> None:
    """A setting is no more."""
    tx.execute("DELETE FROM settings WHERE key = ?", (key,))


def setting(tx: sqlite3.Connection, key: str) -> str | bytes | None:
    """A stored setting."""
    row = tx.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def set_setting(tx: sqlite3.Connection, key: str, value: str | bytes) -> None:
    """Store a setting."""
    tx.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
