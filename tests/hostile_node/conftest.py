"""A real node, a middleman that turns bad on command, and the real chats of two people who use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from overfence import Chat
from overfence_signalling import Node, NodeConfig

from .middleman import Middleman
from .mischief import Hiding
from .people import Clock, Person, Two, until

Come = Callable[..., AbstractAsyncContextManager[Person]]
Meet = Callable[..., AbstractAsyncContextManager[Two]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def node(tmp_path: Path, clock: Clock) -> AsyncIterator[Middleman]:
    async with (
        Node.open(NodeConfig(data=tmp_path / "node")) as real,
        Middleman.before(real.url) as middleman,
    ):
        yield middleman


@pytest.fixture
def come(tmp_path: Path, node: Middleman) -> Come:
    """`async with come("Eve") as eve`: somebody's chat opens, or opens again."""

    @asynccontextmanager
    async def come(name: str) -> AsyncIterator[Person]:
        person = Person(name, lambda: Chat.open(tmp_path / name, name=name, server=node.url))
        node.expect(name)
        await person.comes()
        try:
            await until(lambda: any(visit.name == name for visit in node.visits), f"{name} at the node")
            yield person
        finally:
            await person.leave()

    return come


@pytest.fixture
def meet(node: Middleman, come: Come, clock: Clock) -> Meet:
    """`async with meet() as two`: Ada and Bob are contacts; where ``by_mail``, they never see each other come."""

    @asynccontextmanager
    async def meet(*, by_mail: bool = True) -> AsyncIterator[Two]:
        async with come("Ada") as ada, come("Bob") as bob:
            hiding = node.does(Hiding())
            if by_mail:
                hiding.__enter__()
            two = Two(ada, bob, clock)
            bob.other = await bob.chat.accept(str(await ada.chat.invite()))
            await until(lambda: bob.contact.state == "accepted" and bool(ada.chat.contacts()), "that they are contacts")
            await ada.says("hello")
            await bob.says("hello to you")
            await until(lambda: bool(ada.heard and bob.heard), "the first words")
            yield two
            if by_mail:
                hiding.__exit__(None, None, None)

    return meet
