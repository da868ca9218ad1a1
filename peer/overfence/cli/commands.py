"""What a typed line means. Pure: it is told the line, and says what was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from .shown import brief

HISTORY_LINES = 20
# More would scroll what matters out of every terminal, and hold that much in memory.
HISTORY_LIMIT = 10_000

HELP = """\
Type, and Enter sends. A line that begins with / is a command; begin with // to send one slash.
People
  /contacts         whom you know, who is there, whom you have verified
  /to NAME          talk to someone else
  /rename NEW       call the one you are talking to something else (only here)
  /remove           end the contact; asks first
  /block            shut them out: nothing goes or comes; asks first
  /unblock NAME     let them in again, with what they wrote meanwhile
Invites
  /invite           a link that makes whoever you send it to your contact (once)
  /invites          your links that are still open
  /cancel N         withdraw one of them, by its number in that list
  /accept LINK      become a contact of whoever sent you the link
  /decline LINK     let them know you don't want to; they don't learn who you are
Trust, about the one you are talking to
  /verify           a number and a code to compare, when you meet or on the telephone
  /verify WHAT      compare what they show: their code or their 60 digits
  /verify yes       you have compared the numbers yourself, and they agree
  /unverify         what was compared counts no more
  /trust            how things stand, and what to do if their key has changed
  /renew            give them new mailboxes, in case others learned of the old
What was said
  /history [N]      the last N messages
  /search WORDS     find messages
Else
  /help             this
  /quit             leave (so do Ctrl-D, and Ctrl-C, which also keeps what you were typing)
Ctrl-U discards all you have typed, however many lines; ↑ brings back what you typed before.
✓ safe on your disk, goes out by itself   ✓✓ safe on a device of theirs"""


@dataclass(frozen=True)
class Nothing:
    """An empty line."""


@dataclass(frozen=True)
class Say:
    """Words for the current contact."""

    text: str


@dataclass(frozen=True)
class Help:
    """`/help`"""


@dataclass(frozen=True)
class MakeInvite:
    """`/invite`"""


@dataclass(frozen=True)
class Accept:
    """`/accept LINK`"""

    link: str


@dataclass(frozen=True)
class Contacts:
    """`/contacts`"""


@dataclass(frozen=True)
class To:
    """`/to NAME`"""

    name: str


@dataclass(frozen=True)
class Rename:
    """`/rename NEW`"""

    name: str


@dataclass(frozen=True)
class Remove:
    """`/remove`"""


@dataclass(frozen=True)
class History:
    """`/history [N]`"""

    count: int


@dataclass(frozen=True)
class Search:
    """`/search WORDS`"""

    words: str


@dataclass(frozen=True)
class Invites:
    """`/invites`"""


@dataclass(frozen=True)
class Cancel:
    """`/cancel N`"""

    number: int


@dataclass(frozen=True)
class Decline:
    """`/decline LINK`"""

    link: str


@dataclass(frozen=True)
class Verify:
    """`/verify`, and with what they show: a code, digits, or yes"""

    shown: str


@dataclass(frozen=True)
class Unverify:
    """`/unverify`"""


@dataclass(frozen=True)
class Trust:
    """`/trust`, and with a decision: new or old"""

    decision: str


@dataclass(frozen=True)
class Block:
    """`/block`"""


@dataclass(frozen=True)
class Unblock:
    """`/unblock NAME`"""

    name: str


@dataclass(frozen=True)
class Renew:
    """`/renew`"""


@dataclass(frozen=True)
class Quit:
    """`/quit`"""


@dataclass(frozen=True)
class Mistake:
    """A command that can't be followed, and why."""

    why: str


# What is about the one you are talking to, and what is not.
Here = Say | Rename | Remove | History | Verify | Unverify | Trust | Block | Renew
Anywhere = Nothing | Help | MakeInvite | Invites | Cancel | Accept | Decline | Contacts | To | Unblock | Search | Quit
Command = Here | Anywhere | Mistake

_ALONE: dict[str, Command] = {
    "/help": Help(),
    "/invite": MakeInvite(),
    "/contacts": Contacts(),
    "/invites": Invites(),
    "/unverify": Unverify(),
    "/block": Block(),
    "/renew": Renew(),
    "/remove": Remove(),
    "/quit": Quit(),
}
_WITH_WORDS: dict[str, tuple[Callable[[str], Command], str]] = {
    "/accept": (Accept, "the link you were sent, as in: /accept overfence:…"),
    "/decline": (Decline, "the link you were sent, as in: /decline overfence:…"),
    "/unblock": (Unblock, "a name, as in: /unblock Bob"),
    "/to": (To, "a name, as in: /to Bob"),
    "/rename": (Rename, "the new name, as in: /rename Bob from work"),
    "/search": (Search, "what to look for, as in: /search key cupboard"),
}
NAMES = (*_ALONE, *_WITH_WORDS, "/history", "/cancel", "/verify", "/trust")


def parse(line: str) -> Command:
    """What ``line`` asks for. Only a line whose first character is / can be anything but words to send."""
    if not line.strip():
        return Nothing()
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    word, *rest = line.split(maxsplit=1)
    word, words = word.lower(), rest[0].strip() if rest else ""
    if word in _ALONE:
        # "/remove Carol" while talking to Bob must not end with Bob removed.
        return Mistake(f"{word} takes nothing after it; nothing was done") if words else _ALONE[word]
    if word in _WITH_WORDS:
        make, wanted = _WITH_WORDS[word]
        return make(words) if words else Mistake(f"{word} needs {wanted}")
    match word:
        case "/history":
            return _history(words)
        case "/cancel":
            return _cancel(words)
        case "/verify":
            return Verify(words)
        case "/trust":
            return _trust(words)
    near = get_close_matches(word, NAMES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return Mistake(
        f"there is no command {brief(word)}; {hint}/help lists them, and //… sends a line that begins with /"
    )


def _history(words: str) -> Command:
    if not words:
        return History(HISTORY_LINES)
    if not _is_number(words):
        return Mistake("/history takes a number of messages, as in: /history 50")
    return History(min(int(words), HISTORY_LIMIT))


def _cancel(words: str) -> Command:
    if not _is_number(words):
        return Mistake("/cancel takes a number of the list that /invites shows, as in: /cancel 1")
    return Cancel(int(words))


def _trust(words: str) -> Command:
    if words.lower() not in ("", "new", "old"):
        return Mistake("/trust takes nothing, new or old after it; nothing was done")
    return Trust(words.lower())


def _is_number(words: str) -> bool:
    return words.isascii() and words.isdecimal() and len(words) < 10 and int(words) > 0
