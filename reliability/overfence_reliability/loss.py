"""What the path is like, and when a packet counts as lost (RFC 9002 §5 and §6, with the constants of a chat)."""

from __future__ import annotations

# A later packet's acknowledgement says this much about reordering (RFC 9002 §6.1.1).
PACKET_THRESHOLD = 3
# … and so does time, as a share of the round trip (§6.1.2).
TIME_THRESHOLD = 9 / 8
# How long an acknowledgement may wait for a second packet, and what timers and schedulers add on a busy machine.
ACK_DELAY_S = 0.005
SLACK_S = 0.010
GRANULARITY_S = 0.001
FIRST_PROBE_S = 0.3
# Longer than a path may be silent: then it was a process that slept, and says nothing of the path.
SAMPLE_LIMIT_S = 3.0
# While a path is up, silence is asked after at least so often: a chat comes back at once with its path.
PROBE_LIMIT_S = 1.0
PROBE_BACKOFF = 1.5

# One outcome's weight in the two loss estimates: one that remembers a single loss for a hundred packets, and one that
# has seen within a dozen that a path has become bad.
LOSS_WEIGHTS = (1 / 64, 1 / 16)


class RoundTrip:
    """The smoothed round-trip time of one path, in seconds (RFC 9002 §5.3)."""

    def __init__(self) -> None:
        self.smoothed_s: float | None = None
        self.variation_s = 0.0
        self.latest_s = 0.0
        self._least_s = float("inf")

    def sample(self, measured_s: float, ack_delay_s: float) -> None:
        """A packet was acknowledged ``measured_s`` after it left; the peer held that back for ``ack_delay_s``."""
        if measured_s > SAMPLE_LIMIT_S:
            return
        self._least_s = min(self._least_s, measured_s)
        # Not below what was once seen, and no more than agreed: a peer can't talk our timers down or up.
        held_back_s = min(ack_delay_s, ACK_DELAY_S)
        adjusted_s = measured_s - held_back_s if measured_s - held_back_s >= self._least_s else measured_s
        self.latest_s = adjusted_s
        if self.smoothed_s is None:
            self.smoothed_s, self.variation_s = adjusted_s, adjusted_s / 2
        else:
            self.variation_s += (abs(self.smoothed_s - adjusted_s) - self.variation_s) / 4
            self.smoothed_s += (adjusted_s - self.smoothed_s) / 8

    @property
    def lost_after_s(self) -> float:
        """How much older than a later, acknowledged packet one must be to count as lost."""
        return max(TIME_THRESHOLD * max(self.smoothed_s or FIRST_PROBE_S, self.latest_s), GRANULARITY_S)

    def probe_after_s(self, probes: int) -> float:
        """How long to wait for an acknowledgement, after ``probes`` that stayed without one (§6.2)."""
        if self.smoothed_s is None:
            base_s = FIRST_PROBE_S
        else:
            base_s = self.smoothed_s + max(4 * self.variation_s, GRANULARITY_S) + ACK_DELAY_S + SLACK_S
        # The exponent is bounded because floats are.
        return min(base_s * PROBE_BACKOFF ** min(probes, 32), max(PROBE_LIMIT_S, base_s))


class LossRate:
    """The share of packets that get lost: over the last hundred or so, or over the last few where those fared worse."""

    def __init__(self) -> None:
        self._shares = [0.0] * len(LOSS_WEIGHTS)

    @property
    def share(self) -> float:
        """The worse of the two, between 0 and 1: what to be prepared for."""
        return max(self._shares)

    @property
    def average(self) -> float:
        """Over the last hundred or so, between 0 and 1."""
        return self._shares[0]

    def arrived(self) -> None:
        """One arrived."""
        self._shares = [share - share * weight for share, weight in zip(self._shares, LOSS_WEIGHTS, strict=True)]

    def lost(self) -> None:
        """One was lost."""
        self._shares = [share + (1 - share) * weight for share, weight in zip(self._shares, LOSS_WEIGHTS, strict=True)]

    def mistaken(self) -> None:
        """One that had counted as lost arrived after all."""
        self._shares = [max(0.0, share - weight) for share, weight in zip(self._shares, LOSS_WEIGHTS, strict=True)]
