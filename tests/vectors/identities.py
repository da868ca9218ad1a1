"""Cases for keys, signatures, device lists, invites and the safety number (docs/protocol.md §0, §1, §4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import quote

from . import edwards
from .spec import ADA, BOB, EVE, H, L, base32, base64url, device_list, ed25519, ed25519_sign, seeded, sig, u64, x25519

Case = Mapping[str, object]
Fields = dict[str, object]


def keys() -> list[Case]:
    people = [("Ada", ADA), ("Bob", BOB), ("Eve", EVE)]
    return [
        {
            "name": name,
            **person.secrets(),
            "AK": person.AK,
            "user_id": base32(person.AK),
            "DSK": person.DSK,
            "DIK": person.DIK,
            "fingerprint": H(person.DSK + person.DIK)[:16],
        }
        for name, person in people
    ]


def signatures() -> list[Case]:
    message = b"what is signed"
    good = sig(ADA.account_seed, "devices", message)
    s = int.from_bytes(good[32:], "little") + edwards.ORDER
    cases: list[Case] = [
        {"name": "a signature", "seed": ADA.account_seed, "public": ADA.AK, "context": "devices", "message": message}
        | {"signed": L("devices") + b"\0" + message, "signature": good, "valid": True},
    ]
    refused = {
        "of another context": (ADA.AK, "prekeys", message, good),
        "of another message": (ADA.AK, "devices", b"what was signed", good),
        "by another key": (BOB.AK, "devices", message, good),
        "cut by a byte": (ADA.AK, "devices", message, good[:-1]),
        "a byte too long": (ADA.AK, "devices", message, good + b"\0"),
        "without label and context": (ADA.AK, "devices", message, ed25519_sign(ADA.account_seed, message)),
        "with S not below the group's order": (ADA.AK, "devices", message, good[:32] + s.to_bytes(32, "little")),
    }
    for name, (public, context, told, signature) in refused.items():
        cases.append(
            {
                "name": name,
                "public": public,
                "context": context,
                "message": told,
                "signature": signature,
                "valid": False,
            }
        )
    for public in edwards.small_order_encodings():
        told, signature = forged(public, "devices")
        cases.append(
            {"name": "holds by the equation, under a key of small order", "public": public, "context": "devices"}
            | {"message": told, "signature": signature, "valid": False}
        )
    return cases


def forged(public: bytes, context: str) -> tuple[bytes, bytes]:
    """The first message of a row that nobody's signature fits."""
    for count in range(1000):
        message = f"message {count}".encode()
        signature = edwards.forge(public, L(context) + b"\0" + message)
        if signature is not None:
            return message, signature
    raise AssertionError("no message has one")


def forged_list(public: bytes) -> bytes:
    """A device list of an account that nobody has."""
    for seq in range(1000):
        body = b"\x01" + public + u64(seq) + b"\x01" + ADA.DSK + ADA.DIK
        signature = edwards.forge(public, L("devices") + b"\0" + body)
        if signature is not None:
            return body + signature
    raise AssertionError("no list has one")


def device_lists() -> list[Case]:
    devices = [(ed25519(seeded(f"sign {at}", 32)), x25519(seeded(f"agree {at}", 32))) for at in range(6)]
    seed, seq = ADA.account_seed, 1_790_000_000
    cases: list[Case] = []
    for name, told, listed in (
        ("one device", seq, devices[:1]),
        ("two devices", seq + 1, devices[:2]),
        ("five devices", seq, devices[:5]),
        ("the lowest number", 0, devices[:1]),
        ("the highest number", 2**53 - 1, devices[:1]),
    ):
        pairs = [{"DSK": dsk, "DIK": dik} for dsk, dik in listed]
        cases.append(
            {"name": name, "account_seed": seed, "AK": ADA.AK, "seq": told, "devices": pairs}
            | {"device_list": device_list(seed, told, listed)}
        )
    one = device_list(seed, seq, devices[:1])
    other = device_list(BOB.account_seed, seq, devices[:1])
    newer = b"\x02" + one[1:-64]
    bad = {
        "a sixth device": device_list(seed, seq, devices),
        "no device": device_list(seed, seq, []),
        "a pair listed twice": device_list(seed, seq, [devices[0], devices[0]]),
        "a DSK listed twice": device_list(seed, seq, [devices[0], (devices[0][0], devices[1][1])]),
        "a DIK listed twice": device_list(seed, seq, [devices[0], (devices[1][0], devices[0][1])]),
        "one key as DSK and as DIK": device_list(seed, seq, [devices[0], (devices[0][1], devices[1][1])]),
        "a number of 2^53": device_list(seed, 2**53, devices[:1]),
        "a count that is too high": device_list(seed, seq, devices[:1], count=2),
        "a count that is too low": device_list(seed, seq, devices[:2], count=1),
        "an unknown version, signed": newer + sig(seed, "devices", newer),
        "signed by another account": one[:-64] + other[-64:],
        "signed in another context": one[:-64] + sig(seed, "prekeys", one[:-64]),
        "a flipped bit": one[:40] + bytes((one[40] ^ 1,)) + one[41:],
        "cut by a byte": one[:-1],
        "a byte behind it": one + b"\0",
        "nothing": b"",
    }
    cases += [{"name": name, "device_list": raw, "error": "BadDeviceList"} for name, raw in bad.items()]
    for public in edwards.small_order_encodings():
        name = "an account of small order, signed by nobody"
        cases.append({"name": name, "AK": public, "device_list": forged_list(public), "error": "BadDeviceList"})
    return cases


