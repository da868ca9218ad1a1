"""Sealing what a device lacks, for whichever path is there. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from overfence_signalling import ENVELOPE_LIMIT_BYTES

from ..history import logbook, people, postbox
from ..identity import Invite
from ..sealing import CHAIN_LIMIT, Sessions, hkdf, hmac_sha256, seal_envelope
from .me import Me
from .payload import LOGS_LIMIT, AnyItem, Batch, Have, HeldRun, Introduction, encode_payload
from .sync import Progress

# Events of one sealed message: one authentication, one fsync and one packet train for all of them.
BATCH_BYTES = 32 * 1024
# Numbers that calls and answers to duplicates may use up unheard. A server that shows a contact coming and going, or
# replays what it sent, makes us seal what is then lost: the rest of the chain is kept for what people say.
SPARE_LIMIT = CHAIN_LIMIT - 500
_ZERO = bytes(32)


@dataclass(frozen=True)
class Sealed:
    """A message ready for the link, or already among the puts of ``node``; ``last`` is the highest number in it."""

    message: bytes
    last: int
    node: str | None


def load_progress(tx: sqlite3.Connection, me: Me, dsk: bytes) -> Progress | None:
    """How far a device is known to be with my log, and what waits for it in mailboxes."""
    device = people.device(tx, dsk)
    if device is None:
        return None
    log = people.contact(tx, device.contact).log
    return Progress(people.told(tx, dsk, me.dsk, log), on_the_way=postbox.on_the_way(tx, dsk, log))


def seal_next(tx: sqlite3.Connection, me: Me, dsk: bytes, progress: Progress, *, direct: bool) -> Sealed | None:
    """The next batch a device lacks; None when there is nothing to send, or no session or address to send by."""
    device = people.device(tx, dsk)
    if device is None:
        return None
    contact = people.contact(tx, device.contact)
    if contact.state not in (people.ContactState.WAITING, people.ContactState.ACCEPTED):
        return None
    lacking = progress.lacks(logbook.run_of(tx, contact.conv, me.dsk, contact.log).end)
    if lacking is None or not (direct or people.addresses(tx, dsk)):
        return None
    events = logbook.events_from(tx, contact.conv, me.dsk, contact.log, *lacking, BATCH_BYTES)
    if not events:
        return None
    last = events[-1][0]
    batch = Batch(tuple((header, body) for _, header, body in events))
    message = seal_items(tx, me, device, batch)
    if message is None:
        return None
    node = None if direct else post(tx, me, dsk, message, covers=(contact.log, last))
    return Sealed(message, last, node)


def seal_items(
    tx: sqlite3.Connection, me: Me, device: people.DeviceRow, *items: AnyItem, spare: bool = False
) -> bytes | None:
    """Seal items for a device, its introduction first where this session has not had it.

    None without a session, and while too much is unheard; sooner for ``spare`` items, which nobody misses.
    """
    sessions = Sessions.decode(device.sessions)
    if not sessions.can_seal or sessions.unheard >= (SPARE_LIMIT if spare else CHAIN_LIMIT):
        return None
    sid = sessions.sending_sid or b""
    if sessions.unanswered or sid != device.introduced:
        items = (_introduction(tx, me, device, sessions), *items)
    message = sessions.seal(encode_payload(*items), random=me.random)
    people.set_sessions(tx, device.dsk, sessions.encode(), sid)
    return message


def post(
    tx: sqlite3.Connection, me: Me, dsk: bytes, message: bytes, *, covers: tuple[bytes, int] | None = None
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
        tx, me.random(16), dsk=dsk, node=address.node, mailbox=address.mailbox, envelope=envelope, covers=covers
    )
    return address.node


def have(tx: sqlite3.Connection, contact: people.ContactRow) -> Have:
    """What I hold of the contact's logs, every device's."""
    theirs = {device.dsk for device in people.devices(tx, contact.id)}
    runs = logbook.runs_of(tx, contact.conv, theirs)
    (lamport,) = tx.execute("SELECT lamport FROM contacts WHERE id = ?", (contact.id,)).fetchone()
    return Have(
        contact.conv,
        tuple(
            HeldRun(device, log, run.end, run.tip, run.above)
            for (device, log), run in sorted(runs.items())[:LOGS_LIMIT]
        ),
        lamport,
    )


def proof_of(invite_key: bytes, transcript: bytes) -> bytes:
    """§4 The MAC of a handshake under an invite's secret: its sender holds the invite."""
    return hmac_sha256(hkdf(_ZERO, invite_key, b"overfence/1 invite", 32), transcript)


def _introduction(tx: sqlite3.Connection, me: Me, device: people.DeviceRow, sessions: Sessions) -> Introduction:
    contact = people.contact(tx, device.contact)
    proof = b""
    if contact.invite is not None and sessions.transcript is not None:
        proof = proof_of(Invite.parse(contact.invite).key, sessions.transcript)
    return Introduction(me.device_list.raw, me.addresses(tx, contact.id), me.consent, proof)
