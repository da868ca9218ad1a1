"""One person's device: the public API's front door."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, assert_never
from weakref import WeakSet

from .connect.ice import read_ice_servers
from .connect.webrtc import LinkConfig
from .conversation import Contact, Conversation, Message
from .delivery import meeting, outcome
from .delivery.exchange import Exchange
from .delivery.me import Me
from .delivery.news import ContactMoved, Happening, Heard, KeyClaimed, NodeMoved, Published, Told, Trouble
from .errors import (
    BadEvent,
    BadName,
    ChatClosed,
    NameNeeded,
    NoServer,
    StorageFailed,
    UnknownContact,
    Unreachable,
    WrongLoop,
)
from .feed import Feed
from .happenings import (
    ChatEvent,
    ContactAdded,
    ContactChanged,
    Delivered,
    Notice,
    PathChanged,
    PresenceChanged,
    Refused,
    ServerChanged,
)
from .history import logbook, people, postbox
from .history.event import FACTS, App, Text
from .history.people import ContactState
from .history.store import Store
from .identity import Device, DeviceList, Identity, Invite, load_or_create, user_id

logger = logging.getLogger(__name__)
T = TypeVar("T")

NAME_LIMIT = 64
# Events that wait for a reader who doesn't read; a program that forgot its iterator must not fill the memory.
UNREAD_LIMIT = 10_000
# The last moment a datetime can hold everywhere; a hostile clock must not make a message unreadable.
LAST_TIME_MS = 253_370_764_800_000  # 9999-01-01
HISTORY_LOST = (
    "the history in this home is empty, though its identity was here before: contacts and messages are gone from this"
    " device. Put back a copy of history.db, or exchange new invites with your contacts"
)
INVITE_LIFE_S = 7 * 24 * 3600


class Chat:
    """A home that is open: use it with ``async with Chat.open(…) as me``, on one event loop.

    Nothing here touches the loop before that block or after it. Raises `WrongLoop` from anywhere else.
    """

    def __init__(self, home: Path, name: str | None, server: str | None, links: LinkConfig) -> None:
        self.home = home
        self.server = server
        self._name = name
        self._links = links
        read_ice_servers(links.ice_servers)
        self._thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open_store: Store | None = None
        self._running: asyncio.Task[None] | None = None
        self._contacts: dict[int, Contact] = {}
        # None: of every contact
        self._listeners: dict[int | None, WeakSet[Feed[Message]]] = {}
        self._events: WeakSet[Feed[ChatEvent]] = WeakSet()
        self._awaited: dict[bytes, asyncio.Event] = {}
        # What was to be told before anybody could listen.
        self._missed: list[ChatEvent] = []

    @classmethod
    def open(
        cls,
        home: Path | str,
        *,
        name: str | None = None,
        server: str | None = None,
        ice_servers: tuple[str, ...] = (),
        relay_only: bool = False,
    ) -> Self:
        """The chat that lives in the folder ``home``, made there the first time (then ``name`` is needed).

        ``server`` is a node's ``ws://`` or ``wss://`` URL; None: offline, everything queues. Entering the block raises
        `NameNeeded`, `BadName`, `HomeInUse`, `HistoryTooNew`, `HistoryDamaged`, `StorageFailed`, `BadKeyFile` or
        `KeyFileExposed`, and then nothing was changed.
        """
        return cls(Path(home).expanduser(), name, server, LinkConfig(ice_servers, relay_only))

    async def __aenter__(self) -> Self:
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        name = None if self._name is None else checked_name(self._name)
        key_file = self.home / "identity"
        was_here = key_file.exists()
        if name is None and not was_here:
            raise NameNeeded("a new home needs a name: what others see you as")
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFailed(f"{self.home}: {error.strerror}") from None
        store = await Store.open(self.home / "history.db")
        try:
            identity, _ = await asyncio.to_thread(load_or_create, key_file, os.urandom)
            is_new = await store.write(lambda tx: people.setting(tx, "device_list") is None)
            self._me = await store.write(lambda tx: _begin(tx, identity, name, self.server))
            rows, ticked = await store.write(
                lambda tx: (
                    people.contacts(tx),
                    {row.id: people.ticked(tx, row.id) for row in people.contacts(tx)},
                )
            )
        except BaseException:
            await store.close()
            raise
        if was_here and is_new:
            self._missed.append(Notice(HISTORY_LOST))
        for row in rows:
            if row.account != identity.account:
                self._contacts[row.id] = contact = Contact(row)
                contact._delivered = ticked[row.id]
        self._open_store = store
        self._exchange = Exchange(store, self._me, self._links, self._heard)
        self._running = asyncio.create_task(self._exchange.run(), name="overfence")
        self._running.add_done_callback(self._delivery_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        store, self._open_store = self._open_store, None
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            if not self._running.cancelled() and (failure := self._running.exception()):
                logger.error("delivery had ended", exc_info=failure)
        for feeds in self._listeners.values():
            for feed in feeds:
                feed.end()
        for events in self._events:
            events.end()
        if store is not None:
            await store.close()

    # ── me ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """What others see me as."""
        return self._me.name

    @property
    def user_id(self) -> str:
        """My account's key as 52 letters and digits."""
        return user_id(self._me.identity.account)

    async def invite(self, expires_s: int = INVITE_LIFE_S, timeout_s: float = 10.0) -> Invite:
        """A link that makes one person a contact. Raises `NoServer`, and `Unreachable` if no node has it in time."""
        if self.server is None:
            raise NoServer("an invite needs a server, and none is configured")
        server = self.server
        invite = await self._write(lambda tx: meeting.make_invite(tx, self._me, server, self._me.now_s + expires_s))
        published = self._awaited[invite.mailbox] = asyncio.Event()
        self._exchange.errand(server)
        try:
            async with asyncio.timeout(timeout_s):
                await published.wait()
        except TimeoutError:
            await self._write(lambda tx: postbox.close_mailbox(tx, invite.mailbox))
            raise Unreachable(f"the server at {server} cannot be reached, so nobody could use an invite yet") from None
        finally:
            del self._awaited[invite.mailbox]
        return invite

    async def accept(self, link: str) -> Contact:
        """Accept somebody's invite: a contact at once, ``waiting`` until they answer, and writable.

        Raises `BadInvite`, `InviteExpired`, `OwnInvite`.
        """
        invite = Invite.parse(link)
        row = await self._write(lambda tx: meeting.accept(tx, self._me, invite))
        contact = self._contacts.get(row.id)
        if contact is None:
            contact = self._contacts[row.id] = Contact(row)
            self._tell(ContactAdded(contact))
        contact._row = row
        await self._exchange.refresh({row.id})
        self._exchange.errand(invite.node)
        if self.server is not None:
            self._exchange.errand(self.server)
        return contact

    # ── people ────────────────────────────────────────────────────────────────────────────────────

    def contacts(self) -> list[Contact]:
        """Everyone but those removed, in the order they came."""
        self._store()
        return [contact for contact in self._contacts.values() if contact.state != "removed"]

    def contact(self, name_or_id: str) -> Contact:
        """The one contact of that name (any case) or whose id begins so. Raises `UnknownContact`."""
        wanted = name_or_id.strip().casefold()
        found = [one for one in self.contacts() if one.name.casefold() == wanted]
        found = found or [one for one in self.contacts() if len(wanted) >= 4 and one.id.startswith(wanted)]
        if len(found) != 1:
            raise UnknownContact(f"{'several contacts are' if found else 'no contact is'} called {name_or_id!r}")
        return found[0]

    async def rename(self, contact: Contact, alias: str) -> None:
        """Call a contact something else, here only; "" is the name they chose. Raises `BadName`."""
        chosen = checked_name(alias) if alias else ""
        await self._write(lambda tx: people.set_contact(tx, contact._row.id, alias=chosen))
        await self._exchange.refresh({contact._row.id})

    async def remove(self, contact: Contact) -> None:
        """Remove a contact: its mailboxes close and nothing goes to it any more; what was said stays."""

        def write(tx: sqlite3.Connection) -> set[str]:
            boxes = postbox.mailbox_for(tx, contact._row.id)
            for box in boxes:
                postbox.close_mailbox(tx, box.mailbox)
            people.forget_puts(tx, contact._row.id)
            people.set_contact(tx, contact._row.id, state=ContactState.REMOVED)
            return {box.node for box in boxes}

        for node in await self._write(write):
            self._exchange.errand(node)
        await self._exchange.refresh({contact._row.id})

    def messages(self) -> Feed[Message]:
        """What anybody says from this call on, whoever comes to be a contact included."""
        return self._listen(None)

    def conversation(self, contact: Contact) -> Conversation:
        """What is said between that contact and me."""
        return Conversation(self, contact)

    async def search(self, words: str, limit: int = 20) -> list[Message]:
        """Messages with every one of the words, newest first."""
        found = await self._read(lambda tx: logbook.search(tx, words, limit))
        by_conv = {contact._row.conv: contact for contact in self._contacts.values()}
        return [
            self._message(contact, entry)
            for entry in found
            if (contact := by_conv.get(entry.event.header.conv)) is not None
        ]

    def events(self) -> Feed[ChatEvent]:
        """What happens from this call on. A reader that is far behind misses the newest until it has caught up."""
        self._store()
        feed: Feed[ChatEvent] = Feed()
        self._events.add(feed)
        for event in self._missed:
            feed.tell(event)
        self._missed.clear()
        return feed

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _store(self) -> Store:
        if self._thread != threading.get_ident() or self._loop is not _running_loop():
            raise WrongLoop("a Chat is used on the thread and event loop that opened it")
        if self._open_store is None:
            raise ChatClosed("this Chat is closed")
        return self._open_store

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._store().write(work)

    # Reading shares the writer's thread: one connection a file, and a reader sees what it was told.
    _read = _write

    def _delivery_ended(self, running: asyncio.Task[None]) -> None:
        if not running.cancelled() and running.exception() is not None:
            self._tell(Notice("delivery has stopped: what you write is kept; open this chat again to go on"))

    def _wake(self, number: int) -> None:
        self._exchange.wake(number)

    def _listen(self, number: int | None) -> Feed[Message]:
        self._store()
        feed: Feed[Message] = Feed()
        self._listeners.setdefault(number, WeakSet()).add(feed)
        return feed

    def _message(self, contact: Contact, entry: logbook.Entry) -> Message:
        header = entry.event.header
        mine = any(header.device == device.dsk for device in self._me.device_list.devices)
        upto = contact._delivered.get((header.device, header.log), 0)
        try:
            content = entry.event.content()
        except BadEvent:
            content = None
        return Message(
            contact=contact,
            mine=mine,
            sender=self.name if mine else contact.name,
            kind=header.kind,
            text=content.text if isinstance(content, Text) else None,
            data=content.data if isinstance(content, App) else None,
            at=datetime.fromtimestamp(min(header.at_ms, LAST_TIME_MS) / 1000).astimezone(),
            id=entry.event.first_id,
            seq=header.seq,
            device=header.device,
            log=header.log,
            state=("delivered" if header.seq <= upto else "sent") if mine else "received",
            _chat=self,
            _place=entry.place,
        )

    async def _is_delivered(self, message: Message) -> bool:
        """Whether it is held by a device of theirs; what was said anew after a fork counts as that."""
        ticked = message.contact._delivered
        if ticked.get((message.device, message.log), 0) >= message.seq:
            return True
        conv, place = message.contact._row.conv, message._place
        if message.log == message.contact._row.log:
            return False
        places = await self._read(lambda tx: logbook.copies(tx, conv, place))
        return any(ticked.get((message.device, log), 0) >= seq for log, seq in places)

    def _tell(self, event: ChatEvent) -> None:
        for feed in self._events:
            if feed.unread < UNREAD_LIMIT:
                feed.tell(event)

    def _heard(self, happening: Happening) -> None:
        match happening:
            case Heard(number, entries):
                self._deliver(number, entries)
            case Told(number, device, log, end):
                contact = self._contacts.get(number)
                if contact is not None and end > contact._delivered.get((device, log), 0):
                    contact._tick(device, log, end)
                    self._tell(Delivered(contact, end, log))
            case ContactMoved():
                self._contact_moved(happening)
            case NodeMoved(url, connected, detail, retry_in_s):
                self._tell(ServerChanged(url, connected, detail, retry_in_s))
            case Published(mailbox):
                if mailbox in self._awaited:
                    self._awaited[mailbox].set()
            case Trouble(text):
                self._tell(Notice(text))
            case outcome.Refused(error, of):
                self._tell(Refused(error, None if of is None else self._contacts.get(of)))
            case KeyClaimed(number):
                # Trust is to say what it means; until then it is at least told.
                self._tell(Notice(f"somebody writes for {self._contacts[number].name} under another key"))
            case _:
                assert_never(happening)

    def _deliver(self, number: int, entries: list[logbook.Entry]) -> None:
        contact = self._contacts.get(number)
        if contact is None:
            return  # what my own devices tell each other
        for feed in (*self._listeners.get(number, ()), *self._listeners.get(None, ())):
            for entry in entries:
                shown = not entry.refused and entry.event.header.kind not in FACTS
                if shown and feed.unread < UNREAD_LIMIT:
                    feed.tell(self._message(contact, entry))

    def _contact_moved(self, moved: ContactMoved) -> None:
        if moved.row.account == self._me.identity.account:
            return
        contact = self._contacts.get(moved.row.id)
        if contact is None:
            contact = self._contacts[moved.row.id] = Contact(moved.row)
            self._tell(ContactAdded(contact))
        elif (contact._row.state, contact.name) != (moved.row.state, Contact(moved.row).name):
            contact._row = moved.row
            self._tell(ContactChanged(contact))
        contact._row = moved.row
        if contact.online != moved.online:
            contact.online = moved.online
            self._tell(PresenceChanged(contact, moved.online))
        if (contact.path, contact.detail) != (moved.path, moved.detail):
            contact.path, contact.detail, contact.pair = moved.path, moved.detail, moved.pair
            self._tell(PathChanged(contact, moved.path, moved.detail, moved.pair, moved.retry_in_s))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def checked_name(name: str) -> str:
    """A name as it is kept: trimmed. Raises `BadName`."""
    trimmed = " ".join(name.split())
    if not trimmed or len(trimmed) > NAME_LIMIT or not trimmed.isprintable():
        raise BadName(f"a name has 1 to {NAME_LIMIT} characters that can be shown")
    return trimmed


def _begin(tx: sqlite3.Connection, identity: Identity, name: str | None, server: str | None) -> Me:
    raw = people.setting(tx, "device_list")
    if isinstance(raw, bytes):
        device_list = DeviceList.parse(raw)
    else:
        devices = [Device(identity.dsk, identity.dik)]
        device_list = DeviceList.sign(identity, devices, int(time.time()))
        people.set_setting(tx, "device_list", device_list.raw)
    known = people.setting(tx, "name")
    if name is None and not isinstance(known, str):
        raise NameNeeded("this home has no name yet")
    chosen = name if name is not None else str(known)
    people.set_setting(tx, "name", chosen)
    me = Me(identity, device_list, chosen, server, os.urandom, lambda: time.time_ns() // 1_000_000)
    for contact in people.contacts(tx):
        if contact.state not in (ContactState.REMOVED, ContactState.REFUSED, ContactState.EXPIRED):
            me.keep_up(tx, contact, renamed=chosen != known)
    return me
