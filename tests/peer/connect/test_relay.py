"""Through a real TURN server: neither side's address is told, and a server that died holds nobody up."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from overfence.connect.sdp import Description
from overfence.connect.webrtc import LinkConfig

from .conftest import PATIENCE_S, Side

TURNSERVER = shutil.which("turnserver")
pytestmark = pytest.mark.requires("turnserver")


class Relay:
    """A coturn process on a free port of this machine."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.config = LinkConfig(ice_servers=(f"turn:ada:s3cret@127.0.0.1:{port}",), relay_only=True)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-n --listening-ip=127.0.0.1 --relay-ip=127.0.0.1 --listening-port={port} --lt-cred-mech --realm=fence"
    options += " --user=ada:s3cret --no-tls --no-dtls --no-cli --allow-loopback-peers --log-file=stdout --simple-log"
    options += f" --pidfile={tmp_path}/pid --userdb={tmp_path}/db"
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        TURNSERVER or "turnserver", *options.split(), stdout=quiet, stderr=quiet
    )
    made = Relay(process, port)
    await listening(port)
    yield made
    made.kill()
    await process.wait()


async def listening(port: int) -> None:
    """Wait until the server's TCP side, opened beside the UDP one, accepts."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return


async def test_relayed_links_tell_only_the_relays_address(sides: Callable[..., Side], relay: Relay) -> None:
    ada, bob = sides(relay.config), sides(relay.config)
    offer = await ada.link.offer()
    answer = await bob.link.answer(offer)
    await ada.link.accept(answer)
    await asyncio.gather(ada.link.opened(PATIENCE_S), bob.link.opened(PATIENCE_S))
    for text, kind in ((offer, "offer"), (answer, "answer")):
        told = Description.parse(text, "offer" if kind == "offer" else "answer").candidates
        assert [each.kind for each in told] == ["relay"]
        assert "raddr 0.0.0.0" in text
    said = [b"%d" % index for index in range(200)]
    ada.say(*said)
    assert sorted(await bob.hears(200)) == sorted(said)
    assert ada.link.pair is not None
    assert (ada.link.pair.local_type, ada.link.pair.remote_type) == ("relay", "relay")


async def test_a_relay_that_died_does_not_hold_up_closing(sides: Callable[..., Side], relay: Relay) -> None:
    ada = sides(relay.config)
    before = asyncio.all_tasks()
    await ada.link.offer()
    relay.kill()
    async with asyncio.timeout(2.0):
        await ada.link.close()
    for _ in range(3):
        await asyncio.sleep(0)  # a cancelled task ends on the loop's next turns
    assert asyncio.all_tasks() == before
