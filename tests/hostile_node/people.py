"""Two people who use a node, what they are shown, and what must hold whatever the node did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import TypeVar

import pytest
from overfence import Chat, ChatEvent, Contact, Message, Refused
from overfence.errors import OverfenceError

from .middleman import Middleman
from .mischief import throwing_away

LOOKS = 750
# Back-offs double, and so do the moves of the clock; what is asked between two of them gets its answer first.
LOOKS_A_MOVE = 15
FIRST_MOVE_S = 61.0
LAST_MOVE_S = 3600.0
E = TypeVar("E")


class Clock:
    """The machine's clocks, the wall's and the loop's alike: they go on by themselves, and can be moved ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_ns = 0
        for name, unit in (("time", 1e9), ("monotonic", 1e9)):
            real = getattr(time, name)
            monkeypatch.setattr(time, name, lambda real=real, unit=unit: real() + self._ahead_ns / unit)
        real_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + self._ahead_ns)

    async def move(self, *, seconds: float = 0, hours: float = 0) -> None:
        """Ahead by so much: what is due meanwhile is done now."""
        self._ahead_ns += int((seconds + hours * 3600) * 1e9)
        await asyncio.sleep(0)


async def until(true: Callable[[], bool | Awaitable[bool]], what: str, clock: Clock | None = None) -> None:
    """Return once it is so. With a clock, hours go by meanwhile; so patience is counted in looks, not in seconds."""
    ahead_s = FIRST_MOVE_S
    for look in range(1, LOOKS + 1):
        found = true()
        if found if isinstance(found, bool) else await found:
            return
        if clock is not None and look % LOOKS_A_MOVE == 0:
            await clock.move(seconds=ahead_s)
            ahead_s = min(2 * ahead_s, LAST_MOVE_S)
        # Nothing tells a test of everything it may look at.
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not come about")


class Person:
    """One of the two: a chat, the other as they know them, and all that they were shown."""

    def __init__(self, name: str, opened: Callable[[], AbstractAsyncContextManager[Chat]]) -> None:
        self.name = name
        self.other: Contact | None = None
        self.events: list[ChatEvent] = []
        self.heard: list[str] = []
        self.said: list[str] = []
        self._opened = opened
        self._stack = AsyncExitStack()

    async def comes(self) -> None:
        """Open the home."""
        self.chat = await self._stack.enter_async_context(self._opened())
        self.other = None
        events, messages = self.chat.events(), self.chat.messages()
        # What became durable in the last moment before the home closed is shown as the past, as any program does.
        past = await self.reads() if self.chat.contacts() else []
        shown = [text for text in past if text not in self.heard and text not in self.said]
        self.heard += shown
        self._tasks = [asyncio.create_task(self._watch(events)), asyncio.create_task(self._listen(messages, shown))]

    async def _watch(self, events: AsyncIterator[ChatEvent]) -> None:
        async for event in events:
            self.events.append(event)

    async def _listen(self, messages: AsyncIterator[Message], shown: list[str]) -> None:
        async for message in messages:
            text = message.text or message.kind
            if text in shown:
                shown.remove(text)  # it came while the past was read
            else:
                self.heard.append(text)

    async def leave(self) -> None:
        """Close the home."""
        await self._stack.aclose()
        await asyncio.wait(self._tasks)

    @property
    def contact(self) -> Contact:
        """The other."""
        if self.other is None:
            self.other = next(iter(self.chat.contacts()))
        return self.other

    async def says(self, *texts: str) -> None:
        """Each is fsynced here when this returns."""
        for text in texts:
            await self.chat.conversation(self.contact).send(text)
            self.said.append(text)

    async def reads(self) -> list[str]:
        """The conversation as this person sees it."""
        return [one.text or one.kind for one in await self.chat.conversation(self.contact).history(1000)]

    async def ticked(self) -> list[str]:
        """What is shown as held by the other."""
        history = await self.chat.conversation(self.contact).history(1000)
        return [one.text or one.kind for one in history if one.mine and one.state == "delivered"]

    async def sees(self, kind: type[E], what: Callable[[E], bool] = lambda _: True) -> E:
        """The first such event."""
        await until(lambda: any(isinstance(one, kind) and what(one) for one in self.events), f"{kind.__name__}")
        return next(one for one in self.events if isinstance(one, kind) and what(one))

    def refusals(self, error: type[OverfenceError]) -> list[Refused]:
        """What was refused for that reason."""
        return [one for one in self.events if isinstance(one, Refused) and type(one.error) is error]

    async def refuses(self, error: type[OverfenceError], clock: Clock | None = None) -> Refused:
        """Something was refused, for that reason, and this person is told."""
        with suppress(AssertionError):
            await until(lambda: bool(self.refusals(error)), error.__name__, clock)
        [refused, *_] = self.refusals(error) or pytest.fail(f"{self.name} saw no {error.__name__}: {self.events}")
        return refused


async def beginning_anew(node: Middleman, person: Person, clock: Clock) -> None:
    """What a person says vanishes again and again, until they ask for the other's card to begin another session."""
    asked = node.record.asked_for_cards.count(person.name)
    with node.does(throwing_away(person.name, "taken")):
        await person.says(f"into the void, {len(person.said)}")
        await until(
            lambda: node.record.asked_for_cards.count(person.name) > asked, f"{person.name}'s asking for a card", clock
        )


class Two:
    """Ada and Bob."""

    def __init__(self, ada: Person, bob: Person, clock: Clock) -> None:
        self.ada = ada
        self.bob = bob
        self.clock = clock

    async def ticks_are_true(self) -> None:
        """Nothing is ticked that the other doesn't hold, nothing is shown twice or made up."""
        for mine, theirs in ((self.ada, self.bob), (self.bob, self.ada)):
            ticked, shown = await mine.ticked(), await theirs.reads()
            assert set(ticked) <= set(shown)
            assert len(set(shown)) == len(shown) and len(set(theirs.heard)) == len(theirs.heard)
            assert set(theirs.heard) <= set(mine.said)

    async def hear_each_other(self) -> None:
        """Everything said arrives, each person's in order, each once, is ticked, and both see the same."""
        for mine, theirs in ((self.ada, self.bob), (self.bob, self.ada)):
            # Before anything new is said: that would tell the other what is missing.
            await self._all_heard(mine, theirs)
        await self.ada.says(f"Ada's last, after {len(self.ada.said)}")
        await self.bob.says(f"Bob's last, after {len(self.bob.said)}")
        for mine, theirs in ((self.ada, self.bob), (self.bob, self.ada)):
            await self._all_heard(mine, theirs)
            await self._all_ticked(mine)
            assert [text for text in await theirs.reads() if text in mine.said] == mine.said
        assert sorted(await self.ada.reads()) == sorted(self.ada.said + self.bob.said)
        assert await self.ada.reads() == await self.bob.reads()
        await self.ticks_are_true()

    async def _all_heard(self, mine: Person, theirs: Person) -> None:
        with suppress(AssertionError):
            await until(lambda: len(theirs.heard) >= len(mine.said), "all", self.clock)
        assert theirs.heard == mine.said

    async def _all_ticked(self, person: Person) -> None:
        async def ticked() -> bool:
            return await person.ticked() == person.said

        await until(ticked, f"that all of {person.name}'s is ticked", self.clock)
