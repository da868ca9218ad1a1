"""Long lines, broken so that no part of one can pose as another. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

Tone = TypeVar("Tone")

# Rows that go on from the one above stand under its words: what begins at the edge is always a line of its own.
INDENT = " " * 6
# Spaces of every width, and the letters that look like one.
_BLANK = "[^\\S\n]|[\u115f\u1160\u2800\u3164\uffa0]"
_PIECE = re.compile(f"\n|(?:{_BLANK})+|(?:(?!{_BLANK})[^\n])+")


def hanging(
    parts: Sequence[str | tuple[Tone, str]], columns: int, width: Callable[[str], int]
) -> list[str | tuple[Tone, str]]:
    """The same parts, broken at blanks to rows of ``columns``; a word (a link, say) stays whole, however long."""
    laid: list[str | tuple[Tone, str]] = []
    used = 0
    for part in parts:
        text = part if isinstance(part, str) else part[1]
        pieces = [found.group() for found in _PIECE.finditer(text)]
        for at, piece in enumerate(pieces):
            following = pieces[at + 1] if at + 1 < len(pieces) else ""
            if piece == "\n":
                used = 0
            elif _is_blank(piece) and used + width(piece) + width(following) > columns:
                pieces[at], used = "\n" + INDENT, len(INDENT)
            else:
                used += width(piece)
        broken = "".join(pieces)
        laid.append(broken if isinstance(part, str) else (part[0], broken))
    return laid


def _is_blank(piece: str) -> bool:
    return re.match(_BLANK, piece) is not None
