"""Targets behind the sealing: noise seldom authenticates, so each is also made authentic around what is fuzzed.

Bob is fuzzed and Ada's side is played by tests/vectors/spec.py, whose randomness is given: a corpus stays good.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

from overfence.delivery.payload import Have, decode_payload
from overfence.delivery.presence import Entry
from overfence.errors import BadPayload
from overfence.identity import BadKeyFile, Device, H, Identity, L, signing_public
from overfence.sealing import (
    BadCard,
    BadEntry,
    BadEnvelope,
    BadState,
    Duplicate,
    Opened,
    PrekeySecret,
    SealingError,
    Sessions,
    aead_seal,
    hkdf,
    open_card,
    open_envelope,
    seal_entry,
)
from overfence_reliability import Config, Connection, Lane, Violation
from overfence_reliability.frame import decode
from overfence_signalling.admission import hello_is_genuine, node_hello_bytes
from overfence_signalling.messages import BadFrame, NodeHello, decode_node

from tests.vectors.doubled import Side, seal
from tests.vectors.sealing import PREKEY, first_message
from tests.vectors.spec import ADA, BOB, ed25519_sign, handshake, header, pack, seeded

KEY, MAILBOX, TOPIC = bytes(range(32)), bytes(16), bytes(32)
EPOCH = 1_790_000_000
AGREED = handshake(ADA, BOB, PREKEY, ek_secret=seeded("EK", 32), kem_m=seeded("m", 32), epoch=EPOCH)
ME = Identity(BOB.account_seed, BOB.device_sign_seed, BOB.device_agree_secret, BOB.AK)
PEER = Device(ADA.DSK, ADA.DIK)
PREKEYS = {PREKEY.prekey_id: PrekeySecret(PREKEY.prekey_id, PREKEY.spk_secret, PREKEY.kpk_seed)}
# So that one input takes no longer than the next; the product's own bound is the tests' of the ratchet.
JUMP_LIMIT = 200
NOTHING = Sessions().encode()
NODE_SEED, NONCE = seeded("node", 32), seeded("nonce", 32)


def given(size: int) -> bytes:
    return seeded("given", size)


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def hear(sessions: Sessions, message: bytes) -> Opened:
    return sessions.open(
        message,
        me=ME,
        peer=PEER,
        peer_account=ADA.AK,
        prekey_secrets=PREKEYS,
        now_s=EPOCH,
        random=given,
        jump_limit=JUMP_LIMIT,
    )


def try_to_hear(state: bytes, message: bytes) -> None:
    """Opened, or refused with a typed error and nothing changed."""
    sessions = Sessions.decode(state)
    try:
        hear(sessions, message)
    except SealingError:
        require(sessions.encode() == state, "a refused message changed the sessions")


def acquainted() -> tuple[bytes, Side, Side]:
    """Bob's sessions after a word of either; Ada before she heard his, and after."""
    sessions = Sessions()
    hear(sessions, first_message(AGREED, b"hello"))
    answer = sessions.seal(b"hello yourself", random=given)
    before = Side(AGREED.SK, seeded("Ada's ratchet", 32))
    before.begin(AGREED.SK, PREKEY.SPK)
    if before.sending is not None:
        before.sending.skip_to(1)
    after = deepcopy(before)
    after.turn(answer[10:42], seeded("Ada's next", 32))
    return sessions.encode(), before, after


ACQUAINTED, ADA_BEFORE, ADA_AFTER = acquainted()


def first(data: bytes) -> None:
    """A first message: noise, a handshake of noise with the right names, and a good one around a payload of noise."""
    try_to_hear(NOTHING, data)
    rest = AGREED.pre[:98] + data[:40].ljust(40, b"\0") + PREKEY.prekey_id + data[40:1128].ljust(1088, b"\0")
    hdr = header(H(rest)[:8], data[:32].ljust(32, b"\1"), 0, 0)
    try_to_hear(NOTHING, rest + hdr + data[-64:].rjust(64, b"\0"))
    sessions = Sessions()
    opened = hear(sessions, first_message(AGREED, data))
    require(opened.payload == data and opened.new_session, "a first message opened as another")
    with suppress(BadPayload):
        decode_payload(opened.payload)


