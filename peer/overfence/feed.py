"""An asynchronous iterator that hears from the moment it is asked for, not from its first step."""

from __future__ import annotations

import asyncio
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Everything told since it was made, in order, each once; it ends when its `Chat` closes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[T | None] = asyncio.Queue()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = None if self._ended and self._queue.empty() else await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        return item

    @property
    def unread(self) -> int:
        """How many wait to be read."""
        return self._queue.qsize()

    def tell(self, item: T) -> None:
        """One more."""
        self._queue.put_nowait(item)

    def end(self) -> None:
        """No more; what was told before can still be read."""
        if not self._ended:
            self._ended = True
            self._queue.put_nowait(None)
