"""Cases for events, payloads and have-vectors (docs/protocol.md §6)."""

from __future__ import annotations

from .identities import Case, Fields
from .sealing import PREKEY
from .spec import ADA, BOB, EVE, HMAC, ZERO, H, L, hkdf, pack, seeded, u64

CONV = H(L("direct") + min(ADA.AK, BOB.AK) + max(ADA.AK, BOB.AK))
LOG, SALT = seeded("log", 8), seeded("salt", 16)
ADDRESS = ["wss://node.example.org/", seeded("box", 16), seeded("box key", 32)]
HEADER = ("conv", "device", "log", "seq", "prev", "lamport", "at_ms", "kind", "expires_ms", "was", "body_hash")


def conversations() -> list[Case]:
    """§6.1: the same from both sides."""
    return [
        {
            "name": name,
            "AK": one.AK,
            "other_AK": other.AK,
            "conv": H(L("direct") + min(one.AK, other.AK) + max(one.AK, other.AK)),
        }
        for name, one, other in (
            ("Ada's, with Bob", ADA, BOB),
            ("Bob's, with Ada", BOB, ADA),
            ("Ada's, with Eve", ADA, EVE),
        )
    ]


def fields(kind: str, body: bytes, /, **changed: object) -> Fields:
    told: Fields = {"conv": CONV, "device": ADA.DSK, "log": LOG, "seq": 1, "prev": ZERO, "lamport": 1}
    told |= {"at_ms": 1_790_000_000_000, "kind": kind, "expires_ms": None, "was": None, "body_hash": H(body)}
    return told | changed


def log() -> list[Case]:
    """One log: each event's ``prev`` is the id before it."""
    contents: list[tuple[str, object]] = [
        ("profile", {"name": "Ada"}),
        ("addresses", {"addresses": [ADDRESS]}),
        ("devices", {"device_list": ADA.device_list()}),
        ("text", {"text": "Over the fence: grüße, 你好 👋"}),
        ("app/chess", b"e2e4"),
        ("poll", b"\x81\xa1q\xa4Tea?"),
        ("topic", {"secret": seeded("topic secret", 32)}),
        ("closed", {"logs": [[seeded("forked log", 8), 3], [seeded("lost log", 8), 0]]}),
    ]
    cases: list[Case] = []
    prev = ZERO
    for seq, (kind, content) in enumerate(contents, 1):
        body = SALT + (content if isinstance(content, bytes) else pack(content))
        told = fields(kind, body, seq=seq, prev=prev, lamport=2 * seq)
        header = pack([told[name] for name in HEADER])
        prev = H(header)
        cases.append(
            {"name": f"{kind}, number {seq} of a log", **told, "salt": SALT, "content": content}
            | {"header": header, "body": body, "id": prev, "origin": LOG + u64(seq) + prev}
        )
    return cases


def said_anew() -> Case:
    """§6.2: a copy in another log of what stood at number 4, where it is shown and known by its first self."""
    first = next(case for case in log() if case["kind"] == "text")
    told = fields("text", bytes(0), log=seeded("new log", 8), seq=6, prev=H(b"before it"), lamport=first["lamport"])
    told |= {"was": first["origin"], "body_hash": first["body_hash"]}
    header = pack([told[name] for name in HEADER])
    return {"name": "the text said anew after a fork", **told, "salt": SALT, "content": first["content"]} | {
        "header": header,
        "body": first["body"],
        "id": H(header),
        "origin": first["origin"],
    }


