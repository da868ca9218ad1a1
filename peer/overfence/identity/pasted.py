"""Codes of ours (§1, §4) as text, and found again in whatever programs and people made of it."""

from __future__ import annotations

import io
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import Enum
from urllib.parse import unquote

import segno

# A paste may be anything, a whole file even; past this it is not looked at.
TEXT_LIMIT = 4096
# A paste this short may already be the beginning of one.
_RECOGNISABLE = 4

# What programs do to a long line: quoted-printable's soft breaks, quote marks before each line, and
# characters nobody sees.
_LINE_BREAK = re.compile(r"=?\r?\n[>|\s]*")
_INVISIBLE = re.compile("[\\s\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]+")
_WEB_LINK = re.compile(r"https?://[^/#]+(?:/[^#]*)?#", re.IGNORECASE)
_NO_DATA = re.compile(r"[^A-Za-z0-9_-]")
_AROUND = "<>()[]{}\"'`“”„‘’«»*"  # noqa: RUF001 (typographic quotes are what people paste)
_AFTER = _AROUND + ".,;:!?="


class Missing(Enum):
    """What a paste lacks."""

    CODE = "no such code stands in it"
    REST = "it ends inside the code's first word"


def find(text: str, scheme: str, *, web: bool = False) -> str | Missing:
    """What follows ``scheme`` (with ``web``, also a web link's ``#``), wherever in a pasted text that stands."""
    if len(text) > TEXT_LIMIT:
        return Missing.CODE
    text = cleaned(text)
    link = None if not web or text.lower().startswith(scheme) else _WEB_LINK.search(text)
    rest = text[link.end() :] if link else text
    parts = re.split(re.escape(scheme), rest, maxsplit=1, flags=re.IGNORECASE)
    if len(parts) == 2 or link:
        return parts[-1]
    # A cut inside the scheme itself is still a cut, not some other text.
    return Missing.REST if len(text) >= _RECOGNISABLE and scheme.startswith(text.lower()) else Missing.CODE


def cleaned(text: str) -> str:
    """The text without line breaks, invisible characters and the punctuation around it."""
    text = _INVISIBLE.sub("", _LINE_BREAK.sub("", text))
    return unquote(text.lstrip(_AROUND).rstrip(_AFTER))


def split_data(text: str) -> tuple[str, bool]:
    """The letters of a code at the beginning of ``text``, and whether anything stands behind them."""
    data = _NO_DATA.split(text, maxsplit=1)[0]
    return data, data != text


def to_text(raw: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def to_bytes(data: str) -> bytes:
    """What `to_text` wrote; of a cut text, its whole bytes."""
    # A single character left over carries no whole byte.
    whole = data[:-1] if len(data) % 4 == 1 else data
    return urlsafe_b64decode(whole + "=" * (-len(whole) % 4))


def terminal_qr(text: str) -> str:
    """A QR code of half-block characters, for a terminal."""
    drawn = io.StringIO()
    segno.make_qr(text, error="l").terminal(drawn, border=2, compact=True)
    return drawn.getvalue()


def svg_qr(text: str) -> str:
    """A QR code in an ``<svg>`` element, for a page."""
    return segno.make_qr(text, error="m").svg_inline(scale=4, border=4, light="white")
