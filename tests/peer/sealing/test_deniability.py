"""What Ada said to Bob proves nothing to a third person: he can write all of it himself, and she signs none of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError
from overfence.delivery.incoming import Shelf
from overfence.delivery.payload import Batch, decode_payload
from overfence.errors import BadPayload
from overfence.history import people, postbox
from overfence.identity import SIGNATURE_BYTES, Device, H, L
from overfence.sealing import Duplicate, Pre, Prekeys, Sessions, open_card, open_envelope

from ..delivery.conftest import NODE, Home, World
from .forger import Forger


def shape(home: Home, account: bytes) -> list[object]:
    """All that one home shows and keeps of a contact, but for what is random."""
    contact = people.contact_of(home.tx, account)
    assert contact is not None
    events = home.tx.execute(
        "SELECT device, seq, lamport, kind, refused, length(header), length(body) FROM events ORDER BY lamport, device"
    ).fetchall()
    [device] = people.devices(home.tx, contact.id)
    [session] = Sessions.decode(device.sessions).held
    counters = session.standing, session.ratchet.sent, session.ratchet.received, session.by_us, session.epoch
    lists = home.tx.execute("SELECT * FROM device_lists").fetchall()
    delivered = people.delivered_upto(home.tx, contact.id)
    return [contact.state, contact.name, device.dsk, device.dik, counters, events, lists, delivered, home.dropped]


def test_bob_alone_writes_what_ada_might_have_said() -> None:
    real, forged = World(), World()
    ada, bob = real.ada, real.bob
    ada.accept(bob.invite())
    ada.say(ada.contact(bob).id, "I owe you a hundred")
    ada.errands()
    bob.fetch()
    bob.say(bob.contact(ada).id, "since when?")
    bob.errands()
    ada.fetch()
    ada.say(ada.contact(bob).id, "since today")
    ada.errands()
    bob.fetch()

    untouched = forged.ada.fingerprint()
    told = forged.ada.me
    bob = forged.bob
    forger = Forger(bob, bob.invite(), told.device_list, told.consent)
    forger.knock("I owe you a hundred")
    bob.fetch()
    bob.say(bob.contact(forged.ada).id, "since when?")
    bob.errands()
    forger.answer("since today")
    bob.fetch()
    assert bob.texts(forged.ada) == ["I owe you a hundred", "since when?", "since today"] == real.bob.texts(ada)
    assert shape(bob, told.identity.account) == shape(real.bob, ada.identity.account)
    assert forged.ada.fingerprint() == untouched, "she knows nothing of it"


# ── what is signed ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Payload:
    """What one sealed message held, and the handshake before it."""

    raw: bytes
    pre: bytes


def read_ahead(home: Home, sender: Home) -> Iterator[Payload]:
    """What lies in a home's mailboxes and on the link to it, opened on copies of its sessions."""
    known = people.device(home.tx, sender.me.dsk)
    waiting = list(sender.links.get(home.me.dsk, ()))
    for mine in postbox.mailboxes(home.tx, NODE):
        for seq, _, envelope, _ in home.node.boxes[mine.mailbox].items:
            if seq > mine.seq:
                waiting.append(open_envelope(mine.key, mine.mailbox, envelope)[1])
    for message in waiting:
        sessions = Sessions.decode(known.sessions) if known else Sessions()
        try:
            opened = sessions.open(
                message,
                me=home.identity,
                peer=Device(sender.me.dsk, sender.identity.dik),
                peer_account=sender.identity.account,
                prekey_secrets=Shelf(home.tx),
                now_s=home.me.now_s,
                random=home.random,
            )
        except Duplicate:
            continue
        pre = Pre.peek(message)
        yield Payload(opened.payload, pre.raw if pre else b"")


def converse(world: World, other: Home, texts: list[str], *, by_ada: bool = True) -> list[Payload]:
    """Ada and another meet by an invite of one of them and talk; every payload of hers, and her card last."""
    ada = world.ada
    host, guest = (ada, other) if by_ada else (other, ada)
    guest.accept(host.invite())
    found: list[Payload] = []
    for number, text in enumerate([*texts, ""]):
        if number == len(texts) // 2:
            ada.links[other.me.dsk], other.links[ada.me.dsk] = [], []
        for _ in range(3):
            for home, sender in ((ada, other), (other, ada)):
                sender.errands()
                if home is other:
                    found += read_ahead(other, ada)
                take_in(home, sender)
        if text:
            ada.say(ada.contact(other).id, text)
            other.say(other.contact(ada).id, f"{text}?")
    assert other.texts(ada) == [said for text in texts for said in (text, f"{text}?")]
    [box] = postbox.mailbox_for(ada.tx, ada.contact(other).id)
    sealed = world.node.boxes[box.mailbox].card
    assert sealed is not None
    card = open_card(box.key, box.mailbox, sealed)
    return [*found, Payload(card.device_list.raw + card.prekeys.raw + card.consent, b"")]


