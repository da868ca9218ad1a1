"""The other end of `crew`: a script's orders come in on stdin, its reports go out on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any


def now() -> float:
    """Monotonic seconds, which on one machine all processes share."""
    return time.monotonic()


def report(what: str, **figures: object) -> None:
    """Tell the director, at once."""
    sys.stdout.write(json.dumps({"what": what, **figures}) + "\n")
    sys.stdout.flush()


async def orders() -> AsyncIterator[dict[str, Any]]:
    """Each order, until ``quit`` or until the director is gone."""
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        if order["do"] == "quit":
            return
        yield order


class Window:
    """A count that runs from 0 to a number, never more than ``width`` ahead of what was confirmed."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._taken = 0
        self._confirmed = 0
        self._moved = asyncio.Event()

    async def take(self) -> int:
        """The next number, once the window has room for it."""
        while self._taken - self._confirmed >= self._width:
            await self._wait()
        self._taken += 1
        return self._taken - 1

    def confirm(self, upto: int) -> None:
        """All below ``upto`` have arrived."""
        self._confirmed = max(self._confirmed, upto)
        self._moved.set()

    async def emptied(self) -> None:
        """Return once all that was taken is confirmed."""
        while self._confirmed < self._taken:
            await self._wait()

    async def _wait(self) -> None:
        self._moved.clear()
        await self._moved.wait()


class Tally:
    """What arrives during one phase: each message's number and when, or of a long phase only the last."""

    def __init__(self) -> None:
        self._expected = 0
        self._keep = False
        self._arrived = 0
        self._at: list[float] = []

    def expect(self, count: int, *, each: bool) -> None:
        """Begin a phase of ``count`` messages."""
        self._expected, self._keep, self._arrived, self._at = count, each, 0, []

    def take(self, text: str) -> None:
        """A message came; it must be the one that is due."""
        if not self._expected:
            return
        number = int(text.split(" ", 1)[0])
        assert number == self._arrived, f"message {number} came where {self._arrived} was due"
        self._arrived += 1
        if self._keep:
            self._at.append(now())
        if self._arrived == self._expected:
            self._expected = 0
            report("arrived", last_at=now(), at=self._at)


def text_of(number: int, size_bytes: int) -> str:
    """A message of exactly that size which says its number."""
    return f"{number} ".ljust(size_bytes, "x")
