"""Neither the server's disk nor the wire shows who talks or what is said; and the same search finds it, unsealed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

RUNNERS = Path(__file__).parent / "runners"
KINDS = {"text", "name", "account key", "signing key", "agreement key", "sdp"}
ETHERNET_BYTES = 14


def packets(capture: bytes) -> Iterator[tuple[tuple[bytes, bytes, int, int], int, bytes]]:
    """IPv4 payloads of a little-endian pcap file: (addresses and ports), TCP sequence number (-1: UDP), payload."""
    assert capture[:4] == b"\xd4\xc3\xb2\xa1" and capture[20] == 1, "an Ethernet pcap"
    at = 24
    while at + 16 <= len(capture):
        (size,) = struct.unpack_from("<I", capture, at + 8)
        frame = capture[at + 16 : at + 16 + size]
        at += 16 + size
        ip = frame[ETHERNET_BYTES:]
        if frame[12:14] != b"\x08\x00" or ip[9] not in (6, 17):
            continue
        inner = ip[4 * (ip[0] & 15) : int.from_bytes(ip[2:4], "big")]
        ends = (ip[12:16], ip[16:20], *struct.unpack_from(">HH", inner))
        if ip[9] == 17:
            yield ends, -1, inner[8:]
        else:
            yield ends, int.from_bytes(inner[4:8], "big"), inner[4 * (inner[12] >> 4) :]


def streams(capture: bytes) -> list[bytes]:
    """Each direction of each TCP connection, put together; and every datagram."""
    datagrams = []
    pieces: dict[tuple[bytes, bytes, int, int], dict[int, bytes]] = defaultdict(dict)
    for ends, sequence, payload in packets(capture):
        if sequence < 0:
            datagrams.append(payload)
        elif payload:
            held = pieces[ends].get(sequence, b"")
            pieces[ends][sequence] = max(held, payload, key=len)
    whole = []
    for segments in pieces.values():
        stream = bytearray()
        first = next(iter(segments))
        for sequence, payload in sorted(segments.items(), key=lambda item: (item[0] - first) % 2**32):
            offset = (sequence - first) % 2**32
            assert offset <= len(stream), "the capture has a gap"
            stream[offset : offset + len(payload)] = payload
        whole.append(bytes(stream))
    return datagrams + whole


def unmasked(stream: bytes) -> bytes:
    """The payloads of a WebSocket's frames (RFC 6455, §5.2) after its HTTP head; a client's are masked on the wire."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    if b"websocket" not in head.lower():
        return b""
    found, at = [], 0
    while at + 2 <= len(rest):
        size, masked = rest[at + 1] & 127, rest[at + 1] >> 7
        at += 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(rest[at : at + wide], "big")
            at += wide
        mask = rest[at : at + 4] if masked else bytes(4)
        at += 4 * masked
        payload = rest[at : at + size]
        repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
        found.append((int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big"))
        at += size
    return b"\0".join(found)


def seen(folder: Path, places: dict[str, bytes]) -> dict[str, set[str]]:
    """The kinds of canaries found in each place."""
    canaries: dict[str, list[str]] = json.loads((folder / "canaries.json").read_text())
    return {
        place: {kind for kind, each in canaries.items() if any(bytes.fromhex(one) in held for one in each)}
        for place, held in places.items()
    }


def play(folder: Path, in_loopback: tuple[str, ...], runner: str = "") -> dict[str, bytes]:
    """Two people talk; what a server's owner and someone on the wire then hold."""
    command = [*in_loopback, sys.executable, str(RUNNERS / "two_people.py"), str(folder), *([runner] if runner else [])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(RUNNERS)}
    )
    assert done.returncode == 0, done.stderr
    capture = (folder / "lo.pcap").read_bytes()
    wire = streams(capture)
    files = [file for file in (folder / "server").rglob("*") if file.is_file()]
    disk = b"\0".join(file.read_bytes() for file in files)
    frames = b"\0".join(unmasked(stream) for stream in wire)
    assert len(frames) > 20_000 and len(disk) > 20_000, "there was something to see"
    return {
        "disk": disk,
        "wire": capture + b"\0".join(wire),
        "frames": frames,
        "log": (folder / "server.log").read_bytes(),
    }


@pytest.mark.needs_root
@pytest.mark.needs_netns
@pytest.mark.requires("tcpdump")
def test_no_canary_is_on_the_disk_or_on_the_wire(tmp_path: Path, in_loopback: tuple[str, ...]) -> None:
    assert seen(tmp_path, play(tmp_path, in_loopback)) == {"disk": set(), "wire": set(), "frames": set(), "log": set()}


@pytest.mark.needs_root
@pytest.mark.needs_netns
@pytest.mark.requires("tcpdump")
def test_the_same_search_finds_them_when_sealing_is_bypassed(tmp_path: Path, in_loopback: tuple[str, ...]) -> None:
    found = seen(tmp_path, play(tmp_path, in_loopback, "unsealed"))
    assert found["disk"] >= {"text"}
    assert found["frames"] >= KINDS
    assert found["wire"], "what the server sends is not even masked"


def test_a_masked_frame_is_read() -> None:
    mask = b"\x01\x02\x03\x04"
    text = b"a canary sings"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
    head = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    frames = (
        bytes((0x82, 0x80 | len(text))) + mask + masked + bytes((0x82, 126)) + (300).to_bytes(2, "big") + b"x" * 300
    )
    assert unmasked(head + frames) == text + b"\0" + b"x" * 300
    assert unmasked(b"HTTP/1.1 200 OK\r\n\r\n" + frames) == b""
