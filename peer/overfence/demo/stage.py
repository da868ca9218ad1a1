"""The demo's processes: one server, two people, each real; nothing outlives the block that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_never

from . import script as s
from .tally import Book

WAIT_S = 30.0
STOP_WITHIN_S = 15.0
# A peer's longest report is far shorter.
LINE_LIMIT_BYTES = 1 << 20


class DemoFailed(Exception):
    """Something did not happen in time, or a process ended that should not have. The homes are kept."""


class Stage:
    """Where everyone stands, and the one place to wait for something to become true."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.server = Server(self)
        self.people: list[Actor] = []
        self.doom: tuple[Actor, Callable[[], bool]] | None = None
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, seed: int) -> AsyncIterator[Stage]:
        """A stage in ``folder``; at the end of the block all its processes are gone."""
        stage = cls(folder, seed)
        try:
            yield stage
        finally:
            await asyncio.shield(stage._clear())

    async def until(self, true: Callable[[], bool], awaited: str, within_s: float = WAIT_S) -> None:
        """Return when ``true()``; `DemoFailed` says what was awaited, if it does not come or a process dies."""
        loop = asyncio.get_running_loop()
        deadline_at = loop.time() + within_s
        while not true():
            for process in (self.server, *self.people):
                process.check()
            self._changed.clear()
            left_s = deadline_at - loop.time()
            if left_s <= 0:
                raise DemoFailed(f"waited {within_s:.0f} s in vain for {awaited}")
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def changed(self) -> None:
        """Something was reported, or a process ended."""
        if self.doom and self.doom[1]():
            # Here and not in a waiting task, so that nothing can happen between the sign and the deed.
            self.doom[0].strike()
            self.doom = None
        self._changed.set()

    async def _clear(self) -> None:
        for process in (*self.people, self.server):
            await process.kill()


class Process:
    """A child process whose lines are read until it ends."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name
        self.ended_as_told = True
        self.log = stage.folder / f"{name.lower()}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 before it was started."""
        return self._process.pid if self._process else 0

    def check(self) -> None:
        """Raise `DemoFailed` if the process ended by itself."""
        if self._reading and self._reading.done() and not self.ended_as_told:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise DemoFailed("\n    ".join([f"{self.name} ended by itself; its last words:", *tail]))

    async def spawn(self, *arguments: str) -> None:
        """Start `python -m ARGUMENTS`."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_LIMIT_BYTES,
                # Ctrl-C is for the director, who ends them in order.
                start_new_session=True,
            )
        self.ended_as_told = False
        self._reading = asyncio.create_task(self._read(self._process))

    def write(self, line: bytes) -> None:
        """Say a line to the process."""
        if self._process and self._process.stdin:
            self._process.stdin.write(line)

    def strike(self) -> None:
        """SIGKILL, now; what it said before is still read."""
        self.ended_as_told = True
        if self._process and self._process.returncode is None:
            self._process.kill()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone and heard out."""
        self.strike()
        await self.gone()

    async def stop(self, sign: signal.Signals | None = None) -> int:
        """Let it end by itself; `DemoFailed` if it doesn't. Its exit code."""
        self.ended_as_told = True
        if sign and self.pid:
            os.kill(self.pid, sign)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                code = await self.gone()
        except TimeoutError:
            raise DemoFailed(f"{self.name} was told to end and did not within {STOP_WITHIN_S:.0f} s") from None
        if code:
            raise DemoFailed(f"{self.name} ended with exit code {code}; its log is {self.log}")
        return code

    async def gone(self) -> int:
        """Wait until it has ended and all it said was read."""
        if self._process is None or self._reading is None:
            return 0
        await asyncio.shield(self._reading)
        return await self._process.wait()

    def take(self, line: bytes) -> None:
        """One line the process said."""

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        try:
            while line := await process.stdout.readline():
                self.take(line)
                self.stage.changed()
        finally:
            self.stage.changed()


