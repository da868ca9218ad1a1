"""What waits to be written to one client: bounded, because a sender never waits for a receiver."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

# Written under one deadline: what the slowest connection worth keeping takes in that time.
BURST_BYTES = 64 * 1024


class Outbox:
    """Frames for one client, in order, never more than ``limit_bytes``; a frame too many and it overflows for good.

    ``on_easy`` is called when so much was written that stored items may follow again.
    """

    def __init__(self, *, limit_bytes: int, easy_bytes: int, on_easy: Callable[[], None]) -> None:
        self._limit_bytes = limit_bytes
        self._easy_bytes = easy_bytes
        self._on_easy = on_easy
        self._frames: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._size_bytes = 0
        self._promised_bytes = 0
        self._ended = False

    @property
    def easy(self) -> bool:
        """Whether the client reads well enough to be sent stored items, and to be read from."""
        return self._size_bytes + self._promised_bytes <= self._easy_bytes

    def promise(self, size_bytes: int) -> None:
        """Count bytes that are going to be pushed; a negative number takes it back."""
        was_easy = self.easy
        self._promised_bytes += size_bytes
        if not was_easy and self.easy:
            self._on_easy()

    def push(self, frame: bytes) -> bool:
        """Add a frame. False if it no longer fits; after `end` frames are dropped without a word."""
        if self._ended:
            return True
        if self._size_bytes + len(frame) > self._limit_bytes:
            return False
        self._frames.append(frame)
        self._size_bytes += len(frame)
        self._more.set()
        return True

    def end(self, last: bytes | None = None, *, drop_waiting: bool = False) -> None:
        """No frame comes after ``last``."""
        if self._ended:
            return
        self._ended = True
        if drop_waiting:
            self._frames.clear()
        if last is not None:
            self._frames.append(last)
        self._more.set()

    async def next(self) -> list[bytes]:
        """The next frames to write, waiting for one; none when all is written and none will come."""
        while not self._frames:
            if self._ended:
                return []
            self._more.clear()
            await self._more.wait()
        burst = [self._frames.popleft()]
        burst_bytes = len(burst[0])
        while self._frames and burst_bytes + len(self._frames[0]) <= BURST_BYTES:
            burst.append(self._frames.popleft())
            burst_bytes += len(burst[-1])
        was_easy = self.easy
        self._size_bytes -= burst_bytes
        if not was_easy and self.easy:
            self._on_easy()
        return burst
