"""Every acknowledgement leaves after the fdatasync that covers it: seen in the system calls of the real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from overfence.demo.stage import Server, Stage
from overfence_signalling import (
    SOCKET_PATH,
    SUBPROTOCOL,
    Accepted,
    ClientHello,
    Frame,
    NodeFrame,
    NodeHello,
    Open,
    Opened,
    Put,
    decode_node,
    encode,
    mailbox_address,
)

ROUNDS = 20
# A sealed message is padded to 256 bytes and has a header; heartbeats, checks and SCTP's own acknowledgements are
# far smaller. What a peer sends over its link in lock-step, and is larger than this, says what it holds.
SEALED_BYTES = 330
Linked = Callable[..., AbstractAsyncContextManager[Stage]]
Serving = Callable[..., AbstractAsyncContextManager[Server]]

# ── the analysis ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Call:
    """One system call of a process, as far as it matters here."""

    kind: Literal["order", "store", "synced", "say", "send", "reply"]
    line: str


LINE = re.compile(r"^(?P<thread>\d+)\s+(?P<call>\w+)\((?P<rest>.*)$")
RESUMED = re.compile(r"^(?P<thread>\d+)\s+<\.\.\. (?P<call>\w+) resumed>.*= 0$")
SIZE = re.compile(r"\d+, (?:MSG_\w+|0)\b|iov_len=(\d+)")


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """What happened, in the order strace saw it: a write where it begins, an fdatasync where it has ended."""
    for line in lines:
        if '\\"do\\":\\"send\\"' in line:
            yield Call("order", line)
            continue
        if resumed := RESUMED.match(line):
            if resumed["call"] in ("fdatasync", "fsync"):
                yield Call("synced", line)
            continue
        found = LINE.match(line)
        if found is None:
            continue
        call, rest = found["call"], found["rest"]
        if call in ("fdatasync", "fsync"):
            if rest.endswith("= 0"):
                yield Call("synced", line)
        elif "-wal>" in rest.partition(",")[0]:
            yield Call("store", line)
        elif "<TCP" in rest.partition(",")[0]:
            yield Call("reply", line)
        elif "<UDP" in rest.partition(",")[0]:
            if datagram_bytes(rest) >= SEALED_BYTES:
                yield Call("send", line)
        elif '\\"is\\":\\"sent\\"' in rest or '\\"is\\":\\"heard\\"' in rest:
            yield Call("say", line)


def datagram_bytes(rest: str) -> int:
    """The size of what a `sendto` sends, from its third argument."""
    sizes = re.findall(r'"(?:\.\.\.)?, (\d+), ', rest)
    return int(sizes[0]) if sizes else 0


def early(happened: Iterable[Call], *acknowledging: str) -> list[str]:
    """The acknowledgements that left while something stored was not yet synced."""
    dirty = False
    found = []
    for call in happened:
        if call.kind == "store":
            dirty = True
        elif call.kind == "synced":
            dirty = False
        elif call.kind in acknowledging and dirty:
            found.append(call.line)
    return found


def untimely(happened: Iterable[Call]) -> list[str]:
    """What was said of an order with nothing stored and then synced since the order came."""
    stored = synced = False
    found = []
    for call in happened:
        if call.kind == "order":
            stored = synced = False
        elif call.kind == "store":
            stored = True
        elif call.kind == "synced":
            # What is stored after it (the sealing of what was said) takes nothing away.
            synced = synced or stored
        elif call.kind == "say" and not synced:
            found.append(call.line)
    return found


def bare(happened: Iterable[Call], acknowledging: str) -> list[str]:
    """The acknowledgements with nothing stored and synced between them and the one before."""
    stored = synced = False
    found = []
    for call in happened:
        if call.kind == "store":
            stored, synced = True, False
        elif call.kind == "synced":
            synced = stored
        elif call.kind == acknowledging:
            if not synced:
                found.append(call.line)
            stored = synced = False
    return found


def test_the_analysis_on_calls_written_by_hand() -> None:
    store = '7 pwrite64(9</h/history.db-wal>, ""..., 4096, 0) = 4096'
    sync = "7 fdatasync(9</h/history.db-wal>) = 0"
    say = '5 write(1<pipe:[1]>, "{\\"is\\":\\"sent\\",\\"at\\":1}\\n", 30) = 30'
    send = '5 sendto(12<UDP:[127.0.0.1:5]>, "x"..., 420, 0, {sa_family=AF_INET}, 16) = 420'
    small = '5 sendto(12<UDP:[127.0.0.1:5]>, "x"..., 90, 0, {sa_family=AF_INET}, 16) = 90'
    half = ["7 fdatasync(9</h/history.db-wal> <unfinished ...>", send, "7 <... fdatasync resumed>) = 0"]
    good = list(calls([store, sync, say, send, small]))
    assert [call.kind for call in good] == ["store", "synced", "say", "send"]
    assert not early(good, "say", "send") and not bare(good, "say")
    assert early(calls([store, say, sync]), "say") == [say]
    assert early(calls([store, *half]), "send") == [send], "a sync that has begun covers nothing"
    assert not early(calls([store, small, sync]), "send")
    assert bare(calls([store, sync, say, say]), "say") == [say]
    assert bare(calls([store, say]), "say") == [say]
    order = '5 read(0<pipe:[1]>, "{\\"do\\":\\"send\\",\\"number\\":1}\\n", 65536) = 30'
    assert not untimely(calls([order, store, sync, store, say]))
    assert untimely(calls([store, sync, order, say])) == [say]
    assert untimely(calls([order, store, say, sync])) == [say]


# ── watching ──────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def watched(pid: int, into: Path) -> AsyncIterator[None]:
    """Trace a running process, all its threads, while the block runs."""
    strace = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-yy", "-s", "40", "-p", str(pid), "-o", str(into)),
        *("-e", "trace=read,fdatasync,fsync,sendto,sendmsg,write,writev,pwrite64"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert strace.stderr is not None
        async with asyncio.timeout(20):
            while b"attached" not in (line := await strace.stderr.readline()):
                assert line, f"strace could not attach to {pid}"
        yield
    finally:
        if strace.returncode is None:
            strace.send_signal(signal.SIGINT)
        await asyncio.wait_for(strace.wait(), 20)


async def lock_step(stage: Stage, folder: Path) -> dict[str, list[Call]]:
    """Ada sends, one message at a time, each once the one before is delivered; what both processes did."""
    ada, bob = stage.people
    await ada.settle()
    await bob.settle()
    async with watched(ada.pid, folder / "ada.strace"), watched(bob.pid, folder / "bob.strace"):
        for _ in range(ROUNDS):
            number = ada.say()
            await ada.delivered(number)
            await stage.until(lambda: ada.handed_over in bob.heard, "Bob to hear it")
    return {name: list(calls((folder / f"{name}.strace").read_text().splitlines())) for name in ("ada", "bob")}


@pytest.mark.requires("strace")
@pytest.mark.needs_root
async def test_both_peers_sync_before_they_acknowledge(linked: Linked, tmp_path: Path) -> None:
    async with linked() as stage:
        did = await lock_step(stage, tmp_path)
    assert sum(call.kind == "say" for call in did["ada"]) == ROUNDS
    assert sum(call.kind == "say" for call in did["bob"]) == ROUNDS
    assert sum(call.kind == "send" for call in did["bob"]) >= ROUNDS, "each message was acknowledged by the link"
    assert sum(call.kind == "order" for call in did["ada"]) == ROUNDS
    assert untimely(did["ada"]) == [], "Ada said `sent` before it was synced"
    assert bare(did["bob"], "say") == [], "Bob showed a message before it was synced"
    assert early(did["bob"], "send") == [], "Bob said what he holds before it was synced"


@pytest.mark.requires("strace")
@pytest.mark.needs_root
async def test_peers_that_do_not_sync_are_found_out(linked: Linked, tmp_path: Path) -> None:
    async with linked("unsynced") as stage:
        did = await lock_step(stage, tmp_path)
    assert any(call.kind == "store" for call in did["ada"])
    assert len(untimely(did["ada"])) == ROUNDS
    assert len(bare(did["bob"], "say")) == ROUNDS
    assert len(early(did["bob"], "send")) >= ROUNDS - 1  # the first may leave before Bob's first write is seen


async def puts(server: Server, folder: Path) -> list[Call]:
    """Mail for somebody who is away, put one at a time; what the node did."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url + SOCKET_PATH, protocols=[SUBPROTOCOL]) as socket,
    ):

        async def ask(frame: Frame, answer: type[Frame]) -> NodeFrame:
            await socket.send_bytes(encode(frame))
            return await heard(answer)

        async def heard(kind: type[Frame]) -> NodeFrame:
            async with asyncio.timeout(20):
                while not isinstance(frame := decode_node(await socket.receive_bytes()), kind):
                    continue
                return frame

        await ask(ClientHello(version=1, nonce=os.urandom(32)), NodeHello)
        mk = os.urandom(32)
        async with session.ws_connect(server.url + SOCKET_PATH, protocols=[SUBPROTOCOL]) as owner:
            await owner.send_bytes(encode(ClientHello(version=1, nonce=os.urandom(32))))
            await owner.receive_bytes(timeout=20)
            await owner.send_bytes(encode(Open(ref=1, mk=mk, epoch=0, seq=0)))
            assert isinstance(decode_node(await owner.receive_bytes(timeout=20)), Opened)
        async with watched(server.pid, folder / "node.strace"):
            for ref in range(2, ROUNDS + 2):
                put = Put(ref=ref, mailbox=mailbox_address(mk), id=os.urandom(16), envelope=bytes(400), ttl_s=3600)
                await ask(put, Accepted)
    return list(calls((folder / "node.strace").read_text().splitlines()))


@pytest.mark.requires("strace")
@pytest.mark.needs_root
async def test_the_node_syncs_before_it_accepts(server: Serving, tmp_path: Path) -> None:
    async with server() as running:
        did = await puts(running, tmp_path)
    assert sum(call.kind == "reply" for call in did) == ROUNDS
    assert bare(did, "reply") == [], "accepted before it was synced"


@pytest.mark.requires("strace")
@pytest.mark.needs_root
async def test_a_node_that_does_not_sync_is_found_out(server: Serving, tmp_path: Path) -> None:
    async with server("unsynced") as running:
        did = await puts(running, tmp_path)
    assert len(bare(did, "reply")) == ROUNDS
