"""One person at one screen: whom they talk to, what they see, which ticks are still out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from . import lines, news
from .draft import Draft, save
from .exits import Exit
from .people import label
from .screen import Part, Screen, Tone
from .shown import brief
from .ticks import Said, Ticks

if TYPE_CHECKING:
    from .. import Chat, Contact, Message, OpenInvite

# A delivery this quick is shown together with the message, as one line with two ticks.
QUICK_TICK_S = 0.3
# Ticks that come within this time become one line: a burst of messages is no flood of ticks.
TICKS_TOGETHER_S = 0.3
# The past shown at the start, and when turning to someone else.
PAST_LINES = 10
# How far back one's own undelivered messages are looked for, so that their ticks can be told.
UNTICKED_LOOK_BACK = 200


@dataclass(frozen=True)
class Question:
    """Something that cannot be taken back: done if the contact's name is typed next, and not otherwise."""

    contact: Contact
    do: Callable[[], Awaitable[None]]
    otherwise: str


class Sitting:
    """The screen and the chat behind it, from the first line to the last."""

    def __init__(self, me: Chat, screen: Screen, their_command: Callable[[], str] | None) -> None:
        self.me = me
        self.screen = screen
        self.their_command = their_command
        self.current: Contact | None = None
        self.question: Question | None = None
        # The open invites as last listed: what /cancel counts by.
        self.listed: list[OpenInvite] = []
        self.server = news.Server(me.server)
        self.invite_owed = False
        # The exit code of the first line that could not be followed; a script is told by it.
        self.failed: Exit | None = None
        self.seen: set[bytes] = set()
        # Name and state as last told: an event that changes neither is no news.
        self.known: dict[str, tuple[str, str]] = {}
        # What is to be done about somebody new; `Hearing` knows.
        self.welcome: Callable[[Contact], Awaitable[None]] = _ignore
        self.ticked = asyncio.Event()
        self.delivered = asyncio.Event()
        self._ticks: dict[str, Ticks] = {}
        self._own: asyncio.Queue[tuple[Message, Contact]] = asyncio.Queue()
        screen.status = self._status

    # ── whom ──────────────────────────────────────────────────────────────────────────────────────

    def who(self, contact: Contact) -> str:
        """The contact's name as shown."""
        return label(contact, self.me.contacts(), self.me.name)

    def speaker(self, message: Message) -> str:
        """Who said it, as it stands before the colon: for one's own with several contacts, also to whom."""
        if not message.mine:
            return self.who(message.contact)
        return f"You → {self.who(message.contact)}" if len(self.people()) > 1 else "You"

    def people(self) -> list[Contact]:
        """The contacts that can still be talked to."""
        return [contact for contact in self.me.contacts() if contact.state != "blocked"]

    def blocked(self) -> list[Contact]:
        """Those shut out."""
        return [contact for contact in self.me.contacts() if contact.state == "blocked"]

    def leave(self, contact: Contact) -> None:
        """No more lines go to ``contact``, nor to anybody until one is chosen: the next may still be meant for it."""
        self.know(contact)
        if self.current is contact:
            self.turn_to(None)

    def know(self, contact: Contact) -> None:
        """The contact is on screen as it is now."""
        self.known[contact.id] = (contact.name, contact.state)

    def turn_to(self, contact: Contact | None) -> None:
        """From here on, lines go to ``contact``."""
        self.current = contact
        self.refresh()

    def refresh(self) -> None:
        """The prompt says whom one writes to."""
        self.screen.prompt = f"{self.who(self.current)}> " if self.current else "> "
        self.screen.refresh()

    def _status(self) -> str:
        contact = self.current
        waiting = self.ticks(contact).waiting if contact else 0
        status = news.status(self.who(contact) if contact else None, contact, waiting, self.server)
        return news.draft(self.screen.typed()) or status

    # ── what is shown ─────────────────────────────────────────────────────────────────────────────

    def tell(self, *parts: Part) -> None:
        """A line that is nobody's message."""
        self.screen.say(*((Tone.FAINT, part) if isinstance(part, str) else part for part in parts))

    def warn(self, words: str) -> None:
        """A line that asks for attention."""
        self.screen.say((Tone.WARNING, words))

    def show(self, message: Message) -> None:
        """Someone else's message, now."""
        self.screen.say(*lines.message(message, self.speaker(message), today()))

    def show_past(self, messages: Iterable[Message]) -> None:
        """Messages of the past, with the days they are from."""
        for parts in lines.history(((one, self.speaker(one)) for one in messages), today()):
            self.screen.say(*parts)

    async def open_with(self, contact: Contact) -> None:
        """Turn to ``contact`` and show how that conversation last stood."""
        past = await self.me.conversation(contact).history(limit=PAST_LINES)
        self.seen.update(message.id for message in past)
        self.show_past(past)
        self.turn_to(contact)

    # ── one's own messages and their ticks ────────────────────────────────────────────────────────

    def ticks(self, contact: Contact) -> Ticks:
        """The second ticks still out in one conversation."""
        return self._ticks.setdefault(contact.id, Ticks())

    async def recall_unticked(self, contact: Contact) -> None:
        """What earlier sittings left undelivered gets its second tick in this one."""
        talk = self.me.conversation(contact)
        if await talk.queued():
            for message in await talk.history(limit=UNTICKED_LOOK_BACK):
                if message.mine and message.state == "sent":
                    self.ticks(contact).say(said(message), told=False)

    def sent(self, message: Message, contact: Contact) -> None:
        """A message of one's own is safe on disk; its line follows, in order."""
        self._own.put_nowait((message, contact))

    async def show_own(self) -> None:
        """Shows what was sent, in order, for as long as the sitting lasts."""
        from ..errors import NotDelivered

        while True:
            message, contact = await self._own.get()
            told = False
            # In a burst, or with nobody there, no line waits for its second tick.
            if contact.online and self._own.empty():
                with suppress(NotDelivered):
                    await message.delivered(timeout=QUICK_TICK_S)
                    told = True
            tick = lines.DELIVERED if told else lines.SENT
            if reason := news.stuck(contact):
                tick = f"{lines.SENT} kept, not sent: {reason}"
                self.failed = self.failed or Exit.FAILED
            self.screen.say(*lines.message(message, self.speaker(message), today(), tick))
            self.ticks(contact).say(said(message), told=told)
            self._own.task_done()
            self.ticked.set()

    async def all_shown(self) -> None:
        """Returns once everything sent so far has its line."""
        await self._own.join()

    async def show_ticks(self) -> None:
        """Tells second ticks, those of a moment together, for as long as the sitting lasts."""
        while True:
            await self.ticked.wait()
            await asyncio.sleep(TICKS_TOGETHER_S)
            self.ticked.clear()
            self.tell_ticks()

    def tell_ticks(self) -> None:
        """One line for each conversation in which more is delivered than was told."""
        for contact in self.me.contacts():
            told = self.ticks(contact).tell()
            if told is None:
                continue
            last, count = told
            whom = f" to {self.who(contact)}" if len(self.people()) > 1 else ""
            many = f" ({lines.counted(count)})" if count > 1 else ""
            up_to = f"{lines.clock(last.at, today())} “{brief(last.text)}”"
            self.tell(f"{lines.DELIVERED} delivered{whom} up to {up_to}{many}")
        self.screen.refresh()

    # ── leaving ───────────────────────────────────────────────────────────────────────────────────

    async def queued(self) -> list[tuple[Contact, int]]:
        """Who has not yet got how many of one's messages."""
        counts = [(contact, await self.me.conversation(contact).queued()) for contact in self.people()]
        return [(contact, count) for contact, count in counts if count]

    async def on_the_way(self) -> bool:
        """Whether a message may yet be delivered without anybody doing anything."""
        return any(not news.stuck(contact) for contact, _ in await self.queued())

    async def farewell(self, home: Path) -> None:
        """Says what is still on its way, and keeps the line that was being typed."""
        await self.keep_draft(home)
        self.tell_ticks()
        for contact, count in await self.queued():
            if reason := news.stuck(contact):
                self.tell(f"not sent: {lines.counted(count)} to {self.who(contact)}, kept in {home}: {reason}")
                continue
            verb = "isn't" if count == 1 else "aren't"
            self.tell(
                f"{lines.counted(count)} to {self.who(contact)} {verb} delivered yet: safe in {home}, "
                "and sent on whenever overfence chat runs"
            )

    async def keep_draft(self, home: Path) -> None:
        """The unfinished line, kept for the next start (of a terminal: a pipe's may not wipe it out)."""
        typed = self.screen.typed()
        if not typed.strip() and not self.screen.interactive:
            return
        kept = await asyncio.to_thread(save, home, Draft(self.current.id if self.current else "", typed))
        if kept:
            self.tell(f"Your unfinished line is kept for the next start: “{brief(typed)}”")


async def _ignore(_contact: Contact) -> None:
    return None


def said(message: Message) -> Said:
    """What a later tick needs of a message to point at it."""
    return Said(message.log, message.seq, message.at, message.text if message.text is not None else message.kind)


def today() -> date:
    """The day on this machine's clock and in its time zone."""
    return datetime.now().astimezone().date()
