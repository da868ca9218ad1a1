"""Stored items on their way to whoever follows their mailbox (docs/protocol.md §4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from .errors import StorageFailed
from .limits import PAGE_BYTES, STORAGE_RETRY_S, NodeLimits
from .logs import log
from .mailboxes import Window, size_of
from .messages import FRAME_LIMIT_BYTES, Code, Fenced, Frame, Item, Items
from .store import Followed, Page, Store

# A page read ahead counts as the largest it may turn out to be: one item can be larger than a page.
PAGE_PROMISE_BYTES = FRAME_LIMIT_BYTES


class Reader(Protocol):
    """The connection of somebody who follows mailboxes."""

    @property
    def easy(self) -> bool:
        """Whether it reads well enough to be sent stored items."""

    def say(self, frame: Frame) -> None:
        """Send a frame, behind those that wait."""

    def promise(self, size_bytes: int) -> None:
        """Count bytes that are going to be said; a negative number takes it back."""

    def fail(self, code: Code, text: str, *, retry_after_s: float | None = None) -> None:
        """Tell why the connection ends, and end it."""


@dataclass(eq=False)
class _Follower:
    reader: Reader
    address: bytes
    epoch: int
    window: Window
    reading: bool = False
    # New items of this turn of the loop, which go out together.
    fresh: list[Item] = field(default_factory=list)


class Delivery:
    """Who follows a mailbox gets every item in it once, in order, at its own pace; the newest follower alone."""

    def __init__(self, store: Store, limits: NodeLimits) -> None:
        self._store = store
        self._limits = limits
        self._followers: dict[bytes, _Follower] = {}
        self._followed_by: dict[Reader, dict[bytes, _Follower]] = {}
        self._fresh: dict[_Follower, None] = {}

    @property
    def followed(self) -> Iterable[bytes]:
        """The addresses of mailboxes whose owners are here."""
        return list(self._followers)

    def follow(self, reader: Reader, address: bytes, found: Followed) -> None:
        """Send ``reader`` what it lacks, and what comes; whoever followed before gets `Fenced`."""
        previous = self._forget(address)
        if previous is not None and previous.reader is not reader:
            previous.reader.say(Fenced(mailbox=address))
        window = Window(after=found.after, head=found.head, limit_bytes=self._limits.in_flight_bytes)
        follower = _Follower(reader, address, found.epoch, window)
        self._followers[address] = follower
        self._followed_by.setdefault(reader, {})[address] = follower
        self._read_on(follower)

    def stored(self, address: bytes, item: Item) -> None:
        """An item was stored. Called in the order of the store."""
        follower = self._followers.get(address)
        if follower is None:
            return
        window, reader = follower.window, follower.reader
        if window.follows(item.seq) and window.fits(item) and reader.easy:
            window.sent(item)
            reader.promise(size_of(item))
            follower.fresh.append(item)
            if not self._fresh:
                asyncio.get_running_loop().call_soon(self._flush)
            self._fresh[follower] = None
        else:
            window.appeared(item.seq)
            self._read_on(follower)

    def pass_on(self, address: bytes, item: Item) -> bool:
        """Hand over an item that isn't stored; False if its owner isn't here, or doesn't keep up."""
        follower = self._followers.get(address)
        if follower is None or not follower.reader.easy:
            return False
        follower.reader.say(Items(mailbox=address, epoch=follower.epoch, items=(item,)))
        return True

    def acknowledge(self, reader: Reader, address: bytes, *, epoch: int, seq: int, unix_s: float) -> None:
        """The owner holds the items up to ``seq``. What a fenced or mistaken reader says changes nothing."""
        follower = self._followers.get(address)
        if follower is None or follower.reader is not reader or follower.epoch != epoch:
            return
        forget_to = follower.window.acknowledge(seq)
        if forget_to is None:
            return
        self._store.acknowledge(address, forget_to, unix_s=unix_s, then=_log_failure)
        self._read_on(follower)

    def eased(self, reader: Reader) -> None:
        """The reader caught up with what was sent: go on with what is stored."""
        for follower in self._followed_by.get(reader, {}).values():
            self._read_on(follower)

    def closed(self, address: bytes, closer: Reader) -> None:
        """The mailbox is gone; whoever else followed it gets `Fenced`."""
        previous = self._forget(address)
        if previous is not None and previous.reader is not closer:
            previous.reader.say(Fenced(mailbox=address))

    def gone(self, reader: Reader) -> None:
        """The connection ended."""
        for address in list(self._followed_by.get(reader, {})):
            self._forget(address)

    def _forget(self, address: bytes) -> _Follower | None:
        follower = self._followers.pop(address, None)
        if follower is None:
            return None
        if follower in self._fresh:
            self._send_fresh(follower)
            del self._fresh[follower]
        theirs = self._followed_by[follower.reader]
        del theirs[address]
        if not theirs:
            del self._followed_by[follower.reader]
        return follower

    def _read_on(self, follower: _Follower) -> None:
        window = follower.window
        if follower.reading or not window.behind or not follower.reader.easy:
            return
        if window.in_flight_bytes and window.room_bytes <= 0:
            return
        follower.reading = True
        follower.reader.promise(PAGE_PROMISE_BYTES)
        self._store.page(
            follower.address,
            after=window.sent_to,
            room_bytes=min(PAGE_BYTES, window.room_bytes),
            then=lambda page: self._page_read(follower, page),
        )

    def _page_read(self, follower: _Follower, page: Page | StorageFailed | None) -> None:
        follower.reading = False
        moved = self._followers.get(follower.address) is follower and self._say_page(follower, page)
        follower.reader.promise(-PAGE_PROMISE_BYTES)
        if moved:
            self._read_on(follower)

    def _say_page(self, follower: _Follower, page: Page | StorageFailed | None) -> bool:
        """Send what fits of a page; False if it takes an acknowledgement, or more, to go on."""
        if page is None:
            return False
        if isinstance(page, StorageFailed):
            follower.reader.fail("storage", "the disk refused", retry_after_s=STORAGE_RETRY_S)
            return False
        window = follower.window
        items: list[Item] = []
        for item in page.items:
            if not window.fits(item):
                break
            window.sent(item)
            items.append(item)
        if len(items) == len(page.items):
            window.nothing_until(page.read_to)
        if items:
            follower.reader.say(Items(mailbox=follower.address, epoch=follower.epoch, items=tuple(items)))
        return bool(items) or not page.items

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, {}
        for follower in fresh:
            self._send_fresh(follower)

    def _send_fresh(self, follower: _Follower) -> None:
        items, follower.fresh = follower.fresh, []
        page: list[Item] = []
        room = PAGE_BYTES
        for item in items:
            if page and size_of(item) > room:
                self._say_items(follower, page)
                page, room = [], PAGE_BYTES
            page.append(item)
            room -= size_of(item)
        self._say_items(follower, page)

    def _say_items(self, follower: _Follower, page: list[Item]) -> None:
        follower.reader.say(Items(mailbox=follower.address, epoch=follower.epoch, items=tuple(page)))
        follower.reader.promise(-sum(map(size_of, page)))


def _log_failure(result: StorageFailed | None) -> None:
    if result is not None:
        log.error("acknowledgement not stored", why=str(result))
