"""Nothing that passes the guard can loop or raise in the stack behind it, and the inbox stays bounded."""

from __future__ import annotations

import itertools
import random
import time
from struct import pack, unpack_from

import pytest
from aiortc.rtcsctptransport import RECONFIG_PARAM_TYPES, ReconfigChunk, parse_packet
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.connect.guard import (
    ACK_DELAY_S,
    AT_ONCE,
    BINARY,
    FIRST_FRAGMENT,
    FLOOD_CHUNKS,
    GAPS_LIMIT,
    HELD_LIMIT,
    LAST_FRAGMENT,
    RATE_CHUNKS,
    SACK,
    UNORDERED,
    WHOLE,
    WINDOW_CHUNKS,
    Inbox,
    Meter,
    Violation,
    read_packet,
)
from overfence_reliability import Lane

from .chunks import REAL, damaged

HEADER = bytes(12)


def chunk(kind: int, body: bytes, length: int | None = None) -> bytes:
    return pack("!BBH", kind, 0, len(body) + 4 if length is None else length) + body


def test_every_real_packet_is_sound() -> None:
    assert all(read_packet(packet) is not None for packet in REAL)


def test_the_twenty_bytes_that_hang_the_stack_are_not_sound() -> None:
    packet = HEADER + chunk(4, pack("!HH", 1, 0))
    assert len(packet) == 20
    assert read_packet(packet) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00",
        chunk(4, b"", 3),
        chunk(4, b"", 0),
        chunk(4, b"", 8),
        chunk(200, b"", 0),
        chunk(0, bytes(12)),
        chunk(1, bytes(15)),
        chunk(1, bytes(16)) + chunk(11, b""),
        chunk(11, b"") + chunk(1, bytes(16)),
        chunk(1, bytes(16) + pack("!HH", 7, 3)),
        chunk(3, bytes(11)),
        chunk(3, bytes(8) + pack("!HH", 1, 0)),
        chunk(3, bytes(8) + pack("!HHHH", 1, 0, 2, 1)),
        chunk(3, bytes(8) + pack("!HHHH", 1, 0, 0, 1)),
        chunk(3, bytes(8) + pack("!HHHHHH", 2, 0, 1, 65535, 1, 65535)),
        chunk(6, pack("!HH", 1, 9)),
        chunk(7, bytes(3)),
        chunk(130, pack("!HH", 13, 15) + bytes(12)),
        chunk(130, pack("!HH", 13, 17) + bytes(13)),
        chunk(130, pack("!HH", 16, 8) + bytes(4)),
        chunk(192, bytes(2)),
        chunk(192, bytes(6)),
        chunk(11, b"") + b"\x01",
    ],
)
def test_a_length_that_lies_is_found(body: bytes) -> None:
    assert read_packet(HEADER + body) is None


def test_kinds_nobody_knows_pass_whatever_they_hold() -> None:
    packet = HEADER + chunk(200, b"anything") + chunk(11, b"")
    assert read_packet(packet) == [(200, 0, 16, 24), (11, 0, 28, 28)]


@pytest.mark.timeout(60)
@settings(max_examples=1000)
@given(damaged())
def test_what_passes_is_parsed_at_once_without_an_exception(packet: bytes) -> None:
    if read_packet(packet) is None:
        return
    before_s = time.process_time()
    _, _, _, chunks = parse_packet(packet)
    assert time.process_time() - before_s < 0.5
    for each in chunks:
        if isinstance(each, ReconfigChunk):
            for kind, value in each.params:
                if kind in RECONFIG_PARAM_TYPES:
                    RECONFIG_PARAM_TYPES[kind].parse(value)


@given(st.binary(max_size=200))
def test_noise_is_judged_without_an_exception(noise: bytes) -> None:
    for _, _, begin, end in read_packet(noise) or []:
        assert 16 <= begin <= end <= len(noise)


# The meter.


