"""Homes whose every commit leaves a copy behind, and the world they stand in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple, TypeVar
from unittest import mock

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt
from overfence.history.event import Event
from overfence.identity import H
from overfence.sealing import primitives

from ..peer.delivery.conftest import Clock, Home, Node, World

T = TypeVar("T")
# Of all the commits of a story so many copies are kept, each commit as likely as any other.
COPIES = 16


class Copy(NamedTuple):
    """A database after one of its commits, and how much had been shown of it."""

    database: bytes
    shown: int


class CopiedHome(Home):
    """A home that can be set back to what it was after any earlier commit."""

    def __init__(self, name: str, node: Node, seed: int) -> None:
        super().__init__(name, node, seed)
        self.copies: list[Copy] = []
        self.commits = 0
        self.chance = Random(f"{name} {seed}")  # noqa: S311 (a story that can be repeated)

    def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = super().do(work)
        self.commits += 1
        place = len(self.copies) if len(self.copies) < COPIES else self.chance.randrange(self.commits)
        if place < COPIES:
            self.copies[place : place + 1] = [Copy(self.tx.serialize(), len(self.shown))]
        return result

    def set_back(self, copy: Copy) -> None:
        """The disk is as it was; what was shown since is news again."""
        self.tx.close()
        self.tx = sqlite3.connect(":memory:", isolation_level=None)
        self.tx.deserialize(copy.database)
        self.restart()
        del self.shown[copy.shown :]

    def shown_of(self, contact: int) -> list[Event]:
        """What appeared on the screen of one conversation, in order."""
        return [event for number, event in self.shown if number == contact]


class HostileWorld(World):
    """Ada and Bob, who both know Eve; and each other, or one has just accepted the other's invite."""

    ada: CopiedHome
    bob: CopiedHome
    eve: CopiedHome

    def __init__(self, seed: int, *, met: bool) -> None:
        self.clock = Clock()
        self.node = Node(self.clock)
        self.ada, self.bob, self.eve = (CopiedHome(name, self.node, seed) for name in ("Ada", "Bob", "Eve"))
        self.homes = [self.ada, self.bob, self.eve]
        for host in (self.ada, self.bob):
            self.eve.accept(host.invite())
        if met:
            self.bob.accept(self.ada.invite())
        self.settle(rounds=4)
        if not met:
            self.bob.accept(self.ada.invite(life_s=30 * 86_400))
        for home in (self.ada, self.bob):
            home.copies.clear()
            home.commits = 0


class Seals:
    """Every key and nonce that anything was sealed with."""

    def __init__(self) -> None:
        self.count = 0
        self.repeated = 0
        self._seen: set[bytes] = set()

    def note(self, key: bytes, nonce: bytes) -> None:
        """One more; the same pair twice would give both plaintexts away."""
        pair = H(key + nonce)
        self.count += 1
        self.repeated += pair in self._seen
        self._seen.add(pair)


@contextmanager
def watched() -> Iterator[Seals]:
    """While this lasts, whatever is sealed by anybody is noted."""
    seals = Seals()

    def noting(plaintext: bytes, ad: bytes, nonce: bytes, key: bytes) -> bytes:
        seals.note(key, nonce)
        return crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)

    # The one door to the cipher.
    with mock.patch.object(primitives, "crypto_aead_xchacha20poly1305_ietf_encrypt", noting):
        yield seals
