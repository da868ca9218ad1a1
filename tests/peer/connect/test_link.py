"""A link opens once, carries whole packets on two lanes, ends once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from overfence.connect.errors import BadIceServer, BadSdp, LinkClosed, LinkEnd, LinkFailed, MessageTooLong, OutOfTurn
from overfence.connect.ice import read_ice_servers
from overfence.connect.webrtc import Link, LinkConfig
from overfence_reliability import Lane

from .conftest import PATIENCE_S, Meet, Side

Sides = Callable[..., Side]


def open_sockets() -> int:
    """Sockets of this process, as the kernel counts them."""
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # the descriptor that listed the folder
    return sum(name.startswith("socket:") for name in names)


@pytest.mark.parametrize("lane", Lane)
async def test_packets_of_any_size_arrive_whole_on_their_lane(meet: Meet, lane: Lane) -> None:
    ada, bob = await meet()
    said = [b"x", bytes(range(256)), bytes(1159), bytes(1160)]
    for packet in said:
        ada.link.post(lane, packet)
    bob.link.post(lane, b"and back")
    assert sorted(await bob.hears(4)) == sorted(said)
    assert await ada.hears(1) == [b"and back"]
    assert {*ada.lanes, *bob.lanes} == {lane}


async def test_an_empty_packet_says_nothing(meet: Meet) -> None:
    ada, bob = await meet()
    ada.say(b"", b"x")
    assert await bob.hears(1) == [b"x"]


async def test_a_fast_packet_leaves_before_post_returns_however_much_bulk_waits(meet: Meet) -> None:
    ada, bob = await meet()
    ada.say(*[bytes(1160)] * 500)
    assert ada.link.room_bytes(Lane.BULK) == 0
    ada.link.post(Lane.FAST, b"now")
    await bob.hears(501)
    assert bob.lanes.index(Lane.FAST) < 20
    assert bob.heard[bob.lanes.index(Lane.FAST)] == b"now"


async def test_the_pair_is_told_without_addresses(meet: Meet) -> None:
    ada, bob = await meet()
    for side in (ada, bob):
        assert side.link.pair is not None
        assert (side.link.pair.local_type, side.link.pair.protocol) == ("host", "udp")
        assert side.link.pair.remote_type in ("host", "prflx")
        assert side.link.pair.local_address[0] not in repr(side.link.pair)
    assert ada.link.pair is not None and bob.link.pair is not None
    assert ada.link.pair.remote_address == bob.link.pair.local_address


async def test_a_side_that_hides_its_addresses_is_found_by_its_own_checks(sides: Sides) -> None:
    ada, bob = sides(), sides()
    offer = await ada.link.offer()
    answer = await bob.link.answer(re.sub(r"(udp \d+) \S+", r"\1 0f2a7c1e-1b7b-4c7a-9d0e-000000000001.local", offer))
    await ada.link.accept(answer)
    await asyncio.gather(ada.link.opened(PATIENCE_S), bob.link.opened(PATIENCE_S))
    assert bob.link.pair is not None
    assert bob.link.pair.remote_type == "prflx"


async def test_a_file_fed_by_room_never_waits_inside_and_arrives_whole(meet: Meet) -> None:
    ada, bob = await meet()
    left = [b"%05d" % number + bytes(1155) for number in range(3000)]
    said = list(left)
    while left:
        ada.roomy.clear()
        while left and ada.link.room_bytes(Lane.BULK) >= 1160:
            ada.say(left.pop())
            assert ada.link._association is not None and ada.link._association._outbox is not None
            assert not ada.link._association._outbox._waiting
        if left:
            await asyncio.wait_for(ada.roomy.wait(), PATIENCE_S)
    assert sorted(await bob.hears(3000)) == said


async def test_room_ends_with_the_link(meet: Meet) -> None:
    ada, _ = await meet()
    assert ada.link.room_bytes(Lane.BULK) >= 1160
    assert ada.link.room_bytes(Lane.FAST) >= 1160
    await ada.link.close()
    assert ada.link.room_bytes(Lane.BULK) == ada.link.room_bytes(Lane.FAST) == 0
    with pytest.raises(LinkClosed) as caught:
        ada.say(b"too late")
    assert caught.value.end == LinkEnd("closed")


async def test_a_packet_over_the_limit_is_refused_and_the_link_goes_on(meet: Meet) -> None:
    ada, bob = await meet()
    with pytest.raises(MessageTooLong):
        ada.say(bytes(1161))
    ada.say(bytes(1160))
    assert await bob.hears(1) == [bytes(1160)]


async def test_closing_is_told_once_to_each_side(meet: Meet) -> None:
    ada, bob = await meet()
    await asyncio.gather(ada.link.close(), ada.link.close())
    await ada.link.close()
    assert await ada.ended() == LinkEnd("closed")
    assert (await bob.ended(within_s=2.0)).reason == "remote"
    assert bob.link.end == bob.ends[0]


async def test_after_the_end_no_task_and_no_socket_is_left(meet: Meet) -> None:
    before = open_sockets(), asyncio.all_tasks()
    ada, bob = await meet()
    assert open_sockets() > before[0]
    ada.say(*[bytes(1160)] * 50)
    begun_s = time.monotonic()
    await asyncio.gather(ada.link.close(), bob.link.close())
    assert time.monotonic() - begun_s < 1.5
    await asyncio.sleep(0)
    assert (open_sockets(), asyncio.all_tasks()) == before


async def test_a_link_the_other_side_closed_cleans_up_by_itself(meet: Meet) -> None:
    before = open_sockets()
    ada, bob = await meet()
    await ada.link.close()
    await bob.ended()
    async with asyncio.timeout(PATIENCE_S):
        while open_sockets() > before:  # noqa: ASYNC110 - the kernel is asked; nothing announces a closed socket
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("reached", ["new", "gathering", "offering", "connecting"])
async def test_closing_half_way_leaves_nothing(sides: Sides, reached: str) -> None:
    before = open_sockets(), asyncio.all_tasks()
    ada, bob = sides(), sides()
    offering = None
    if reached == "gathering":
        offering = asyncio.create_task(ada.link.offer())
        await asyncio.sleep(0)
    elif reached != "new":
        offer = await ada.link.offer()
        if reached == "connecting":
            await ada.link.accept(await bob.link.answer(offer))
    await ada.link.close()
    await bob.link.close()
    if offering is not None:
        with pytest.raises(LinkFailed):
            await offering
    with pytest.raises(LinkFailed) as caught:
        await ada.link.opened(1.0)
    assert caught.value.reason == "closed"
    await asyncio.sleep(0)
    assert (open_sockets(), asyncio.all_tasks()) == before


async def test_an_offer_cancelled_at_any_moment_leaves_no_socket(sides: Sides) -> None:
    before = open_sockets(), asyncio.all_tasks()
    for moments in range(12):
        ada = sides()
        offering = asyncio.create_task(ada.link.offer())
        for _ in range(moments):
            await asyncio.sleep(0)
        offering.cancel()
        await asyncio.wait([offering])
        await ada.link.close()
    await asyncio.sleep(0)
    assert (open_sockets(), asyncio.all_tasks()) == before


async def test_a_link_nobody_answers_has_failed_and_says_so(sides: Sides) -> None:
    ada = sides()
    await ada.link.offer()
    with pytest.raises(LinkFailed) as caught:
        await ada.link.opened(0.05)
    assert caught.value.reason == "failed"
    assert (await ada.ended()).reason == "failed"


async def test_cancelling_a_close_does_not_stop_it(meet: Meet) -> None:
    before = open_sockets()
    ada, bob = await meet()
    closing = asyncio.create_task(ada.link.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.gather(ada.link.close(), bob.link.close())
    assert open_sockets() == before


async def test_each_step_is_taken_once(sides: Sides) -> None:
    ada = sides()
    with pytest.raises(LinkClosed) as caught:
        ada.say(b"too early")
    assert caught.value.end is None
    offer = await ada.link.offer()
    with pytest.raises(OutOfTurn):
        await ada.link.offer()
    with pytest.raises(OutOfTurn):
        await ada.link.answer(offer)


async def test_a_bad_answer_leaves_the_offer_standing(sides: Sides) -> None:
    ada, bob = sides(), sides()
    answer = await bob.link.answer(await ada.link.offer())
    with pytest.raises(BadSdp):
        await ada.link.accept(re.sub(r"a=fingerprint.*\r\n", "", answer))
    await ada.link.accept(answer)
    await ada.link.opened(PATIENCE_S)


async def test_relay_only_without_a_relay_tells_no_address_at_all(sides: Sides) -> None:
    ada = sides(LinkConfig(relay_only=True))
    assert "a=candidate" not in await ada.link.offer()


def test_ice_servers_are_read_or_refused_without_their_secret() -> None:
    assert read_ice_servers(["stun:192.0.2.1", "turns:ada:s%3Acret@[2001:db8::1]:443", "turn:x:y@z"]) == {
        "stun_server": ("192.0.2.1", 3478),
        "turn_server": ("2001:db8::1", 443),
        "turn_username": "ada",
        "turn_password": "s:cret",
        "turn_ssl": True,
        "turn_transport": "tcp",
    }
    for url in ("stun:", "http://x", "turn:host:1", "stun:u:hunter2@host", "turn:u:hunter2@host:99999"):
        with pytest.raises(BadIceServer) as caught:
            Link(LinkConfig(ice_servers=(url,)), received=print, ended=print, roomy=print)
        assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(LinkConfig(ice_servers=("turn:u:hunter2@host",)))


async def test_connecting_is_quick(meet: Meet) -> None:
    best_s = 10.0
    for _ in range(3):
        begun_s = time.perf_counter()
        ada, bob = await meet()
        best_s = min(best_s, time.perf_counter() - begun_s)
        await asyncio.gather(ada.link.close(), bob.link.close())
    assert best_s < 0.15


def test_the_rest_of_the_package_does_not_import_aiortc() -> None:
    names = "overfence.connect.errors, overfence.connect.sdp, overfence.connect.guard, overfence.connect.outbox"
    script = f"import sys, {names}; print([n for n in ('aiortc', 'aioice', 'av') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
