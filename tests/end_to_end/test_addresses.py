"""No packet goes to an address that was not configured, in an accepted invite, or told by a contact.

All that leaves is captured, on every interface of a network that tempts: it has default routes and a name server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest
from overfence.identity import Invite

RUNNERS = Path(__file__).parent / "runners"
WAIT_S = 20.0
PLAY_WITHIN_S = 60.0
SNAP_BYTES = 256

Address = tuple[str, int]

# Routers that nobody is behind, with a link-layer address at hand: what is sent past them does leave, and is seen.
SETUP = """
set -e
ip link set lo up
ip link add out type veth peer name far
ip link set far addrgenmode none up
ip addr add 10.77.0.1/24 dev out
ip -6 addr add 2001:db8:77::1/64 dev out nodad
ip link set out up
for router in 10.77.0.254 2001:db8:77::fe; do
    ip neigh add $router lladdr 02:00:00:00:00:fe dev out nud permanent
    ip route add default via $router
done
mount --bind "$1" "$(readlink -f /etc/resolv.conf)"
hostname fence.example
echo ready
exec cat
"""
HOSTS = {"10.77.0.1", "2001:db8:77::1"}
RESOLVER = "nameserver 192.0.2.53\noptions timeout:1 attempts:1\n"

# Services that programs like to ask unbidden. Ports that the system chooses by itself are above all of these.
SERVICES = {
    **{53: "DNS", 853: "DNS", 67: "DHCP", 547: "DHCP", 123: "NTP", 137: "NetBIOS", 1900: "SSDP", 5351: "NAT-PMP"},
    **{3478: "STUN or TURN", 5349: "STUN or TURN", 19302: "STUN", 5353: "mDNS", 5355: "LLMNR"},
}

on_a_network = pytest.mark.needs_netns
watched = pytest.mark.requires("tcpdump", "nsenter")

# ── reading a capture ─────────────────────────────────────────────────────────────────────────────

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
KINDS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
NEITHER = ("", 0)


@dataclass(frozen=True)
class Packet:
    """One packet: who sends what to whom; port 0 where there are none. `inner` begins after the IP headers."""

    kind: str
    source: Address
    target: Address
    inner: bytes = b""


def packets(capture: bytes) -> Iterator[Packet]:
    """All packets of a little-endian pcap file in Linux's "cooked" format, which tells them whatever the interface."""
    magic, link_type = struct.unpack_from("<I16xI", capture)
    assert (magic, link_type) == (0xA1B2C3D4, 113)
    at = 24
    while at < len(capture):
        (size,) = struct.unpack_from("<8xI", capture, at)
        frame = capture[at + 16 : at + 16 + size]
        at += 16 + size
        yield packet_in(int.from_bytes(frame[14:16], "big"), frame[16:])


def packet_in(protocol: int, data: bytes) -> Packet:
    """What an Ethernet frame of this protocol, or an error about a packet, carries."""
    if protocol == ARP:
        return Packet("arp", (host(data[14:18]), 0), (host(data[24:28]), 0))
    if protocol == IPV4:
        number, inner = data[9], data[4 * (data[0] & 15) :]
        source, target = host(data[12:16]), host(data[16:20])
        if int.from_bytes(data[6:8], "big") & 0x1FFF:
            return Packet("fragment", (source, 0), (target, 0))
    elif protocol == IPV6:
        number, inner = data[6], data[40:]
        source, target = host(data[8:24]), host(data[24:40])
        if number == 0:  # hop-by-hop options, as on what multicast routers are told
            number, inner = inner[0], inner[8 * (inner[1] + 1) :]
    else:
        return Packet(f"ethertype {protocol:04x}", NEITHER, NEITHER)
    ports = struct.unpack_from(">HH", inner) if number in (6, 17) else (0, 0)
    return Packet(KINDS.get(number, f"IP protocol {number}"), (source, ports[0]), (target, ports[1]), inner)


