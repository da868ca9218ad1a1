"""Homes whose every commit leaves a copy behind, and the world they stand in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from random import Random
from typing import NamedTuple, TypeVar
from unittest import mock

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt
from overfence.history.event import Event
from overfence.identity import H
from overfence.sealing import primitives

from ..peer.delivery.conftest import Box, Clock, Home, Node, World

T = TypeVar("T")
# Of all the commits of a story so many copies are kept, each commit as likely as any other.
COPIES = 16


class Copy(NamedTuple):
    """A database after one of its commits, and what had been shown of it by then."""

    database: bytes
    shown: tuple[tuple[int, Event], ...]


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
            self.copies[place : place + 1] = [Copy(self.tx.serialize(), tuple(self.shown))]
        return result

    def set_back(self, copy: Copy) -> None:
        """The disk is as it was; what was shown since is news again."""
        self.tx.close()
        self.tx = sqlite3.connect(":memory:", isolation_level=None)
        self.tx.deserialize(copy.database)
        self.restart()
        # Not cut to a length: after several such steps the screen of then is no beginning of that of now.
        self.shown = list(copy.shown)

    def shown_of(self, contact: int) -> list[Event]:
        """What appeared on the screen of one conversation, in order."""
        return [event for number, event in self.shown if number == contact]


class HostileWorld(World):
    """Ada and Bob, who both know Eve; and each other, or one has just accepted the other's invite."""

    ada: CopiedHome
    bob: CopiedHome
    eve: CopiedHome

    def __init__(self, seed: int, *, met: bool, begun: Begun | None = None) -> None:
        self.clock = Clock()
        self.node = Node(self.clock)
        names = ("Ada", "Bob", "Eve")
        self.ada, self.bob, self.eve = (CopiedHome(name, self.node, -1) for name in names)
        self.homes = [self.ada, self.bob, self.eve]
        if begun is None:
            self.meet(met=met)
        else:
            self.clock.now_s, self.node.boxes = begun.now_s, deepcopy(begun.boxes)
            for home, database in zip(self.homes, begun.databases, strict=True):
                home.tx.deserialize(database)
        for home in (self.ada, self.bob, self.eve):
            # From here on chance is the seed's own.
            home.seed, home.chance = seed, Random(f"{home.name} {seed}")  # noqa: S311 (a story that can be repeated)
            home.copies.clear()
            home.commits = 0

    def meet(self, *, met: bool) -> None:
        for host in (self.ada, self.bob):
            self.eve.accept(host.invite())
        if met:
            self.bob.accept(self.ada.invite())
        self.settle(rounds=4)
        if not met:
            self.bob.accept(self.ada.invite(life_s=30 * 86_400))

    def begun(self) -> Begun:
        """To begin others with."""
        return Begun([home.tx.serialize() for home in self.homes], deepcopy(self.node.boxes), self.clock.now_s)


class Begun(NamedTuple):
    """A world as it is when a story begins."""

    databases: list[bytes]
    boxes: dict[bytes, Box]
    now_s: int


@cache
def beginning(met: bool) -> Begun:
    """The same for all stories: it is what is done afterwards that differs."""
    return HostileWorld(-1, met=met).begun()


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
