"""An invite as the link people send each other (§4), and reading it back from whatever a mail program made of it."""

from __future__ import annotations

import io
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit

import segno

from .errors import BadInvite, InviteFault
from .signatures import H, L

SCHEME = "overfence:"
NODE_LIMIT_BYTES = 200
# A paste may be anything, a whole file even; past this it is not looked at.
TEXT_LIMIT = 4096
# A paste this short may already be the beginning of one.
_RECOGNISABLE = 4

_VERSION = 1
_CHECK_BYTES = 4
# version, account, mailbox, key, expiry, device hash; then the node's length and text
_SIZES = (1, 32, 16, 32, 8, 16)
_FIXED_BYTES = sum(_SIZES) + 1

# What programs do to a long line: quoted-printable's soft breaks, quote marks before each line, and
# characters nobody sees.
_LINE_BREAK = re.compile(r"=?\r?\n[>|\s]*")
_INVISIBLE = re.compile("[\\s\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff]+")
_WEB_LINK = re.compile(r"https?://[^/#]+(?:/[^#]*)?#", re.IGNORECASE)
_SCHEME = re.compile(SCHEME, re.IGNORECASE)
_NO_DATA = re.compile(r"[^A-Za-z0-9_-]")
_AROUND = "<>()[]{}\"'`“”„‘’«»*"  # noqa: RUF001 (typographic quotes are what people paste)
_AFTER = _AROUND + ".,;:!?="
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_URL_TEXT = re.compile(r"[!-~]+")


@dataclass(frozen=True, repr=False)
class Invite:
    """One mailbox to knock at and the secret that opens the knock (§4); whoever holds it may become a contact."""

    account: bytes
    node: str
    mailbox: bytes
    key: bytes
    expires_s: int
    device_hash: bytes

    def __post_init__(self) -> None:
        sizes = (len(self.account), len(self.mailbox), len(self.key), len(self.device_hash))
        if sizes != (32, 16, 32, 16) or not 0 <= self.expires_s < 2**53:
            raise BadInvite(InviteFault.DAMAGED)
        if not is_node(self.node):
            raise BadInvite(InviteFault.BAD_NODE)

    def __str__(self) -> str:
        return SCHEME + _text(self._encode())

    def __repr__(self) -> str:
        # The link is a secret until it is used: it goes where str() is asked for, and nowhere by accident.
        return f"<Invite to {self.account.hex()[:8]} at {self.node}>"

    @classmethod
    def parse(cls, text: str) -> Invite:
        """The invite in ``text``: the link, or a web link with it as fragment, however wrapped, quoted or introduced.

        Raises `BadInvite`, whose ``reason`` is an `InviteFault`. Expiry is not judged here.
        """
        return cls._decode(_data(text))

    def qr(self) -> str:
        """The link as a QR code of half-block characters, for a terminal."""
        drawn = io.StringIO()
        segno.make_qr(str(self), error="l").terminal(drawn, border=2, compact=True)
        return drawn.getvalue()

    def svg(self) -> str:
        """The link as a QR code in an ``<svg>`` element, for a page."""
        return segno.make_qr(str(self), error="m").svg_inline(scale=4, border=4, light="white")

    def _encode(self) -> bytes:
        node = self.node.encode()
        body = bytes((_VERSION,)) + self.account + self.mailbox + self.key + self.expires_s.to_bytes(8, "big")
        body += self.device_hash + bytes((len(node),)) + node
        return body + _checksum(body)

    @classmethod
    def _decode(cls, text: str) -> Invite:
        data = _NO_DATA.split(text, maxsplit=1)[0]
        raw = _bytes(data)
        # Where the text goes on with something else, a character was lost to it; where it ends, it was cut.
        short = InviteFault.DAMAGED if data != text else InviteFault.INCOMPLETE
        if not raw or (raw[0] == _VERSION and len(raw) < _FIXED_BYTES):
            raise BadInvite(short)
        if raw[0] != _VERSION:
            newer = _checksum(raw[:-_CHECK_BYTES]) == raw[-_CHECK_BYTES:]
            raise BadInvite(InviteFault.NEWER_VERSION if newer else InviteFault.DAMAGED)
        whole = _FIXED_BYTES + raw[_FIXED_BYTES - 1] + _CHECK_BYTES
        if len(raw) < whole:
            raise BadInvite(short)
        raw = raw[:whole]
        if _checksum(raw[:-_CHECK_BYTES]) != raw[-_CHECK_BYTES:] or not data.startswith(_text(raw)):
            raise BadInvite(InviteFault.DAMAGED)
        parts, at = [], 0
        for size in _SIZES:
            parts.append(raw[at : at + size])
            at += size
        _, account, mailbox, key, expires, device_hash = parts
        # What is no ASCII becomes U+FFFD, which no node's address holds.
        node = raw[_FIXED_BYTES:-_CHECK_BYTES].decode("ascii", "replace")
        return cls(account, node, mailbox, key, int.from_bytes(expires, "big"), device_hash)


def _data(text: str) -> str:
    """What follows the scheme, or a web link's ``#``, wherever in a pasted text that stands."""
    if len(text) > TEXT_LIMIT:
        raise BadInvite(InviteFault.NOT_AN_INVITE)
    text = _INVISIBLE.sub("", _LINE_BREAK.sub("", text))
    text = unquote(text.lstrip(_AROUND).rstrip(_AFTER))
    link = None if text.lower().startswith(SCHEME) else _WEB_LINK.search(text)
    rest = text[link.end() :] if link else text
    parts = _SCHEME.split(rest, maxsplit=1)
    if len(parts) == 2 or link:
        return parts[-1]
    # A cut inside the scheme itself is still a cut, not some other text.
    cut = len(text) >= _RECOGNISABLE and SCHEME.startswith(text.lower())
    raise BadInvite(InviteFault.INCOMPLETE if cut else InviteFault.NOT_AN_INVITE)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(data: str) -> bytes:
    # A single character left over carries no whole byte.
    whole = data[:-1] if len(data) % 4 == 1 else data
    return urlsafe_b64decode(whole + "=" * (-len(whole) % 4))


def is_node(node: str) -> bool:
    """Whether ``node`` is a WebSocket URL that names a host and hides no user, query or fragment in it."""
    if len(node) > NODE_LIMIT_BYTES or not _URL_TEXT.fullmatch(node) or not node.startswith(("ws://", "wss://")):
        return False
    try:
        parts = urlsplit(node)
        host, port = parts.hostname or "", parts.port
        if "[" in parts.netloc:
            IPv6Address(host)
    except ValueError:
        return False
    # A zone ("%eth0") means something on one machine only.
    if set("@%") & set(parts.netloc) or set("\\?#") & set(node) or port == 0 or parts.netloc.endswith(":"):
        return False
    return ":" in host or bool(_HOST.fullmatch(host))


def _checksum(body: bytes) -> bytes:
    return H(L("invite") + body)[:_CHECK_BYTES]
