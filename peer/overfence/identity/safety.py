"""Comparing who holds which account key: the safety number of two, and the code that is shown to scan (§1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from unicodedata import decimal

from ..errors import SafetyMismatch
from . import pasted
from .errors import BadVerifyCode, VerifyFault
from .signatures import KEY_BYTES, H, L

SCHEME = "overfence-verify:"
DIGITS = 60

_GROUPS = 12
_GROUP_BYTES = 5
_VERSION = 1
_CHECK_BYTES = 4
_CODE_BYTES = 1 + 2 * KEY_BYTES + _CHECK_BYTES


@dataclass(frozen=True)
class SafetyNumber:
    """What two people compare by another way than this chat, to know that nobody sits between them (§1)."""

    digits: str
    code: str

    def __str__(self) -> str:
        return self.digits

    def qr(self) -> str:
        """The code as a QR code of half-block characters, for a terminal."""
        return pasted.terminal_qr(self.code)

    def svg(self) -> str:
        """The code as a QR code in an ``<svg>`` element, for a page."""
        return pasted.svg_qr(self.code)


def safety_number(one: bytes, other: bytes) -> str:
    """Sixty digits in twelve groups of five, the same whichever of the two account keys comes first."""
    digest = blake2b(L("safety") + min(one, other) + max(one, other), digest_size=64).digest()
    groups = (digest[at : at + _GROUP_BYTES] for at in range(0, _GROUPS * _GROUP_BYTES, _GROUP_BYTES))
    return " ".join(f"{int.from_bytes(group, 'big') % 100_000:05}" for group in groups)


def verify_code(shower: bytes, other: bytes) -> str:
    """What the holder of the account ``shower`` shows to ``other``, for scanning or pasting."""
    body = bytes((_VERSION,)) + shower + other
    return SCHEME + pasted.to_text(body + _checksum(body))


def check_shown(shown: str, me: bytes, contact: bytes) -> None:
    """Compare what ``contact`` showed to me, a code or the digits, with the two account keys known here.

    Returns if they agree. Raises `SafetyMismatch`, or `BadVerifyCode` for what is no code of theirs for me.
    """
    digits = _digits(shown)
    if digits is not None:
        if digits != safety_number(me, contact).replace(" ", ""):
            raise SafetyMismatch("these digits are not the safety number of the two of you")
        return
    shower, other = read_verify_code(shown)
    if (shower, other) == (contact, me):
        return
    if (shower, other) == (me, contact):
        raise BadVerifyCode(VerifyFault.OWN)
    if shower == contact:
        raise SafetyMismatch("the code is of the key known here, but was made for another key than yours")
    if other == me:
        raise SafetyMismatch("the code was made for you, but of another key than the one known here")
    raise BadVerifyCode(VerifyFault.OF_OTHERS)


def read_verify_code(shown: str) -> tuple[bytes, bytes]:
    """The account that shows the code, and the one it is for; raises `BadVerifyCode`."""
    found = pasted.find(shown, SCHEME)
    if isinstance(found, pasted.Missing):
        cut = found is pasted.Missing.REST
        raise BadVerifyCode(VerifyFault.INCOMPLETE if cut else VerifyFault.NOT_A_CODE)
    data, goes_on = pasted.split_data(found)
    raw = pasted.to_bytes(data)
    if not raw or (raw[0] == _VERSION and len(raw) < _CODE_BYTES):
        raise BadVerifyCode(VerifyFault.DAMAGED if goes_on else VerifyFault.INCOMPLETE)
    if raw[0] != _VERSION:
        newer = _checksum(raw[:-_CHECK_BYTES]) == raw[-_CHECK_BYTES:]
        raise BadVerifyCode(VerifyFault.NEWER_VERSION if newer else VerifyFault.DAMAGED)
    body, check = raw[: _CODE_BYTES - _CHECK_BYTES], raw[_CODE_BYTES - _CHECK_BYTES : _CODE_BYTES]
    if _checksum(body) != check:
        raise BadVerifyCode(VerifyFault.DAMAGED)
    return body[1 : 1 + KEY_BYTES], body[1 + KEY_BYTES :]


def _digits(shown: str) -> str | None:
    """The sixty digits in a text of nothing else; None where it has letters, and so may be a code."""
    text = pasted.cleaned(shown[: pasted.TEXT_LIMIT])
    if not text or any(character.isalpha() for character in text):
        return None
    digits = "".join(str(decimal(character)) for character in text if character.isdecimal())
    if not digits:
        return None
    if len(digits) != DIGITS:
        raise BadVerifyCode(VerifyFault.INCOMPLETE if len(digits) < DIGITS else VerifyFault.DAMAGED)
    return digits


def _checksum(body: bytes) -> bytes:
    return H(L("verify") + body)[:_CHECK_BYTES]
