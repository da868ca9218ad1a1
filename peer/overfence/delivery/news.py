"""What delivery tells the public API: a closed union."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..history.people import ContactRow
from ..history.rows import Entry
from ..identity import Invite
from .outcome import Refused

# How messages go: straight, straight but by a relay (TURN), by sealed mailbox, or not at all for now.
Path = Literal["direct", "relayed", "mailbox", "offline"]


@dataclass(frozen=True)
class Heard:
    """Events of a contact that came into order, first to last."""

    contact: int
    entries: list[Entry]


@dataclass(frozen=True)
class Told:
    """A device of a contact has confirmed a log of my account, by author and name, up to ``end``."""

    contact: int
    device: bytes
    log: bytes
    end: int


@dataclass(frozen=True)
class ContactMoved:
    """A contact is new, or its state, name, presence or path is another."""

    row: ContactRow
    online: bool
    path: Path
    detail: str
    pair: tuple[str, str] | None
    retry_in_s: float | None


@dataclass(frozen=True)
class NodeMoved:
    """A node was reached or lost."""

    url: str
    connected: bool
    detail: str
    retry_in_s: float | None


@dataclass(frozen=True)
class Trouble:
    """Something a person should know."""

    text: str


@dataclass(frozen=True)
class Published:
    """A mailbox of mine has its card at its node, and can be written to."""

    mailbox: bytes


@dataclass(frozen=True)
class KeyClaimed:
    """Somebody writes for a contact under another account's key."""

    contact: int


@dataclass(frozen=True)
class Declined:
    """An invite of mine is not wanted, and is closed."""

    invite: Invite


Happening = Heard | Told | ContactMoved | NodeMoved | Trouble | Published | Refused | KeyClaimed | Declined
