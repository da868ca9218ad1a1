"""Contacts that do their worst by the links they have: each is thrown out for it, and the others are not disturbed."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from overfence.demo.tally import Tally

from .runners.hostile import ATTACKS
from .runners.siege import Assault, Siege

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_netns,
    pytest.mark.requires("ip", "nsenter"),
    pytest.mark.timeout(300),
]

OVER_WITHIN_S = 1.0
# Twenty probes, the last ones a second apart.
DEAF_WITHIN_S = 25.0
# What all the attackers together may make Ada's process keep: of each the window of its line, 1 MiB, at the most.
GROWTH_LIMIT_BYTES = len(ATTACKS) * 1024 * 1024
AFTERWARDS_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """How it ended."""

    assaults: list[Assault]
    verdicts: list[str]
    grown_bytes: int
    tally: Tally
    out_of_turn: list[int]
    never_heard: list[int]


def memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Rss:", "Swap:")))


async def besiege(folder: Path) -> Outcome:
    async with Siege.laid(folder, ATTACKS) as siege:
        two = siege.two
        two.talk()
        await asyncio.sleep(AFTERWARDS_S)
        before_bytes = most_bytes = memory_bytes(two.ada.pid)
        assaults = []
        for name in ATTACKS:
            assaults.append(await siege.assault(name))
            most_bytes = max(most_bytes, memory_bytes(two.ada.pid))
        await two.go_on(time.monotonic())
        tally = await two.close()
        return Outcome(
            assaults,
            siege.verdicts(),
            most_bytes - before_bytes,
            tally,
            two.ada.out_of_turn(),
            two.ada.never_heard(two.bob),
        )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    if not Path("/dev/net/tun").exists():
        unmet = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        unmet("this machine lacks /dev/net/tun")
    return asyncio.run(besiege(tmp_path_factory.mktemp("siege") / "all"))


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=list(ATTACKS))
def test_whoever_breaks_a_rule_is_thrown_out_with_it_within_a_second(
    number: int, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    assault, verdict = outcome.assaults[number], list(ATTACKS.values())[number].verdict
    with capsys.disabled():
        print(f"\n{assault.attack}: {assault.sent} times, over after {assault.over_after_s:.2f} s", end=" ")
    assert outcome.verdicts[number].startswith(verdict)
    assert assault.over_after_s <= (DEAF_WITHIN_S if verdict == "deaf" else OVER_WITHIN_S)


def test_what_they_left_behind_is_bounded(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nAda's process grew by {outcome.grown_bytes / 2**20:.1f} MiB", end=" ")
    assert outcome.grown_bytes <= GROWTH_LIMIT_BYTES


def test_who_talked_meanwhile_lost_nothing(outcome: Outcome) -> None:
    tally = outcome.tally
    assert (tally.lost, tally.duplicated, tally.misordered) == (0, 0, 0)
    assert tally.foreign == len(ATTACKS), "the decent word that each attacker said first"
    assert tally.sent > 100, "there was a conversation to disturb"
    assert outcome.out_of_turn == outcome.never_heard == []
