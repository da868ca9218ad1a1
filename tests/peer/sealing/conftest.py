"""Ada and Bob, their device's sessions with each other, and what travels between them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import shake_256

import pytest
from overfence.identity import Device, Identity
from overfence.sealing import Opened, Prekeys, PrekeySecret, Random, SealingError, Sessions, new_prekey


def seeded(seed: int) -> Random:
    """Bytes that look random and are the same each time."""
    drawn = 0

    def random(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return shake_256(f"{seed} {drawn}".encode()).digest(count)

    return random


class Person:
    """One device, its prekeys, and its sessions with the other one."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.identity = Identity.create(random)
        self.device = Device(self.identity.dsk, self.identity.dik)
        self.sessions = Sessions()
        self.secrets: dict[bytes, PrekeySecret] = {}
        self.prekeys = self.publish()

    def publish(self) -> Prekeys:
        secret = new_prekey(self.random)
        self.secrets[secret.prekey_id] = secret
        self.prekeys = Prekeys.sign(self.identity, secret)
        return self.prekeys

    def restart(self) -> None:
        self.sessions = Sessions.decode(self.sessions.encode())


class Pair:
    """Two people and a clock; each message is handed over by the test."""

    def __init__(self, seed: int = 1) -> None:
        self.random = seeded(seed)
        self.ada = Person(self.random)
        self.bob = Person(self.random)
        self.now_s = 1_800_000_000

    def other(self, who: Person) -> Person:
        return self.bob if who is self.ada else self.ada

    def begin(self, who: Person) -> None:
        other = self.other(who)
        who.sessions.initiate(
            who.identity, other.device, other.identity.account, other.prekeys, now_s=self.now_s, random=self.random
        )

    def say(self, who: Person, payload: bytes) -> bytes:
        return who.sessions.seal(payload, random=self.random)

    def offer(self, who: Person, payload: bytes) -> bytes:
        return who.sessions.seal_unanswered(payload, random=self.random)

    def hear(self, who: Person, message: bytes) -> Opened:
        other = self.other(who)
        return who.sessions.open(
            message,
            me=who.identity,
            peer=other.device,
            peer_account=other.identity.account,
            prekey_secrets=who.secrets,
            now_s=self.now_s,
            random=self.random,
        )

    def tell(self, who: Person, payload: bytes) -> Opened:
        """Say it, and the other hears it."""
        return self.hear(self.other(who), self.say(who, payload))

    def refuses(self, who: Person, message: bytes, reason: type[SealingError]) -> SealingError:
        """Hearing this raises, and changes nothing."""
        before = who.sessions.encode()
        with pytest.raises(reason) as caught:
            self.hear(who, message)
        assert who.sessions.encode() == before
        return caught.value

    def acquaint(self) -> None:
        """A first message and its answer."""
        self.begin(self.ada)
        self.tell(self.ada, b"hello")
        self.tell(self.bob, b"hello yourself")


@pytest.fixture(scope="session")
def new_pair() -> Callable[[int], Pair]:
    return Pair


@pytest.fixture
def pair() -> Pair:
    return Pair()
