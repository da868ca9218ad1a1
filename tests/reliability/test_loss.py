"""What is believed of a path: its round trip, its losses, its window and pace; and whether anybody is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_reliability import PACKET_LIMIT_BYTES
from overfence_reliability.liveness import INTERVAL_S, SILENCE_S, Beat, Liveness
from overfence_reliability.loss import (
    ACK_DELAY_S,
    FIRST_PROBE_S,
    PROBE_LIMIT_S,
    SAMPLE_LIMIT_S,
    SLACK_S,
    LossRate,
    RoundTrip,
)
from overfence_reliability.pacing import (
    COLLAPSE_AFTER_PROBES,
    COLLAPSED_WINDOW_BYTES,
    COPIES_ABOVE_LOSS,
    FIRST_WINDOW_BYTES,
    LEAST_WINDOW_BYTES,
    LOSS_FACTOR,
    WINDOW_LIMIT_BYTES,
    Bucket,
    Window,
    copies_for,
)

SECONDS = st.floats(1e-6, SAMPLE_LIMIT_S)


@given(st.lists(st.tuples(SECONDS, st.floats(0.0, 6.6)), min_size=1, max_size=40))
def test_a_round_trip_stays_within_what_was_measured(samples: list[tuple[float, float]]) -> None:
    trip = RoundTrip()
    for measured_s, ack_delay_s in samples:
        trip.sample(measured_s, ack_delay_s)
    least, most = min(each for each, _ in samples), max(each for each, _ in samples)
    assert trip.smoothed_s is not None
    assert least * 0.999 <= trip.smoothed_s <= most * 1.001
    assert 0 <= trip.variation_s <= most
    assert trip.lost_after_s >= 9 / 8 * trip.smoothed_s * 0.999
    assert trip.probe_after_s(0) >= trip.smoothed_s + ACK_DELAY_S


@given(st.lists(SECONDS, max_size=10), st.integers(0, 10_000))
def test_probes_come_ever_later_but_not_later_than_the_limit(samples: list[float], probes: int) -> None:
    trip = RoundTrip()
    for measured_s in samples:
        trip.sample(measured_s, 0.0)
    first_s = trip.probe_after_s(0)
    assert first_s <= trip.probe_after_s(probes) <= trip.probe_after_s(probes + 1) <= max(PROBE_LIMIT_S, first_s)


def test_the_probe_timeout_is_the_specified_one() -> None:
    trip = RoundTrip()
    assert trip.probe_after_s(0) == FIRST_PROBE_S
    assert trip.probe_after_s(9) == PROBE_LIMIT_S
    trip.sample(0.05, 0.0)
    assert trip.probe_after_s(0) == pytest.approx(0.05 + 4 * 0.025 + ACK_DELAY_S + SLACK_S)
    trip.sample(0.05, 0.0)
    assert trip.probe_after_s(0) == pytest.approx(0.05 + 4 * 0.01875 + ACK_DELAY_S + SLACK_S)


def test_a_peer_cannot_talk_the_round_trip_down() -> None:
    trip = RoundTrip()
    trip.sample(0.05, 0.0)
    for _ in range(100):
        trip.sample(0.06, 6.0)
    assert trip.smoothed_s == pytest.approx(0.06 - ACK_DELAY_S, abs=1e-4)
    trip = RoundTrip()
    for _ in range(100):
        trip.sample(0.06, 6.0)
    assert trip.smoothed_s == pytest.approx(0.06)


def test_a_process_that_slept_says_nothing_of_the_path() -> None:
    trip = RoundTrip()
    trip.sample(0.05, 0.0)
    trip.sample(SAMPLE_LIMIT_S + 0.1, 0.0)
    assert trip.smoothed_s == 0.05


@given(st.lists(st.sampled_from(["arrived", "lost", "mistaken"]), max_size=300))
def test_a_share_of_losses_is_a_share(outcomes: list[str]) -> None:
    rate = LossRate()
    for outcome in outcomes:
        getattr(rate, outcome)()
        assert 0.0 <= rate.share <= 1.0


def test_one_loss_is_above_the_limit_for_copies_and_fades() -> None:
    rate = LossRate()
    assert copies_for(rate.share) == 0
    rate.lost()
    assert copies_for(rate.share) == 1
    for _ in range(100):
        rate.arrived()
    assert copies_for(rate.share) == 1
    for _ in range(40):
        rate.arrived()
    assert copies_for(rate.share) == 0


def test_a_path_that_turns_bad_is_known_within_a_dozen_packets() -> None:
    """One packet in four is lost from now on; the long average alone would need a hundred to believe it."""
    rate = LossRate()
    for number in range(12):
        (rate.lost if number % 4 == 0 else rate.arrived)()
    assert copies_for(rate.share) >= 2


def test_the_more_is_lost_the_more_copies_go() -> None:
    assert [copies_for(share) for share in COPIES_ABOVE_LOSS] == list(range(len(COPIES_ABOVE_LOSS)))
    assert copies_for(1.0) == len(COPIES_ABOVE_LOSS)
    assert tuple(sorted(COPIES_ABOVE_LOSS)) == COPIES_ABOVE_LOSS


def test_a_window_grows_only_where_it_was_full() -> None:
    window = Window()
    window.acknowledged(10_000, was_full=False)
    assert window.size == FIRST_WINDOW_BYTES
    window.acknowledged(1_000, was_full=True)
    assert window.size == FIRST_WINDOW_BYTES + 1_000
    for _ in range(1000):
        window.acknowledged(1_160, was_full=True)
    assert window.size == WINDOW_LIMIT_BYTES


def test_a_window_shrinks_once_a_round_trip_and_not_below_the_least() -> None:
    window = Window()
    for _ in range(200):
        window.acknowledged(1_160, was_full=True)
    window.lost(5, 20)
    window.lost(19, 30)
    assert window.size == pytest.approx(WINDOW_LIMIT_BYTES * LOSS_FACTOR)
    window.lost(20, 40)
    assert window.size == pytest.approx(WINDOW_LIMIT_BYTES * LOSS_FACTOR**2)
    for number in range(100, 10_000, 100):
        window.lost(number, number + 1)
    assert window.size == LEAST_WINDOW_BYTES
    # It no longer doubles each round trip: a window of acknowledgements brings about one packet more.
    for _ in range(10):
        window.acknowledged(PACKET_LIMIT_BYTES, was_full=True)
    assert LEAST_WINDOW_BYTES < window.size <= LEAST_WINDOW_BYTES + PACKET_LIMIT_BYTES


def test_a_path_that_answers_nothing_gets_two_packets() -> None:
    window = Window()
    window.probed(COLLAPSE_AFTER_PROBES - 1)
    assert window.size == FIRST_WINDOW_BYTES
    window.probed(COLLAPSE_AFTER_PROBES)
    assert window.size == COLLAPSED_WINDOW_BYTES


@given(st.lists(st.tuples(st.floats(0.0, 0.1), st.integers(1, 1160)), max_size=60))
def test_a_bucket_gives_its_burst_and_then_its_rate(asked: list[tuple[float, int]]) -> None:
    bucket, now, taken = Bucket(burst_bytes=4_000), 100.0, 0
    for pause_s, size_bytes in asked:
        now += pause_s
        bucket.refill(10_000, now=now)
        if bucket.has(size_bytes):
            bucket.take(size_bytes)
            taken += size_bytes
        assert taken <= 4_000 + (now - 100.0) * 10_000 + 1


def test_after_its_wait_a_bucket_has_what_was_asked() -> None:
    bucket = Bucket(burst_bytes=4_000)
    bucket.refill(10_000, now=1.0)
    bucket.take(4_000)
    wait_s = bucket.wait_s(1_160, 10_000)
    assert wait_s == pytest.approx(0.116)
    bucket.refill(10_000, now=1.0 + wait_s + 1e-9)
    assert bucket.has(1_160)


def test_silence_is_asked_after_before_it_is_believed() -> None:
    liveness = Liveness(now=0.0)
    beats: list[tuple[float, Beat]] = []
    for _ in range(10):
        now = liveness.next_timer()
        beat = liveness.poll(now=now)
        assert beat is not None
        beats.append((now, beat))
        if beat is Beat.DEAD:
            break
    assert beats == [(1.0, Beat.PING), (2.0, Beat.PING), (3.0, Beat.DEAD)]


def test_after_standing_still_a_process_asks_first() -> None:
    liveness = Liveness(now=0.0)
    assert liveness.poll(now=60.0) is Beat.PING
    assert liveness.poll(now=60.0) is None
    assert liveness.poll(now=60.0 + INTERVAL_S) is Beat.PING
    liveness.heard(now=61.5)
    assert liveness.next_timer() == 61.5 + INTERVAL_S
    assert SILENCE_S == 3.0
