"""What a run holds and lacks, against a plain set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import RANGES_LIMIT, BadRun, Run, ranges

HELD = st.sets(st.integers(1, 60))


def run_of(held: set[int]) -> Run:
    """The run that says exactly this, as far as its ranges reach."""
    end = next(number for number in range(62) if number + 1 not in held)
    return Run(end, bytes(32) if end else b"", ranges(sorted(number for number in held if number > end)))


@given(HELD, st.integers(0, 70))
def test_gaps_are_the_numbers_not_held(held: set[int], end: int) -> None:
    run = run_of(held)
    lacking = [number for first, last in run.gaps(end) for number in range(first, last + 1)]
    assert lacking == [number for number in range(1, end + 1) if number not in held]
    assert all(first <= last for first, last in run.gaps(end))
    assert {number for number in range(-1, 75) if run.holds(number)} == held


@given(HELD)
def test_ranges_name_the_lowest_numbers_and_no_others(numbers: set[int]) -> None:
    named = [number for first, last in ranges(sorted(numbers)) for number in range(first, last + 1)]
    assert named == sorted(numbers)[: len(named)]
    few = ranges(sorted(numbers), limit=2)
    assert len(few) <= 2
    assert few == ranges(sorted(numbers))[:2]


@given(st.lists(HELD, min_size=1, max_size=8))
def test_what_was_told_never_goes_back(told: list[set[int]]) -> None:
    known = Run()
    for held in told:
        before, heard = known, run_of(held)
        known = known.taught(heard)
        assert known.end == max(before.end, heard.end)
        if heard.end >= before.end:
            assert known == heard


@given(st.integers(-2, 9), st.lists(st.tuples(st.integers(-2, 70), st.integers(-2, 70)), max_size=RANGES_LIMIT + 3))
def test_a_run_that_contradicts_itself_is_refused(end: int, above: list[tuple[int, int]]) -> None:
    apart = all(first > last + 1 for (_, last), (first, _) in zip([(0, end), *above], above, strict=False))
    sound = end >= 0 and len(above) <= RANGES_LIMIT and apart and all(first <= last for first, last in above)
    if sound:
        assert Run(end, b"", tuple(above)).end == end
    else:
        with pytest.raises(BadRun):
            Run(end, b"", tuple(above))
