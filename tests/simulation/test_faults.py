"""The faults are what they say: a simulator whose losses don't happen would pass anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .faults import MOST_FLIPPED_BITS, Conditions, OneWay

PACKETS = 2_000
EVERY_S = 0.001
WHAT_BECOMES = ("carried", "blocked", "queue", "outage", "lost")

SHARES = st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5, 1.0])
CONDITIONS = st.builds(
    Conditions,
    delay_s=st.sampled_from([0.0, 0.025, 0.2]),
    jitter_s=st.sampled_from([0.0, 0.004, 0.05]),
    loss=SHARES,
    outage_every_s=st.sampled_from([0.0, 0.3]),
    duplicate=SHARES,
    reorder=SHARES,
    corrupt=SHARES,
    truncate=SHARES,
    rate_bytes_per_s=st.sampled_from([None, 20_000.0, 1e6]),
    queue_bytes=st.sampled_from([200, 5_000, 256 * 1024]),
)
SEEDS = st.integers(0, 2**32)


def a_way(conditions: Conditions, seed: int = 1, spared: int = 0) -> OneWay:
    return OneWay(conditions, Random(seed), spared_bytes=lambda _: spared)  # noqa: S311 (repeatable, nothing secret)


class Journey:
    """Numbered packets, sent evenly, and what came out: in order of arrival, as (number, instant, bytes)."""

    def __init__(self, conditions: Conditions, seed: int, *, count: int = PACKETS, size: int = 40) -> None:
        self.way = a_way(conditions, seed)
        self.sent = [number.to_bytes(4, "big").ljust(size, b"\x55") for number in range(count)]
        self.sent_at = [number * EVERY_S for number in range(count)]
        arrivals = [
            (at, number, packet)
            for number, (sent_at, body) in enumerate(zip(self.sent_at, self.sent, strict=True))
            for at, packet in self.way.carry(body, now=sent_at)
        ]
        self.arrived = sorted(arrivals, key=lambda arrival: arrival[0])

    @property
    def order(self) -> list[int]:
        return [number for _, number, _ in self.arrived]


def likely(count: int, of: int, share: float) -> bool:
    """Within six standard deviations (and four, for the rarest) of what is expected: chance alone goes past that less
    often than once in a thousand million."""
    deviation = math.sqrt(of * share * (1 - share))
    return abs(count - of * share) <= (6 * deviation + 4 if 0 < share < 1 else 0)


@given(CONDITIONS, SEEDS)
def test_each_packet_has_one_fate_and_the_counts_tell_what_came_out(conditions: Conditions, seed: int) -> None:
    journey = Journey(conditions, seed, count=300)
    counts = journey.way.counts
    assert sum(counts[fate] for fate in WHAT_BECOMES) == 300
    assert len(journey.arrived) == counts["carried"] + counts["duplicated"]
    assert len(set(journey.order)) == counts["carried"]
    assert all(at >= journey.sent_at[number] + conditions.delay_s for at, number, _ in journey.arrived)
    untouched = sum(packet == journey.sent[number] for _, number, packet in journey.arrived)
    damaged = len(journey.arrived) - untouched
    assert max(counts["corrupted"], counts["truncated"]) <= damaged <= counts["corrupted"] + counts["truncated"]


@given(CONDITIONS, SEEDS)
def test_the_same_seed_gives_the_same_arrivals(conditions: Conditions, seed: int) -> None:
    first, again = Journey(conditions, seed, count=200), Journey(conditions, seed, count=200)
    assert first.arrived == again.arrived
    assert first.way.counts == again.way.counts


ONE_KIND: dict[str, Callable[[float], Conditions]] = {
    "lost": lambda share: Conditions(loss=share),
    "duplicated": lambda share: Conditions(duplicate=share),
    "reordered": lambda share: Conditions(reorder=share),
    "corrupted": lambda share: Conditions(corrupt=share),
    "truncated": lambda share: Conditions(truncate=share),
}


@given(st.sampled_from(sorted(ONE_KIND)), SHARES, SEEDS)
def test_each_share_is_what_was_asked_for(kind: str, share: float, seed: int) -> None:
    journey = Journey(ONE_KIND[kind](share), seed)
    assert likely(journey.way.counts[kind], PACKETS, share)
    assert set(journey.way.counts) <= {kind, "carried"}


@given(SHARES, SEEDS)
def test_losses_come_one_by_one(share: float, seed: int) -> None:
    """Lost or not says nothing about the next: pairs of neighbours are both lost as often as chance has it."""
    journey = Journey(Conditions(loss=share), seed)
    gone = set(range(PACKETS)) - set(journey.order)
    pairs = sum(number in gone and number + 1 in gone for number in range(0, PACKETS, 2))
    assert likely(pairs, PACKETS // 2, share * share)


@given(CONDITIONS, SEEDS)
def test_nothing_overtakes_where_nothing_reorders(conditions: Conditions, seed: int) -> None:
    journey = Journey(replace(conditions, reorder=0.0, duplicate=0.0), seed, count=300)
    assert journey.order == sorted(journey.order)


@given(CONDITIONS, SEEDS, st.integers(1, 400))
def test_the_rate_is_never_exceeded_over_any_stretch(conditions: Conditions, seed: int, size: int) -> None:
    rate = 30_000.0
    conditions = replace(conditions, rate_bytes_per_s=rate, duplicate=0.0, reorder=0.0, jitter_s=0.0, truncate=0.0)
    journey = Journey(conditions, seed, count=300, size=max(size, 4))
    arrivals = [(at, len(packet)) for at, _, packet in journey.arrived]
    for begin in range(len(arrivals)):
        through = 0
        for at, size_bytes in arrivals[begin + 1 : begin + 60]:
            through += size_bytes
            assert through <= rate * (at - arrivals[begin][0]) + 1e-3


def test_a_full_queue_drops_what_comes_last_and_holds_the_rest_no_longer_than_it_takes() -> None:
    way = a_way(Conditions(rate_bytes_per_s=1_000, queue_bytes=500))
    arrived = [way.carry(bytes(100), now=0.0) for _ in range(8)]
    assert [at for arrivals in arrived for at, _ in arrivals] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert way.counts == {"carried": 5, "queue": 3}
    # One has left by now, so one fits.
    assert [at for at, _ in way.carry(bytes(100), now=0.1)] == pytest.approx([0.6])
    assert way.carry(bytes(100), now=0.1) == []


def runs_of(missing: Sequence[int]) -> list[int]:
    """How long each unbroken run of numbers is."""
    lengths: list[int] = []
    for previous, number in zip([-2, *missing], missing, strict=False):
        if number == previous + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths


def test_outages_are_as_long_and_as_frequent_as_asked_for() -> None:
    count = 400_000
    journey = Journey(Conditions(outage_every_s=0.5, outage_s=(0.03, 0.12)), 7, count=count, size=4)
    runs = runs_of(sorted(set(range(count)) - set(journey.order)))
    assert set(journey.way.counts) == {"carried", "outage"}
    assert min(runs) >= 29
    # Two may lie back to back; each by itself is at most 120 packets long.
    assert sorted(runs)[int(0.9 * len(runs))] <= 121
    expected = count * EVERY_S / (0.5 + 0.075)
    assert len(runs) == pytest.approx(expected, rel=0.12)


def test_a_block_holds_until_it_is_lifted_and_what_was_under_way_still_arrives() -> None:
    way = a_way(Conditions(delay_s=1.0))
    under_way = way.carry(b"before", now=0.0)
    way.blocked = True
    assert way.carry(b"during", now=0.5) == []
    way.blocked = False
    assert way.carry(b"after", now=0.6) == [(1.6, b"after")]
    assert under_way == [(1.0, b"before")]
    assert way.counts == {"carried": 2, "blocked": 1}


def test_new_conditions_hold_from_the_next_packet_on() -> None:
    way = a_way(Conditions())
    assert way.carry(b"a", now=0.0) == [(0.0, b"a")]
    way.conditions = Conditions(loss=1.0)
    assert way.carry(b"b", now=1.0) == []
    way.conditions = Conditions(outage_every_s=1e-9, outage_s=(100.0, 100.0))
    way.carry(b"c", now=2.0)
    assert way.carry(b"c", now=2.1) == []
    way.conditions = Conditions(delay_s=0.5)
    assert way.carry(b"d", now=3.0) == [(3.5, b"d")]
    assert way.counts == {"carried": 3, "lost": 1, "outage": 1}


@given(st.binary(max_size=30), SEEDS, st.integers(0, 30))
def test_damage_leaves_spared_beginnings_alone_and_changes_something(packet: bytes, seed: int, spared: int) -> None:
    def arrive(conditions: Conditions) -> bytes:
        ((_, arrived),) = a_way(conditions, seed, spared).carry(packet, now=0.0)
        return arrived

    flipped, cut = arrive(Conditions(corrupt=1.0)), arrive(Conditions(truncate=1.0))
    assert len(flipped) == len(packet)
    assert flipped[:spared] == packet[:spared]
    difference = int.from_bytes(flipped, "big") ^ int.from_bytes(packet, "big")
    assert difference.bit_count() in (range(1, MOST_FLIPPED_BITS + 1) if len(packet) > spared else (0,))
    assert packet.startswith(cut)
    assert len(cut) >= min(spared, len(packet))
    assert (len(cut) < len(packet)) == (len(packet) > spared)


def test_held_back_packets_are_overtaken() -> None:
    journey = Journey(Conditions(reorder=0.1, reorder_s=0.02), 3)
    late = [number for number, next_ in zip(journey.order, journey.order[1:], strict=False) if next_ < number]
    assert late
    assert max(at - journey.sent_at[number] for at, number, _ in journey.arrived) <= 0.02 + 1e-9
