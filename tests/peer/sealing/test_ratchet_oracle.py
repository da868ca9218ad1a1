"""Our ratchet and PyPI's DoubleRatchet talk to each other, byte for byte, in any order, with losses."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from hashlib import sha256
from os import urandom

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from doubleratchet import AEAD, KDF, AuthenticationFailedException, DoubleRatchet, EncryptedMessage, Header
from doubleratchet.recommended.diffie_hellman_ratchet_curve25519 import DiffieHellmanRatchet
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    sodium_pad,
    sodium_unpad,
)
from nacl.exceptions import CryptoError
from overfence.identity import agreement_public
from overfence.sealing import Duplicate
from overfence.sealing.ratchet import HEADER_BYTES, Ratchet

SID = b"the sid."
AD = b"the associated data of one session"
# Conversations of random order between the two.
INTERLEAVINGS = 1000


class RootKdf(KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, key, b"overfence/1 ratchet").derive(data)


class ChainKdf(KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        return hmac.digest(key, b"\x02", "sha256") + hmac.digest(key, b"\x01", "sha256")


class Sealing(AEAD):
    @staticmethod
    async def encrypt(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        nonce, padded = urandom(24), sodium_pad(plaintext, 256)
        return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(padded, associated_data, nonce, key32(key))

    @staticmethod
    async def decrypt(ciphertext: bytes, key: bytes, associated_data: bytes) -> bytes:
        nonce, sealed = ciphertext[:24], ciphertext[24:]
        try:
            padded = crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, associated_data, nonce, key32(key))
        except CryptoError as error:
            raise AuthenticationFailedException from error
        return sodium_unpad(padded, 256)


def key32(key: bytes) -> bytes:
    return HKDF(SHA256(), 32, bytes(32), b"overfence/1 msg").derive(key)


class Oracle(DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: Header) -> bytes:
        return associated_data + wire(header)


def wire(header: Header) -> bytes:
    numbers = header.previous_sending_chain_length.to_bytes(4, "big") + header.sending_chain_length.to_bytes(4, "big")
    return b"\x01\x01" + SID + header.ratchet_pub + numbers


def unwire(message: bytes) -> EncryptedMessage:
    previous, number = int.from_bytes(message[42:46], "big"), int.from_bytes(message[46:50], "big")
    return EncryptedMessage(Header(message[10:42], previous, number), message[HEADER_BYTES:])


@dataclass
class Sealed:
    """A message on its way; ``number`` counts what its sender has said."""

    message: bytes
    payload: bytes
    number: int


@dataclass
class Seen:
    """What happened in all conversations together."""

    conversations: int = 0
    opened: int = 0
    lost: int = 0
    late: int = 0
    to_us: int = 0


class Talk:
    """Us on one side, the oracle on the other; messages wait until they are picked, in any order, or lost."""

    def __init__(self, seen: Seen) -> None:
        self.secret, self.spk_secret = urandom(32), urandom(32)
        self.oracle: Oracle | None = None
        self.ours: Ratchet
        self.to_oracle: list[Sealed] = []
        self.to_us: list[Sealed] = []
        self.said = 0
        self.seen = seen
        self.newest = {"us": 0, "oracle": 0}

    async def open(self, *, we_begin: bool) -> None:
        spk = agreement_public(self.spk_secret)
        if we_begin:
            self.ours = Ratchet.of_initiator(secret=self.secret, ad=AD, sid=SID, spk=spk, random=urandom)
            self.we_say()
            return
        self.ours = Ratchet.of_responder(secret=self.secret, ad=AD, sid=SID, spk_secret=self.spk_secret)
        payload = self.next_payload()
        self.oracle, sealed = await Oracle.encrypt_initial_message(
            DiffieHellmanRatchet, RootKdf, ChainKdf, b"", 1000, 2000, Sealing, self.secret, spk, payload, AD
        )
        self.we_hear(self.sealed(sealed, payload))

    def next_payload(self) -> bytes:
        self.said += 1
        return sha256(self.said.to_bytes(4, "big")).digest() * (self.said % 12)

    def sealed(self, made: EncryptedMessage, payload: bytes) -> Sealed:
        return Sealed(wire(made.header) + made.ciphertext, payload, self.said)

    def we_say(self) -> None:
        payload = self.next_payload()
        self.to_oracle.append(Sealed(self.ours.encrypt(payload, random=urandom), payload, self.said))

    def we_hear(self, it: Sealed) -> None:
        assert self.ours.decrypt(it.message, now_s=0, random=urandom) == it.payload
        with pytest.raises(Duplicate):
            self.ours.decrypt(it.message, now_s=0, random=urandom)
        self.count("us", it)

    async def oracle_says(self) -> None:
        if self.oracle is not None:
            payload = self.next_payload()
            self.to_us.append(self.sealed(await self.oracle.encrypt_message(payload, AD), payload))

    async def oracle_hears(self, it: Sealed) -> None:
        sealed = unwire(it.message)
        if self.oracle is None:
            self.oracle, opened = await Oracle.decrypt_initial_message(
                DiffieHellmanRatchet,
                RootKdf,
                ChainKdf,
                b"",
                1000,
                2000,
                Sealing,
                self.secret,
                self.spk_secret,
                sealed,
                AD,
            )
        else:
            opened = await self.oracle.decrypt_message(sealed, AD)
        assert opened == it.payload
        self.count("oracle", it)

    def count(self, hearer: str, it: Sealed) -> None:
        self.seen.opened += 1
        self.seen.to_us += hearer == "us"
        self.seen.late += it.number < self.newest[hearer]
        self.newest[hearer] = max(self.newest[hearer], it.number)

    def lose(self, waiting: list[Sealed], pick: int) -> None:
        if waiting:
            waiting.pop(pick % len(waiting))
            self.seen.lost += 1

    async def play(self, moves: list[tuple[str, int]]) -> None:
        for move, pick in moves:
            match move:
                case "we say":
                    self.we_say()
                case "oracle says":
                    await self.oracle_says()
                case "oracle hears" if self.to_oracle:
                    await self.oracle_hears(self.to_oracle.pop(pick % len(self.to_oracle)))
                case "we hear" if self.to_us:
                    self.we_hear(self.to_us.pop(pick % len(self.to_us)))
                case "lost":
                    self.lose(self.to_us if pick % 2 else self.to_oracle, pick // 2)
        # What was not lost arrives in the end, the skipped among it.
        for it in self.to_oracle:
            await self.oracle_hears(it)
        for it in self.to_us:
            self.we_hear(it)
        self.seen.conversations += 1


SAID_AND_HEARD = ["we say", "oracle says", "oracle hears", "we hear"]
MOVES = st.tuples(st.sampled_from([*SAID_AND_HEARD, *SAID_AND_HEARD, "lost"]), st.integers(0, 40))


def test_every_message_of_either_is_read_by_the_other_in_any_order_and_with_losses() -> None:
    seen = Seen()

    # Keys are drawn anew each time, so that shrinking a failure takes minutes and comes to little.
    @settings(max_examples=INTERLEAVINGS, phases=(Phase.explicit, Phase.reuse, Phase.generate))
    @given(moves=st.lists(MOVES, min_size=40, max_size=80), we_begin=st.booleans())
    def interleaving(moves: list[tuple[str, int]], we_begin: bool) -> None:
        async def story() -> None:
            talk = Talk(seen)
            await talk.open(we_begin=we_begin)
            await talk.play(moves)

        asyncio.run(story())

    interleaving()
    print(seen)
    assert seen.conversations >= INTERLEAVINGS
    # Losses, and messages that come after later ones, are the rule in them and no rare guests.
    assert min(seen.lost, seen.late, seen.to_us, seen.opened - seen.to_us) > INTERLEAVINGS
