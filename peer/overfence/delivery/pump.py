"""Keeps one device supplied with what it lacks, by the link when there is one, else by mailbox."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from overfence_reliability import Run

from ..connect.errors import LinkClosed
from ..connect.line import BufferFull, Line
from ..errors import StorageFailed
from ..history.store import Store
from . import outgoing, planning
from .me import Me
from .outgoing import Sealed
from .sync import LogKey, Supply

logger = logging.getLogger(__name__)

# What may be unconfirmed on the line before we seal more: keeps small what is said twice when it goes down.
LINE_ROOM_BYTES = 128 * 1024
# After a line went up, the other side's have is awaited this long before sending by what was known before.
FIRST_HAVE_S = 1.0
STORAGE_RETRY_S = 1.0


class Pump:
    """One device's supply of my logs: batch after batch for as long as it lacks something and a path takes it."""

    def __init__(
        self, dsk: bytes, store: Store, me: Me, *, line: Callable[[], Line | None], posted: Callable[[str], None]
    ) -> None:
        self.dsk = dsk
        self._store = store
        self._me = me
        self._line = line
        self._posted = posted
        self._wake = asyncio.Event()
        self._wake.set()
        self._supply: Supply | None = None
        self._have_awaited_until: float | None = None
        self._fresh_line = False

    def wake(self) -> None:
        """My log has grown, or a path, session or address is new."""
        self._wake.set()

    def told(self, key: LogKey, run: Run) -> None:
        """The device says what it holds."""
        self._have_awaited_until = None
        if self._supply is not None:
            self._supply.told(key, run, now=_now())
        self.wake()

    def line_opened(self) -> None:
        """What it holds is about to be said on the line; until then nothing is sent twice."""
        self._have_awaited_until = _now() + FIRST_HAVE_S
        self._fresh_line = True
        self.wake()

    def lost(self) -> None:
        """What was on its way by the link, or lapsed in a mailbox, is to be offered again."""
        self._have_awaited_until = None
        self._fresh_line = False
        self._supply = None
        self.wake()

    async def run(self) -> None:
        """Supply the device until cancelled."""
        while True:
            due_at = self._next_timer()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while await self._send_next():
                    pass
            except (LinkClosed, BufferFull):
                self._supply = None
                # The line's end is on its way to us; its news wakes us again.
            except StorageFailed as error:
                logger.error("sealing waits: %s", error)
                asyncio.get_running_loop().call_later(STORAGE_RETRY_S, self._wake.set)

    def _next_timer(self) -> float | None:
        timers = [self._have_awaited_until, self._supply.next_timer() if self._supply else None]
        return min((at for at in timers if at is not None), default=None)

    async def _send_next(self) -> bool:
        now = _now()
        if self._have_awaited_until is not None:
            if now < self._have_awaited_until:
                return False
            self._have_awaited_until = None
        line = self._line()
        if line is not None:
            await line.room(LINE_ROOM_BYTES)
        supply = self._supply
        if supply is None:
            supply = await self._store.write(lambda tx: outgoing.load_supply(tx, self._me, self.dsk))
            self._supply = supply
            if supply is None:
                return False
        if line is not None and self._fresh_line:
            # What waits in a mailbox goes by the link too: the server may be down, and twice does no harm.
            self._fresh_line = False
            supply.lost_path()
        is_again = supply.poll(now=now)

        def seal(tx: sqlite3.Connection) -> Sealed | None:
            if is_again:
                planning.lapsed(tx, self._me, self.dsk)
            return outgoing.seal_next(tx, self._me, self.dsk, supply, direct=line is not None)

        sealed = await self._store.write(seal)
        if sealed is None:
            return False
        supply.send(sealed.key, sealed.last, now=_now(), again=line is not None)
        if line is not None:
            line.send(sealed.message)
        elif sealed.node is not None:
            self._posted(sealed.node)
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
