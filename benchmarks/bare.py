"""One end of a bare aiortc data channel, for comparison: nothing stored, nothing sealed but by DTLS."""

from __future__ import annotations

import asyncio
from typing import Any

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from .orders import Tally, Window, now, orders, report, text_of

# It leaves loopback out by itself; this is a process of its own, so nobody else's aioice is changed.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class End:
    """One end: the reliable ordered channel, and a confirmation for each batch that arrives."""

    def __init__(self) -> None:
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel: RTCDataChannel = self._connection.createDataChannel("bare", negotiated=True, id=0)
        self._channel.on("open", lambda: report("path", path="direct", at=now()))
        self._channel.on("message", self._arrived)
        self._tally = Tally()
        self._window = Window(1)
        self._count = 0
        self._unconfirmed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what was asked; long things go on by themselves."""
        match order["do"]:
            case "offer":
                began_at = now()
                await self._connection.setLocalDescription(await self._connection.createOffer())
                report("offer", sdp=self._connection.localDescription.sdp, began_at=began_at)
            case "answer":
                await self._connection.setRemoteDescription(RTCSessionDescription(order["sdp"], "offer"))
                await self._connection.setLocalDescription(await self._connection.createAnswer())
                report("answer", sdp=self._connection.localDescription.sdp)
            case "take":
                await self._connection.setRemoteDescription(RTCSessionDescription(order["sdp"], "answer"))
            case "expect":
                self._count = 0
                self._tally.expect(order["count"], each=order["each"])
                report("expecting")
            case "pace":
                self._tasks.add(asyncio.create_task(self._pace(order["count"], order["every_s"], order["size"])))
            case "burst":
                self._tasks.add(asyncio.create_task(self._burst(order["count"], order["window"], order["size"])))

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    def _arrived(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._window.confirm(int.from_bytes(message, "big"))
            return
        self._count += 1
        self._tally.take(message)
        if not self._unconfirmed:
            self._unconfirmed = True
            asyncio.get_running_loop().call_soon(self._confirm)

    def _confirm(self) -> None:
        self._unconfirmed = False
        self._channel.send(self._count.to_bytes(8, "big"))

    async def _pace(self, count: int, every_s: float, size: int) -> None:
        """Lone messages, evenly in time."""
        loop, sent_at = asyncio.get_running_loop(), []
        begin_at = loop.time()
        for number in range(count):
            await asyncio.sleep(begin_at + number * every_s - loop.time())
            sent_at.append(now())
            self._channel.send(text_of(number, size))
        report("paced", sent_at=sent_at)

    async def _burst(self, count: int, width: int, size: int) -> None:
        """As fast as the window lets it."""
        self._window = window = Window(width)
        began_at = now()
        for _ in range(count):
            self._channel.send(text_of(await window.take(), size))
        await window.emptied()
        report("burst", began_at=began_at, confirmed_at=now())


async def live() -> None:
    """Until told to quit."""
    end = End()
    report("ready", at=now())
    async for order in orders():
        await end.obey(order)
    await end.close()


if __name__ == "__main__":
    asyncio.run(live())
