"""A crowd that lost its server comes back spread out, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from overfence.connect.backoff import Backoff


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60), st.floats(0.1, 5), st.floats(5, 600))
def test_each_wait_doubles_to_the_last_and_is_shortened_by_at_most_half(
    drawn: list[float], first_s: float, last_s: float
) -> None:
    jitter = iter(drawn)
    backoff = Backoff(first_s=first_s, last_s=last_s, jitter=lambda: next(jitter))
    for tries in range(len(drawn)):
        whole_s = min(last_s, first_s * 2**tries)
        assert whole_s / 2 <= backoff.next_s() <= whole_s


def test_success_begins_anew() -> None:
    backoff = Backoff(first_s=1, last_s=60, jitter=lambda: 0.0)
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.succeeded()
    assert backoff.next_s() == 1


def test_a_year_without_the_other_overflows_nothing() -> None:
    backoff = Backoff(first_s=0.25, last_s=30, jitter=lambda: 0.5)
    assert {backoff.next_s() for _ in range(100_000)} >= {22.5}
