"""A damaged datagram arrives, with its damage: its headers are left alone, and made to fit what became of it."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .emulator.datagram import checksum, is_whole_udp, mended, payload, spared_bytes

ADDRESSES = st.integers(0, 2**32 - 1)


def datagram(data: bytes, source: int = 0x0A5B0001, target: int = 0x0A5B0002, *, options: bytes = b"") -> bytes:
    """With sums that nobody has made yet."""
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 4 * words + 8 + len(data), 7, 0x4000, 64, 17, 0)
    head += struct.pack(">II", source, target) + options
    return head + struct.pack(">HHHH", 40_000, 50_000, 8 + len(data), 0) + data


def sums_hold(packet: bytes) -> bool:
    """As a receiver judges: over everything, sums included, the result is 0."""
    head = 4 * (packet[0] & 15)
    pseudo = packet[12:20] + struct.pack(">HH", 17, len(packet) - head)
    return checksum(packet[:head]) == 0 and checksum(pseudo + packet[head:]) == 0


def test_the_sum_is_that_of_the_rfc() -> None:
    # RFC 1071, section 3: these words add up to 0xddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert checksum(b"\x01") == checksum(b"\x01\x00")


@given(st.binary(max_size=200), ADDRESSES, ADDRESSES, st.sampled_from([b"", bytes(8)]))
def test_what_was_changed_or_cut_is_made_to_fit(data: bytes, source: int, target: int, options: bytes) -> None:
    packet = datagram(data, source, target, options=options)
    assert spared_bytes(packet) == len(packet) - len(data)
    for damaged in (packet, packet[: spared_bytes(packet)], packet[:-1] + b"\xaa" if data else packet):
        whole = mended(damaged)
        assert sums_hold(whole)
        assert payload(whole) == payload(damaged)
        assert struct.unpack_from(">H", whole, 2)[0] == len(whole)
        assert struct.unpack_from(">H", whole, spared_bytes(whole) - 4)[0] == len(whole) - spared_bytes(whole) + 8
        assert (whole[12:20], mended(whole)) == (damaged[12:20], whole)
        assert str(IPv4Address(whole[12:16])) == str(IPv4Address(source))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45" + bytes(18),
        b"\x60" + bytes(60),
        datagram(b"x" * 30)[:27],
        # Not UDP, the first piece of a datagram, and a further one.
        datagram(b"x" * 30)[:9] + b"\x06" + datagram(b"x" * 30)[10:],
        datagram(b"x" * 30)[:6] + b"\x20\x00" + datagram(b"x" * 30)[8:],
        datagram(b"x" * 30)[:6] + b"\x00\x10" + datagram(b"x" * 30)[8:],
    ],
)
def test_everything_else_is_left_alone(packet: bytes) -> None:
    assert not is_whole_udp(packet)
    assert spared_bytes(packet) == len(packet)
    assert payload(packet) == b""
