"""Every error a user of this package can meet descends from `OverfenceError`; docs/errors.md lists them all."""

from __future__ import annotations


class OverfenceError(Exception):
    """Something Overfence could not do; its docstring says whose fault it is and what still holds."""


class WrongLoop(OverfenceError):
    """A `Chat` was used from another thread or event loop than the one that opened it; nothing was done."""


class ChatClosed(OverfenceError):
    """The `Chat` is closed; what was sent before is safe in its home."""


class HomeInUse(OverfenceError):
    """Another process has this home open; it goes on undisturbed, and nothing here was touched."""


class HistoryTooNew(OverfenceError):
    """The history was written by a newer Overfence. It was left as it is, byte for byte."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"this history has version {found}, and this Overfence knows {known}: update Overfence")
        self.found = found
        self.known = known


class HistoryDamaged(OverfenceError):
    """The history file is no database of ours, or is damaged. It was left as it is."""


class StorageFailed(OverfenceError):
    """The disk refused a write. Nothing of that call was kept or said; everything before it holds."""


class NoServer(OverfenceError):
    """This needs a server, and none is configured; what is queued stays queued."""


class Unreachable(OverfenceError):
    """No node, or no path to the peer, answered in time; queued messages stay queued."""


class NotDelivered(OverfenceError):
    """The recipient's device did not confirm in time; the message stays queued and will be offered again."""


class TooLong(OverfenceError):
    """The text or data is larger than one event may be; nothing was sent. Send it in parts."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes:,} bytes, and one message holds {limit_bytes:,}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class EmptyMessage(OverfenceError):
    """There is nothing to send; nothing was sent."""


class BadName(OverfenceError):
    """A name that is empty, too long, or made of characters that don't show; the old one stays."""


class UnknownContact(OverfenceError):
    """No contact of that name or id; nothing was done."""


class ContactRemoved(OverfenceError):
    """The contact was removed: nothing more can be sent to it. The history is still there."""


class ContactBlocked(OverfenceError):
    """The contact is blocked: nothing goes or comes until it is unblocked. The history is still there."""


class SafetyMismatch(OverfenceError):
    """What was compared belongs to other keys than those known here. Nothing was verified: somebody may sit between."""


class KeyChangePending(OverfenceError):
    """Somebody writes as this verified contact under another key; nothing was sent until that is decided."""


class NoKeyChange(OverfenceError):
    """No changed key of this contact waits for a decision, or not the one that was meant; nothing was done."""


class KeyChangeLost(OverfenceError):
    """The message that named the new key cannot be read any more; nothing changed. They must write or invite again."""


class UnknownInvite(OverfenceError):
    """No open invite of mine with that link: it was used, cancelled or declined, or is somebody else's."""


class InviteAccepted(OverfenceError):
    """The invite was accepted here, so it cannot be declined any more; nothing was done. Remove the contact instead."""


class BadKind(OverfenceError):
    """An embedder's event kind must look like ``app/name``; nothing was sent."""


class BadEvent(OverfenceError):
    """An event from a peer that is well framed but invalid: recorded as refused, and never asked for again."""


class BadPayload(OverfenceError):
    """A sealed message whose inside is no payload of ours; it is dropped, the session and the chat live on."""


class NameNeeded(OverfenceError):
    """A new home needs a name, and none was given; nothing was made."""


class UnknownDevice(OverfenceError):
    """A message from a device that is none of the contact's: it was not read."""


class RevokedDevice(OverfenceError):
    """A message from a device that its account took off its list: it was not read; the account's others go on."""


class StaleDeviceList(OverfenceError):
    """A device list older than the one held here: the newer one stays, and was sent back."""


class DeviceListConflict(OverfenceError):
    """Two different device lists with one number, both signed by the account: the first stays. Ask them about it."""


class UnprovenGuest(OverfenceError):
    """Somebody used an invite of mine without holding it, or in another's name; no contact was made."""


class ForeignEvent(OverfenceError):
    """An event of another conversation or author than the one it came from; it was not kept."""


class ForkedLog(OverfenceError):
    """An event that contradicts one held at its number; the one held stays, and the author is told."""


class BadConfirmation(OverfenceError):
    """A confirmation of messages that were never written here: nothing is ticked by it."""
