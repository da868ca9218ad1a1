"""Thousands of stories on a clock of their own: nothing lost, doubled or misordered, whatever goes wrong."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
from overfence_reliability import Config, Connection, Received

from .campaign import campaign, run
from .faults import Conditions
from .shrink import account, shrink
from .story import PAUSES_S, Fault, Kind, Role, Say, Story, draw

IN_CI = os.environ.get("CI") == "true"
SEEDS = 2_000 if IN_CI else 200
MESSAGES = 500
# Faster than it is likely to stay on a machine that does something else as well.
LIMIT_S = 180.0

# Whatever may go wrong must have, or the stories prove less than they say.
STRUCK = (
    *("lost", "outage", "duplicated", "reordered", "corrupted", "truncated", "queue", "blocked", "repeated"),
    *(kind.value for kind in Kind),
    *("into a dead path", "missed asleep", "silent", "resumed", "discontinuity", "damage seen", "damage closed"),
    *("buffer full", "finished", "came at most once", "came at least once", "unopened"),
)
BROADBAND = Conditions(delay_s=0.025)


@pytest.mark.timeout(3 * LIMIT_S)
def test_nothing_is_lost_doubled_or_misordered() -> None:
    result, took_s = campaign(SEEDS, messages=MESSAGES)
    if result.failures:
        seed, detail = result.failures[0]
        pytest.fail(f"seed {seed}: {detail}\n{account(shrink(draw(seed, MESSAGES)))}")
    print(f"{result.seeds} seeds, {result.counts['messages']} messages in {took_s:.1f} s")
    assert result.counts["messages"] == SEEDS * MESSAGES
    assert [kind for kind in STRUCK if not result.counts[kind]] == []


@pytest.mark.parametrize("seed", [1, 2, 3, 26, 201])
def test_the_same_seed_is_the_same_story(seed: int) -> None:
    first, second = run(draw(seed, 200)), run(draw(seed, 200))
    assert first.digest == second.digest
    assert first.counts == second.counts
    assert run(draw(seed + 1, 200)).digest != first.digest


# ── stories that were hard once ───────────────────────────────────────────────────────────────────


def chatting(for_s: float, *, every_s: float = 0.1, size_bytes: int = 200) -> tuple[Say, ...]:
    """Both say something again and again."""
    return tuple(Say(index * every_s, index % 2, Role.ENTRY, size_bytes) for index in range(int(for_s / every_s)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("for_s", PAUSES_S)
def test_a_path_that_was_away_goes_on_at_once(seed: int, for_s: float) -> None:
    pause = Fault(at=2.0 + seed / 7, kind=Kind.PAUSE, for_s=for_s)
    story = Story(
        seed=seed, says=chatting(for_s + 5), faults=(pause,), conditions=(BROADBAND, BROADBAND), redials=False
    )
    ran = run(story)
    assert ran.broken is None
    assert ran.moved_after_s[0] <= 1.2


@pytest.mark.parametrize("sleeper_hears", [True, False])
@pytest.mark.parametrize("for_s", [2.0, 10.0, 60.0])
def test_a_sleeper_catches_up_at_once(for_s: float, sleeper_hears: bool) -> None:
    sleep = Fault(at=2.05, kind=Kind.SLEEP, for_s=for_s, is_noticed=sleeper_hears)
    lossy = replace(BROADBAND, loss=0.05)
    story = Story(seed=1, says=chatting(for_s + 8), faults=(sleep,), conditions=(lossy, lossy), redials=False)
    ran = run(story, keeps_lines=True)
    assert ran.broken is None
    awake_at = sleep.ends_at
    heard_at = [float(line.split()[0]) for line in ran.lines if "hears" in line]
    after = [at for at in heard_at if at > awake_at]
    gaps = [later - earlier for earlier, later in zip([awake_at, *after], after, strict=False)]
    assert max(gaps) <= 2.0


def test_a_survivor_of_many_streams_meets_a_newcomer() -> None:
    """Streams that ended long ago are nothing a new process would have to keep."""
    says = tuple(Say(index * 0.05, 0, Role.SIDE, 50) for index in range(200))
    kill = Fault(at=11.0, kind=Kind.KILL, who=1, for_s=0.5)
    more = (Say(12.0, 0, Role.ENTRY, 100), Say(12.1, 0, Role.SIDE, 100))
    ran = run(Story(seed=1, says=(*says, *more), faults=(kill,), conditions=(BROADBAND, BROADBAND)))
    assert ran.broken is None


def test_many_files_at_once_all_arrive() -> None:
    """Eight long messages share a credit that is enough for one: none may wait for another's second half."""
    tight = Config(window_bytes=81_920, window_all_bytes=81_920)
    says = tuple(Say(0.1, 0, Role.PIECE, 60_000) for _ in range(16))
    ran = run(
        Story(
            seed=1,
            says=says,
            faults=(),
            conditions=(BROADBAND, BROADBAND),
            configs=(tight, tight),
            pieces=8,
            bulk_room_bytes=None,
        )
    )
    assert ran.broken is None


