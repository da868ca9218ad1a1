"""Prekeys, and the card that carries them and the device list to the one who will write first (§1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from overfence.identity import SIGNATURE_BYTES, BadDeviceList, Device, DeviceList, Identity, agreement_public

from .errors import BadCard, BadState, Forged
from .primitives import KEY_BYTES, ZERO_SALT, L, Random, aead_open, aead_seal, hkdf, verify

PREKEY_ID_BYTES = 8
KEM_PUBLIC_BYTES = 1184
KEM_SEED_BYTES = 64

_VERSION = b"\x01"
_CONTEXT = "prekeys"
_SECRET_BYTES = 1 + PREKEY_ID_BYTES + KEY_BYTES + KEM_SEED_BYTES
_SIGNED_BYTES = 1 + KEY_BYTES + PREKEY_ID_BYTES + KEY_BYTES + KEM_PUBLIC_BYTES


@dataclass(frozen=True, repr=False)
class PrekeySecret:
    """What answers handshakes on one set of prekeys (§1); deleting it is what makes them forward secret."""

    prekey_id: bytes
    spk_secret: bytes
    kpk_seed: bytes

    def encode(self) -> bytes:
        """105 bytes, every secret in clear."""
        return _VERSION + self.prekey_id + self.spk_secret + self.kpk_seed

    @classmethod
    def decode(cls, raw: bytes) -> PrekeySecret:
        """What `encode` wrote; raises `BadState`."""
        if len(raw) != _SECRET_BYTES or raw[:1] != _VERSION:
            raise BadState("the stored prekey is damaged")
        seed_at = _SECRET_BYTES - KEM_SEED_BYTES
        return cls(raw[1 : 1 + PREKEY_ID_BYTES], raw[1 + PREKEY_ID_BYTES : seed_at], raw[seed_at:])

    @cached_property
    def spk(self) -> bytes:
        """The X25519 public half, 32 bytes."""
        return agreement_public(self.spk_secret)

    @cached_property
    def kpk(self) -> bytes:
        """The ML-KEM-768 public half (FIPS 203), 1,184 bytes."""
        return self.kem.public_key().public_bytes_raw()

    @cached_property
    def kem(self) -> MLKEM768PrivateKey:
        """The ML-KEM-768 key that decapsulates."""
        return MLKEM768PrivateKey.from_seed_bytes(self.kpk_seed)

    def __repr__(self) -> str:
        # A dataclass would print both secrets.
        return f"<PrekeySecret {self.prekey_id.hex()}>"


def new_prekey(random: Random) -> PrekeySecret:
    """A fresh set of prekeys; ``random(n)`` gives n secret random bytes."""
    return PrekeySecret(random(PREKEY_ID_BYTES), random(KEY_BYTES), random(KEM_SEED_BYTES))


@dataclass(frozen=True)
class Prekeys:
    """One device's public prekeys, signed by it (§1); ``raw`` is what was signed and travels."""

    dsk: bytes
    prekey_id: bytes
    spk: bytes
    kpk: bytes
    raw: bytes

    @classmethod
    def sign(cls, identity: Identity, secret: PrekeySecret) -> Prekeys:
        """The public half of ``secret``, signed by this device."""
        body = _VERSION + identity.dsk + secret.prekey_id + secret.spk + secret.kpk
        return cls(identity.dsk, secret.prekey_id, secret.spk, secret.kpk, body + identity.sign_device(_CONTEXT, body))

    @classmethod
    def parse(cls, raw: bytes) -> Prekeys:
        """Prekeys from a card or a session, their signature checked; raises `BadCard`."""
        if len(raw) != _SIGNED_BYTES + SIGNATURE_BYTES or raw[:1] != _VERSION:
            raise BadCard("these are no prekeys of a version known here")
        body, signature = raw[:_SIGNED_BYTES], raw[_SIGNED_BYTES:]
        id_at = 1 + KEY_BYTES
        spk_at = id_at + PREKEY_ID_BYTES
        kpk_at = spk_at + KEY_BYTES
        dsk, kpk = body[1:id_at], body[kpk_at:]
        if not verify(dsk, _CONTEXT, body, signature):
            raise BadCard("the prekeys are not signed by their device")
        try:
            MLKEM768PublicKey.from_public_bytes(kpk)
        except ValueError:
            raise BadCard("the prekeys hold no ML-KEM-768 key") from None
        return cls(dsk, body[id_at:spk_at], body[spk_at:kpk_at], kpk, raw)


@dataclass(frozen=True)
class Card:
    """What a mailbox's owner leaves there for the one who writes to it (§1)."""

    device_list: DeviceList
    prekeys: Prekeys
    # The device's own word that it is this account's: an account can list any key, and show prekeys that were given it.
    consent: bytes

    @property
    def device(self) -> Device:
        """The device whose prekeys these are: one of the list's."""
        return next(device for device in self.device_list.devices if device.dsk == self.prekeys.dsk)


def seal_card(key: bytes, mailbox: bytes, card: Card, random: Random) -> bytes:
    """``card`` for whoever holds the 32-byte address ``key``, bound to the 16-byte address ``mailbox`` (§1)."""
    return aead_seal(_card_key(key), card.device_list.raw + card.prekeys.raw + card.consent, mailbox, random)


def open_card(key: bytes, mailbox: bytes, raw: bytes) -> Card:
    """The card, its three signatures checked and its device one of its list; raises `BadCard`.

    Whether the account and the device are the expected ones is the caller's to check.
    """
    try:
        device_list, rest = DeviceList.split(aead_open(_card_key(key), raw, mailbox))
    except Forged:
        raise BadCard("the card does not open with this mailbox's key") from None
    except BadDeviceList as error:
        raise BadCard(f"the card's device list is bad: {error}") from error
    card = Card(device_list, Prekeys.parse(rest[:-SIGNATURE_BYTES]), rest[-SIGNATURE_BYTES:])
    if all(device.dsk != card.prekeys.dsk for device in device_list.devices):
        raise BadCard("the card's prekeys belong to none of its devices")
    if not verify(card.device.dsk, "device", device_list.account + card.device.dik, card.consent):
        raise BadCard("the card's device has not signed that it is its account's")
    return card


def _card_key(key: bytes) -> bytes:
    return hkdf(ZERO_SALT, key, L("card"), 32)
