"""An emulated network from its user's side."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import count, permutations
from pathlib import Path
from types import TracebackType
from typing import Any

from ..faults import Conditions
from .namespaces import SYSTEM_PATH

ROOT = Path(__file__).parents[3]
PATIENCE_S = 20.0
REPLY_LIMIT_BYTES = 1 << 22


class EmulatorEnded(Exception):
    """The emulator's process is gone, or never got as far as making its networks; it has said why on stderr."""


class Emulated:
    """Hosts "ada" and "bob" (and "server"), each a network of its own, and a path between any two.

    `async with Emulated(there, back, seed=1) as net:` the networks, and every process started in them by `run_in`, end
    with the block. Needs root, network namespaces and TUN; raises `EmulatorEnded` where they are not to be had.
    """

    def __init__(
        self,
        there: Conditions = Conditions(),  # noqa: B008 (frozen)
        back: Conditions | None = None,
        *,
        server: Conditions | None = None,
        behind_nat: Collection[str] = (),
        seed: int = 0,
    ) -> None:
        """``there``: from Ada to Bob; ``back`` (the same, if not given): from him to her. With ``server`` there is a
        third host, with a path like that to each. Who is ``behind_nat`` has a router, which `rebind` restarts."""
        names = ["ada", "bob"] if server is None else ["ada", "bob", "server"]
        of_pair = {("ada", "bob"): there, ("bob", "ada"): there if back is None else back}
        self._outer = {name: f"10.91.0.{number}" for number, name in enumerate(names, 1)}
        self._inner = {
            name: (f"192.168.{number}.2", f"192.168.{number}.1")
            for number, name in enumerate(names, 1)
            if name in behind_nat
        }
        self._pairs = list(permutations(names, 2))
        self._plan = {
            "addresses": self._outer,
            "behind_nat": self._inner,
            "ways": [(*pair, asdict(of_pair.get(pair, server or there))) for pair in self._pairs],
            "seed": seed,
        }
        self._numbers = count(1)
        self._ending = AsyncExitStack()
        self._one_order = asyncio.Lock()

    async def __aenter__(self) -> Emulated:
        async with AsyncExitStack() as ending:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.simulation.emulator.crossing"),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=REPLY_LIMIT_BYTES,
            )
            ending.push_async_callback(end, self._process)
            self._descriptors = (await self._exchange(self._plan))["namespaces"]
            self._ending = ending.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ending.aclose()

    def address(self, name: str) -> str:
        """The host's own address; from behind NAT, nobody else can use it."""
        return self._inner[name][0] if name in self._inner else self._outer[name]

    def outer_address(self, name: str) -> str:
        """The address that others see."""
        return self._outer[name]

    def inside(self, name: str) -> tuple[str, ...]:
        """The words before a command that run it on that host."""
        nsenter = shutil.which("nsenter", path=SYSTEM_PATH) or "nsenter"
        return (nsenter, f"--net=/proc/{self._process.pid}/fd/{self._descriptors[name]}")

    async def run_in(self, name: str, command: Sequence[str], **options: Any) -> asyncio.subprocess.Process:
        """Start a process on that host; ``options`` as for `asyncio.create_subprocess_exec`."""
        process = await asyncio.create_subprocess_exec(*self.inside(name), *command, **options)
        self._ending.push_async_callback(end, process)
        return process

    async def set_conditions(self, source: str, target: str, conditions: Conditions) -> None:
        """From the next packet on; what is under way arrives as it was going to."""
        await self._order("conditions", (source, target), conditions=asdict(conditions))

    async def block(self, *pairs: tuple[str, str]) -> None:
        """Let nothing pass from the first to the second of each pair; without any, nothing at all."""
        await self._set_blocked(pairs or self._pairs, True)

    async def unblock(self, *pairs: tuple[str, str]) -> None:
        """The end of a block; without pairs, of all of them."""
        await self._set_blocked(pairs or self._pairs, False)

    async def blackout(self, for_s: float, *pairs: tuple[str, str]) -> float:
        """A block of that length, and when (`time.monotonic`) the path was there again."""
        try:
            await self.block(*pairs)
            await asyncio.sleep(for_s)
        finally:
            await asyncio.shield(self.unblock(*pairs))
        return time.monotonic()

    async def counts(self, source: str, target: str) -> Counter[str]:
        """What `OneWay.counts` says of this direction."""
        return Counter((await self._order("look", (source, target)))["counts"])

    async def traffic(self, source: str, target: str) -> Counter[str]:
        """What was put in in this direction: "packets", "bytes" with IP headers, and of these "stun_bytes", or
        "short_bytes" where a packet is too short to carry more than acknowledgements."""
        return Counter((await self._order("look", (source, target)))["traffic"])

    async def late_s(self) -> list[float]:
        """By how much the latest packets, of all directions, went out after they were due; asking begins it anew."""
        return [float(each) for each in (await self._order("late", self._pairs[0]))["late_s"]]

    async def rebind(self, name: str) -> int:
        """Let the router in front of the host forget its translations: what the host sends next comes from other
        ports. How many it had."""
        told = asyncio.subprocess.PIPE
        process = await self.run_in(f"{name}'s router", ["conntrack", "-D"], stdout=told, stderr=told)
        async with asyncio.timeout(PATIENCE_S):
            forgotten, _ = await process.communicate()
        return len(forgotten.splitlines())

    async def _set_blocked(self, pairs: Iterable[tuple[str, str]], blocked: bool) -> None:
        for pair in pairs:
            await self._order("block", pair, blocked=blocked)

    async def _order(self, do: str, pair: tuple[str, str], **what: Any) -> dict[str, Any]:
        number = next(self._numbers)
        order = {"do": do, "number": number, "source": pair[0], "target": pair[1], **what}
        reply = await self._exchange(order)
        # Somebody who was cancelled may have left an answer unread.
        while reply.get("number") != number:
            reply = await self._exchange(None)
        return reply

    async def _exchange(self, line: object) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        async with self._one_order, asyncio.timeout(PATIENCE_S):
            if line is not None:
                self._process.stdin.write(json.dumps(line).encode() + b"\n")
            reply = await self._process.stdout.readline()
        if not reply:
            raise EmulatorEnded("the emulator ended; its last words are on stderr")
        answer: dict[str, Any] = json.loads(reply)
        return answer


async def end(process: asyncio.subprocess.Process) -> None:
    """Whatever it is doing."""
    if process.returncode is None:
        process.kill()
    await process.wait()
