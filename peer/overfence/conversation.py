"""Contacts, what is said with them, and the messages: the part of the public API that is about one person."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from .delivery.news import Path
from .errors import BadKind, ContactBlocked, ContactRemoved, EmptyMessage, KeyChangePending, NotDelivered
from .feed import Feed
from .history import pages, people, rows
from .history.event import App, Content, Text
from .history.people import ContactRow, ContactState
from .identity import user_id

if TYPE_CHECKING:
    from .inside import Inside


class Contact:
    """One account I know, as it is now; its attributes follow what happens."""

    def __init__(self, row: ContactRow) -> None:
        self._row = row
        self.online = False
        self.path: Path = "offline"
        self.pair: tuple[str, str] | None = None
        self.detail = ""
        # By author device and log, up to where a device of theirs holds it.
        self._delivered: dict[tuple[bytes, bytes], int] = {}
        self._ticked = asyncio.Event()

    def _tick(self, device: bytes, log: bytes, upto: int) -> None:
        self._delivered[device, log] = upto
        waiting, self._ticked = self._ticked, asyncio.Event()
        waiting.set()

    @property
    def id(self) -> str:
        """The account's key as 52 letters and digits."""
        return user_id(self._row.account)

    @property
    def name(self) -> str:
        """What I call them, else what they call themselves, else the beginning of their id. Show it escaped."""
        return self._row.alias or self._row.name or self.id[:8]

    @property
    def state(self) -> Literal["waiting", "accepted", "refused", "expired", "removed", "blocked"]:
        """How far the two of us have come."""
        return self._row.state.value

    @property
    def verified(self) -> bool:
        """Whether their safety number was compared."""
        return self._row.verified_s > 0

    @property
    def verified_at(self) -> datetime | None:
        """When it was, in local time."""
        return datetime.fromtimestamp(self._row.verified_s).astimezone() if self.verified else None

    @property
    def key_changed(self) -> str | None:
        """The id under which somebody else writes for them, until `Chat.accept_new_key` or `Chat.keep_old_key`."""
        return user_id(self._row.claimed) if self._row.claimed is not None else None

    def __repr__(self) -> str:
        return f"<Contact {self.id[:8]} {self.state}>"


@dataclass(frozen=True)
class Message:
    """One thing said. ``state`` is as of when it was read; `delivered` waits for the tick."""

    contact: Contact
    mine: bool
    sender: str
    kind: str
    text: str | None = field(repr=False)
    data: bytes | None = field(repr=False)
    at: datetime
    id: bytes
    seq: int
    device: bytes
    log: bytes
    state: Literal["sent", "delivered", "received"]
    _chat: Inside = field(repr=False, compare=False)
    _place: rows.Place = field(repr=False, compare=False)

    async def delivered(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109 (the API of the design)
        """Return once this is fsynced on a device of the contact's; raises `NotDelivered`, and it stays queued."""
        self._chat._store()
        contact = self.contact
        try:
            async with asyncio.timeout(timeout):
                while not await self._chat._is_delivered(self):
                    await contact._ticked.wait()
        except TimeoutError:
            raise NotDelivered(f"{contact.name} has not confirmed it yet; it stays queued") from None


class Conversation:
    """What is said between one contact and me."""

    def __init__(self, chat: Inside, contact: Contact) -> None:
        self._chat = chat
        self.contact = contact

    async def send(self, text: str) -> Message:
        """Say something; returns once it is fsynced here. Raises `TooLong`, `EmptyMessage`, `ContactRemoved`,
        `ContactBlocked`, and `KeyChangePending` while a verified contact's key is in question.

        Cancelled, it may or may not have been said: `history` tells.
        """
        if not text:
            raise EmptyMessage("there is nothing to send")
        # Lone surrogates can come from a terminal, and no encoding takes them.
        return await self._send("text", Text(text.encode("utf-8", "replace").decode()))

    async def send_app(self, kind: str, data: bytes) -> Message:
        """Send an embedder's own event; ``kind`` begins with ``app/``. Raises `BadKind` and what `send` raises."""
        if not kind.startswith("app/") or not 4 < len(kind) <= 64 or not kind.isprintable():
            raise BadKind(f"an event's kind looks like app/name, in at most 64 characters: {kind!r}")
        return await self._send(kind, App(data))

    async def history(self, limit: int = 50, before: Message | None = None) -> list[Message]:
        """The last ``limit`` messages (before one of them), oldest first."""
        number = self.contact._row.id
        found = await self._chat._read(
            lambda tx: pages.page(tx, people.contact(tx, number).conv, limit, before._place if before else None)
        )
        return [self._chat._message(self.contact, entry) for entry in found]

    async def queued(self) -> int:
        """How many of my messages no device of theirs has confirmed."""
        number, me = self.contact._row.id, self._chat._me

        def count(tx: sqlite3.Connection) -> int:
            return pages.unticked(tx, people.contact(tx, number).conv, me.authors(tx), people.ticked(tx, number))

        return await self._chat._read(count)

    def messages(self) -> Feed[Message]:
        """What the contact says from this call on, each author's in order, each once.

        10,000 may wait to be read; what comes then stands in `history` only.
        """
        return self._chat._listen(self.contact._row.id)

    async def _send(self, kind: str, content: Content) -> Message:
        contact = self.contact
        number, me = contact._row.id, self._chat._me

        def write(tx: sqlite3.Connection) -> rows.Entry:
            row = people.contact(tx, number)
            refuse_shut(row, contact.name)
            if row.verified_s and row.claimed is not None:
                raise KeyChangePending(f"somebody writes for {contact.name} under another key: decide first who it is")
            return me.write(tx, row, kind, content)

        # Woken before it is durable, so that sealing joins the very transaction that keeps it.
        asyncio.get_running_loop().call_soon(self._chat._wake, number)
        entry = await self._chat._write(write)
        return self._chat._message(contact, entry)


def refuse_shut(row: ContactRow, name: str) -> None:
    """Raise `ContactRemoved` or `ContactBlocked` for a contact that nothing goes to."""
    if row.state is ContactState.REMOVED:
        raise ContactRemoved(f"{name} was removed from your contacts")
    if row.state is ContactState.BLOCKED:
        raise ContactBlocked(f"{name} is blocked: unblock them first")
