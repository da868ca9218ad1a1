"""Silence is asked about, then believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from overfence.connect.heartbeat import Beat, Heartbeat


def run(heartbeat: Heartbeat, until_s: float) -> list[tuple[float, Beat]]:
    """Fire each timer exactly when asked for; stops at death."""
    said: list[tuple[float, Beat]] = []
    for _ in range(1000):
        due_at = heartbeat.next_timer()
        if due_at is None or due_at > until_s:
            return said
        beat = heartbeat.poll(now=due_at)
        assert beat is not None
        said.append((due_at, beat))
        if beat is Beat.DEAD:
            return said
    raise AssertionError("the timer never moves on")


def test_nothing_is_due_before_the_first_sound() -> None:
    heartbeat = Heartbeat()
    assert heartbeat.next_timer() is None
    assert heartbeat.poll(now=100.0) is None


def test_a_silent_peer_is_asked_twice_and_dead_after_three_seconds() -> None:
    heartbeat = Heartbeat()
    heartbeat.heard(now=10.0)
    assert run(heartbeat, 60.0) == [(11.0, Beat.PING), (12.0, Beat.PING), (13.0, Beat.DEAD)]


def test_an_answer_starts_the_count_again() -> None:
    heartbeat = Heartbeat()
    heartbeat.heard(now=0.0)
    assert run(heartbeat, 2.0) == [(1.0, Beat.PING), (2.0, Beat.PING)]
    heartbeat.heard(now=2.1)
    assert heartbeat.poll(now=3.0) is None
    assert run(heartbeat, 60.0)[-1] == (5.1, Beat.DEAD)


def test_a_process_that_stood_still_asks_before_it_gives_up() -> None:
    heartbeat = Heartbeat()
    heartbeat.heard(now=0.0)
    assert heartbeat.poll(now=3600.0) is Beat.PING
    heartbeat.heard(now=3600.1)
    assert heartbeat.next_timer() == 3601.1


@given(
    interval_s=st.floats(0.1, 5.0),
    factor=st.floats(1.0, 20.0),
    sounds=st.lists(st.floats(0.0, 10.0), max_size=20),
)
def test_death_needs_the_whole_silence_and_an_unanswered_ping(
    interval_s: float, factor: float, sounds: list[float]
) -> None:
    heartbeat = Heartbeat(interval_s, interval_s * factor)
    now = 0.0
    heartbeat.heard(now=now)
    for gap_s in sounds:
        if any(beat is Beat.DEAD for _, beat in run(heartbeat, now + gap_s)):
            return
        now += gap_s
        heartbeat.heard(now=now)
    said = run(heartbeat, now + 1e6)
    assert said[0][1] is Beat.PING
    assert said[-1][1] is Beat.DEAD
    assert said[-1][0] >= now + interval_s * factor - 1e-6