def test_a_second_of_the_limit_at_once_and_the_limit_for_ever_are_fine() -> None:
    meter = Meter()
    meter.spend(RATE_CHUNKS, now=50.0)
    for tick in range(1, 10_000):
        meter.spend(RATE_CHUNKS // 100 - 1, now=50.0 + tick / 100)


def test_more_than_the_limit_ends_within_a_second() -> None:
    meter = Meter()
    spent = 0
    with pytest.raises(Violation) as caught:
        for tick in range(10_000):
            meter.spend(RATE_CHUNKS // 50, now=tick / 100)  # twice what is allowed
            spent = tick
    assert caught.value.reason == "flooded"
    assert 95 <= spent <= 100


# The inbox.


def inbox(last_tsn: int = 99) -> Inbox:
    return Inbox(last_tsn=last_tsn)


def take(
    box: Inbox, tsn: int, body: bytes = b"x", flags: int = WHOLE, stream: int = 1, protocol: int = BINARY
) -> list[bytes]:
    whole = box.take(tsn=tsn % 2**32, stream=stream, protocol=protocol, flags=flags, body=body)
    return [] if whole is None else [whole[1]]


def in_pieces(packet: bytes, size: int) -> list[tuple[bytes, int]]:
    pieces = [packet[at : at + size] for at in range(0, len(packet), size)]
    return [
        (piece, UNORDERED | FIRST_FRAGMENT * (at == 0) | LAST_FRAGMENT * (at == len(pieces) - 1))
        for at, piece in enumerate(pieces)
    ]


@given(
    packets=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12),
    start=st.integers(0, 2**32 - 1),
    size=st.integers(1, 45),
    seed=st.integers(0, 2**32),
)
def test_any_order_with_copies_gives_each_packet_once(packets: list[bytes], start: int, size: int, seed: int) -> None:
    numbers = itertools.count(start)
    chunks = [(next(numbers), *piece) for packet in packets for piece in in_pieces(packet, size)]
    arrivals = chunks + chunks[::2]
    random.Random(seed).shuffle(arrivals)  # noqa: S311 - a repeatable order, not a secret
    box = inbox((start - 1) % 2**32)
    assert sorted(packet for each in arrivals for packet in take(box, *each)) == sorted(packets)
    assert box.gaps() == []
    assert box.last_tsn == (start + len(chunks) - 1) % 2**32
    assert box._pieces == {}


@given(arrivals=st.lists(st.integers(1, 60), max_size=80), start=st.sampled_from([99, 2**32 - 30]))
def test_what_is_told_is_exactly_what_arrived(arrivals: list[int], start: int) -> None:
    box = inbox(start)
    for distance in arrivals:
        take(box, start + distance)
    base = (box.last_tsn - start) % 2**32
    told = {base + each for first, last in box.gaps() for each in range(first, last + 1)}
    assert told | set(range(1, base + 1)) == set(arrivals)
    assert all(first > 1 for first, _ in box.gaps()[:1])
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(box.gaps()))


def test_a_packet_is_handed_up_at_once_whatever_is_missing_before_it() -> None:
    box = inbox()
    assert box.take(tsn=105, stream=0, protocol=BINARY, flags=WHOLE, body=b"x") == (Lane.FAST, b"x")
    assert box.take(tsn=103, stream=1, protocol=BINARY, flags=WHOLE, body=b"y") == (Lane.BULK, b"y")
    assert take(box, 105) == take(box, 99) == []


def test_gaps_are_told_across_the_wrap_and_never_too_many_for_a_packet() -> None:
    box = inbox(2**32 - 3)
    for tsn in (2**32 - 1, 0, 3):
        take(box, tsn)
    assert box.gaps() == [(2, 3), (6, 6)]
    box = inbox(0)
    for tsn in range(2, 2 * GAPS_LIMIT + 10, 2):
        take(box, tsn)
    assert len(box.gaps()) == GAPS_LIMIT
    box.packet_ended(now=0.0)
    assert len(box.acknowledgement()) < 1100


def test_a_flood_past_the_window_is_not_remembered_and_ends() -> None:
    box = inbox(0)
    with pytest.raises(Violation) as caught:
        for tsn in range(2, 100_000, 2):
            take(box, tsn)
    assert (caught.value.reason, box._past_window) == ("flooded", FLOOD_CHUNKS + 1)
    assert len(box._firsts) == len(box._lasts) == WINDOW_CHUNKS // 2


def test_a_sender_that_ran_over_the_window_once_goes_on_when_the_gap_closes() -> None:
    box = inbox(0)
    for tsn in range(2, WINDOW_CHUNKS + 500):
        take(box, tsn)
    assert take(box, 1) == [b"x"]
    assert box.last_tsn == WINDOW_CHUNKS
    assert take(box, WINDOW_CHUNKS + 1) == [b"x"]


@pytest.mark.parametrize(
    ("flags", "stream", "protocol", "size"),
    [
        (WHOLE, 2, BINARY, 1),
        (WHOLE, 0, 50, 1),
        (WHOLE, 0, 51, 1),
        (WHOLE, 0, 57, 1),
        (WHOLE & ~UNORDERED, 0, BINARY, 1),
        (WHOLE, 0, BINARY, 1161),
    ],
)
def test_data_that_does_not_belong_here_breaks_the_rules(flags: int, stream: int, protocol: int, size: int) -> None:
    with pytest.raises(Violation) as caught:
        take(inbox(), 100, bytes(size), flags, stream, protocol)
    assert caught.value.reason == "protocol"


# What a browser cuts.

