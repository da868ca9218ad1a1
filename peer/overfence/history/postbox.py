"""One's own mailboxes, invites and prekeys, and envelopes on their way. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class Mailbox:
    """A mailbox of mine at a node."""

    mailbox: bytes
    mk: bytes
    key: bytes
    node: str
    contact: int | None
    epoch: int
    seq: int
    prekey: bytes | None
    card_set: bool
    closing: bool


@dataclass(frozen=True)
class Waiting:
    """An envelope that no node has accepted yet, or one that is asked after."""

    id: bytes
    dsk: bytes
    mailbox: bytes
    envelope: bytes
    log: bytes | None
    last: int | None
    tries: int


@dataclass(frozen=True)
class OpenInvite:
    """An invite of mine: until when it may be used, and who did."""

    mailbox: bytes
    expires_s: int
    guest: bytes | None
    refusals: int


# In place of an author, on an envelope with a handshake that follows other sessions: no later word replaces it.
_HANDSHAKE = b""
_MAILBOX = "SELECT mailbox, mk, key, node, contact, epoch, seq, prekey, card_set, closing FROM mailboxes"


def _mailbox(row: tuple[bytes, bytes, bytes, str, int | None, int, int, bytes | None, int, int]) -> Mailbox:
    return Mailbox(*row[:8], bool(row[8]), bool(row[9]))


def add_mailbox(tx: sqlite3.Connection, mailbox: bytes, mk: bytes, key: bytes, node: str, contact: int | None) -> None:
    """A new mailbox; the node hears of it when it is opened there."""
    tx.execute(
        "INSERT INTO mailboxes (mailbox, mk, key, node, contact) VALUES (?, ?, ?, ?, ?)",
        (mailbox, mk, key, node, contact),
    )


def mailboxes(tx: sqlite3.Connection, node: str | None = None) -> list[Mailbox]:
    """My mailboxes, at one node or at all."""
    where, bound = ("", ()) if node is None else (" WHERE node = ?", (node,))
    return [_mailbox(row) for row in tx.execute(_MAILBOX + where, bound)]


def mailbox(tx: sqlite3.Connection, address: bytes) -> Mailbox | None:
    """My mailbox of that address."""
    row = tx.execute(f"{_MAILBOX} WHERE mailbox = ?", (address,)).fetchone()
    return _mailbox(row) if row else None


def mailbox_for(tx: sqlite3.Connection, contact: int) -> list[Mailbox]:
    """My mailboxes for one contact that it is to use: none that is being closed or replaced."""
    which = "contact = ? AND NOT closing AND until_seq IS NULL"
    return [_mailbox(row) for row in tx.execute(f"{_MAILBOX} WHERE {which}", (contact,))]


def close_all_for(tx: sqlite3.Connection, contact: int) -> set[str]:
    """Close every mailbox of one contact's; the nodes that are to hear of it."""
    tx.execute("UPDATE mailboxes SET closing = 1 WHERE contact = ?", (contact,))
    return {node for (node,) in tx.execute("SELECT node FROM mailboxes WHERE contact = ?", (contact,))}


def replace_mailbox(tx: sqlite3.Connection, address: bytes, log: bytes, seq: int) -> None:
    """It is followed until the contact's devices hold number ``seq`` of my log, which names others."""
    tx.execute("UPDATE mailboxes SET until_log = ?, until_seq = ? WHERE mailbox = ?", (log, seq, address))


def replaced_mailboxes(tx: sqlite3.Connection, contact: int) -> list[tuple[Mailbox, bytes, int]]:
    """One contact's that were replaced and are still followed, each with the log and number that end it."""
    rows = tx.execute(
        """SELECT mailbox, until_log, until_seq FROM mailboxes
           WHERE contact = ? AND until_seq IS NOT NULL AND NOT closing""",
        (contact,),
    )
    found = [(mailbox(tx, address), log, seq) for address, log, seq in rows.fetchall()]
    return [(box, log, seq) for box, log, seq in found if box is not None]


def set_cursor(tx: sqlite3.Connection, address: bytes, epoch: int, seq: int) -> None:
    """Everything up to there is held."""
    tx.execute("UPDATE mailboxes SET epoch = ?, seq = ? WHERE mailbox = ?", (epoch, seq, address))


def set_card(tx: sqlite3.Connection, address: bytes, prekey: bytes | None, *, at_node: bool) -> None:
    """Which prekey the mailbox's card shows, and whether the node has that card."""
    tx.execute("UPDATE mailboxes SET prekey = ?, card_set = ? WHERE mailbox = ?", (prekey, at_node, address))


