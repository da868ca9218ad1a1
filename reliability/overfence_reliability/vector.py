"""Have-vectors: what a device holds of each numbered log, and what it therefore lacks (docs/protocol.md §6).

A log is numbered 1, 2, 3 … by its one author. A `Run` says how much of it somebody holds; a have-vector
maps each log to its run. Nothing here knows what a log entry is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .errors import ReliabilityError

# Ranges above a gap that one run may name. More would let a peer make us hoard ever more of them.
RANGES_LIMIT = 32


class BadRun(ReliabilityError):
    """A run that contradicts itself; it came from outside, and nothing of it was taken over."""


@dataclass(frozen=True, slots=True)
class Run:
    """Entries 1 to ``end`` of a log are held and chained, and ``tip`` identifies the last of them.

    ``above`` are inclusive ranges beyond the first gap: held, but not yet confirmed by a chain from 1.
    """

    end: int = 0
    tip: bytes = b""
    above: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.end < 0 or len(self.above) > RANGES_LIMIT:
            raise BadRun(f"end {self.end}, {len(self.above)} ranges of at most {RANGES_LIMIT}")
        lowest = self.end + 2
        for first, last in self.above:
            if first < lowest or last < first:
                raise BadRun(f"range {first} to {last} where one may start at {lowest}")
            lowest = last + 2

    def holds(self, seq: int) -> bool:
        """Is entry ``seq`` held, confirmed or not?"""
        return 1 <= seq <= self.end or any(first <= seq <= last for first, last in self.above)

    def gaps(self, end: int) -> Iterator[tuple[int, int]]:
        """Inclusive ranges of 1 to ``end`` that are not held, lowest first."""
        first = self.end + 1
        for low, high in self.above:
            if low > end:
                break
            yield first, low - 1
            first = high + 1
        if first <= end:
            yield first, end

    def taught(self, other: Run) -> Run:
        """What is known after ``other`` was told too: an end never goes back."""
        return other if other.end >= self.end else replace(self, above=())


HaveVector = Mapping[bytes, Run]


def ranges(numbers: Iterator[int] | list[int], limit: int = RANGES_LIMIT) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as inclusive ranges, the lowest ``limit`` of them."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        elif len(found) == limit:
            break
        else:
            found.append((number, number))
    return tuple(found)
