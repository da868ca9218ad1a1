"""Who this device is: the account's key where this is its primary device, and the device's own two keys (§1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from .errors import BadKeyFile, NotPrimary
from .signatures import KEY_BYTES, H, L, agreement_public, sign, signing_public

_MAGIC = b"overfence identity\n"
_VERSION = 1
_CHECK_BYTES = 16
_FILE_BYTES = len(_MAGIC) + 2 + 4 * KEY_BYTES + _CHECK_BYTES


@dataclass(frozen=True, repr=False)
class Identity:
    """The secrets of one device (§1): its own always, the account's only where ``account_seed`` is set."""

    account_seed: bytes | None
    device_sign_seed: bytes
    device_agree_secret: bytes
    account: bytes

    @classmethod
    def create(cls, random: Callable[[int], bytes]) -> Identity:
        """A new account on its primary device; ``random(n)`` gives n secret random bytes."""
        account_seed = random(KEY_BYTES)
        return cls(account_seed, random(KEY_BYTES), random(KEY_BYTES), signing_public(account_seed))

    @cached_property
    def dsk(self) -> bytes:
        """The key this device signs with (Ed25519, 32 bytes)."""
        return signing_public(self.device_sign_seed)

    @cached_property
    def dik(self) -> bytes:
        """The key this device agrees on secrets with (X25519, 32 bytes)."""
        return agreement_public(self.device_agree_secret)

    def sign_account(self, context: str, message: bytes) -> bytes:
        """The account's signature; raises `NotPrimary` where its secret isn't."""
        if self.account_seed is None:
            raise NotPrimary("only the account's primary device can sign for the account")
        return sign(self.account_seed, context, message)

    def sign_device(self, context: str, message: bytes) -> bytes:
        """This device's signature."""
        return sign(self.device_sign_seed, context, message)

    def encode(self) -> bytes:
        """The key file's bytes: every secret in clear, and a checksum."""
        body = _MAGIC + bytes((_VERSION, self.account_seed is not None)) + self.account
        body += (self.account_seed or bytes(KEY_BYTES)) + self.device_sign_seed + self.device_agree_secret
        return body + _checksum(body)

    @classmethod
    def decode(cls, raw: bytes) -> Identity:
        """The identity `encode` wrote; raises `BadKeyFile`."""
        if not raw.startswith(_MAGIC):
            raise BadKeyFile("this is no Overfence identity")
        if raw[len(_MAGIC) : len(_MAGIC) + 1] > bytes((_VERSION,)):
            raise BadKeyFile("this identity was written by a newer version of Overfence")
        if len(raw) != _FILE_BYTES or _checksum(raw[:-_CHECK_BYTES]) != raw[-_CHECK_BYTES:]:
            raise BadKeyFile("this identity is truncated or damaged; restore it from a backup")
        version, primary = raw[len(_MAGIC) : len(_MAGIC) + 2]
        start = len(_MAGIC) + 2
        account, account_seed, sign_seed, agree_secret = (
            raw[at : at + KEY_BYTES] for at in range(start, start + 4 * KEY_BYTES, KEY_BYTES)
        )
        if version != _VERSION or primary > 1 or (primary and signing_public(account_seed) != account):
            raise BadKeyFile("the keys in this identity do not belong together")
        return cls(account_seed if primary else None, sign_seed, agree_secret, account)

    def __repr__(self) -> str:
        # A dataclass would print every secret into the first log or traceback that mentions it.
        return f"<Identity {self.account.hex()[:8]} {'primary' if self.account_seed else 'linked'}>"


def _checksum(body: bytes) -> bytes:
    return H(L("identity file") + body)[:_CHECK_BYTES]
