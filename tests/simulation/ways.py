"""The paths between two people: each way a lossy one for the fast lane, a reliable and unordered one for bulk."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from .faults import Conditions, OneWay

if TYPE_CHECKING:
    from .person import Life

# How a reliable channel repeats what was lost: first after so long, then twice as long, up to the limit.
RETRY_S = 0.1
RETRY_LIMIT_S = 1.0


class ReliableWay:
    """What SCTP makes of a bad path: loss becomes delay, and only the path's death loses anything."""

    def __init__(self, conditions: Conditions, random: Random) -> None:
        self.conditions = conditions
        self.counts: Counter[str] = Counter()
        self._random = random
        self._line_free_at = 0.0
        self._held: list[bytes] | None = None
        # What has not arrived yet; the channel's queue, as its sender sees it.
        self.waiting_bytes = 0

    def carry(self, packet: bytes, *, now: float) -> float | None:
        """When it arrives; None while nothing passes: it waits for `heal`."""
        self.waiting_bytes += len(packet)
        if self._held is not None:
            self._held.append(packet)
            return None
        conditions = self.conditions
        rate = conditions.rate_bytes_per_s
        leaves_at = now
        if rate is not None:
            leaves_at = self._line_free_at = max(now, self._line_free_at) + len(packet) / rate
        chance = self._random.random
        retry_s = RETRY_S
        while chance() < min(conditions.loss, 0.9):
            self.counts["repeated"] += 1
            leaves_at += retry_s
            retry_s = min(2 * retry_s, RETRY_LIMIT_S)
        return leaves_at + conditions.delay_s + conditions.jitter_s * chance()

    def block(self) -> None:
        """Nothing passes from now on."""
        self._held = [] if self._held is None else self._held

    def heal(self, *, now: float) -> list[tuple[float, bytes]]:
        """What waited arrives as its sender's timer repeats it."""
        held, self._held = self._held or [], None
        arrivals = []
        for packet in held:
            self.waiting_bytes -= len(packet)
            at = self.carry(packet, now=now)
            if at is not None:
                arrivals.append((at + self._random.random() * RETRY_LIMIT_S, packet))
        return arrivals


class Link:
    """One path, from one life of a person to one life of the other, for as long as both think so."""

    def __init__(self, lives: tuple[Life, Life], conditions: tuple[Conditions, Conditions], random: Random) -> None:
        self.lives = lives
        # Nothing that is put in comes out, whether or not anybody has noticed.
        self.is_dead = False
        self.fast = tuple(OneWay(one, Random(random.random())) for one in conditions)  # noqa: S311 (a story, no secret)
        self.bulk = tuple(ReliableWay(one, Random(random.random())) for one in conditions)  # noqa: S311
        # Bulk packets for an end that doesn't know yet that the path is there.
        self.early: tuple[list[bytes], list[bytes]] = ([], [])

    def block(self, who: int) -> None:
        """What that person sends doesn't get through."""
        self.fast[who].blocked = True
        self.bulk[who].block()

    def heal(self, who: int, *, now: float) -> list[tuple[float, bytes]]:
        """It does again; bulk packets that waited, and when they arrive."""
        self.fast[who].blocked = False
        return self.bulk[who].heal(now=now)
