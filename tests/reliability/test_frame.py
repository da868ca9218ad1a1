"""Frames and bytes: what is written reads back, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from overfence_reliability import PACKET_LIMIT_BYTES, Lane, Rule, Violation
from overfence_reliability.frame import (
    FRAGMENT_BYTES,
    FRAMES_LIMIT,
    NUMBER_LIMIT,
    Ack,
    Credit,
    Data,
    Finish,
    Frame,
    Goodbye,
    Hello,
    Now,
    Ping,
    ack_ranges_within,
    decode,
    encode_ack,
)
from overfence_reliability.numbers import RANGES_LIMIT

from .conftest import pack

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
NUMBER = st.integers(0, NUMBER_LIMIT - 1)
ID = st.binary(min_size=8, max_size=8)


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    """Descending ranges, each at least one number from the next."""
    largest = draw(st.integers(0, 2**40))
    ranges: list[tuple[int, int]] = []
    last = largest
    for _ in range(draw(st.integers(1, RANGES_LIMIT))):
        first = max(0, last - draw(st.integers(0, 1000)))
        ranges.append((first, last))
        last = first - 2 - draw(st.integers(0, 1000))
        if last < 0:
            break
    return Ack(draw(st.sampled_from(Lane)), draw(U16) * 1e-4, tuple(ranges))


@st.composite
def datas(draw: st.DrawFn) -> Data:
    """Messages whole, and fragments cut where they may be."""
    stream, message, ordered = draw(U16), draw(U32), draw(st.booleans())
    if draw(st.booleans()):
        body = draw(st.binary(max_size=600))
        return Data(stream, message, ordered, 0, len(body), body)
    total = draw(st.integers(FRAGMENT_BYTES + 1, 70_000))
    offset = draw(st.integers(0, (total - 1) // FRAGMENT_BYTES)) * FRAGMENT_BYTES
    return Data(stream, message, ordered, offset, total, bytes(min(FRAGMENT_BYTES, total - offset)))


FRAMES: dict[str, st.SearchStrategy[Frame]] = {
    "hello": st.builds(Hello, st.integers(0, 255), ID, ID),
    "ack": acks(),
    "data": datas(),
    "now": st.builds(Now, U16, st.binary(max_size=600)),
    "credit": st.builds(Credit, U16, NUMBER),
    "credit for all": st.builds(Credit, st.none(), NUMBER),
    "ping": st.just(Ping()),
    "finish": st.builds(Finish, U16, U32),
    "goodbye": st.builds(Goodbye, st.integers(0, 255), st.text(st.characters(max_codepoint=127), max_size=200)),
}


def same(one: Frame, other: Frame) -> bool:
    if isinstance(one, Ack) and isinstance(other, Ack):
        # A tenth of a millisecond is what the wire tells apart.
        return abs(one.delay_s - other.delay_s) < 1.01e-4 and one._replace(delay_s=0) == other._replace(delay_s=0)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("kind", FRAMES)
@given(data=st.data(), number=NUMBER)
def test_a_frame_reads_back(kind: str, data: st.DataObject, number: int) -> None:
    frame = data.draw(FRAMES[kind])
    read_number, [read] = decode(pack(number, frame))
    assert read_number == number
    assert same(read, frame)


@given(st.lists(st.one_of(*FRAMES.values()), min_size=1, max_size=6), NUMBER)
def test_frames_one_after_another_read_back(frames: list[Frame], number: int) -> None:
    packet = pack(number, *frames)
    if len(packet) > PACKET_LIMIT_BYTES:
        with pytest.raises(Violation) as raised:
            decode(packet)
        assert raised.value.rule is Rule.MALFORMED
        return
    read_number, read = decode(packet)
    assert read_number == number
    assert all(same(one, other) for one, other in zip(read, frames, strict=True))


@given(st.binary(max_size=1300))
@example(bytes(6) + b"\x40" * 17)
def test_any_bytes_give_frames_or_a_violation(packet: bytes) -> None:
    try:
        number, frames = decode(packet)
    except Violation as violation:
        assert violation.rule in (Rule.MALFORMED, Rule.LENGTH, Rule.FLOOD)
    else:
        assert 0 <= number < NUMBER_LIMIT
        assert 1 <= len(frames) <= FRAMES_LIMIT


@given(st.one_of(*FRAMES.values()), st.data())
def test_a_packet_cut_short_is_no_packet(frame: Frame, data: st.DataObject) -> None:
    packet = pack(7, frame)
    cut = data.draw(st.integers(0, len(packet) - 1))
    with pytest.raises(Violation):
        decode(packet[:cut])


def test_the_layout_is_the_specified_one() -> None:
    """Byte for byte (docs/protocol.md §7.1): another language must be able to read it."""
    assert pack(1, Ping()).hex() == "00000000000106"
    assert pack(0, Hello(1, b"AAAAAAAA", b"BBBBBBBB")).hex() == "000000000000010141414141414141414242424242424242"
    # Of the fast lane, largest 9, a millisecond ago, one more range; 8 to 9, then 3 to 5: gap 8-5-2 = 1.
    assert pack(0, Ack(Lane.FAST, 0.001, ((8, 9), (3, 5)))).hex() == (
        "00000000000002000000000009000a01000000010000000100000002"
    )
    assert pack(0, Data(2, 3, True, 0, 2, b"hi")).hex() == "0000000000004000020000000300026869"
    assert pack(0, Data(2, 3, False, 1090, 1092, b"hi")).hex() == ("00000000000043000200000003000200000442000004446869")
    assert pack(0, Credit(5, 2**32 + 1), Credit(None, 6)).hex() == "00000000000004000500010000000105000000000006"
    assert pack(0, Finish(5, 6), Now(1, b"x"), Goodbye(4, "no")).hex() == (
        "000000000000070005000000060800010001780904026e6f"
    )


def test_the_largest_packet_is_read_and_one_byte_more_is_not() -> None:
    largest = pack(0, Now(0, bytes(PACKET_LIMIT_BYTES - 11)))
    assert len(largest) == PACKET_LIMIT_BYTES
    assert decode(largest)[1] == [Now(0, bytes(PACKET_LIMIT_BYTES - 11))]
    with pytest.raises(Violation, match="1161 bytes"):
        decode(pack(0, Now(0, bytes(PACKET_LIMIT_BYTES - 10))))


def test_a_packet_asks_for_so_much_and_no_more() -> None:
    assert len(decode(pack(0, *[Ping()] * FRAMES_LIMIT))[1]) == FRAMES_LIMIT
    with pytest.raises(Violation) as raised:
        decode(pack(0, *[Ping()] * (FRAMES_LIMIT + 1)))
    assert raised.value.rule is Rule.FLOOD


@pytest.mark.parametrize(
    ("offset", "total", "size"),
    [
        (0, 2000, 0),  # an empty one
        (0, 2000, 500),  # cut early
        (7, 2000, 1090),  # from the middle of another
        (1090, 2000, 909),  # short of the end
        (1090, 2000, 911),  # past the end
        (2180, 2000, 1090),  # beyond the end
        (0, 2**32 - 1, 1),  # a crumb of a giant
    ],
)
def test_a_fragment_is_cut_where_fragments_are(offset: int, total: int, size: int) -> None:
    with pytest.raises(Violation) as raised:
        decode(pack(0, Data(0, 0, True, offset, total, bytes(size))))
    assert raised.value.rule is Rule.LENGTH


def test_an_acknowledgement_has_so_many_ranges_and_no_more() -> None:
    ranges = tuple((2 * at, 2 * at) for at in range(RANGES_LIMIT + 1, -1, -1))
    most = Ack(Lane.BULK, 0.0, ranges[:RANGES_LIMIT])
    assert decode(pack(0, most))[1] == [most]
    with pytest.raises(Violation, match="too many ranges"):
        decode(pack(0, Ack(Lane.BULK, 0.0, ranges[: RANGES_LIMIT + 1])))


def test_an_acknowledgement_below_zero_is_none() -> None:
    sound = encode_ack(Ack(Lane.FAST, 0.0, ((5, 9),)))
    below = sound[:10] + (10).to_bytes(4, "big")
    assert decode(bytes(6) + sound)[1] == [Ack(Lane.FAST, 0.0, ((5, 9),))]
    with pytest.raises(Violation, match="below 0"):
        decode(bytes(6) + below)


@given(st.integers(0, 300))
def test_ranges_that_are_said_to_fit_do_fit(room_bytes: int) -> None:
    fit = min(ack_ranges_within(room_bytes), RANGES_LIMIT)
    if fit:
        ranges = tuple((2 * at, 2 * at) for at in range(fit, 0, -1))
        assert len(encode_ack(Ack(Lane.FAST, 0.0, ranges))) <= room_bytes
    else:
        assert len(encode_ack(Ack(Lane.FAST, 0.0, ((0, 0),)))) > room_bytes
