"""Sets of packet numbers as ranges (RFC 9000 §13.2.3), and the window that knows a repeated one (RFC 4303 §3.4.3)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

# Ranges told in one acknowledgement. A peer that skips every second number makes us forget old ranges, which
# costs it a retransmission, never us memory.
RANGES_LIMIT = 32
# How far behind the newest packet a late one is still taken. Older ones are dropped, and come again.
REPLAY_WINDOW = 4096


class Ranges:
    """Numbers as disjoint, ascending, inclusive ranges; of too many, the lowest are forgotten."""

    __slots__ = ("_firsts", "_lasts", "_limit")

    def __init__(self, limit: int = RANGES_LIMIT) -> None:
        self._limit = limit
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        return len(self._firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    @property
    def largest(self) -> int:
        """The highest number held. Raises `IndexError` when there is none."""
        return self._lasts[-1]

    def add(self, number: int) -> None:
        """Hold ``number`` as well."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and number == lasts[-1] + 1:  # nearly always
            lasts[-1] = number
            return
        at = bisect_right(firsts, number)
        if at and number <= lasts[at - 1]:
            return
        joins_below = at > 0 and lasts[at - 1] + 1 == number
        joins_above = at < len(firsts) and firsts[at] == number + 1
        if joins_below and joins_above:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif joins_below:
            lasts[at - 1] = number
        elif joins_above:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
            if len(firsts) > self._limit:
                del firsts[0], lasts[0]

    def discard(self, first: int, last: int) -> None:
        """Hold none of ``first`` to ``last`` any more."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_left(lasts, first)
        while at < len(firsts) and firsts[at] <= last:
            low, high = firsts[at], lasts[at]
            if low < first and high > last:
                lasts[at] = first - 1
                firsts.insert(at + 1, last + 1)
                lasts.insert(at + 1, high)
                return
            if low < first:
                lasts[at] = first - 1
                at += 1
            elif high > last:
                firsts[at] = last + 1
                return
            else:
                del firsts[at], lasts[at]

    def descending(self) -> tuple[tuple[int, int], ...]:
        """``(first, last)`` of each range, the highest first."""
        return tuple(zip(reversed(self._firsts), reversed(self._lasts), strict=True))


class ReplayWindow:
    """Tells a packet number seen before from a new one, in constant memory."""

    __slots__ = ("_bits", "largest")

    def __init__(self) -> None:
        self.largest = -1
        self._bits = 0

    def take(self, number: int) -> bool:
        """True the first time ``number`` is seen; False if it was, or may have been."""
        ahead = number - self.largest
        if ahead > 0:
            self._bits = ((self._bits << ahead) | 1) & _MASK if ahead < REPLAY_WINDOW else 1
            self.largest = number
            return True
        if -ahead >= REPLAY_WINDOW or self._bits >> -ahead & 1:
            return False
        self._bits |= 1 << -ahead
        return True


_MASK = (1 << REPLAY_WINDOW) - 1
