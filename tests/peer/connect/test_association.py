"""Our association against a plain one, and against packets nobody sane would send."""

from __future__ import annotations

import asyncio
import time
from struct import pack, pack_into, unpack_from

import pytest
from aiortc.rtcsctptransport import (
    Chunk,
    RTCSctpCapabilities,
    SackChunk,
    ShutdownAckChunk,
    parse_packet,
    serialize_packet,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overfence.connect.guard import FLOOD_CHUNKS, RATE_CHUNKS, SACK
from overfence_reliability import Lane

from .chunks import damaged, data_chunk, sack, skip, with_checksum
from .conftest import Pair


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
            pair.ours.post(Lane.BULK, b"in flight")
            pair.ours.post(Lane.FAST, b"in flight")
        else:
            await pair.ours.open(max_message_bytes=1160)
        for packet in packets:
            made = bytearray(packet)
            # The right tag and numbers near the right ones, or nothing past the door would be tried.
            pack_into("!L", made, 4, pair.ours._local_verification_tag if packet[4:8] != bytes(4) else 0)
            if made[12:13] == b"\0" and len(made) >= 20 and pair.ours._last_received_tsn is not None:
                pack_into("!L", made, 16, (pair.ours._last_received_tsn + unpack_from("!L", made, 16)[0] % 8) % 2**32)
            if len(made) >= 20 and made[12] in (3, 192):
                base = pair.ours._local_tsn if made[12] == 3 else pair.ours._last_received_tsn or 0
                pack_into("!L", made, 16, (base - 1 + made[19] % 4) % 2**32)
            before_s = time.process_time()
            await pair.ours._handle_data(with_checksum(bytes(made)))
            assert time.process_time() - before_s < 0.5
        await pair.ours.stop()
        await asyncio.sleep(0)
        assert unhandled == []

    asyncio.run(story())


# Chunks that are sound, and still lies.


async def test_an_acknowledgement_of_what_was_never_sent_ends_the_link(associations: Pair) -> None:
    await associations.ours._handle_data(associations.packet(sack(associations.ours._local_tsn)))
    assert [reason for reason, _ in associations.ends] == ["protocol"]


async def test_gaps_beyond_what_is_in_flight_end_the_link(associations: Pair) -> None:
    associations.ours.post(Lane.BULK, b"one")
    await associations.ours._handle_data(associations.packet(sack(associations.ours._local_tsn - 1, (1, 60_000))))
    assert [reason for reason, _ in associations.ends] == ["protocol"]


async def test_a_skip_far_ahead_ends_the_link_and_nothing_after_it_is_heard(associations: Pair) -> None:
    first = associations.theirs._local_tsn
    await associations.ours._handle_data(associations.packet(skip(first + 5000)))
    await associations.ours._handle_data(associations.packet(data_chunk(first)))
    assert [reason for reason, _ in associations.ends] == ["protocol"]
    assert associations.heard == []


async def test_a_second_beginning_changes_nothing(associations: Pair) -> None:
    tag = pack("!L", associations.theirs._local_verification_tag)
    [late] = [packet for packet in associations.packets if packet[12] == 1 and packet[16:20] == tag]
    forged = bytearray(late)
    pack_into("!L", forged, 16, associations.theirs._local_verification_tag ^ 1)
    associations.bulk.send(b"before")
    await associations.settle()
    for beginning in (late, with_checksum(bytes(forged))):
        await associations.ours._handle_data(beginning)
    associations.bulk.send(b"after")
    associations.ours.post(Lane.BULK, b"and back")
    await associations.settle()
    assert associations.heard == [b"before", b"after"]
    assert associations.they_heard == [b"and back"]
    assert associations.ends == []


async def test_a_flood_ends_the_link_as_flooded_and_is_not_held(associations: Pair) -> None:
    first = associations.theirs._local_tsn
    for ahead in range(1, 100_000):
        if associations.ends:
            break
        crumb = data_chunk(first + 2 * ahead, bytes(1100))
        await associations.ours._handle_data(associations.packet(crumb))
        associations.our_wire.sent.clear()
    assert [reason for reason, _ in associations.ends] == ["flooded"]
    assert len(associations.heard) <= FLOOD_CHUNKS


class Slow(SackChunk):
    """Hundreds of acknowledgements in one packet, each to be looked up among everything under way."""

    def __init__(self, cumulative_tsn: int, newest: int) -> None:
        super().__init__()
        self.one = bytes(sack(cumulative_tsn, (newest, newest)))

    def __bytes__(self) -> bytes:
        return self.one * 50


async def test_acknowledgements_made_to_be_slow_count_for_what_they_cost(associations: Pair) -> None:
    first = associations.ours._local_tsn
    for _ in range(2048):
        associations.ours.post(Lane.BULK, b"x")
    slow = associations.packet(Slow(first - 1, 2000))
    packets = 0
    while not associations.ends:
        await associations.ours._handle_data(slow)
        packets += 1
        assert packets * 50 <= RATE_CHUNKS
    assert [reason for reason, _ in associations.ends] == ["flooded"]


@pytest.mark.parametrize("made", [data_chunk(5), sack(5, (2, 3)), skip(5), ShutdownAckChunk()])
async def test_data_before_the_handshake_is_dropped(made: Chunk, new_pair: type[Pair]) -> None:
    pair = new_pair()
    await pair.ours.open(max_message_bytes=1160)
    tag = pair.ours._local_verification_tag
    await pair.ours._handle_data(serialize_packet(5000, 5000, tag, made))
    assert (pair.ends, pair.heard) == ([], [])
    await pair.ours.stop()


async def test_a_peer_that_cannot_skip_is_told_so_at_once(new_pair: type[Pair]) -> None:
    pair = new_pair()
    pair.theirs._local_partial_reliability = False
    await pair.ours.open(max_message_bytes=1160)
    await pair.theirs.start(RTCSctpCapabilities(maxMessageSize=1160), 5000)
    await pair.settle()
    assert ([reason for reason, _ in pair.ends], pair.opened) == (["protocol"], 0)
    await pair.stop()


async def test_a_fast_packet_leaves_at_once_and_a_lost_one_is_skipped(associations: Pair) -> None:
    for number in range(5):
        associations.ours.post(Lane.FAST, b"%d" % number)
        assert len(associations.our_wire.sent) == number + 1
    del associations.our_wire.sent[1]
    await associations.settle()
    assert associations.they_heard == [b"0", b"2", b"3", b"4"]
    assert associations.theirs._last_received_tsn == (associations.ours._local_tsn + 4) % 2**32


async def test_plain_aiortc_loses_a_bulk_packet_and_gets_it_again(associations: Pair) -> None:
    said = [b"%d" % number for number in range(20)]
    for packet in said:
        associations.ours.post(Lane.BULK, packet)
    del associations.our_wire.sent[0]
    await associations.settle()
    assert sorted(associations.they_heard) == sorted(said)
    assert associations.ours.room_bytes(Lane.BULK) > 0


@pytest.mark.parametrize("lost", range(4))
async def test_what_plain_aiortc_sends_twice_or_skips_is_heard_once(associations: Pair, lost: int) -> None:
    for number in range(8):
        associations.fast.send(b"fast %d" % number)
        associations.bulk.send(b"bulk %d" % number)
    await asyncio.sleep(0)
    del associations.their_wire.sent[lost]
    await associations.settle()
    async with asyncio.timeout(10):
        while associations.theirs._sent_queue:
            await asyncio.sleep(0.01)  # plain aiortc's own timer runs in real time
            await associations.settle()
    bulk = [packet for packet in associations.heard if packet.startswith(b"bulk")]
    assert sorted(bulk) == [b"bulk %d" % number for number in range(8)]
    assert len(associations.heard) == len(set(associations.heard)) >= 15


async def test_an_acknowledgement_rides_with_what_goes_the_other_way(associations: Pair) -> None:
    associations.bulk.send(b"hello")
    await asyncio.sleep(0)
    [packet] = associations.their_wire.sent
    await associations.ours._handle_data(packet)
    assert associations.our_wire.sent == []
    associations.ours.post(Lane.FAST, b"hello yourself")
    [answer] = associations.our_wire.sent
    assert [chunk.type for chunk in parse_packet(answer)[3]] == [SACK, 0]
    assert len(answer) < 100


async def test_a_packet_for_somebody_else_or_damaged_is_dropped(associations: Pair) -> None:
    packet = bytearray(associations.packet(data_chunk(associations.theirs._local_tsn)))
    packet[-1] ^= 1
    await associations.ours._handle_data(bytes(packet))
    tag = associations.theirs._remote_verification_tag ^ 1
    await associations.ours._handle_data(serialize_packet(5000, 5000, tag, data_chunk(associations.theirs._local_tsn)))
    assert (associations.heard, associations.ends) == ([], [])


async def test_after_the_end_no_timer_is_left(associations: Pair) -> None:
    associations.ours.post(Lane.BULK, b"lost")
    assert associations.ours._timer is not None
    await associations.ours.stop()
    assert associations.ours._timer.cancelled()
    associations.ours._tick()
    assert associations.ours._timer is None
