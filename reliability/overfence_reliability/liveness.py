"""When to ask whether the other side is still there, and when to stop believing it (docs/protocol.md §7.2)."""

from __future__ import annotations

import math
from enum import Enum

INTERVAL_S = 1.0
SILENCE_S = 3.0


class Beat(Enum):
    """What is due now."""

    PING = "ping"
    DEAD = "dead"


class Liveness:
    """The belief that the other side is there: renewed by anything heard, questioned each `interval_s`
    without it, given up after `silence_s`.

    It is given up only after pings were really sent: a process that itself stood still (a suspended
    laptop) asks first instead of declaring everybody else dead.
    """

    def __init__(self, *, now: float, interval_s: float = INTERVAL_S, silence_s: float = SILENCE_S) -> None:
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._pings_before_dead = max(1, math.ceil(silence_s / interval_s) - 1)
        self._heard_at = now
        self._pinged_at = now
        self._pings = 0

    def heard(self, *, now: float) -> None:
        """Something arrived."""
        self._heard_at = now
        self._pings = 0

    def next_timer(self) -> float:
        """When `poll` has something to say."""
        due_at = (self._pinged_at if self._pings else self._heard_at) + self._interval_s
        if self._pings < self._pings_before_dead:
            return due_at
        return max(due_at, self._heard_at + self._silence_s)

    def poll(self, *, now: float) -> Beat | None:
        """What is due at `now`; a ping it asks for counts as sent."""
        if now < self.next_timer():
            return None
        if self._pings >= self._pings_before_dead:
            self.heard(now=now)  # asked anew, so a path that comes back is noticed, and one that doesn't told again
            return Beat.DEAD
        self._pings += 1
        self._pinged_at = now
        return Beat.PING
