"""Everything that comes from the peer: acknowledged, put in order, and bounded."""

from __future__ import annotations

from .errors import Rule, Violation
from .frame import Lane
from .pacing import Bucket
from .receiver import Arrivals, Arrived

# Packets that brought nothing: no data, no news of ours. A path may repeat or reorder those that did, and each of ours
# that asks may be answered late; past that and this rate they are a flood, which costs no memory, but others' time.
USELESS_PER_S = 250.0
USELESS_BURST = 2000.0
USELESS_FOR_USEFUL = 4
# At-most-once messages have no credit; past this they are dropped, as their promise allows.
NOW_PER_S = 1000.0
NOW_BURST = 1000.0


class Inbound:
    """What arrived from one peer process; a new process is a new one of these, in place."""

    def __init__(self, *, streams: int, window_bytes: int, window_all_bytes: int, message_limit_bytes: int) -> None:
        self._limits = (streams, window_bytes, window_all_bytes, message_limit_bytes)
        self._useless = Bucket(burst_bytes=USELESS_BURST)
        self._nows = Bucket(burst_bytes=NOW_BURST)
        self.begin_anew()

    def begin_anew(self) -> None:
        """The peer is another process, whose numbers start again."""
        streams, window_bytes, window_all_bytes, message_limit_bytes = self._limits
        self.arrived = {lane: Arrived(lane) for lane in Lane}
        self.arrivals = Arrivals(
            streams=streams,
            window_bytes=window_bytes,
            window_all_bytes=window_all_bytes,
            message_limit_bytes=message_limit_bytes,
        )

    def next_timer(self) -> float:
        """When an acknowledgement is due."""
        due = [arrived.due_at for arrived in self.arrived.values() if arrived.due_at is not None]
        return min(due, default=float("inf"))

    def is_due(self, *, now: float) -> bool:
        """Is one due by now?"""
        return self.next_timer() <= now

    def takes_now(self, *, now: float) -> bool:
        """Is there a place for one more message for the moment?"""
        self._nows.refill(NOW_PER_S, now=now)
        taken = self._nows.has(1)
        if taken:
            self._nows.take(1)
        return taken

    def asked(self) -> None:
        """A packet of ours asks for an acknowledgement, which may come late and bring nothing."""
        self._useless.give(1)

    def judge(self, *, useful: bool, now: float) -> None:
        """A packet came, and brought something or not. Raises `Violation` where there is no end to those that don't."""
        self._useless.refill(USELESS_PER_S, now=now)
        if useful:
            self._useless.give(USELESS_FOR_USEFUL)
            return
        if not self._useless.has(1):
            raise Violation(Rule.FLOOD, "packets without end that bring nothing")
        self._useless.take(1)
