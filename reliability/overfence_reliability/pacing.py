"""How much may be on its way at a time, how fast it leaves, and what may be sent twice (RFC 9002 §7, RFC 8085 §3.1)."""

from __future__ import annotations

from .frame import PACKET_LIMIT_BYTES

# About what any path is trusted with at first (RFC 6928: ten packets of 1,460 bytes); a chat under random loss must not
# fall far below that, so only a path that loses everything for a while gets less.
FIRST_WINDOW_BYTES = 14 * PACKET_LIMIT_BYTES
LEAST_WINDOW_BYTES = 10 * PACKET_LIMIT_BYTES
COLLAPSED_WINDOW_BYTES = 2 * PACKET_LIMIT_BYTES
# Chat needs no more; files have the other lane, whose congestion control is SCTP's.
WINDOW_LIMIT_BYTES = 128 * 1024
LOSS_FACTOR = 0.7
# After so many probes without an answer the path is congested, or gone.
COLLAPSE_AFTER_PROBES = 3

BURST_BYTES = 16 * PACKET_LIMIT_BYTES
PACE_GAIN = 2.0
# No timer asks for less: a wait that rounding swallows would be due for ever.
PACE_GRANULARITY_S = 1e-4

# A second copy a few milliseconds later costs bytes, not a round trip; a short outage mostly spares one of them.
COPY_AFTER_S = 0.012
# So many copies, each as much later, that fewer than one message in a hundred needs a retransmission.
COPIES_ABOVE_LOSS = (0.0025, 0.08, 0.16)
# What copies may cost. It bounds what we add to a line that is losing packets because it is full.
COPY_RATE_BYTES_PER_S = 32 * 1024.0
COPY_BURST_BYTES = 16 * 1024.0
# What a packet costs beside what it carries, on a path that is not ours alone: all the headers below us.
PACKET_COST_BYTES = 128


class Window:
    """Bytes that may be unacknowledged on the fast lane."""

    def __init__(self) -> None:
        self.size = float(FIRST_WINDOW_BYTES)
        self._slow_start = True
        self._recovering_until = -1

    def acknowledged(self, size_bytes: int, *, was_full: bool) -> None:
        """So much arrived; the window grows only if it was what held us back."""
        if not was_full:
            return
        self.size += size_bytes if self._slow_start else PACKET_LIMIT_BYTES * size_bytes / self.size
        self.size = min(self.size, WINDOW_LIMIT_BYTES)

    def lost(self, number: int, next_number: int) -> None:
        """Packet ``number`` was lost: smaller, once a round trip."""
        if number > self._recovering_until:
            self._recovering_until = next_number - 1
            self._slow_start = False
            self.size = min(self.size, max(self.size * LOSS_FACTOR, float(LEAST_WINDOW_BYTES)))

    def probed(self, probes: int) -> None:
        """So many probes in a row got no answer."""
        if probes >= COLLAPSE_AFTER_PROBES:
            self.size = float(COLLAPSED_WINDOW_BYTES)
            self._slow_start = True


class Bucket:
    """Bytes that may leave now: they gather at a rate, up to a burst."""

    def __init__(self, *, burst_bytes: float) -> None:
        self._burst_bytes = burst_bytes
        self._bytes = burst_bytes
        self._at: float | None = None

    def refill(self, rate_bytes_per_s: float, *, now: float) -> None:
        """Time has passed."""
        if self._at is not None and now > self._at:
            self._bytes = min(self._burst_bytes, self._bytes + (now - self._at) * rate_bytes_per_s)
        self._at = now

    def has(self, size_bytes: int) -> bool:
        """Is there enough?"""
        return self._bytes >= size_bytes

    def take(self, size_bytes: int) -> None:
        """So much has left."""
        self._bytes -= size_bytes

    def give(self, size_bytes: int) -> None:
        """So much more may leave."""
        self._bytes = min(self._burst_bytes, self._bytes + size_bytes)

    def wait_s(self, size_bytes: int, rate_bytes_per_s: float) -> float:
        """How long until there is enough."""
        return max(0.0, (size_bytes - self._bytes) / rate_bytes_per_s)


def copies_for(loss: float) -> int:
    """How many extra copies of a chat frame a path with that share of lost packets deserves."""
    return sum(loss > share for share in COPIES_ABOVE_LOSS)
