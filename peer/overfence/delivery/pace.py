"""What comes seldom is let through at once; of what comes faster, the latest, a while later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pace(Generic[T]):
    """At most one ``let`` in ``every_s`` seconds, always with the newest there is."""

    def __init__(self, every_s: float, let: Callable[[T], None]) -> None:
        self._every_s = every_s
        self._let = let
        self._latest: T | None = None
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, one: T) -> None:
        """Something came; it replaces what still waits."""
        if self._timer is None:
            self._pass(one)
        else:
            self._latest = one

    def stop(self) -> None:
        """Let nothing through any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _pass(self, one: T) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._again)
        self._let(one)

    def _again(self) -> None:
        self._timer = None
        latest, self._latest = self._latest, None
        if latest is not None:
            self._pass(latest)
