"""Contacts who turn on whoever invited them: `python -m tests.end_to_end.runners.hostile HOMES SERVER`.

Each order names one: `accept` makes their acquaintance, `attack` lets them do their worst by the link they have, until
it is taken from them. Orders come in on stdin, reports go out on stdout, a JSON line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from overfence import Chat, PathChanged
from overfence.connect.errors import LinkClosed
from overfence.connect.line import WINDOW_BYTES
from overfence.delivery.direct import WASTED_AT_ONCE, WASTED_PER_S, Direct
from overfence_reliability import BufferFull, Lane
from overfence_reliability.connection import STREAMS_LIMIT
from overfence_reliability.frame import FRAGMENT_BYTES, Ack, Data, Frame, Ping
from overfence_reliability.inbound import USELESS_BURST, USELESS_PER_S

from ...reliability.conftest import pack, whole
from .steady import orders, report

PATIENCE_S = 40.0
# How far ahead of what the honest connection has used, so that nothing is taken for a repetition.
FAR = 10_000
AT_ONCE = 20
# An attacker has a machine of its own. Here it shares one with those it attacks and with the line between them, and
# more than breaks the bounds would only show how slow that is.
MOST_PER_S = 4000


class Mallory:
    """Somebody with a link to misuse, and what has come of it."""

    def __init__(self, direct: Direct) -> None:
        link = direct._link
        assert link is not None and link._association is not None, "there is a link to misuse"
        self.link, self.line = link, direct._line
        # Where answers come in floods, that is nobody's fault but ours.
        link._association._meter.spend = lambda units, *, now: None  # type: ignore[method-assign]
        self._numbers = count(self.line._connection._outbound._senders[Lane.FAST].next_number + FAR)
        self.began_at = time.monotonic()
        self.sent = 0

    def hush(self) -> None:
        """The honest part of this peer says no more."""
        self.line._flush = lambda: None  # type: ignore[method-assign]

    async def say(self, frame: Frame, number: int | None = None) -> None:
        """A packet with that frame, under the next number if no other is given."""
        await self.throw(pack(next(self._numbers) if number is None else number, frame))

    async def throw(self, packet: bytes) -> None:
        """Any bytes, once there is room for them. Raises `LinkClosed`."""
        while self.link.room_bytes(Lane.FAST) < len(packet) and self.link.end is None:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.001)
        self.link.post(Lane.FAST, packet)
        await self.count()

    async def count(self) -> None:
        """One more was sent."""
        self.sent += 1
        if self.sent % AT_ONCE == 0:
            await asyncio.sleep(max(0.0, self.began_at + self.sent / MOST_PER_S - time.monotonic()))


@dataclass(frozen=True)
class Attack:
    """What is done again and again, what the victim says of it in the end, and what may be done before: so many times
    within so many seconds."""

    verdict: str
    act: Callable[[Mallory, int], Awaitable[None]]
    allowed: Callable[[float], float] = lambda _elapsed_s: 1.0


async def speak_without_hearing(mallory: Mallory, number: int) -> None:
    await mallory.say(Ping())
    # More would be a flood.
    await asyncio.sleep(0.05)


async def talk_nonsense(mallory: Mallory, number: int) -> None:
    """By the honest part of this peer, as messages in good order, as many as it takes."""
    if mallory.link.end is not None:
        raise LinkClosed(mallory.link.end)
    try:
        mallory.line.send(b"nonsense %d" % number)
        await mallory.count()
    except BufferFull:
        await asyncio.sleep(0.005)


def useless(elapsed_s: float) -> float:
    return USELESS_BURST + USELESS_PER_S * elapsed_s


ATTACKS = {
    "pings": Attack("flood", lambda mallory, _: mallory.say(Ping()), useless),
    "one packet": Attack("flood", lambda mallory, _: mallory.say(Ping(), number=FAR), useless),
    "acknowledges everything": Attack("unsent", lambda mallory, _: mallory.say(Ack(Lane.FAST, 0.0, ((0, 2**40),)))),
    "claims a huge length": Attack(
        "length", lambda mallory, _: mallory.say(Data(1, 9, True, 0, 2**32 - 1, b"x" * FRAGMENT_BYTES))
    ),
    # Message 0 never comes, and the others wait for it.
    "never closes a gap": Attack(
        "credit",
        lambda mallory, number: mallory.say(whole(7, 1 + number, bytes(FRAGMENT_BYTES))),
        lambda _elapsed_s: WINDOW_BYTES / 2 / FRAGMENT_BYTES,
    ),
    "endless streams": Attack(
        "streams",
        lambda mallory, number: mallory.say(whole(8 + number, 0, b"x")),
        lambda _elapsed_s: STREAMS_LIMIT + 1.0,
    ),
    "noise": Attack("malformed", lambda mallory, number: mallory.throw(Random(number).randbytes(200))),  # noqa: S311
    "nonsense": Attack("more than", talk_nonsense, lambda elapsed_s: WASTED_AT_ONCE + WASTED_PER_S * elapsed_s),
    # There is no packet too many; the bound is how long it may go on.
    "acknowledges nothing": Attack("deaf", speak_without_hearing, lambda _elapsed_s: float("inf")),
}


def direct_of(me: Chat) -> Direct:
    """The one way of somebody with one contact."""
    [device] = me._exchange._devices.values()  # the attacker's own machine is at the attacker's mercy
    return device.direct


async def attack(name: str, me: Chat) -> None:
    """Until the link is gone; what came of it is reported."""
    kind, mallory = ATTACKS[name], Mallory(direct_of(me))
    # Something decent first, which is to be answered; what it is told then arrives a round trip after this.
    [contact] = me.contacts()
    await me.conversation(contact).send("mallory 0")
    await asyncio.sleep(0.01)
    if kind.act is not talk_nonsense:
        mallory.hush()
    report("attacking", attack=name)
    crossed_at = 0.0
    with suppress(LinkClosed, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            for number in count():
                await kind.act(mallory, number)
                now = time.monotonic()
                if not crossed_at and mallory.sent >= kind.allowed(now - mallory.began_at):
                    crossed_at = now
    report("attacked", attack=name, sent=mallory.sent, crossed_at=crossed_at, end=str(mallory.link.end))


async def accept(me: Chat, link: str) -> None:
    """Acquainted, and linked."""
    events = me.events()
    await me.accept(link)
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if isinstance(event, PathChanged) and event.path == "direct":
                return


async def spam(me: Chat, for_s: float) -> None:
    """Nothing but what is allowed, as much as there can be."""
    [contact] = me.contacts()
    talk, sent, until = me.conversation(contact), 0, time.monotonic() + for_s
    while time.monotonic() < until:
        async with asyncio.TaskGroup() as together:
            for _ in range(AT_ONCE):
                together.create_task(talk.send(f"mallory {sent}"))
                sent += 1
    report("spammed", sent=sent)


async def live(homes: Path, server: str) -> None:
    """Until told to quit."""
    everyone: dict[str, Chat] = {}
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        report("up")
        async for order in orders():
            await obey(order, everyone, stack, group, homes, server)


async def obey(
    order: dict[str, Any],
    everyone: dict[str, Chat],
    stack: AsyncExitStack,
    group: asyncio.TaskGroup,
    homes: Path,
    server: str,
) -> None:
    name = order["name"]
    match order["do"]:
        case "accept":
            number = len(everyone)
            me = everyone[name] = await stack.enter_async_context(
                Chat.open(homes / f"{number}", name=f"mallory {number}", server=server)
            )
            await accept(me, order["link"])
            report("accepted", name=name)
        case "attack":
            await attack(name, everyone[name])
        case "spam":
            group.create_task(spam(everyone[name], order["for_s"]))


if __name__ == "__main__":
    os.nice(19)
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2]))
