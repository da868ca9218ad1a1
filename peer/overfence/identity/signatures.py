"""The hash, the labels and the signatures everything else is built on (docs/protocol.md, its opening)."""

from __future__ import annotations

from hashlib import blake2b

from nacl.bindings import crypto_scalarmult_base, crypto_sign, crypto_sign_BYTES, crypto_sign_open
from nacl.bindings import crypto_sign_seed_keypair as seed_keypair
from nacl.exceptions import BadSignatureError

KEY_BYTES = 32
SIGNATURE_BYTES = crypto_sign_BYTES


def H(data: bytes) -> bytes:
    """BLAKE2b-256 of ``data``: 32 bytes."""
    return blake2b(data, digest_size=32).digest()


def L(label: str) -> bytes:
    """The label ``label`` as bytes no other protocol uses."""
    return b"overfence/1 " + label.encode()


def sign(seed: bytes, context: str, message: bytes) -> bytes:
    """64 bytes of Ed25519 (RFC 8032) by the 32-byte ``seed`` over ``L(context) ‖ 00 ‖ message``."""
    _, secret = seed_keypair(seed)
    return crypto_sign(L(context) + b"\0" + message, secret)[:SIGNATURE_BYTES]


def verify(public: bytes, context: str, message: bytes, signature: bytes) -> bool:
    """Whether the key ``public`` signed ``message`` in ``context``; false for any wrong length."""
    # libsodium reads 32 and 64 bytes whatever it is given: the lengths are ours to check.
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + L(context) + b"\0" + message, public)
    except BadSignatureError:
        return False
    return True


def signing_public(seed: bytes) -> bytes:
    """The Ed25519 public key of the 32-byte ``seed``."""
    public, _ = seed_keypair(seed)
    return public


def agreement_public(secret: bytes) -> bytes:
    """The X25519 public key (RFC 7748) of the 32-byte ``secret``."""
    if len(secret) != KEY_BYTES:
        raise AssertionError("an X25519 secret has 32 bytes")
    return crypto_scalarmult_base(secret)
