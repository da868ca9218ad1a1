"""What a path does to packets, pure and seeded: the simulator and the link emulator both put theirs through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Arrival = tuple[float, bytes]

MOST_FLIPPED_BITS = 8


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How one direction of a path treats what is put in. Probabilities are shares of packets, each drawn by itself."""

    delay_s: float = 0.0
    # Up to so much more, without overtaking: only `reorder` changes the order.
    jitter_s: float = 0.0
    loss: float = 0.0
    # Nothing passes for a while: the mean time between two outages (exponential; 0: none), and how long one lasts.
    outage_every_s: float = 0.0
    outage_s: tuple[float, float] = (0.03, 0.12)
    # The second copy comes up to `reorder_s` after the first.
    duplicate: float = 0.0
    # Held back by up to `reorder_s`, while others pass.
    reorder: float = 0.0
    reorder_s: float = 0.02
    corrupt: float = 0.0
    truncate: float = 0.0
    # None: no limit. What waits for its turn is at most `queue_bytes`; past that, what comes is dropped.
    rate_bytes_per_s: float | None = None
    queue_bytes: int = 256 * 1024


def nothing_spared(packet: bytes) -> int:
    """All of it may be damaged."""
    return 0


class Outages:
    """When nothing passes: outages one after another, asked about with instants that never go back."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._drawn_for: tuple[float, tuple[float, float]] | None = None
        self._from_at = self._until_at = 0.0

    def cover(self, at: float, conditions: Conditions) -> bool:
        """Whether one lies over this instant."""
        if conditions.outage_every_s <= 0:
            self._drawn_for = None
            return False
        wanted = (conditions.outage_every_s, conditions.outage_s)
        if wanted != self._drawn_for:
            self._drawn_for, self._until_at = wanted, at
            self._draw(conditions)
        while at >= self._until_at:
            self._draw(conditions)
        return at >= self._from_at

    def _draw(self, conditions: Conditions) -> None:
        self._from_at = self._until_at + self._random.expovariate(1 / conditions.outage_every_s)
        # An outage of no length would let the search for the next one stand still.
        self._until_at = self._from_at + max(self._random.uniform(*conditions.outage_s), 1e-6)


class OneWay:
    """One direction of a path: what is put in comes out late, damaged, twice, or not at all.

    The same seed, conditions and packets give the same arrivals. `conditions` and `blocked` may change at any time;
    what is under way already arrives as it was going to.
    `counts`: each packet put in is one of "carried" (arrives once at least), "blocked", "queue", "outage" and "lost";
    what befell the carried is in "duplicated", "reordered", "corrupted" and "truncated".
    """

    def __init__(
        self, conditions: Conditions, random: Random, *, spared_bytes: Callable[[bytes], int] = nothing_spared
    ) -> None:
        """``spared_bytes`` tells how much of a packet's beginning (its headers) damage must leave alone."""
        self.conditions = conditions
        self.blocked = False
        self.counts: Counter[str] = Counter()
        self._random = random
        self._spared_bytes = spared_bytes
        self._outages = Outages(random)
        self._line_free_at = 0.0
        self._last_in_order_at = 0.0

    def carry(self, packet: bytes, *, now: float) -> list[Arrival]:
        """What comes out at the other end, and when: instants on the clock of ``now``, which never goes back."""
        conditions, chance = self.conditions, self._random.random
        leaves_at = None if self.blocked else self._through_queue(len(packet), now)
        if leaves_at is None:
            self.counts["blocked" if self.blocked else "queue"] += 1
            return []
        if self._outages.cover(leaves_at, conditions):
            self.counts["outage"] += 1
            return []
        if chance() < conditions.loss:
            self.counts["lost"] += 1
            return []
        self.counts["carried"] += 1
        arrives_at = leaves_at + conditions.delay_s + conditions.jitter_s * chance()
        arrives_at = max(arrives_at, self._last_in_order_at)
        if chance() < conditions.reorder:
            self.counts["reordered"] += 1
            arrives_at += conditions.reorder_s * chance()
        else:
            self._last_in_order_at = arrives_at
        arrivals = [(arrives_at, self._damaged(packet))]
        if chance() < conditions.duplicate:
            self.counts["duplicated"] += 1
            arrivals.append((arrives_at + conditions.reorder_s * chance(), self._damaged(packet)))
        return arrivals

    def _through_queue(self, size_bytes: int, now: float) -> float | None:
        """When it has been put on the line; None where the queue had no room."""
        rate = self.conditions.rate_bytes_per_s
        if rate is None:
            return now
        waiting_s = max(0.0, self._line_free_at - now)
        if waiting_s * rate + size_bytes > self.conditions.queue_bytes:
            return None
        self._line_free_at = now + waiting_s + size_bytes / rate
        return self._line_free_at

    def _damaged(self, packet: bytes) -> bytes:
        spared = self._spared_bytes(packet)
        if len(packet) > spared and self._random.random() < self.conditions.truncate:
            self.counts["truncated"] += 1
            packet = packet[: self._random.randrange(spared, len(packet))]
        if len(packet) > spared and self._random.random() < self.conditions.corrupt:
            self.counts["corrupted"] += 1
            packet = self._flipped(packet, spared)
        return packet

    def _flipped(self, packet: bytes, spared: int) -> bytes:
        bits = range(8 * spared, 8 * len(packet))
        flipped = bytearray(packet)
        for bit in self._random.sample(bits, self._random.randint(1, MOST_FLIPPED_BITS)):
            flipped[bit // 8] ^= 1 << bit % 8
        return bytes(flipped)