def host(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


# ── the check ─────────────────────────────────────────────────────────────────────────────────────


def strays(seen: Iterable[Packet], servers: set[Address], told: set[Address]) -> set[tuple[str, str, int]]:
    """Kind, address and port of each packet that goes where nobody asked for it."""
    found = set()
    callers: set[Address] = set()
    for packet in seen:
        if packet.kind == "tcp" and packet.target in servers:
            callers.add(packet.source)
        elif packet.kind == "tcp" and packet.source in servers and packet.target in callers:
            continue  # what the server answers
        elif not (packet.kind == "udp" and packet.target in told) and not by_the_kernel(packet, told):
            found.add((packet.kind, *packet.target))
    return found


def by_the_kernel(packet: Packet, told: set[Address]) -> bool:
    """Whether the system sends this by itself on any machine, whatever runs there; each for a reason of its own."""
    match packet.kind, tuple(packet.inner[:2]):
        case ("icmp", (3, 3)) | ("icmpv6", (1, 4)):
            # "Port unreachable", back to the one of us that sent a datagram to a peer just killed.
            about = packet_in(IPV4 if packet.kind == "icmp" else IPV6, packet.inner[8:])
            return about.kind == "udp" and about.target in told and about.source[0] == packet.target[0]
        case "icmpv6", (133, 0):
            # An interface that came up looks for routers.
            return packet.target[0] == "ff02::2"
        case "icmpv6", (135, 0):
            # Is my new address taken? Sent from no address; with one, it would be a search for a neighbour to talk to.
            return packet.source[0] == "::"
        case "icmpv6", (143, 0):
            # The multicast groups by which neighbours find its addresses; any other was joined by a program.
            return packet.target[0] == "ff02::16" and all(map(is_solicited_node, groups(packet.inner)))
    return False


def groups(report: bytes) -> Iterator[str]:
    """The multicast groups of a report (RFC 3810, §5.2)."""
    at = 8
    for _ in range(int.from_bytes(report[6:8], "big")):
        auxiliary_words, sources = struct.unpack_from(">xBH", report, at)
        yield host(report[at + 4 : at + 20])
        at += 20 + 16 * sources + 4 * auxiliary_words


def is_solicited_node(group: str) -> bool:
    return ipaddress.ip_address(group) in ipaddress.ip_network("ff02::1:ff00:0/104")


def services(seen: Iterable[Packet]) -> set[str]:
    """The well-known services that any packet is for, or from."""
    return {SERVICES[port] for packet in seen for _, port in (packet.source, packet.target) if port in SERVICES}


# ── watching ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The words before a command that runs it on a machine with a network, a name server, and nobody else."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(RESOLVER)
    command = ("unshare", "--net", "--mount", "--uts", "sh", "-c", SETUP, "sh", str(resolver))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        assert machine.stdin is not None and machine.stdout is not None
        assert machine.stdout.readline() == "ready\n", "the network could not be made"
        yield ("nsenter", "--target", str(machine.pid), "--net", "--mount", "--uts")
        machine.stdin.close()


@dataclass(frozen=True)
class Watched:
    """What a command said, and every packet there was from before it started until after it ended."""

    code: int
    said: str
    packets: list[Packet]


async def watch(inside: tuple[str, ...], *command: str, stdin: bytes = b"") -> Watched:
    """Run a command there and capture all interfaces meanwhile."""
    tcpdump = await asyncio.create_subprocess_exec(
        *(*inside, "tcpdump", "-n", "-i", "any", "-y", "LINUX_SLL", "-s", str(SNAP_BYTES), "-B", "16384", "-U"),
        *("-w", "-"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tcpdump.stdout is not None and tcpdump.stderr is not None
    last = b"that was all " + os.urandom(8).hex().encode()
    try:
        async with asyncio.timeout(PLAY_WITHIN_S), asyncio.TaskGroup() as group:
            while b"listening on" not in (line := await tcpdump.stderr.readline()):
                assert line, "tcpdump did not start"
            capture = group.create_task(read_through(tcpdump.stdout, last))
            code, said = await run(*inside, *command, stdin=stdin)
            # tcpdump hands out what it saw in order: whatever the command sent is before this.
            await run(*inside, sys.executable, "-c", SEND_LAST, last.decode())
    finally:
        if tcpdump.returncode is None:
            tcpdump.terminate()
        _, statistics = await tcpdump.communicate()
    assert b"\n0 packets dropped by kernel" in statistics, statistics
    return Watched(code, said, list(takewhile(lambda each: last not in each.inner, packets(await capture))))


SEND_LAST = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
    here.bind(("127.0.0.1", 0))
    here.sendto(sys.argv[1].encode(), here.getsockname())
"""


async def read_through(stream: asyncio.StreamReader, last: bytes) -> bytes:
    """Everything up to and with `last`."""
    taken = bytearray()
    while last not in taken[-2 * SNAP_BYTES :]:
        data = await stream.read(SNAP_BYTES)
        assert data, "tcpdump ended early"
        taken += data
    return bytes(taken)


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    """A command's exit code and what it said; a server that the tester uses is not configured here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERFENCE_")}
    environment["PYTHONPATH"] = str(RUNNERS)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        said, _ = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


# ── the stories ───────────────────────────────────────────────────────────────────────────────────


def told_to(homes: Path, name: str) -> set[Address]:
    """The addresses this person's contact told."""
    lines = (homes / f"{name}.told").read_text().splitlines()
    return {(ip, port) for ip, port in map(json.loads, lines)}


@on_a_network
@watched
async def test_a_whole_demo_sends_nothing_to_anybody_else(inside: tuple[str, ...], tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    shown = await watch(inside, sys.executable, str(RUNNERS / "noted_demo.py"), "50", "5", str(homes))
    assert shown.code == 0, shown.said
    configured = re.search(r"listens at ws://([\d.]+):(\d+)", shown.said)
    assert configured, shown.said
    server = (configured[1], int(configured[2]))
    told = told_to(homes, "ada") | told_to(homes, "bob")
    assert strays(shown.packets, {server}, told) == set()
    assert services(shown.packets) == set()
    # There was something to see: addresses of both families were told, both people spoke, one came back.
    assert {ip for ip, _ in told} == HOSTS, "candidates are this machine's own addresses"
    assert len(told) >= 6, "two addresses each, and new ones for who was killed"
    assert told_to(homes, "ada").isdisjoint(told_to(homes, "bob"))
    for target in (told_to(homes, "ada"), told_to(homes, "bob"), {server}):
        assert sum(each.target in target for each in shown.packets) > 100
    # And each of these addresses is needed: without one, the check names it.
    assert {("tcp", *server)} < strays(shown.packets, set(), told)
    one = max(told, key=lambda each: sum(packet.target == each for packet in shown.packets))
    assert strays(shown.packets, {server}, told - {one}) >= {("udp", *one)}


@on_a_network
@watched
async def test_the_same_check_names_each_stray(inside: tuple[str, ...]) -> None:
    shown = await watch(inside, sys.executable, str(RUNNERS / "strays.py"), "stun:192.0.2.1:3478")
    assert shown.code == 0, shown.said
    named = strays(shown.packets, set(), set())
    # What the system says to the sender of an unanswered one comes sooner or later, or after the end.
    complaints = {each for each in named if each[0].startswith("icmp") and each[1] in {*HOSTS, "127.0.0.1"}}
    assert named - complaints == {
        ("udp", "192.0.2.9", 4000),
        ("udp", "2001:db8:9::9", 4000),
        ("udp", "127.0.0.1", 4000),
        ("udp", "192.0.2.123", 123),
        ("udp", "192.0.2.53", 53),
        ("udp", "192.0.2.1", 3478),
        ("udp", "239.255.255.250", 1900),
        ("tcp", "192.0.2.9", 443),
        # Neighbours do not answer the question where they are, so the packet itself never leaves.
        ("arp", "10.77.0.9", 0),
        ("icmpv6", "ff02::1:ff00:9", 0),
        ("IP protocol 2", "224.0.0.22", 0),  # the kernel tells routers that a program joined mDNS
    }
    assert ("icmp", "127.0.0.1", 0) in complaints, "nothing listens at a port nobody told"
    assert services(shown.packets) == {"DNS", "NTP", "SSDP", "STUN or TURN"}
    stun = strays(shown.packets, set(), {("192.0.2.1", 3478)})
    assert ("udp", "192.0.2.1", 3478) not in stun, "a server that was configured may be asked"


@on_a_network
@watched
async def test_with_no_server_nothing_leaves_at_all(inside: tuple[str, ...], tmp_path: Path) -> None:
    command = (sys.executable, "-m", "overfence", "--home", str(tmp_path / "ada"), "chat", "--name", "Ada")
    shown = await watch(inside, *command, stdin=b"/contacts\n/quit\n")
    assert shown.code == 0, shown.said
    assert [each for each in shown.packets if not by_the_kernel(each, set())] == []


@on_a_network
@watched
async def test_a_server_and_an_inviters_node_that_are_down_are_all_that_is_tried(
    inside: tuple[str, ...], tmp_path: Path
) -> None:
    server, node = ("127.0.0.1", 1), ("10.77.0.1", 2)
    # The parts are never used, for the node that would give the inviter's card is down.
    invite = Invite(bytes(32), f"ws://{node[0]}:{node[1]}", bytes(16), bytes(32), 2**40, bytes(16))
    command = (sys.executable, "-m", "overfence", "--home", str(tmp_path / "ada"), "chat", "--name", "Ada")
    shown = await watch(inside, *command, "--server", "ws://127.0.0.1:1", str(invite), stdin=b"hello\n/quit\n")
    assert strays(shown.packets, {server, node}, set()) == set()
    assert {each.target for each in shown.packets} >= {server, node}, shown.said


def test_a_report_of_a_group_that_a_program_joined_is_not_the_kernels() -> None:
    def report(*joined: str) -> bytes:
        records = [struct.pack(">BBH", 4, 0, 0) + ipaddress.ip_address(group).packed for group in joined]
        return struct.pack(">BBHHH", 143, 0, 0, 0, len(records)) + b"".join(records)

    def told(*joined: str) -> Packet:
        return Packet("icmpv6", ("fe80::1", 0), ("ff02::16", 0), report(*joined))

    assert by_the_kernel(told("ff02::1:ff00:1", "ff02::1:ffab:cdef"), set())
    assert not by_the_kernel(told("ff02::1:ff00:1", "ff02::fb"), set())