def test_reordered_greetings_from_before_are_not_obeyed() -> None:
    """What was meant for who we were acknowledges numbers that we use for something else."""
    shuffled = replace(BROADBAND, reorder=0.5, reorder_s=0.4)
    for seed in range(40):
        kill = Fault(at=3.0, kind=Kind.KILL, who=seed % 2, for_s=0.3)
        story = Story(
            seed=seed, says=chatting(6.0, every_s=0.02), faults=(kill,), conditions=(shuffled, shuffled), connect_s=0.1
        )
        assert run(story).broken is None, seed


# ── the simulator itself ──────────────────────────────────────────────────────────────────────────


class Doubling(Connection):
    """Tells what it received twice, every twentieth time: what a dedupe that forgets would do."""

    def events(self):  # type: ignore[no-untyped-def]  # the planted bug, not an example
        for event in super().events():
            yield event
            if isinstance(event, Received) and self._is_twentieth():
                yield event

    def _is_twentieth(self) -> bool:
        self._heard: int = getattr(self, "_heard", 0) + 1
        return self._heard % 20 == 0


class Forgetful(Connection):
    """Loses every fiftieth packet that leaves by the lane that loses nothing, and one of its own sends."""

    def send(self, stream, body, mode=None):  # type: ignore[no-untyped-def]
        self._sent: int = getattr(self, "_sent", 0) + 1
        if self._sent % 50 == 0 and mode is not None:
            return self._sent
        return super().send(stream, body, mode)


@pytest.mark.parametrize(
    ("make", "rules"),
    [
        (Doubling, {"once and in order", "at most once", "finished whole", "finished once"}),
        (Forgetful, {"once and in order", "everything arrives", "finished whole", "every end is heard"}),
    ],
)
def test_a_planted_bug_is_found_and_told_in_few_words(make: type[Connection], rules: set[str]) -> None:
    story = next(story for story in map(draw, range(20)) if not story.is_naked)
    ran = run(story, make)
    assert ran.broken is not None
    assert ran.broken.rule in rules
    short = shrink(story, make, budget_s=10.0)
    assert len(short.says) <= len(story.says) // 4
    assert len(short.faults) <= len(story.faults)
    told = account(short, make)
    assert f"seed {story.seed}" in told
    assert f"broken: {ran.broken.rule}" in told


def test_a_story_that_breaks_nothing_is_left_as_it_is() -> None:
    story = draw(0, 50)
    assert shrink(story) is story


def test_stories_have_every_size_and_fault() -> None:
    sizes: Counter[int] = Counter()
    kinds: Counter[Kind] = Counter()
    for story in map(draw, range(200)):
        sizes.update(say.size_bytes for say in story.says)
        kinds.update(fault.kind for fault in story.faults)
    assert set(kinds) == set(Kind)
    assert min(sizes) == 1
    assert sum(sizes[size] for size in range(3_000, 4_001)) > 1_000