class Server(Process):
    """`overfence serve`, at the same port for as long as the demo lasts."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, "Server")
        self.url = ""
        self._listening = False

    async def start(self) -> None:
        """Return when it listens."""
        port = self.url.rpartition(":")[2] or "0"
        self._listening = False
        data = str(self.stage.folder / "server")
        await self.spawn("overfence", "serve", "--host", "127.0.0.1", "--port", port, "--data", data)
        await self.stage.until(lambda: self._listening, "the server to listen")

    def take(self, line: bytes) -> None:
        """Look for where it listens."""
        words = line.decode(errors="replace").split()
        if words[:2] == ["listening", "on"]:
            self.url = words[2]
            self._listening = True


class Actor(Process):
    """One person: what she was told to say, what became of it, and how her peer sees the world."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage, name)
        self.home = stage.folder / name.lower()
        self.book = Book()
        self.handed_over = 0
        self.waiting: deque[int] = deque()  # handed over, `send` not returned
        self.undelivered: deque[tuple[int, int]] = deque()  # `send` returned: (seq, number)
        self.sent = 0
        self.last_delivered = 0
        self.delivered_upto = 0
        self.heard: set[int] = set()
        self.last_heard = 0
        self.heard_amiss = 0
        self._forget()

    def _forget(self) -> None:
        self.ready_at: float | None = None
        self.link = ""
        self.contact = ""
        self.online_at: float | None = None
        self.direct_at: float | None = None
        self.pair: tuple[str, str] | None = None
        self.connected = False
        self.queued: int | None = None
        self.heard_at: dict[int, float] = {}
        self.round_trips_s: tuple[float, ...] = ()

    @property
    def in_flight(self) -> int:
        """Texts on their way: not yet known to be held by the other side."""
        return len(self.waiting) + len(self.undelivered)

    async def start(self) -> None:
        """Return when her chat is open."""
        self._forget()
        self.last_heard = 0
        await self.spawn("overfence.demo.peer", str(self.home), self.name, self.stage.server.url)
        await self.stage.until(lambda: self.ready_at is not None, f"{self.name}'s chat to open")

    def order(self, order: s.AnyOrder) -> None:
        """Tell her peer to do something."""
        self.write(s.line_of(order))

    def say(self) -> int:
        """Have her say her next text; its number."""
        number = self._hand_over()
        self.order(s.Send(number, self.text(number)))
        return number

    def hand_over(self, count: int) -> tuple[int, tuple[str, ...]]:
        """Her next ``count`` texts, which the caller tells her to say: the first number, and the texts."""
        first = self.handed_over + 1
        return first, tuple(self.text(self._hand_over()) for _ in range(count))

    def text(self, number: int) -> str:
        """Her ``number``-th text."""
        return s.text_of(self.stage.seed, self.name, number)

    async def delivered(self, number: int) -> None:
        """Return when the other side is known to hold her ``number``-th text."""
        await self.stage.until(lambda: self.last_delivered >= number, f"{self.name}'s message {number} to be delivered")

    def give_up(self) -> int:
        """Forget what was handed over and not acknowledged, for its process is dead; how many that were."""
        lost = len(self.waiting)
        self.waiting.clear()
        return lost

    async def settle(self) -> None:
        """Return when the other side holds all she sent; `DemoFailed` if that stops getting nearer."""
        loop = asyncio.get_running_loop()
        best, deadline_at = None, loop.time() + WAIT_S
        while True:
            self.queued = None
            self.order(s.State())
            await self.stage.until(lambda: self.queued is not None, f"{self.name} to say what is queued")
            if self.queued == 0:
                break
            if best is None or (self.queued or 0) < best:
                best, deadline_at = self.queued, loop.time() + WAIT_S
            if loop.time() > deadline_at:
                raise DemoFailed(f"{self.queued} messages of {self.name} still wait, and none went for {WAIT_S:.0f} s")
            await asyncio.sleep(0.05)
        if self.undelivered:
            self.last_delivered = self.undelivered[-1][1]
            self.undelivered.clear()

    def _hand_over(self) -> int:
        self.handed_over += 1
        self.book.hand_over(self.text(self.handed_over))
        self.waiting.append(self.handed_over)
        return self.handed_over

    def take(self, line: bytes) -> None:
        """Note what her peer reports."""
        match s.report_in(line):
            case s.Ready(at=at):
                self.ready_at = at
            case s.Invited(link=link):
                self.link = link
            case s.Met(state=state):
                self.contact = state
            case s.Sent(number=number, seq=seq):
                self.waiting.remove(number)
                self.book.acknowledge(self.text(number))
                self.sent += 1
                self.undelivered.append((seq, number))
                self._tick()
            case s.Heard(number=number, at=at):
                self._hear(number, at)
            case s.Delivered(seq=seq):
                self.delivered_upto = max(self.delivered_upto, seq)
                self._tick()
            case s.Asked(round_trips_s=round_trips_s):
                self.round_trips_s = round_trips_s
            case s.Online(online=online, at=at):
                self.online_at = at if online else None
            case s.Path(path=path, pair=pair, at=at):
                self.direct_at = at if path in ("direct", "relayed") else None
                self.pair = pair if path in ("direct", "relayed") else None
            case s.Server(connected=connected):
                self.connected = connected
            case s.Queued(count=count):
                self.queued = count
            case other:
                assert_never(other)

    def _tick(self) -> None:
        while self.undelivered and self.undelivered[0][0] <= self.delivered_upto:
            self.last_delivered = self.undelivered.popleft()[1]

    def _hear(self, number: int, at: float) -> None:
        # `messages` promises each once per process and in its author's order.
        if number <= self.last_heard:
            self.heard_amiss += 1
        self.last_heard = number
        self.heard.add(number)
        self.heard_at[number] = at
