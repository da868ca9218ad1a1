"""Does what is typed: words go to the current contact, commands are carried out."""

from __future__ import annotations

from .. import OverfenceError
from . import commands as c
from . import inviting, lines, news, trusting
from .exits import Exit, Told, explain
from .people import find
from .screen import Tone
from .shown import brief, is_utf8, shown_name
from .sitting import Question, Sitting

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
    if sitting.question is not None:
        await _answer(sitting, sitting.question, line)
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
        case c.Invites():
            await inviting.list_open(sitting)
        case c.Cancel(number):
            await inviting.cancel(sitting, number)
        case c.Accept(link):
            await accept(sitting, link)
        case c.Decline(link):
            await inviting.decline(sitting, link)
        case c.Unblock(name):
            await trusting.unblock(sitting, name)
        case c.Contacts():
            _list(sitting)
        case c.To(name):
            await sitting.open_with(find(name, sitting.people(), sitting.me.name))
        case c.Search(words):
            await _search(sitting, words)
        case _:
            await _with_current(sitting, command)
    return True


async def _with_current(sitting: Sitting, command: c.Here) -> None:
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
            trusting.ask_to_remove(sitting, contact)
        case c.Block():
            trusting.ask_to_block(sitting, contact)
        case c.Verify(what):
            await trusting.verify(sitting, contact, what)
        case c.Unverify():
            await trusting.unverify(sitting, contact)
        case c.Trust(decision):
            await trusting.trust(sitting, contact, decision)
        case c.Renew():
            await trusting.renew(sitting, contact)
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


async def _answer(sitting: Sitting, question: Question, line: str) -> None:
    sitting.question = None
    contact = question.contact
    typed = " ".join(line.split()).casefold()
    if typed in (shown_name(contact.name).casefold(), sitting.who(contact).casefold()):
        await question.do()
    else:
        sitting.tell(question.otherwise)


def _list(sitting: Sitting) -> None:
    for contact in sitting.people():
        here = "here" if contact.online else "away"
        how = here if contact.state == "accepted" else contact.state
        mark = "".join(f", {one}" for one in news.marks(contact))
        turn = " ← you are writing to them" if contact is sitting.current else ""
        about = f"  {how}, {contact.id[:8]}{mark}{turn}"
        sitting.screen.say("  ", (Tone.STRONG, sitting.who(contact)), (Tone.FAINT, about))
    if not sitting.people():
        sitting.tell(NOBODY)
    if blocked := sitting.blocked():
        sitting.tell(f"Blocked: {', '.join(sitting.who(contact) for contact in blocked)}; /unblock NAME lets them in")


async def _search(sitting: Sitting, words: str) -> None:
    # Newest first is how they are found; oldest first is how a conversation is read.
    found = list(reversed(await sitting.me.search(words, FOUND_LIMIT)))
    sitting.show_past(found)
    capped = f" (the newest {FOUND_LIMIT})" if len(found) == FOUND_LIMIT else ""
    sitting.tell(f"{lines.counted(len(found))} with “{brief(words)}”{capped}")
