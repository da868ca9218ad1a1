"""Real SCTP packets of every kind, and the same ones damaged: not sent by anybody we know."""

from __future__ import annotations

from struct import pack_into

from aiortc.rtcsctptransport import (
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
    serialize_packet,
)
from google_crc32c import value as crc32c
from hypothesis import strategies as st
from overfence.connect.guard import BINARY, WHOLE


def data_chunk(
    tsn: int, body: bytes = b"hello", flags: int = WHOLE, protocol: int = BINARY, stream: int = 1
) -> DataChunk:
    made = DataChunk(flags=flags)
    made.tsn, made.protocol, made.user_data, made.stream_id = tsn % 2**32, protocol, body, stream
    return made


def sack(cumulative_tsn: int, *gaps: tuple[int, int]) -> SackChunk:
    made = SackChunk()
    made.cumulative_tsn, made.advertised_rwnd, made.gaps = cumulative_tsn % 2**32, 1 << 20, list(gaps)
    return made


def skip(tsn: int) -> ForwardTsnChunk:
    made = ForwardTsnChunk()
    made.cumulative_tsn = tsn % 2**32
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
    echo, forward, shutdown = CookieEchoChunk(body=bytes(24)), skip(12), ShutdownChunk()
    forward.streams = [(0, 1), (3, 4)]
    shutdown.cumulative_tsn = 5
    acknowledgement = sack(8, (2, 3), (5, 9))
    acknowledgement.duplicates = [4, 5]
    return [
        *(init, init_ack, beat, beat_ack, abort, error, reset, echo, forward, shutdown, acknowledgement),
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
