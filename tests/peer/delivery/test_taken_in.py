"""What came is acknowledged, released and shown once it is kept, and not a moment before."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from overfence.connect.nodes import NodeClient
from overfence.delivery.arrivals import Arrivals
from overfence.delivery.outcome import Outcome
from overfence.history import logbook
from overfence_signalling import Ack, Item, Items

from .conftest import NODE, Home, World

T = TypeVar("T")


class Desk:
    """The way in of one home, with a store that notes what had been told before each commit."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.told: list[Ack | str] = []
        self.told_before_commit: list[list[Ack | str]] = []
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.arrivals = Arrivals(
            self,  # type: ignore[arg-type] # all that is used of a store is `write`
            home.me,
            direct=frozenset,
            act=self.outcomes.put,
            acknowledge=lambda _, ack: self.told.append(ack),
            trouble=print,
        )

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Whatever is told without waiting for the disk is told by now.
        for _ in range(5):
            await asyncio.sleep(0)
        self.told_before_commit.append(self.told[:])
        return self.home.do(work)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.arrivals.run())
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            running.cancel()
            await asyncio.wait([running])


def message(author: Home, reader: Home, text: str) -> bytes:
    author.links[reader.me.dsk] = []
    author.say(author.contact(reader).id, text)
    author.seal_all()
    [sealed] = author.links.pop(reader.me.dsk)
    author.restart()
    return sealed


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


async def test_nothing_is_acknowledged_or_released_before_it_is_kept(world: World) -> None:
    ada, bob, _ = world.homes
    desk = Desk(ada)
    node = NodeClient(NODE, listener=None, random=os.urandom, jitter=lambda: 0.5)  # type: ignore[arg-type] # never run
    bob.say(bob.contact(ada).id, "by mail")
    bob.errands()
    [(mailbox, box)] = [(address, box) for address, box in world.node.boxes.items() if box.items]
    items = tuple(Item(seq=seq, id=put, envelope=envelope, day=day) for seq, put, envelope, day in box.items)
    by_line = message(bob, ada, "by line")
    async with desk.open():
        desk.arrivals.by_mail(node, Items(mailbox=mailbox, epoch=1, items=items))
        desk.arrivals.by_line(bob.me.dsk, by_line, lambda: desk.told.append("released"))
        await desk.outcomes.get()
    assert desk.told_before_commit == [[]]
    assert desk.told == [Ack(mailbox=mailbox, epoch=1, seq=items[-1].seq), "released"]
    assert ada.texts(bob) == ["by mail", "by line"]


async def test_what_trips_over_a_mistake_of_ours_is_undone_and_shown_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob, _ = world.homes
    desk, close = Desk(ada), logbook.Intake.close

    def trip(intake: logbook.Intake) -> None:
        close(intake)
        raise RuntimeError("a mistake of ours")

    first, second = message(bob, ada, "first"), message(bob, ada, "second")
    before = ada.fingerprint()
    async with desk.open():
        with monkeypatch.context() as patched:
            patched.setattr(logbook.Intake, "close", trip)
            desk.arrivals.by_line(bob.me.dsk, first, lambda: None)
            outcome = await desk.outcomes.get()
        assert (outcome.ordered, outcome.owed, outcome.to_link) == ([], {}, [])
        assert ada.fingerprint() == before
        desk.arrivals.by_line(bob.me.dsk, first, lambda: None)
        desk.arrivals.by_line(bob.me.dsk, second, lambda: None)
        await desk.outcomes.get()
    assert ada.texts(bob) == ["first", "second"]
