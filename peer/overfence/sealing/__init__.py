"""Sealing for one device so that only it can open: sessions, envelopes, cards (docs/protocol.md §2 to §4). Pure."""

from __future__ import annotations

from .card import Card, Prekeys, PrekeySecret, new_prekey, open_card, seal_card
from .declining import decline_message, declines, is_decline
from .envelope import open_envelope, seal_envelope, seal_nameless, sender_hint
from .errors import (
    BadCard,
    BadEntry,
    BadEnvelope,
    BadState,
    Duplicate,
    Forged,
    MalformedMessage,
    NoSession,
    SealingError,
    TooFarAhead,
    UnknownPrekey,
    UnknownSession,
    WeakKey,
)
from .handshake import SID_BYTES, Pre
from .primitives import (
    Random,
    aead_open,
    aead_seal,
    direct_conversation,
    hkdf,
    hmac_sha256,
    mailbox_address,
    open_entry,
    seal_entry,
    topic_id,
)
from .ratchet import CHAIN_LIMIT, JUMP_LIMIT
from .sessions import Opened, Sessions, session_of

__all__ = [
    "CHAIN_LIMIT",
    "JUMP_LIMIT",
    "SID_BYTES",
    "BadCard",
    "BadEntry",
    "BadEnvelope",
    "BadState",
    "Card",
    "Duplicate",
    "Forged",
    "MalformedMessage",
    "NoSession",
    "Opened",
    "Pre",
    "PrekeySecret",
    "Prekeys",
    "Random",
    "SealingError",
    "Sessions",
    "TooFarAhead",
    "UnknownPrekey",
    "UnknownSession",
    "WeakKey",
    "aead_open",
    "aead_seal",
    "decline_message",
    "declines",
    "direct_conversation",
    "hkdf",
    "hmac_sha256",
    "is_decline",
    "mailbox_address",
    "new_prekey",
    "open_card",
    "open_entry",
    "open_envelope",
    "seal_card",
    "seal_entry",
    "seal_envelope",
    "seal_nameless",
    "sender_hint",
    "session_of",
    "topic_id",
]
