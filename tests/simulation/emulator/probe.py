"""Datagrams to look at a path with: `python -m tests.simulation.emulator.probe listen`, or `send ADDRESS PORT …`.

The listener says its port, and at the end of its stdin what came; the sender says from which port it sent. Each is one
JSON line. Sent and arrived are on the same clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

from .punctual import be_punctual

HEAD = struct.Struct(">Id")
LARGEST_BYTES = 65_536
# Longer pauses are slept through, and the rest is waited for awake: sleeping is not exact enough.
AWAKE_S = 0.0001


def listen() -> None:
    """Until stdin ends: [number, seconds under way, packet as hex, sender's address and port] of each that came."""
    came = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        door.bind(("0.0.0.0", 0))  # noqa: S104 (in a namespace with nobody else)
        say({"port": door.getsockname()[1]})
        while True:
            readable, _, _ = select.select([door, sys.stdin], [], [])
            if door not in readable:
                break
            packet, sender = door.recvfrom(LARGEST_BYTES)
            arrived_at = time.monotonic()
            number, sent_at = HEAD.unpack_from(packet) if len(packet) >= HEAD.size else (-1, arrived_at)
            came.append((number, arrived_at - sent_at, packet, sender))
    say([(number, took_s, packet.hex(), *sender) for number, took_s, packet, sender in came])


def send(address: str, port: int, count: int, every_s: float, size: int, first: int) -> None:
    """Numbered datagrams of ``size`` bytes, evenly in time, all from one port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.connect((address, port))
        begin_at = time.monotonic()
        for index in range(count):
            due_at = begin_at + index * every_s
            if (pause_s := due_at - time.monotonic() - AWAKE_S) > 0:
                time.sleep(pause_s)
            while time.monotonic() < due_at:
                pass
            door.send(HEAD.pack(first + index, time.monotonic()).ljust(size, b"\x55"))
        say({"port": door.getsockname()[1]})


def say(what: object) -> None:
    """One line to whoever started this."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The entry point."""
    be_punctual()
    match sys.argv[1:]:
        case ["listen"]:
            listen()
        case ["send", address, port, count, every_s, size, first]:
            send(address, int(port), int(count), float(every_s), int(size), int(first))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