def events() -> list[Case]:
    body = SALT + pack({"text": "hello"})

    def header(**changed: object) -> bytes:
        told = fields("text", body, **changed)
        return pack([told[name] for name in HEADER])

    cases = [*log(), said_anew()]
    for name, changed in (
        ("the highest lamport", {"lamport": 2**48}),
        ("the highest number", {"seq": 2**53 - 1}),
        ("a header alone", {}),
    ):
        alone = header(**changed)
        cases.append({"name": name, "header": alone, "id": H(alone)} | ({"body": body} if changed else {}))
    longer = b"\x9c" + header()[1:] + b"\xc0"
    cases.append({"name": "with an element that a later version adds", "header": longer, "body": body, "id": H(longer)})
    refused: dict[str, tuple[bytes, bytes | None]] = {
        "number 0": (header(seq=0), body),
        "a number of 2^53": (header(seq=2**53), body),
        "a negative number": (header(seq=-1), body),
        "a number that is no integer": (header(seq=1.0), body),
        "a lamport above 2^48": (header(lamport=2**48 + 1), body),
        "a lamport of 0": (header(lamport=0), body),
        "a time of 2^53": (header(at_ms=2**53), body),
        "no kind": (header(kind=""), body),
        "a kind of 65 characters": (header(kind="k" * 65), body),
        "a conversation of 31 bytes": (header(conv=CONV[1:]), body),
        "a log of 9 bytes": (header(log=bytes(9)), body),
        "a prev of 31 bytes": (header(prev=bytes(31)), body),
        "a kind that is no UTF-8": (header(kind="abcd").replace(b"abcd", b"ab\xff\xfe"), body),
        "ten elements": (b"\x9a" + header()[1:-34], body),
        "an origin of 47 bytes": (header(was=bytes(47)), body),
        "an origin that is an id alone": (header(was=bytes(32)), body),
        "a map": (pack(fields("text", body)), body),
        "a byte behind it": (header() + b"\0", body),
        "cut by a byte": (header()[:-1], body),
        "nothing": (b"", body),
        "another body": (header(), body[:-1] + b"x"),
        "no whole salt": (header(body_hash=H(body[:15])), body[:15]),
        "nested without end": (b"\x91" * 1100, None),
    }
    for name, (raw, beside) in refused.items():
        cases.append({"name": name, "header": raw, "error": "BadEvent"} | ({} if beside is None else {"body": beside}))
    return cases + contents_refused()


def contents_refused() -> list[Case]:
    """The header is good, and the body is the one it names: the event fills its number, and is not shown."""
    bad: list[tuple[str, str, bytes]] = [
        ("an empty text", "text", pack({"text": ""})),
        ("a text that is none", "text", pack({"text": 1})),
        ("a text that is no map", "text", pack("hello")),
        ("a text that is no UTF-8", "text", b"\x81\xa4text\xa2\xff\xfe"),
        ("a name of 65 characters", "profile", pack({"name": "n" * 65})),
        ("nine addresses", "addresses", pack({"addresses": [ADDRESS] * 9})),
        ("an address that is no node's", "addresses", pack({"addresses": [["wss://a@b/", *ADDRESS[1:]]]})),
        (
            "an address with a mailbox of 15 bytes",
            "addresses",
            pack({"addresses": [[ADDRESS[0], bytes(15), ADDRESS[2]]]}),
        ),
        ("a topic secret of 31 bytes", "topic", pack({"secret": bytes(31)})),
        ("65 closed logs", "closed", pack({"logs": [[bytes(8), 1]] * 65})),
        ("a closed log of 7 bytes", "closed", pack({"logs": [[bytes(7), 1]]})),
        ("nothing", "text", b""),
    ]
    cases: list[Case] = []
    for name, kind, content in bad:
        body = SALT + content
        header = pack(list(fields(kind, body).values()))
        cases.append({"name": name, "header": header, "body": body, "id": H(header), "content_error": "BadEvent"})
    return cases


