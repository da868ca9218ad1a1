"""How an invite is declined without saying who does: by a message that only its holders can make (§4.5)."""

from __future__ import annotations

import hmac

from .primitives import ZERO_SALT, L, hkdf, hmac_sha256

DECLINE_MARK = b"\x01\x03"


def decline_message(key: bytes, mailbox: bytes) -> bytes:
    """What tells an invite's maker that it is not wanted: 34 bytes, the same from whoever holds the link."""
    return DECLINE_MARK + hmac_sha256(hkdf(ZERO_SALT, key, L("decline"), 32), mailbox)


def is_decline(message: bytes) -> bool:
    """Whether a message means to decline; `declines` says whether it may."""
    return message.startswith(DECLINE_MARK)


def declines(message: bytes, key: bytes, mailbox: bytes) -> bool:
    """Whether a message declines the invite of that key and mailbox."""
    return hmac.compare_digest(message, decline_message(key, mailbox))