NODE = "wss://node.example.org:8443/overfence"


def invite_bytes(node: bytes, *, version: int = 1, expires: int = 1_900_000_000) -> bytes:
    body = bytes((version,)) + ADA.AK + seeded("mailbox", 16) + seeded("key", 32) + u64(expires)
    body += H(ADA.DSK + ADA.DIK)[:16] + bytes((len(node),)) + node
    return body + H(L("invite") + body)[:4]


def link_of(raw: bytes) -> str:
    return "overfence:" + base64url(raw)


def invites() -> list[Case]:
    raw = invite_bytes(NODE.encode())
    link = link_of(raw)
    data = link.partition(":")[2]
    fields: Fields = {"AK": ADA.AK, "mailbox": seeded("mailbox", 16), "key": seeded("key", 32)}
    fields |= {"expires": 1_900_000_000, "device_hash": H(ADA.DSK + ADA.DIK)[:16], "node": NODE}
    cases: list[Case] = [
        {"name": "an invite", **fields, "bytes": raw, "text": link},
        {
            "name": "an invite that has expired at now_s",
            **fields,
            "text": link,
            "now_s": 1_900_000_000,
            "expired": True,
        },
        {"name": "an invite a second before that", **fields, "text": link, "now_s": 1_899_999_999, "expired": False},
    ]
    forgiven = {
        "spaces and line ends around": f" \t{link}\r\n",
        "in angle brackets": f"<{link}>",
        "in typographic quotes, with a full stop": f"“{link}”.",
        "the scheme in capitals": "OVERFENCE:" + data,
        "the colon percent-encoded": "overfence%3A" + data,
        "all percent-encoded": quote(link, safe=""),
        "behind a web link's #": f"https://chat.example.org/#{data}",
        "behind a web link's #, with the scheme": f"https://chat.example.org/app/?lang=en#{link}",
        "wrapped": "\n".join(link[at : at + 76] for at in range(0, len(link), 76)),
        "wrapped as quoted-printable": "=\r\n".join(link[at : at + 75] for at in range(0, len(link), 75)),
        "quoted in a reply, wrapped": "> " + "\r\n> ".join(link[at : at + 60] for at in range(0, len(link), 60)),
        "with characters nobody sees": "\ufeff" + link[:40] + "\u200b" + link[40:] + "\u00a0",
        "behind words": f"Come and chat with me: {link}",
        "before words": f"{link}\n\nSee you, Bob",
    }
    cases += [{"name": name, **fields, "text": text} for name, text in forgiven.items()]
    newer = b"\x02a later layout"
    flipped = bytearray(raw)
    flipped[60] ^= 1
    refused = {
        "words": ("hello", "not an invite"),
        "nothing": ("", "not an invite"),
        "another web link": ("https://example.org/", "not an invite"),
        "cut in the middle": (link[:100], "incomplete"),
        "cut by a character": (link[:-1], "incomplete"),
        "cut inside the scheme": ("overfe", "incomplete"),
        "only the scheme": ("overfence:", "incomplete"),
        "a flipped bit": (link_of(bytes(flipped)), "damaged"),
        "a character that is none of its alphabet": (link[:80] + "*" + link[81:], "damaged"),
        "a later version, whole": (link_of(newer + H(L("invite") + newer)[:4]), "newer version"),
        "a later version, damaged": (link_of(newer + bytes(4)), "damaged"),
        "a node of another scheme": (link_of(invite_bytes(b"https://node.example.org")), "bad node"),
        "a node with a query": (link_of(invite_bytes(b"ws://node.example.org/?a=b")), "bad node"),
        "a node with a user": (link_of(invite_bytes(b"ws://ada@node.example.org")), "bad node"),
        "a node that is no ASCII": (link_of(invite_bytes("ws://nöde.example.org".encode())), "bad node"),
        "an expiry of 2^53": (link_of(invite_bytes(NODE.encode(), expires=2**53)), "damaged"),
    }
    cases += [
        {"name": name, "text": text, "error": "BadInvite", "reason": reason} for name, (text, reason) in refused.items()
    ]
    return cases


def safety_numbers() -> list[Case]:
    cases: list[Case] = []
    for name, one, other in (
        ("Ada and Bob", ADA.AK, BOB.AK),
        ("Bob and Ada: the same number, another code", BOB.AK, ADA.AK),
        ("Ada and Eve", ADA.AK, EVE.AK),
    ):
        lesser, greater = sorted((one, other))
        digest = blake2b(L("safety") + lesser + greater, digest_size=64).digest()
        groups = [int.from_bytes(digest[at : at + 5], "big") % 100_000 for at in range(0, 60, 5)]
        shown = b"\x01" + one + other
        shown += H(L("verify") + shown)[:4]
        cases.append(
            {"name": name, "shower": one, "other": other, "digest": digest}
            | {"safety_number": " ".join(f"{group:05}" for group in groups)}
            | {"code_bytes": shown, "code": "overfence-verify:" + base64url(shown)}
        )
    return cases
