"""What docs/protocol.md's opening and §4 build on: derivation, authenticated encryption, agreement, padding."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from overfence.identity import KEY_BYTES, H, L, sign, verify

from .errors import BadEntry, Forged, MalformedMessage, WeakKey

if TYPE_CHECKING:
    # The standard library has no public name for it.
    from hashlib import _Hash as Hash

__all__ = [
    "KEY_BYTES",
    "NONCE_BYTES",
    "TAG_BYTES",
    "ZERO_SALT",
    "H",
    "L",
    "Random",
    "aead_open",
    "aead_seal",
    "chain_step",
    "direct_conversation",
    "hkdf",
    "hmac_sha256",
    "mailbox_address",
    "open_entry",
    "pad",
    "seal_entry",
    "sign",
    "topic_id",
    "unpad",
    "verify",
    "x25519",
    "zero_salted",
]

# ``random(n)`` gives n secret random bytes: pure code has none of its own.
Random = Callable[[int], bytes]

NONCE_BYTES = 24
TAG_BYTES = 16
# Lengths are rounded up to this, so that "yes" and a sentence look the same.
PAD_BYTES = 256
ZERO_SALT = bytes(32)
_HASH_BYTES = 32


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) under a key of exactly 32 bytes."""
    if len(key) != KEY_BYTES:
        raise AssertionError("libsodium.js takes HMAC keys of 32 bytes only")
    return hmac.digest(key, message, "sha256")


def hkdf(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256 (RFC 5869): ``length`` bytes, with a salt of exactly 32."""
    key = hmac_sha256(salt, ikm)
    block = derived = hmac.digest(key, info + b"\x01", "sha256")
    for counter in range(2, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        derived += block
    return derived[:length]


def zero_salted(ikm: bytes, info: bytes) -> bytes:
    """``hkdf(ZERO_SALT, ikm, info, 32)``, sooner: the salt's two hash states are computed once for all messages."""
    inner, outer = _ZERO_INNER.copy(), _ZERO_OUTER.copy()
    inner.update(ikm)
    outer.update(inner.digest())
    inner, outer = _keyed(outer.digest())
    inner.update(info + b"\x01")
    outer.update(inner.digest())
    return outer.digest()


def chain_step(chain: bytes) -> tuple[bytes, bytes]:
    """``HMAC(chain, 01)`` and ``HMAC(chain, 02)``: a message key, and the chain key after it (§3).

    Both share the key's two hash states, which halves what a peer's jump in numbers can cost us.
    """
    if len(chain) != KEY_BYTES:
        raise AssertionError("a chain key has 32 bytes")
    inner, outer = _keyed(chain)
    inner_after, outer_after = inner.copy(), outer.copy()
    inner.update(b"\x01")
    inner_after.update(b"\x02")
    outer.update(inner.digest())
    outer_after.update(inner_after.digest())
    return outer.digest(), outer_after.digest()


def _keyed(key: bytes) -> tuple[Hash, Hash]:
    """HMAC's inner and outer hash states (RFC 2104) once a key of 32 bytes has gone in."""
    block = key + ZERO_SALT
    # To copy an empty state takes a third of the time a new one does.
    inner, outer = _EMPTY.copy(), _EMPTY.copy()
    inner.update(block.translate(_INNER_PAD))
    outer.update(block.translate(_OUTER_PAD))
    return inner, outer


_EMPTY = sha256()
# HMAC's inner and outer key masks (RFC 2104), as tables for bytes.translate.
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_ZERO_INNER = sha256(_INNER_PAD[:1] * 64)
_ZERO_OUTER = sha256(_OUTER_PAD[:1] * 64)


def x25519(secret: bytes, public: bytes) -> bytes:
    """The shared secret of RFC 7748; raises `WeakKey` for a public key of small order or a wrong length."""
    # libsodium reads 32 bytes whatever it is given: the lengths are ours to check.
    if len(public) != KEY_BYTES or len(secret) != KEY_BYTES:
        raise WeakKey("an X25519 key has 32 bytes")
    try:
        return crypto_scalarmult(secret, public)
    except SodiumError:
        raise WeakKey("the public key has small order") from None


def aead_seal(key: bytes, plaintext: bytes, ad: bytes, random: Random) -> bytes:
    """``nonce24 ‖ XChaCha20-Poly1305-IETF`` of ``plaintext``, bound to ``ad``."""
    nonce = random(NONCE_BYTES)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def aead_open(key: bytes, sealed: bytes, ad: bytes) -> bytes:
    """What `aead_seal` sealed; raises `Forged`."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise Forged("too short to be authentic")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[NONCE_BYTES:], ad, sealed[:NONCE_BYTES], key)
    except CryptoError:
        raise Forged("authentication failed") from None


def pad(plaintext: bytes) -> bytes:
    """ISO/IEC 7816-4 padding to a multiple of 256 bytes: what ``sodium_pad`` does, at a tenth of the calls."""
    return plaintext + _PADDINGS[len(plaintext) % PAD_BYTES]


# By how much of the last 256 bytes the plaintext takes.
_PADDINGS = [b"\x80" + bytes(PAD_BYTES - 1 - taken) for taken in range(PAD_BYTES)]


def unpad(padded: bytes) -> bytes:
    """The plaintext `pad` padded; raises `MalformedMessage`."""
    plaintext, mark, zeros = padded.rpartition(b"\x80")
    if not mark or len(zeros) >= PAD_BYTES or zeros.strip(b"\0") or len(padded) % PAD_BYTES:
        raise MalformedMessage("the padding is wrong")
    return plaintext


def direct_conversation(ak1: bytes, ak2: bytes) -> bytes:
    """The 32-byte id of the conversation of two accounts, the same from both sides (§6)."""
    return H(L("direct") + min(ak1, ak2) + max(ak1, ak2))


def mailbox_address(mk: bytes) -> bytes:
    """The 16-byte address of the mailbox whose owner's key is ``mk`` (§4)."""
    return H(L("mailbox") + mk)[:16]


def topic_id(secret: bytes, node_id: bytes, date: str) -> bytes:
    """The 32-byte id under which ``secret``'s holders meet at one node on one day, ``YYYY-MM-DD`` (§4)."""
    return hkdf(ZERO_SALT, secret, L("topic") + node_id + date.encode(), 32)


def seal_entry(secret: bytes, topic: bytes, entry: bytes, random: Random) -> bytes:
    """A topic entry as the node sees it (§4)."""
    return aead_seal(_entry_key(secret, topic), entry, topic, random)


def open_entry(secret: bytes, topic: bytes, raw: bytes) -> bytes:
    """The entry `seal_entry` sealed for this topic; raises `BadEntry`."""
    try:
        return aead_open(_entry_key(secret, topic), raw, topic)
    except Forged:
        raise BadEntry("the entry does not open") from None


def _entry_key(secret: bytes, topic: bytes) -> bytes:
    return hkdf(ZERO_SALT, secret, L("entry") + topic, 32)
