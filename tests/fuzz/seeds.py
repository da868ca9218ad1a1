"""Makes the corpus anew: ``python -m tests.fuzz.seeds``. Real values first, then what reached further than they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from hashlib import blake2b
from random import Random

from aiortc.rtcsctptransport import DataChunk, HeartbeatChunk, InitChunk, SackChunk, serialize_packet
from overfence.connect.sdp import Candidate, Description
from overfence.delivery.payload import Batch, Have, HeldRun, Introduction, Refusal, Reset, Ring, Sdp, encode_payload
from overfence.history.event import Address, Addresses, Header, Profile, Text, body_of, digest, make
from overfence.identity import Device, DeviceList, Identity, Invite, fingerprint, safety_number, verify_code
from overfence.sealing import new_prekey, seal_card, seal_entry, seal_envelope
from overfence.sealing.card import Card, Prekeys
from overfence.sealing.handshake import initiate
from overfence.sealing.ratchet import Ratchet
from overfence_reliability import Lane
from overfence_reliability.frame import (
    Ack,
    Credit,
    Data,
    Finish,
    Goodbye,
    Hello,
    Now,
    Ping,
    encode,
    encode_ack,
    encode_data,
    encode_number,
)
from overfence_signalling import messages
from overfence_signalling.admission import node_hello_bytes

from tests.vectors.doubled import seal
from tests.vectors.sealing import first_message
from tests.vectors.spec import ed25519, ed25519_sign, pack

from . import sealed
from .engine import Coverage, fuzz
from .targets import CORPUS, KEY, MAILBOX, ME, TARGETS

GROW_S = 15.0
# All together stay below 100 KB, so that a clone stays small and a replay quick.
TARGET_LIMIT_BYTES = 7_000


def counted(size: int) -> bytes:
    return bytes(at % 251 for at in range(size))


DEVICE_LIST = DeviceList.sign(ME, [Device(ME.dsk, ME.dik)], seq=1_700_000_000)
PREKEY = new_prekey(counted)
PREKEYS = Prekeys.sign(ME, PREKEY)
CONSENT = ME.sign_device("device", ME.account + ME.dik)
ADDRESS = Address("ws://127.0.0.1:8400", MAILBOX, KEY)


def frames() -> Iterator[bytes]:
    hello = encode(Hello(1, b"stranger", b"honest-1"))
    yield encode_number(0) + hello + encode(Ping())
    yield encode_number(2**40) + encode_ack(Ack(Lane.FAST, 0.004, ((90, 99), (80, 85), (3, 3))))
    yield (
        encode_number(1)
        + encode_ack(Ack(Lane.BULK, 0.0, ((0, 0),)))
        + encode(Credit(1, 2**20))
        + encode(Credit(None, 9))
    )
    yield encode_number(2) + encode_data(Data(0, 1, True, 0, 2, b"hi")) + encode_data(Data(1, 1, False, 0, 0, b""))
    yield encode_number(3) + encode_data(Data(1, 2, True, 1090, 1100, bytes(10)))
    yield encode_number(4) + encode(Finish(1, 2)) + encode(Now(1, b"typing")) + encode(Goodbye(1, "malformed"))


def conversations() -> Iterator[bytes]:
    random = Random(3)  # noqa: S311 (a corpus that can be made again)
    greeting = bytes((4, 1, 0, 0, 5, 2, 0, 11, 0, 0))
    yield greeting
    for _ in range(12):
        yield greeting + random.randbytes(120)


def packets() -> Iterator[bytes]:
    init, data, sack, beat = InitChunk(), DataChunk(flags=3), SackChunk(), HeartbeatChunk()
    init.initiate_tag, init.advertised_rwnd, init.initial_tsn = 7, 1 << 20, 9
    init.outbound_streams = init.inbound_streams = 16
    init.params = [(0xC000, b""), (0x8008, b"\xc0\x82"), (7, bytes(24))]
    data.tsn, data.protocol, data.user_data = 10, 53, b"\x00hello"
    sack.cumulative_tsn, sack.advertised_rwnd, sack.gaps, sack.duplicates = 8, 1 << 20, [(2, 3), (5, 9)], [4]
    beat.params = [(1, b"opaque"), (2, b"")]
    for chunk in (init, data, sack, beat):
        yield serialize_packet(5000, 5000, 0 if chunk is init else 7, chunk)


def descriptions() -> Iterator[bytes]:
    candidates = (
        Candidate("a1", 2_130_706_431, "192.0.2.7", 40_000, "host"),
        Candidate("b2", 1_694_498_815, "2001:db8::1", 40_001, "relay"),
    )
    fingerprint_text = ":".join(f"{at:02X}" for at in range(32))
    made = Description("offer", "ufrag", "p" * 22, fingerprint_text, "actpass", candidates)
    yield str(made).encode()
    yield str(made).replace("actpass", "active").encode()


def payloads() -> Iterator[bytes]:
    run = HeldRun(counted(32), bytes(8), 3, counted(32), ((5, 6), (9, 9)))
    yield encode_payload(Introduction(DEVICE_LIST.raw, (ADDRESS,), bytes(64), bytes(32)), Have(counted(32), (run,), 7))
    yield encode_payload(Batch(((b"header", b"body"), (b"header", None))), Ring(), Reset(bytes(8)), Refusal("used"))
    yield encode_payload(Sdp(bytes(8), "offer", next(descriptions()).decode()))
    yield encode_payload(*[Ring()] * 3) + b"\0"


def sealed_messages() -> Iterator[bytes]:
    agreement = initiate(ME, Device(ME.dsk, ME.dik), ME.account, PREKEYS, epoch=1, random=counted)
    ratchet = Ratchet.of_initiator(
        secret=agreement.secret, ad=agreement.ad, sid=agreement.sid, spk=PREKEYS.spk, random=counted
    )
    sealed = ratchet.encrypt(b"hello", random=counted)
    yield sealed
    yield agreement.pre + sealed


def events() -> Iterator[bytes]:
    for kind, content in (("text", Text("hello")), ("profile", Profile("Ada")), ("addresses", Addresses((ADDRESS,)))):
        body = body_of(content, counted(16))
        header = Header(
            conv=counted(32),
            device=ME.dsk,
            log=bytes(8),
            seq=1,
            prev=bytes(32),
            lamport=1,
            at_ms=2**40,
            kind=kind,
            body_hash=digest(body),
        )
        made = make(header, body)
        yield len(made.header_bytes).to_bytes(2, "big") + made.header_bytes + body


def invites() -> Iterator[bytes]:
    link = str(Invite(ME.account, "ws://127.0.0.1:8400", MAILBOX, KEY, 2**31, fingerprint(ME.dsk, ME.dik)))
    yield link.encode()
    yield f"Ada says: <{link[:60]}=\r\n> {link[60:]}>".encode()
    yield f"https://node.example/#{link.partition(':')[2]}".encode()


def shown() -> Iterator[bytes]:
    code = verify_code(KEY, ME.account)
    yield code.encode()
    yield f"Mine: <{code[:60]}=\r\n> {code[60:]}>".encode()
    yield safety_number(KEY, ME.account).encode()


def said_by_clients() -> Iterator[bytes]:
    client: list[messages.Frame] = [
        messages.ClientHello(version=1, features=("a",), nonce=bytes(32)),
        messages.Open(ref=1, mk=KEY, epoch=1, seq=2),
        messages.Ack(mailbox=MAILBOX, epoch=1, seq=2),
        messages.Put(ref=2, mailbox=MAILBOX, id=bytes(16), envelope=bytes(60), ttl_s=5),
        messages.CardSet(ref=3, mk=KEY, card=bytes(60)),
        messages.CardGet(ref=4, mailbox=MAILBOX),
        messages.Close(ref=5, mk=KEY),
        messages.Enter(ref=6, topic=KEY, entry=bytes(60)),
        messages.Leave(topic=KEY),
    ]
    yield from map(messages.encode, client)


def said_by_nodes() -> Iterator[bytes]:
    node: list[messages.Frame] = [
        messages.NodeHello(version=1, node=KEY, signature=bytes(64), unix_s=2**31, limits=messages.Limits()),
        messages.Done(ref=1),
        messages.Fenced(mailbox=MAILBOX),
        messages.Changes(topic=KEY, left=(1, 2)),
        messages.Error(code="mailbox_full", text="full", ref=1, retry_after_s=0.5),
    ]
    yield from map(messages.encode, node)


def first_messages() -> Iterator[bytes]:
    good = first_message(sealed.AGREED, b"hello")
    yield good
    yield good[1234:]
    yield from list(payloads())[1:2]


def later_messages() -> Iterator[bytes]:
    for side in (sealed.ADA_BEFORE, sealed.ADA_AFTER):
        message, _ = seal(deepcopy(side), b"hi", sid=sealed.AGREED.sid, AD=sealed.AGREED.AD, nonce=counted(24))
        yield message
        yield message[10:]
    yield b"\xffskips many"


def stored_states() -> Iterator[bytes]:
    yield sealed.ACQUAINTED
    yield sealed.NOTHING
    yield b"\x97\x01" + pack([[], {}, {}, -1, 0])[1:] + b"\xa1\xff"  # of the first version, and no UTF-8 behind it
    yield PREKEY.encode()
    yield ME.encode()
    yield Identity(None, ME.device_sign_seed, ME.device_agree_secret, ME.account).encode()


def entries() -> Iterator[bytes]:
    plain = pack([ME.dsk, 1_790_000_000_000, "here"])
    yield plain
    yield b"\x94" + plain[1:] + b"\x91" * 900 + b"\xc0"
    yield seal_entry(KEY, sealed.TOPIC, plain, counted)


def told_runs() -> Iterator[bytes]:
    yield pack([[ME.dsk, bytes(8), 3, counted(32), [[5, 6], [9, 9]]]]) + pack(7)
    yield pack([[ME.dsk, bytes(8), 0, b"", []], [ME.dsk, counted(8), 1, counted(32)]]) + pack(2**48)


def hellos() -> Iterator[bytes]:
    signed = node_hello_bytes(nonce=sealed.NONCE, unix_s=7, version=1, durable=False)
    signature = ed25519_sign(sealed.NODE_SEED, signed)
    told = {"t": "welcome", "version": 1, "features": ["topics"], "node": ed25519(sealed.NODE_SEED)}
    yield pack(told | {"signature": signature, "unix_s": 7, "limits": {}, "durable": False})
    yield b"\x01stranger" + bytes(8) + b"\x06"
    yield b"\x01strangerhonest-1" + b"\x06"


def insides_of_cards() -> Iterator[bytes]:
    yield PREKEYS.raw[:-64]
    yield seal_card(KEY, MAILBOX, Card(DEVICE_LIST, PREKEYS, CONSENT), counted)
    yield DEVICE_LIST.raw + PREKEYS.raw + CONSENT


REAL = {
    "frame": frames,
    "connection": conversations,
    "guard": packets,
    "sdp": descriptions,
    "payload": payloads,
    "message": sealed_messages,
    "devices": lambda: iter([DEVICE_LIST.raw, DEVICE_LIST.raw[:-64]]),
    "card": insides_of_cards,
    "envelope": lambda: iter([seal_envelope(KEY, MAILBOX, ME.dsk, b"hello", counted), b"hint of hello"]),
    "handshake": first_messages,
    "sessions": later_messages,
    "stored": stored_states,
    "entry": entries,
    "have": told_runs,
    "hello": hellos,
    "invite": invites,
    "shown": shown,
    "event": events,
    "client_frame": said_by_clients,
    "node_frame": said_by_nodes,
}


def grown(name: str) -> list[bytes]:
    """The real values, then the shortest inputs found that reach further, as many as fit."""
    target = TARGETS[name]
    real = list(REAL[name]())
    result = fuzz(target.run, real, seconds=GROW_S, seed=1, words=target.words, limit=target.limit)
    if result.finding is not None:
        raise result.finding.error
    coverage, kept, room_bytes = Coverage(), list[bytes](), TARGET_LIMIT_BYTES
    for data in real + sorted(result.parents, key=len):
        if data in real[len(kept) :] or (len(data) <= room_bytes and coverage.run(target.run, data)):
            kept.append(data)
            room_bytes -= len(data)
    return kept


def main() -> None:
    for name in sys.argv[1:] or TARGETS:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        kept = grown(name)
        for path in folder.iterdir():
            path.unlink()
        for data in kept:
            (folder / blake2b(data, digest_size=6).hexdigest()).write_bytes(data)
        print(f"{name}: {len(kept)} files, {sum(map(len, kept)):,} bytes", flush=True)


if __name__ == "__main__":
    main()
