"""Nothing that passes the guard can loop or raise in the stack behind it, and the inbox stays bounded."""

from __future__ import annotations

import asyncio
import itertools
import time
from struct import pack, pack_into, unpack_from

import pytest
from aiortc.rtcsctptransport import (
    RECONFIG_PARAM_TYPES,
    AbortChunk,
    Chunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    ForwardTsnChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    ReconfigChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    StreamResetOutgoingParam,
    parse_packet,
    serialize_packet,
)
from google_crc32c import value as crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overfence.connect.guard import (
    BINARY,
    FIRST_FRAGMENT,
    FLOOD_BYTES,
    GAPS_LIMIT,
    LAST_FRAGMENT,
    UNORDERED,
    WINDOW_BYTES,
    WINDOW_CHUNKS,
    Inbox,
    Violation,
    is_sound_packet,
)

from .conftest import Pair

WHOLE = FIRST_FRAGMENT | LAST_FRAGMENT
HEADER = bytes(12)


def chunk(kind: int, body: bytes, length: int | None = None) -> bytes:
    return pack("!BBH", kind, 0, len(body) + 4 if length is None else length) + body


def data_chunk(tsn: int, body: bytes = b"\x00hello", flags: int = WHOLE, protocol: int = BINARY) -> DataChunk:
    made = DataChunk(flags=flags)
    made.tsn, made.protocol, made.user_data = tsn, protocol, body
    return made


def sack(cumulative_tsn: int, *gaps: tuple[int, int]) -> SackChunk:
    made = SackChunk()
    made.cumulative_tsn, made.advertised_rwnd, made.gaps = cumulative_tsn, 1 << 20, list(gaps)
    return made


def every_kind() -> list[Chunk]:
    init, init_ack = InitChunk(), InitAckChunk()
    for each in (init, init_ack):
        each.initiate_tag, each.advertised_rwnd, each.initial_tsn = 7, 1 << 20, 9
        each.outbound_streams = each.inbound_streams = 16
        each.params = [(0xC000, b""), (0x8008, b"\xc0\x82"), (7, bytes(24))]
    beat, beat_ack, abort, error = HeartbeatChunk(), HeartbeatAckChunk(), AbortChunk(), ErrorChunk()
    reset = ReconfigChunk()
    for parameters in (beat, beat_ack, abort, error):
        parameters.params = [(1, b"opaque"), (2, b"")]
    reset.params = [(13, bytes(StreamResetOutgoingParam(1, 2, 3, [0, 1]))), (16, bytes(8)), (17, bytes(8))]
    echo, skip, shutdown = CookieEchoChunk(body=bytes(24)), ForwardTsnChunk(), ShutdownChunk()
    skip.cumulative_tsn, skip.streams = 12, [(0, 1), (3, 4)]
    shutdown.cumulative_tsn = 5
    acknowledgement = sack(8, (2, 3), (5, 9))
    acknowledgement.duplicates = [4, 5]
    return [
        *(init, init_ack, beat, beat_ack, abort, error, reset, echo, skip, shutdown, acknowledgement),
        *(data_chunk(10), ShutdownAckChunk(), ShutdownCompleteChunk()),
    ]


REAL = [serialize_packet(5000, 5000, 0 if isinstance(each, InitChunk) else 7, each) for each in every_kind()]


