"""Two ends of one kind on an emulated line, connected: where every turn takes place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulation.emulator import Emulated
from tests.simulation.faults import Conditions

from ..crew import LINE_LIMIT_BYTES, ROOT, Member

DELAY_S = 0.025
CLEAN = Conditions(delay_s=DELAY_S)
CONNECT_WITHIN_S = 30.0


@dataclass(frozen=True)
class Contestant:
    """A kind of connection, and the Python it runs in."""

    kind: str
    python: Path = field(default_factory=lambda: Path(sys.executable))


@dataclass(frozen=True)
class Stage:
    """The line and its two ends; Ada is the one who sends."""

    net: Emulated
    ada: Member
    bob: Member

    async def become(self, conditions: Conditions) -> None:
        """Conditions for both directions."""
        await self.net.set_conditions("ada", "bob", conditions)
        await self.net.set_conditions("bob", "ada", conditions)


async def started(
    stack: AsyncExitStack,
    net: Emulated,
    host: str,
    contestant: Contestant,
    module: str,
    *arguments: object,
    folder: Path,
) -> Member:
    """One of the benchmarks' programs on that host, ready; it ends with the stack."""
    log = folder / f"{host}.log"
    with log.open("ab") as errors:
        process = await net.run_in(
            host,
            [str(contestant.python), "-m", f"benchmarks.{module}", *map(str, arguments)],
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_LIMIT_BYTES,
        )
    member = Member(f"{contestant.kind} {host}", process, log)
    stack.push_async_callback(member.end)
    await member.hear("ready")
    return member


@asynccontextmanager
async def set_up(contestant: Contestant, folder: Path, *, pairs: int = 1, seed: int = 0) -> AsyncIterator[Stage]:
    """So many connections between two processes, all open, on a line that is still clean."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(Emulated(CLEAN, seed=seed))
        ada, bob = await asyncio.gather(
            *(
                started(stack, net, host, contestant, "lines.end", contestant.kind, folder=folder)
                for host in ("ada", "bob")
            )
        )
        ada.tell("offer", count=pairs)
        bob.tell("answer", offers=(await ada.hear("offers"))["offers"])
        ada.tell("take", answers=(await bob.hear("answers"))["answers"])
        await asyncio.gather(*(end.hear("open", within_s=CONNECT_WITHIN_S) for end in (ada, bob)))
        yield Stage(net, ada, bob)


def came(report: Mapping[str, Any]) -> list[tuple[int, int, float, float]]:
    """Of each message: which pair's, its number, seconds under way, when it arrived."""
    return [(pair, number, took_s, at) for pair, number, took_s, at in report["came"]]
