"""What comes by itself while one sits at the screen: messages, people coming and going, links, the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from .. import (
    ContactAdded,
    ContactChanged,
    Delivered,
    InviteDeclined,
    KeyChanged,
    Notice,
    OverfenceError,
    PathChanged,
    PresenceChanged,
    Refused,
    ServerChanged,
)
from . import inviting, news, refusals
from .shown import shown
from .sitting import Sitting

if TYPE_CHECKING:
    from .. import ChatEvent, Contact

# What a new contact said before anybody could listen; more than this stands in the history.
FIRST_WORDS = 50


class Hearing:
    """Shows on a sitting's screen what arrives, each thing once, until it is told to end."""

    def __init__(self, sitting: Sitting, tasks: asyncio.TaskGroup) -> None:
        self._sitting = sitting
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []
        # What arrives waits until the past is on screen.
        self._past_shown = asyncio.Event()
        # How messages to each contact went, as last told of.
        self._paths: dict[str, str] = {}
        # What was not taken, as told of already.
        self._refused: set[tuple[str, type[OverfenceError]]] = set()
        sitting.welcome = self._welcome

    async def begin(self) -> None:
        """Listen; what is heard waits for `past_is_shown`."""
        for one in (self._events(), self._sitting.show_own(), self._sitting.show_ticks()):
            self._running.append(self._tasks.create_task(one))
        for contact in self._sitting.me.contacts():
            self._meet(contact)
        # One turn of the loop, in which every task begins to listen.
        await asyncio.sleep(0)

    def past_is_shown(self) -> None:
        """From here on, show what comes; and what of the past waits for a decision."""
        for contact in self._sitting.people():
            if contact.key_changed:
                self._sitting.warn(news.key_changed(self._sitting.who(contact), contact, contact.key_changed))
        self._past_shown.set()

    def end(self) -> None:
        """Stop listening."""
        for task in self._running:
            task.cancel()

    def _meet(self, contact: Contact) -> None:
        self._sitting.know(contact)
        self._running.append(self._tasks.create_task(self._messages(contact)))

    async def _messages(self, contact: Contact) -> None:
        sitting = self._sitting
        async for message in sitting.me.conversation(contact).messages():
            await self._past_shown.wait()
            if message.id not in sitting.seen:
                sitting.show(message)

    async def _events(self) -> None:
        async for event in self._sitting.me.events():
            await self._past_shown.wait()
            await self._tell(event)
            self._sitting.refresh()

    async def _tell(self, event: ChatEvent) -> None:
        sitting = self._sitting
        match event:
            case ContactAdded(contact):
                await self._welcome(contact)
            case ContactChanged(contact) if contact.id not in sitting.known:
                # Removed once, and back by a new invite.
                await self._welcome(contact)
            case ContactChanged(contact):
                self._tell_change(contact)
            case PresenceChanged(contact, online):
                sitting.tell(news.presence(sitting.who(contact), online))
            case PathChanged(contact, way, detail, pair, _):
                self._tell_path(contact, news.path(sitting.who(contact), way, detail, pair), way, detail)
            case ServerChanged(url, connected, detail, retry_in_s):
                await self._server(url, connected, detail, retry_in_s)
            case Delivered(contact, upto, log):
                sitting.ticks(contact).delivered(log, upto)
                sitting.ticked.set()
                sitting.delivered.set()
            case Notice(text):
                sitting.warn(shown(text))
            case KeyChanged(contact, new_id):
                sitting.warn(news.key_changed(sitting.who(contact), contact, new_id))
            case InviteDeclined(invite):
                sitting.tell(f"your invite {inviting.shorter(str(invite))} was declined, and is closed")
            case Refused(error, contact):
                self._tell_refused(error, contact)
            case _:
                assert_never(event)

    async def _welcome(self, contact: Contact) -> None:
        sitting = self._sitting
        if contact.id in sitting.known:
            return
        self._meet(contact)
        await asyncio.sleep(0)
        sitting.tell(news.state(sitting.who(contact), contact))
        if sitting.current is None:
            sitting.turn_to(contact)
        # They may have spoken before anyone could listen.
        for message in await sitting.me.conversation(contact).history(limit=FIRST_WORDS):
            if not message.mine and message.id not in sitting.seen:
                sitting.seen.add(message.id)
                sitting.show(message)

    def _tell_path(self, contact: Contact, line: str, way: str, detail: str) -> None:
        before = self._paths.get(contact.id)
        # Before they have answered there is nothing to say about the way, nor before anything was tried.
        worth_telling = news.is_straight(way) or news.is_straight(before) or news.failed_to_connect(detail)
        if way == "offline":
            worth_telling = before is not None
        if contact.state == "accepted":
            self._paths[contact.id] = way
            if worth_telling:
                self._sitting.tell(line)

    def _tell_change(self, contact: Contact) -> None:
        sitting = self._sitting
        if contact.state == "accepted" and news.is_nameless(contact):
            # The name follows, and then it is told who has answered.
            return
        name, state = sitting.known.get(contact.id, (contact.name, ""))
        sitting.know(contact)
        if contact.name != name and name != contact.id[: news.UNNAMED_ID]:
            sitting.tell(f"{shown(name)} is called {sitting.who(contact)} now")
        if contact.state != state:
            sitting.tell(news.state(sitting.who(contact), contact))

    def _tell_refused(self, error: OverfenceError, contact: Contact | None) -> None:
        if contact is None or (contact.id, type(error)) in self._refused:
            return
        if said := refusals.words(error, self._sitting.who(contact)):
            self._refused.add((contact.id, type(error)))
            self._sitting.warn(said)

    async def _server(self, url: str, connected: bool, detail: str, retry_in_s: float | None) -> None:
        sitting = self._sitting
        line = sitting.server.change(url, connected, detail, retry_in_s)
        if line and connected:
            sitting.tell(line)
        elif line:
            sitting.warn(line + news.server_hint(url, detail))
        if connected and sitting.invite_owed:
            # It is lost again: the next connection brings another try.
            with suppress(OverfenceError):
                await inviting.invite(sitting)
