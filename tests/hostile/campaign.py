"""Many stories, on as many processes: what was done, which bytes were damaged, and what broke."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from .home import HostileWorld, beginning, watched
from .hostility import Hostility
from .promises import Broken
from .story import Story, draw

# Seeds a process takes at a time: large enough to be cheap, small enough that all finish together.
BATCH = 10
# Failures after which going on teaches nothing.
FAILURES_LIMIT = 5


@dataclass
class Result:
    """Of some seeds together; ``flipped``: which offsets of each shape were damaged, ``sizes``: its smallest size."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    flipped: set[tuple[str, int]] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Both together."""
        self.seeds += other.seeds
        self.counts.update(other.counts)
        self.flipped |= other.flipped
        for shape, size in other.sizes.items():
            self.sizes[shape] = min(size, self.sizes.get(shape, size))
        self.failures += other.failures

    def untouched(self) -> dict[str, int]:
        """Of each shape, how many byte positions that every one of it has were never damaged."""
        return {shape: sum((shape, at) not in self.flipped for at in range(size)) for shape, size in self.sizes.items()}


def run(story: Story) -> Result:
    """Play it once, calm down, and hold the end against the promises."""
    with watched() as seals:
        world = HostileWorld(story.seed, met=story.met, begun=beginning(story.met))
        hostility = Hostility(world, story.seed)
        broken = _broken(hostility, story)
        if broken is None and seals.repeated:
            broken = f"{seals.repeated} pairs of key and nonce were used twice"
    counts = hostility.counts + Counter(
        {
            "sealed": seals.count,
            "commits": world.ada.commits + world.bob.commits,
            "said": hostility.promises.said,
            "ended apart": hostility.promises.apart,
        }
    )
    failures = [] if broken is None else [(story.seed, broken)]
    return Result(1, counts, hostility.flipped, hostility.sizes, failures)


def _broken(hostility: Hostility, story: Story) -> str | None:
    try:
        for move in story.moves:
            hostility.play(move)
        hostility.cut()
        hostility.promises.calm()
        hostility.promises.check_end()
    except Broken as error:
        return str(error)
    except Exception as error:
        # A crash of the product is a broken promise too; what it was is told, and the seed repeats it.
        return f"raised {error!r}"
    return None


def shrink(story: Story) -> Story:
    """Fewer moves with the same outcome: longer and shorter stretches are left out as long as that lasts."""
    [(_, wanted)] = run(story).failures
    length = len(story.moves) // 2
    while length:
        at = 0
        while at < len(story.moves):
            fewer = replace(story, moves=story.moves[:at] + story.moves[at + length :])
            if any(found == wanted for _, found in run(fewer).failures):
                story = fewer
            else:
                at += length
        length //= 2
    return story


def account(story: Story) -> str:
    """The moves, to be read and to be pasted into a test."""
    return "\n".join(f"    Move(Kind.{move.kind.name}, {move.who}, {move.size})," for move in story.moves)


def run_seeds(task: tuple[int, int, bool]) -> Result:
    """Seeds ``first`` up to ``end``."""
    first, end, rollbacks = task
    total = Result()
    for seed in range(first, end):
        total.add(run(draw(seed, rollbacks=rollbacks)))
    return total


def campaign(
    seeds: int,
    *,
    rollbacks: bool,
    first: int = 0,
    processes: int = 2,
    told: Callable[[Result], None] = lambda _: None,
) -> tuple[Result, float]:
    """All of them, and the seconds it took; stops early once enough have failed."""
    began_at = time.monotonic()
    end = first + seeds
    tasks = [(at, min(at + BATCH, end), rollbacks) for at in range(first, end, BATCH)]
    total = Result()
    for result in _results(tasks, processes):
        total.add(result)
        told(total)
        if len(total.failures) >= FAILURES_LIMIT:
            break
    return total, time.monotonic() - began_at


def _results(tasks: Iterable[tuple[int, int, bool]], processes: int) -> Iterator[Result]:
    if processes == 1:
        yield from map(run_seeds, tasks)
        return
    # Spawned, not forked: the processes of a test run have threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(run_seeds, tasks)
