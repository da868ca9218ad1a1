"""The Double Ratchet (§3): a fresh key for each message, and healing with each answer."""

from __future__ import annotations

from itertools import islice
from struct import Struct as Layout
from typing import Annotated, NamedTuple

import msgspec

from overfence.identity import agreement_public

from .errors import Duplicate, Forged, MalformedMessage, NoSession, TooFarAhead, WeakKey
from .handshake import MESSAGE_MARK, SID_BYTES
from .primitives import (
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    L,
    Random,
    aead_open,
    aead_seal,
    chain_step,
    hkdf,
    pad,
    unpad,
    x25519,
    zero_salted,
)

# Keys of skipped numbers are derived before anything is authenticated: past this a peer could keep
# us busy with HMAC (this many take about 20 ms).
JUMP_LIMIT = 5_000
# A sending chain ends before this, answered or not: what one chain and the one before it can have lost
# together is then never past the jump, and no server that swallows messages can part a pair for good.
CHAIN_LIMIT = JUMP_LIMIT // 2
# Skipped keys are written with each state: past this a peer could make every message cost us
# 100 KB of disk. What falls out is sent again by sync.
SKIPPED_LIMIT = 2_000
# A skipped key breaks forward secrecy for its one message for as long as it is kept.
SKIPPED_LIFE_S = 30 * 24 * 3600
# How many of the peer's finished chains are remembered, so that a message arriving twice, much
# later, is known as a duplicate and not taken for a forgery, which would start a reset.
SPENT_LIMIT = 1_000

_HEADER = Layout(">2s8s32sII")
_HEADER_FIELDS = Layout(">2x8s32sII")
HEADER_BYTES = _HEADER.size
_LEAST_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES
_NUMBER_LIMIT = 2**32
_CHAIN_ID_BYTES = 8
_RATCHET_INFO = L("ratchet")
_MESSAGE_INFO = L("msg")

Key = Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=_NUMBER_LIMIT)]


class Header(NamedTuple):
    """What stands in clear before each sealed message (§3)."""

    sid: bytes
    public: bytes
    previous: int
    number: int

    @classmethod
    def parse(cls, message: bytes) -> Header:
        """The header of a message without handshake; raises `MalformedMessage`."""
        if len(message) < _LEAST_BYTES or not message.startswith(MESSAGE_MARK):
            raise MalformedMessage("this is no message of a version known here")
        return cls._make(_HEADER_FIELDS.unpack_from(message))

    def encode(self) -> bytes:
        """The 50 bytes of §3."""
        return _HEADER.pack(MESSAGE_MARK, *self)


