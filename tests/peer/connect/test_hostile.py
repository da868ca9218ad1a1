"""Whatever the other side, or anybody who knows our port, sends: one typed end, and the process lives on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from struct import pack

import pytest
from aiortc.rtcsctptransport import Chunk, HeartbeatChunk
from overfence.connect.errors import LinkEnd, LinkFailed
from overfence.connect.webrtc import Link, LinkConfig

from .conftest import PATIENCE_S, Meet, Side, Stranger

Sides = Callable[..., Side]
Befriend = Callable[[Side], Awaitable[Stranger]]

BINARY, TEXT, OPENING = 53, 51, 50
CHANNEL_OPEN = pack("!BBHLHH", 3, 0, 0, 0, 1, 0) + b"x"


class Raw(Chunk):
    """A chunk whose bytes are exactly what we say."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def __bytes__(self) -> bytes:
        return self.data


async def test_the_packet_that_freezes_the_stack_is_dropped(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    await mallory.inject(Raw(pack("!BBHHH", HeartbeatChunk.type, 0, 8, 1, 0)))
    await mallory.speak(BINARY, b"\x00still talking")
    assert await ada.hears(1) == [b"still talking"]
    ada.link.send(b"and answering")
    async with asyncio.timeout(PATIENCE_S):
        await ada.link.room(0)
    assert mallory.heard == [b"\x00and answering"]


@pytest.mark.parametrize(
    ("protocol", "data", "stream"),
    [
        pytest.param(OPENING, CHANNEL_OPEN, 0, id="the channel opened again"),
        pytest.param(OPENING, CHANNEL_OPEN, 1, id="another channel"),
        pytest.param(OPENING, b"\x02", 0, id="an opening confirmed"),
        pytest.param(TEXT, b"\xff\xfe", 0, id="text that is not UTF-8"),
        pytest.param(TEXT, b"hello", 0, id="text"),
        pytest.param(57, b"\x00", 0, id="nothing at all"),
        pytest.param(BINARY, b"\x07hello", 0, id="a kind nobody knows"),
        pytest.param(BINARY, b"\x00" + bytes(65_537), 0, id="one byte too long"),
    ],
)
async def test_a_broken_rule_ends_the_link_with_its_reason(
    sides: Sides, stranger: Befriend, protocol: int, data: bytes, stream: int
) -> None:
    ada = sides()
    mallory = await stranger(ada)
    await mallory.speak(protocol, data, stream)
    assert (await ada.ended()).reason == "protocol"
    assert ada.heard == []


async def test_a_goodbye_of_any_kind_is_the_other_sides_end(sides: Sides, stranger: Befriend) -> None:
    goodbyes: list[Callable[[Stranger], Awaitable[object]]] = [
        lambda mallory: mallory.sctp.stop(),
        lambda mallory: mallory.dtls.stop(),
        lambda mallory: asyncio.to_thread(lambda: None),
    ]
    for index, goodbye in enumerate(goodbyes):
        ada = sides()
        mallory = await stranger(ada)
        if index == 2:
            mallory.channel.close()
        await goodbye(mallory)
        assert (await ada.ended(within_s=2.5)).reason == "remote"


async def test_our_own_receiver_raising_ends_the_link_not_the_process() -> None:
    ends: list[LinkEnd] = []
    over = asyncio.Event()

    def clumsy(data: bytes) -> None:
        raise KeyError(data)

    def end(reason: LinkEnd) -> None:
        ends.append(reason)
        over.set()

    ada, bob = Side(), Link(LinkConfig(), received=clumsy, ended=end)
    await ada.link.accept(await bob.answer(await ada.link.offer()))
    await asyncio.gather(ada.link.opened(PATIENCE_S), bob.opened(PATIENCE_S))
    ada.link.send(b"boo")
    async with asyncio.timeout(PATIENCE_S):
        await over.wait()
    assert ends == [LinkEnd("failed", "the receiver raised")]
    assert (await ada.ended()).reason == "remote"
    await asyncio.gather(ada.link.close(), bob.close())


async def test_a_certificate_that_was_not_announced_never_opens(sides: Sides, new_stranger: type[Stranger]) -> None:
    ada, mallory = sides(), new_stranger()
    await ada.link.accept(await mallory.answer(await ada.link.offer(), fingerprint=":".join(["00"] * 32)))
    with pytest.raises(LinkFailed) as caught:
        await ada.link.opened(PATIENCE_S)
    assert caught.value.reason == "failed"
    assert "certificate" in caught.value.end.detail
    await mallory.close()


async def test_a_side_that_falls_silent_is_dead_after_three_seconds(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    begun_s = asyncio.get_running_loop().time()
    mallory.path.abort()
    assert (await ada.ended(within_s=5.0)).reason == "silent"
    assert 2.5 < asyncio.get_running_loop().time() - begun_s < 4.5


async def test_pings_are_answered_but_not_hoarded(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    for _ in range(200):
        await mallory.speak(BINARY, b"\x01")
    await mallory.speak(BINARY, b"\x00done")
    await ada.hears(1)
    async with asyncio.timeout(PATIENCE_S):
        await ada.link.room(0)
    assert 1 <= mallory.heard.count(b"\x02") <= 5


async def test_noise_from_anybody_on_our_port_changes_nothing(meet: Meet) -> None:
    ada, bob = await meet()
    assert ada.link.pair is not None
    address = ada.link.pair.local_address
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    stun = pack("!HHI12s", 1, 8, 0x2112A442, bytes(12))
    noises = [
        b"",
        b"\x00",
        b"\x16" * 40,
        b"\xff" * 1200,
        b"\x80\x60" + bytes(30),
        stun + pack("!HH", 0x0024, 3) + b"\x00\x00\x00\x00",
        stun + pack("!HH", 0x0006, 4) + b"\xff\xff\xff\xff",
        stun + pack("!HH", 0x0025, 4) + bytes(4),
    ]
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as anybody:
        for noise in noises * 20:
            anybody.sendto(noise, address)
    ada.link.send(b"undisturbed")
    bob.link.send(b"undisturbed")
    assert await bob.hears(1) == await ada.hears(1) == [b"undisturbed"]
    assert unhandled == []
    assert (ada.ends, bob.ends) == ([], [])
