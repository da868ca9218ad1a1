"""The emulator's own process: packets come in at one interface, go through `OneWay`, and go out at another in time.

A plan is the first line on stdin, orders are the further ones, each with a reply on stdout; all of them JSON. With the
end of stdin it ends, and with it the networks it made.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from random import Random
from typing import Any

from ..faults import Conditions, OneWay
from .datagram import mended, payload, spared_bytes
from .namespaces import Namespace
from .punctual import be_punctual

PACKET_LIMIT_BYTES = 65_536
# A sender that never pauses must not keep what is due from going out.
READ_AT_ONCE = 32
# What is under way is held in memory: a flood into a path of long delay would fill it.
UNDER_WAY_LIMIT_BYTES = 128 << 20
ORDER_LIMIT_BYTES = 1 << 16
# RFC 7983: the first byte tells STUN, which keeps the path open, from what the path is for.
STUN_FIRST_BYTES = range(4)
# IP, UDP, DTLS and SCTP take 93 bytes, a DATA chunk that only acknowledges some 40 more.
SHORT_BYTES = 160

# How late the latest packets went out tells whether a measurement may be believed.
LATEST = 50_000

Pair = tuple[str, str]


class Crossing:
    """Where every host's packets come together, each pair of hosts with a way there and a way back."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self._tuns: dict[int, str] = {}
        self._ends: dict[str, int] = {}
        self._names = {packed(address): name for name, address in plan["addresses"].items()}
        self._ways = {
            (source, target): OneWay(
                conditions_of(fields),
                Random(f"{plan['seed']} {source} {target}"),  # noqa: S311 (faults that can be repeated)
                spared_bytes=spared_bytes,
            )
            for source, target, fields in plan["ways"]
        }
        self._traffic: dict[Pair, Counter[str]] = {pair: Counter() for pair in self._ways}
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._under_way_bytes = 0
        self._late_s: deque[float] = deque(maxlen=LATEST)
        self._number = 0
        for name, address in plan["addresses"].items():
            self._settle(name, address, plan["behind_nat"].get(name))

    def _settle(self, name: str, address: str, inner: tuple[str, str] | None) -> None:
        home = self.namespaces[name] = Namespace()
        if inner is not None:
            gate = self.namespaces[f"{name}'s router"] = Namespace()
            home.put_behind(gate, *inner)
            home = gate
        self._ends[name] = tun = home.connect(address)
        self._tuns[tun] = name

    def run(self) -> None:
        """Until stdin ends."""
        told = b""
        descriptors = [*self._tuns, sys.stdin.fileno()]
        while True:
            for readable in select.select(descriptors, [], [], self._wait_s())[0]:
                if readable in self._tuns:
                    self._take_in(readable)
                    continue
                more = os.read(readable, ORDER_LIMIT_BYTES)
                if not more:
                    return
                *orders, told = (told + more).split(b"\n")
                for order in orders:
                    report(self._obey(json.loads(order)))
            self._let_out()

    def _wait_s(self) -> float | None:
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None

    def _take_in(self, tun: int) -> None:
        source = self._tuns[tun]
        for _ in range(READ_AT_ONCE):
            try:
                packet = os.read(tun, PACKET_LIMIT_BYTES)
            except BlockingIOError:
                return
            target = self._names.get(packet[16:20], "")
            way = self._ways.get((source, target))
            if way is None:
                continue
            if self._under_way_bytes > UNDER_WAY_LIMIT_BYTES:
                way.counts["queue"] += 1
                continue
            self._note(self._traffic[source, target], packet)
            for at, arriving in way.carry(packet, now=time.monotonic()):
                self._number += 1
                # `OneWay` gives back the very same object where it changed nothing.
                whole = arriving if arriving is packet else mended(arriving)
                heapq.heappush(self._under_way, (at, self._number, self._ends[target], whole))
                self._under_way_bytes += len(whole)

    def _let_out(self) -> None:
        while self._under_way and self._under_way[0][0] <= (now := time.monotonic()):
            due_at, _, tun, packet = heapq.heappop(self._under_way)
            self._under_way_bytes -= len(packet)
            self._late_s.append(now - due_at)
            os.write(tun, packet)

    def _note(self, traffic: Counter[str], packet: bytes) -> None:
        traffic["packets"] += 1
        traffic["bytes"] += len(packet)
        if (carried := payload(packet)) and carried[0] in STUN_FIRST_BYTES:
            traffic["stun_bytes"] += len(packet)
        elif len(packet) <= SHORT_BYTES:
            traffic["short_bytes"] += len(packet)

    def _obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        pair = order["source"], order["target"]
        way = self._ways[pair]
        told: dict[str, Any] = {}
        match order["do"]:
            case "conditions":
                way.conditions = conditions_of(order["conditions"])
            case "block":
                way.blocked = order["blocked"]
            case "look":
                told = {"counts": dict(way.counts), "traffic": dict(self._traffic[pair])}
            case "late":
                told = {"late_s": list(self._late_s)}
                self._late_s.clear()
        return {"number": order["number"], **told}


def packed(address: str) -> bytes:
    """An IPv4 address as it stands in a packet."""
    return bytes(int(part) for part in address.split("."))


def conditions_of(fields: Mapping[str, Any]) -> Conditions:
    """From what JSON made of them."""
    return Conditions(**{**fields, "outage_s": tuple(fields["outage_s"])})


def report(what: Mapping[str, Any]) -> None:
    """One line to whoever started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The entry point."""
    # The first line alone, so that `select` sees what comes after it.
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(sys.stdin.fileno(), 1) or b"\n"
    crossing = Crossing(json.loads(line))
    descriptors = {name: namespace.descriptor for name, namespace in crossing.namespaces.items()}
    report({"namespaces": descriptors})
    be_punctual()
    crossing.run()


if __name__ == "__main__":
    main()
