"""What is said in one turn of the loop leaves together."""

from __future__ import annotations

import asyncio

from overfence.connect.line import Line
from overfence_reliability import Connection, Lane


class Basket:
    """A link that only collects."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def post(self, lane: Lane, packet: bytes) -> None:
        self.packets.append(packet)

    def room_bytes(self, lane: Lane) -> int:
        return 64 * 1024


async def test_messages_said_in_one_turn_share_a_packet() -> None:
    line, basket = Line(b"ada-0001", received=lambda *_: None, happened=lambda _: None), Basket()
    line.attach(basket)
    bob = Connection(b"bob-0001")
    bob.path_opened(now=0.0)
    for lane, packet in bob.poll(now=0.0):
        line.arrived(lane, packet)
    await asyncio.sleep(0)
    basket.packets.clear()
    for number in range(20):
        line.send(b"message %02d" % number)
    assert basket.packets == [], "nothing leaves from inside `send`"
    for _ in range(3):
        await asyncio.sleep(0)
    [packet] = basket.packets
    assert all(b"message %02d" % number in packet for number in range(20))
    line.close()