FIRST, MIDDLE, LAST = UNORDERED | FIRST_FRAGMENT, UNORDERED, UNORDERED | LAST_FRAGMENT


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(bytes(1160), FIRST, 1), (b"x", LAST, 1)], id="longer than a packet"),
        pytest.param([(b"a", FIRST, 1), (b"b", LAST, 0)], id="on two lanes"),
        pytest.param([(b"a", FIRST, 1), (b"b", FIRST, 1), (b"c", LAST, 1), (b"d", LAST, 1)], id="in one another"),
    ],
)
def test_pieces_that_do_not_fit_together_break_the_rules_or_never_make_a_packet(
    pieces: list[tuple[bytes, int, int]],
) -> None:
    box = inbox()
    heard: list[bytes] = []
    try:
        for tsn, (body, flags, stream) in enumerate(pieces, 100):
            heard += take(box, tsn, body, flags, stream)
    except Violation as violation:
        assert violation.reason == "protocol"
    else:
        assert heard == [b"bc"]
    assert len(b"".join(heard)) <= 2


def test_pieces_are_bounded_and_what_was_dropped_comes_back() -> None:
    box = inbox(0)
    for tsn in range(3, 3 + 4 * HELD_LIMIT, 2):
        take(box, tsn, flags=FIRST)
    assert len(box._pieces) == HELD_LIMIT
    dropped = 3 + 2 * HELD_LIMIT
    assert take(box, dropped + 1, flags=LAST) == []
    assert [take(box, 1), take(box, 2)] == [[b"x"], [b"x"]]
    for tsn in range(4, dropped, 2):
        assert take(box, tsn, b"y", LAST) == [b"xy"]
    assert [take(box, dropped, flags=FIRST), take(box, dropped + 1, b"y", LAST)] == [[], [b"xy"]]


def test_pieces_that_never_make_a_packet_end_as_flooded() -> None:
    box = inbox(0)
    with pytest.raises(Violation) as caught:
        for tsn in range(1, 10_000):
            take(box, tsn, flags=MIDDLE)
    assert caught.value.reason == "flooded"
    assert len(box._pieces) == 2 * HELD_LIMIT


def test_pieces_of_a_skipped_fast_packet_are_let_go_and_bulk_ones_kept() -> None:
    box = inbox()
    take(box, 101, b"never whole", LAST, Lane.FAST)
    take(box, 102, b"half ", FIRST, Lane.BULK)
    box.skip(102)
    assert list(box._pieces) == [102]
    assert take(box, 103, b"and half", LAST, Lane.BULK) == [b"half and half"]


# What will not come again.


def test_a_skip_moves_over_what_is_missing_and_joins_what_arrived() -> None:
    box = inbox()
    for tsn in (102, 103, 106):
        take(box, tsn)
    box.skip(101)
    assert (box.last_tsn, box.gaps()) == (103, [(3, 3)])
    box.skip(100)
    assert box.last_tsn == 103
    box.skip(104)
    assert take(box, 104) == []
    assert take(box, 105) == [b"x"]
    assert (box.last_tsn, box.gaps()) == (106, [])


def test_a_skip_of_more_than_can_be_under_way_breaks_the_rules() -> None:
    box = inbox()
    box.skip(99 + WINDOW_CHUNKS)
    assert box.last_tsn == 99 + WINDOW_CHUNKS
    with pytest.raises(Violation) as caught:
        box.skip(99 + 2 * WINDOW_CHUNKS + 1)
    assert caught.value.reason == "protocol"


# When it is acknowledged.


def test_every_second_packet_is_acknowledged_at_once_and_a_lone_one_soon() -> None:
    box = inbox()
    take(box, 100)
    box.packet_ended(now=5.0)
    assert box.next_timer() == 5.0 + ACK_DELAY_S
    take(box, 101)
    box.packet_ended(now=5.01)
    assert box.next_timer() == 5.01
    assert unpack_from("!BBHLLHH", box.acknowledgement()) == (SACK, 0, 16, 101, 1 << 20, 0, 0)
    assert box.next_timer() is None
    box.packet_ended(now=5.02)
    assert box.next_timer() is None


@pytest.mark.parametrize("news", ["gap", "copy", "skip", "asked", "skipped copy"])
def test_what_the_sender_waits_to_hear_is_acknowledged_at_once(news: str) -> None:
    box = inbox()
    take(box, 100)
    box.packet_ended(now=1.0)
    box.acknowledgement()
    match news:
        case "gap":
            take(box, 102)
        case "copy":
            take(box, 100)
        case "skip":
            box.skip(101)
        case "asked":
            take(box, 101, flags=WHOLE | AT_ONCE)
        case "skipped copy":
            box.skip(100)
    box.packet_ended(now=2.0)
    assert box.next_timer() == 2.0
