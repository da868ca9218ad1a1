"""One person of the demo: `python -m overfence.demo.peer HOME NAME SERVER`, ordered about by lines on stdin."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from pathlib import Path
from typing import assert_never

from .. import (
    Chat,
    Contact,
    ContactAdded,
    ContactChanged,
    Conversation,
    PathChanged,
    PresenceChanged,
    ServerChanged,
)
from .. import Delivered as DeliveredEvent
from . import script as s

LINE_LIMIT_BYTES = 1 << 20
ANSWER_WITHIN_S = 30.0


class Player:
    """Does what the director says, in that order, and reports what happens."""

    def __init__(self, me: Chat, group: asyncio.TaskGroup) -> None:
        self._me = me
        self._group = group
        self._talk: Conversation | None = None
        self._answers: deque[tuple[int, str]] = deque()
        self._heard = asyncio.Event()
        self._tasks = [group.create_task(self._watch())]
        for contact in me.contacts():
            self._meet(contact)

    async def obey(self, order: s.AnyOrder) -> bool:
        """Carry out one order; False when it was the last."""
        match order:
            case s.Invite():
                report(s.Invited(at=now(), link=str(await self._me.invite())))
            case s.Accept(link=link):
                self._meet(await self._me.accept(link))
            case s.Send(number=number, text=text):
                await self._send(number, text)
            case s.Ask(first=first, texts=texts):
                await self._ask(first, texts)
            case s.Answer(first=first, texts=texts):
                self._answers.extend(enumerate(texts, first))
            case s.State():
                report(s.Queued(at=now(), count=await self._talk.queued() if self._talk else 0))
            case s.Quit():
                return False
            case _:
                assert_never(order)
        return True

    def leave(self) -> None:
        """Stop watching and listening."""
        for task in self._tasks:
            task.cancel()

    async def _watch(self) -> None:
        async for event in self._me.events():
            match event:
                case ContactAdded(contact=contact) | ContactChanged(contact=contact):
                    self._meet(contact)
                case PresenceChanged(online=online):
                    report(s.Online(at=now(), online=online))
                case PathChanged(path=path, pair=pair):
                    report(s.Path(at=now(), path=path, pair=pair))
                case ServerChanged(connected=connected):
                    report(s.Server(at=now(), connected=connected))
                case DeliveredEvent(upto=seq):
                    report(s.Delivered(at=now(), seq=seq))
                case _:
                    continue  # notices are for people

    def _meet(self, contact: Contact) -> None:
        if self._talk is None:
            self._talk = self._me.conversation(contact)
            self._tasks.append(self._group.create_task(self._listen(self._talk)))
        report(s.Met(at=now(), state=contact.state))

    async def _listen(self, talk: Conversation) -> None:
        async for message in talk.messages():
            report(s.Heard(at=now(), number=s.number_in(message.text or "")))
            self._heard.set()
            if self._answers:
                number, text = self._answers.popleft()
                await self._send(number, text)

    async def _send(self, number: int, text: str) -> None:
        if self._talk is None:
            raise RuntimeError("told to send before there was anyone to send to")
        message = await self._talk.send(text)
        report(s.Sent(at=now(), number=number, seq=message.seq))

    async def _ask(self, first: int, texts: tuple[str, ...]) -> None:
        took_s = []
        for number, text in enumerate(texts, first):
            self._heard.clear()
            began_at = now()
            await self._send(number, text)
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._heard.wait()
            took_s.append(now() - began_at)
        report(s.Asked(at=now(), round_trips_s=tuple(took_s)))


def now() -> float:
    """Monotonic seconds, which on one machine all processes share."""
    return time.monotonic()


def report(said: s.AnyReport) -> None:
    """Tell the director, at once."""
    sys.stdout.buffer.write(s.line_of(said))
    sys.stdout.buffer.flush()


async def play(home: Path, name: str, server: str) -> None:
    """Live until told to quit, or until the director is gone."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with Chat.open(home, name=name, server=server) as me, asyncio.TaskGroup() as group:
        player = Player(me, group)
        report(s.Ready(at=now()))
        while line := await orders.readline():
            if not await player.obey(s.order_in(line)):
                break
        player.leave()


def main() -> None:
    """The entry point."""
    home, name, server = sys.argv[1:]
    asyncio.run(play(Path(home), name, server))


if __name__ == "__main__":
    main()
