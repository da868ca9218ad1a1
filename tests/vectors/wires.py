"""Cases for the node's hello, mailboxes, topics, and the packets of a line (docs/protocol.md §4.1 to §4.3, §7.1)."""

from __future__ import annotations

from . import edwards
from .identities import Case, Fields
from .spec import ADA, BOB, HMAC, ZERO, H, L, aead, ed25519, ed25519_sign, hkdf, pack, seeded, u32, u64

NODE_SEED, NONCE = seeded("node", 32), seeded("hello nonce", 32)


def mailboxes() -> list[Case]:
    return [
        {"name": name, "mk": mk, "address": H(L("mailbox") + mk)[:16]}
        for name, mk in (("a mailbox", seeded("mk", 32)), ("zeros", ZERO), ("ones", b"\xff" * 32))
    ]


def declines() -> list[Case]:
    key, mailbox = seeded("invite key", 32), seeded("invite box", 16)
    decline_key = hkdf(ZERO, key, L("decline"), 32)
    message = b"\x01\x03" + HMAC(decline_key, mailbox)
    told: Fields = {"key": key, "mailbox": mailbox, "decline_key": decline_key}
    cases: list[Case] = [{"name": "an invite is declined", **told, "message": message, "declines": True}]
    for name, other in (
        ("by another's key", message[:2] + HMAC(hkdf(ZERO, seeded("another key", 32), L("decline"), 32), mailbox)),
        ("of another mailbox", message[:2] + HMAC(decline_key, bytes(16))),
        ("cut by a byte", message[:-1]),
        ("with a byte behind it", message + b"\0"),
    ):
        cases.append({"name": name, **told, "message": other, "declines": False})
    return cases


def hello_bytes(nonce: bytes, unix_s: int, *, version: int = 1, durable: bool = True) -> bytes:
    return L("node") + b"\0" + nonce + u64(unix_s) + u64(version) + bytes((durable,))


def hellos() -> list[Case]:
    node, unix_s = ed25519(NODE_SEED), 1_790_000_000
    signed = hello_bytes(NONCE, unix_s)
    signature = ed25519_sign(NODE_SEED, signed)

    def welcome(**changed: object) -> bytes:
        fields: Fields = {"t": "welcome", "version": 1, "features": ["mailboxes", "topics"], "node": node}
        fields |= {"signature": signature, "unix_s": unix_s, "limits": {"mailbox_items": 1000}}
        return pack(fields | changed)

    hello = pack({"t": "hello", "version": 1, "nonce": NONCE})
    cases: list[Case] = [
        {"name": "a hello and its answer", "hello": hello, "nonce": NONCE, "node_seed": NODE_SEED, "node": node}
        | {"node_id": H(node), "unix_s": unix_s, "version": 1, "durable": True}
        | {"signed": signed, "signature": signature, "welcome": welcome(), "genuine": True}
    ]
    lan = ed25519_sign(NODE_SEED, hello_bytes(NONCE, unix_s, durable=False))
    genuine = welcome(durable=False, signature=lan)
    cases.append({"name": "of a node that is not durable", "nonce": NONCE, "welcome": genuine, "genuine": True})
    unlabelled = ed25519_sign(NODE_SEED, signed[len(L("node")) + 1 :])
    for name, nonce, answer in (
        ("to another nonce", seeded("another", 32), welcome()),
        ("with another time", NONCE, welcome(unix_s=unix_s + 1)),
        ("with another version", NONCE, welcome(version=2)),
        ("with durable changed", NONCE, welcome(durable=False)),
        ("of another node", NONCE, welcome(node=BOB.AK)),
        ("with a flipped bit", NONCE, welcome(signature=signature[:-1] + bytes((signature[-1] ^ 1,)))),
        ("signed without label", NONCE, welcome(signature=unlabelled)),
    ):
        cases.append({"name": name, "nonce": nonce, "welcome": answer, "genuine": False})
    for public in edwards.small_order_encodings()[::5]:
        at, forged = forged_hello(public)
        answer = welcome(node=public, unix_s=at, signature=forged)
        cases.append({"name": "by a key of small order", "nonce": NONCE, "welcome": answer, "genuine": False})
    for name, answer in (
        ("a signature of 63 bytes", welcome(signature=signature[:-1])),
        ("a key of 33 bytes", welcome(node=node + b"\0")),
        ("a time of 2^53", welcome(unix_s=2**53)),
        ("a time before 1970", welcome(unix_s=-1)),
        ("an unknown type", welcome(t="welcome!")),
        ("cut by a byte", welcome()[:-1]),
    ):
        cases.append({"name": name, "nonce": NONCE, "welcome": answer, "error": "BadFrame"})
    return cases


