"""When to ask whether the other side is still there, and when to stop believing it (§5). Pure."""

from __future__ import annotations

import math
from enum import Enum, IntEnum


class Kind(IntEnum):
    """First byte of every message on the data channel (§5)."""

    DATA = 0
    PING = 1
    PONG = 2


class Beat(Enum):
    """What is due now."""

    PING = "ping"
    DEAD = "dead"


class Heartbeat:
    """The belief that the other side is there: renewed by anything heard, questioned each `interval_s`
    without it, given up after `silence_s`.

    It is given up only after pings were really sent: a process that itself stood still (a suspended
    laptop) asks first instead of declaring everybody else dead.
    """

    def __init__(self, interval_s: float = 1.0, silence_s: float = 3.0) -> None:
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._pings_before_dead = max(1, math.ceil(silence_s / interval_s) - 1)
        self._heard_at: float | None = None
        self._pinged_at = -math.inf
        self._pings = 0

    def heard(self, *, now: float) -> None:
        """Something arrived. The first call starts the watch."""
        self._heard_at = now
        self._pings = 0

    def next_timer(self) -> float | None:
        """When `poll` has something to say, in the caller's seconds; None before anything was heard."""
        if self._heard_at is None:
            return None
        last_at = self._pinged_at if self._pings else self._heard_at
        due_at = last_at + self._interval_s
        if self._pings < self._pings_before_dead:
            return due_at
        return max(due_at, self._heard_at + self._silence_s)

    def poll(self, *, now: float) -> Beat | None:
        """What is due at `now`; a ping it asks for counts as sent."""
        due_at = self.next_timer()
        if due_at is None or now < due_at:
            return None
        if self._pings >= self._pings_before_dead:
            return Beat.DEAD
        self._pings += 1
        self._pinged_at = now
        return Beat.PING
