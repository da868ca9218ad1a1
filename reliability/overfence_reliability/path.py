"""One path to the peer, for as long as it lasts: how it behaves, and what its timers ask for."""

from __future__ import annotations

from collections import deque

from .liveness import Liveness
from .loss import LossRate, RoundTrip
from .pacing import (
    BURST_BYTES,
    COPY_AFTER_S,
    COPY_BURST_BYTES,
    COPY_RATE_BYTES_PER_S,
    PACE_GAIN,
    PACE_GRANULARITY_S,
    PACKET_COST_BYTES,
    Bucket,
    Window,
    copies_for,
)
from .streams import Fragment


class Path:
    """Begins with nothing known: no round trip, no loss, and nobody heard."""

    def __init__(self, *, now: float) -> None:
        self.trip = RoundTrip()
        self.loss = LossRate()
        self.window = Window()
        self.liveness = Liveness(now=now)
        # Heard: the peer said hello on this path, and meant us. Known: it acknowledged a hello that named it.
        self.is_heard = False
        self.is_known = False
        self.names_peer_from = 0
        self.probes = 0
        # Probes in a row that brought no acknowledgement, though the peer was heard since the one before.
        self.unheeded = 0
        self.is_heard_since_probe = False
        self.lost_at: float | None = None
        self._pace = Bucket(burst_bytes=BURST_BYTES)
        self._copying = Bucket(burst_bytes=COPY_BURST_BYTES)
        self._copies: deque[tuple[float, int, list[Fragment]]] = deque()

    # How fast.

    @property
    def _rate_bytes_per_s(self) -> float:
        return PACE_GAIN * self.window.size / max(self.trip.smoothed_s or 0.05, 0.0005)

    def may_leave(self, size_bytes: int, in_flight_bytes: int, *, now: float) -> bool:
        """Do window and pace allow another packet on the fast lane?"""
        self._pace.refill(self._rate_bytes_per_s, now=now)
        return in_flight_bytes + size_bytes <= self.window.size and self._pace.has(size_bytes)

    def pace_at(self, size_bytes: int, *, now: float) -> float:
        """When the pace allows one."""
        return now + max(self._pace.wait_s(size_bytes, self._rate_bytes_per_s), PACE_GRANULARITY_S)

    def left(self, size_bytes: int) -> None:
        """A packet left by the fast lane."""
        self._pace.take(size_bytes)

    # What is said twice.

    def copy_later(self, fragments: list[Fragment], *, now: float) -> None:
        """These left for the first time; if the path loses packets, a copy follows."""
        copies = copies_for(self.loss.share)
        if copies:
            self._copies.append((now + COPY_AFTER_S, copies, fragments))

    def copy_at(self) -> float | None:
        """When the next copy is due."""
        return self._copies[0][0] if self._copies else None

    def copy_now(self, *, now: float) -> list[Fragment] | None:
        """Fragments whose copy is due, unless they arrived or copies have cost enough; None when none is due."""
        if not self._copies or self._copies[0][0] > now:
            return None
        due_at, copies, fragments = self._copies.popleft()
        fragments = [fragment for fragment in fragments if not fragment.acked]
        if copies > 1 and fragments:
            # In step with those of other packets: nothing is due earlier than what is behind it.
            self._copies.append((max(due_at, now) + COPY_AFTER_S, copies - 1, fragments))
        size_bytes = sum(fragment.size for fragment in fragments) + (PACKET_COST_BYTES if fragments else 0)
        self._copying.refill(COPY_RATE_BYTES_PER_S, now=now)
        if not self._copying.has(size_bytes):
            return []
        self._copying.take(size_bytes)
        return fragments
