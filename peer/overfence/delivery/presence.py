"""Who of my contacts is at which node now, by the topics that only the two of us know (docs/protocol.md §4.3)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from overfence_signalling import Enter, Leave, Snapshot, TopicEntry

from ..connect.nodes import NodeClient
from ..errors import Unreachable
from ..sealing import BadEntry, open_entry, seal_entry, topic_id
from .me import Me

logger = logging.getLogger(__name__)


# Members of one topic at one node: a contact's few devices, and connections of theirs that the node has not missed
# yet. One that repeats entries under ever new numbers fills neither our memory nor the room of other contacts.
MEMBERS_LIMIT = 32


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """§4.3 What a topic entry says, sealed: a hint, which only a link proves."""

    device: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    counter: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    status: Annotated[str, msgspec.Meta(max_length=16)] = "here"

    @classmethod
    def open(cls, secret: bytes, topic: bytes, sealed: bytes) -> Entry:
        """What a member of the topic says; raises `BadEntry`."""
        try:
            return msgspec.msgpack.decode(open_entry(secret, topic, sealed), type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadEntry(f"no topic entry: {type(error).__name__}") from None


@dataclass(frozen=True)
class _Topic:
    contact: int
    secret: bytes
    node: str


@dataclass(frozen=True)
class _Member:
    contact: int
    device: bytes
    counter: int


class Presence:
    """Enters my contacts' topics at every node we share, and tells when a device comes and goes."""

    def __init__(
        self, me: Me, changed: Callable[[int, bytes, bool], None], refused: Callable[[BadEntry, int], None]
    ) -> None:
        self._me = me
        self._changed = changed
        self._refused = refused
        self._topics: dict[bytes, _Topic] = {}
        # node, topic → member number → who that is
        self._members: dict[tuple[str, bytes], dict[int, _Member]] = {}
        # topic, device → the counter of its entry when it left: none up to that counts any more
        self._left: dict[tuple[bytes, bytes], int] = {}
        # contact, device → how many members it is
        self._here: Counter[tuple[int, bytes]] = Counter()
        self._counter = 0
        self._date = ""

    def is_here(self, contact: int, dsk: bytes) -> bool:
        """Whether a device of that contact is in a topic of theirs and mine."""
        return self._here[contact, dsk] > 0

    @property
    def date(self) -> str:
        """Today, which topic ids depend on; UTC."""
        return datetime.fromtimestamp(self._me.now_s, UTC).strftime("%Y-%m-%d")

    @property
    def is_stale(self) -> bool:
        """Whether the day has changed since topics were entered."""
        return bool(self._date) and self._date != self.date

    async def enter(self, node: NodeClient, contact: int, secrets: bytes) -> None:
        """Enter a contact's topics at a node; what is entered already is left as it is."""
        if self._date != self.date:
            self._date = self.date
            self._left.clear()  # the topics of a new day are others
        await self._leave_stale(node, contact, secrets)
        for at in range(0, len(secrets), 32):
            secret = secrets[at : at + 32]
            topic = topic_id(secret, node.id, self._date)
            if topic in self._topics:
                continue
            self._topics[topic] = _Topic(contact, secret, node.url)
            self._counter = max(self._counter + 1, self._me.clock_ms())
            entry = msgspec.msgpack.encode(Entry(self._me.dsk, self._counter))
            sealed = seal_entry(secret, topic, entry, self._me.random)
            try:
                await node.ask(lambda ref, topic=topic, sealed=sealed: Enter(ref=ref, topic=topic, entry=sealed))  # type: ignore[misc] # mypy: no default in lambdas
            except Unreachable as error:
                self._topics.pop(topic, None)
                logger.info("a topic was not entered: %s", error)

    async def _leave_stale(self, node: NodeClient, contact: int, secrets: bytes) -> None:
        """Yesterday's topics, and those of secrets that are no more."""
        today = {topic_id(secrets[at : at + 32], node.id, self._date) for at in range(0, len(secrets), 32)}
        for topic, known in list(self._topics.items()):
            if (known.contact, known.node) == (contact, node.url) and topic not in today:
                await self._leave(node, topic)

    async def leave(self, node: NodeClient, contact: int) -> None:
        """Leave a contact's topics at a node."""
        for topic, known in list(self._topics.items()):
            if known.contact == contact and known.node == node.url:
                await self._leave(node, topic)

    async def _leave(self, node: NodeClient, topic: bytes) -> None:
        del self._topics[topic]
        self._left = {key: counter for key, counter in self._left.items() if key[0] != topic}
        self._forget(self._members.pop((node.url, topic), {}).values())
        await node.say(Leave(topic=topic))

    def snapshot(self, node: NodeClient, snapshot: Snapshot) -> None:
        """Who was there when we came."""
        self.entered(node, snapshot.topic, snapshot.entries)

    def entered(self, node: NodeClient, topic: bytes, entries: tuple[TopicEntry, ...]) -> None:
        """Members who came, or said something new."""
        known = self._topics.get(topic)
        if known is None:
            return
        for member in entries:
            try:
                entry = Entry.open(known.secret, topic, member.entry)
                if entry.counter <= self._left.get((topic, entry.device), -1):
                    raise BadEntry("an entry of one who has left since")
            except BadEntry as error:
                # Whoever knows a topic's id may enter it; only its secret's holders can say something.
                self._refused(error, known.contact)
                continue
            members = self._members.setdefault((node.url, topic), {})
            full = len(members) >= MEMBERS_LIMIT and member.member not in members
            if entry.device == self._me.dsk or full:
                continue
            # In a contact's own topic it can only speak of itself: whose device it is, is checked by who listens.
            before, now = members.get(member.member), _Member(known.contact, entry.device, entry.counter)
            members[member.member] = now
            self._here[now.contact, now.device] += 1
            self._changed(now.contact, now.device, True)
            if before is not None:
                self._forget([before])

    def left(self, node: NodeClient, topic: bytes, members: tuple[int, ...]) -> None:
        """Members who went."""
        there = self._members.get((node.url, topic), {})
        gone = [there.pop(member) for member in members if member in there]
        for who in gone:
            counter = max(who.counter, self._left.pop((topic, who.device), -1))
            self._left[topic, who.device] = counter
        # Made-up devices could be without number; the oldest go first.
        left = [key for key in self._left if key[0] == topic] if len(self._left) > MEMBERS_LIMIT else []
        for key in left[:-MEMBERS_LIMIT]:
            del self._left[key]
        self._forget(gone)

    def lost(self, node: NodeClient) -> None:
        """The node is gone, and what it knew."""
        self._topics = {topic: known for topic, known in self._topics.items() if known.node != node.url}
        for key in [key for key in self._members if key[0] == node.url]:
            self._forget(self._members.pop(key).values())

    def _forget(self, gone: Iterable[_Member]) -> None:
        for who in gone:
            self._here[who.contact, who.device] -= 1
            if not self._here[who.contact, who.device]:
                del self._here[who.contact, who.device]
                self._changed(who.contact, who.device, False)
