"""The one way in under a flood: sources take turns, everything counts, and no node is waited for."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from overfence.connect.nodes import NodeClient
from overfence.delivery.arrivals import OVERHEAD_BYTES, QUEUE_LIMIT_BYTES, TAKE_LIMIT, Arrivals
from overfence.delivery.outcome import Outcome
from overfence.delivery.postman import Postman
from overfence.delivery.wariness import WARY_JUMP_LIMIT, WARY_S
from overfence.history import postbox
from overfence.history.event import Text
from overfence.sealing import Sessions
from overfence_signalling import Ack, ClientFrame, Item, Items

from .conftest import NODE, Home, World

T = TypeVar("T")


class Shelf:
    """A store whose transactions the test's home does."""

    def __init__(self, home: Home) -> None:
        self.home = home

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self.home.do(work)


class Desk:
    """Arrivals of one home, and what they led to, transaction by transaction."""

    def __init__(self, home: Home) -> None:
        self.outcomes: list[Outcome] = []
        self.acks: list[Ack] = []
        self.quiet = asyncio.Event()
        self.arrivals = Arrivals(
            Shelf(home),  # type: ignore[arg-type] # all it uses of a store
            home.me,
            direct=frozenset,
            act=self._act,
            acknowledge=lambda _, ack: self.acks.append(ack),
            trouble=print,
        )

    async def _act(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.quiet.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.arrivals.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def taken(self, count: int) -> None:
        """Wait until so many transactions are done."""
        async with asyncio.timeout(20):
            while len(self.outcomes) < count:
                self.quiet.clear()
                await self.quiet.wait()


class Deaf(NodeClient):
    """A node that reads nothing until it is let."""

    def __init__(self) -> None:
        super().__init__(NODE, listener=None, random=os.urandom, jitter=lambda: 0.5)  # type: ignore[arg-type] # never run
        self.hears = asyncio.Event()
        self.more = asyncio.Event()
        self.heard: list[ClientFrame] = []

    async def say(self, frame: ClientFrame) -> None:
        await self.hears.wait()
        self.heard.append(frame)
        self.more.set()


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    world.eve.accept(world.ada.invite())
    world.settle(rounds=4)
    return world


def forged(home: Home, other: Home, ahead: int) -> bytes:
    """A message that claims to be so many numbers ahead, and does not authenticate."""
    row = home.tx.execute("SELECT sessions FROM devices WHERE dsk = ?", (other.me.dsk,)).fetchone()
    sessions = Sessions.decode(row[0])
    good = bytearray(sessions.seal(b"", random=home.random))
    number = int.from_bytes(good[46:50], "big") + ahead
    good[46:50] = number.to_bytes(4, "big")
    return bytes(good)


def said(home: Home, other: Home, text: str) -> bytes:
    home.links[other.me.dsk] = []
    home.say(home.contact(other).id, text)
    home.seal_all()
    [message] = home.links.pop(other.me.dsk)
    return message


async def test_a_flood_of_one_contact_holds_up_nobody_else(world: World) -> None:
    ada, bob, eve = world.homes
    desk, flood, message = Desk(ada), forged(eve, ada, 4900), said(bob, ada, "hello")
    released: list[bytes] = []
    for _ in range(2000):
        desk.arrivals.by_line(eve.me.dsk, flood, lambda: released.append(eve.me.dsk))
    desk.arrivals.by_line(bob.me.dsk, message, lambda: released.append(bob.me.dsk))
    async with desk.open():
        await desk.taken(2000 // TAKE_LIMIT)
    heard = [entry.event.content() for outcome in desk.outcomes[:2] for _, entry in outcome.ordered]
    assert heard == [Text("hello")]
    assert (len(released), released.count(bob.me.dsk)) == (2001, 1)
    assert released.index(bob.me.dsk) < 2 * TAKE_LIMIT


async def test_what_has_no_bytes_counts_all_the_same(world: World) -> None:
    ada = world.ada
    desk, node = Desk(ada), Deaf()
    empty = Item(seq=0, id=bytes(16), envelope=b"", day=0)
    frame = Items(mailbox=bytes(16), epoch=1, items=(empty,) * 100)
    frames = 0
    while desk.arrivals.by_mail(node, frame):
        frames += 1
        assert frames * 100 <= QUEUE_LIMIT_BYTES / OVERHEAD_BYTES
    async with desk.open():
        await desk.taken(frames * 100 // TAKE_LIMIT)
    assert desk.arrivals.by_mail(node, frame), "taken in, it counts no more"


async def test_items_are_taken_in_their_order_and_acknowledged_once(world: World) -> None:
    ada, bob = world.ada, world.bob
    desk, node = Desk(ada), Deaf()
    for number in range(5):
        bob.say(bob.contact(ada).id, f"{number}")
        bob.errands()
    [box] = [ours for ours in world.node.boxes.items() if len(ours[1].items) == 5]
    items = tuple(Item(seq=seq, id=put, envelope=envelope, day=day) for seq, put, envelope, day in box[1].items)
    assert desk.arrivals.by_mail(node, Items(mailbox=box[0], epoch=1, items=items))
    async with desk.open():
        await desk.taken(1)
    assert ada.texts(bob) == ["0", "1", "2", "3", "4"]
    assert [(ack.mailbox, ack.seq) for ack in desk.acks] == [(box[0], items[-1].seq)]
    stored = postbox.mailbox(ada.tx, box[0])
    assert stored is not None and stored.seq == items[-1].seq, "asked for from there at the next start"


async def test_a_node_that_reads_nothing_is_told_the_latest_when_it_does(world: World) -> None:
    node = Deaf()
    postman = Postman(node, Shelf(world.ada), world.ada.me, listener=None)  # type: ignore[arg-type] # neither is reached
    running = asyncio.create_task(postman.run())
    for seq in range(1, 1001):
        for mailbox in (b"a" * 16, b"b" * 16):
            postman.acknowledge(Ack(mailbox=mailbox, epoch=1, seq=seq))
        await asyncio.sleep(0)
    node.hears.set()
    async with asyncio.timeout(5):
        while len(node.heard) < 3:
            node.more.clear()
            await node.more.wait()
    assert len(node.heard) <= 4
    assert {(ack.mailbox, ack.seq) for ack in node.heard[-2:] if isinstance(ack, Ack)} == {
        (b"a" * 16, 1000),
        (b"b" * 16, 1000),
    }
    running.cancel()
    await asyncio.wait([running])


def test_after_a_forgery_a_long_walk_is_refused_for_a_minute(world: World) -> None:
    ada, bob = world.ada, world.bob
    for _ in range(3):
        ada.take_message(bob.me.dsk, forged(bob, ada, 4000))
    assert [why.partition(":")[0] for why in ada.dropped] == ["Forged", "TooFarAhead", "TooFarAhead"]
    late = [bob.seal(ada) for _ in range(WARY_JUMP_LIMIT + 1)]
    ada.take_message(bob.me.dsk, late[WARY_JUMP_LIMIT // 2])
    assert len(ada.dropped) == 3, "what is near still opens"
    world.clock.now_s += WARY_S
    for _ in range(1000):
        bob.seal(ada)
    ada.take_message(bob.me.dsk, bob.seal(ada))
    assert len(ada.dropped) == 3


def test_forged_knocks_blame_the_invite_and_not_whom_they_name(world: World) -> None:
    ada, bob, eve = world.homes
    invite = ada.invite()
    for _ in range(3):
        ada.me.wary.forged(invite.mailbox, now_s=ada.me.now_s)
    for _ in range(WARY_JUMP_LIMIT + 1):
        bob.seal(ada)
    ada.take_message(bob.me.dsk, said(bob, ada, "far ahead"))
    assert ada.texts(bob) == ["far ahead"]
    eve.say(eve.contact(ada).id, "near")
    world.settle(rounds=2)
    assert ada.texts(eve) == ["near"]


def test_a_node_can_fence_only_what_was_opened_there(world: World) -> None:
    node = Deaf()
    postman = Postman(node, Shelf(world.ada), world.ada.me, listener=None)  # type: ignore[arg-type] # neither is reached
    assert not any(postman.fence(os.urandom(16)) for _ in range(1000))


async def test_a_node_is_not_read_while_what_it_sent_waits_for_the_disk(world: World) -> None:
    desk, node = Desk(world.ada), Deaf()
    large = Item(seq=0, id=bytes(16), envelope=bytes(60_000), day=0)
    while desk.arrivals._queued.get(node.url, 0) <= QUEUE_LIMIT_BYTES // 2:
        assert desk.arrivals.by_mail(node, Items(mailbox=bytes(16), epoch=1, items=(large,)))
    waiting = asyncio.create_task(desk.arrivals.room(node))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert desk.arrivals.by_mail(node, Items(mailbox=bytes(16), epoch=1, items=(large,))), "what is read finds room"
    async with desk.open(), asyncio.timeout(5):
        await waiting
