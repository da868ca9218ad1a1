"""The direct way to one device: a lasting line over links that are called, answered, watched, replaced (§5, §7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from overfence_reliability import Lane

from ..connect.backoff import Backoff
from ..connect.call import CALL_TIMEOUT_S, SHUN_FIRST_S, SHUN_LAST_S, Action, Call, Event, State
from ..connect.errors import BadSdp, LinkClosed, LinkEnd, LinkFailed, OutOfTurn
from ..connect.guard import Meter, Violation
from ..connect.line import Line, News
from ..connect.webrtc import CandidatePair, Link, LinkConfig
from .payload import Ring, Sdp

logger = logging.getLogger(__name__)

# Messages on a line that can't be read, or were read before. A device that was set back to an older copy may have as
# many on their way as a window holds; who goes on with it wants our time.
WASTED_PER_S = 50
WASTED_AT_ONCE = 2000
FIRST_RECALL_S = 1.0
LAST_RECALL_S = 60.0


class Listener(Protocol):
    """Who hears what comes of it; called on the loop."""

    def arrived(self, dsk: bytes, message: bytes, release: Callable[[], None]) -> None:
        """A message came; `release` is to be called once it is taken in, and makes room for more."""

    def line_changed(self, dsk: bytes, why: str) -> None:
        """The line went up or down."""

    def call_failed(self, dsk: bytes, why: str) -> None:
        """No link came about; `Direct.retry_in_s` says when the next try is."""


@dataclass(frozen=True)
class Circumstances:
    """What all direct ways of one device share: whom to ask for help, where chance comes from, who runs tasks."""

    config: LinkConfig
    random: Callable[[int], bytes]
    jitter: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    listener: Listener


class Direct:
    """Keeps the line to one device up while the device is in sight: a dead link is followed by a fresh one.

    A link that fell silent is kept until another has opened, or it is heard again: whichever comes first.
    `say` delivers a call's item by mailbox, now or never, and tells which.
    """

    def __init__(
        self,
        dsk: bytes,
        around: Circumstances,
        *,
        offers: bool,
        say: Callable[[Sdp | Ring], Coroutine[Any, Any, bool]],
    ) -> None:
        self.dsk = dsk
        self._around = around
        self._say = say
        self._call = Call(
            offers=offers,
            backoff=Backoff(first_s=FIRST_RECALL_S, last_s=LAST_RECALL_S, jitter=around.jitter),
            shunning=Backoff(first_s=SHUN_FIRST_S, last_s=SHUN_LAST_S, jitter=around.jitter),
        )
        self._line = self._fresh_line()
        self._link: Link | None = None
        self._next: Link | None = None
        self._call_id = b""
        self._is_over = False
        self._patience = self._fresh_patience()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def line(self) -> Line | None:
        """The line, while it is up."""
        return self._line if self._line.is_up else None

    @property
    def pair(self) -> CandidatePair | None:
        """How the link in use goes."""
        return self._link.pair if self._link is not None else None

    @property
    def retry_in_s(self) -> float | None:
        """Seconds to the next try for a link; None where none is planned."""
        due_at = None if self._is_over else self._call.next_timer()
        return None if due_at is None else max(0.0, due_at - asyncio.get_running_loop().time())

    def present(self, here: bool) -> None:
        """The device came into a topic of ours, or went."""
        self._take(Event.APPEARED if here else Event.VANISHED)

    def heard(self, item: Sdp | Ring) -> None:
        """An item of a call came, authentic, by whatever path."""
        if isinstance(item, Ring):
            self._take(Event.RANG)
        elif item.kind == "offer":
            self._take(Event.OFFERED, item)
        elif item.call == self._call_id and self._next is not None:
            self._around.spawn(self._accept(self._next, item.text))

    def wasted(self) -> bool:
        """The line brought a message that could not be read, or was read before; True if that was one too many."""
        try:
            self._patience.spend(1, now=asyncio.get_running_loop().time())
        except Violation as violation:
            logger.info("a line is over: %s", violation.detail)
            self._patience = self._fresh_patience()
            self._shun(str(violation.reason))
            return True
        return False

    async def drop(self) -> None:
        """End the links that are there; another follows."""
        for link in (self._link, self._next):
            if link is not None:
                await link.close()

    async def close(self) -> None:
        """End it for good."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._line.close()
        await self.drop()

    # ── the call ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, event: Event, offer: Sdp | None = None) -> None:
        if self._is_over:
            return
        action = self._call.take(event, now=asyncio.get_running_loop().time())
        self._arm()
        match action:
            case None:
                pass
            case Action.OFFER:
                self._around.spawn(self._offer(self._fresh(self._around.random(8))))
            case Action.ANSWER:
                if offer is not None:
                    self._around.spawn(self._answer(self._fresh(offer.call), offer))
            case Action.RING:
                self._around.spawn(self._ring())
            case Action.DROP:
                self._drop_next()
            case _:
                assert_never(action)
        if event in (Event.RANG, Event.OFFERED) and self._call.state is State.DOUBTED:
            self._line.unheard()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_at = self._call.next_timer()
        if due_at is not None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._take, Event.TIMER)

    def _fresh(self, call_id: bytes) -> Link:
        self._drop_next()
        self._call_id = call_id

        def received(lane: Lane, packet: bytes) -> None:
            # The other side may have seen it open before us.
            self._use(link)
            if self._line.carries(link):
                self._line.arrived(lane, packet)

        def roomy() -> None:
            if self._line.carries(link):
                self._line.roomy()

        link = Link(self._around.config, received=received, ended=lambda end: self._ended(link, end), roomy=roomy)
        self._next = link
        return link

    def _use(self, link: Link) -> None:
        """The link that was called is open: the line goes on over it."""
        if self._next is not link:
            return
        before, self._link, self._next = self._link, link, None
        self._line.attach(link)
        self._take(Event.OPENED)
        if before is not None:
            self._around.spawn(before.close())

    def _ended(self, link: Link, end: LinkEnd) -> None:
        if self._next is link:
            self._next = None
            logger.info("a call ended: %s", end)
            if end.is_their_fault:
                self._shun(str(end.reason))
            elif self._link is None:
                self._take(Event.FAILED)
                self._around.listener.call_failed(self.dsk, str(end.reason))
        elif self._link is link:
            self._link = None
            logger.info("a link ended: %s", end)
            if end.is_their_fault:
                self._shun(str(end.reason))
                return
            self._line.detach()
            self._take(Event.FAILED)
            self._around.listener.line_changed(self.dsk, str(end.reason))

    def _drop_next(self) -> None:
        link, self._next = self._next, None
        if link is not None:
            self._around.spawn(link.close())

    # ── the line ──────────────────────────────────────────────────────────────────────────────────

    def _fresh_line(self) -> Line:
        def received(message: bytes, release: Callable[[], None]) -> None:
            self._around.listener.arrived(self.dsk, message, release)

        def happened(news: News) -> None:
            if self._line is line:
                self._heed(news)

        line = Line(self._around.random(8), received=received, happened=happened)
        return line

    def _heed(self, news: News) -> None:
        match news:
            case News.BEGUN | News.RESUMED:
                self._around.listener.line_changed(self.dsk, "connected")
            case News.SILENT:
                self._take(Event.SILENT)
                self._around.listener.line_changed(self.dsk, "silent")
            case News.HEARD:
                self._take(Event.HEARD)
                self._around.listener.line_changed(self.dsk, "connected")
            case News.BROKEN:
                self._shun("protocol")
            case News.ENDED:
                # What it had not confirmed, sync sends again by the next one.
                self._line = self._fresh_line()
                if self._link is not None:
                    self._around.spawn(self._link.close())
            case _:
                assert_never(news)

    def _fresh_patience(self) -> Meter:
        return Meter(WASTED_PER_S, at_once=WASTED_AT_ONCE, units="useless messages")

    def _shun(self, why: str) -> None:
        """The device broke the rules: no link, no line, and for a while no other."""
        link, self._link = self._link, None
        if link is not None:
            self._around.spawn(link.close())
        self._line.detach()
        self._line = self._fresh_line()
        self._take(Event.BROKE_RULES)
        self._around.listener.line_changed(self.dsk, why)

    # ── its steps ─────────────────────────────────────────────────────────────────────────────────

    async def _ring(self) -> None:
        # One that gets lost is followed by another.
        await self._say(Ring())

    async def _offer(self, link: Link) -> None:
        try:
            if await self._say(Sdp(self._call_id, "offer", await link.offer())):
                await self._open(link)
            else:
                await link.close()  # nobody there yet: soon again, by the back-off
        except (LinkFailed, OutOfTurn) as error:
            logger.info("a call failed: %s", error)

    async def _answer(self, link: Link, offer: Sdp) -> None:
        try:
            if await self._say(Sdp(offer.call, "answer", await link.answer(offer.text))):
                await self._open(link)
            else:
                await link.close()
        except (BadSdp, LinkFailed, OutOfTurn) as error:
            logger.info("an answered call failed: %s", error)
            await link.close()

    async def _accept(self, link: Link, answer: str) -> None:
        try:
            await link.accept(answer)
        except (BadSdp, LinkFailed, LinkClosed, OutOfTurn) as error:
            logger.info("an answer was refused: %s", error)

    async def _open(self, link: Link) -> None:
        await link.opened(CALL_TIMEOUT_S)
        self._use(link)
