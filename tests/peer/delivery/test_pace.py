"""Offers of a contact's, each of which costs sockets: one a second is answered, and always the newest."""

from __future__ import annotations

import asyncio

from overfence.delivery.pace import Pace


async def test_of_a_flood_the_first_and_the_last_pass() -> None:
    passed: list[int] = []
    quiet = asyncio.Event()

    def let(number: int) -> None:
        passed.append(number)
        if number == 999:
            quiet.set()

    pace = Pace(0.05, let)
    began_at = asyncio.get_running_loop().time()
    for number in range(1000):
        pace.hear(number)
    assert passed == [0]
    await asyncio.wait_for(quiet.wait(), 5)
    assert passed == [0, 999]
    assert asyncio.get_running_loop().time() - began_at >= 0.04


async def test_nothing_passes_once_it_is_stopped() -> None:
    passed: list[int] = []
    pace = Pace(0.01, passed.append)
    pace.hear(1)
    pace.hear(2)
    pace.stop()
    after = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, after.set)
    await after.wait()
    assert passed == [1]
