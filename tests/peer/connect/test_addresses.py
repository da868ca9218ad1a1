"""Packets go to the addresses the two sides told each other, or to a configured server, and nowhere else."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aioice
import pytest
from overfence.connect.ice import Path as IcePath
from overfence.connect.sdp import Candidate

TALK = str(Path(__file__).with_name("talk.py"))
SERVER = "192.0.2.99"

# Destinations in strace's words: IPv4, and IPv6 with its flow and scope.
IPV4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
IPV6 = re.compile(r'sin6_port=htons\((\d+)\), .*?inet_pton\(AF_INET6, "([^"]+)"')


namespaces = pytest.mark.needs_netns
tracing = pytest.mark.requires("strace")


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def in_namespace(setup: str, command: list[str]) -> list[str]:
    return ["unshare", "-n", "sh", "-c", f'set -e; {setup}; exec "$@"', "sh", *command]


def interface(address: str) -> str:
    """Shell lines for a wire that ends in the same machine, one end with an address."""
    return (
        "ip link set lo up; ip link add v0 type veth peer name v1;"
        f" ip addr add {address}/24 dev v0; ip link set v0 up; ip link set v1 up"
    )


def traced(trace: Path, command: list[str]) -> list[str]:
    calls = "trace=sendto,sendmsg,sendmmsg,connect"
    return ["strace", "-f", "-qq", "-e", calls, "-o", str(trace), *command]


def destinations(trace: Path) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for line in trace.read_text().splitlines():
        for pattern in (IPV4, IPV6):
            found |= {(host, int(port)) for port, host in pattern.findall(line)}
    return found


def told(answer: dict[str, Any]) -> set[tuple[str, int]]:
    return {(host, port) for host, port in answer["addresses"]}


@namespaces
def test_two_links_meet_on_a_machine_with_nothing_but_loopback() -> None:
    answer = run(in_namespace("ip link set lo up", [sys.executable, TALK]))
    assert answer["heard"] == "over the fence"
    assert {ipaddress.ip_address(host).is_loopback for host, _ in told(answer)} == {True}


@namespaces
def test_an_interface_that_is_down_does_not_keep_them_apart() -> None:
    down = "ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.77.0.1/24 dev v0"
    assert run(in_namespace(down, [sys.executable, TALK]))["heard"] == "over the fence"


@namespaces
def test_with_an_interface_loopback_is_not_told() -> None:
    up = interface("10.77.0.1")
    answer = run(in_namespace(up, [sys.executable, TALK]))
    assert answer["heard"] == "over the fence"
    assert "10.77.0.1" in {host for host, _ in told(answer)}
    assert not any(ipaddress.ip_address(host).is_loopback for host, _ in told(answer))


@tracing
def test_every_packet_goes_to_an_address_that_was_told(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    answer = run(traced(trace, [sys.executable, TALK]))
    sent = destinations(trace)
    assert sent
    assert sent <= told(answer)


@tracing
@namespaces
def test_the_same_search_finds_a_server_that_was_configured(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    up = interface("192.0.2.1")
    answer = run(in_namespace(up, traced(trace, [sys.executable, TALK, f"stun:{SERVER}:3478"])))
    assert destinations(trace) - told(answer) == {(SERVER, 3478)}


class OnTheNetwork(IcePath):
    """A path of a machine that has an interface."""

    @property
    def local_candidates(self) -> list[aioice.Candidate]:
        return [aioice.Candidate("1", 1, "udp", 1, "192.0.2.1", 4000, "host")]


async def test_a_peer_cannot_point_us_at_services_of_our_own_machine() -> None:
    path = OnTheNetwork(controlling=True, servers={}, relay_only=False)
    named = [Candidate(str(index), 9, ip, 6379, "host") for index, ip in enumerate(("127.0.0.1", "::1", "192.0.2.7"))]
    with pytest.raises(ConnectionError):  # nothing was gathered, so nothing is sent either
        await path.open(ufrag="ufrag", pwd="p" * 22, candidates=named)
    assert [each.host for each in path.remote_candidates] == ["192.0.2.7"]
