"""Does what is typed: words go to the current contact, commands are carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import OverfenceError
from . import commands as c
from . import inviting, lines, news
from .exits import Exit, Told, explain
from .people import find
from .screen import Tone
from .shown import brief, is_utf8, shown_name
from .sitting import Sitting

if TYPE_CHECKING:
    from .. import Contact

FOUND_LIMIT = 20
NOBODY = "You have no contact to write to yet: /invite makes a link for somebody, /accept LINK uses one you were sent"
NOBODY_CHOSEN = "Whom do you mean? Choose with /to NAME; /contacts lists them"


async def obey_lines(sitting: Sitting, unsent: str) -> None:
    """Read and obey until /quit or the end of input; ``unsent`` stands in the first prompt.

    What can't be followed leaves an empty prompt, so that the next line is never glued to it.
    """
    line = await sitting.screen.read(unsent)
    while line is not None:
        try:
            if not await _obey(sitting, line):
                return
        except (OverfenceError, Told) as error:
            words, code = explain(error)
            sitting.failed = sitting.failed or code
            sitting.warn(f"{words} {_what_remains(sitting, line)}")
        line = await sitting.screen.read()


def _what_remains(sitting: Sitting, line: str) -> str:
    if sitting.screen.interactive:
        return "(↑ brings back what you typed)"
    return f"{sitting.screen.place} was not sent: “{brief(line)}”."


async def _obey(sitting: Sitting, line: str) -> bool:
    """Obey one line; False to leave."""
    if not is_utf8(line):
        raise Told("That has bytes that are no UTF-8, and would arrive as something else.", Exit.BAD_INPUT)
    if sitting.removing is not None:
        await _confirm(sitting, sitting.removing, line)
        return True
    command = c.parse(line)
    match command:
        case c.Quit():
            return False
        case c.Nothing():
            pass
        case c.Help():
            sitting.tell(c.HELP)
        case c.Mistake(why):
            sitting.failed = sitting.failed or Exit.BAD_INPUT
            sitting.warn(why)
        case c.MakeInvite():
            await inviting.invite(sitting)
        case c.Accept(link):
            await accept(sitting, link)
        case c.Contacts():
            _list(sitting)
        case c.To(name):
            await sitting.open_with(find(name, sitting.people(), sitting.me.name))
        case c.Search(words):
            await _search(sitting, words)
        case _:
            await _with_current(sitting, command)
    return True


async def _with_current(sitting: Sitting, command: c.Say | c.Rename | c.Remove | c.History) -> None:
    if isinstance(command, c.Say) and command.text.lower().startswith("overfence:") and not sitting.people():
        # A link pasted where there is nobody to send it to is meant to be accepted.
        return await accept(sitting, command.text)
    contact = sitting.current
    if contact is None:
        raise Told(NOBODY_CHOSEN if sitting.people() else NOBODY)
    match command:
        case c.Say(text):
            sitting.sent(await sitting.me.conversation(contact).send(text), contact)
        case c.Rename(name):
            before = sitting.who(contact)
            await sitting.me.rename(contact, name)
            sitting.know(contact)
            sitting.tell(f"{before} is called {sitting.who(contact)} here")
            sitting.refresh()
        case c.Remove():
            sitting.removing = contact
            sitting.warn(
                f"Remove {sitting.who(contact)}? Nothing more goes either way, and only a new invite brings them back; "
                f"the history stays. Type {shown_name(contact.name)} to confirm, anything else to keep them"
            )
        case c.History(count):
            past = await sitting.me.conversation(contact).history(limit=count)
            sitting.show_past(past)
            if not past:
                sitting.tell(f"nothing was said with {sitting.who(contact)} yet")
    return None


async def accept(sitting: Sitting, link: str) -> None:
    """Become a contact of whoever made the link, and turn to them."""
    # Looked at first: a new one's event may be told before this goes on.
    before = set(sitting.known)
    contact = await sitting.me.accept(link)
    if contact.id in before:
        sitting.tell(news.state(sitting.who(contact), contact))
    else:
        await sitting.welcome(contact)
    sitting.turn_to(contact)


async def _confirm(sitting: Sitting, contact: Contact, line: str) -> None:
    sitting.removing = None
    typed = " ".join(line.split()).casefold()
    if typed not in (shown_name(contact.name).casefold(), sitting.who(contact).casefold()):
        sitting.tell(f"{sitting.who(contact)} stays your contact")
        return
    who = sitting.who(contact)
    await sitting.me.remove(contact)
    sitting.tell(f"{who} is removed; the history stays")
    if sitting.current is contact:
        people = sitting.people()
        sitting.turn_to(people[0] if len(people) == 1 else None)


def _list(sitting: Sitting) -> None:
    for contact in sitting.people():
        here = "here" if contact.online else "away"
        how = here if contact.state == "accepted" else contact.state
        mark = " ← you are writing to them" if contact is sitting.current else ""
        sitting.screen.say("  ", (Tone.STRONG, sitting.who(contact)), (Tone.FAINT, f"  {how}, {contact.id[:8]}{mark}"))
    if not sitting.people():
        sitting.tell(NOBODY)


async def _search(sitting: Sitting, words: str) -> None:
    # Newest first is how they are found; oldest first is how a conversation is read.
    found = list(reversed(await sitting.me.search(words, FOUND_LIMIT)))
    sitting.show_past(found)
    capped = f" (the newest {FOUND_LIMIT})" if len(found) == FOUND_LIMIT else ""
    sitting.tell(f"{lines.counted(len(found))} with “{brief(words)}”{capped}")
