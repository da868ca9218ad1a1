"""Sealing what a device lacks, for whichever path is there. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from overfence_reliability import Run
from overfence_signalling import ENVELOPE_LIMIT_BYTES

from ..history import forks, logbook, people, postbox, rows
from ..identity import KEY_BYTES, Invite
from ..sealing import CHAIN_LIMIT, SID_BYTES, Sessions, hkdf, hmac_sha256, seal_envelope
from . import planning, prekeys
from .me import Me
from .payload import ITEMS_LIMIT, LOGS_LIMIT, AnyItem, Batch, Have, HeldRun, Introduction, encode_payload
from .sync import LogKey, Progress, Supply

# Events of one sealed message: one authentication, one fsync and one packet train for all of them.
BATCH_BYTES = 32 * 1024
# Numbers that calls and answers to duplicates may use up unheard. A server that shows a contact coming and going, or
# replays what it sent, makes us seal what is then lost: the rest of the chain is kept for what people say.
SPARE_LIMIT = CHAIN_LIMIT - 500
# How long a sibling is left to bring its own events to a mailbox (§6.4).
SIBLING_WAITS_MS = 24 * 3600 * 1000
_ZERO = bytes(32)
_PREKEYS_TOLD = b"\x01"


@dataclass(frozen=True)
class Sealed:
    """A message ready for the link, or already among the puts of ``node``; ``last`` is the highest number in it."""

    message: bytes
    key: LogKey
    last: int
    node: str | None


def load_supply(tx: sqlite3.Connection, me: Me, dsk: bytes) -> Supply | None:
    """How far a device is known to be with the logs it is supplied with, and what waits for it in mailboxes."""
    device = people.device(tx, dsk)
    if device is None:
        return None
    told = people.told_of(tx, dsk)
    on_the_way: dict[tuple[bytes, bytes], list[int]] = {}
    for author, log, last in postbox.on_the_way(tx, dsk):
        on_the_way.setdefault((author, log), []).append(last)
    keys = [key for key, _ in logs_for(tx, me, people.contact(tx, device.contact))]
    return Supply({key: Progress(told.get(key[1:], Run()), on_the_way=on_the_way.get(key[1:], ())) for key in keys})


def logs_for(tx: sqlite3.Connection, me: Me, contact: people.ContactRow) -> list[tuple[LogKey, int]]:
    """The logs a contact's devices are supplied with, each up to where: my account's; a device of mine gets all."""
    if contact.account == me.identity.account:
        found = []
        for other in people.contacts(tx):
            found += [(LogKey(other.conv, at, log), end) for at, log, end in forks.supplied(tx, other.conv)]
        return found
    mine = me.authors(tx)
    return [
        (LogKey(contact.conv, device, log), end)
        for device, log, end in forks.supplied(tx, contact.conv)
        if device in mine
    ]


def seal_next(tx: sqlite3.Connection, me: Me, dsk: bytes, supply: Supply, *, direct: bool) -> Sealed | None:
    """The next batch a device lacks; None when there is nothing to send, or no session or address to send by."""
    device = people.device(tx, dsk)
    if device is None or device.revoked_s:
        return None
    contact = people.contact(tx, device.contact)
    if contact.state not in (people.ContactState.WAITING, people.ContactState.ACCEPTED):
        return None
    if contact.verified_s and contact.claimed is not None:
        return None  # whose key is in question: nothing goes until that is decided (§1)
    logs = logs_for(tx, me, contact)
    if not direct:
        logs = [(key, end) for key, end in logs if _goes_by_mail(tx, me, key, supply.held(key))]
    lacking = supply.lacks(logs)
    if lacking is None or not (direct or people.addresses(tx, dsk)):
        return None
    key, first, upto = lacking
    events = logbook.events_from(tx, *key, first, upto, BATCH_BYTES)
    if not events:
        return None
    last = events[-1][0]
    batch = Batch(tuple((header, body) for _, header, body in events))
    message = seal_items(tx, me, device, batch)
    if message is None:
        return None
    node = None if direct else post(tx, me, dsk, message, covers=(key.device, key.log, last))
    return Sealed(message, key, last, node)


def _goes_by_mail(tx: sqlite3.Connection, me: Me, key: LogKey, held: Run) -> bool:
    """Whether this device leaves a log's events in mailboxes: its own; a sibling's once that had a day for it (§6.4).

    So an event costs one envelope, and not one of each device of mine.
    """
    if key.device == me.dsk:
        return True
    if all(device.dsk != key.device for device in me.device_list.devices):
        return key.device in me.authors(tx)  # a device of mine that is revoked says nothing itself any more
    said_ms = logbook.said_ms(tx, *key, held.end + 1)
    return said_ms is not None and me.clock_ms() - said_ms > SIBLING_WAITS_MS


def seal_items(
    tx: sqlite3.Connection, me: Me, device: people.DeviceRow, *items: AnyItem, spare: bool = False
) -> bytes | None:
    """Seal items for a device, its introduction first where this session has not had it.

    None without a session, and while too much is unheard; sooner for ``spare`` items, which nobody misses.
    """
    sessions = planning.stored(device)
    if not sessions.can_seal:
        planning.without_session(tx, me, device)
        return None
    if sessions.unheard >= (SPARE_LIMIT if spare else CHAIN_LIMIT):
        return None
    sid = sessions.sending_sid or b""
    introduced = device.introduced
    if sessions.unanswered or sid != introduced[:SID_BYTES]:
        items = (introduction(tx, me, device, sessions), *items)
        introduced = sid
    if not spare and introduced == sid and not sessions.unanswered and me.dsk > device.dsk:
        # For the renewal, which the device with the smaller key begins; once a session (§2).
        items = (*items, prekeys.fresh(tx, me, device))
        introduced = sid + _PREKEYS_TOLD
    message = sessions.seal(encode_payload(*items), random=me.random)
    people.set_sessions(tx, device.dsk, sessions.encode(), introduced)
    if sessions.is_worn(me.now_s):
        planning.worn(tx, me, device)
    return message


def post(
    tx: sqlite3.Connection,
    me: Me,
    dsk: bytes,
    message: bytes,
    *,
    covers: tuple[bytes, bytes, int] | None = None,
    is_handshake: bool = False,
) -> str | None:
    """Put a sealed message on its way to a device's mailbox; the node to wake, None where no address is known."""
    addresses = people.addresses(tx, dsk)
    if not addresses:
        return None
    # The first is the server it uses now.
    address = addresses[0]
    envelope = seal_envelope(address.key, address.mailbox, me.dsk, message, me.random)
    if len(envelope) > ENVELOPE_LIMIT_BYTES:
        raise AssertionError("no message of ours is that large, and no node would take it")
    postbox.add_put(
        tx,
        me.random(16),
        dsk=dsk,
        node=address.node,
        mailbox=address.mailbox,
        envelope=envelope,
        covers=covers,
        is_handshake=is_handshake,
    )
    return address.node


