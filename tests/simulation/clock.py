"""The only clock there is: what happens next, and what each person's own clock shows meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from .person import require

NEVER = float("inf")
# Polls that timers may ask for at one instant, and steps without the clock moving: more would be a timer that spins.
POLLS_AT_ONCE = 64
STEPS_AT_ONCE = 100_000

Action = Callable[[], None]


class Clock:
    """Moves from one event to the next, never back; people are polled when they are `dirty` or their timer is due."""

    def __init__(self, ahead_s: tuple[float, float]) -> None:
        self.now = 0.0
        self.dirty = [False, False]
        self.ahead_s = list(ahead_s)
        self._shown_at = list(ahead_s)
        self._timers = [NEVER, NEVER]
        self._due_at = [NEVER, NEVER]
        self._order = count()
        self._heap: list[tuple[float, int, Action]] = []

    def at(self, at: float, action: Action, *, is_first: bool = False) -> None:
        """Let that happen then; ``is_first``: before whatever else is to happen at that instant."""
        order = next(self._order)
        heappush(self._heap, (max(at, self.now), -order if is_first else order, action))

    def shown(self, who: int) -> float:
        """What that person's clock shows; it never goes back, not even by a rounding error."""
        shown_at = self._shown_at[who] = max(self._shown_at[who], self.now + self.ahead_s[who])
        return shown_at

    def arm(self, who: int, due_at: float | None) -> None:
        """That person wants to be polled at that instant of their own clock; None for never."""
        self._due_at[who] = NEVER if due_at is None else due_at
        self._timers[who] = NEVER if due_at is None else due_at - self.ahead_s[who]

    def run(self, is_done: Callable[[], bool], poll: Callable[[int], None], *, deadline: float) -> bool:
        """Go on until ``is_done``; False if it wasn't by the deadline. Raises `Broken` where time stands still."""
        heap, timers, dirty = self._heap, self._timers, self.dirty
        polls = steps = 0
        while True:
            at = min(heap[0][0] if heap else NEVER, timers[0], timers[1])
            if at > self.now:
                if is_done():
                    return True
                if at > deadline:
                    return False
                polls = steps = 0
                self.now = at
            steps += 1
            require(steps < STEPS_AT_ONCE, "no event without end", self.now)
            while heap and heap[0][0] <= self.now:
                heappop(heap)[2]()
            for who in (0, 1):
                if timers[who] <= self.now:
                    polls += 1
                    require(polls <= POLLS_AT_ONCE, "no timer spins", self.now)
                    self._shown_at[who] = max(self._shown_at[who], self._due_at[who])
                    dirty[who] = True
                if dirty[who]:
                    poll(who)
