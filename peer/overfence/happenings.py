"""What `Chat.events` tells: a closed union, for a ``match`` that ends in ``assert_never``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .delivery.news import Path
from .errors import OverfenceError

if TYPE_CHECKING:
    from .conversation import Contact
    from .identity import Invite


@dataclass(frozen=True)
class ContactAdded:
    """Somebody is a contact now: they used an invite of mine, or I accepted one of theirs."""

    contact: Contact


@dataclass(frozen=True)
class ContactChanged:
    """A contact's name or state is another, or whether they are verified, or whether their key is in question."""

    contact: Contact


@dataclass(frozen=True)
class PresenceChanged:
    """A contact came or went. It is a hint: only a link proves that somebody is there."""

    contact: Contact
    online: bool


@dataclass(frozen=True)
class PathChanged:
    """How messages go now, and why; ``pair`` names the candidate types of a direct or relayed path, ours first.

    Without one, the next try for one comes by itself after ``retry_in_s`` seconds; None where it waits for the contact.
    """

    contact: Contact
    path: Path
    detail: str
    pair: tuple[str, str] | None
    retry_in_s: float | None


@dataclass(frozen=True)
class ServerChanged:
    """A server was reached or lost; the next try comes by itself after ``retry_in_s`` seconds."""

    url: str
    connected: bool
    detail: str
    retry_in_s: float | None


@dataclass(frozen=True)
class Delivered:
    """My messages to a contact up to number ``upto`` of that ``log`` are fsynced on a device of theirs."""

    contact: Contact
    upto: int
    log: bytes


@dataclass(frozen=True)
class Notice:
    """Something a person should know, in words."""

    text: str


@dataclass(frozen=True)
class Refused:
    """Something that arrived was not taken, for the reason ``error`` gives; nothing was lost by it.

    Once a minute at most for each contact and kind of error: who sends garbage without end makes no flood of events.
    """

    error: OverfenceError
    contact: Contact | None


@dataclass(frozen=True)
class KeyChanged:
    """Somebody writes from a contact's own mailbox under another account's key, ``new_id``.

    They may have lost their old key, or it is not them: compare safety numbers by another way. A verified contact
    cannot be written to until `Chat.accept_new_key` or `Chat.keep_old_key`.
    """

    contact: Contact
    new_id: str


@dataclass(frozen=True)
class InviteDeclined:
    """Somebody who holds the link of an invite of mine does not want it; it is closed, and nobody can use it."""

    invite: Invite


ChatEvent = (
    ContactAdded
    | ContactChanged
    | PresenceChanged
    | PathChanged
    | ServerChanged
    | Delivered
    | Notice
    | Refused
    | KeyChanged
    | InviteDeclined
)