def close_mailbox(tx: sqlite3.Connection, address: bytes) -> None:
    """Close it at its node when that is reached, then forget it."""
    tx.execute("UPDATE mailboxes SET closing = 1 WHERE mailbox = ?", (address,))


def keep_open(tx: sqlite3.Connection, address: bytes) -> None:
    """It is not to be closed after all."""
    tx.execute("UPDATE mailboxes SET closing = 0 WHERE mailbox = ?", (address,))


def forget_mailbox(tx: sqlite3.Connection, address: bytes) -> None:
    """The node has closed it."""
    tx.execute("DELETE FROM invites WHERE mailbox = ?", (address,))
    tx.execute("DELETE FROM mailboxes WHERE mailbox = ?", (address,))


def add_invite(tx: sqlite3.Connection, address: bytes, expires_s: int) -> None:
    """The mailbox is an invite's."""
    tx.execute("INSERT INTO invites (mailbox, expires_s) VALUES (?, ?)", (address, expires_s))


def invite(tx: sqlite3.Connection, address: bytes) -> OpenInvite | None:
    """The invite whose mailbox that is."""
    row = tx.execute("SELECT mailbox, expires_s, guest, refusals FROM invites WHERE mailbox = ?", (address,)).fetchone()
    return OpenInvite(*row) if row else None


def invites(tx: sqlite3.Connection) -> list[tuple[Mailbox, OpenInvite]]:
    """My invites whose mailboxes are not being closed, in the order they end."""
    rows = tx.execute("SELECT mailbox, expires_s, guest, refusals FROM invites ORDER BY expires_s, mailbox").fetchall()
    found = ((mailbox(tx, row[0]), OpenInvite(*row)) for row in rows)
    return [(box, open_) for box, open_ in found if box is not None and not box.closing]


def used_invites(tx: sqlite3.Connection, guest: bytes) -> list[Mailbox]:
    """The mailboxes of invites that this account used, still open."""
    which = "NOT closing AND mailbox IN (SELECT mailbox FROM invites WHERE guest = ?)"
    rows = tx.execute(f"{_MAILBOX} WHERE {which}", (guest,))
    return [_mailbox(row) for row in rows]


def close_expired_invites(tx: sqlite3.Connection, before_s: int) -> None:
    """Close the mailboxes of invites that ended before then."""
    tx.execute(
        "UPDATE mailboxes SET closing = 1 WHERE mailbox IN (SELECT mailbox FROM invites WHERE expires_s < ?)",
        (before_s,),
    )


def bind_invite(tx: sqlite3.Connection, address: bytes, guest: bytes) -> None:
    """This account used the invite; nobody else can."""
    tx.execute("UPDATE invites SET guest = ? WHERE mailbox = ?", (guest, address))


def count_refusal(tx: sqlite3.Connection, address: bytes) -> None:
    """Somebody was told that the invite is used."""
    tx.execute("UPDATE invites SET refusals = refusals + 1 WHERE mailbox = ?", (address,))


def add_prekey(tx: sqlite3.Connection, prekey_id: bytes, secret: bytes, made_s: int, place: bytes) -> None:
    """Keep a prekey's secret; ``place`` is the mailbox whose card shows it, or the device it is sent to."""
    tx.execute(
        "INSERT INTO prekeys (prekey_id, secret, made_s, place) VALUES (?, ?, ?, ?)", (prekey_id, secret, made_s, place)
    )


def prekey(tx: sqlite3.Connection, prekey_id: bytes) -> bytes | None:
    """A prekey's secret, if it is still kept."""
    row = tx.execute("SELECT secret FROM prekeys WHERE prekey_id = ?", (prekey_id,)).fetchone()
    return row[0] if row else None


def prekey_made_s(tx: sqlite3.Connection, prekey_id: bytes) -> int | None:
    """When a prekey was made, in unix seconds."""
    row = tx.execute("SELECT made_s FROM prekeys WHERE prekey_id = ?", (prekey_id,)).fetchone()
    return row[0] if row else None


def prekey_used(tx: sqlite3.Connection, prekey_id: bytes, now_s: int) -> None:
    """A handshake came on it: whichever card shows it gets another."""
    tx.execute("UPDATE prekeys SET used_s = ? WHERE prekey_id = ? AND used_s IS NULL", (now_s, prekey_id))
    tx.execute("UPDATE mailboxes SET prekey = NULL, card_set = 0 WHERE prekey = ?", (prekey_id,))


