"""A line: the lasting reliable connection to one device, over one link, then the next, then none for a while (§7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Protocol, assert_never

from overfence_reliability import (
    BufferFull,
    Closed,
    Config,
    Connection,
    ConnectionClosed,
    Discontinuity,
    Event,
    Finished,
    Lane,
    Opened,
    Priority,
    Received,
    Rule,
    Silent,
    Writable,
)

from .errors import LinkClosed

logger = logging.getLogger(__name__)

# What the other side may have sent and we not yet taken in: bounds our memory, and brakes it while our disk is slow.
WINDOW_BYTES = 1024 * 1024
MESSAGE_LIMIT_BYTES = 65_536
# What waits here for its confirmation. Past it `send` refuses: a peer that confirms nothing costs us no more than this.
BUFFER_BYTES = 1024 * 1024
# Who has asked and hears nothing for so long looks for another way: a path that changed under us (a router that forgot
# us, another network) never comes back by itself, and being wrong costs one call. Nobody asked is no reason to doubt.
DOUBT_AFTER_S = 1.0
DOUBT_AFTER_ROUND_TRIPS = 4
# A timer that comes this much late says that we stood still, a sleeping laptop say, not that the others are gone.
STOOD_STILL_S = 0.5


class News(Enum):
    """What happens to a line."""

    RESUMED = "goes on where it was"
    BEGUN = "the other side knows nothing of what was on its way"
    SILENT = "nothing was heard for too long"
    HEARD = "heard again"
    BROKEN = "the other side broke the rules"
    ENDED = "the other side ended it, or doesn't hear us"


class Carrier(Protocol):
    """What a line needs of a link."""

    def post(self, lane: Lane, packet: bytes) -> None: ...
    def room_bytes(self, lane: Lane) -> int: ...


class Line:
    """Whole messages in order, each once, for as long as both processes live, whatever becomes of the link.

    Each priority is a stream of its own: the more urgent goes first, none waits for another. `received` gets each
    message, with what to call once it is taken in; `happened` gets the news. Both are called on the loop, and neither
    from inside `send`.
    """

    def __init__(
        self,
        connection_id: bytes,
        *,
        received: Callable[[bytes, Callable[[], None]], None],
        happened: Callable[[News], None],
    ) -> None:
        self._connection = Connection(
            connection_id,
            Config(
                window_bytes=WINDOW_BYTES // 2,
                window_all_bytes=WINDOW_BYTES,
                message_limit_bytes=MESSAGE_LIMIT_BYTES,
                buffer_bytes=BUFFER_BYTES,
                manual_release=True,
            ),
        )
        self._streams = {priority: self._connection.open(priority) for priority in Priority}
        self._received = received
        self._happened = happened
        self._link: Carrier | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flush_soon: asyncio.Handle | None = None
        self._moved = asyncio.Event()
        self._is_open = False
        self._is_silent = False
        self._is_broken = False
        # Since when something is unconfirmed and nothing was heard.
        self._unheard_since: float | None = None
        # What was unconfirmed when the other side told that it doesn't hear us.
        self._unheard_bytes: int | None = None

    @property
    def is_up(self) -> bool:
        """Does it carry messages right now, as far as anybody knows?"""
        return self._is_open and not self._is_silent and not self._is_broken

    # ── links ─────────────────────────────────────────────────────────────────────────────────────

    def attach(self, link: Carrier) -> None:
        """Go on over this link, in place of any before."""
        self._link = link
        self._begin_anew()
        self._connection.path_opened(now=self._loop.time())
        self._soon()

    def detach(self) -> None:
        """The link is gone; everything waits for the next."""
        self._link = None
        self._begin_anew()
        self._connection.path_closed()
        self._moved.set()
        self._soon()

    def carries(self, link: Carrier) -> bool:
        """Is that the link in use?"""
        return self._link is link

    def arrived(self, lane: Lane, packet: bytes) -> None:
        """A packet came by the link in use."""
        self._connection.receive(packet, lane=lane, now=self._loop.time())
        self._unheard_since = None
        if self._unheard_bytes is not None and self.unconfirmed_bytes < self._unheard_bytes:
            self._unheard_bytes = None
        if self._is_silent and self._unheard_bytes is None and not self._is_broken:
            self._is_silent = False
            self._loop.call_soon(self._happened, News.HEARD)
        self._soon()

    def unheard(self) -> None:
        """The other side tells, by another way, that it doesn't hear us: true, if it leaves anything unconfirmed."""
        if self.is_up and self.unconfirmed_bytes:
            self._unheard_bytes = self.unconfirmed_bytes
            # At once: whoever asks for the line in between would take what waits on it for said.
            self._fall_silent()

    def roomy(self) -> None:
        """The link takes more."""
        self._flush()

    # ── messages ──────────────────────────────────────────────────────────────────────────────────

    def send(self, message: bytes, priority: Priority = Priority.CHAT) -> None:
        """Take a message of at most 65,536 bytes. Raises `LinkClosed` where the line is broken, or `BufferFull`."""
        if self._is_broken:
            raise LinkClosed(None)
        try:
            self._connection.send(self._streams[priority], message)
        except ConnectionClosed:
            # It ended in this turn of the loop; the news of it is on its way.
            raise LinkClosed(None) from None
        self._soon()

    @property
    def unconfirmed_bytes(self) -> int:
        """What was sent, and the other device's process has not confirmed."""
        return self._connection.unconfirmed_bytes

    async def room(self, limit_bytes: int) -> None:
        """Return once at most `limit_bytes` are unconfirmed. Raises `LinkClosed` when the line goes down before."""
        while self.is_up and self.unconfirmed_bytes > limit_bytes:
            self._moved.clear()
            await self._moved.wait()
        if not self.is_up:
            raise LinkClosed(None)

    def close(self) -> None:
        """Say goodbye if there is a link, and be over."""
        self._is_broken = True
        self._connection.close()
        self._flush()
        for handle in (self._timer, self._flush_soon):
            if handle is not None:
                handle.cancel()
        self._moved.set()

    # ── the one timer ─────────────────────────────────────────────────────────────────────────────

    def _soon(self) -> None:
        # Once for everything that is said or heard in one turn of the loop: that is what fills packets.
        if self._flush_soon is None:
            self._flush_soon = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = None
        link = self._link
        room = link.room_bytes(Lane.BULK) if link is not None else 0
        packets = self._connection.poll(now=self._loop.time(), room=room)
        for event in self._connection.events():
            self._tell(event)
        try:
            if link is not None:
                for lane, packet in packets:
                    link.post(lane, packet)
        except LinkClosed:
            pass  # its end is on its way to us, and what was lost with it is said again on the next
        self._moved.set()
        self._doubt()
        self._arm()

    def _begin_anew(self) -> None:
        self._is_open = self._is_silent = False
        self._unheard_since = self._unheard_bytes = None

    def _doubt(self) -> None:
        now = self._loop.time()
        if not self.is_up or not self.unconfirmed_bytes:
            self._unheard_since = None
        elif self._unheard_since is None or now > self._doubt_at() + STOOD_STILL_S:
            self._unheard_since = now
        elif now >= self._doubt_at():
            self._fall_silent()

    def _doubt_at(self) -> float:
        round_trips_s = DOUBT_AFTER_ROUND_TRIPS * (self._connection.round_trip_s or 0.0)
        return (self._unheard_since or 0.0) + max(DOUBT_AFTER_S, round_trips_s)

    def _fall_silent(self) -> None:
        if not self._is_silent:
            self._is_silent = True
            self._happened(News.SILENT)

    def _arm(self) -> None:
        due_at = self._connection.next_timer()
        if due_at is None or self._is_broken:
            return
        if self._unheard_since is not None:
            due_at = min(due_at, self._doubt_at())
        if self._timer is not None:
            if self._timer.when() <= due_at:
                return  # it comes too early, finds nothing to do, and is set anew: cheaper than moving it each time
            self._timer.cancel()
        self._timer = self._loop.call_at(due_at, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._flush()

    def _tell(self, event: Event) -> None:
        match event:
            case Received():
                self._received(event.body, partial(self._release, event))
            case Opened(resumed):
                self._is_open = True
                self._happened(News.RESUMED if resumed else News.BEGUN)
            case Discontinuity() | Writable() | Finished():
                pass  # `Opened` follows; nobody waits for room but `room`; what ends is the line
            case Silent():
                self._fall_silent()
            case Closed(by_peer, violation):
                if not self._is_broken:
                    logger.info("a line is over: %s", violation or "the other side ended it")
                    self._is_broken = True
                    # Deaf is also who is honest behind a path that carries one way only, or no large packets.
                    is_deaf = violation is not None and violation.rule is Rule.DEAF
                    self._happened(News.ENDED if by_peer or is_deaf else News.BROKEN)
            case _:
                assert_never(event)

    def _release(self, received: Received) -> None:
        self._connection.release(received)
        self._soon()


__all__ = ["BufferFull", "Carrier", "Line", "News"]
