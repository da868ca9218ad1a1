"""Two people and their server, each a process on a network of its own, as their director sees them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from overfence.demo.tally import Book, Tally, device_of, read_home, tally

from ...simulation.emulator import Emulated
from ...simulation.faults import Conditions

STEADY = Path(__file__).with_name("steady.py")
CLEAN = Conditions(delay_s=0.025)
EVERY_S = 0.1
WAIT_S = 40.0
# One that is killed may have stored more than it reported, a burst at the most.
UNREPORTED = 1000
PIPE = asyncio.subprocess.PIPE


class Vain(Exception):
    """Something awaited did not come; the text has the last words of who was to bring it."""


class Talker:
    """One person, through all lives of their process: what they said and heard, and when."""

    def __init__(self, net: Emulated, host: str, folder: Path, server: str) -> None:
        self.host = host
        self.home = folder / host
        self.invite = ""
        self.said: dict[int, float] = {}
        self.heard: list[tuple[int, float]] = []
        self.path, self.path_since = "offline", 0.0
        self.last: int | None = None
        self.lives = 0
        self.server = server
        # When the way to anybody but the first contact changed for the worse.
        self.others: list[float] = []
        self._net = net
        self._log = folder / f"{host}.log"
        self._up_at: float | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self) -> float:
        """Begin a life; when it was up."""
        self._up_at, self.last = None, None
        self.lives += 1
        command = [sys.executable, str(STEADY), str(self.home), self.host, self.server]
        with self._log.open("ab") as log:
            self._process = await self._net.run_in(self.host, command, stdin=PIPE, stdout=PIPE, stderr=log)
        self._reading = asyncio.create_task(self._read(self._process))
        await self.until(lambda: self._up_at is not None, "to be up")
        return self._up_at or 0.0

    def tell(self, do: str, **more: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def talk(self, every_s: float = EVERY_S) -> None:
        """From now on, steadily."""
        self.tell("talk", every_s=every_s)

    def strike(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As a power cut would; what was reported before counts."""
        self.strike(signal.SIGKILL)
        await self._ended()

    async def hush(self) -> None:
        """Fall silent; `last` is then the number of their last message."""
        self.tell("hush")
        await self.until(lambda: self.last is not None, "to fall silent")

    async def leave(self) -> None:
        """Close the home in order."""
        self.tell("quit")
        await self._ended()

    async def until(self, true: Callable[[], bool], awaited: str) -> None:
        """Return once `true()`, which is asked at each report. Raises `Vain`."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not true():
                    if self._reading is None or self._reading.done():
                        raise Vain(self._last_words(f"ended, and was {awaited}"))
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Vain(self._last_words(f"was {awaited} within {WAIT_S:g} s")) from None

    def first_heard_s(self, since: float) -> float | None:
        """How long after that instant they heard anything."""
        return next((at - since for _, at in self.heard if at > since), None)

    def longest_wait_s(self, since: float, until: float) -> float:
        """The longest time, between these instants, in which they heard nothing."""
        instants = [since, *(at for _, at in self.heard if since < at < until), until]
        return max(after - before for before, after in pairwise(instants))

    def out_of_turn(self) -> list[int]:
        """What they heard a second time, or after a later one."""
        numbers = [number for number, _ in self.heard]
        return [after for before, after in pairwise(numbers) if after <= before]

    def never_heard(self, other: Talker) -> list[int]:
        """What their one process, if it was only one, did not tell them; a life that was cut short may not have."""
        return sorted(set(other.said) - {number for number, _ in self.heard}) if self.lives == 1 else []

    async def _ended(self) -> None:
        assert self._process is not None and self._reading is not None
        async with asyncio.timeout(WAIT_S):
            await self._process.wait()
            await self._reading
        self.path = "offline"

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._take(json.loads(line))
            self._changed.set()
        self._changed.set()

    def _take(self, report: dict[str, Any]) -> None:
        match report["what"]:
            case "up":
                self._up_at = report["at"]
            case "invite":
                self.invite = report["link"]
            case "path":
                self.path, self.path_since = report["path"], report["at"]
            case "other path" if report["path"] != "direct":
                self.others.append(report["at"])
            case "said":
                self.said[report["number"]] = report["began_at"]
            case "heard":
                self.heard.append((report["number"], report["at"]))
            case "hushed":
                self.last = report["last"]

    def _last_words(self, what: str) -> str:
        return "\n    ".join([f"{self.host} {what}", *self._log.read_text(errors="replace").splitlines()[-30:]])


@dataclass(frozen=True)
class Figure:
    """A duration that was measured, and what it may be at most, if anything is said about that."""

    what: str
    took_s: float
    limit_s: float | None = None

    def __str__(self) -> str:
        limit = "" if self.limit_s is None else f" (at most {self.limit_s:g})"
        return f"{self.what} {self.took_s:.2f} s{limit}"


@dataclass
class Two:
    """Ada and Bob, who talk all the time, and what is measured of it."""

    net: Emulated
    ada: Talker
    bob: Talker
    figures: list[Figure] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def apart(cls, folder: Path, *, behind_nat: Collection[str] = (), seed: int = 0) -> AsyncIterator[Two]:
        """Acquainted, and linked directly; processes and networks end with the block."""
        os.makedirs(folder)
        async with Emulated(CLEAN, server=CLEAN, behind_nat=behind_nat, seed=seed) as net:
            server = await serve(net, folder)
            two = cls(net, Talker(net, "ada", folder, server), Talker(net, "bob", folder, server))
            await asyncio.gather(two.ada.start(), two.bob.start())
            two.ada.tell("invite")
            await two.ada.until(lambda: bool(two.ada.invite), "to invite")
            two.bob.tell("accept", link=two.ada.invite)
            await two.direct()
            yield two

    @property
    def both(self) -> tuple[Talker, Talker]:
        return self.ada, self.bob

    def other(self, person: Talker) -> Talker:
        return self.bob if person is self.ada else self.ada

    def talk(self) -> None:
        for person in self.both:
            person.talk()

    async def direct(self) -> float:
        """Return once both have the direct path; since when."""
        await self.ada.until(lambda: self.ada.path == "direct", "to have a direct path")
        await self.bob.until(lambda: self.bob.path == "direct", "to have a direct path")
        return max(person.path_since for person in self.both)

    async def go_on(self, since: float, *, limit_s: float | None = None) -> None:
        """Measure what it took both, from the instant when nothing stood in their way any more."""
        moving, fresh = [], []
        for person, other in (self.both, self.both[::-1]):
            fresh.append(await first_fresh_s(person, other, since))
            moving.append(person.first_heard_s(since) or 0.0)
        self.figures += [Figure("moving again", max(moving), limit_s), Figure("up to date", max(fresh))]
        direct_at = await self.direct()
        if direct_at > since:
            self.figures.append(Figure("direct again", direct_at - since))

    def note_waits(self, hearers: Iterable[Talker], since: float, until: float, *, limit_s: float) -> None:
        """Measure the longest time in which one of them heard nothing."""
        longest_s = max(hearer.longest_wait_s(since, until) for hearer in hearers)
        self.figures.append(Figure("longest silence meanwhile", longest_s, limit_s))

    async def close(self) -> Tally:
        """Let both finish, close their homes, and count what is in these."""
        for person in self.both:
            await person.hush()
        for person, other in (self.both, self.both[::-1]):
            await last_heard(person, other)
        await asyncio.gather(*(person.leave() for person in self.both))
        books = {person.host: book_of(person) for person in self.both}
        authors = {device_of(person.home): person.host for person in self.both}
        return tally(books, {person.host: read_home(person.home, authors) for person in self.both})


async def first_fresh_s(person: Talker, other: Talker, since: float) -> float:
    """How long after that instant they heard something that was also said after it."""

    def found() -> float | None:
        return next((at - since for number, at in person.heard if other.said.get(number, 0.0) > since), None)

    await person.until(lambda: found() is not None, "to hear what is said now")
    return found() or 0.0


async def last_heard(person: Talker, other: Talker) -> None:
    """Return once they have heard the other's last."""

    def is_heard() -> bool:
        return bool(person.heard) and person.heard[-1][0] == other.last

    await person.until(is_heard, f"to hear the last message, {other.last}")


def book_of(person: Talker) -> Book:
    """All that they may have said, and what they are known to have."""
    book = Book()
    for number in range(1, max(person.said, default=0) + UNREPORTED):
        book.hand_over(f"{person.host} {number}")
    for number in person.said:
        book.acknowledge(f"{person.host} {number}")
    return book


async def serve(net: Emulated, folder: Path) -> str:
    """A node on the host "server"; its address."""
    command = [sys.executable, "-m", "overfence", "serve", "--host", net.address("server"), "--port", "0"]
    with (folder / "server.log").open("ab") as log:
        process = await net.run_in(
            "server", [*command, "--data", str(folder / "server")], stdin=PIPE, stdout=PIPE, stderr=log
        )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        return (await process.stdout.readline()).decode().split()[-1]
