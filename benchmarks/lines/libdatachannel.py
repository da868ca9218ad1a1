"""libdatachannel by its Python binding: two reliable ordered channels of one connection. Needs Python 3.12."""

from __future__ import annotations

import asyncio

from aiolibdatachannel import (  # type: ignore[import-not-found]  # it is in an environment of its own
    ConnectionClosedError,
    DataChannel,
    DataChannelOptions,
    PeerConnection,
    RTCConfiguration,
)

from .peer import Heard


class Native:
    """A `Peer` whose protocols run in threads of their own, outside Python."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._connection = PeerConnection(RTCConfiguration())
        self._reading: list[asyncio.Task[None]] = []

    async def _prepare(self) -> None:
        self._chat, self._file = [await self._channel(label, number) for number, label in enumerate(("chat", "file"))]
        self._reading = [asyncio.create_task(self._read(channel)) for channel in (self._chat, self._file)]

    async def _channel(self, label: str, number: int) -> DataChannel:
        return await self._connection.create_data_channel(label, DataChannelOptions(negotiated=True, stream_id=number))

    async def offer(self) -> str:
        """The description that begins it."""
        await self._prepare()
        return str((await self._connection.create_offer()).sdp)

    async def answer(self, offer: str) -> str:
        """The description that answers another end's."""
        await self._prepare()
        await self._connection.set_remote_description(offer, "offer")
        return str((await self._connection.create_answer()).sdp)

    async def accept(self, answer: str) -> None:
        """Take what answered one's own."""
        await self._connection.set_remote_description(answer, "answer")

    async def opened(self) -> None:
        """Return once both channels are open."""
        await self._chat.wait_open()
        await self._file.wait_open()

    def send(self, message: bytes) -> None:
        """A chat message."""
        send_now(self._chat, message)

    def send_file(self, piece: bytes) -> None:
        """A piece of a file."""
        send_now(self._file, piece)

    def file_queued_bytes(self) -> int:
        """What has not been handed to its SCTP."""
        return int(self._file.buffered_amount)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.aclose()
        await asyncio.gather(*self._reading)

    async def _read(self, channel: DataChannel) -> None:
        try:
            while True:
                message = await channel.recv()
                self._heard(message if isinstance(message, bytes) else message.encode())
        except ConnectionClosedError:
            return


def send_now(channel: DataChannel, message: bytes) -> None:
    """Its `send` is a coroutine only because it could wait for room; told not to, it is over at its first step."""
    try:
        channel.send(message, wait_for_drain=False).send(None)
    except StopIteration:
        return
    raise RuntimeError("the binding waits where it was told not to")


def make(heard: Heard) -> Native:
    """One end."""
    return Native(heard)
