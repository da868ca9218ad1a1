"""A person who talks steadily, numbering what they say: `python steady.py HOME NAME SERVER`.

Orders come in on stdin, reports go out on stdout, a JSON line each. A home that was open before goes on with the number
after the last one it kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from overfence import Chat, Contact, ContactAdded, Conversation, PathChanged, ServerChanged

PAGE = 200


def report(what: str, **more: object) -> None:
    """Tell the director, at once; `at` is on the clock that all processes of a machine share."""
    sys.stdout.write(json.dumps({"what": what, "at": time.monotonic()} | more) + "\n")
    sys.stdout.flush()


def number_in(text: str | None) -> int:
    """Of "Ada 17", 17."""
    return int((text or "").split()[1])


class Person:
    """Says what is due, and reports each thing said and heard."""

    def __init__(self, me: Chat, group: asyncio.TaskGroup) -> None:
        self._me = me
        self._group = group
        self._talk: Conversation | None = None
        self._next = 1
        self._pacing: asyncio.Task[None] | None = None
        self._listening = [group.create_task(self._watch())]
        for contact in me.contacts():
            self._meet(contact)

    async def recall(self) -> None:
        """Go on after the last number that this home kept."""
        before = None
        while self._talk is not None and (page := await self._talk.history(limit=PAGE, before=before)):
            mine = [number_in(message.text) for message in page if message.mine]
            if mine:
                self._next = max(mine) + 1
                return
            before = page[0]

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what was asked; talking goes on by itself."""
        match order["do"]:
            case "invite":
                report("invite", link=str(await self._me.invite()))
            case "accept":
                self._meet(await self._me.accept(order["link"]))
            case "talk":
                self._pacing = self._group.create_task(self._pace(order["every_s"]))
            case "burst":
                self._listening.append(self._group.create_task(self._burst(order["count"])))
            case "hush":
                if self._pacing is not None:
                    self._pacing.cancel()
                    with suppress(asyncio.CancelledError):
                        await self._pacing
                report("hushed", last=self._next - 1)

    def leave(self) -> None:
        """Stop watching and listening."""
        for task in self._listening:
            task.cancel()

    async def _watch(self) -> None:
        async for event in self._me.events():
            match event:
                case ContactAdded(contact=contact):
                    self._meet(contact)
                case PathChanged(contact=contact, path=path, detail=detail):
                    what = "path" if self._talk is None or self._talk.contact == contact else "other path"
                    report(what, path=path, detail=detail)
                case ServerChanged(connected=connected, detail=detail):
                    report("server", connected=connected, detail=detail)

    def _meet(self, contact: Contact) -> None:
        if self._talk is None:
            self._talk = self._me.conversation(contact)
            self._listening.append(self._group.create_task(self._listen(self._talk)))

    async def _listen(self, talk: Conversation) -> None:
        async for message in talk.messages():
            report("heard", number=number_in(message.text))

    async def _pace(self, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        while True:
            # Whoever slept through a hundred turns has one thing to say, not a hundred.
            due_at = max(due_at + every_s, loop.time() - 1)
            await asyncio.sleep(due_at - loop.time())
            await asyncio.shield(self._say())

    async def _burst(self, count: int) -> None:
        async with asyncio.TaskGroup() as together:
            for _ in range(count):
                together.create_task(self._say())

    async def _say(self) -> None:
        assert self._talk is not None
        number, self._next = self._next, self._next + 1
        began_at = time.monotonic()
        await self._talk.send(f"{self._me.name} {number}")
        report("said", number=number, began_at=began_at)


class Stamped(logging.Formatter):
    """On the clock of the reports."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{time.monotonic():.3f} {record.name}: {super().format(record)}"


async def orders() -> AsyncIterator[dict[str, Any]]:
    """Each order, until `quit` or until the director is gone."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        if order["do"] == "quit":
            return
        yield order


async def live(home: str, name: str, server: str) -> None:
    """Until told to quit."""
    async with Chat.open(home, name=name, server=server) as me, asyncio.TaskGroup() as group:
        person = Person(me, group)
        await person.recall()
        report("up")
        async for order in orders():
            await person.obey(order)
        person.leave()


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(Stamped())
    logging.getLogger("overfence").addHandler(handler)
    logging.getLogger("overfence").setLevel(logging.DEBUG)
    asyncio.run(live(*sys.argv[1:]))
