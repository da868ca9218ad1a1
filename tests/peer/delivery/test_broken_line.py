"""A line whose peer breaks the rules ends with its link, and another begins on the next, a while later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from overfence.connect.call import SHUN_FIRST_S
from overfence.connect.errors import LinkEnd, Reason
from overfence.connect.webrtc import LinkConfig
from overfence.delivery import direct
from overfence.delivery.direct import Circumstances, Direct
from overfence.delivery.payload import Ring, Sdp
from overfence_reliability import Connection, Lane


class PaperLink:
    """A link that opens at once, and whose other end is the test."""

    made: list[PaperLink]

    def __init__(
        self,
        config: LinkConfig,
        *,
        received: Callable[[Lane, bytes], None],
        ended: Callable[[LinkEnd], None],
        roomy: Callable[[], None],
    ) -> None:
        self.received = received
        self.ended = ended
        self.pair = None
        self.is_closed = False
        self.posted: list[tuple[Lane, bytes]] = []
        self.made.append(self)

    async def answer(self, text: str) -> str:
        return "answer"

    async def opened(self, within_s: float) -> None:
        return

    def post(self, lane: Lane, packet: bytes) -> None:
        self.posted.append((lane, packet))

    def room_bytes(self, lane: Lane) -> int:
        return 64 * 1024

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.ended(LinkEnd("closed", "closed here"))


class Ear:
    def arrived(self, dsk: bytes, message: bytes, release: Callable[[], None]) -> None:
        release()

    def line_changed(self, dsk: bytes, why: str) -> None:
        return

    def call_failed(self, dsk: bytes, why: str) -> None:
        return


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[PaperLink]:
    PaperLink.made = []
    monkeypatch.setattr(direct, "Link", PaperLink)
    return PaperLink.made


Way = tuple[Direct, Callable[[bytes], Coroutine[Any, Any, PaperLink]]]


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def way(links: list[PaperLink]) -> AsyncIterator[Way]:
    """The way to a device that is in sight, and how it calls."""
    tasks: list[asyncio.Task[None]] = []
    draws = iter(range(1, 100))

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    async def say(item: Sdp | Ring) -> bool:
        return True

    def drawn(count: int) -> bytes:
        return next(draws).to_bytes(count, "big")

    direct_way = Direct(b"d" * 32, Circumstances(LinkConfig(), drawn, lambda: 0.0, spawn, Ear()), offers=False, say=say)
    direct_way.present(True)

    async def call(call_id: bytes) -> PaperLink:
        before = len(links)
        direct_way.heard(Sdp(call_id, "offer", "offer"))
        await turns()
        if len(links) == before:
            raise NotAnswered
        peer = Connection(call_id)
        peer.path_opened(now=0.0)
        for lane, packet in peer.poll(now=0.0):
            links[-1].received(lane, packet)
        await turns()
        return links[-1]

    yield direct_way, call
    await direct_way.close()
    await asyncio.gather(*tasks)


class NotAnswered(Exception):
    """The offer was ignored."""


async def test_a_line_whose_peer_broke_the_rules_ends_with_its_link_and_later_another_begins(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct_way, call = way
    first = await call(b"call-001")
    assert direct_way.line is not None
    first.received(Lane.FAST, b"\xff" * 40)
    await turns()
    assert direct_way.line is None
    assert first.is_closed
    with pytest.raises(NotAnswered):
        await call(b"call-002")
    assert direct_way.retry_in_s == pytest.approx(SHUN_FIRST_S, abs=1.0)
    loop = asyncio.get_running_loop()
    later_at = loop.time() + SHUN_FIRST_S
    monkeypatch.setattr(loop, "time", lambda: later_at)
    second = await call(b"call-003")
    assert second is not first
    assert direct_way.line is not None


@pytest.mark.parametrize("reason", ["flooded", "protocol"])
async def test_a_link_that_ended_by_their_fault_is_not_soon_followed_by_another(way: Way, reason: Reason) -> None:
    direct_way, call = way
    first = await call(b"call-001")
    first.is_closed = True
    first.ended(LinkEnd(reason, "as a test says"))
    await turns()
    assert direct_way.line is None
    with pytest.raises(NotAnswered):
        await call(b"call-002")


@pytest.mark.parametrize("reason", ["failed", "remote", "closed"])
async def test_a_link_that_ended_by_nobodys_fault_may_be_followed_at_once(way: Way, reason: Reason) -> None:
    direct_way, call = way
    first = await call(b"call-001")
    first.is_closed = True
    first.ended(LinkEnd(reason, "as a test says"))
    await turns()
    assert direct_way.line is None
    await call(b"call-002")
    assert direct_way.line is not None


async def test_who_ends_the_line_in_good_order_is_answered_at_once(way: Way) -> None:
    direct_way, call = way
    first = await call(b"call-001")
    peer = Connection(b"call-001")
    peer.path_opened(now=0.0)
    peer.poll(now=0.0)
    peer.close()
    for lane, packet in peer.poll(now=0.0):
        first.received(lane, packet)
    await turns()
    assert direct_way.line is None
    assert first.is_closed
    await call(b"call-002")
    assert direct_way.line is not None


async def test_a_way_that_is_over_plans_nothing(way: Way) -> None:
    direct_way, call = way
    await call(b"call-001")
    await direct_way.close()
    await turns()
    assert direct_way.retry_in_s is None
    with pytest.raises(NotAnswered):
        await call(b"call-002")
