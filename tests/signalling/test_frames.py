"""Garbage, silence, haste and sloth: each ends one connection with a typed error, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import msgspec
import pytest
from overfence_signalling import (
    FRAME_LIMIT_BYTES,
    SOCKET_PATH,
    SUBPROTOCOL,
    Card,
    CardGet,
    CardSet,
    ClientHello,
    Enter,
    Error,
    Frame,
    Leave,
    Node,
    NodeHello,
    Open,
    Snapshot,
    encode,
    hello_is_genuine,
    mailbox_address,
    node_id,
)

from .conftest import PATIENCE_S, Client, Connect, Start, accepted, refused

Say = Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]]


def put(**fields: object) -> bytes:
    return msgspec.msgpack.encode(
        {"t": "put", "ref": 1, "mailbox": b"m" * 16, "id": b"i" * 16, "envelope": b"", **fields}
    )


BAD_FRAMES: dict[str, tuple[Say, str]] = {
    "text": (lambda ws: ws.send_str("hello"), "malformed"),
    "text that is no UTF-8": (lambda ws: ws.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT), "malformed"),
    "nothing": (lambda ws: ws.send_bytes(b""), "malformed"),
    "noise": (lambda ws: ws.send_bytes(os.urandom(300)), "malformed"),
    "truncated": (lambda ws: ws.send_bytes(put()[:-7]), "malformed"),
    "with a tail": (lambda ws: ws.send_bytes(put() + b"\x00"), "malformed"),
    "wrong type": (lambda ws: ws.send_bytes(put(envelope="text")), "malformed"),
    "wrong length": (lambda ws: ws.send_bytes(put(mailbox=b"m" * 15)), "malformed"),
    "out of bounds": (lambda ws: ws.send_bytes(put(ttl_s=-1)), "malformed"),
    "unknown": (lambda ws: ws.send_bytes(msgspec.msgpack.encode({"t": "sing"})), "unknown_type"),
    "one long unknown word": (lambda ws: ws.send_bytes(msgspec.msgpack.encode({"t": "x" * 65_000})), "unknown_type"),
    "of a node": (lambda ws: ws.send_bytes(msgspec.msgpack.encode({"t": "welcome"})), "unknown_type"),
    "a second hello": (lambda ws: ws.send_bytes(encode(ClientHello(version=1, nonce=b"n" * 32))), "malformed"),
    "a byte too large": (lambda ws: ws.send_bytes(b"x" * (FRAME_LIMIT_BYTES + 1)), "too_large"),
    "far too large": (lambda ws: ws.send_bytes(b"x" * 10_000_000), "too_large"),
    "nested without end": (lambda ws: ws.send_bytes(b"\x81\xa1z" + b"\x91" * 60_000), "malformed"),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
async def test_a_bad_frame_ends_its_connection_and_no_other(kind: str, connect: Connect, mk: bytes) -> None:
    say, code = BAD_FRAMES[kind]
    bad, owner, sender = await connect(), await connect(), await connect()
    await owner.open(mk)
    try:
        await say(bad.ws)
    except ConnectionError:
        assert kind == "far too large", "only a frame nobody reads to its end may be cut off while it is sent"
    error = await bad.closed()
    assert (error is None and kind == "far too large") or (error is not None and error.code == code)
    assert accepted(await sender.put(mk, b"still here")) == "stored"
    assert [item.envelope for item in await owner.items(1)] == [b"still here"]


async def test_a_frame_of_exactly_the_limit_is_read(connect: Connect, mk: bytes) -> None:
    owner, sender = await connect(), await connect()
    await owner.open(mk)
    fields = {"t": "put", "ref": 9, "mailbox": mailbox_address(mk), "id": b"i" * 16, "envelope": b"e", "later": b""}
    spare = FRAME_LIMIT_BYTES - len(msgspec.msgpack.encode(fields)) - 1
    frame = msgspec.msgpack.encode({**fields, "later": b"x" * spare})
    assert len(frame) == FRAME_LIMIT_BYTES
    await sender.ws.send_bytes(frame)
    assert (await owner.items(1))[0].envelope == b"e"


async def test_the_hello_proves_which_node_answers(node: Node) -> None:
    async with Client.to(node, hello=False) as client:
        nonce = os.urandom(32)
        await client.send(ClientHello(version=1, nonce=nonce, features=("mailboxes", "unheard-of")))
        hello = await client.next(NodeHello)
    assert hello_is_genuine(hello, nonce=nonce)
    assert not hello_is_genuine(hello, nonce=os.urandom(32))
    assert node_id(hello.node) == node.id
    assert hello.unix_s == 20_000 * 86_400 + 1_000
    assert hello.durable and hello.policy == "open"
    assert hello.limits.mailbox_items == 10_000 and hello.limits.frame_bytes == FRAME_LIMIT_BYTES


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (encode(Leave(topic=b"t" * 32)), "hello_expected"),
        (encode(ClientHello(version=2, nonce=b"n" * 32)), "version"),
        (b"\xc1", "malformed"),
    ],
)
async def test_the_first_frame_is_a_hello_of_this_version(start: Start, frame: bytes, code: str) -> None:
    async with start(hello_deadline_s=600) as node, Client.to(node, hello=False) as client:
        await client.ws.send_bytes(frame)
        error = await client.closed()
    assert error is not None and error.code == code


async def test_who_says_no_hello_is_closed(start: Start) -> None:
    async with start(hello_deadline_s=0.05) as node, Client.to(node, hello=False) as silent:
        error = await silent.closed()
        assert error is not None and error.code == "hello_expected"


async def test_who_asks_nothing_or_dribbles_is_dropped(start: Start) -> None:
    async with start(request_deadline_s=0.1) as node:
        for words in (b"", b"GET / HTT", b"GET /livez HTTP/1.1\r\nHost: x\r\nA: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(words)
            try:
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            except ConnectionError:
                pass  # dropped is dropped
            finally:
                writer.close()
        async with Client.to(node) as client:
            await asyncio.sleep(0.2)  # longer than the deadline that must not touch a socket in use
            await client.open(os.urandom(32))


@pytest.mark.parametrize("protocols", [(), ("overfence.2",), ("chat", "overfence.2")])
async def test_another_subprotocol_is_refused(node: Node, protocols: tuple[str, ...]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(node.url + SOCKET_PATH, protocols=protocols)
        assert caught.value.status == 400
        async with session.ws_connect(node.url + SOCKET_PATH, protocols=["overfence.2", SUBPROTOCOL]) as ws:
            assert ws.protocol == SUBPROTOCOL


async def test_nothing_is_compressed(node: Node) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(node.url + SOCKET_PATH, protocols=[SUBPROTOCOL], compress=15) as ws,
    ):
        assert ws.compress == 0


async def test_too_hasty_a_client_is_told_to_wait_and_when(start: Start) -> None:
    async with start(requests_per_s=2, requests_burst=3) as node, Client.to(node) as client:
        answers = [await client.ask(lambda ref: CardGet(ref=ref, mailbox=b"m" * 16)) for _ in range(4)]
        assert [refused(one) for one in answers] == ["no_mailbox"] * 3 + ["rate_limited"]
        last = answers[-1]
        assert isinstance(last, Error) and last.retry_after_s and 0 < last.retry_after_s <= 0.5
        async with Client.to(node) as other:
            assert refused(await other.put(b"k" * 32, b"")) == "no_mailbox", "each has its own allowance"


async def test_one_house_cannot_take_every_place(start: Start) -> None:
    async with start(connections_per_network=2) as node:
        async with Client.to(node), Client.to(node) as second:
            async with Client.to(node, hello=False) as third:
                error = await third.closed()
                assert error is not None and error.code == "too_many" and error.retry_after_s
            await second.open(os.urandom(32))
        async with Client.to(node) as again:
            await again.open(os.urandom(32))


@asynccontextmanager
async def sluggish(node: Node) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that says hello, with a small receive buffer, and then reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", node.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1_024)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: overfence.1\r\n\r\n"
    )
    try:
        await reader.readuntil(b"\r\n\r\n")
        yield writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)  # the abort is done in the loop's next turn


def masked(frame: bytes) -> bytes:
    """A client's WebSocket frame, masked with zeros (RFC 6455 §5.2)."""
    size = len(frame)
    head = bytes([0x82, 0x80 | size]) if size < 126 else bytes([0x82, 0xFE]) + size.to_bytes(2, "big")
    return head + bytes(4) + frame


