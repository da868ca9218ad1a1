"""A disk that fails for a while, in the kernel itself: refusals are said, and every `stored` holds."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from overfence_signalling import (
    SOCKET_PATH,
    SUBPROTOCOL,
    Accepted,
    Ack,
    CardSet,
    ClientHello,
    Error,
    Items,
    Node,
    NodeConfig,
    NodeFrame,
    Put,
    decode_node,
    encode,
    mailbox_address,
)

from .conftest import PATIENCE_S, Client

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


@pytest.mark.requires("strace")
@pytest.mark.parametrize("fault", ["fdatasync:error=EIO:when=12..14", "pwrite64:error=ENOSPC:when=40..55"])
async def test_a_disk_that_fails_for_a_while_loses_nothing_it_took(tmp_path: Path, mk: bytes, fault: str) -> None:
    data = tmp_path / "data"
    async with Node.open(NodeConfig(data=data)):
        pass
    strace = shutil.which("strace")
    assert strace is not None
    traced = ("-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fdatasync,pwrite64", "-e", f"inject={fault}")
    process = await asyncio.create_subprocess_exec(
        strace, *traced, sys.executable, "-c", SERVE, str(data), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S * 2):
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            answers = await put_one_by_one(url, mk, 25)
    finally:
        kill_traced_by(process.pid)
        await process.wait()
    stored = [n for n, answer in enumerate(answers) if isinstance(answer, Accepted) and answer.state == "stored"]
    refused = [answer for answer in answers if isinstance(answer, Error)]
    assert len(stored) + len(refused) == 25
    assert refused and {one.code for one in refused} == {"storage"}
    assert stored and stored[-1] == 24, "it took mail again once the disk did"

    async with Node.open(NodeConfig(data=data)) as node, Client.to(node) as owner:
        opened = await owner.open(mk)
        kept: list[int] = []
        while len(kept) < opened.head:
            items = (await owner.next(Items)).items
            kept.extend(item.envelope[0] for item in items)
            await owner.send(Ack(mailbox=opened.mailbox, epoch=opened.epoch, seq=items[-1].seq))
    assert kept == sorted(set(kept))
    assert set(stored) <= set(kept)


def kill_traced_by(pid: int) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


async def put_one_by_one(url: str, mk: bytes, count: int) -> list[NodeFrame]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url + SOCKET_PATH, protocols=[SUBPROTOCOL]) as ws:
        await ws.send_bytes(encode(ClientHello(version=1, nonce=os.urandom(32))))
        await ws.send_bytes(encode(CardSet(ref=0, mk=mk, card=b"")))
        for _ in range(2):
            await ws.receive_bytes()
        answers = []
        for number in range(count):
            envelope = bytes([number]) * 300
            put = Put(ref=number, mailbox=mailbox_address(mk), id=os.urandom(16), envelope=envelope)
            await ws.send_bytes(encode(put))
            answers.append(decode_node(await ws.receive_bytes()))
        return answers
