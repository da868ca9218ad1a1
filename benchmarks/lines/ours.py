"""Ours: a line over one link, unsealed, with chat and a file on streams of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from overfence.connect.line import Line, News
from overfence.connect.webrtc import Link, LinkConfig
from overfence_reliability import Lane, Priority

from .peer import Heard

OPEN_WITHIN_S = 20.0


class Ours:
    """A `Peer` made of what a device of ours talks through."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._open = asyncio.Event()
        self._line = Line(os.urandom(8), received=self._received, happened=self._happened)
        self._link = Link(LinkConfig(), received=self._arrived, ended=lambda _end: None, roomy=self._roomy)

    async def offer(self) -> str:
        """The description that begins it."""
        return await self._link.offer()

    async def answer(self, offer: str) -> str:
        """The description that answers another end's."""
        return await self._link.answer(offer)

    async def accept(self, answer: str) -> None:
        """Take what answered one's own."""
        await self._link.accept(answer)

    async def opened(self) -> None:
        """Return once the other end was heard."""
        await self._link.opened(OPEN_WITHIN_S)
        self._use()
        await self._open.wait()

    def send(self, message: bytes) -> None:
        """A chat message."""
        self._line.send(message)

    def send_file(self, piece: bytes) -> None:
        """A piece of a file."""
        self._line.send(piece, Priority.BULK)

    def file_queued_bytes(self) -> int:
        """What the other end hasn't confirmed."""
        return self._line.unconfirmed_bytes

    async def close(self) -> None:
        """End both."""
        self._line.close()
        await self._link.close()

    def _use(self) -> None:
        if not self._line.carries(self._link):
            self._line.attach(self._link)

    def _arrived(self, lane: Lane, packet: bytes) -> None:
        self._use()
        self._line.arrived(lane, packet)

    def _roomy(self) -> None:
        if self._line.carries(self._link):
            self._line.roomy()

    def _received(self, message: bytes, release: Callable[[], None]) -> None:
        self._heard(message)
        release()

    def _happened(self, news: News) -> None:
        if news is News.BEGUN:
            self._open.set()


def make(heard: Heard) -> Ours:
    """One end."""
    return Ours(heard)
