"""Text from others, made safe for a terminal: it may say anything, but it can't act, hide or pose as another line."""

from __future__ import annotations

import unicodedata

NEWLINE = "⏎"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# One letter under fifty accents runs over the lines above and below it.
MARKS_LIMIT = 6
# A name longer than this pushes what is said off the screen.
NAME_LIMIT = 40
# Joiners shape Persian words and families of emoji; every other format character is only good for hiding.
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
# Overrides, embeddings and isolates turn what follows around, "exe.txt" for "txt.exe"; marks steer it.
TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Letters by their category that show nothing, and selectors of how the one before is drawn: in a name they only
# make two of a kind.
UNSEEN = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0\ufff9\ufffa\ufffb")
# What our own lines say with these, "You → Carol:", "Bob (k3x9ra):", no name may say; colons come in many forms.
_PUNCTUATION = str.maketrans(
    dict.fromkeys("→←↔⇒⇐➔➜➝➞⟶⟵✓✔│·:：︰﹕∶꞉ː", " ") | dict.fromkeys("(（⁽₍❨﴾﹙", "[") | dict.fromkeys(")）⁾₎❩﴿﹚", "]")  # noqa: RUF001
)
_LINE_ENDS = ("\r\n", "\r", "\n", "\v", "\f", "\x85", "\u2028", "\u2029")


def shown(text: str) -> str:
    """``text`` on one line, without anything a terminal would obey; what was there instead shows as a symbol."""
    for end in _LINE_ENDS:
        text = text.replace(end, NEWLINE)
    safe: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= MARKS_LIMIT:
            safe.append(_safe(character, category))
    return "".join(safe)


def shown_name(name: str) -> str:
    """A name as one short word or a few: never empty, never wider than `NAME_LIMIT`, no spaces to hide behind."""
    line = shown(name).replace(NEWLINE, " ").translate(_PUNCTUATION)
    words = " ".join("".join(" " if character in UNSEEN else character for character in line).split())
    if not skeleton(words):
        return "(no name)"
    return words if len(words) <= NAME_LIMIT else words[: NAME_LIMIT - 1] + "…"


def skeleton(name: str) -> str:
    """What is left of a name as people tell names apart: no case, marks, joiners or spaces, one form of each letter."""
    flat = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return "".join(
        character
        for character in flat
        if unicodedata.category(character)[0] not in "MZC" and character not in UNSEEN and character not in JOINERS
    )


def brief(text: str, limit: int = 30) -> str:
    """The beginning of ``text``, made safe, to point at a message."""
    line = shown(text[: 4 * limit])
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def is_utf8(text: str) -> bool:
    """Whether ``text`` was read from UTF-8: other bytes come from a terminal or a command line as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _safe(character: str, category: str) -> str:
    if character in TURNS or category in ("Cs", "Co", "Cn"):
        return REPLACEMENT
    if category == "Cc":
        return _picture(character)
    return "" if category == "Cf" and character not in JOINERS else character


def _picture(control: str) -> str:
    if control == "\t":
        return " "
    if control == "\x7f":
        return "\N{SYMBOL FOR DELETE}"
    # Unicode draws the first 32 as ␀ to ␟; the 32 above U+0080 have no pictures.
    return chr(0x2400 + ord(control)) if ord(control) < 0x20 else REPLACEMENT
