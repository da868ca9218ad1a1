"""aiortc as it comes: two reliable ordered channels of one connection, one for chat and one for a file."""

from __future__ import annotations

import asyncio

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from .peer import Heard


class Bare:
    """A `Peer` that adds nothing."""

    def __init__(self, heard: Heard) -> None:
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._chat = self._connection.createDataChannel("chat", negotiated=True, id=0)
        self._file = self._connection.createDataChannel("file", negotiated=True, id=1)
        self._open = asyncio.Event()
        self._file.on("open", self._open.set)
        for channel in (self._chat, self._file):
            channel.on("message", heard)

    async def offer(self) -> str:
        """The description that begins it."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        """The description that answers another end's."""
        await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Take what answered one's own."""
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def opened(self) -> None:
        """Return once both channels are open."""
        await self._open.wait()

    def send(self, message: bytes) -> None:
        """A chat message."""
        self._chat.send(message)

    def send_file(self, piece: bytes) -> None:
        """A piece of a file."""
        self._file.send(piece)

    def file_queued_bytes(self) -> int:
        """Which, in aiortc, falls as soon as a piece goes on its way."""
        return int(self._file.bufferedAmount)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()


def make(heard: Heard) -> Bare:
    """One end."""
    return Bare(heard)
