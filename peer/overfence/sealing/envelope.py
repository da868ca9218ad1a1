"""The envelope around a message in a mailbox: to the node, random bytes (§4)."""

from __future__ import annotations

from .errors import BadEnvelope, Forged
from .primitives import ZERO_SALT, H, L, Random, aead_open, aead_seal, hkdf

HINT_BYTES = 8


def sender_hint(dsk: bytes) -> bytes:
    """The 8 bytes that tell a mailbox's owner whose session to try; no proof of anything (§4)."""
    return H(dsk)[:HINT_BYTES]


def seal_envelope(key: bytes, mailbox: bytes, sender_dsk: bytes, message: bytes, random: Random) -> bytes:
    """``message`` for whoever holds the 32-byte address ``key``, bound to the 16-byte address ``mailbox`` (§4)."""
    return aead_seal(_envelope_key(key), sender_hint(sender_dsk) + message, mailbox, random)


def seal_nameless(key: bytes, mailbox: bytes, message: bytes, random: Random) -> bytes:
    """The same from nobody: the hint is 8 zero bytes (§4.5)."""
    return aead_seal(_envelope_key(key), bytes(HINT_BYTES) + message, mailbox, random)


def open_envelope(key: bytes, mailbox: bytes, envelope: bytes) -> tuple[bytes, bytes]:
    """The sender's hint and the message; raises `BadEnvelope`."""
    try:
        opened = aead_open(_envelope_key(key), envelope, mailbox)
    except Forged:
        raise BadEnvelope("the envelope does not open with this mailbox's key") from None
    if len(opened) < HINT_BYTES:
        raise BadEnvelope("the envelope is empty")
    return opened[:HINT_BYTES], opened[HINT_BYTES:]


def _envelope_key(key: bytes) -> bytes:
    return hkdf(ZERO_SALT, key, L("envelope"), 32)