def forged_hello(public: bytes) -> tuple[int, bytes]:
    """A time for which nobody's signature fits."""
    for unix_s in range(1_790_000_000, 1_790_001_000):
        signature = edwards.forge(public, hello_bytes(NONCE, unix_s))
        if signature is not None:
            return unix_s, signature
    raise AssertionError("no time has one")


def topics() -> list[Case]:
    secret, node, nonce = seeded("topic secret", 32), H(ed25519(NODE_SEED)), seeded("entry nonce", 24)
    date, counter = "2026-11-24", 1_790_000_000_000
    topic = hkdf(ZERO, secret, L("topic") + node + date.encode(), 32)
    key = hkdf(ZERO, secret, L("entry") + topic, 32)
    plain = pack([ADA.DSK, counter, "here"])
    at: Fields = {"secret": secret, "topic": topic}
    good = aead(key, nonce, plain, topic)
    cases: list[Case] = [
        {"name": "an entry", "node_id": node, "date": date, **at, "entry_key": key, "nonce": nonce, "DSK": ADA.DSK}
        | {"counter": counter, "status": "here", "plaintext": plain, "entry": good}
    ]
    for name, other_node, other_date in (("the next day", node, "2026-11-25"), ("at another node", H(b"node"), date)):
        elsewhere = hkdf(ZERO, secret, L("topic") + other_node + other_date.encode(), 32)
        cases.append({"name": name, "secret": secret, "node_id": other_node, "date": other_date, "topic": elsewhere})
    for name, raw in {
        "a flipped bit": good[:-1] + bytes((good[-1] ^ 1,)),
        "of another topic": aead(key, nonce, plain, H(b"topic")),
        "cut": good[:39],
        "nothing": b"",
    }.items():
        cases.append({"name": name, **at, "entry": raw, "error": "BadEntry"})
    for name, inside in {
        "a DSK of 31 bytes": pack([ADA.DSK[1:], 1, "here"]),
        "a counter of 2^53": pack([ADA.DSK, 2**53, "here"]),
        "a negative counter": pack([ADA.DSK, -1, "here"]),
        "a status of 17 characters": pack([ADA.DSK, 1, "h" * 17]),
        "a status that is no UTF-8": pack([ADA.DSK, 1, "here"])[:-2] + b"\xff\xfe",
        "no array": pack("here"),
        "nothing inside": b"",
        "nested without end": b"\x91" * 900,
    }.items():
        cases.append(
            {"name": name, **at, "plaintext": inside, "entry": aead(key, nonce, inside, topic), "error": "BadEntry"}
        )
    return cases


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u48(number: int) -> bytes:
    return number.to_bytes(6, "big")


