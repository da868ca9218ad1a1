"""Two real peers and a real server, each on a network of its own, talk steadily while everything between them breaks.

Every story is played at once with some others, for most of them wait most of the time; each has its own networks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from overfence.demo.tally import Tally

from ..simulation.faults import Conditions
from .runners.apart import CLEAN, Figure, Two

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_netns,
    pytest.mark.requires("ip", "nsenter", "nft", "conntrack"),
    # All of them are played before the first is judged.
    pytest.mark.timeout(400),
]

# How many are played at a time, and how many of them may be starting their processes: starting is what takes the
# processor, and it disturbs what is being measured.
AT_ONCE = 4
STARTING_AT_ONCE = 2
TALK_S = 2.0

BETWEEN = (("ada", "bob"), ("bob", "ada"))
# What a message takes by way of the server, once the direct path is given up.
DETOUR_LIMIT_S = 4.0


@dataclass(frozen=True)
class Outcome:
    """How a story ended."""

    figures: list[Figure]
    tally: Tally
    out_of_turn: dict[str, list[int]]
    never_heard: dict[str, list[int]]

    def __str__(self) -> str:
        return f"{self.tally.delivered} messages; " + ", ".join(map(str, self.figures))


# ── the stories ───────────────────────────────────────────────────────────────────────────────────


async def no_path_between_them(two: Two) -> None:
    cut_at = time.monotonic()
    back_at = await two.net.blackout(20, *BETWEEN)
    two.note_waits(two.both, cut_at, back_at, limit_s=DETOUR_LIMIT_S)
    await two.go_on(back_at, limit_s=1.2)


async def dark(two: Two) -> None:
    await two.go_on(await two.net.blackout(20), limit_s=1.2)


async def long_dark(two: Two) -> None:
    await two.go_on(await two.net.blackout(40), limit_s=2)


async def one_way(two: Two) -> None:
    """First between the two alone, then also to the server, by which the other's call for help would come."""
    for way, deaf in zip(BETWEEN, (two.bob, two.ada), strict=True):
        cut_at = time.monotonic()
        back_at = await two.net.blackout(10, way)
        two.note_waits([deaf], cut_at, back_at, limit_s=DETOUR_LIMIT_S)
        await two.go_on(back_at, limit_s=2)
    for way in BETWEEN:
        await two.go_on(await two.net.blackout(10, way, (way[0], "server")), limit_s=2)


async def killed(two: Two) -> None:
    for person in two.both:
        person.tell("burst", count=300)
        heard = len(two.other(person).heard)
        await two.other(person).until(lambda: len(two.other(person).heard) > heard + 20, "to hear the burst")  # noqa: B023 (awaited here)
        await person.kill()
        up_at = await person.start()
        person.talk()
        await two.go_on(up_at, limit_s=2)


async def both_killed(two: Two) -> None:
    await asyncio.gather(*(person.kill() for person in two.both))
    up_at = max(await asyncio.gather(*(person.start() for person in two.both)))
    two.talk()
    await two.go_on(up_at, limit_s=2)


async def another_address(two: Two) -> None:
    since = time.monotonic()
    assert await two.net.rebind("ada") >= 1, "there were translations to forget"
    # The path is there all the time, and only who notices the change gets anything through: so the silence counts.
    await asyncio.sleep(8)
    two.note_waits(two.both, since, time.monotonic(), limit_s=2)
    await two.direct()


async def asleep(two: Two) -> None:
    two.bob.strike(signal.SIGSTOP)
    try:
        await asyncio.sleep(60)
    finally:
        two.bob.strike(signal.SIGCONT)
    await two.go_on(time.monotonic(), limit_s=2)


async def bad_path(two: Two) -> None:
    await endure(two, replace(CLEAN, loss=0.2, duplicate=0.05, reorder=0.05, outage_every_s=2), for_s=30)


async def damage(two: Two) -> None:
    await endure(two, replace(CLEAN, corrupt=0.05, truncate=0.05), for_s=12)


async def endure(two: Two, conditions: Conditions, *, for_s: float) -> None:
    """Both talk, and both have much to say at once now and then."""
    began_at = time.monotonic()
    for way in BETWEEN:
        await two.net.set_conditions(*way, conditions)
    for _ in range(3):
        for person in two.both:
            person.tell("burst", count=100)
        await asyncio.sleep(for_s / 3)
    two.note_waits(two.both, began_at, time.monotonic(), limit_s=5)
    for way in BETWEEN:
        await two.net.set_conditions(*way, CLEAN)
    await two.go_on(time.monotonic(), limit_s=2)


# The long ones first: the others fill what time they leave.
STORIES: dict[str, Callable[[Two], Awaitable[None]]] = {
    "a laptop asleep for 60 s": asleep,
    "40 s without any network": long_dark,
    "10 s of one way only, each way, with and without the server": one_way,
    "30 s of loss, duplicates, disorder and outages, with bursts": bad_path,
    "20 s without a direct path": no_path_between_them,
    "20 s without any network": dark,
    "damaged and truncated packets": damage,
    "each killed in the middle of a burst": killed,
    "both killed": both_killed,
    "another address": another_address,
}
BEHIND_NAT = {"another address": ["ada"]}


# ── playing and judging ───────────────────────────────────────────────────────────────────────────


async def play(name: str, folder: Path, starting: asyncio.Semaphore) -> Outcome:
    async with asyncio.timeout(300), AsyncExitStack() as stack:
        async with starting:
            apart = Two.apart(folder, behind_nat=BEHIND_NAT.get(name, []), seed=1)
            two = await stack.enter_async_context(apart)
        two.talk()
        await asyncio.sleep(TALK_S)
        await STORIES[name](two)
        await asyncio.sleep(TALK_S)
        tally = await two.close()
        ends = (two.both, two.both[::-1])
        return Outcome(
            two.figures,
            tally,
            {person.host: person.out_of_turn() for person in two.both},
            {person.host: person.never_heard(other) for person, other in ends},
        )


async def play_all(names: list[str], folder: Path) -> dict[str, Outcome | BaseException]:
    at_once, starting = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(STARTING_AT_ONCE)

    async def in_turn(number: int, name: str) -> Outcome:
        async with at_once:
            return await play(name, folder / str(number), starting)

    ended = await asyncio.gather(*(in_turn(*each) for each in enumerate(names)), return_exceptions=True)
    return dict(zip(names, ended, strict=True))


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome | BaseException]:
    """How each story ended that this run asks for."""
    if not Path("/dev/net/tun").exists():
        unmet = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        unmet("this machine lacks /dev/net/tun")
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_nothing_is_lost_and_talk_goes_on
    }
    return asyncio.run(play_all([name for name in STORIES if name in asked], tmp_path_factory.mktemp("outages")))


@pytest.mark.parametrize("name", STORIES)
def test_nothing_is_lost_and_talk_goes_on(
    name: str, played: dict[str, Outcome | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = played[name]
    if isinstance(outcome, BaseException):
        raise outcome
    with capsys.disabled():
        print(f"\n{name}: {outcome}", end=" ", flush=True)
    assert outcome.tally.kept, outcome.tally
    assert outcome.tally.sent > 50, "there was a conversation to break"
    assert outcome.out_of_turn == {"ada": [], "bob": []}, "heard a second time, or after a later one"
    assert outcome.never_heard == {"ada": [], "bob": []}, "stored, and not told to who listened"
    late = [str(figure) for figure in outcome.figures if figure.limit_s is not None and figure.took_s > figure.limit_s]
    assert not late
