"""What every part of a `Chat` works with: its store, its delivery, and those who listen to it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from .conversation import Contact, Message
from .delivery.exchange import Exchange
from .delivery.me import Me
from .errors import BadEvent, ChatClosed, WrongLoop
from .feed import Feed
from .happenings import ChatEvent
from .history import forks, rows
from .history.event import App, Text
from .history.store import Store

T = TypeVar("T")

# Events that wait for a reader who doesn't read; a program that forgot its iterator must not fill the memory.
UNREAD_LIMIT = 10_000
# The last moment a datetime can hold everywhere; a hostile clock must not make a message unreadable.
LAST_TIME_MS = 253_370_764_800_000  # 9999-01-01


class Inside:
    """The state of a `Chat`, and the ways to it that its parts share; nothing here is for who uses one."""

    _me: Me
    _exchange: Exchange

    def __init__(self, home: Path, server: str | None) -> None:
        self.home = home
        self.server = server
        self._thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open_store: Store | None = None
        self._contacts: dict[int, Contact] = {}
        # None: of every contact
        self._listeners: dict[int | None, WeakSet[Feed[Message]]] = {}
        self._events: WeakSet[Feed[ChatEvent]] = WeakSet()
        self._awaited: dict[bytes, asyncio.Event] = {}
        # What was to be told before anybody could listen.
        self._missed: list[ChatEvent] = []

    @property
    def name(self) -> str:
        """What others see me as."""
        return self._me.name

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

    async def _errands(self, nodes: Iterable[str], contacts: set[int]) -> None:
        """Something new is to be done at these nodes, and these contacts are no more as they were."""
        for node in nodes:
            self._exchange.errand(node)
        await self._exchange.refresh(contacts)

    def _wake(self, number: int) -> None:
        self._exchange.wake(number)

    def _listen(self, number: int | None) -> Feed[Message]:
        self._store()
        feed: Feed[Message] = Feed()
        self._listeners.setdefault(number, WeakSet()).add(feed)
        return feed

    def _message(self, contact: Contact, entry: rows.Entry) -> Message:
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
        places = await self._read(lambda tx: forks.copies(tx, conv, place))
        return any(ticked.get((message.device, log), 0) >= seq for log, seq in places)

    def _tell(self, event: ChatEvent) -> None:
        for feed in self._events:
            if feed.unread < UNREAD_LIMIT:
                feed.tell(event)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
