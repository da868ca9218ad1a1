"""`overfence send`, `overfence history` and `overfence search`: one thing, and out."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from . import lines, news
from .exits import Exit, Told
from .people import find, label
from .screen import Tone
from .settings import Settings
from .shown import brief, is_utf8
from .sitting import today

if TYPE_CHECKING:
    from .. import Chat, Contact, Message

# Without --wait: nothing sends a message on once the command has ended, so it waits this long for a server, and then
# so long for the server to take it (or the other side to confirm it).
REACH_S = 5.0
TAKE_S = 2.0
# Far more than one message holds: enough to be told so, without reading a whole disk.
STDIN_LIMIT_BYTES = 1024 * 1024


async def send(settings: Settings, contact: str, text: str, wait_s: float | None) -> Exit:
    """Send one message and wait for its second tick; only with ``wait_s`` is a missing one a failure."""
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0):
        raise Told("--wait takes a number of seconds, from 0 up.", Exit.USAGE)
    if text == "-":
        text = await asyncio.to_thread(_from_stdin)
    if not is_utf8(text):
        raise Told("The text has bytes that are no UTF-8; nothing was sent.", Exit.BAD_INPUT)
    async with _opened(settings, settings.server(None)) as me:
        person = find(contact, me.contacts(), me.name)
        who = label(person, me.contacts(), me.name)
        message = await me.conversation(person).send(text)
        if reason := news.stuck(person):
            print(f"{lines.SENT} kept, not sent to {who}: {reason}")
            return Exit.FAILED
        if await _is_delivered(me, message, wait_s):
            print(f"{lines.DELIVERED} delivered to {who}")
            return Exit.OK
        print(f"{lines.SENT} safe here, not delivered to {who} yet; it is sent on whenever overfence runs")
    return Exit.OK if wait_s is None else Exit.FAILED


async def _is_delivered(me: Chat, message: Message, wait_s: float | None) -> bool:
    from ..errors import NotDelivered

    if wait_s is None:
        events = me.events()
        with suppress(TimeoutError):
            async with asyncio.timeout(REACH_S if me.server else 0):
                while message.contact.path == "offline":
                    await anext(events)
    try:
        await message.delivered(timeout=TAKE_S if wait_s is None else wait_s)
    except NotDelivered:
        return False
    return True


@asynccontextmanager
async def _opened(settings: Settings, server: str | None) -> AsyncIterator[Chat]:
    """The chat of a home that is there already; raises `Told` if it isn't, or is open elsewhere."""
    from .. import Chat
    from ..errors import HomeInUse

    home = settings.home
    if not (home / "identity").exists():
        words = f"There is no Overfence home in {home}. Begin with: overfence chat; or name another with --home."
        raise Told(words, Exit.BAD_INPUT)
    try:
        async with Chat.open(home, server=server) as me:
            yield me
    except HomeInUse:
        words = (
            f"{home} is open in another process, and one at a time may use it. If that is overfence chat, type it there"
        )
        raise Told(f"{words} (/history and /search show the past), or leave it first.", Exit.IN_USE) from None


async def search(settings: Settings, words: str, limit: int, as_json: bool) -> Exit:
    """Print the messages with every one of the words, oldest first; 1 if there is none, as grep does."""
    if not words.strip():
        raise Told("Say what to look for, as in: overfence search key cupboard", Exit.USAGE)
    if limit < 1:
        raise Told("--limit takes a number from 1 up.", Exit.USAGE)
    async with _opened(settings, None) as me:
        # Newest first is how they are found; oldest first is how a conversation is read.
        found = list(reversed(await me.search(words, limit)))
        if as_json:
            _print_json(found)
        elif found:
            _print_lines(me, found, me.contacts())
        else:
            print(f"no message with “{brief(words)}”", file=sys.stderr)
    return Exit.OK if found else Exit.FAILED


async def history(settings: Settings, contact: str | None, limit: int, as_json: bool) -> Exit:
    """Print the last messages, oldest first: of one conversation, or of all of them together."""
    if limit < 1:
        raise Told("--limit takes a number from 1 up.", Exit.USAGE)
    # Nothing is sent or fetched for looking back.
    async with _opened(settings, None) as me:
        people = me.contacts()
        chosen = [find(contact, people, me.name)] if contact else people
        found = [message for one in chosen for message in await me.conversation(one).history(limit=limit)]
        found.sort(key=lambda message: message.at)
        if as_json:
            _print_json(found[-limit:])
        else:
            _print_lines(me, found[-limit:], chosen)
    return Exit.OK


def _print_json(messages: Iterable[Message]) -> None:
    for message in messages:
        record = {
            "id": message.id.hex(),
            "contact": message.contact.id,
            "contact_name": message.contact.name,
            "sender": message.sender,
            "mine": message.mine,
            "at": message.at.isoformat(timespec="milliseconds"),
            "kind": message.kind,
            "text": message.text,
            "data": None if message.data is None else message.data.hex(),
            "state": message.state,
        }
        # ASCII only: JSON's escapes keep a terminal from obeying what somebody wrote.
        print(json.dumps(record))


def _print_lines(me: Chat, messages: Iterable[Message], chosen: list[Contact]) -> None:
    colours = sys.stdout.isatty()

    def speaker(message: Message) -> str:
        who = label(message.contact, me.contacts(), me.name)
        if not message.mine:
            return who
        return f"You → {who}" if len(chosen) > 1 else "You"

    empty = True
    for parts in lines.history(((one, speaker(one)) for one in messages), today()):
        empty = False
        print("".join(part if isinstance(part, str) else _toned(*part, colours) for part in parts))
    if empty:
        print("nothing was said yet", file=sys.stderr)


def _toned(tone: Tone, text: str, colours: bool) -> str:
    return f"\x1b[{tone.value}m{text}\x1b[0m" if colours else text


def _from_stdin() -> str:
    raw = sys.stdin.buffer.read(STDIN_LIMIT_BYTES)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if len(raw) == STDIN_LIMIT_BYTES:
            # Perhaps only cut in the middle of a character; too long in any case.
            return raw.decode("utf-8", "ignore")
        number = raw.count(b"\n", 0, error.start) + 1
        raise Told(f"Line {number} has bytes that are no UTF-8; nothing was sent.", Exit.BAD_INPUT) from None
    return text.removesuffix("\n").removesuffix("\r")