class Ratchet(msgspec.Struct, array_like=True, kw_only=True):
    """One session's keys: seals each message under a key used once, opens each at most once, in any order.

    A message that does not open leaves every field as it was.
    """

    sid: Annotated[bytes, msgspec.Meta(min_length=SID_BYTES, max_length=SID_BYTES)]
    ad: bytes
    root: Key
    own_secret: Key
    own_public: Key
    their_public: Key | None = None
    sending: Key | None = None
    receiving: Key | None = None
    sent: Count = 0
    sent_before: Count = 0
    received: Count = 0
    # chain id ‖ number → message key ‖ unix seconds; the oldest first
    skipped: dict[bytes, bytes] = {}
    # ids of the peer's finished chains, the oldest first, end to end
    spent: bytes = b""

    @classmethod
    def of_initiator(cls, *, secret: bytes, ad: bytes, sid: bytes, spk: bytes, random: Random) -> Ratchet:
        """The initiator's side: it sends at once, to the other's signed prekey (§3)."""
        own_secret = random(KEY_BYTES)
        root, sending = _step_root(secret, own_secret, spk)
        public = agreement_public(own_secret)
        return cls(
            sid=sid, ad=ad, root=root, own_secret=own_secret, own_public=public, their_public=spk, sending=sending
        )

    @classmethod
    def of_responder(cls, *, secret: bytes, ad: bytes, sid: bytes, spk_secret: bytes) -> Ratchet:
        """The responder's side: it can send once it has opened a message (§3)."""
        return cls(sid=sid, ad=ad, root=secret, own_secret=spk_secret, own_public=agreement_public(spk_secret))

    def encrypt(self, payload: bytes, *, random: Random) -> bytes:
        """Header and sealed payload, padded; raises `NoSession` before the first message heard by a responder."""
        if self.sending is None or self.sent >= _NUMBER_LIMIT:
            raise NoSession("this session cannot send")
        key, after = chain_step(self.sending)
        header = _HEADER.pack(MESSAGE_MARK, self.sid, self.own_public, self.sent_before, self.sent)
        sealed = aead_seal(zero_salted(key, _MESSAGE_INFO), pad(payload), self.ad + header, random)
        self.sending = after
        self.sent += 1
        return header + sealed

    def decrypt(self, message: bytes, *, now_s: int, random: Random, jump_limit: int = JUMP_LIMIT) -> bytes:
        """The payload of ``message``; raises `Duplicate`, `Forged`, `TooFarAhead` or `MalformedMessage`."""
        header = Header.parse(message)
        if self.skipped and (kept := self.skipped.get(place := _place(header.public, header.number))) is not None:
            payload = self._open(kept[:KEY_BYTES], message)
            del self.skipped[place]
            return payload
        if self.receiving is not None and header.public == self.their_public:
            _check_jump(header.number - self.received, jump_limit)
            return self._open_in_chain(header, message, self.receiving, now_s)
        left = max(0, header.previous - self.received) if self.receiving is not None else 0
        if not self._is_spent(header.public):
            _check_jump(left + header.number, jump_limit)
        return self._open_in_new_chain(header, message, left, now_s, random)

    def _open_in_chain(self, header: Header, message: bytes, chain: bytes, now_s: int) -> bytes:
        jump = header.number - self.received
        if jump < 0:
            raise Duplicate("this number was used")
        passed: list[tuple[bytes, bytes]] = []
        if jump:
            chain, passed = _walk(chain, header.public, self.received, header.number)
        key, chain = chain_step(chain)
        payload = self._open(key, message)
        self.receiving = chain
        self.received = header.number + 1
        if passed:
            self._keep(passed, now_s)
        return payload

    def _open_in_new_chain(self, header: Header, message: bytes, left: int, now_s: int, random: Random) -> bytes:
        if self._is_spent(header.public):
            raise Duplicate("this chain is finished")
        try:
            root, chain = _step_root(self.root, self.own_secret, header.public)
        except WeakKey:
            raise Forged("the ratchet key has small order") from None
        chain, passed = _walk(chain, header.public, 0, header.number)
        key, chain = chain_step(chain)
        payload = self._open(key, message)
        own_secret = random(KEY_BYTES)

        if self.receiving is not None and self.their_public is not None:
            _, before = _walk(self.receiving, self.their_public, self.received, self.received + left)
            passed = before + passed
            # Rounded to whole ids, since the blob is cut from its front.
            self.spent = (self.spent + self.their_public[:_CHAIN_ID_BYTES])[-SPENT_LIMIT * _CHAIN_ID_BYTES :]
        self.root, self.sending = _step_root(root, own_secret, header.public)
        self.own_secret, self.own_public = own_secret, agreement_public(own_secret)
        self.their_public = header.public
        self.receiving = chain
        self.sent_before, self.sent, self.received = self.sent, 0, header.number + 1
        if passed:
            self._keep(passed, now_s)
        return payload

    def _open(self, key: bytes, message: bytes) -> bytes:
        ad = self.ad + message[:HEADER_BYTES]
        return unpad(aead_open(zero_salted(key, _MESSAGE_INFO), message[HEADER_BYTES:], ad))

    def _keep(self, passed: list[tuple[bytes, bytes]], now_s: int) -> None:
        at = now_s.to_bytes(8, "big")
        for place, key in passed[-SKIPPED_LIMIT:]:
            self.skipped[place] = key + at
        for place in list(islice(self.skipped, max(0, len(self.skipped) - SKIPPED_LIMIT))):
            del self.skipped[place]

    def forget_old(self, now_s: int) -> None:
        """Drop the keys of messages that have not come for 30 days."""
        while self.skipped:
            place, kept = next(iter(self.skipped.items()))
            if now_s - int.from_bytes(kept[KEY_BYTES:], "big") <= SKIPPED_LIFE_S:
                return
            del self.skipped[place]

    def _is_spent(self, public: bytes) -> bool:
        chain_id = public[:_CHAIN_ID_BYTES]
        at = self.spent.find(chain_id)
        while at % _CHAIN_ID_BYTES and at > 0:
            at = self.spent.find(chain_id, at + 1)
        return at >= 0

    def __repr__(self) -> str:
        # A struct would print every key.
        return f"<Ratchet {self.sid.hex()} sent {self.sent} received {self.received}>"


def _check_jump(jump: int, limit: int) -> None:
    if jump > limit:
        raise TooFarAhead(jump)


def _step_root(root: bytes, own_secret: bytes, their_public: bytes) -> tuple[bytes, bytes]:
    derived = hkdf(root, x25519(own_secret, their_public), _RATCHET_INFO, 2 * KEY_BYTES)
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _walk(chain: bytes, public: bytes, start: int, end: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The chain key at ``end``, and the message keys of the numbers passed."""
    passed = []
    for number in range(start, end):
        key, chain = chain_step(chain)
        passed.append((_place(public, number), key))
    return chain, passed


def _place(public: bytes, number: int) -> bytes:
    return public[:_CHAIN_ID_BYTES] + number.to_bytes(4, "big")
