"""What of an IPv4 packet may be damaged, and how a damaged one is made to arrive all the same. Pure."""

from __future__ import annotations

import struct

UDP = 17
UDP_HEADER_BYTES = 8
NOT_LAST_OR_NOT_FIRST = 0x3FFF


def is_whole_udp(packet: bytes) -> bool:
    """One UDP datagram over IPv4, not a piece of one."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != UDP:
        return False
    (fragment,) = struct.unpack_from(">H", packet, 6)
    return not fragment & NOT_LAST_OR_NOT_FIRST and len(packet) >= header_bytes(packet) + UDP_HEADER_BYTES


def header_bytes(packet: bytes) -> int:
    """How long the IPv4 header is."""
    return 4 * (packet[0] & 15)


def payload(packet: bytes) -> bytes:
    """What a UDP datagram carries; empty for anything else."""
    return packet[header_bytes(packet) + UDP_HEADER_BYTES :] if is_whole_udp(packet) else b""


def spared_bytes(packet: bytes) -> int:
    """The headers of UDP; all of everything else, whose own checksums would turn the damage into a mere loss."""
    return header_bytes(packet) + UDP_HEADER_BYTES if is_whole_udp(packet) else len(packet)


def mended(packet: bytes) -> bytes:
    """A damaged datagram with lengths and checksums that fit what is left of it.

    The receiving kernel drops what its checksum doesn't fit: the damage would be one more loss, and no application
    would ever see a flipped bit. On a real path it does: sixteen bits let some damage through, and hosts on the way
    that change addresses make the sum anew.
    """
    start = header_bytes(packet)
    ip, udp, data = bytearray(packet[:start]), bytearray(packet[start : start + UDP_HEADER_BYTES]), packet[start + 8 :]
    struct.pack_into(">H", ip, 2, len(packet))
    struct.pack_into(">H", ip, 10, 0)
    struct.pack_into(">H", ip, 10, checksum(ip))
    struct.pack_into(">HH", udp, 4, len(udp) + len(data), 0)
    pseudo = bytes(ip[12:20]) + struct.pack(">HH", UDP, len(udp) + len(data))
    # 0 would say "no checksum".
    struct.pack_into(">H", udp, 6, checksum(pseudo + udp + data) or 0xFFFF)
    return bytes(ip + udp) + data


def checksum(data: bytes | bytearray) -> int:
    """RFC 1071."""
    even = bytes(data) + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(even) // 2}H", even))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
