"""Clients of a node over real sockets, and a node whose clock the test moves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

import aiohttp
import pytest
from overfence_signalling import (
    SOCKET_PATH,
    SUBPROTOCOL,
    Accepted,
    ClientHello,
    Error,
    Frame,
    Item,
    Items,
    Node,
    NodeConfig,
    NodeFrame,
    NodeHello,
    NodeLimits,
    Open,
    Opened,
    Put,
    decode_node,
    encode,
    mailbox_address,
)

PATIENCE_S = 15.0
DAY_S = 86_400
F = TypeVar("F", bound=Frame)
T = TypeVar("T")


class Clock:
    """Unix seconds that pass only when told."""

    def __init__(self) -> None:
        self.unix_s = 20_000 * DAY_S + 1_000.0

    def __call__(self) -> float:
        return self.unix_s

    def days_pass(self, days: int) -> None:
        self.unix_s += days * DAY_S


class Client:
    """One connection, which sorts what comes: answers to whoever asked, the rest in the order it came."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.heard: list[NodeFrame] = []
        self.over = asyncio.Event()
        self.last_error: Error | None = None
        self._asked: dict[int, asyncio.Future[NodeFrame]] = {}
        self._ref = 0
        self._arrived = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def to(cls, node: Node, *, hello: bool = True) -> AsyncIterator[Client]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(node.url + SOCKET_PATH, protocols=[SUBPROTOCOL], max_msg_size=2**20) as ws,
        ):
            client = cls(ws)
            listening = asyncio.create_task(client._listen())
            try:
                if hello:
                    await client.send(ClientHello(version=1, nonce=os.urandom(32)))
                    await client.next(NodeHello)
                yield client
            finally:
                listening.cancel()
                await asyncio.wait([listening])

    async def send(self, frame: Frame) -> None:
        await self.ws.send_bytes(encode(frame))

    async def ask(self, make: Callable[[int], Frame]) -> NodeFrame:
        """Send the request ``make`` builds for a ref, and wait for its answer."""
        return await (await self.asking(make))

    async def asking(self, make: Callable[[int], Frame]) -> Awaitable[NodeFrame]:
        """The same in two steps: sent when this returns, answered when what it returns is awaited."""
        self._ref += 1
        answer: asyncio.Future[NodeFrame] = asyncio.get_running_loop().create_future()
        self._asked[self._ref] = answer
        await self.ws.send_bytes(encode(make(self._ref)))
        return in_time(answer)

    async def open(self, mk: bytes, epoch: int = 0, seq: int = 0) -> Opened:
        answer = await self.ask(lambda ref: Open(ref=ref, mk=mk, epoch=epoch, seq=seq))
        assert isinstance(answer, Opened), answer
        return answer

    async def put(self, mk: bytes, envelope: bytes, **fields: object) -> NodeFrame:
        put_id = cast(bytes, fields.get("id", os.urandom(16)))
        ttl_s = cast(int, fields.get("ttl_s", 3600))
        mailbox = mailbox_address(mk)
        return await self.ask(lambda ref: Put(ref=ref, mailbox=mailbox, id=put_id, envelope=envelope, ttl_s=ttl_s))

    async def next(self, kind: type[F], *, where: Callable[[F], bool] = lambda _: True) -> F:
        """The first frame of a kind that wasn't asked for, taken out of those heard."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for frame in self.heard:
                    if isinstance(frame, kind) and where(frame):
                        self.heard.remove(frame)
                        return frame
                assert not self.over.is_set(), f"closed ({self.ws.close_code}) while {kind.__name__} was awaited"
                self._arrived.clear()
                await self._arrived.wait()

    async def items(self, count: int) -> list[Item]:
        """The next ``count`` items, in the order they came."""
        got: list[Item] = []
        while len(got) < count:
            got.extend((await self.next(Items)).items)
        assert len(got) == count
        return got

    async def closed(self) -> Error | None:
        """Wait for the end, and return the error that was said before it."""
        await in_time(self.over.wait())
        return self.last_error

    async def _listen(self) -> None:
        try:
            async for message in self.ws:
                assert message.type is aiohttp.WSMsgType.BINARY
                frame = decode_node(message.data)
                asked = self._asked.get(getattr(frame, "ref", None) or 0)
                if isinstance(frame, Error) and frame.ref is None:
                    self.last_error = frame
                if asked is not None and not asked.done():
                    asked.set_result(frame)
                else:
                    self.heard.append(frame)
                self._arrived.set()
        finally:
            self.over.set()
            self._arrived.set()


async def in_time(answer: Awaitable[T]) -> T:
    # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
    async with asyncio.timeout(PATIENCE_S):
        return await answer


Connect = Callable[[], Awaitable[Client]]
Start = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Start:
    """Starts a node on this test's data directory: `async with start(bound=…) as node`."""

    def start(**bounds: float) -> AbstractAsyncContextManager[Node]:
        limits = NodeLimits(**bounds)  # type: ignore[arg-type]  # whole numbers stay whole
        return Node.open(NodeConfig(data=tmp_path / "node", limits=limits), now=clock)

    return start


@pytest.fixture
async def node(start: Start) -> AsyncIterator[Node]:
    async with start() as node:
        yield node


@pytest.fixture
async def connect(node: Node) -> AsyncIterator[Connect]:
    """Connects another client to ``node``."""
    async with AsyncExitStack() as stack:

        async def connect() -> Client:
            return await stack.enter_async_context(Client.to(node))

        yield connect


@pytest.fixture
def mk() -> bytes:
    return os.urandom(32)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    import threading

    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("overfence")]
    assert not left


def accepted(frame: NodeFrame) -> str:
    """What became of a put."""
    assert isinstance(frame, Accepted), frame
    return frame.state


def refused(frame: NodeFrame) -> str:
    """Why a request was refused."""
    assert isinstance(frame, Error), frame
    return frame.code