def with_checksum(packet: bytes) -> bytes:
    made = bytearray(packet)
    pack_into("<L", made, 8, crc32c(bytes(made[:8]) + bytes(4) + bytes(made[12:])))
    return bytes(made)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real packet, or two bundled, with lengths and bytes changed, cut or grown: checksum in order."""
    first, second = draw(st.sampled_from(REAL)), draw(st.sampled_from(REAL))
    packet = bytearray(first + second[12:] if draw(st.booleans()) else first)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(12, len(packet) - 1))
        packet[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 3, 4, 5, 255])))
    cut = draw(st.integers(0, min(8, len(packet) - 12)))
    return with_checksum(bytes(packet[: len(packet) - cut] if draw(st.booleans()) else packet + bytes(cut)))


def test_every_real_packet_is_sound() -> None:
    assert all(is_sound_packet(packet) for packet in REAL)


def test_the_twenty_bytes_that_hang_the_stack_are_not_sound() -> None:
    packet = HEADER + chunk(4, pack("!HH", 1, 0))
    assert len(packet) == 20
    assert not is_sound_packet(packet)


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
    assert not is_sound_packet(HEADER + body)


def test_kinds_nobody_knows_pass_whatever_they_hold() -> None:
    assert is_sound_packet(HEADER + chunk(200, b"anything") + chunk(11, b""))


@pytest.mark.timeout(60)
@settings(max_examples=1000)
@given(damaged())
def test_what_passes_is_parsed_at_once_without_an_exception(packet: bytes) -> None:
    if not is_sound_packet(packet):
        return
    before_s = time.process_time()
    _, _, _, chunks = parse_packet(packet)
    assert time.process_time() - before_s < 0.5
    for each in chunks:
        if isinstance(each, SackChunk):
            assert sum(last - first + 1 for first, last in each.gaps) <= 65_535
        if isinstance(each, ReconfigChunk):
            for kind, value in each.params:
                if kind in RECONFIG_PARAM_TYPES:
                    RECONFIG_PARAM_TYPES[kind].parse(value)


@given(st.binary(max_size=200))
def test_noise_is_judged_without_an_exception(noise: bytes) -> None:
    assert is_sound_packet(noise) in (True, False)


@pytest.mark.timeout(120)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(packets=st.lists(damaged(), min_size=1, max_size=12), established=st.booleans())
def test_no_packet_raises_or_blocks_in_a_live_association(packets: list[bytes], established: bool) -> None:
    async def story() -> None:
        pair = Pair()
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
        if established:
            await pair.establish()
            pair.ours.post(b"\x00in flight")
        else:
            await pair.ours.open(max_message_bytes=65_537)
        for packet in packets:
            made = bytearray(packet)
            # The right tag and numbers near the right ones, or nothing past the door would be tried.
            pack_into("!L", made, 4, pair.ours._local_verification_tag if packet[4:8] != bytes(4) else 0)
            if made[12:13] == b"\0" and len(made) >= 20 and pair.ours._last_received_tsn is not None:
                pack_into("!L", made, 16, (pair.ours._last_received_tsn + unpack_from("!L", made, 16)[0] % 8) % 2**32)
            if made[12:13] == b"\3" and len(made) >= 20:
                pack_into("!L", made, 16, (pair.ours._last_sacked_tsn + made[19] % 3) % 2**32)
            before_s = time.process_time()
            await pair.ours._handle_data(with_checksum(bytes(made)))
            assert time.process_time() - before_s < 0.5
        await pair.ours.stop()
        await asyncio.sleep(0)
        assert unhandled == []

    asyncio.run(story())


# The inbox.


def inbox(last_tsn: int = 99, limit_bytes: int = 65_537) -> Inbox:
    return Inbox(last_tsn=last_tsn, message_limit_bytes=limit_bytes)


def take(box: Inbox, tsn: int, body: bytes, flags: int = WHOLE, stream: int = 0, protocol: int = BINARY) -> list[bytes]:
    return box.take(tsn=tsn, stream=stream, protocol=protocol, flags=flags, body=body)


@given(
    messages=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12),
    start=st.integers(0, 2**32 - 1),
    size=st.integers(1, 20),
    random=st.randoms(use_true_random=False),
)
def test_any_order_with_copies_gives_each_message_once_in_order(
    messages: list[bytes], start: int, size: int, random: object
) -> None:
    numbers = itertools.count(start)
    chunks: list[tuple[int, bytes, int]] = []
    for message in messages:
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        for index, piece in enumerate(pieces):
            flags = FIRST_FRAGMENT * (index == 0) | LAST_FRAGMENT * (index == len(pieces) - 1)
            chunks.append((next(numbers) % 2**32, piece, flags))
    arrivals = chunks + chunks[::2]
    random.shuffle(arrivals)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    box = inbox((start - 1) % 2**32)
    assert [message for each in arrivals for message in take(box, *each)] == messages
    assert (box.room_bytes, box.gaps()) == (WINDOW_BYTES, [])


def test_gaps_are_told_as_runs_across_the_wrap_and_never_too_many_for_a_packet() -> None:
    box = inbox(2**32 - 3)
    for tsn in (2**32 - 1, 0, 3):
        assert take(box, tsn, b"x") == []
    assert box.gaps() == [(2, 3), (6, 6)]
    box = inbox(0)
    for tsn in range(2, 2 * GAPS_LIMIT + 10, 2):
        take(box, tsn, b"x")
    assert len(box.gaps()) == GAPS_LIMIT


def test_a_flood_ahead_of_a_gap_never_holds_more_than_the_window_and_ends() -> None:
    box = inbox(0)
    body = bytes(1100)
    sent_bytes = 0
    with pytest.raises(Violation) as caught:
        for tsn in range(2, 100_000):
            take(box, tsn, body)
            sent_bytes += len(body)
            assert box._ahead_bytes <= WINDOW_BYTES
    assert caught.value.reason == "flooded"
    assert sent_bytes < WINDOW_BYTES + FLOOD_BYTES + 1


def test_crumbs_are_bounded_by_number() -> None:
    box = inbox(0)
    with pytest.raises(Violation) as caught:
        for tsn in range(2, 100_000):
            take(box, tsn, b"x")
    assert (caught.value.reason, len(box._ahead)) == ("flooded", WINDOW_CHUNKS - 1)


def test_a_sender_that_ran_over_the_window_once_goes_on_when_the_gap_closes() -> None:
    box = inbox(0)
    for tsn in range(2, WINDOW_CHUNKS + 500):
        take(box, tsn, b"x")
    assert len(take(box, 1, b"x")) == WINDOW_CHUNKS
    assert len(take(box, WINDOW_CHUNKS + 1, b"x")) == 1


@pytest.mark.parametrize(
    ("flags", "stream", "protocol"),
    [
        (WHOLE, 1, BINARY),
        (WHOLE, 0, 50),
        (WHOLE, 0, 51),
        (WHOLE, 0, 57),
        (WHOLE | UNORDERED, 0, BINARY),
        (LAST_FRAGMENT, 0, BINARY),
    ],
)
def test_data_that_does_not_belong_here_breaks_the_rules(flags: int, stream: int, protocol: int) -> None:
    with pytest.raises(Violation) as caught:
        take(inbox(), 100, b"x", flags, stream, protocol)
    assert caught.value.reason == "protocol"


def test_a_message_that_begins_inside_another_or_never_ends_breaks_the_rules() -> None:
    box = inbox()
    assert take(box, 100, b"x", FIRST_FRAGMENT) == []
    with pytest.raises(Violation):
        take(box, 101, b"x", FIRST_FRAGMENT)
    box = inbox(limit_bytes=1000)
    with pytest.raises(Violation):
        for tsn in range(100, 2000):
            take(box, tsn, b"x", FIRST_FRAGMENT if tsn == 100 else 0)
    assert box.last_tsn == 1100


# Chunks that are sound, and still lies.


async def test_an_acknowledgement_of_what_was_never_sent_ends_the_link(associations: Pair) -> None:
    newest = associations.ours._local_tsn - 1
    await associations.ours._handle_data(associations.packet(sack((newest + 1) % 2**32)))
    assert [reason for reason, _ in associations.ends] == ["protocol"]


async def test_gaps_beyond_what_is_in_flight_end_the_link(associations: Pair) -> None:
    associations.ours.post(b"\x00one")
    await asyncio.sleep(0)
    await associations.ours._handle_data(associations.packet(sack(associations.ours._last_sacked_tsn, (1, 60_000))))
    assert [reason for reason, _ in associations.ends] == ["protocol"]


async def test_skipping_messages_of_a_reliable_channel_ends_the_link(associations: Pair) -> None:
    skip = ForwardTsnChunk()
    skip.cumulative_tsn = (associations.theirs._local_tsn + 5) % 2**32
    await associations.ours._handle_data(associations.packet(skip))
    assert [reason for reason, _ in associations.ends] == ["protocol"]


async def test_a_second_beginning_changes_nothing(associations: Pair) -> None:
    tag = pack("!L", associations.theirs._local_verification_tag)
    [late] = [packet for packet in associations.packets if packet[12] == 1 and packet[16:20] == tag]
    forged = bytearray(late)
    pack_into("!L", forged, 16, associations.theirs._local_verification_tag ^ 1)
    heard: list[bytes] = []
    associations.channel.on("message", heard.append)
    associations.channel.send(b"\x00before")
    await associations.settle()
    for beginning in (late, with_checksum(bytes(forged))):
        await associations.ours._handle_data(beginning)
    associations.channel.send(b"\x00after")
    associations.ours.post(b"\x00and back")
    await associations.settle()
    assert associations.heard == [b"\x00before", b"\x00after"]
    assert heard == [b"\x00and back"]
    assert associations.ends == []


async def test_a_flood_ends_the_link_as_flooded(associations: Pair) -> None:
    first = associations.theirs._local_tsn
    for ahead in range(1, 100_000):
        if associations.ends:
            break
        crumb = data_chunk((first + ahead) % 2**32, bytes(1100))
        await associations.ours._handle_data(associations.packet(crumb))
        associations.our_wire.sent.clear()
    assert [reason for reason, _ in associations.ends] == ["flooded"]
    assert associations.heard == []


@pytest.mark.parametrize("made", [data_chunk(5), sack(5, (2, 3)), ShutdownAckChunk()])
async def test_data_before_the_handshake_is_dropped(made: Chunk, new_pair: type[Pair]) -> None:
    pair = new_pair()
    await pair.ours.open(max_message_bytes=65_537)
    tag = pair.ours._local_verification_tag
    await pair.ours._handle_data(serialize_packet(5000, 5000, tag, made))
    assert (pair.ends, pair.heard) == ([], [])
    await pair.ours.stop()


async def test_a_lost_packet_comes_back_and_everything_is_acknowledged(associations: Pair) -> None:
    for index in range(20):
        associations.ours.post(b"\x00%d" % index)
    heard: list[bytes] = []
    associations.channel.on("message", heard.append)
    await asyncio.sleep(0)
    assert associations.ours.unacknowledged_bytes > 0
    del associations.our_wire.sent[0]
    await associations.settle()
    async with asyncio.timeout(10):
        while len(heard) < 20:
            await asyncio.sleep(0.01)  # SCTP's own retransmission timer runs in real time
            await associations.settle()
    assert heard == [b"\x00%d" % index for index in range(20)]
    assert associations.ours.unacknowledged_bytes == 0


async def test_a_retransmission_caught_by_the_end_arms_no_timer(associations: Pair) -> None:
    associations.ours.post(b"\x00lost")
    await asyncio.sleep(0)
    associations.our_wire.sent.clear()
    associations.ours._t3_cancel()
    associations.ours._t3_expired()
    await associations.ours.stop()
    await asyncio.sleep(0)
    assert associations.ours._t3_handle is None