def payloads() -> list[Case]:
    key, pre = seeded("invite key", 32), seeded("pre", 1234)
    proof_key = hkdf(ZERO, key, L("invite"), 32)
    proof = HMAC(proof_key, H(pre))
    body = SALT + pack({"text": "hello"})
    header = pack(list(fields("text", body).values()))
    run = [ADA.DSK, LOG, 7, H(b"tip"), [[9, 9], [11, 13]]]
    whole: list[tuple[str, list[object]]] = [
        ("an introduction with an invite's proof", [["intro", ADA.device_list(), [ADDRESS], ADA.consent(), proof]]),
        ("an introduction without", [["intro", ADA.device_list(), [], ADA.consent(), b""]]),
        ("events, one as a header alone", [["events", [[header, body], [header, None]]]]),
        ("have", [["have", CONV, [run, [ADA.DSK, bytes(8), 0, b"", []]], 99]]),
        ("an offer", [["sdp", seeded("call", 8), "offer", "v=0\r\n"]]),
        ("an answer", [["sdp", seeded("call", 8), "answer", ""]]),
        ("a ring", [["ring"]]),
        ("refusals", [["refusal", "used"], ["refusal", "expired"]]),
        ("a reset", [["reset", seeded("sid", 8)]]),
        (
            "an introduction with a topic secret",
            [["intro", ADA.device_list(), [ADDRESS], ADA.consent(), b"", seeded("topic secret", 32)]],
        ),
        ("prekeys inside a session", [["prekeys", PREKEY.signed(ADA)]]),
        ("a newer device list", [["devices", ADA.device_list()]]),
        ("a fork", [["fork", CONV, ADA.DSK, LOG, 7, H(b"held")]]),
        ("several", [["ring"], ["have", CONV, [run], 3], ["events", []]]),
        ("nothing", []),
        ("64 items", [["ring"]] * 64),
    ]
    proved: Fields = {"invite_key": key, "pre": pre, "proof_key": proof_key, "transcript": H(pre), "proof": proof}
    cases: list[Case] = [
        {"name": name, "items": items, "payload": pack(items)} | (proved if items is whole[0][1] else {})
        for name, items in whole
    ]
    for name, written, meant in (
        ("an unknown kind is passed over", [["poke", 1], ["ring"]], [["ring"]]),
        ("what a later version adds behind is passed over", [["ring", 1, 2]], [["ring"]]),
        ("defaults left out", [["have", CONV, [run[:4]]]], [["have", CONV, [[*run[:4], []]], 0]]),
    ):
        cases.append({"name": name, "items": meant, "payload": pack(written), "read_only": True})
    refused: dict[str, object] = {
        "65 items": [["ring"]] * 65,
        "a map": {"ring": 1},
        "an item that is no array": ["ring"],
        "an item without a kind": [[]],
        "a kind that is no text": [[1, 2]],
        "a reset of 7 bytes": [["reset", bytes(7)]],
        "an introduction with a topic secret of 33 bytes": [["intro", b"", [], b"", b"", bytes(33)]],
        "prekeys of 2,049 bytes": [["prekeys", bytes(2049)]],
        "a device list of 1,025 bytes": [["devices", bytes(1025)]],
        "a fork at number 0": [["fork", CONV, ADA.DSK, LOG, 0, H(b"held")]],
        "a fork with an id of 31 bytes": [["fork", CONV, ADA.DSK, LOG, 7, bytes(31)]],
        "a refusal in other words": [["refusal", "no"]],
        "a call of another kind": [["sdp", bytes(8), "pranswer", ""]],
        "an introduction with nine addresses": [["intro", b"", [ADDRESS] * 9]],
        "an introduction with an address that is no node's": [["intro", b"", [["ws://a/?b", *ADDRESS[1:]]], b"", b""]],
        "an introduction with a list of 1,025 bytes": [["intro", bytes(1025), []]],
        "an event that is no pair": [["events", [[header]]]],
        "a have of 65 logs": [["have", CONV, [[ADA.DSK, bytes(8), 0, b""]] * 65]],
        "a have with 33 ranges": [["have", CONV, [[*run[:4], [[9 + 2 * at, 9 + 2 * at] for at in range(33)]]]]],
        "a have with an end of 2^53": [["have", CONV, [[ADA.DSK, bytes(8), 2**53, b""]]]],
        "a have of a conversation of 31 bytes": [["have", bytes(31), []]],
    }
    cases += [{"name": name, "payload": pack(written), "error": "BadPayload"} for name, written in refused.items()]
    for name, raw in (("nothing at all", b""), ("two values", pack([]) * 2), ("cut", pack([["ring"]])[:-1])):
        cases.append({"name": name, "payload": raw, "error": "BadPayload"})
    cases.append({"name": "nested without end", "payload": b"\x91" * 1100, "error": "BadPayload"})
    return cases


def haves() -> list[Case]:
    """§6.2: what a run says is held of numbers 1 to ``of``, and what is therefore lacking."""
    cases: list[Case] = []
    for name, end, ranges, of in (
        ("nothing is held", 0, [], 3),
        ("all is held", 5, [], 5),
        ("an end before the last", 5, [], 9),
        ("two gaps", 2, [[4, 4], [7, 9]], 12),
        ("numbers above what was asked", 2, [[4, 20]], 10),
        ("a gap at the very beginning", 0, [[2, 2]], 2),
    ):
        held = {*range(1, end + 1), *(n for first, last in ranges for n in range(first, last + 1))}
        lacking = [n for n in range(1, of + 1) if n not in held]
        told = [ADA.DSK, LOG, end, H(b"tip") if end else b"", ranges]
        cases.append({"name": name, "payload": pack([["have", CONV, [told], 1]]), "of": of, "lacking": lacking})
    for name, end, ranges in (
        ("a range that touches the end", 3, [[4, 5]]),
        ("a range inside the run", 3, [[2, 2]]),
        ("ranges that touch", 1, [[3, 4], [5, 6]]),
        ("ranges that overlap", 1, [[3, 6], [5, 9]]),
        ("ranges that descend", 1, [[9, 9], [3, 3]]),
        ("a range that ends before it begins", 1, [[5, 4]]),
    ):
        told = [ADA.DSK, LOG, end, H(b"tip"), ranges]
        cases.append({"name": name, "payload": pack([["have", CONV, [told], 1]]), "error": "BadPayload"})
    return cases
