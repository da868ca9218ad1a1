"""Many stories, on as many processes: what struck, what broke, and how long it took."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from overfence_reliability import Connection

from .person import Broken
from .story import Story, draw
from .world import MakeConnection, World

# Seeds a process takes at a time: large enough to be cheap, small enough that all finish together.
BATCH = 10
# Failures after which going on teaches nothing.
FAILURES_LIMIT = 5


@dataclass
class Result:
    """Of some seeds together."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Both together."""
        self.seeds += other.seeds
        self.counts.update(other.counts)
        self.failures += other.failures


@dataclass(frozen=True)
class Ran:
    """One story's run; ``broken`` is None where every promise held."""

    digest: str
    counts: Counter[str]
    broken: Broken | None
    lines: list[str]
    moved_after_s: list[float]


def run(story: Story, make: MakeConnection = Connection, *, keeps_lines: bool = False) -> Ran:
    """Run it once. Whatever the connection raises counts as a broken promise."""
    world = World(story, make, keeps_lines=keeps_lines)
    broken: Broken | None = None
    try:
        world.run()
    except Broken as one:
        broken = one
    except Exception as error:
        broken = Broken(f"raised {type(error).__name__}", repr(error))
        broken.__cause__ = error
    return Ran(world.trace.digest, world.totals(), broken, world.trace.lines, world.moved_after_s)


def run_seeds(task: tuple[int, int, int]) -> Result:
    """Seeds ``first`` up to ``end``, each with so many messages."""
    first, end, messages = task
    result = Result()
    for seed in range(first, end):
        ran = run(draw(seed, messages))
        result.seeds += 1
        result.counts.update(ran.counts)
        if ran.broken is not None:
            result.failures.append((seed, str(ran.broken)))
    return result


def campaign(
    seeds: int, *, messages: int, first: int = 0, jobs: int = 2, told: Callable[[Result], None] = lambda _: None
) -> tuple[Result, float]:
    """All of them, and the seconds it took; stops early once enough have failed."""
    began_at = time.monotonic()
    end = first + seeds
    tasks = [(at, min(at + BATCH, end), messages) for at in range(first, end, BATCH)]
    total = Result()
    for result in _results(tasks, jobs):
        total.add(result)
        told(total)
        if len(total.failures) >= FAILURES_LIMIT:
            break
    return total, time.monotonic() - began_at


def _results(tasks: Iterable[tuple[int, int, int]], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(run_seeds, tasks)
        return
    # Spawned, not forked: the processes of a test run have threads.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seeds, tasks)
