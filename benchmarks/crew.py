"""Child processes that are told things and report things, a JSON line each; none outlives its block."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The longest report lists the times of one phase's messages.
LINE_LIMIT_BYTES = 1 << 24
STOP_WITHIN_S = 20.0

Report = dict[str, Any]


class Silent(Exception):
    """A process ended, or did not report something in time; its log's last lines are in the text."""


class Member:
    """One child process: `tell` it to do something, `hear` what it reports, each report once."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._reports: defaultdict[str, deque[Report]] = defaultdict(deque)
        self._news = asyncio.Condition()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    def tell(self, do: str, **what: object) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")

    async def hear(
        self, what: str, *, within_s: float = 30.0, that: Callable[[Report], bool] = lambda _report: True
    ) -> Report:
        """The next report of that name for which ``that`` holds; those before it are dropped. Raises `Silent`."""
        waiting = self._reports[what]
        try:
            async with asyncio.timeout(within_s), self._news:
                while True:
                    while waiting:
                        if that(report := waiting.popleft()):
                            return report
                    if self._ended:
                        raise self._silent(f"ended before it reported {what}")
                    await self._news.wait()
        except TimeoutError:
            raise self._silent(f"did not report {what} within {within_s:g} s") from None

    async def leave(self) -> None:
        """Let it end by itself, as a person would."""
        self.tell("quit")
        async with asyncio.timeout(STOP_WITHIN_S):
            await self._process.wait()
        await self._reading

    async def end(self) -> None:
        """End it however it stands."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    def memory_bytes(self) -> int:
        """What it holds now, what was swapped out included."""
        # Counted page by page, where `status` may be behind.
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Rss:", "Swap:")))

    def cpu_s(self) -> float:
        """Processor time it has used, of all its threads. A busy machine changes it less than it changes the clock."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            report = json.loads(line)
            async with self._news:
                self._reports[report["what"]].append(report)
                self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()

    def _silent(self, why: str) -> Silent:
        last = self._log.read_text(errors="replace").splitlines()[-15:]
        return Silent("\n    ".join([f"{self.name} {why}", *last]))


class Crew:
    """The processes of one run, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._members: list[Member] = []

    @classmethod
    @asynccontextmanager
    async def gather(cls, folder: Path) -> AsyncIterator[Crew]:
        """At the end of the block every process of the crew is gone."""
        os.makedirs(folder)
        crew = cls(folder)
        try:
            yield crew
        finally:
            for member in crew._members:
                await asyncio.shield(member.end())

    async def start(self, name: str, script: str, *arguments: str) -> Member:
        """Run one of the modules beside this one, and return once it says it is ready."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"benchmarks.{script}", *arguments),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_LIMIT_BYTES,
            )
        member = Member(name, process, log)
        self._members.append(member)
        await member.hear("ready")
        return member
