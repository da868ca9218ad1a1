"""A client among bad servers: whatever one of them says ends that connection, is told, and is tried again later."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from nacl.signing import SigningKey
from overfence.connect.nodes import BadNode, NodeClient, NodeRefused
from overfence.errors import Unreachable
from overfence_signalling import (
    SUBPROTOCOL,
    VERSION,
    CardGet,
    Changes,
    Error,
    Items,
    Limits,
    NodeHello,
    Snapshot,
    decode_client,
    encode,
    node_hello_bytes,
)

Serve = Callable[[web.WebSocketResponse], Awaitable[None]]
KEY = SigningKey(bytes(32))


class Ear:
    """Hears what a client tells its listener."""

    def __init__(self) -> None:
        self.connections = 0
        self.lost: list[tuple[str, float]] = []
        self.moved = asyncio.Event()

    def connected(self, node: NodeClient) -> None:
        self.connections += 1
        self.moved.set()

    def disconnected(self, node: NodeClient, why: str, retry_in_s: float) -> None:
        self.lost.append((why, retry_in_s))
        self.moved.set()

    async def room(self, node: NodeClient) -> None:
        pass

    def items(self, node: NodeClient, items: Items) -> None:
        raise BadNode("more than was asked for")

    def snapshot(self, node: NodeClient, snapshot: Snapshot) -> None: ...

    def changes(self, node: NodeClient, changes: Changes) -> None: ...

    def fenced(self, node: NodeClient, mailbox: bytes) -> None: ...

    async def loses(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.lost) < count:
                self.moved.clear()
                await self.moved.wait()


async def greet(socket: web.WebSocketResponse) -> None:
    hello = decode_client((await socket.receive()).data)
    now_s = int(time.time())
    signed = node_hello_bytes(nonce=getattr(hello, "nonce", b""), unix_s=now_s, version=VERSION, durable=True)
    answer = NodeHello(
        version=VERSION,
        node=bytes(KEY.verify_key),
        signature=KEY.sign(signed).signature,
        unix_s=now_s,
        limits=Limits(),
    )
    await socket.send_bytes(encode(answer))


@asynccontextmanager
async def speaking_to(serve: Serve) -> AsyncIterator[tuple[NodeClient, Ear]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,))
        await socket.prepare(request)
        await serve(socket)
        return socket

    app = web.Application()
    app.router.add_get("/ws", handle)
    async with TestServer(app) as server, client_of(f"ws://127.0.0.1:{server.port}") as found:
        yield found


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[tuple[NodeClient, Ear]]:
    ear = Ear()
    node = NodeClient(url, ear, random=os.urandom, jitter=lambda: 0.5)
    running = asyncio.create_task(node.run(time.time))
    try:
        yield node, ear
    finally:
        running.cancel()
        await asyncio.wait([running])


async def garbage(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.send_bytes(os.urandom(100))
    await socket.receive()


async def text(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.send_str("hello")
    await socket.receive()


async def oversized(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.send_bytes(bytes(100_000))
    await socket.receive()


async def greets_twice(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.send_bytes(
        encode(NodeHello(version=1, node=bytes(32), signature=bytes(64), unix_s=1, limits=Limits()))
    )
    await socket.receive()


async def floods(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.send_bytes(encode(Items(mailbox=bytes(16), epoch=1, items=())))
    await socket.receive()


async def signs_something_else(socket: web.WebSocketResponse) -> None:
    await socket.receive()
    await socket.send_bytes(
        encode(NodeHello(version=1, node=bytes(32), signature=bytes(64), unix_s=1, limits=Limits()))
    )
    await socket.receive()


async def closes_at_once(socket: web.WebSocketResponse) -> None:
    await greet(socket)
    await socket.close()


@pytest.mark.parametrize(
    "serve", [garbage, text, oversized, greets_twice, floods, signs_something_else, closes_at_once]
)
async def test_a_bad_server_is_left_told_and_tried_ever_more_seldom(serve: Serve) -> None:
    async with speaking_to(serve) as (node, ear):
        await ear.loses(3)
        assert all(why for why, _ in ear.lost)
        waits = [wait_s for _, wait_s in ear.lost]
        assert waits == sorted(waits) and waits[2] >= 3 * waits[0] > 0
        with pytest.raises(Unreachable):
            await node.ask(lambda ref: CardGet(ref=ref, mailbox=bytes(16)))


async def test_a_server_that_sends_us_elsewhere_is_not_followed() -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/secret")

    app = web.Application()
    app.router.add_get("/ws", elsewhere)
    app.router.add_get("/secret", elsewhere)
    async with TestServer(app) as server, client_of(f"ws://127.0.0.1:{server.port}") as (_, ear):
        await ear.loses(2)
    assert set(asked) == {"/ws"}


async def test_a_refusal_names_its_code_and_a_sensible_wait() -> None:
    async def refuses(socket: web.WebSocketResponse) -> None:
        await greet(socket)
        for wait_s in (float("inf"), float("nan"), -1.0, 1e300, 2.0):
            frame = decode_client((await socket.receive()).data)
            await socket.send_bytes(
                encode(Error(code="rate_limited", ref=getattr(frame, "ref", 0), retry_after_s=wait_s))
            )
        await socket.receive()

    async with speaking_to(refuses) as (node, ear):
        async with asyncio.timeout(20):
            while not node.is_connected:
                ear.moved.clear()
                await ear.moved.wait()
        found = []
        for _ in range(5):
            with pytest.raises(NodeRefused) as caught:
                await node.ask(lambda ref: CardGet(ref=ref, mailbox=bytes(16)))
            assert caught.value.code == "rate_limited"
            found.append(caught.value.retry_after_s)
        assert found == [None, None, 0.0, 3600.0, 2.0]
