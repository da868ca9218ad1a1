"""`overfence send` and `overfence history`: one thing, and out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import lines
from .exits import Exit, Told
from .people import find, label
from .screen import Tone
from .settings import Settings
from .sitting import today

if TYPE_CHECKING:
    from .. import Chat, Contact, Message

# Without --wait: how long a message may take to leave, since nothing sends it on once the command has ended.
LEAVE_S = 10.0
# Far more than one message holds: enough to be told so, without reading a whole disk.
STDIN_LIMIT_BYTES = 1024 * 1024


async def send(settings: Settings, contact: str, text: str, wait_s: float | None) -> Exit:
    """Send one message and wait for its second tick; only with ``wait_s`` is a missing one a failure."""
    from .. import Chat
    from ..errors import NotDelivered

    if text == "-":
        text = await asyncio.to_thread(_from_stdin)
    async with Chat.open(settings.home, server=settings.server(None)) as me:
        person = find(contact, me.contacts(), me.name)
        who = label(person, me.contacts(), me.name)
        message = await me.conversation(person).send(text)
        try:
            await message.delivered(timeout=LEAVE_S if wait_s is None else wait_s)
        except NotDelivered:
            print(f"{lines.SENT} safe here, not delivered to {who} yet; it is sent on whenever overfence runs")
            return Exit.OK if wait_s is None else Exit.FAILED
        print(f"{lines.DELIVERED} delivered to {who}")
    return Exit.OK


async def history(settings: Settings, contact: str | None, limit: int, as_json: bool) -> Exit:
    """Print the last messages, oldest first: of one conversation, or of all of them together."""
    from .. import Chat

    if limit < 1:
        raise Told("--limit takes a number from 1 up.", Exit.USAGE)
    # Nothing is sent or fetched for looking back.
    async with Chat.open(settings.home, server=None) as me:
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
    return raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
