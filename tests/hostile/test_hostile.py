"""Two thousand conversations under attack: nothing forged is taken in, nothing that was said is lost or shown twice."""

from __future__ import annotations

import os

import pytest

from .campaign import account, campaign, run, shrink
from .story import FAULTS, LIFE, ROLLBACKS, Kind, draw

IN_CI = os.environ.get("CI") == "true"
SEEDS = 2_000 if IN_CI else 60
# What is not built yet: a pair that was set back needs a new invite today.
WITH_ROLLBACKS = False
LIMIT_S = 600


@pytest.mark.timeout(2 * LIMIT_S)
def test_every_promise_holds_under_every_attack() -> None:
    result, took_s = campaign(SEEDS, rollbacks=WITH_ROLLBACKS)
    if result.failures:
        seed, detail = result.failures[0]
        pytest.fail(f"seed {seed}: {detail}\n{account(shrink(draw(seed, rollbacks=WITH_ROLLBACKS)))}")
    print(f"{result.seeds} seeds in {took_s:.1f} s: {result.counts.most_common()}")
    expected = {*LIFE, *FAULTS, *(ROLLBACKS if WITH_ROLLBACKS else ())}
    assert [kind.value for kind in Kind if kind in expected and not result.counts[kind.value]] == []
    assert result.counts["refused"] > 10 * SEEDS
    if IN_CI:
        assert result.untouched() == {"envelope": 0, "handshake": 0, "message": 0}, "every byte was damaged once"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_is_the_same_story(seed: int) -> None:
    first, second = (run(draw(seed, rollbacks=True)) for _ in range(2))
    assert (first.counts, first.flipped) == (second.counts, second.flipped)
    assert run(draw(seed + 1, rollbacks=True)).counts != first.counts
