"""Who has sent forgeries lately may not cost us much, nor be told of at length (docs/protocol.md §3). Pure."""

from __future__ import annotations

from ..sealing import JUMP_LIMIT

# Keys of skipped numbers are derived before a message is authenticated: a hundred of them cost less than the rest.
WARY_JUMP_LIMIT = 100
WARY_S = 60
# Sources remembered; they are devices of contacts and invites of mine, so these are never so many.
SOURCES_LIMIT = 4096
# The same refusal of the same contact's is told so often: who sends garbage without end makes no flood of news.
TOLD_AGAIN_S = 60


class Wariness:
    """How many numbers a message may skip: most from anyone, few from a source that sent a forgery within a minute."""

    def __init__(self) -> None:
        self._until_s: dict[bytes, int] = {}
        self._told_s: dict[tuple[int | None, str], int] = {}

    def jump_limit(self, source: bytes, *, now_s: int) -> int:
        """The most a message from ``source`` may skip now."""
        return WARY_JUMP_LIMIT if now_s < self._until_s.get(source, 0) else JUMP_LIMIT

    def forged(self, source: bytes, *, now_s: int) -> None:
        """A message from ``source`` did not authenticate."""
        if len(self._until_s) >= SOURCES_LIMIT:
            self._until_s.clear()
        self._until_s[source] = now_s + WARY_S

    def is_news(self, contact: int | None, kind: str, *, now_s: int) -> bool:
        """Whether a refusal of that kind is to be told; if so, it counts as told."""
        if now_s - self._told_s.get((contact, kind), -TOLD_AGAIN_S) < TOLD_AGAIN_S:
            return False
        if len(self._told_s) >= SOURCES_LIMIT:
            self._told_s.clear()
        self._told_s[contact, kind] = now_s
        return True