def packets() -> list[Case]:
    me, you = b"stranger", b"honest 1"
    data = b"\x40" + u16(1) + u32(2) + u16(2) + b"hi"
    whole: list[tuple[str, int, list[tuple[Fields, bytes]]]] = [
        ("the example of §7.1", 5, [(message(1, 2, b"hi"), data)]),
        ("HELLO to a stranger", 0, [
            ({"frame": "HELLO", "version": 1, "me": me, "you": bytes(8)}, b"\x01\x01" + me + bytes(8)),
        ]),
        ("HELLO and PING", 1, [
            ({"frame": "HELLO", "version": 1, "me": me, "you": you}, b"\x01\x01" + me + you),
            ({"frame": "PING"}, b"\x06"),
        ]),
        ("ACK of one packet", 2, [(ack("fast", 0, [[0, 0]]), b"\x02" + u48(0) + u16(0) + b"\0" + u32(0))]),
        ("ACK of three ranges, 4 ms later", 3, [(
            ack("bulk", 40, [[90, 99], [80, 85], [3, 3]]),
            b"\x03" + u48(99) + u16(40) + b"\2" + u32(9) + u32(3) + u32(5) + u32(75) + u32(0),
        )]),
        ("CREDIT of a stream and of all", 2**48 - 1, [
            ({"frame": "CREDIT", "stream": 3, "limit": 2**47}, b"\x04" + u16(3) + u48(2**47)),
            ({"frame": "CREDIT", "stream": None, "limit": 262_144}, b"\x05" + u48(262_144)),
        ]),
        ("FINISH", 7, [
            ({"frame": "FINISH", "stream": 65_535, "messages": 2**32 - 1}, b"\x07\xff\xff\xff\xff\xff\xff"),
        ]),
        ("NOW", 8, [({"frame": "NOW", "stream": 1, "body": b"typing"}, b"\x08" + u16(1) + u16(6) + b"typing")]),
        ("GOODBYE", 9, [({"frame": "GOODBYE", "code": 1, "reason": "grüße"}, b"\x09\x01\x07" + "grüße".encode())]),
        ("DATA, empty, at least once", 10, [(message(0, 0, b"", ordered=False), b"\x42" + u16(0) + u32(0) + u16(0))]),
        ("DATA, a fragment in the middle", 11, [fragment(0x41, 1090, 3000, seeded("f", 1090))]),
        ("DATA, the last fragment, at least once", 12, [fragment(0x43, 2180, 3000, seeded("g", 820))]),
    ]  # fmt: skip
    cases: list[Case] = [
        {"name": name, "number": number, "frames": [frame for frame, _ in frames]}
        | {"packet": u48(number) + b"".join(raw for _, raw in frames)}
        for name, number, frames in whole
    ]
    cut = b"\x02" + u48(5) + u16(0) + b"\0"
    refused: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", "malformed"),
        "a number cut": (b"\0" * 5, "malformed"),
        "no frame": (b"", "malformed"),
        "an unknown frame": (b"\x0a", "malformed"),
        "an unknown kind of DATA": (b"\x44" + data[1:], "malformed"),
        "a HELLO cut": (b"\x01\x01" + me, "malformed"),
        "DATA whose body is cut": (data[:-1], "malformed"),
        "a NOW whose body is cut": (b"\x08" + u16(1) + u16(7) + b"typing", "malformed"),
        "an ACK that reaches below 0": (cut + u32(6), "malformed"),
        "an ACK whose second range reaches below 0": (
            b"\x02" + u48(5) + u16(0) + b"\1" + u32(1) + u32(2) + u32(1),
            "malformed",
        ),
        "an ACK of 33 ranges": (b"\x02" + u48(999) + u16(0) + b"\x20" + u32(0) + bytes(8 * 32), "malformed"),
        "an ACK whose ranges are cut": (b"\x02" + u48(999) + u16(0) + b"\2" + u32(0) + bytes(8), "malformed"),
        "a GOODBYE that is no UTF-8": (b"\x09\x01\x02\xff\xfe", "malformed"),
        "1,161 bytes": (b"\x06" * 1155, "malformed"),
        "129 frames": (b"\x06" * 129, "flood"),
        "a whole message of 1,091 bytes": (b"\x40" + u16(0) + u32(0) + u16(1091) + bytes(1091), "length"),
        "a fragment not cut at a multiple of 1,090": (fragment(0x41, 1000, 3000, bytes(1090))[1], "length"),
        "a fragment that ends behind the message": (fragment(0x41, 2180, 3000, bytes(821))[1], "length"),
        "a fragment too short for its place": (fragment(0x41, 1090, 3000, bytes(9))[1], "length"),
        "a fragment of nothing": (fragment(0x41, 1090, 3000, b"")[1], "length"),
        "a fragment of a message that needs none": (fragment(0x41, 0, 1090, bytes(1090))[1], "length"),
    }
    for name, (frames, rule) in refused.items():
        packet = frames if name in ("nothing", "a number cut") else u48(1) + frames
        cases.append({"name": name, "packet": packet, "error": "Violation", "rule": rule})
    return cases


def message(stream: int, number: int, body: bytes, *, ordered: bool = True) -> Fields:
    told: Fields = {"frame": "DATA", "stream": stream, "message": number, "exactly_once": ordered}
    return told | {"offset": 0, "total": len(body), "body": body}


def fragment(kind: int, offset: int, total: int, body: bytes) -> tuple[Fields, bytes]:
    told = message(1, 2, body, ordered=kind == 0x41) | {"offset": offset, "total": total}
    return told, bytes((kind,)) + u16(1) + u32(2) + u16(len(body)) + u32(offset) + u32(total) + body


def ack(lane: str, delay: int, ranges: list[list[int]]) -> Fields:
    return {"frame": "ACK", "lane": lane, "delay": delay, "ranges": ranges}