def prekey_published(tx: sqlite3.Connection, prekey_id: bytes, now_s: int) -> None:
    """It can be had where it is to be shown: those shown there before are replaced from now on."""
    tx.execute(
        """UPDATE prekeys SET replaced_s = ?1 WHERE replaced_s IS NULL AND prekey_id != ?2
           AND place = (SELECT place FROM prekeys WHERE prekey_id = ?2)""",
        (now_s, prekey_id),
    )


def unused_prekey(tx: sqlite3.Connection, place: bytes, made_after_s: int) -> bytes | None:
    """The secret of the newest prekey shown there, if it was made since then and nobody used it."""
    row = tx.execute(
        """SELECT secret FROM prekeys WHERE place = ? AND used_s IS NULL AND replaced_s IS NULL AND made_s > ?
           ORDER BY made_s DESC LIMIT 1""",
        (place, made_after_s),
    ).fetchone()
    return row[0] if row else None


def prekeys_out_of_reach(tx: sqlite3.Connection, now_s: int) -> None:
    """Where a mailbox is closed or a device gone, nobody can get a prekey's successor any more, nor needs it."""
    tx.execute(
        """UPDATE prekeys SET replaced_s = ? WHERE replaced_s IS NULL AND (place IS NULL OR place NOT IN (
               SELECT mailbox FROM mailboxes WHERE NOT closing UNION SELECT dsk FROM devices WHERE NOT revoked_s))""",
        (now_s,),
    )


def show_cards_again(tx: sqlite3.Connection) -> list[str]:
    """What every card says has changed, but for its prekey; the nodes they are at."""
    tx.execute("UPDATE mailboxes SET card_set = 0 WHERE NOT closing")
    return [node for (node,) in tx.execute("SELECT DISTINCT node FROM mailboxes")]


def renew_cards(tx: sqlite3.Connection, made_before_s: int, contact: int | None = None) -> list[str]:
    """Cards (a contact's, or all) with prekeys made before then are to show others; the nodes they are at."""
    which = """NOT closing AND prekey IN (SELECT prekey_id FROM prekeys WHERE made_s < ?1)
               AND (?2 IS NULL OR contact = ?2)"""
    rows = tx.execute(f"SELECT DISTINCT node FROM mailboxes WHERE {which}", (made_before_s, contact)).fetchall()  # noqa: S608 (our own words)
    tx.execute(f"UPDATE mailboxes SET prekey = NULL, card_set = 0 WHERE {which}", (made_before_s, contact))  # noqa: S608 (our own words)
    return [node for (node,) in rows]


def drop_old_prekeys(tx: sqlite3.Connection, *, used_before_s: int, unused_before_s: int, made_before_s: int) -> None:
    """Delete secrets: used ones replaced before then, unused ones replaced before then, any made before then (§1)."""
    tx.execute(
        """DELETE FROM prekeys WHERE (used_s IS NOT NULL AND replaced_s < ?) OR replaced_s < ? OR made_s < ?""",
        (used_before_s, unused_before_s, made_before_s),
    )


