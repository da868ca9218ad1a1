"""A node, and the chats of two people who use it, in one process on the loopback interface."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from overfence import Chat, Contact, Message
from overfence_signalling import Node, NodeConfig, NodeLimits

PATIENCE_S = 20.0


async def until(true: Callable[[], bool | Awaitable[bool]], what: str = "it") -> None:
    """Return once it is so; whatever it hangs on fails the test with its name."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = true()
                if found if isinstance(found, bool) else await found:
                    return
                # Nothing tells a test of everything it may look at.
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what} did not come about in {PATIENCE_S} s") from None


async def texts(chat: Chat, contact: Contact, limit: int = 1000) -> list[str]:
    """The conversation as a person reads it."""
    return [message.text or message.kind for message in await chat.conversation(contact).history(limit)]


async def hears(chat: Chat, contact: Contact, count: int) -> list[str]:
    """The texts, once there are so many of them."""
    found: list[str] = []

    async def enough() -> bool:
        found[:] = await texts(chat, contact)
        return len(found) >= count

    await until(enough, f"{count} messages at {chat.name}'s")
    return found


class Heard:
    """What a conversation's feed tells, in order."""

    def __init__(self, chat: Chat, contact: Contact) -> None:
        self.messages: list[Message] = []
        self._feed = chat.conversation(contact).messages()
        self._reading = asyncio.create_task(self._read())

    @property
    def texts(self) -> list[str]:
        return [message.text or message.kind for message in self.messages]

    async def _read(self) -> None:
        async for message in self._feed:
            self.messages.append(message)

    async def __aenter__(self) -> Heard:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])


class Server:
    """One node at one address, that can be stopped and started again on what it kept."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._port = 0
        self.limits = NodeLimits()
        self._stack = AsyncExitStack()
        self.url = ""

    async def start(self) -> None:
        config = NodeConfig(data=self._data, port=self._port, limits=self.limits)
        node = await self._stack.enter_async_context(Node.open(config))
        self._port, self.url = node.port, node.url

    async def stop(self) -> None:
        await self._stack.aclose()

    def files(self) -> list[Path]:
        """What it keeps on disk."""
        return [path for path in self._data.iterdir() if path.is_file()]


Open = Callable[..., AbstractAsyncContextManager[Chat]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "node")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def open_chat(tmp_path: Path, server: Server) -> Open:
    """Opens someone's home: `async with open_chat("Ada") as ada`; ``server=None`` for offline."""

    @asynccontextmanager
    async def open_chat(name: str, **options: str | None) -> AsyncIterator[Chat]:
        url = options.get("server", server.url)
        async with Chat.open(tmp_path / name, name=name, server=url) as chat:
            yield chat

    return open_chat


async def meets(chat: Chat, other: Chat) -> Contact:
    """The other, once this chat knows them by name: its own view follows a moment after what it answered."""

    def named() -> bool:
        return any((one.id, one.name) == (other.user_id, other.name) for one in chat.contacts())

    await until(named, f"{other.name} among {chat.name}'s contacts")
    return chat.contact(other.user_id)


async def acquaint(ada: Chat, bob: Chat) -> tuple[Contact, Contact]:
    """Each as the other knows them: Bob at Ada's, Ada at Bob's, both accepted."""
    of_ada = await bob.accept(str(await ada.invite()))
    await until(lambda: of_ada.state == "accepted", "the answer to Bob")
    of_bob = await meets(ada, bob)
    await meets(bob, ada)
    return of_bob, of_ada


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("overfence"):
            thread.join(2)
            assert not thread.is_alive()