def take_in(home: Home, sender: Home) -> None:
    on_link = sender.links.get(home.me.dsk, [])
    messages = on_link[:]
    on_link.clear()
    home.fetch()
    for message in messages:
        home.take_message(sender.me.dsk, message)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """Every signature made: the public key, and what was signed."""
    made = []

    def record(message: bytes, secret: bytes) -> bytes:
        made.append((secret[32:], message))
        return crypto_sign(message, secret)

    # The one door to Ed25519.
    monkeypatch.setattr("overfence.identity.signatures.crypto_sign", record)
    return made


@pytest.mark.parametrize("by_ada", [True, False])
def test_ada_signs_the_same_whoever_she_talks_to_and_whatever_she_says(
    signed: list[tuple[bytes, bytes]], by_ada: bool
) -> None:
    found = []
    for name, texts in (("bob", ["I owe you a hundred", "since today", "really"]), ("eve", ["good morning"] * 6)):
        signed.clear()
        world = World()
        ada = world.ada
        converse(world, getattr(world, name), texts, by_ada=by_ada)
        messages = {message for key, message in signed if key in (ada.identity.account, ada.me.dsk)}
        shelf = Shelf(ada.tx)
        prekeys = {
            L("prekeys") + b"\0" + Prekeys.sign(ada.identity, shelf[kept]).raw[:-SIGNATURE_BYTES] for kept in shelf
        }
        assert prekeys & messages
        assert {one for one in messages if one.startswith(L("prekeys"))} <= prekeys
        found.append(messages - prekeys)
    devices = L("devices") + b"\0" + ada.me.device_list.raw[:-SIGNATURE_BYTES]
    consent = L("device") + b"\0" + ada.identity.account + ada.identity.dik
    assert found == [{devices, consent}] * 2


CONTEXTS = ("devices", "device", "prekeys", "event", "events", "text", "intro", "have", "msg", "invite", "")


def test_no_64_bytes_of_what_she_said_are_a_signature_but_those_that_name_only_her() -> None:
    world = World()
    ada, bob = world.ada, world.bob
    payloads = converse(world, bob, ["I owe you a hundred", "since today"])
    windows = {
        payload.raw[at : at + SIGNATURE_BYTES]: (payload, at)
        for payload in payloads
        for at in range(len(payload.raw) - SIGNATURE_BYTES + 1)
        if is_like_a_signature(payload.raw[at : at + SIGNATURE_BYTES])
    }
    about_her = {
        ada.me.device_list.raw[-SIGNATURE_BYTES:]: ("devices", ada.me.device_list.raw[:-SIGNATURE_BYTES]),
        ada.me.consent: ("device", ada.identity.account + ada.identity.dik),
        payloads[-1].raw[-2 * SIGNATURE_BYTES : -SIGNATURE_BYTES]: (
            "prekeys",
            payloads[-1].raw[len(ada.me.device_list.raw) : -2 * SIGNATURE_BYTES],
        ),
    }
    found = {}
    for window, (payload, at) in windows.items():
        for signed in {*signable(payload, at, ada, bob), *(message for _, message in about_her.values())}:
            for context in CONTEXTS:
                for said in (L(context) + b"\0" + signed, signed):
                    if any(verifies(key, said, window) for key in (ada.identity.account, ada.me.dsk)):
                        found[window] = context, signed
    assert found == about_her


def is_like_a_signature(window: bytes) -> bool:
    """Its second half is below the group's order, roughly, and its first a point (RFC 8032): others cannot verify."""
    return window[-1] <= 0x10 and crypto_core_ed25519_is_valid_point(window[:32])


def signable(payload: Payload, at: int, ada: Home, bob: Home) -> Iterator[bytes]:
    """What a signature at that place might be over: what it stands in, what it stands behind, whom it is for."""
    both = bob.contact(ada).conv, bob.identity.account, bob.me.dsk, bob.identity.dik
    yield from (*both, b"".join(both[1:]), payload.pre, H(payload.pre), H(payload.pre)[:8])
    yield from (payload.raw[:at], payload.raw[at + SIGNATURE_BYTES :], H(payload.raw[:at]))
    try:
        items = decode_payload(payload.raw)
    except BadPayload:
        return
    for item in items:
        for event in item.events if isinstance(item, Batch) else ():
            header, body = event[0], event[1] or b""
            yield from (header, body, header + body, body[16:], H(header), H(body), H(header + body))
            yield from (ada.identity.account + H(header), H(header) + bob.identity.account)


def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True
