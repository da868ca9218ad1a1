"""What a node says of who is there: a hint, which costs us little however often it is given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec
from overfence.connect.nodes import Answer, NodeClient
from overfence.delivery.presence import MEMBERS_LIMIT, Entry, Presence
from overfence.sealing import BadEntry, seal_entry, topic_id
from overfence_signalling import ClientFrame, Done, TopicEntry

from .conftest import Home, World


class SaidNode(NodeClient):
    """A node that takes whatever is said to it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, listener=None, random=os.urandom, jitter=lambda: 0.5)  # type: ignore[arg-type] # never run
        self.id = os.urandom(32)

    async def ask(self, make: Callable[[int], ClientFrame]) -> Answer:
        return Done(ref=0)

    async def say(self, frame: ClientFrame) -> None:
        pass


class Room:
    """One person's presence, and what it tells."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.told: list[tuple[int, bytes, bool]] = []
        self.refused: list[tuple[BadEntry, int]] = []
        self.presence = Presence(home.me, lambda *what: self.told.append(what), lambda *what: self.refused.append(what))
        self.counter = 0

    async def enter(self, node: NodeClient, contact: int) -> Callable[[bytes, int], TopicEntry]:
        secret = os.urandom(32)
        await self.presence.enter(node, contact, secret)
        self.topic = topic = topic_id(secret, node.id, self.presence.date)

        def entry(dsk: bytes, member: int) -> TopicEntry:
            self.counter += 1
            said = msgspec.msgpack.encode(Entry(dsk, self.counter))
            return TopicEntry(member=member, entry=seal_entry(secret, topic, said, os.urandom))

        return entry


async def test_a_device_is_here_until_the_last_of_its_members_left(world: World) -> None:
    room, node, bob = Room(world.ada), SaidNode("ws://one"), os.urandom(32)
    entry = await room.enter(node, 1)
    room.presence.entered(node, room.topic, (entry(bob, 1), entry(bob, 2), entry(bob, 2)))
    room.presence.left(node, room.topic, (1, 1, 7))
    assert room.presence.is_here(1, bob)
    room.presence.left(node, room.topic, (2,))
    assert not room.presence.is_here(1, bob)
    assert room.told[-1] == (1, bob, False)
    room.presence.entered(node, room.topic, (entry(bob, 3),))
    room.presence.lost(node)
    assert not room.presence.is_here(1, bob)


async def test_a_member_that_becomes_another_device_is_no_more_the_first(world: World) -> None:
    room, node, one, other = Room(world.ada), SaidNode("ws://one"), os.urandom(32), os.urandom(32)
    entry = await room.enter(node, 1)
    room.presence.entered(node, room.topic, (entry(one, 1), entry(other, 1)))
    assert (room.presence.is_here(1, one), room.presence.is_here(1, other)) == (False, True)


async def test_a_node_that_makes_up_members_crowds_out_no_other_contact(world: World) -> None:
    room, evil, honest, bob = Room(world.ada), SaidNode("ws://evil"), SaidNode("ws://honest"), os.urandom(32)
    entry = await room.enter(evil, 1)
    replayed = entry(os.urandom(32), 0).entry
    for member in range(1000):
        room.presence.entered(evil, room.topic, (TopicEntry(member=member, entry=replayed),))
    assert len(room.told) <= MEMBERS_LIMIT
    at = await room.enter(honest, 2)
    room.presence.entered(honest, room.topic, (at(bob, 1),))
    assert room.presence.is_here(2, bob)


async def test_a_frame_full_of_leavings_costs_no_more_than_reading_it(world: World) -> None:
    room, node = Room(world.ada), SaidNode("ws://one")
    entry = await room.enter(node, 1)
    for member in range(1000):
        room.presence.entered(node, room.topic, (entry(b"%032d" % member, member),))
    began_at = time.process_time()
    room.presence.left(node, room.topic, (127,) * 65_000)
    assert time.process_time() - began_at < 0.2


async def test_an_entry_nested_deeper_than_the_stack_is_passed_over(world: World) -> None:
    """What a later version adds behind is skipped by descending into it; a contact may add a thousand levels."""
    room, node, secret = Room(world.ada), SaidNode("ws://one"), os.urandom(32)
    await room.presence.enter(node, 1, secret)
    topic = topic_id(secret, node.id, room.presence.date)
    plain = msgspec.msgpack.encode(Entry(os.urandom(32), 1))
    deep = b"\x94" + plain[1:] + b"\x91" * 930 + b"\xc0"
    nested = TopicEntry(member=1, entry=seal_entry(secret, topic, deep, os.urandom))

    def hear(frames: int) -> None:
        if frames:
            hear(frames - 1)
        else:
            room.presence.entered(node, topic, (nested,))

    hear(100)
    assert room.told == []


async def test_an_entry_of_one_who_has_left_brings_nobody_back(world: World) -> None:
    """The node keeps what was said to it, and says it again."""
    room, node, bob = Room(world.ada), SaidNode("ws://one"), os.urandom(32)
    entry = await room.enter(node, 1)
    old, kept = entry(bob, 1), entry(bob, 2)
    room.presence.entered(node, room.topic, (old, kept))
    room.presence.left(node, room.topic, (1, 2))
    for again in (old, kept):
        room.presence.entered(node, room.topic, (again,))
        assert not room.presence.is_here(1, bob)
    assert [number for _, number in room.refused] == [1, 1]
    room.presence.entered(node, room.topic, (entry(bob, 3),))
    assert room.presence.is_here(1, bob), "but for one who really came"
    # Where the node was only lost, what it still has is true.
    again = entry(bob, 4)
    room.presence.entered(node, room.topic, (again,))
    room.presence.lost(node)
    room.presence.entered(node, room.topic, (again,))
    assert len(room.refused) == 2


async def test_what_does_not_open_is_told_of(world: World) -> None:
    room, node = Room(world.ada), SaidNode("ws://one")
    await room.enter(node, 1)
    room.presence.entered(node, room.topic, (TopicEntry(member=1, entry=os.urandom(80)),))
    assert [(type(error), number) for error, number in room.refused] == [(BadEntry, 1)]