async def greet(writer: asyncio.StreamWriter, *frames: Frame) -> None:
    for frame in (ClientHello(version=1, nonce=b"n" * 32), *frames):
        writer.write(masked(encode(frame)))
    await writer.drain()


async def others(client: Client, topic: bytes, entry: bytes = b"") -> int:
    """How many others the node counts in a topic."""
    snapshot = await client.ask(lambda ref: Enter(ref=ref, topic=topic, entry=entry))
    assert isinstance(snapshot, Snapshot)
    return len(snapshot.entries)


async def until_alone(client: Client, topic: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await others(client, topic):
            pass


async def test_a_reader_too_slow_for_its_topics_is_closed_and_the_talker_never_waits(start: Start) -> None:
    topics = [bytes([number]) * 32 for number in range(200)]
    bounds = {"connections_per_network": 2, "heartbeat_s": 600, "write_deadline_s": 600}
    async with start(**bounds) as node, Client.to(node) as talker, sluggish(node) as writer:
        await greet(writer, *(Enter(ref=1, topic=topic, entry=b"slow") for topic in topics))
        async with asyncio.timeout(PATIENCE_S):
            while not await others(talker, topics[-1]):
                pass
        rounds = 0
        while await others(talker, topics[0], bytes([rounds]) * 1_000):
            rounds += 1
            assert rounds < 200, "the slow reader was kept"
            entry = bytes([rounds]) * 1_000
            for answer in [await talker.asking(partial(entering, topic, entry)) for topic in topics]:
                await answer
        assert rounds > 2, "it was closed before it was slow"
        await talker.open(os.urandom(32))
        async with asyncio.timeout(PATIENCE_S):
            while not await has_place(node):
                pass


async def has_place(node: Node) -> bool:
    async with Client.to(node, hello=False) as client:
        await client.send(ClientHello(version=1, nonce=b"n" * 32))
        return isinstance(await client.next(Frame), NodeHello)


def entering(topic: bytes, entry: bytes, ref: int) -> Enter:
    return Enter(ref=ref, topic=topic, entry=entry)


async def test_an_owner_who_reads_nothing_holds_nobody_up(start: Start, mk: bytes) -> None:
    async with start(in_flight_bytes=32 * 2**20) as node, Client.to(node) as sender, sluggish(node) as writer:
        await greet(writer, Open(ref=1, mk=mk))
        async with asyncio.timeout(PATIENCE_S):
            while accepted(await sender.put(mk, b"here?", ttl_s=0)) == "absent":
                pass
        for _ in range(200):
            assert accepted(await sender.put(mk, b"x" * 50_000)) == "stored"
        assert accepted(await sender.put(mk, b"call", ttl_s=0)) == "absent", "it can't be handed over"
        async with Client.to(node) as back:
            await back.open(mk)
            assert len(await back.items(200)) == 200, "all of it waits for a better connection"


@pytest.mark.parametrize("bound", ["write_deadline_s", "heartbeat_s"])
async def test_a_reader_who_takes_nothing_for_too_long_is_closed(start: Start, mk: bytes, bound: str) -> None:
    async with (
        start(in_flight_bytes=32 * 2**20, **{bound: 0.3}) as node,
        Client.to(node) as sender,
        sluggish(node) as writer,
    ):
        await greet(writer, Open(ref=1, mk=mk), Enter(ref=2, topic=b"t" * 32, entry=b""))
        async with asyncio.timeout(PATIENCE_S):
            while not await others(sender, b"t" * 32):
                pass
        for _ in range(200):
            assert accepted(await sender.put(mk, b"x" * 50_000)) == "stored"
        await until_alone(sender, b"t" * 32)


async def test_who_asks_without_reading_is_no_longer_read(start: Start) -> None:
    """Its requests wait in its own socket, not in the node."""
    async with start(write_deadline_s=60) as node, Client.to(node) as other:
        card = os.urandom(8_000)
        mk = os.urandom(32)
        await other.ask(lambda ref: CardSet(ref=ref, mk=mk, card=card))
        question = masked(encode(CardGet(ref=1, mailbox=mailbox_address(mk))))
        sent = 0
        async with sluggish(node) as writer:
            await greet(writer)
            with pytest.raises(TimeoutError):  # far beyond what the kernel holds for it
                while sent < 64 * 2**20:
                    writer.write(question * 1_000)
                    async with asyncio.timeout(1.0):
                        await writer.drain()
                    sent += len(question) * 1_000
            assert isinstance(await other.ask(lambda ref: CardGet(ref=ref, mailbox=mailbox_address(mk))), Card)
