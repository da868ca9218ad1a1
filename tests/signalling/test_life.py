"""A node's life: it starts or says why not, stops without losing anything, and survives being killed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from overfence_signalling import (
    SOCKET_PATH,
    SUBPROTOCOL,
    Accepted,
    Ack,
    CannotListen,
    CardGet,
    ClientHello,
    DataInUse,
    DataTooNew,
    DataUnusable,
    Error,
    Item,
    Items,
    Node,
    NodeConfig,
    NodeHello,
    Open,
    PortInUse,
    Put,
    StorageFailed,
    decode_node,
    encode,
    mailbox_address,
)

from .conftest import PATIENCE_S, Client, Start, accepted

SERVE = """
import asyncio, sys
from pathlib import Path
from overfence_signalling import Node, NodeConfig

async def serve():
    async with Node.open(NodeConfig(data=Path(sys.argv[1]))) as node:
        print(node.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(serve())
"""

LATER = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = " + ("DELETE" if sys.argv[2] == "old journal" else "WAL"))
db.execute("CREATE TABLE later (x)")
db.execute("PRAGMA user_version = 7")
db.execute("INSERT INTO later VALUES (1)")
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
db.close()
"""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def serving(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node in a process of its own, and its URL."""
    with subprocess.Popen([sys.executable, "-c", SERVE, str(data)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait(PATIENCE_S)


@asynccontextmanager
async def speaking(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url + SOCKET_PATH, protocols=[SUBPROTOCOL]) as ws:
        await ws.send_bytes(encode(ClientHello(version=1, nonce=os.urandom(32))))
        assert isinstance(decode_node(await ws.receive_bytes()), NodeHello)
        yield ws


async def test_a_restart_keeps_mail_ids_cards_and_the_key(start: Start, mk: bytes) -> None:
    taken, held = os.urandom(16), os.urandom(16)
    async with start() as node, Client.to(node) as owner:
        key = node.key
        opened = await owner.open(mk)
        await owner.put(mk, b"taken", id=taken)
        await owner.put(mk, b"held", id=held)
        await owner.items(2)
        await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=1))
    async with start() as node, Client.to(node) as owner:
        assert node.key == key
        assert accepted(await owner.put(mk, b"taken", id=taken)) == "taken"
        assert accepted(await owner.put(mk, b"held", id=held)) == "held"
        again = await owner.open(mk, opened.epoch, 1)
        assert again.epoch != opened.epoch, "a start may be from yesterday's copy: cursors start over"
        assert [item.envelope for item in await owner.items(1)] == [b"held"]


async def test_mail_put_after_a_restored_copy_is_not_hidden_by_an_old_cursor(
    start: Start, tmp_path: Path, mk: bytes
) -> None:
    async with start() as node, Client.to(node) as owner:
        await owner.open(mk)
    copy = (tmp_path / "node" / "node.db").read_bytes()
    async with start() as node, Client.to(node) as owner:
        opened = await owner.open(mk)
        for text in (b"1", b"2"):
            await owner.put(mk, text)
        await owner.items(2)
    (tmp_path / "node" / "node.db").write_bytes(copy)
    async with start() as node, Client.to(node) as owner:
        for text in (b"3", b"4"):
            await owner.put(mk, text)
        await owner.open(mk, opened.epoch, 2)
        assert [item.envelope for item in await owner.items(2)] == [b"3", b"4"]


async def test_every_answer_that_came_before_a_kill_holds_after_it(tmp_path: Path, mk: bytes) -> None:
    mailbox = mailbox_address(mk)
    ids = [number.to_bytes(16, "big") for number in range(3_000)]
    answered: list[int] = []
    with serving(tmp_path) as (process, url):
        async with speaking(url) as ws:
            await ws.send_bytes(encode(Open(ref=0, mk=mk)))
            await ws.receive_bytes()
            asking = asyncio.create_task(ask_all(ws, mailbox, ids))
            while len(answered) < 1_000:
                frame = decode_node(await ws.receive_bytes())
                if isinstance(frame, Accepted):
                    assert frame.state == "stored" and frame.durable
                    answered.append(frame.ref)
            process.send_signal(signal.SIGKILL)
            async for message in ws:
                frame = decode_node(message.data)
                if isinstance(frame, Accepted):
                    answered.append(frame.ref)
            await asyncio.wait([asking])
            asking.exception()
    assert len(answered) < len(ids), "the kill came too late to show anything"
    async with Node.open(NodeConfig(data=tmp_path)) as node, Client.to(node) as owner, Client.to(node) as sender:
        opened = await owner.open(mk)
        kept: list[Item] = []
        while len(kept) < opened.head:
            items = (await owner.next(Items)).items
            kept.extend(items)
            await owner.send(Ack(mailbox=mailbox, epoch=opened.epoch, seq=items[-1].seq))
        assert [item.id for item in kept] == ids[: len(kept)], "in order, each once"
        assert len(kept) >= len(answered) == len(set(answered))
        state = accepted(await sender.put(mk, b"x", id=ids[answered[-1]]))
        assert state in ("held", "taken")


async def ask_all(ws: aiohttp.ClientWebSocketResponse, mailbox: bytes, ids: list[bytes]) -> None:
    for ref, put_id in enumerate(ids):
        await ws.send_bytes(encode(Put(ref=ref, mailbox=mailbox, id=put_id, envelope=b"x" * 300)))


async def test_a_port_in_use_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            async with Node.open(NodeConfig(port=port, data=tmp_path / "data")):
                pass
        assert caught.value.port == port
    assert not (tmp_path / "data").exists()
    with pytest.raises(CannotListen):
        async with Node.open(NodeConfig(host="192.0.2.1")):
            pass
    with pytest.raises(CannotListen):
        async with Node.open(NodeConfig(port=70_000)):
            pass
    with pytest.raises(CannotListen):
        async with Node.open(NodeConfig(host="no such host")):
            pass


async def test_a_data_directory_in_use_is_said_and_its_node_goes_on(start: Start, tmp_path: Path, mk: bytes) -> None:
    async with start() as node, Client.to(node) as client:
        with pytest.raises(DataInUse):
            async with start():
                pass
        await client.open(mk)
        assert accepted(await client.put(mk, b"x")) == "stored"
        refused = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", SERVE, str(tmp_path / "node")], capture_output=True, timeout=30
        )
        assert b"DataInUse" in refused.stderr
    async with start() as node:
        assert node.port


@pytest.mark.parametrize("left", ["closed", "killed", "old journal"])
async def test_a_newer_database_is_refused_and_not_a_byte_changes(tmp_path: Path, left: str) -> None:
    """``left``: how the newer version left it; killed, its last word stands in the write-ahead log."""
    async with Node.open(NodeConfig(data=tmp_path)):
        pass
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", LATER, str(tmp_path / "node.db"), left], check=False, timeout=30
    )
    before = digests(tmp_path)
    assert ("node.db-wal" in before) is (left == "killed")
    with pytest.raises(DataTooNew) as caught:
        async with Node.open(NodeConfig(data=tmp_path)):
            pass
    assert (caught.value.found, caught.value.known) == (7, 1)
    assert digests(tmp_path) == before


async def test_what_is_no_database_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"my diary, not a database" * 100)
    before = digests(tmp_path)
    with pytest.raises(DataUnusable):
        async with Node.open(NodeConfig(data=tmp_path)):
            pass
    assert digests(tmp_path) == before
    with pytest.raises(DataUnusable):
        async with Node.open(NodeConfig(data=tmp_path / "node.db")):
            pass


async def test_stopping_answers_what_was_asked_and_says_goodbye(start: Start) -> None:
    async with AsyncExitStack() as leaving:
        async with start() as node:
            clients = [await leaving.enter_async_context(Client.to(node)) for _ in range(3)]
            asked = []
            for client in clients:
                key = os.urandom(32)
                await client.open(key)
                asked.append(await client.asking(partial(putting, mailbox_address(key))))
            # The node has read them; without this they may still lie in a socket.
            for client in clients:
                await client.ask(lambda ref: CardGet(ref=ref, mailbox=b"m" * 16))
            began = time.monotonic()
        assert time.monotonic() - began < 5
        for client, answer in zip(clients, asked, strict=True):
            assert accepted(await answer) == "stored"
            error = await client.closed()
            assert error is not None and error.code == "shutting_down" and error.retry_after_s
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", node.port)


def putting(mailbox: bytes, ref: int) -> Put:
    return Put(ref=ref, mailbox=mailbox, id=os.urandom(16), envelope=b"last word")


async def test_stopping_is_bounded_even_if_a_client_takes_nothing(start: Start, mk: bytes) -> None:
    async with start(stop_deadline_s=0.5, in_flight_bytes=32 * 2**20) as node:
        async with Client.to(node) as sender:
            await sender.open(mk)
            for _ in range(200):
                await sender.put(mk, b"x" * 50_000)
        stuck = socket.create_connection(("127.0.0.1", node.port))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stuck.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
    stuck.close()
    assert time.monotonic() - began < 5


async def test_a_cancelled_node_leaves_no_task_thread_or_port(start: Start) -> None:
    before = asyncio.all_tasks()
    served: asyncio.Future[Node] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with start() as node:
            served.set_result(node)
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    node = await served
    async with Client.to(node) as client:
        await client.open(os.urandom(32))
        serving.cancel()
        await asyncio.wait([serving], timeout=PATIENCE_S)
        assert serving.cancelled()
    assert asyncio.all_tasks() == before
    gc.collect()
    async with start() as again:
        assert again.id == node.id


async def test_a_node_in_memory_says_that_it_keeps_nothing(mk: bytes) -> None:
    async with Node.open(NodeConfig()) as node, Client.to(node, hello=False) as client:
        await client.send(ClientHello(version=1, nonce=os.urandom(32)))
        assert not (await client.next(NodeHello)).durable
        await client.open(mk)
        answer = await client.put(mk, b"x")
        assert isinstance(answer, Accepted) and answer.state == "stored" and not answer.durable


async def test_a_disk_that_refuses_is_said_and_what_was_stored_holds(
    start: Start, mk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overfence_signalling.store.writer import Writer

    async with start() as node, Client.to(node) as client:
        await client.open(mk)
        assert accepted(await client.put(mk, b"before")) == "stored"
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "_attempt", lambda self, operation: StorageFailed("disk I/O error"))
            answer = await client.put(mk, b"during")
            assert isinstance(answer, Error) and answer.code == "storage" and answer.retry_after_s
        assert accepted(await client.put(mk, b"after")) == "stored"
        assert [item.envelope for item in await client.items(2)] == [b"before", b"after"]


def test_the_vocabulary_loads_without_the_server() -> None:
    program = (
        "import sys, overfence_signalling\n"
        "heavy = {'aiohttp', 'sqlite_utils', 'structlog', 'nacl'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert overfence_signalling.Node and 'aiohttp' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
