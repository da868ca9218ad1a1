"""The shortest story that still breaks the same promise: fewer messages, fewer faults, better paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from overfence_reliability import Config, Connection

from .campaign import run
from .faults import Conditions
from .person import Broken
from .story import Role, Story
from .world import MakeConnection

BUDGET_S = 60.0
NOTHING = Conditions()


def shrink(story: Story, make: MakeConnection = Connection, *, budget_s: float = BUDGET_S) -> Story:
    """Greedy: each change that leaves the same rule broken is kept. A story that breaks nothing comes back as it is."""
    broken = run(story, make).broken
    if broken is None:
        return story
    ends_at = time.monotonic() + budget_s
    rule = broken.rule

    def still_breaks(one: Story) -> bool:
        again = run(one, make).broken
        return again is not None and again.rule == rule

    best = story
    changed = True
    while changed and time.monotonic() < ends_at:
        changed = False
        for step in (_fewer_says, _fewer_faults, _better_paths, _plainer, _smaller):
            best, better = _take(best, step, still_breaks, ends_at)
            changed = changed or better
    return best


def _take(
    story: Story,
    step: Callable[[Story], Iterator[Story]],
    still_breaks: Callable[[Story], bool],
    ends_at: float,
) -> tuple[Story, bool]:
    """Try that step's changes, from the story that the last good one left, until none helps."""
    better = False
    going = True
    while going:
        going = False
        for candidate in step(story):
            if time.monotonic() >= ends_at:
                return story, better
            if still_breaks(candidate):
                story, better, going = candidate, True, True
                break
    return story, better


def _fewer_says(story: Story) -> Iterator[Story]:
    says = story.says
    part = max(1, len(says) // 2)
    while part and says:
        for at in range(0, len(says), part):
            yield replace(story, says=says[:at] + says[at + part :])
        part //= 2


def _fewer_faults(story: Story) -> Iterator[Story]:
    faults = story.faults
    for at in range(len(faults)):
        yield replace(story, faults=faults[:at] + faults[at + 1 :])
    for at, fault in enumerate(faults):
        if fault.for_s > 0.1:
            yield replace(story, faults=(*faults[:at], replace(fault, for_s=fault.for_s / 2), *faults[at + 1 :]))


def _better_paths(story: Story) -> Iterator[Story]:
    for who in (0, 1):
        for name, value in vars(NOTHING).items():
            if getattr(story.conditions[who], name) != value:
                better = replace(story.conditions[who], **{name: value})
                first, second = (better if who == one else story.conditions[one] for one in (0, 1))
                yield replace(story, conditions=(first, second))


def _plainer(story: Story) -> Iterator[Story]:
    plain: tuple[dict[str, object], ...] = (
        {"tick_s": 0.0},
        {"clocks_s": (0.0, 0.0)},
        {"configs": (Config(), Config())},
        {"chats": 1},
        {"pieces": 1},
        {"is_naked": False},
        {"redials": True},
        {"bulk_room_bytes": None},
        {"connect_s": 0.1},
    )
    for change in plain:
        if any(getattr(story, name) != value for name, value in change.items()):
            yield replace(story, **change)  # type: ignore[arg-type]  # the names and values above are the fields'


def _smaller(story: Story) -> Iterator[Story]:
    says = story.says
    small = tuple(say._replace(size_bytes=min(say.size_bytes, 20)) for say in says)
    if small != says:
        yield replace(story, says=small)
    alike = tuple(say._replace(role=Role.ENTRY) for say in says)
    if alike != says:
        yield replace(story, says=alike)


def account(story: Story, make: MakeConnection = Connection, *, lines: int = 80) -> str:
    """A failure told: the seed, the story, and the end of what happened."""
    ran = run(story, make, keeps_lines=True)
    told = [*story.lines(), *(f"  {say.at:9.4f} {'ab'[say.who]} says {say.role.value}" for say in story.says[:20])]
    if len(ran.lines) > lines:
        told.append(f"… {len(ran.lines) - lines} events before these")
    told += ran.lines[-lines:]
    told.append(f"broken: {ran.broken}" if isinstance(ran.broken, Broken) else "nothing broke")
    return "\n".join(told)
