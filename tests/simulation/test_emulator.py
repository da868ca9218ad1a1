"""Real sockets over the emulated path: what the faults promise is what applications see."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from .emulator import Emulated, EmulatorEnded
from .faults import Conditions

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_netns, pytest.mark.requires("ip", "nsenter")]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
SIZE_BYTES = 100
PIPE = asyncio.subprocess.PIPE


@pytest.fixture(autouse=True)
def tun() -> None:
    if not Path("/dev/net/tun").exists():
        unmet = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        unmet("this machine lacks /dev/net/tun")


@dataclass(frozen=True)
class Came:
    """One datagram as the application got it."""

    number: int
    took_s: float
    packet: bytes
    sender: tuple[str, int]


class Listener:
    """A port on a host, and in the end all that came there."""

    def __init__(self, net: Emulated, host: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.net, self.host, self.port = net, host, port
        self._process = process

    @classmethod
    async def on(cls, net: Emulated, host: str) -> Listener:
        process = await net.run_in(host, probe("listen"), cwd=ROOT, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return cls(net, host, process, json.loads(await process.stdout.readline())["port"])

    async def reached_by(
        self, source: str, count: int, *, every_s: float = 0.002, first: int = 0, size: int = 100
    ) -> int:
        """Let another host send here; from which port it did."""
        return await send(self.net, source, (self.net.outer_address(self.host), self.port), count, every_s, size, first)

    async def close(self, *, after_s: float = 0.3) -> list[Came]:
        """All that came, once the longest delay is over."""
        await asyncio.sleep(after_s)
        async with asyncio.timeout(PATIENCE_S):
            told, _ = await self._process.communicate(b"")
        return [
            Came(number, took_s, bytes.fromhex(packet), (host, port))
            for number, took_s, packet, host, port in json.loads(told)
        ]


def probe(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.simulation.emulator.probe", *map(str, arguments)]


async def send(
    net: Emulated, source: str, to: tuple[str, int], count: int, every_s: float, size: int, first: int
) -> int:
    sender = await net.run_in(source, probe("send", *to, count, every_s, size, first), cwd=ROOT, stdout=PIPE)
    async with asyncio.timeout(PATIENCE_S):
        told, _ = await sender.communicate()
    return int(json.loads(told)["port"])


async def test_both_directions_take_their_own_time() -> None:
    async with Emulated(Conditions(delay_s=0.05), Conditions(delay_s=0.12)) as net:
        bob, ada = await Listener.on(net, "bob"), await Listener.on(net, "ada")
        await bob.reached_by("ada", 100)
        await ada.reached_by("bob", 100)
        there, back = await bob.close(), await ada.close()
        for came, delay_s in ((there, 0.05), (back, 0.12)):
            assert [one.number for one in came] == list(range(100))
            assert min(one.took_s for one in came) >= delay_s
            assert median(one.took_s for one in came) < delay_s + 0.03
        assert {one.sender[0] for one in there} == {net.address("ada")}
        assert await net.counts("ada", "bob") == {"carried": 100}
        traffic = await net.traffic("ada", "bob")
        assert traffic["bytes"] == traffic["short_bytes"] + traffic["stun_bytes"] == 100 * (SIZE_BYTES + 28)


async def test_damage_reaches_the_application() -> None:
    async with Emulated(Conditions(corrupt=0.3, truncate=0.2), seed=3) as net:
        bob = await Listener.on(net, "bob")
        await bob.reached_by("ada", 300)
        came, counts = await bob.close(), await net.counts("ada", "bob")
    assert len(came) == counts["carried"] == 300
    assert sum(len(one.packet) < SIZE_BYTES for one in came) == counts["truncated"] > 30
    flipped = [
        one for one in came if len(one.packet) == SIZE_BYTES and (one.packet[12:] != b"\x55" * (SIZE_BYTES - 12))
    ]
    assert 30 < len(flipped) <= counts["corrupted"]


async def test_twice_late_and_out_of_order() -> None:
    async with Emulated(Conditions(duplicate=0.2, reorder=0.2, reorder_s=0.05), seed=4) as net:
        bob = await Listener.on(net, "bob")
        await bob.reached_by("ada", 300)
        came, counts = [one.number for one in await bob.close()], await net.counts("ada", "bob")
    assert len(came) == 300 + counts["duplicated"] > 330
    assert set(came) == set(range(300))
    assert came != sorted(came)


async def lost_numbers(seed: int) -> set[int]:
    async with Emulated(Conditions(loss=0.2), seed=seed) as net:
        bob = await Listener.on(net, "bob")
        await bob.reached_by("ada", 200)
        return set(range(200)) - {one.number for one in await bob.close()}


async def test_a_seed_loses_the_same_packets_again() -> None:
    first, again, other = await lost_numbers(5), await lost_numbers(5), await lost_numbers(6)
    assert 15 < len(first) < 70
    assert first == again != other


async def test_a_block_of_one_direction_leaves_the_other_open() -> None:
    async with Emulated() as net:
        bob, ada = await Listener.on(net, "bob"), await Listener.on(net, "ada")
        await net.block(("ada", "bob"))
        await bob.reached_by("ada", 10)
        await ada.reached_by("bob", 10)
        await net.unblock()
        await bob.reached_by("ada", 10, first=10)
        assert [one.number for one in await bob.close()] == list(range(10, 20))
        assert len(await ada.close()) == 10
        assert await net.counts("ada", "bob") == {"blocked": 10, "carried": 10}


async def test_a_blackout_ends_by_itself() -> None:
    async with Emulated() as net, asyncio.TaskGroup() as tasks:
        bob = await Listener.on(net, "bob")
        sending = tasks.create_task(bob.reached_by("ada", 500))
        # Its first one is through: the sender runs.
        while not (await net.counts("ada", "bob"))["carried"]:  # noqa: ASYNC110 (what is waited for is in another process)
            await asyncio.sleep(0.005)
        await net.blackout(0.3)
        await sending
        numbers = [one.number for one in await bob.close()]
        missing = sorted(set(range(500)) - set(numbers))
        assert missing == list(range(missing[0], missing[-1] + 1))
        assert 100 <= len(missing) <= 350
        assert numbers[-1] == 499


async def test_conditions_change_while_packets_flow() -> None:
    async with Emulated() as net:
        bob = await Listener.on(net, "bob")
        await bob.reached_by("ada", 10)
        await net.set_conditions("ada", "bob", Conditions(delay_s=0.2))
        await bob.reached_by("ada", 10, first=10)
        came = await bob.close()
    assert max(one.took_s for one in came[:10]) < 0.2 <= min(one.took_s for one in came[10:])


async def test_a_slow_line_is_slow_and_its_queue_short() -> None:
    slow = Conditions(rate_bytes_per_s=100_000, queue_bytes=20_000)
    async with Emulated(slow) as net:
        bob = await Listener.on(net, "bob")
        await bob.reached_by("ada", 300, every_s=0.0001, size=972)
        came, counts = await bob.close(after_s=0.6), await net.counts("ada", "bob")
    assert len(came) == counts["carried"]
    assert counts["queue"] > 200
    assert 0.15 <= max(one.took_s for one in came) < 0.3


async def test_a_server_is_on_a_path_of_its_own_to_each() -> None:
    async with Emulated(Conditions(loss=1.0), server=Conditions(delay_s=0.03)) as net:
        server, bob = await Listener.on(net, "server"), await Listener.on(net, "bob")
        for host in ("ada", "bob"):
            await server.reached_by(host, 5)
        await bob.reached_by("server", 5)
        await bob.reached_by("ada", 5)
        assert [one.sender[0] for one in await server.close()] == [net.address("ada")] * 5 + [net.address("bob")] * 5
        assert len(await bob.close()) == 5


@pytest.mark.requires("nft", "conntrack")
async def test_a_router_that_forgets_gives_another_port() -> None:
    async with Emulated(behind_nat=["ada"]) as net:
        bob, ada = await Listener.on(net, "bob"), await Listener.on(net, "ada")
        inner_port = await bob.reached_by("ada", 3)
        assert await net.rebind("ada") >= 1
        await bob.reached_by("ada", 3, first=3)
        # Nobody has asked Bob for these: they end at the router.
        await ada.reached_by("bob", 3)
        came = await bob.close()
        assert [one.number for one in came] == list(range(6))
        assert {one.sender[0] for one in came} == {net.outer_address("ada")} != {net.address("ada")}
        ports = {one.sender[1] for one in came}
        assert len(ports) == 2
        assert inner_port not in ports
        assert await ada.close() == []


def networks() -> set[str]:
    """Those that any process is in."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            found.add(os.readlink(link))
    return found


async def test_what_was_started_ends_with_the_block() -> None:
    async with Emulated() as net:
        forever = await net.run_in(
            "ada", ["sh", "-c", "readlink /proc/self/ns/net; exec sleep 1000"], stdout=asyncio.subprocess.PIPE
        )
        assert forever.stdout is not None
        home = (await forever.stdout.readline()).decode().strip()
        assert home in networks() - {os.readlink("/proc/self/ns/net")}
    assert forever.returncode == -9
    assert home not in networks()


async def test_an_emulator_that_dies_is_told() -> None:
    async with Emulated() as net:
        emulator = int(net.inside("ada")[1].split("/")[2])
        os.kill(emulator, 9)
        with pytest.raises(EmulatorEnded):
            await net.counts("ada", "bob")
