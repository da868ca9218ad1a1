"""What can go wrong when something is sealed or opened. After any of these the sessions are as they were."""

from __future__ import annotations

from overfence.errors import OverfenceError


class SealingError(OverfenceError):
    """Something could not be sealed or opened; every session, and every other message, is unharmed."""


class WeakKey(SealingError):
    """A public key that would make a shared secret known to all: its sender's fault; nothing was derived from it."""


class MalformedMessage(SealingError):
    """Bytes that are no message of this version: the sender's fault, or damage; nothing was tried with them."""


class Forged(SealingError):
    """A message whose authentication failed: damaged, forged, or from a session that diverged; it was not read."""


class TooFarAhead(SealingError):
    """A message claims to follow thousands we never had: the sender's fault; sync sends what is missing again."""

    def __init__(self, jump: int) -> None:
        self.jump = jump
        super().__init__(f"the message skips {jump} others")


class Duplicate(SealingError):
    """A message already read, or of a session already retired: nobody's fault, and nothing is lost by dropping it."""


class UnknownSession(SealingError):
    """A message of a session this device never had, or lost; it stays unread until the peer starts a new one."""

    def __init__(self, sid: bytes) -> None:
        self.sid = sid
        super().__init__("a message of a session unknown here")


class UnknownPrekey(SealingError):
    """A handshake on a prekey this device no longer has: the card it came from is old; a new card mends it."""

    def __init__(self, prekey_id: bytes) -> None:
        self.prekey_id = prekey_id
        super().__init__("a handshake on a prekey unknown here")


class NoSession(SealingError):
    """There is no session to seal on yet; what was to be sealed stays with the caller until one is begun."""


class BadEnvelope(SealingError):
    """An envelope that does not open with this mailbox's key: its sender's or the node's fault; no session changes."""


class BadCard(SealingError):
    """A card, or prekeys, that do not open or verify: the node's or their owner's fault; the last good ones stay."""


class BadEntry(SealingError):
    """A topic entry that does not open: noise from the node or a stranger; presence is as it was."""


class BadState(SealingError):
    """Sessions or prekeys stored here that can't be read back: this device's database is damaged and left as it is."""
