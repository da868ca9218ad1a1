"""Who people and their devices are, and how they meet: keys, device lists, invites (docs/protocol.md §1, §4)."""

from __future__ import annotations

from .devices import DEVICE_LIMIT, Device, DeviceList, fingerprint, user_id
from .errors import (
    BadDeviceList,
    BadInvite,
    BadKeyFile,
    BadVerifyCode,
    InviteFault,
    KeyFileExposed,
    KeyFileUnavailable,
    NotPrimary,
    VerifyFault,
)
from .files import load_or_create
from .invite import Invite, is_node
from .keys import Identity
from .safety import SafetyNumber, check_shown, read_verify_code, safety_number, verify_code
from .signatures import KEY_BYTES, SIGNATURE_BYTES, H, L, agreement_public, sign, signing_public, verify

__all__ = [
    "DEVICE_LIMIT",
    "KEY_BYTES",
    "SIGNATURE_BYTES",
    "BadDeviceList",
    "BadInvite",
    "BadKeyFile",
    "BadVerifyCode",
    "Device",
    "DeviceList",
    "H",
    "Identity",
    "Invite",
    "InviteFault",
    "KeyFileExposed",
    "KeyFileUnavailable",
    "L",
    "NotPrimary",
    "SafetyNumber",
    "VerifyFault",
    "agreement_public",
    "check_shown",
    "fingerprint",
    "is_node",
    "load_or_create",
    "read_verify_code",
    "safety_number",
    "sign",
    "signing_public",
    "user_id",
    "verify",
    "verify_code",
]
