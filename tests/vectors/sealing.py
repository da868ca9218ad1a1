"""Cases for the primitives, padding, prekeys, cards, envelopes and the handshake (docs/protocol.md §0 to §4.2)."""

from __future__ import annotations

from .doubled import Side, seal
from .identities import Case, Fields
from .spec import (
    ADA,
    BOB,
    DH,
    EVE,
    HMAC,
    ZERO,
    H,
    Handshake,
    L,
    Person,
    Prekey,
    aead,
    handshake,
    hkdf,
    pad,
    pre_of,
    prekeys,
    seeded,
    sig,
    x25519,
)

P = 2**255 - 19
# u of every point of small order on the curve and its twist, the smaller of each two equal forms (RFC 7748 §7).
SMALL_ORDER_U = (
    *(0, 1, P - 1, P, P + 1),
    int.from_bytes(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little"),
    int.from_bytes(bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little"),
)


def weak_points() -> list[bytes]:
    """All of them, with the bit that is passed over clear and set."""
    return [(u | top << 255).to_bytes(32, "little") for u in SMALL_ORDER_U for top in (0, 1)]


def primitives() -> list[Case]:
    message, key, nonce = b"what is hashed", seeded("a key", 32), seeded("a nonce", 24)
    sealed = aead(key, nonce, b"plaintext", b"data beside it")
    secret, point = seeded("a secret", 32), (P + 9).to_bytes(32, "little")
    cases: list[Case] = [
        {"name": "H", "x": message, "H": H(message)},
        {"name": "H of nothing", "x": b"", "H": H(b"")},
        {"name": "L", "x": "devices", "L": L("devices")},
        {"name": "HMAC", "k": key, "m": message, "HMAC": HMAC(key, message)},
        *(
            {
                "name": "HKDF",
                "salt": key,
                "ikm": message,
                "info": L("msg"),
                "n": n,
                "HKDF": hkdf(key, message, L("msg"), n),
            }
            for n in (1, 32, 64, 100)
        ),
        {"name": "AEAD", "k": key, "nonce": nonce, "m": b"plaintext", "ad": b"data beside it", "AEAD": sealed},
        {"name": "AEAD of nothing", "k": key, "nonce": nonce, "m": b"", "ad": b"", "AEAD": aead(key, nonce, b"", b"")},
        {"name": "AEAD, another key", "k": ZERO, "ad": b"data beside it", "AEAD": sealed, "error": "Forged"},
        {"name": "AEAD, other data", "k": key, "ad": b"", "AEAD": sealed, "error": "Forged"},
        {"name": "AEAD, a flipped bit", "k": key, "ad": b"data beside it"}
        | {"AEAD": sealed[:30] + bytes((sealed[30] ^ 1,)) + sealed[31:], "error": "Forged"},
        {"name": "AEAD, cut", "k": key, "ad": b"data beside it", "AEAD": sealed[:39], "error": "Forged"},
        {"name": "DH", "a": secret, "B": BOB.DIK, "DH": DH(secret, BOB.DIK)},
        {"name": "DH: an unreduced point of full order is reduced (RFC 7748 §5)", "a": secret, "B": point}
        | {"DH": DH(secret, (9).to_bytes(32, "little"))},
        {"name": "DH: the highest bit of a point is passed over (RFC 7748 §5)", "a": secret}
        | {"B": BOB.DIK[:31] + bytes((BOB.DIK[31] | 128,)), "DH": DH(secret, BOB.DIK)},
    ]
    cases += [
        {"name": "DH: a point of small order", "a": secret, "B": weak, "error": "WeakKey"} for weak in weak_points()
    ]
    cases += [{"name": "DH: a point of another length", "a": secret, "B": BOB.DIK[:-1], "error": "WeakKey"}]
    return cases


def padding() -> list[Case]:
    cases: list[Case] = [
        {"name": f"{size} bytes", "payload": seeded("padded", size), "padded": pad(seeded("padded", size))}
        for size in (0, 1, 254, 255, 256, 300)
    ]
    cases += [{"name": "a payload that ends like padding", "payload": b"a\x80\0", "padded": pad(b"a\x80\0")}]
    for name, raw in {
        "nothing": b"",
        "zeros only": bytes(256),
        "no multiple of 256": b"\x80",
        "a whole block of zeros behind the mark": b"\x80" + bytes(511),
        "no mark": b"a" * 256,
        "something behind the mark": b"\x80" + bytes(254) + b"\x01",
    }.items():
        cases.append({"name": name, "padded": raw, "error": "MalformedMessage"})
    return cases


PREKEY = Prekey.named("Bob's prekey")


def cards() -> list[Case]:
    signed, key, mailbox, nonce = (
        PREKEY.signed(BOB),
        seeded("card key", 32),
        seeded("card box", 16),
        seeded("nonce", 24),
    )
    derived = hkdf(ZERO, key, L("card"), 32)
    keys = PREKEY.prekey_id + PREKEY.SPK + PREKEY.KPK
    cases: list[Case] = [
        {"name": "prekeys", "device_sign_seed": BOB.device_sign_seed, **PREKEY.secrets(), "DSK": BOB.DSK}
        | {"SPK": PREKEY.SPK, "KPK": PREKEY.KPK, "prekeys": signed}
    ]
    too_large = keys[:40] + b"\xff\xff\xff" + keys[43:]
    for name, raw in {
        "prekeys signed by another device": signed[:-64] + PREKEY.signed(EVE)[-64:],
        "prekeys of an unknown version, signed": prekeys(BOB, keys, version=2),
        "prekeys cut": signed[:99],
        "an ML-KEM key with coefficients that are not reduced, signed": prekeys(BOB, too_large),
    }.items():
        cases.append({"name": name, "prekeys": raw, "error": "BadCard"})

    def card(inside: bytes, ad: bytes = mailbox) -> Fields:
        return {"key": key, "mailbox": mailbox, "card": aead(derived, nonce, inside, ad)}

    whole = BOB.device_list() + signed + BOB.consent()
    cases.append(
        {"name": "a card", "card_key": derived, "nonce": nonce, "device_list": BOB.device_list()}
        | {"consent": BOB.consent(), "AK": BOB.AK, "DSK": BOB.DSK, "DIK": BOB.DIK}
        | card(whole)
    )
    for name, inside, ad in (
        ("a card bound to another mailbox", whole, seeded("other box", 16)),
        ("a card whose prekeys are of none of its devices", EVE.device_list() + signed + BOB.consent(), mailbox),
        ("a card with another device's consent", BOB.device_list() + signed + EVE.consent(), mailbox),
        ("a card of an account the device has not agreed to", listed_by_eve() + signed + BOB.consent(), mailbox),
        ("a card cut short", whole[:300], mailbox),
        ("a card with a device list only", BOB.device_list(), mailbox),
    ):
        cases.append({"name": name, "error": "BadCard"} | card(inside, ad))
    return cases


def listed_by_eve() -> bytes:
    """Eve's account, signed by it, with Bob's device."""
    body = EVE.device_list()[:-128] + BOB.DSK + BOB.DIK
    return body + sig(EVE.account_seed, "devices", body)


def envelopes() -> list[Case]:
    key, mailbox, nonce = seeded("box key", 32), seeded("box", 16), seeded("nonce", 24)
    derived, hint, message = hkdf(ZERO, key, L("envelope"), 32), H(ADA.DSK)[:8], b"a sealed message"
    at: Fields = {"key": key, "mailbox": mailbox}
    good = aead(derived, nonce, hint + message, mailbox)
    cases: list[Case] = [
        {"name": "an envelope", **at, "envelope_key": derived, "DSK_sender": ADA.DSK, "nonce": nonce}
        | {"hint": hint, "message": message, "envelope": good},
        {"name": "an envelope with nothing behind the hint", **at, "DSK_sender": ADA.DSK, "nonce": nonce}
        | {"hint": hint, "message": b"", "envelope": aead(derived, nonce, hint, mailbox)},
    ]
    for name, raw in {
        "no whole hint": aead(derived, nonce, hint[:7], mailbox),
        "of another mailbox": aead(derived, nonce, hint + message, seeded("other", 16)),
        "under the card's key": aead(hkdf(ZERO, key, L("card"), 32), nonce, hint + message, mailbox),
        "a flipped bit": good[:-1] + bytes((good[-1] ^ 1,)),
        "cut by a byte": good[:-1],
        "nothing": b"",
    }.items():
        cases.append({"name": name, **at, "envelope": raw, "error": "BadEnvelope"})
    return cases


def first_message(agreed: Handshake, payload: bytes, *, pre: bytes | None = None) -> bytes:
    """What A sends first: the handshake, and a message of its first chain."""
    side = Side(agreed.SK, seeded("Ada's ratchet", 32))
    side.begin(agreed.SK, PREKEY.SPK)
    message, _ = seal(side, payload, sid=agreed.sid, AD=agreed.AD, nonce=seeded("first nonce", 24))
    return (agreed.pre if pre is None else pre) + message


def handshakes() -> list[Case]:
    ek_secret, kem_m, epoch = seeded("EK", 32), seeded("m", 32), 1_790_000_000
    agreed = handshake(ADA, BOB, PREKEY, ek_secret=ek_secret, kem_m=kem_m, epoch=epoch)
    agreement: Case = {
        "name": "what A derives, and B",
        "A": ADA.secrets() | {"AK": ADA.AK, "DSK": ADA.DSK, "DIK": ADA.DIK},
        "B": BOB.secrets() | {"AK": BOB.AK, "DSK": BOB.DSK, "DIK": BOB.DIK} | PREKEY.secrets(),
        "SPK": PREKEY.SPK,
        "KPK": PREKEY.KPK,
        "ek_secret": ek_secret,
        "EK": x25519(ek_secret),
        "kem_m": kem_m,
        "epoch": epoch,
        **vars(agreed),
        "transcript": agreed.transcript,
        "sid": agreed.sid,
        "topic_secret": agreed.topic_secret,
    }
    return [
        agreement,
        {"name": "what B hears, one after another", "steps": heard_by_bob(agreed, ek_secret, kem_m, epoch)},
    ]


def heard_by_bob(agreed: Handshake, ek_secret: bytes, kem_m: bytes, epoch: int) -> list[Case]:
    good = first_message(agreed, b"hello")

    def another(
        a: Person = ADA, prekey: Prekey = PREKEY, seed: bytes = ek_secret, at: int = epoch, account: bytes | None = None
    ) -> bytes:
        made = handshake(a, BOB, prekey, ek_secret=seed, kem_m=kem_m, epoch=at, b_account=account)
        return first_message(made, b"hello")

    weak_pre = pre_of(ADA, bytes(32), epoch, PREKEY.prekey_id, agreed.kem_ct)
    weak = weak_pre + good[1234 : 1234 + 2] + H(weak_pre)[:8] + good[1234 + 10 :]
    refused: list[tuple[str, bytes, str]] = [
        ("cut inside the handshake", good[:1233], "MalformedMessage"),
        ("a handshake and no message", good[:1234], "MalformedMessage"),
        ("an unknown version", b"\x02" + good[1:99], "MalformedMessage"),
        ("an unknown kind", b"\x01\x03" + good[2:99], "MalformedMessage"),
        ("an epoch of 2^52", another(at=2**52), "MalformedMessage"),
        ("another handshake's message", another(at=epoch + 1)[:1234] + good[1234:], "MalformedMessage"),
        ("only the message, of a session not begun", good[1234:], "UnknownSession"),
        ("on a prekey that B has no more", another(prekey=Prekey.named("an older one")), "UnknownPrekey"),
        ("by another device than the one it comes from", another(a=EVE), "Forged"),
        ("for another account of B's device", another(account=EVE.AK), "Forged"),
        ("an EK of small order", weak, "Forged"),
        ("another ciphertext of the KEM", *with_another_ciphertext(agreed)),
    ]
    steps: list[Case] = [{"name": name, "opens": raw, "error": error} for name, raw, error in refused]
    steps.append(
        {"name": "the first message", "opens": good, "payload": b"hello", "ratchet_secret": seeded("Bob 1", 32)}
    )
    steps.append({"name": "its message again, without the handshake", "opens": good[1234:], "error": "Duplicate"})
    steps.append({"name": "a seen EK at a later epoch", "opens": another(at=epoch + 1), "error": "Duplicate"})
    return steps


def with_another_ciphertext(agreed: Handshake) -> tuple[bytes, str]:
    """ML-KEM never refuses a ciphertext: a wrong one gives another secret, which opens nothing."""
    ct = bytes((agreed.kem_ct[0] ^ 1,)) + agreed.kem_ct[1:]
    pre = agreed.pre[: -len(ct)] + ct
    good = first_message(agreed, b"hello")[1234:]
    return pre + good[:2] + H(pre)[:8] + good[10:], "Forged"
