"""The constructions of docs/protocol.md §0 to §4, written from its text alone: nothing here comes from the product.

Where they can be, the primitives are another library's than the product's. Every secret and nonce is given.
"""

from __future__ import annotations

import hmac
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, shake_256

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from kyber_py.ml_kem import ML_KEM_768
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

ZERO = bytes(32)


def seeded(label: str, size: int) -> bytes:
    """Bytes that look drawn and are the same each time."""
    return shake_256(label.encode()).digest(size)


def H(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


def L(label: str) -> bytes:
    return b"overfence/1 " + label.encode("ascii")


def HMAC(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def hkdf(salt: bytes, ikm: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(ikm)


def sig(seed: bytes, context: str, message: bytes) -> bytes:
    return ed25519_sign(seed, L(context) + b"\0" + message)


def ed25519_sign(seed: bytes, signed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed)


def ed25519(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def DH(secret: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def aead(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def pad(payload: bytes) -> bytes:
    padded = payload + b"\x80"
    while len(padded) % 256:
        padded += b"\0"
    return padded


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def base32(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def pack(value: object) -> bytes:
    """MessagePack, each integer in its shortest form."""
    return msgspec.msgpack.encode(value)


@dataclass(frozen=True)
class Person:
    """An account with one device, and its secrets."""

    account_seed: bytes
    device_sign_seed: bytes
    device_agree_secret: bytes

    @classmethod
    def named(cls, name: str) -> Person:
        return cls(*(seeded(f"{name} {part}", 32) for part in ("account", "sign", "agree")))

    @property
    def AK(self) -> bytes:
        return ed25519(self.account_seed)

    @property
    def DSK(self) -> bytes:
        return ed25519(self.device_sign_seed)

    @property
    def DIK(self) -> bytes:
        return x25519(self.device_agree_secret)

    def secrets(self) -> dict[str, bytes]:
        return {
            "account_seed": self.account_seed,
            "device_sign_seed": self.device_sign_seed,
            "device_agree_secret": self.device_agree_secret,
        }

    def device_list(self, seq: int = 1_790_000_000) -> bytes:
        return device_list(self.account_seed, seq, [(self.DSK, self.DIK)])

    def consent(self) -> bytes:
        return sig(self.device_sign_seed, "device", self.AK + self.DIK)


ADA, BOB, EVE = Person.named("Ada"), Person.named("Bob"), Person.named("Eve")


def device_list(
    account_seed: bytes, seq: int, devices: Sequence[tuple[bytes, bytes]], count: int | None = None
) -> bytes:
    body = b"\x01" + ed25519(account_seed) + u64(seq) + bytes((len(devices) if count is None else count,))
    body += b"".join(dsk + dik for dsk, dik in devices)
    return body + sig(account_seed, "devices", body)


@dataclass(frozen=True)
class Prekey:
    """One set of prekeys and its secrets; ``kpk_seed`` is FIPS 203's ``d ‖ z``."""

    prekey_id: bytes
    spk_secret: bytes
    kpk_seed: bytes

    @classmethod
    def named(cls, name: str) -> Prekey:
        return cls(seeded(f"{name} id", 8), seeded(f"{name} spk", 32), seeded(f"{name} kpk", 64))

    @property
    def SPK(self) -> bytes:
        return x25519(self.spk_secret)

    @property
    def KPK(self) -> bytes:
        public, _ = ML_KEM_768.key_derive(self.kpk_seed)
        return bytes(public)

    def secrets(self) -> dict[str, bytes]:
        return {"prekey_id": self.prekey_id, "spk_secret": self.spk_secret, "kpk_seed": self.kpk_seed}

    def signed(self, device: Person) -> bytes:
        return prekeys(device, self.prekey_id + self.SPK + self.KPK)


def prekeys(device: Person, keys: bytes, *, version: int = 1) -> bytes:
    body = bytes((version,)) + device.DSK + keys
    return body + sig(device.device_sign_seed, "prekeys", body)


def encapsulate(kpk: bytes, m: bytes) -> tuple[bytes, bytes]:
    """ML-KEM-768's shared secret and ciphertext with ``m`` as the 32 random bytes (FIPS 203, algorithm 17)."""
    secret, ciphertext = ML_KEM_768._encaps_internal(kpk, m)
    return bytes(secret), bytes(ciphertext)


@dataclass(frozen=True)
class Handshake:
    """Everything §2 derives on A's side."""

    SS: bytes
    kem_ct: bytes
    DH1: bytes
    DH2: bytes
    DH3: bytes
    SK: bytes
    pre: bytes
    AD: bytes

    @property
    def transcript(self) -> bytes:
        return H(self.pre)

    @property
    def sid(self) -> bytes:
        return self.transcript[:8]

    @property
    def topic_secret(self) -> bytes:
        return hkdf(ZERO, self.SK, L("topic"), 32)


def pre_of(a: Person, ek: bytes, epoch: int, prekey_id: bytes, kem_ct: bytes) -> bytes:
    return b"\x01\x02" + a.AK + a.DSK + a.DIK + ek + u64(epoch) + prekey_id + kem_ct


def handshake(
    a: Person, b: Person, prekey: Prekey, *, ek_secret: bytes, kem_m: bytes, epoch: int, b_account: bytes | None = None
) -> Handshake:
    ss, kem_ct = encapsulate(prekey.KPK, kem_m)
    dh1, dh2, dh3 = DH(a.device_agree_secret, prekey.SPK), DH(ek_secret, b.DIK), DH(ek_secret, prekey.SPK)
    secret = hkdf(ZERO, b"\xff" * 32 + dh1 + dh2 + dh3 + ss, L("PQXDH X25519 ML-KEM-768 SHA-256"), 32)
    pre = pre_of(a, x25519(ek_secret), epoch, prekey.prekey_id, kem_ct)
    ad = L("ad") + a.AK + a.DIK + (b_account or b.AK) + b.DIK + H(pre) + H(prekey.SPK + prekey.KPK)
    return Handshake(ss, kem_ct, dh1, dh2, dh3, secret, pre, ad)


def header(sid: bytes, ratchet_key: bytes, pn: int, n: int) -> bytes:
    return b"\x01\x01" + sid + ratchet_key + u32(pn) + u32(n)


def message_key(mk: bytes) -> bytes:
    return hkdf(ZERO, mk, L("msg"), 32)
