"""The devices of an account, as the account signed them (§1)."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .errors import BadDeviceList
from .keys import Identity
from .signatures import KEY_BYTES, SIGNATURE_BYTES, H, verify

# More devices would let one account multiply everyone's sealing work.
DEVICE_LIMIT = 5
SEQ_LIMIT = 2**53

_VERSION = 1
_CONTEXT = "devices"
_HEAD_BYTES = 1 + KEY_BYTES + 8 + 1
_DEVICE_BYTES = 2 * KEY_BYTES


class Device(NamedTuple):
    """One device's public keys (§1): what it signs with, what it agrees on secrets with; 32 bytes each."""

    dsk: bytes
    dik: bytes


@dataclass(frozen=True)
class DeviceList:
    """Which devices speak for an account, signed by it (§1); a higher ``seq`` replaces a lower one."""

    account: bytes
    seq: int
    devices: tuple[Device, ...]
    raw: bytes

    @classmethod
    def sign(cls, identity: Identity, devices: Iterable[Device], seq: int) -> DeviceList:
        """A list signed by the primary device; raises `NotPrimary`, and `BadDeviceList` for one nobody would take."""
        listed = tuple(Device(*device) for device in devices)
        if not 0 <= seq < SEQ_LIMIT:
            raise BadDeviceList("a device list's number must be below 2^53")
        _check(listed)
        body = bytes((_VERSION,)) + identity.account + seq.to_bytes(8, "big") + bytes((len(listed),))
        body += b"".join(device.dsk + device.dik for device in listed)
        return cls(identity.account, seq, listed, body + identity.sign_account(_CONTEXT, body))

    @classmethod
    def parse(cls, raw: bytes) -> DeviceList:
        """The list in exactly these bytes; raises `BadDeviceList`."""
        found, rest = cls.split(raw)
        if rest:
            raise BadDeviceList("something follows the device list")
        return found

    @classmethod
    def split(cls, raw: bytes) -> tuple[DeviceList, bytes]:
        """The list ``raw`` begins with, and the bytes after it; raises `BadDeviceList`."""
        if len(raw) < _HEAD_BYTES or raw[0] != _VERSION:
            raise BadDeviceList("this is no device list of a version known here")
        account = raw[1 : 1 + KEY_BYTES]
        seq = int.from_bytes(raw[1 + KEY_BYTES : _HEAD_BYTES - 1], "big")
        count = raw[_HEAD_BYTES - 1]
        end = _HEAD_BYTES + count * _DEVICE_BYTES
        if not 1 <= count <= DEVICE_LIMIT or len(raw) < end + SIGNATURE_BYTES or seq >= SEQ_LIMIT:
            raise BadDeviceList("the device list's numbers are out of bounds")
        if not verify(account, _CONTEXT, raw[:end], raw[end : end + SIGNATURE_BYTES]):
            raise BadDeviceList("the device list is not signed by its account")
        devices = tuple(
            Device(raw[at : at + KEY_BYTES], raw[at + KEY_BYTES : at + _DEVICE_BYTES])
            for at in range(_HEAD_BYTES, end, _DEVICE_BYTES)
        )
        _check(devices)
        whole = end + SIGNATURE_BYTES
        return cls(account, seq, devices, raw[:whole]), raw[whole:]

    def holds(self, dsk: bytes, dik: bytes) -> bool:
        """Whether this very pair of keys is one of the devices."""
        return (dsk, dik) in self.devices


def user_id(account: bytes) -> str:
    """The account key as text: 52 lower-case letters and digits (base32, RFC 4648, unpadded)."""
    # Base32 survives being read aloud, lower-cased and used as an argument; base64 may begin with "-".
    return b32encode(account).decode().rstrip("=").lower()


def fingerprint(dsk: bytes, dik: bytes) -> bytes:
    """The 16 bytes by which an invite names the device behind it (§4)."""
    return H(dsk + dik)[:16]


def _check(devices: tuple[Device, ...]) -> None:
    if not 1 <= len(devices) <= DEVICE_LIMIT:
        raise BadDeviceList(f"an account has 1 to {DEVICE_LIMIT} devices")
    if any(len(key) != KEY_BYTES for device in devices for key in device):
        raise BadDeviceList("a device key has 32 bytes")
    # A key listed twice would make two devices of one, with one ratchet between them.
    keys = [key for device in devices for key in device]
    if len(set(keys)) != len(keys):
        raise BadDeviceList("a key is listed twice")
