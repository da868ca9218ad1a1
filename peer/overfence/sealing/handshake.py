"""PQXDH without one-time prekeys: how two devices that never spoke agree on a first secret (§2)."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

from overfence.identity import Device, Identity, agreement_public

from .card import PREKEY_ID_BYTES, Prekeys, PrekeySecret
from .errors import BadCard, MalformedMessage
from .primitives import KEY_BYTES, ZERO_SALT, H, L, Random, hkdf, x25519

SID_BYTES = 8
KEM_CIPHERTEXT_BYTES = 1088
PRE_BYTES = 2 + 4 * KEY_BYTES + 8 + PREKEY_ID_BYTES + KEM_CIPHERTEXT_BYTES
# Each side goes past the highest epoch it knows. Half the range of an integer is left above the
# highest that is taken, so that no peer can leave us without a next one.
EPOCH_LIMIT = 2**52

PRE_MARK = b"\x01\x02"
MESSAGE_MARK = b"\x01\x01"
INFO = L("PQXDH X25519 ML-KEM-768 SHA-256")


@dataclass(frozen=True)
class Pre:
    """The handshake in front of a session's first messages (§2); proven only once a message behind it opens."""

    account: bytes
    dsk: bytes
    dik: bytes
    ek: bytes
    epoch: int
    prekey_id: bytes
    kem_ct: bytes
    raw: bytes

    @classmethod
    def peek(cls, message: bytes) -> Pre | None:
        """The handshake ``message`` begins with, or None where there is none; raises `MalformedMessage`."""
        if message.startswith(MESSAGE_MARK):
            return None
        if not message.startswith(PRE_MARK) or len(message) < PRE_BYTES:
            raise MalformedMessage("this is no message of a version known here")
        at = len(PRE_MARK)
        account, dsk, dik, ek = (message[start : start + KEY_BYTES] for start in range(at, at + 4 * KEY_BYTES, 32))
        at += 4 * KEY_BYTES
        epoch = int.from_bytes(message[at : at + 8], "big")
        if epoch >= EPOCH_LIMIT:
            raise MalformedMessage("the epoch is out of bounds")
        prekey_id = message[at + 8 : at + 8 + PREKEY_ID_BYTES]
        kem_ct = message[at + 8 + PREKEY_ID_BYTES : PRE_BYTES]
        return cls(account, dsk, dik, ek, epoch, prekey_id, kem_ct, message[:PRE_BYTES])


@dataclass(frozen=True, repr=False)
class Agreement:
    """What both sides hold after a handshake (§2): ``secret`` starts the ratchet, ``ad`` is bound to each message."""

    secret: bytes
    ad: bytes
    transcript: bytes
    pre: bytes

    @property
    def sid(self) -> bytes:
        """The session's name on the wire, 8 bytes."""
        return self.transcript[:SID_BYTES]


def initiate(
    me: Identity, peer: Device, peer_account: bytes, prekeys: Prekeys, *, epoch: int, random: Random
) -> Agreement:
    """A's side; raises `BadCard` for prekeys of another device, `WeakKey` for keys that can't be agreed with."""
    if prekeys.dsk != peer.dsk:
        raise BadCard("these prekeys belong to another device")
    ek_secret = random(KEY_BYTES)
    # The KEM draws its own randomness: `cryptography` offers no other way.
    kem_secret, kem_ct = MLKEM768PublicKey.from_public_bytes(prekeys.kpk).encapsulate()
    pre = PRE_MARK + me.account + me.dsk + me.dik + agreement_public(ek_secret)
    pre += epoch.to_bytes(8, "big") + prekeys.prekey_id + kem_ct
    agreed = initiator_secrets(me.device_agree_secret, ek_secret, peer.dik, prekeys.spk)
    ad = _associated((me.account, me.dik), (peer_account, peer.dik), pre, prekeys.spk, prekeys.kpk)
    return Agreement(derive_secret(agreed, kem_secret), ad, H(pre), pre)


def respond(me: Identity, pre: Pre, prekey: PrekeySecret) -> Agreement:
    """B's side; raises `WeakKey`. A wrong ``pre`` gives a secret that opens nothing."""
    kem_secret = prekey.kem.decapsulate(pre.kem_ct)
    agreed = responder_secrets(me.device_agree_secret, prekey.spk_secret, pre.dik, pre.ek)
    ad = _associated((pre.account, pre.dik), (me.account, me.dik), pre.raw, prekey.spk, prekey.kpk)
    return Agreement(derive_secret(agreed, kem_secret), ad, H(pre.raw), pre.raw)


def initiator_secrets(dik_secret: bytes, ek_secret: bytes, peer_dik: bytes, peer_spk: bytes) -> bytes:
    """``DH1 ‖ DH2 ‖ DH3`` from A's secrets."""
    return x25519(dik_secret, peer_spk) + x25519(ek_secret, peer_dik) + x25519(ek_secret, peer_spk)


def responder_secrets(dik_secret: bytes, spk_secret: bytes, peer_dik: bytes, peer_ek: bytes) -> bytes:
    """``DH1 ‖ DH2 ‖ DH3`` from B's secrets."""
    return x25519(spk_secret, peer_dik) + x25519(dik_secret, peer_ek) + x25519(spk_secret, peer_ek)


def derive_secret(agreed: bytes, kem_secret: bytes) -> bytes:
    """``SK``; with ``kem_secret`` empty it is X3DH's secret under our info string."""
    return hkdf(ZERO_SALT, b"\xff" * 32 + agreed + kem_secret, INFO, 32)


def _associated(a: tuple[bytes, bytes], b: tuple[bytes, bytes], pre: bytes, spk: bytes, kpk: bytes) -> bytes:
    return L("ad") + a[0] + a[1] + b[0] + b[1] + H(pre) + H(spk + kpk)