def haves(tx: sqlite3.Connection, me: Me, contact: people.ContactRow) -> list[Have]:
    """What I hold of the contact's logs, every device's; for a device of mine, of all there are."""
    if contact.account != me.identity.account:
        return [_have(tx, contact, people.authors(tx, contact.account))]
    mine = me.authors(tx)
    return [_have(tx, other, people.authors(tx, other.account) | mine) for other in people.contacts(tx)]


def _have(tx: sqlite3.Connection, contact: people.ContactRow, authors: set[bytes]) -> Have:
    runs = rows.runs_of(tx, contact.conv, authors)
    for device, log, end in forks.all_closed_logs(tx, contact.conv):
        # Beyond there its author compares nothing: what is told must be what it can check.
        if (device, log) in runs and runs[device, log].end >= end:
            runs[device, log] = Run(end, rows.id_at(tx, contact.conv, device, log, end) or b"")
    gone = people.revoked(tx)
    (lamport,) = tx.execute("SELECT lamport FROM contacts WHERE id = ?", (contact.id,)).fetchone()
    return Have(
        contact.conv,
        tuple(
            HeldRun(device, log, run.end, run.tip, run.above)
            # Those of revoked devices last: they may be many, and grow no more.
            for (device, log), run in sorted(runs.items(), key=lambda held: (held[0][0] in gone, held[0]))[:LOGS_LIMIT]
        ),
        lamport,
    )


def parts(items: Sequence[AnyItem]) -> list[list[AnyItem]]:
    """The same items as messages of `BATCH_BYTES` each, or a single item: more would fit in no envelope."""
    found: list[list[AnyItem]] = []
    room_bytes = 0
    for item in items:
        size_bytes = len(encode_payload(item))
        if not found or size_bytes > room_bytes or len(found[-1]) == ITEMS_LIMIT // 2:
            found.append([])
            room_bytes = BATCH_BYTES
        found[-1].append(item)
        room_bytes -= size_bytes
    return found


def proof_of(invite_key: bytes, transcript: bytes) -> bytes:
    """§4 The MAC of a handshake under an invite's secret: its sender holds the invite."""
    return hmac_sha256(hkdf(_ZERO, invite_key, b"overfence/1 invite", 32), transcript)


def introduction(tx: sqlite3.Connection, me: Me, device: people.DeviceRow, sessions: Sessions) -> Introduction:
    """§6.3 Who writes and where that device is written to; an invite's proof where one is to be answered."""
    contact = people.contact(tx, device.contact)
    proof = b""
    if contact.invite is not None and sessions.transcript is not None:
        proof = proof_of(Invite.parse(contact.invite).key, sessions.transcript)
    topic = contact.topics[:KEY_BYTES]
    return Introduction(me.device_list.raw, me.addresses(tx, contact.id), me.consent, proof, topic)
