"""A line whose peer breaks the rules ends with its link, and another begins on the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from overfence.connect.errors import LinkEnd
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


async def test_a_link_whose_line_broke_is_closed_and_the_next_carries_another(links: list[PaperLink]) -> None:
    tasks: list[asyncio.Task[None]] = []
    draws = iter(range(1, 100))

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    async def say(item: Sdp | Ring) -> bool:
        return True

    def drawn(count: int) -> bytes:
        return next(draws).to_bytes(count, "big")

    around = Circumstances(LinkConfig(), drawn, lambda: 0.0, spawn, Ear())
    way = Direct(b"d" * 32, around, offers=False, say=say)
    way.present(True)

    async def call(call_id: bytes) -> PaperLink:
        way.heard(Sdp(call_id, "offer", "offer"))
        for _ in range(10):
            await asyncio.sleep(0)
        peer = Connection(call_id)
        peer.path_opened(now=0.0)
        for lane, packet in peer.poll(now=0.0):
            links[-1].received(lane, packet)
        for _ in range(5):
            await asyncio.sleep(0)
        return links[-1]

    first = await call(b"call-001")
    assert way.line is not None
    first.received(Lane.FAST, b"\xff" * 40)
    for _ in range(10):
        await asyncio.sleep(0)
    assert way.line is None
    assert first.is_closed
    second = await call(b"call-002")
    assert second is not first
    assert way.line is not None
    await way.close()
    await asyncio.gather(*tasks)
