"""An invite as the link people send each other (§4), and reading it back from whatever a mail program made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from . import pasted
from .errors import BadInvite, InviteFault
from .signatures import H, L

SCHEME = "overfence:"
NODE_LIMIT_BYTES = 200

_VERSION = 1
_CHECK_BYTES = 4
# version, account, mailbox, key, expiry, device hash; then the node's length and text
_SIZES = (1, 32, 16, 32, 8, 16)
_FIXED_BYTES = sum(_SIZES) + 1

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
        return SCHEME + pasted.to_text(self._encode())

    def __repr__(self) -> str:
        # The link is a secret until it is used: it goes where str() is asked for, and nowhere by accident.
        return f"<Invite to {self.account.hex()[:8]} at {self.node}>"

    @classmethod
    def parse(cls, text: str) -> Invite:
        """The invite in ``text``: the link, or a web link with it as fragment, however wrapped, quoted or introduced.

        Raises `BadInvite`, whose ``reason`` is an `InviteFault`. Expiry is not judged here.
        """
        found = pasted.find(text, SCHEME, web=True)
        if isinstance(found, pasted.Missing):
            cut = found is pasted.Missing.REST
            raise BadInvite(InviteFault.INCOMPLETE if cut else InviteFault.NOT_AN_INVITE)
        return cls._decode(found)

    def qr(self) -> str:
        """The link as a QR code of half-block characters, for a terminal."""
        return pasted.terminal_qr(str(self))

    def svg(self) -> str:
        """The link as a QR code in an ``<svg>`` element, for a page."""
        return pasted.svg_qr(str(self))

    def _encode(self) -> bytes:
        node = self.node.encode()
        body = bytes((_VERSION,)) + self.account + self.mailbox + self.key + self.expires_s.to_bytes(8, "big")
        body += self.device_hash + bytes((len(node),)) + node
        return body + _checksum(body)

    @classmethod
    def _decode(cls, text: str) -> Invite:
        data, goes_on = pasted.split_data(text)
        raw = pasted.to_bytes(data)
        # Where the text goes on with something else, a character was lost to it; where it ends, it was cut.
        short = InviteFault.DAMAGED if goes_on else InviteFault.INCOMPLETE
        if not raw or (raw[0] == _VERSION and len(raw) < _FIXED_BYTES):
            raise BadInvite(short)
        if raw[0] != _VERSION:
            newer = _checksum(raw[:-_CHECK_BYTES]) == raw[-_CHECK_BYTES:]
            raise BadInvite(InviteFault.NEWER_VERSION if newer else InviteFault.DAMAGED)
        whole = _FIXED_BYTES + raw[_FIXED_BYTES - 1] + _CHECK_BYTES
        if len(raw) < whole:
            raise BadInvite(short)
        raw = raw[:whole]
        if _checksum(raw[:-_CHECK_BYTES]) != raw[-_CHECK_BYTES:] or not data.startswith(pasted.to_text(raw)):
            raise BadInvite(InviteFault.DAMAGED)
        parts, at = [], 0
        for size in _SIZES:
            parts.append(raw[at : at + size])
            at += size
        _, account, mailbox, key, expires, device_hash = parts
        # What is no ASCII becomes U+FFFD, which no node's address holds.
        node = raw[_FIXED_BYTES:-_CHECK_BYTES].decode("ascii", "replace")
        return cls(account, node, mailbox, key, int.from_bytes(expires, "big"), device_hash)


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
