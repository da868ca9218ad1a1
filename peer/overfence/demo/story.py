"""The demo's plot: two people meet, talk, lose each other, lose the server, and nothing they said is lost."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from . import script as s
from .stage import Actor, DemoFailed, Stage
from .tally import Tally, device_of, read_home, tally

# How many texts may be on their way while both are there.
WINDOW = 64
# The plot needs so many: first words, a ping-pong, a burst, what is said while one is dead.
MESSAGES_MINIMUM = 50
LINK_ONLY = 100
LINK_WITHIN_S = 15.0
KILL_ATTEMPTS = 5
SHOWN_CHARACTERS = 48
PROGRESS_EVERY_S = 5.0


async def run_demo(messages: int = 200, seed: int | None = None, keep: Path | None = None) -> int:
    """Play it and count; 0 if every promise held.

    ``messages`` are sent in all, and 100 more while the server is down. The same ``seed`` kills the same person at
    the same message and says the same texts. The homes stay in ``keep``, or where they are if something failed.
    """
    if messages < MESSAGES_MINIMUM:
        print(f"The demo needs at least {MESSAGES_MINIMUM} messages.", file=sys.stderr)
        return 2
    seed = secrets.randbelow(2**32) if seed is None else seed
    folder = _folder(keep)
    if folder is None:
        print(f"{keep} is not empty; the demo starts from nothing.", file=sys.stderr)
        return 2
    story = Story(folder, messages, seed)
    failure = ""
    async with _ended_by_sigterm():
        try:
            await story.play()
        except DemoFailed as error:
            failure = str(error)
        except asyncio.CancelledError:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
            left = "nothing of it is left" if keep is None else f"the homes are in {folder}"
            print(f"\nStopped; all its processes are gone, and {left}.", flush=True)
            raise
    kept = story.count(failure)
    if kept and keep is None:
        shutil.rmtree(folder)
    else:
        print(f"The homes and logs are in {folder}.", file=sys.stderr)
    return 0 if kept else 1


class Story:
    """The acts in their order, and what was measured on the way."""

    def __init__(self, folder: Path, messages: int, seed: int) -> None:
        self._folder = folder
        self._messages = messages
        self._seed = seed
        self._draw = random.Random(seed)  # noqa: S311 (a plot that can be played again, no secret)
        self._began_at = time.monotonic()
        self._people: list[Actor] = []
        self._connect_ms: float | None = None
        self._rtt_ms: float | None = None
        self._catch_up_ms: float | None = None
        self._pair: tuple[str, str] | None = None
        self._by_link_alone = False

    async def play(self) -> None:
        """All acts; afterwards no process is left. Raises `DemoFailed`."""
        async with Stage.open(self._folder, self._seed) as stage:
            self._stage = stage
            self._people = [Actor(stage, "Ada"), Actor(stage, "Bob")]
            stage.people.extend(self._people)
            await self._meet()
            await self._first_words()
            await self._ping_pong()
            await self._talk(self._draw.randint(self._messages // 4, self._messages // 2))
            victim = await self._kill_in_a_burst()
            await self._come_back(victim)
            await self._talk(self._messages)
            await self._without_server()
            await self._part(victim)

    # ── the acts ──────────────────────────────────────────────────────────────────────────────────

    async def _meet(self) -> None:
        ada, bob = self._people
        self._say(f"seed {self._seed}; {self._messages} messages, and {LINK_ONLY} more without the server")
        await self._stage.server.start()
        self._say(f"the server listens at {self._stage.server.url} (pid {self._stage.server.pid})")
        await asyncio.gather(ada.start(), bob.start())
        self._say(f"Ada (pid {ada.pid}) and Bob (pid {bob.pid}) have opened their chats")
        ada.order(s.Invite())
        await self._stage.until(lambda: bool(ada.link), "Ada's invite")
        self._say(f"Ada invites: {ada.link[:SHOWN_CHARACTERS]}…")
        bob.order(s.Accept(ada.link))
        await self._stage.until(lambda: ada.contact == bob.contact == "accepted", "Ada and Bob to be contacts")
        self._say("Bob accepted; they are contacts")

    async def _first_words(self) -> None:
        for actor in (*self._people, *self._people):
            number = actor.say()
            await actor.delivered(number)
            self._say(f"{actor.name} ✓✓ {_short(actor.text(number))}")
        if await self._linked():
            present_at = max(actor.online_at or 0.0 for actor in self._people)
            direct_at = max(actor.direct_at or 0.0 for actor in self._people)
            self._connect_ms = max(0.0, direct_at - present_at) * 1000
            self._pair = self._people[0].pair
            self._say(f"a direct link, {'/'.join(self._pair or ())}, {self._connect_ms:.0f} ms after both were there")
        else:
            self._say(f"no direct link within {LINK_WITHIN_S:.0f} s; the mailboxes carry everything")

    async def _ping_pong(self) -> None:
        ada, bob = self._people
        rounds = max(5, min(50, self._messages // 20))
        bob.order(s.Answer(*bob.hand_over(rounds)))
        ada.order(s.Ask(*ada.hand_over(rounds)))
        await self._stage.until(lambda: bool(ada.round_trips_s), f"{rounds} round trips")
        self._rtt_ms = statistics.median(ada.round_trips_s) * 1000
        self._say(f"{rounds} round trips, message and answer each on both disks: median {self._rtt_ms:.1f} ms")

    async def _talk(self, upto: int) -> None:
        """Both speak at random until so many texts were handed over in all, at most `WINDOW` on their way."""
        shown_at = time.monotonic()
        while (done := self._handed_over()) < upto:
            actor = self._draw.choice(self._people)
            await self._room(WINDOW - 1)
            actor.say()
            if time.monotonic() - shown_at > PROGRESS_EVERY_S:
                shown_at = time.monotonic()
                self._say(f"… {done:,} of {self._messages:,}")
        self._say(f"{self._handed_over():,} said")

    async def _kill_in_a_burst(self) -> Actor:
        victim = self._draw.choice(self._people)
        for _ in range(KILL_ATTEMPTS):
            await self._burst_and_kill(victim)
            delivered, waiting = victim.last_delivered, [number for _, number in victim.undelivered]
            unsure = victim.give_up()
            self._say(f"SIGKILL to {victim.name} (pid {victim.pid}) in the middle of a burst (seed {self._seed})")
            if waiting:
                self._say(f"    delivered by then: {victim.name} ✓✓ {_short(victim.text(delivered))}")
                self._say(f"    sent, and not delivered: {victim.name} ✓ {_short(victim.text(waiting[0]))}")
                self._say(f"    {len(waiting)} sent and not delivered; of {unsure} more the kill came before the ✓")
                return victim
            self._say("    everything had been delivered; once more")
            await victim.start()
        raise DemoFailed(f"{KILL_ATTEMPTS} kills, and each time everything had been delivered")

    async def _burst_and_kill(self, victim: Actor) -> None:
        size = min(WINDOW // 2, max(8, self._messages // 16))
        first = victim.handed_over + 1
        enough = first + self._draw.randint(0, size // 2)
        self._stage.doom = victim, lambda: victim.last_delivered >= enough and bool(victim.undelivered)
        for _ in range(KILL_ATTEMPTS):
            await self._room(0)
            for _ in range(size):
                victim.say()
                if victim.in_flight % 3 == 0:
                    self._other(victim).say()
            await self._stage.until(
                lambda: self._stage.doom is None or not victim.in_flight, f"a moment in which to kill {victim.name}"
            )
            if self._stage.doom is None:
                await victim.gone()
                return
        raise DemoFailed(f"{KILL_ATTEMPTS} bursts, and {victim.name} never had a message delivered and one waiting")

    async def _come_back(self, victim: Actor) -> None:
        other = self._other(victim)
        count = max(6, min(500, self._messages // 10))
        numbers = [other.say() for _ in range(count)]
        await self._stage.until(lambda: not other.waiting, f"{other.name} to go on sending")
        self._say(f"{other.name} goes on: {count} more ✓ while {victim.name} is dead")
        await victim.start()
        self._say(f"{victim.name} is back (pid {victim.pid})")
        await self._stage.until(lambda: victim.heard.issuperset(numbers), f"{victim.name} to catch up")
        caught_up_at = max(victim.heard_at[number] for number in numbers)
        self._catch_up_ms = (caught_up_at - (victim.ready_at or caught_up_at)) * 1000
        self._say(f"{victim.name} holds all {count}, {self._catch_up_ms:.0f} ms after opening the chat")
        await self._agree()
        if self._pair and not await self._linked():
            self._pair = None
            self._say("the direct link did not come back")

    async def _without_server(self) -> None:
        server = self._stage.server
        await self._agree()
        await server.stop(signal.SIGTERM)
        self._say(f"the server is stopped (SIGTERM); {LINK_ONLY} more, by the link alone")
        for number in range(LINK_ONLY):
            if self._pair:
                await self._room(WINDOW - 1)
            self._people[number % 2].say()
        await self._stage.until(lambda: not any(one.waiting for one in self._people), "messages to be stored")
        if self._pair:
            await self._agree()
            self._by_link_alone = all(one.pair for one in self._people)
            self._say(f"{LINK_ONLY} ✓✓ without any server")
        await self._stage.until(lambda: not any(one.connected for one in self._people), "both to notice it is gone")
        await server.start()
        self._say(f"the server is back at {server.url} (pid {server.pid})")
        await self._stage.until(lambda: all(one.connected for one in self._people), "both to find the server again")

    async def _part(self, victim: Actor) -> None:
        await self._agree()
        survivor = self._other(victim)
        said = {place + 1 for place in victim.book.acknowledged}
        await self._stage.until(lambda: survivor.heard >= said, f"{survivor.name} to hear all that {victim.name} said")
        self._say("both hold everything the other said")
        for actor in self._people:
            actor.order(s.Quit())
        await asyncio.gather(*(actor.stop() for actor in self._people))
        await self._stage.server.stop(signal.SIGTERM)

    # ── the count ─────────────────────────────────────────────────────────────────────────────────

    def count(self, failure: str) -> bool:
        """Compare the databases with the list, print the result; whether every promise held."""
        found = Tally(0, 0, 0, 0, 0, 0)
        try:
            authors = {device_of(actor.home): actor.name for actor in self._people}
            found = tally(
                {actor.name: actor.book for actor in self._people},
                {actor.name: read_home(actor.home, authors) for actor in self._people},
            )
        except FileNotFoundError as error:
            failure = failure or f"nothing to count: {error}"
        failure = failure or self._broken(found)
        if failure:
            print(f"FAILED: {failure}", flush=True)
        else:
            self._say("counted from both databases: each text once on both sides, in its author's order")
        result: dict[str, object] = {
            "sent": found.sent,
            "delivered": found.delivered,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "misordered": found.misordered,
            "path": "webrtc" if self._pair and self._by_link_alone else "mailbox",
            "connect_ms": _rounded(self._connect_ms),
            "rtt_p50_ms": _rounded(self._rtt_ms),
            "catch_up_ms": _rounded(self._catch_up_ms),
            "seed": self._seed,
            "pair": self._pair,
        }
        if failure:
            result["failed"] = failure
        print(json.dumps(result), flush=True)
        return not failure

    def _broken(self, found: Tally) -> str:
        if not found.kept:
            return f"a promise: {found}"
        for actor in self._people:
            if actor.heard_amiss:
                return f"a promise: {actor.name} heard {actor.heard_amiss} messages twice or out of order"
        return ""

    # ── small things ──────────────────────────────────────────────────────────────────────────────

    def _say(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began_at:7.2f} s] {line}", flush=True)

    def _other(self, one: Actor) -> Actor:
        return self._people[1 - self._people.index(one)]

    def _handed_over(self) -> int:
        return sum(one.sent + len(one.waiting) for one in self._people)

    async def _linked(self) -> bool:
        try:
            await self._stage.until(lambda: all(one.pair for one in self._people), "a direct link", LINK_WITHIN_S)
        except DemoFailed:
            for actor in self._people:
                actor.check()
        return all(one.pair for one in self._people)

    async def _room(self, most: int) -> None:
        """Return when at most so many texts are on their way."""
        await self._stage.until(lambda: sum(one.in_flight for one in self._people) <= most, "messages to be delivered")

    async def _agree(self) -> None:
        for actor in self._people:
            await actor.settle()


def _folder(keep: Path | None) -> Path | None:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="overfence-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    return None if any(keep.iterdir()) else keep


def _short(text: str) -> str:
    return f"“{text[:SHOWN_CHARACTERS]}{'…' if len(text) > SHOWN_CHARACTERS else ''}”"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


@asynccontextmanager
async def _ended_by_sigterm() -> AsyncIterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that it leaves no process behind."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is None or sys.platform == "win32":
        yield
        return
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
