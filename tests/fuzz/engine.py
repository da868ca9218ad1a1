"""A small fuzzer: mutates what already reached new code, and says what failed. Standard library only.

Every fourth execution is traced line by line through our packages; an input that reaches a new step from one line
to the next becomes a parent of others.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import CodeType, FrameType
from typing import Any

# Nothing that reads a packet may take longer than this; a loop without end takes for ever.
HANG_S = 5.0
TRACE_EVERY = 4
PARENTS_LIMIT = 2000
INTERESTING = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 1023, 1024, 1090, 1091, 65_535, 65_536)
WATCHED = ("overfence", "aiortc/rtcsctptransport")

Target = Callable[[bytes], None]
Tracer = Callable[[FrameType, str, object], Any]


class Hang(Exception):
    """One input took longer than it may, in processor time."""


@dataclass(frozen=True)
class Finding:
    """The input, and what it did."""

    data: bytes
    error: BaseException


@dataclass
class Result:
    """How long a target was tried, how far that came, and what went wrong."""

    executions: int = 0
    seconds: float = 0.0
    steps: int = 0
    parents: list[bytes] = field(default_factory=list)
    finding: Finding | None = None


class Coverage:
    """Steps from line to line that were ever taken."""

    def __init__(self) -> None:
        self.steps: set[tuple[CodeType, int, int]] = set()
        self._watched: dict[CodeType, bool] = {}

    def run(self, target: Target, data: bytes) -> bool:
        """Run it; True if it took a step never taken before."""
        before = len(self.steps)
        outer = sys.gettrace()
        sys.settrace(self._enter)
        try:
            target(data)
        finally:
            sys.settrace(outer)
        return len(self.steps) > before

    def _enter(self, frame: FrameType, event: str, _argument: object) -> Tracer | None:
        code = frame.f_code
        watched = self._watched.get(code)
        if watched is None:
            watched = self._watched[code] = any(each in code.co_filename for each in WATCHED)
        if not watched:
            return None
        last = 0

        def step(inner: FrameType, event: str, _argument: object) -> Tracer:
            nonlocal last
            if event == "line":
                self.steps.add((code, last, inner.f_lineno))
                last = inner.f_lineno
            return step

        return step


class Mutator:
    """Changes to bytes that parsers are known to stumble over."""

    def __init__(self, random: Random, words: tuple[bytes, ...], limit_bytes: int) -> None:
        self._random = random
        self._words = words
        self._limit_bytes = limit_bytes
        self._ways = (self._flip, self._byte, self._number, self._cut, self._double, self._insert, self._word)

    def change(self, parent: bytes, other: bytes) -> bytes:
        """A child of two parents."""
        random = self._random
        data = bytearray(parent)
        if random.random() < 0.15 and other:
            at = random.randrange(len(data) + 1)
            data[at:] = other[random.randrange(len(other)) :]
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
            random.choice(self._ways)(data)
        return bytes(data[: self._limit_bytes])

    def _at(self, data: bytearray) -> int:
        return self._random.randrange(len(data)) if data else 0

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << self._random.randrange(8)

    def _byte(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] = self._random.randrange(256)

    def _number(self, data: bytearray) -> None:
        size = self._random.choice((1, 2, 4, 8))
        value = self._random.choice(INTERESTING) + self._random.choice((-1, 0, 0, 1))
        if self._random.random() < 0.2:
            value = -value
        at = self._at(data)
        data[at : at + size] = (value % 256**size).to_bytes(size, self._random.choice(("big", "big", "little")))

    def _cut(self, data: bytearray) -> None:
        at = self._at(data)
        end = len(data) if self._random.random() < 0.3 else at + self._random.choice((1, 2, 4, 8, 32))
        del data[at:end]

    def _double(self, data: bytearray) -> None:
        at = self._at(data)
        part = data[at : at + self._random.choice((1, 2, 4, 16, 64))]
        data[self._at(data) : 0] = part * self._random.choice((1, 1, 2, 20))

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._random.randbytes(self._random.choice((1, 2, 4, 8)))

    def _word(self, data: bytearray) -> None:
        if self._words:
            at = self._at(data)
            word = self._random.choice(self._words)
            data[at : at + self._random.choice((0, len(word)))] = word


@contextmanager
def hangs_end() -> Iterator[None]:
    """While the timer runs that `fuzz` sets anew for each input, its end raises `Hang`."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hang("one input, and no end")

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(
    target: Target,
    corpus: list[bytes],
    *,
    seconds: float,
    seed: int,
    words: tuple[bytes, ...] = (),
    limit: int = 4096,
    hang_s: float = HANG_S,
) -> Result:
    """Run ``target`` on the corpus, then on children of it, until the time is over or something is raised."""
    random = Random(seed)  # noqa: S311 (a run that can be repeated)
    mutator, coverage, result = Mutator(random, words, limit), Coverage(), Result()
    parents = [b"", *corpus]
    begin_at = time.monotonic()
    with hangs_end():
        while result.finding is None:
            result.seconds = time.monotonic() - begin_at
            at = result.executions
            if at >= len(corpus) and result.seconds >= seconds:
                break
            # The last found are the least tried.
            parent = parents[max(random.randrange(len(parents)), random.randrange(len(parents)))]
            data = corpus[at] if at < len(corpus) else mutator.change(parent, random.choice(parents))
            signal.setitimer(signal.ITIMER_VIRTUAL, hang_s)
            try:
                if at >= len(corpus) and at % TRACE_EVERY:
                    target(data)
                elif coverage.run(target, data) and len(parents) < PARENTS_LIMIT:
                    parents.append(data)
            except Exception as error:
                result.finding = Finding(shortened(target, data, error), error)
            result.executions += 1
    result.steps, result.parents = len(coverage.steps), parents
    return result


def shortened(target: Target, data: bytes, error: BaseException, *, tries: int = 400) -> bytes:
    """The shortest part of ``data`` found that fails in the same way."""
    size = len(data) // 2
    while size and tries and not isinstance(error, Hang):
        for at in range(0, len(data), size):
            tries -= 1
            shorter = data[:at] + data[at + size :]
            try:
                target(shorter)
            except Exception as again:
                if type(again) is type(error):
                    data = shorter
                    break
            if not tries:
                break
        else:
            size //= 2
    return data
