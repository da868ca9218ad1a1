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
  /help             this
  /invite           a link that makes whoever you send it to your contact (once)
  /accept LINK      become a contact of whoever sent you the link
  /contacts         whom you know, and who is there
  /to NAME          talk to someone else
  /rename NEW       call the one you are talking to something else (only here)
  /remove           end the contact; asks first
  /history [N]      the last N messages
  /search WORDS     find messages
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
class Quit:
    """`/quit`"""


@dataclass(frozen=True)
class Mistake:
    """A command that can't be followed, and why."""

    why: str


Command = (
    Nothing | Say | Help | MakeInvite | Accept | Contacts | To | Rename | Remove | History | Search | Quit | Mistake
)

_ALONE: dict[str, Command] = {
    "/help": Help(),
    "/invite": MakeInvite(),
    "/contacts": Contacts(),
    "/remove": Remove(),
    "/quit": Quit(),
}
_WITH_WORDS: dict[str, tuple[Callable[[str], Command], str]] = {
    "/accept": (Accept, "the link you were sent, as in: /accept overfence:…"),
    "/to": (To, "a name, as in: /to Bob"),
    "/rename": (Rename, "the new name, as in: /rename Bob from work"),
    "/search": (Search, "what to look for, as in: /search key cupboard"),
}
NAMES = (*_ALONE, *_WITH_WORDS, "/history")


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
    if word == "/history":
        return _history(words)
    near = get_close_matches(word, NAMES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return Mistake(
        f"there is no command {brief(word)}; {hint}/help lists them, and //… sends a line that begins with /"
    )


def _history(words: str) -> Command:
    if not words:
        return History(HISTORY_LINES)
    if not (words.isascii() and words.isdecimal() and len(words) < 10 and int(words) > 0):
        return Mistake("/history takes a number of messages, as in: /history 50")
    return History(min(int(words), HISTORY_LIMIT))
