"""The direct link to one device: called, answered, watched, replaced (docs/protocol.md §5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

from ..connect.backoff import Backoff
from ..connect.call import CALL_TIMEOUT_S, Action, Call, Event, State
from ..connect.errors import BadSdp, LinkClosed, LinkEnd, LinkFailed, OutOfTurn
from ..connect.webrtc import Link, LinkConfig
from .payload import Ring, Sdp

logger = logging.getLogger(__name__)

FIRST_RECALL_S = 1.0
LAST_RECALL_S = 60.0


class Direct:
    """At most one link to one device at a time; a dead one is followed by a fresh one while the device is in sight.

    `say` delivers a call's item by mailbox, now or never, and tells which. `received` and `changed` are
    called on the loop.
    """

    def __init__(
        self,
        dsk: bytes,
        *,
        offers: bool,
        config: LinkConfig,
        random: Callable[[int], bytes],
        jitter: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        say: Callable[[Sdp | Ring], Coroutine[Any, Any, bool]],
        received: Callable[[bytes], None],
        changed: Callable[[str], None],
    ) -> None:
        self.dsk = dsk
        self._call = Call(offers=offers, backoff=Backoff(first_s=FIRST_RECALL_S, last_s=LAST_RECALL_S, jitter=jitter))
        self._config = config
        self._random = random
        self._spawn = spawn
        self._say = say
        self._received = received
        self._changed = changed
        self._link: Link | None = None
        self._call_id = b""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def link(self) -> Link | None:
        """The link, when it is open."""
        return self._link if self._call.state is State.OPEN else None

    def present(self, here: bool) -> None:
        """The device came into a topic of ours, or went."""
        self._take(Event.APPEARED if here else Event.VANISHED)

    def heard(self, item: Sdp | Ring) -> None:
        """An item of a call came, authentic, by whatever path."""
        if isinstance(item, Ring):
            self._take(Event.RANG)
        elif item.kind == "offer":
            self._take(Event.OFFERED, item)
        elif item.call == self._call_id and self._link is not None:
            self._spawn(self._accept(self._link, item.text))

    async def drop(self) -> None:
        """End the link that is there; another follows."""
        if self._link is not None:
            await self._link.close()

    async def close(self) -> None:
        """End the link, for good."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            await self._link.close()

    def _take(self, event: Event, offer: Sdp | None = None) -> None:
        was_open = self.link is not None
        action = self._call.take(event, now=asyncio.get_running_loop().time())
        self._arm()
        if was_open and self.link is None:
            self._changed("a new call" if action is not None else "the link ended")
        match action:
            case None:
                pass
            case Action.OFFER:
                self._spawn(self._offer(self._fresh(self._random(8))))
            case Action.ANSWER:
                if offer is not None:
                    self._spawn(self._answer(self._fresh(offer.call), offer))
            case Action.RING:
                self._spawn(self._ring())
            case Action.DROP:
                self._drop()
            case _:
                assert_never(action)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_at = self._call.next_timer()
        if due_at is not None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._take, Event.TIMER)

    def _fresh(self, call_id: bytes) -> Link:
        self._drop()
        self._call_id = call_id

        def ended(end: LinkEnd) -> None:
            # An older link's end is no news: it was dropped for this one.
            if self._link is link:
                self._link = None
                logger.info("a link ended: %s", end)
                self._take(Event.FAILED)

        link = Link(self._config, received=self._received, ended=ended)
        self._link = link
        return link

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._spawn(link.close())

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
        if self._link is link:
            self._take(Event.OPENED)
            self._changed("connected")
