"""Ranges and the replay window, against plain sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability.numbers import RANGES_LIMIT, REPLAY_WINDOW, Ranges, ReplayWindow

NUMBERS = st.lists(st.integers(0, 60), max_size=80)


def runs(numbers: set[int]) -> tuple[tuple[int, int], ...]:
    """Descending inclusive ranges, the slow way."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers, reverse=True):
        if found and found[-1][0] == number + 1:
            found[-1] = (number, found[-1][1])
        else:
            found.append((number, number))
    return tuple(found)


MOVES = st.tuples(st.sampled_from(["add", "add", "add", "discard"]), st.integers(0, 60), st.integers(0, 12))


@given(st.lists(MOVES, max_size=80))
def test_ranges_are_a_set_of_numbers(moves: list[tuple[str, int, int]]) -> None:
    ranges, model = Ranges(), set[int]()
    for move, number, length in moves:
        if move == "add":
            ranges.add(number)
            model.add(number)
        else:
            ranges.discard(number, number + length)
            model -= set(range(number, number + length + 1))
        assert ranges.descending() == runs(model)
        assert bool(ranges) == bool(model)
        assert len(ranges) == len(runs(model))
        assert all((each in ranges) == (each in model) for each in range(-1, 63))
        assert not model or ranges.largest == max(model)


@given(st.lists(st.integers(0, 200), min_size=50, max_size=90, unique=True))
def test_of_too_many_ranges_the_lowest_are_forgotten(numbers: list[int]) -> None:
    ranges, model = Ranges(), set[int]()
    for number in numbers:
        ranges.add(number)
        model.add(number)
        kept = runs(model)[:RANGES_LIMIT]
        # A number that came back below what was forgotten is not taken for the range it once belonged to.
        model = {each for first, last in kept for each in range(first, last + 1)}
        assert ranges.descending() == kept


@given(NUMBERS)
def test_a_replay_window_is_a_set_of_numbers(numbers: list[int]) -> None:
    window, seen = ReplayWindow(), set[int]()
    for number in numbers:
        assert window.take(number) == (number not in seen)
        seen.add(number)


@given(st.lists(st.integers(0, 4 * REPLAY_WINDOW), max_size=60))
def test_a_replay_window_never_takes_a_number_twice_and_refuses_no_recent_one(numbers: list[int]) -> None:
    window, seen, largest = ReplayWindow(), set[int](), -1
    for number in numbers:
        taken = window.take(number)
        if taken:
            assert number not in seen
        else:
            assert number in seen or largest - number >= REPLAY_WINDOW
        seen.add(number)
        largest = max(largest, number)


def test_the_edges_of_the_replay_window() -> None:
    window = ReplayWindow()
    assert window.take(REPLAY_WINDOW)
    assert window.take(1)  # the oldest that is still told apart
    assert not window.take(1)
    assert not window.take(0)  # one older: it may have been seen
    assert window.take(2**47)
    assert not window.take(2**47)
    assert window.take(2**47 - REPLAY_WINDOW + 1)
