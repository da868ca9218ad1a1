"""Which of one's own messages still lack their second tick, told so that a burst makes one line."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

# What is said about a tick names its message; of a longer backlog only the count is kept.
REMEMBERED = 1000


@dataclass(frozen=True)
class Said:
    """One message of one's own, as much as a later tick needs to point at it."""

    log: bytes
    seq: int
    at: datetime
    text: str


@dataclass
class Ticks:
    """One's own messages in one conversation, from ✓ to ✓✓. A tick never goes back."""

    upto: dict[bytes, int] = field(default_factory=dict)  # by log
    _waiting: deque[Said] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _untold: Said | None = None
    _count: int = 0

    @property
    def waiting(self) -> int:
        """How many are known to lack their second tick."""
        return len(self._waiting)

    def say(self, said: Said, *, told: bool) -> None:
        """A message was sent; ``told`` if its second tick was shown together with it."""
        if not told and said.seq > self.upto.get(said.log, 0):
            self._waiting.append(said)
        elif not told:
            self._cover(said)

    def delivered(self, log: bytes, upto: int) -> None:
        """The other side holds everything of that log up to ``upto``."""
        self.upto[log] = max(self.upto.get(log, 0), upto)
        waiting, self._waiting = self._waiting, deque[Said](maxlen=REMEMBERED)
        for said in waiting:
            if said.log == log and said.seq <= self.upto[log]:
                self._cover(said)
            else:
                self._waiting.append(said)

    def tell(self) -> tuple[Said, int] | None:
        """The latest message newly covered since last asked, and how many were; None if there is no news."""
        if self._untold is None:
            return None
        told = (self._untold, self._count)
        self._untold, self._count = None, 0
        return told

    def _cover(self, said: Said) -> None:
        self._untold, self._count = said, self._count + 1
