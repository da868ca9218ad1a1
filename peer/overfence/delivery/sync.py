"""What one device still lacks of the logs it is supplied with, and when to offer it again (§6.4). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from overfence_reliability import Run

# Sealed messages with events that may run ahead of the last confirmation (§3): bounds the keys a peer must skip
# over and the envelopes we keep, however long it is away.
AHEAD_LIMIT_MESSAGES = 1000
# On a link, what is not confirmed by then is offered again: a reliable channel is not a promise.
OFFER_AGAIN_S = 10.0


class LogKey(NamedTuple):
    """A log: its conversation, the device that writes it, its name."""

    conv: bytes
    device: bytes
    log: bytes


class Progress:
    """One log, as far as one device is known to hold it, and what is on its way there.

    Nothing is sent twice on one path unless it stays unconfirmed for `OFFER_AGAIN_S`; nothing confirmed is sent.
    """

    def __init__(self, held: Run, *, on_the_way: Iterable[int] = ()) -> None:
        """``on_the_way``: the last number of each sealed message that waits for the device in a mailbox."""
        self.held = held
        # The last number of each message sealed and not confirmed.
        self._ahead = deque(sorted(last for last in on_the_way if last > held.end))
        self._sent = self._ahead[-1] if self._ahead else held.end
        self._offer_again_at: float | None = None

    @property
    def ahead(self) -> int:
        """How many messages were sealed that it has not confirmed."""
        return len(self._ahead)

    @property
    def sent(self) -> int:
        """The highest number confirmed or on its way."""
        return self._sent

    def lacks(self, end: int) -> tuple[int, int] | None:
        """The next numbers to send of a log that ends at ``end``: inclusive, or None for nothing (now)."""
        if len(self._ahead) >= AHEAD_LIMIT_MESSAGES:
            return None
        for first, last in self.held.gaps(end):
            if last > self._sent:
                return max(first, self._sent + 1), last
        return None

    def send(self, last: int, *, now: float, again: bool) -> None:
        """Numbers up to ``last`` are on their way; ``again``: by a path that may need to offer them again."""
        self._sent = max(self._sent, last)
        self._ahead.append(last)
        if again and self._offer_again_at is None:
            self._offer_again_at = now + OFFER_AGAIN_S

    def told(self, run: Run, *, now: float) -> bool:
        """The device says what it holds; True if that is more than was known."""
        advanced = run.end > self.held.end
        self.held = self.held.taught(run)
        self._sent = max(self._sent, self.held.end)
        while self._ahead and self._ahead[0] <= self.held.end:
            self._ahead.popleft()
        if self.held.end >= self._sent:
            self._offer_again_at = None
        elif advanced and self._offer_again_at is not None:
            self._offer_again_at = now + OFFER_AGAIN_S
        return advanced

    def lost_path(self) -> None:
        """What was on its way is lost, or is to be sent again by another."""
        self._sent = self.held.end
        self._ahead.clear()
        self._offer_again_at = None

    def next_timer(self) -> float | None:
        """When `poll` has something to do, in monotonic seconds."""
        return self._offer_again_at

    def poll(self, *, now: float) -> bool:
        """True when what is unconfirmed must be offered again."""
        if self._offer_again_at is None or now < self._offer_again_at:
            return False
        self.lost_path()
        return True


class Supply:
    """Every log that one device is supplied with: my account's in a conversation, or all of them for a sibling.

    Together they keep `AHEAD_LIMIT_MESSAGES`: whichever log a message is of, its number is the session's.
    """

    def __init__(self, logs: Mapping[LogKey, Progress]) -> None:
        self._logs = dict(logs)

    def held(self, key: LogKey) -> Run:
        """As far as the device is known to hold a log."""
        return self._logs[key].held if key in self._logs else Run()

    def lacks(self, ends: Iterable[tuple[LogKey, int]]) -> tuple[LogKey, int, int] | None:
        """The next numbers to send, inclusive, of logs that end so, in that order; None for nothing (now)."""
        if sum(progress.ahead for progress in self._logs.values()) >= AHEAD_LIMIT_MESSAGES:
            return None
        for key, end in ends:
            if (lacking := self._of(key).lacks(end)) is not None:
                return key, *lacking
        return None

    def send(self, key: LogKey, last: int, *, now: float, again: bool) -> None:
        """As `Progress.send`."""
        self._of(key).send(last, now=now, again=again)

    def told(self, key: LogKey, run: Run, *, now: float) -> bool:
        """As `Progress.told`."""
        return self._of(key).told(run, now=now)

    def lost_path(self) -> None:
        """What was on its way is lost, or is to be sent again by another."""
        for progress in self._logs.values():
            progress.lost_path()

    def next_timer(self) -> float | None:
        """When `poll` has something to do, in monotonic seconds."""
        timers = [progress.next_timer() for progress in self._logs.values()]
        return min((at for at in timers if at is not None), default=None)

    def poll(self, *, now: float) -> bool:
        """True when something unconfirmed must be offered again."""
        return any([progress.poll(now=now) for progress in self._logs.values()])

    def _of(self, key: LogKey) -> Progress:
        return self._logs.setdefault(key, Progress(Run()))
