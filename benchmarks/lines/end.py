"""One end of some connections of one kind: `python -m benchmarks.lines.end KIND`, told and telling a JSON line each."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any

from ..orders import now, orders, report
from .peer import Peer, make

# What begins a message: whether it counts, its number, and when it was sent, on the clock all processes share.
HEAD = struct.Struct(">cId")
WARM, CHAT, FILE = b"w", b"c", b"f"
PIECE_BYTES = 16 * 1024
FILL_EVERY_S = 0.002


class End:
    """Some peers, what they are to send, and what has come."""

    def __init__(self, kind: str, group: asyncio.TaskGroup) -> None:
        self._kind = kind
        self._group = group
        self._peers: list[Peer] = []
        self._expected = 0
        self._came: list[tuple[int, int, float, float]] = []
        self._file_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what was asked; long things go on by themselves."""
        match order["do"]:
            case "offer":
                self._add(order["count"])
                report("offers", offers=await asyncio.gather(*(peer.offer() for peer in self._peers)))
            case "answer":
                self._add(len(order["offers"]))
                asked = zip(self._peers, order["offers"], strict=True)
                report("answers", answers=await asyncio.gather(*(peer.answer(offer) for peer, offer in asked)))
                self._start(self._open())
            case "take":
                answered = zip(self._peers, order["answers"], strict=True)
                await asyncio.gather(*(peer.accept(answer) for peer, answer in answered))
                self._start(self._open())
            case "expect":
                self._expected, self._came = order["count"], []
                report("expecting")
            case "pace":
                self._start(self._pace(order["warm"], order["count"], order["every_s"], order["size"]))
            case "fill":
                self._start(self._fill(order["queued_bytes"]))
            case "tell":
                report("told", at=now(), file_bytes=self._file_bytes, came=self._came)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(peer.close() for peer in self._peers))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self._group.create_task(work))

    def _add(self, count: int) -> None:
        self._peers = [make(self._kind, partial(self._heard, number)) for number in range(count)]

    async def _open(self) -> None:
        await asyncio.gather(*(peer.opened() for peer in self._peers))
        report("open", at=now())

    def _heard(self, peer: int, message: bytes) -> None:
        kind, number, sent_at = HEAD.unpack_from(message)
        if kind == FILE:
            self._file_bytes += len(message)
        elif kind == CHAT:
            at = now()
            self._came.append((peer, number, at - sent_at, at))
            if len(self._came) == self._expected:
                report("arrived", came=self._came)

    async def _pace(self, warm: int, count: int, every_s: float, size: int) -> None:
        """Messages evenly in time from each peer, and evenly among the peers; the first are only for warmth."""
        begin_at, peers = now(), len(self._peers)
        for number in range(warm + count):
            for index, peer in enumerate(self._peers):
                due_at = begin_at + every_s * (number + index / peers)
                await asyncio.sleep(due_at - now())
                kind = WARM if number < warm else CHAT
                peer.send(HEAD.pack(kind, max(0, number - warm), now()).ljust(size, b"x"))
        report("paced")

    async def _fill(self, queued_bytes: int) -> None:
        """A file without end from the first peer, that much of it always waiting."""
        piece = HEAD.pack(FILE, 0, 0.0).ljust(PIECE_BYTES, b"x")
        while True:
            while self._peers[0].file_queued_bytes() < queued_bytes:
                self._peers[0].send_file(piece)
            await asyncio.sleep(FILL_EVERY_S)


async def live(kind: str) -> None:
    """Until told to quit."""
    async with asyncio.TaskGroup() as group:
        end = End(kind, group)
        report("ready", at=now())
        async for order in orders():
            await end.obey(order)
        await end.close()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1]))
