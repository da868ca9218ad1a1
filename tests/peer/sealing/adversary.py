"""An adversary who has all that was on the wire, and some keys: docs/protocol.md §2 and §3, read from the other side.

It is written from the specification. Of our code it uses only how messages and stored secrets are laid out.
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import msgspec
from overfence.identity import Device, H, Identity, L, agreement_public
from overfence.sealing import Forged, Pre, Prekeys, PrekeySecret, WeakKey, aead_open, hkdf
from overfence.sealing.handshake import INFO, PRE_BYTES
from overfence.sealing.primitives import x25519
from overfence.sealing.ratchet import HEADER_BYTES, Header

ZERO = bytes(32)


@dataclass(frozen=True)
class Loot:
    """What an adversary holds: any 32 bytes that may be a key of any sort, prekeys, and X25519 keys by their public."""

    keys: frozenset[bytes] = frozenset()
    prekeys: tuple[PrekeySecret, ...] = ()
    secrets: Mapping[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def snapshot(cls, sessions: bytes, prekeys: Iterable[bytes], identity: bytes, *, everywhere: bool = False) -> Loot:
        """All that one device stores; ``everywhere``: any 32 bytes in a row, not only those a field begins with."""
        kept = tuple(PrekeySecret.decode(raw) for raw in prekeys)
        who = Identity.decode(identity)
        keys = {who.account_seed or ZERO, who.device_sign_seed, who.device_agree_secret}
        keys |= {half for one in kept for half in (one.spk_secret, one.kpk_seed[:32], one.kpk_seed[32:])}
        if everywhere:
            keys |= {sessions[at : at + 32] for at in range(len(sessions) - 31)}
        else:
            keys |= {leaf[:32] for leaf in _leaves(msgspec.msgpack.decode(sessions)) if len(leaf) >= 32}
        return cls(frozenset(keys), kept, {agreement_public(key): key for key in keys})

    def also(self, secrets: Mapping[bytes, bytes]) -> Loot:
        """The same, and these X25519 keys."""
        return Loot(self.keys, self.prekeys, {**self.secrets, **secrets})


@dataclass(frozen=True)
class Sent:
    """One message on the wire, and who sealed it."""

    number: int
    by: Device
    header: Header
    head: bytes
    sealed: bytes


class Adversary:
    """Records every message, and opens those that the keys it is given lead to."""

    def __init__(self, ada: tuple[bytes, Device], bob: tuple[bytes, Device]) -> None:
        self.accounts = (ada, bob)
        self.wire: list[Sent] = []
        self.chains: dict[tuple[bytes, bytes], list[Sent]] = defaultdict(list)  # sid, ratchet key
        self.handshakes: dict[bytes, Pre] = {}
        self.cards: dict[bytes, Prekeys] = {}
        self._ads: dict[bytes, bytes] = {}

    def record(self, message: bytes, by: Device) -> int:
        """The message's number on the wire."""
        pre = Pre.peek(message)
        body = message if pre is None else message[PRE_BYTES:]
        header = Header.parse(body)
        if pre is not None:
            self.handshakes[header.sid] = pre
        sent = Sent(len(self.wire), by, header, body[:HEADER_BYTES], body[HEADER_BYTES:])
        self.wire.append(sent)
        self.chains[header.sid, header.public].append(sent)
        return sent.number

    def read(self, loot: Loot) -> set[int]:
        """The numbers of all messages that open."""
        found = {sent.number for sent in self.wire if any(self._as_message_key(key, sent) for key in loot.keys)}
        for chain in self.chains.values():
            found |= {number for key in loot.keys for number in self._as_chain_key(key, chain)}
        found |= set(self._as_root_keys({*loot.keys, *self._handshake_secrets(loot)}, loot))
        return found

    def card_of(self, sid: bytes) -> Prekeys:
        """The prekeys that a session was begun on."""
        return self.cards[self.handshakes[sid].prekey_id]

    def walk(self, chain_key: bytes, steps: int) -> Iterator[bytes]:
        """The keys of so many messages from a chain key on (§3)."""
        for _ in range(steps):
            yield _message_key(_hmac(chain_key, 1))
            chain_key = _hmac(chain_key, 2)

    def opens(self, key: bytes, sent: Sent) -> bool:
        """Whether this very key opens the message."""
        try:
            aead_open(key, sent.sealed, self._bound(sent.header.sid) + sent.head)
        except Forged:
            return False
        return True

    def _as_message_key(self, key: bytes, sent: Sent) -> bool:
        return self.opens(key, sent) or self.opens(_message_key(key), sent)

    def _as_chain_key(self, key: bytes, chain: list[Sent]) -> Iterator[int]:
        # A message is at most as many steps from any key of its chain as its number says.
        for walked, message_key in enumerate(self.walk(key, max(sent.header.number for sent in chain) + 1)):
            yield from (sent.number for sent in chain if sent.header.number >= walked and self.opens(message_key, sent))

    def _as_root_keys(self, roots: set[bytes], loot: Loot) -> Iterator[int]:
        """Every chain reached by steps of the root from any of these, over agreements it can compute."""
        steps = [(chain, shared) for chain in self.chains.values() for shared in self._shared(chain, loot)]
        left, tried = list(roots), set(roots)
        while left:
            root = left.pop()
            for chain, shared in steps:
                derived = hkdf(root, shared, L("ratchet"), 64)
                keys = list(self.walk(derived[32:], max(sent.header.number for sent in chain) + 1))
                opened = [sent.number for sent in chain if self.opens(keys[sent.header.number], sent)]
                yield from opened
                if opened and derived[:32] not in tried:
                    tried.add(derived[:32])
                    left.append(derived[:32])

    def _shared(self, chain: list[Sent], loot: Loot) -> Iterator[bytes]:
        """What the chain's ratchet key agrees on with each of the other side's."""
        sid, public, by = chain[0].header.sid, chain[0].header.public, chain[0].by
        theirs = {sent.header.public for sent in self.wire if sent.header.sid == sid and sent.by != by}
        for other in {*theirs, self.card_of(sid).spk}:
            if (shared := _agree(public, other, loot)) is not None:
                yield shared

    def _handshake_secrets(self, loot: Loot) -> Iterator[bytes]:
        for pre in self.handshakes.values():
            card = self.cards[pre.prekey_id]
            dik = next(device.dik for _, device in self.accounts if device.dsk == card.dsk)
            agreed = [_agree(*pair, loot) for pair in ((pre.dik, card.spk), (pre.ek, dik), (pre.ek, card.spk))]
            known = [one for one in agreed if one is not None]
            if len(known) < len(agreed):
                continue
            # With none of them it is an X3DH without the part that a quantum computer does not solve.
            shared = {b"", ZERO, *loot.keys}
            shared |= {one.kem.decapsulate(pre.kem_ct) for one in loot.prekeys if one.prekey_id == pre.prekey_id}
            for secret in shared:
                yield hkdf(ZERO, b"\xff" * 32 + b"".join(known) + secret, INFO, 32)

    def _bound(self, sid: bytes) -> bytes:
        if sid in self._ads:
            return self._ads[sid]
        pre, card = self.handshakes[sid], self.card_of(sid)
        account, device = next((account, device) for account, device in self.accounts if device.dsk == card.dsk)
        names = pre.account + pre.dik + account + device.dik
        self._ads[sid] = L("ad") + names + H(pre.raw) + H(card.spk + card.kpk)
        return self._ads[sid]


def _leaves(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _leaves(list(pair))
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)


def _agree(one: bytes, other: bytes, loot: Loot) -> bytes | None:
    for mine, theirs in ((one, other), (other, one)):
        if mine in loot.secrets:
            return _dh(loot.secrets[mine], theirs)
    return None


@cache
def _dh(secret: bytes, public: bytes) -> bytes | None:
    try:
        return x25519(secret, public)
    except WeakKey:
        return None


def _hmac(key: bytes, which: int) -> bytes:
    return hmac.digest(key, bytes((which,)), "sha256")


def _message_key(key: bytes) -> bytes:
    return hkdf(ZERO, key, L("msg"), 32)
