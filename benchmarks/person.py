"""One person of the benchmark: a whole Overfence peer in a process of its own. Its words: HOME NAME SERVER."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from overfence import Chat, Contact, ContactAdded, Conversation, Delivered, PathChanged, PresenceChanged

from .orders import Tally, Window, now, orders, report, text_of


class Person:
    """Obeys orders, and reports what it sees on the way."""

    def __init__(self, me: Chat, group: asyncio.TaskGroup) -> None:
        self._me = me
        self._group = group
        self._tally = Tally()
        self._talk: Conversation | None = None
        self._window = Window(1)
        # The seq of my log before the first message of the phase.
        self._before = 0
        self._heard = False
        self._tasks = [group.create_task(self._watch())]
        for contact in me.contacts():
            self._meet(contact)

    def leave(self) -> None:
        """Stop watching and listening."""
        for task in self._tasks:
            task.cancel()

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what was asked; long things go on by themselves."""
        match order["do"]:
            case "invite":
                report("invite", link=str(await self._me.invite()))
            case "accept":
                began_at = now()
                contact = await self._me.accept(order["link"])
                await self._me.conversation(contact).send(order["text"])
                report("accepted", at=began_at)
            case "say":
                message = await self._said().send(order["text"])
                await message.delivered(60)
                report("said", at=now())
            case "expect":
                self._tally.expect(order["count"], each=order["each"])
                report("expecting")
            case "pace":
                self._tasks.append(self._group.create_task(self._pace(order["count"], order["every_s"], order["size"])))
            case "burst":
                self._tasks.append(self._group.create_task(self._burst(order["count"], order["window"], order["size"])))

    async def _watch(self) -> None:
        async for event in self._me.events():
            match event:
                case ContactAdded(contact=contact):
                    self._meet(contact)
                case PresenceChanged(online=True):
                    report("present", at=now())
                case PathChanged(path=path, pair=pair):
                    report("path", path=path, pair=pair, at=now())
                case Delivered(upto=upto):
                    self._window.confirm(upto - self._before)

    def _meet(self, contact: Contact) -> None:
        if self._talk is None:
            self._talk = self._me.conversation(contact)
            self._tasks.append(self._group.create_task(self._listen(self._talk)))

    async def _listen(self, talk: Conversation) -> None:
        live = talk.messages()
        # Who writes first may have been heard in the moment the contact came to be, before anybody could listen.
        self._tasks.append(self._group.create_task(self._look_back(talk)))
        async for message in live:
            self._hear("messages")
            self._tally.take(message.text or "")

    async def _look_back(self, talk: Conversation) -> None:
        if any(not message.mine for message in await talk.history(limit=1)):
            self._hear("history")

    def _hear(self, by: str) -> None:
        if not self._heard:
            self._heard = True
            report("heard", at=now(), by=by)

    def _said(self) -> Conversation:
        assert self._talk is not None
        return self._talk

    async def _pace(self, count: int, every_s: float, size: int) -> None:
        """Lone messages, evenly in time."""
        talk, loop, sent_at = self._said(), asyncio.get_running_loop(), []
        begin_at = loop.time()
        for number in range(count):
            await asyncio.sleep(begin_at + number * every_s - loop.time())
            sent_at.append(now())
            await talk.send(text_of(number, size))
        report("paced", sent_at=sent_at)

    async def _burst(self, count: int, width: int, size: int) -> None:
        """As fast as the window lets it: it moves by what the other side has stored and confirmed."""
        talk = self._said()
        self._window = window = Window(width)
        began_at = now()
        # The first alone, for its place in the log.
        message = await talk.send(text_of(await window.take(), size))
        self._before = message.seq - 1
        async with asyncio.TaskGroup() as sending:
            for _ in range(count - 1):
                number = await window.take()
                sending.create_task(talk.send(text_of(number, size)))
            await window.emptied()
        report("burst", began_at=began_at, confirmed_at=now())


async def live(home: str, name: str, server: str) -> None:
    """Until told to quit."""
    async with Chat.open(home, name=name, server=server) as me, asyncio.TaskGroup() as group:
        person = Person(me, group)
        report("ready", at=now())
        async for order in orders():
            await person.obey(order)
        person.leave()


if __name__ == "__main__":
    asyncio.run(live(*sys.argv[1:]))