def add_put(
    tx: sqlite3.Connection,
    put_id: bytes,
    *,
    dsk: bytes,
    node: str,
    mailbox: bytes,
    envelope: bytes,
    covers: tuple[bytes, bytes, int] | None,
    is_handshake: bool = False,
) -> None:
    """An envelope to leave at a node; ``covers``: author, log and number whose confirmation ends its life."""
    (made,) = tx.execute("SELECT coalesce(max(made), 0) + 1 FROM puts").fetchone()
    author, log, last = covers or (_HANDSHAKE if is_handshake else None, None, None)
    tx.execute(
        """INSERT INTO puts (id, dsk, node, mailbox, envelope, author, log, last, made)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (put_id, dsk, node, mailbox, envelope, author, log, last, made),
    )


def words_to(tx: sqlite3.Connection, dsk: bytes) -> list[bytes]:
    """What waits to be left for a device and holds no events: what was confirmed to it, out of date with the next."""
    rows = tx.execute("SELECT id FROM puts WHERE dsk = ? AND log IS NULL AND author IS NULL AND NOT stored", (dsk,))
    return [put_id for (put_id,) in rows]


def forget_handshakes(tx: sqlite3.Connection, dsk: bytes) -> None:
    """Handshakes that wait to be left for a device: another is about to follow them."""
    tx.execute("DELETE FROM puts WHERE dsk = ? AND author = ?", (dsk, _HANDSHAKE))


def forget_puts(tx: sqlite3.Connection, put_ids: list[bytes]) -> None:
    """These need not be left any more."""
    tx.executemany("DELETE FROM puts WHERE id = ?", [(put_id,) for put_id in put_ids])


def waiting_puts(tx: sqlite3.Connection, node: str, now_s: int, limit: int) -> list[Waiting]:
    """The next envelopes no node has accepted, oldest first."""
    rows = tx.execute(
        """SELECT id, dsk, mailbox, envelope, log, last, tries FROM puts
           WHERE node = ? AND NOT stored AND due_s <= ? ORDER BY made LIMIT ?""",
        (node, now_s, limit),
    )
    return [Waiting(*row) for row in rows]


def due_puts(tx: sqlite3.Connection, node: str, now_s: int, limit: int) -> list[Waiting]:
    """Accepted envelopes, still unconfirmed, that are to be asked after."""
    rows = tx.execute(
        """SELECT id, dsk, mailbox, envelope, log, last, tries FROM puts
           WHERE node = ? AND stored AND due_s <= ? ORDER BY made LIMIT ?""",
        (node, now_s, limit),
    )
    return [Waiting(*row) for row in rows]


def nodes_to_tell(tx: sqlite3.Connection, dsk: bytes) -> list[str]:
    """The nodes at which something waits to be left for a device."""
    return [node for (node,) in tx.execute("SELECT DISTINCT node FROM puts WHERE dsk = ? ORDER BY node", (dsk,))]


def is_waiting(tx: sqlite3.Connection, put_id: bytes) -> bool:
    """Whether that envelope is still on its way."""
    return tx.execute("SELECT 1 FROM puts WHERE id = ?", (put_id,)).fetchone() is not None


def put_accepted(tx: sqlite3.Connection, put: Waiting, due_s: int) -> None:
    """The node keeps it. What carries no events needs no more; the rest is asked after from ``due_s``."""
    if put.log is None:
        tx.execute("DELETE FROM puts WHERE id = ?", (put.id,))
    else:
        tx.execute("UPDATE puts SET stored = 1, tries = tries + 1, due_s = ? WHERE id = ?", (due_s, put.id))


def put_refused(tx: sqlite3.Connection, put_id: bytes, due_s: int) -> None:
    """The node will not take it now; try again from ``due_s``."""
    tx.execute("UPDATE puts SET tries = tries + 1, due_s = ? WHERE id = ?", (due_s, put_id))


def forget_puts_elsewhere(tx: sqlite3.Connection, dsk: bytes) -> bool:
    """Once some of what is on its way to a device lies where it takes nothing any more: all of it; whether that was."""
    elsewhere = "dsk = ?1 AND mailbox NOT IN (SELECT mailbox FROM addresses WHERE dsk = ?1)"
    if tx.execute(f"SELECT 1 FROM puts WHERE {elsewhere} LIMIT 1", (dsk,)).fetchone() is None:  # noqa: S608 (our own words)
        return False
    tx.execute(f"DELETE FROM puts WHERE {elsewhere} OR (dsk = ?1 AND log IS NOT NULL)", (dsk,))  # noqa: S608 (our own words)
    return True


def forget_puts_from(tx: sqlite3.Connection, put: Waiting) -> None:
    """It and what follows it in its log will be sealed anew: behind a gap the rest confirms nothing."""
    tx.execute("DELETE FROM puts WHERE id = ?", (put.id,))
    tx.execute("DELETE FROM puts WHERE dsk = ? AND log = ? AND last >= ?", (put.dsk, put.log, put.last))


def forget_covered_puts(tx: sqlite3.Connection, dsk: bytes, log: bytes, end: int) -> None:
    """The device holds the log up to ``end``: envelopes with no more than that have done their work."""
    tx.execute("DELETE FROM puts WHERE dsk = ? AND log = ? AND last <= ?", (dsk, log, end))


def forget_puts_above(tx: sqlite3.Connection, author: bytes, log: bytes, end: int) -> None:
    """The log forked: what is on its way of it beyond ``end`` goes to nobody any more."""
    tx.execute("DELETE FROM puts WHERE author = ? AND log = ? AND last > ?", (author, log, end))


def on_the_way(tx: sqlite3.Connection, dsk: bytes) -> list[tuple[bytes, bytes, int]]:
    """What each envelope on its way to a device carries: author, log and its last number."""
    return tx.execute("SELECT author, log, last FROM puts WHERE dsk = ? AND log IS NOT NULL", (dsk,)).fetchall()