def later(data: bytes) -> None:
    """A message to one who knows the sender: noise, noise behind a true name, and a true one that skips some."""
    try_to_hear(ACQUAINTED, data)
    try_to_hear(ACQUAINTED, b"\x01\x01" + AGREED.sid + data)
    number, payload = data[0] if data else 0, data[1:]
    side = deepcopy(ADA_AFTER if number % 2 else ADA_BEFORE)
    if side.sending is not None:
        side.sending.skip_to(max(side.sending.n, number // 2))
    message, _ = seal(side, payload, sid=AGREED.sid, AD=AGREED.AD, nonce=given(24))
    sessions = Sessions.decode(ACQUAINTED)
    require(hear(sessions, message).payload == payload, "a message opened as another")
    after = sessions.encode()
    require(Sessions.decode(after).encode() == after, "sessions that do not read back")
    with suppress(Duplicate):
        hear(sessions, message)
        raise AssertionError("a message opened twice")
    require(sessions.encode() == after, "a duplicate changed the sessions")


def stored(data: bytes) -> None:
    """What this device kept: damaged, it is told from what is whole, and nothing else is raised."""
    with suppress(BadState):
        sessions = Sessions.decode(data)
        written = sessions.encode()
        require(Sessions.decode(written).encode() == written, "sessions that do not read back")
        # An older version's are written as this one's; its own it knows to the last byte.
        require(written == data or written[1] != data[1], "something was forgotten without a word")
        repr((sessions, sessions.can_seal, sessions.unanswered, sessions.unheard))
        repr((sessions.sending_sid, sessions.topic_secret, sessions.transcript))
    for raw in (data, b"\x01" + data[:104].ljust(104, b"\0")):
        with suppress(BadState):
            prekey = PrekeySecret.decode(raw)
            require(prekey.encode() == raw and len(prekey.spk + prekey.kpk) == 32 + 1184, "prekeys of another size")
    body = data[:149]
    for raw in (data, body + H(L("identity file") + body)[:16]):
        with suppress(BadKeyFile):
            found = Identity.decode(raw)
            require(len(found.dsk + found.dik) == 64 and len(found.encode()) == len(raw), "keys of another size")


def envelope(data: bytes) -> None:
    key = hkdf(bytes(32), KEY, L("envelope"), 32)
    for raw in (data, aead_seal(key, data, MAILBOX, given)):
        with suppress(BadEnvelope):
            hint, message = open_envelope(KEY, MAILBOX, raw)
            require(len(hint) == 8 and len(raw) == 24 + 8 + len(message) + 16, "an envelope of another size")


def sealed_card(data: bytes) -> None:
    for raw in (data, aead_seal(hkdf(bytes(32), KEY, L("card"), 32), data, MAILBOX, given)):
        with suppress(BadCard):
            found = open_card(KEY, MAILBOX, raw)
            require(found.device in found.device_list.devices, "a card of a device that is not listed")


def entry(data: bytes) -> None:
    """A topic entry as it comes, and as one who knows the topic's secret may make it."""
    for raw in (data, seal_entry(KEY, TOPIC, data, given)):
        with suppress(BadEntry):
            found = Entry.open(KEY, TOPIC, raw)
            bounded = 0 <= found.counter < 2**53 and len(found.status) <= 16
            require(bounded and len(found.device) == 32, "an entry out of bounds")


def have(data: bytes) -> None:
    """Runs and what follows them, behind a good conversation; each run as it is worked with."""
    with suppress(BadPayload):
        for item in decode_payload(b"\x91\x94\xa4have" + pack(KEY) + data):
            if not isinstance(item, Have):
                raise AssertionError("a have was read as something else")
            for told in item.runs:
                run = told.run()
                gaps = list(run.gaps(min(run.end + 5000, 2**53)))
                require(not any(run.holds(seq) for gap in gaps for seq in gap), "a gap that is held")


def hello(data: bytes) -> None:
    """A node's hello as a client reads it, also signed by the node it names; and a peer's HELLO on a new path."""
    with suppress(BadFrame):
        said = decode_node(data)
        if isinstance(said, NodeHello):
            hello_is_genuine(said, nonce=NONCE)
            told = node_hello_bytes(nonce=NONCE, unix_s=said.unix_s, version=said.version, durable=said.durable)
            signed = NodeHello(
                version=said.version,
                node=signing_public(NODE_SEED),
                signature=ed25519_sign(NODE_SEED, told),
                unix_s=said.unix_s,
                limits=said.limits,
                durable=said.durable,
            )
            require(hello_is_genuine(signed, nonce=NONCE), "a node's own signature was refused")
            require(not hello_is_genuine(signed, nonce=bytes(32)), "a hello to another nonce was taken")
    packet = bytes(6) + b"\x01" + data[:1000]
    with suppress(Violation):
        decode(packet)
    connection = Connection(b"honest-1", Config())
    connection.path_opened(now=1000.0)
    connection.receive(packet, lane=Lane.FAST, now=1000.0)
    connection.poll(now=1000.0)
    for _ in connection.events():
        pass
