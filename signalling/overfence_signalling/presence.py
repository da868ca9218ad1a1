"""Topic changes on their way to those beside them (docs/protocol.md §4.3), gathered for a few milliseconds."""

from __future__ import annotations

import asyncio
from typing import Protocol

from .limits import TOPIC_BATCH_S, NodeLimits
from .messages import Snapshot, encode
from .topics import Refused, Topics


class Member(Protocol):
    """A connection that can be in topics."""

    @property
    def number(self) -> int:
        """What tells it from every other connection of this node."""

    def send(self, frame: bytes) -> None:
        """Send an encoded frame, behind those that wait."""


class Presence:
    """Who is in a topic hears of every change there within `TOPIC_BATCH_S`, however many come at once."""

    def __init__(self, limits: NodeLimits) -> None:
        self._topics = Topics(limits)
        self._members: dict[int, Member] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, member: Member, topic: bytes, entry: bytes, *, ref: int) -> list[Snapshot] | Refused:
        """Enter, or replace one's entry; the pages of who else is there."""
        self._members[member.number] = member
        pages = self._topics.enter(member.number, topic, entry, ref=ref)
        self._tell_soon()
        return pages

    def leave(self, member: Member, topic: bytes) -> None:
        """Leave; nothing if it wasn't in."""
        self._topics.leave(member.number, topic)
        self._tell_soon()

    def gone(self, member: Member) -> None:
        """The connection ended."""
        if self._members.pop(member.number, None) is not None:
            self._topics.gone(member.number)
            self._tell_soon()

    def close(self) -> None:
        """Tell nobody anything any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell_soon(self) -> None:
        if self._timer is None and self._topics.changed:
            self._timer = asyncio.get_running_loop().call_later(TOPIC_BATCH_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        for numbers, pages in self._topics.changes():
            frames = [encode(page) for page in pages]
            for number in numbers:
                member = self._members.get(number)
                if member is not None:
                    for frame in frames:
                        member.send(frame)
