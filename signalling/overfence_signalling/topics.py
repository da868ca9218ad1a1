"""Who is in which topic (docs/protocol.md §4.3). In memory only, and gone when its connection goes. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from .limits import PAGE_BYTES, RECORD_OVERHEAD_BYTES, NodeLimits
from .messages import Changes, Snapshot, TopicEntry


class Refused(Enum):
    """Why a topic can't be entered."""

    TOPIC_FULL = "this topic is full"
    TOO_MANY_HERE = "this connection is in too many topics"
    NODE_FULL = "this node has too many topics"


@dataclass
class _Member:
    connection: int
    joined: int
    # The version its own snapshot showed; later ones it is still to be told.
    told: int


@dataclass
class _Topic:
    next_member: int = 1
    version: int = 0
    entries: dict[int, bytes] = field(default_factory=dict)
    members: dict[int, _Member] = field(default_factory=dict)
    # Since everyone was last told, at `told`: each change's last version, and when those who left had joined.
    told: int = 0
    changed: dict[int, int] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)

    def change(self, member: int) -> None:
        self.version += 1
        self.changed[member] = self.version

    def news(self, told: int) -> frozenset[int]:
        """Whose change or going is new to one who knows all up to ``told``; who came and went since is no news."""
        return frozenset(
            member for member, version in self.changed.items() if version > told and self.left.get(member, told) <= told
        )


class Topics:
    """Each member of a topic learns who is in it: once by a snapshot, then by changes, none missed, none its own.

    Members are numbered within their topic, so that two topics of one connection can't be matched by number.
    """

    def __init__(self, limits: NodeLimits) -> None:
        self._limits = limits
        self._topics: dict[bytes, _Topic] = {}
        self._entered: dict[int, dict[bytes, int]] = {}
        self._dirty: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._topics)

    @property
    def changed(self) -> bool:
        """Whether somebody waits to be told of something."""
        return bool(self._dirty)

    def enter(self, connection: int, topic: bytes, entry: bytes, *, ref: int) -> list[Snapshot] | Refused:
        """Put ``entry`` into ``topic``, or replace one's own there; the pages of who else is in it."""
        mine = self._entered.get(connection, {})
        here = self._topics.get(topic)
        member = mine.get(topic)
        if member is None:
            if len(mine) >= self._limits.topics_per_connection:
                return Refused.TOO_MANY_HERE
            if here is None and len(self._topics) >= self._limits.topics:
                return Refused.NODE_FULL
            if here is not None and len(here.entries) >= self._limits.entries_per_topic:
                return Refused.TOPIC_FULL
        if here is None:
            here = self._topics[topic] = _Topic()
        if member is None:
            member = mine[topic] = here.next_member
            self._entered[connection] = mine
            here.next_member += 1
            here.members[member] = _Member(connection, joined=here.version + 1, told=0)
        self._change(topic, here, member)
        here.entries[member] = entry
        here.members[member].told = here.version
        others = [TopicEntry(member=n, entry=e) for n, e in here.entries.items() if n != member]
        pages = list(_pages(others))
        return [
            Snapshot(ref=ref, topic=topic, entries=page, more=number < len(pages))
            for number, page in enumerate(pages, start=1)
        ]

    def leave(self, connection: int, topic: bytes) -> None:
        """Leave; nothing if it wasn't in."""
        mine = self._entered.get(connection, {})
        member = mine.pop(topic, None)
        if not mine:
            self._entered.pop(connection, None)
        if member is None:
            return
        here = self._topics[topic]
        here.left[member] = here.members.pop(member).joined
        del here.entries[member]
        if here.entries:
            self._change(topic, here, member)
        else:
            del self._topics[topic]
            self._dirty.pop(topic, None)

    def gone(self, connection: int) -> None:
        """A connection ended: it leaves everything it was in."""
        for topic in list(self._entered.get(connection, {})):
            self.leave(connection, topic)

    def changes(self) -> Iterator[tuple[list[int], list[Changes]]]:
        """What happened since the last time, topic by topic: the same pages for all the connections beside them."""
        dirty, self._dirty = self._dirty, {}
        for topic in dirty:
            here = self._topics[topic]
            everything = here.news(here.told)
            alike: dict[frozenset[int], list[int]] = {}
            for member in here.members.values():
                # Almost everyone lacks the whole batch; who entered within it, or changed, lacks less.
                news = everything if member.told <= here.told else here.news(member.told)
                if news:
                    alike.setdefault(news, []).append(member.connection)
            pages = {news: _change_pages(topic, here, news) for news in alike}
            here.told, here.changed, here.left = here.version, {}, {}
            for news, connections in alike.items():
                yield connections, pages[news]

    def _change(self, topic: bytes, here: _Topic, member: int) -> None:
        here.change(member)
        self._dirty[topic] = None


def _change_pages(topic: bytes, here: _Topic, news: frozenset[int]) -> list[Changes]:
    ordered = sorted(news)
    left = [n for n in ordered if n not in here.entries]
    entered = [TopicEntry(member=n, entry=here.entries[n]) for n in ordered if n in here.entries]
    # Who left was there at the batch's start, so they are no more than a topic holds: nine bytes each, one page.
    pages = [Changes(topic=topic, left=tuple(left))] if left else []
    pages += [Changes(topic=topic, entered=page) for page in _pages(entered) if page]
    return pages


def _pages(entries: list[TopicEntry]) -> Iterator[tuple[TopicEntry, ...]]:
    """At least one page, none over `PAGE_BYTES` with its frame."""
    page: list[TopicEntry] = []
    room = PAGE_BYTES - RECORD_OVERHEAD_BYTES
    for entry in entries:
        size_bytes = len(entry.entry) + RECORD_OVERHEAD_BYTES
        if page and size_bytes > room:
            yield tuple(page)
            page, room = [], PAGE_BYTES - RECORD_OVERHEAD_BYTES
        page.append(entry)
        room -= size_bytes
    yield tuple(page)
