"""Whatever the other side, or anybody who knows our port, sends: one typed end, and the process lives on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from struct import pack

import pytest
from aiortc.rtcsctptransport import Chunk, DataChunk, HeartbeatChunk, serialize_packet
from overfence.connect.errors import LinkEnd, LinkFailed
from overfence.connect.webrtc import Link, LinkConfig
from overfence_reliability import Lane

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
    await mallory.speak(BINARY, b"still talking")
    assert await ada.hears(1) == [b"still talking"]
    ada.roomy.clear()
    ada.say(b"and answering")
    await asyncio.wait_for(ada.roomy.wait(), PATIENCE_S)
    assert mallory.heard == [b"and answering"]


async def test_ordered_data_ends_the_link(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    await mallory.speak(BINARY, b"in order", ordered=True)
    assert (await ada.ended()).reason == "protocol"


@pytest.mark.parametrize(
    ("protocol", "data", "stream"),
    [
        pytest.param(OPENING, CHANNEL_OPEN, 0, id="a channel opened again"),
        pytest.param(OPENING, CHANNEL_OPEN, 2, id="another channel"),
        pytest.param(OPENING, b"\x02", 0, id="an opening confirmed"),
        pytest.param(TEXT, b"\xff\xfe", 0, id="text that is not UTF-8"),
        pytest.param(TEXT, b"hello", 0, id="text"),
        pytest.param(57, b"\x00", 0, id="nothing at all"),
        pytest.param(BINARY, b"hello", 2, id="a third lane"),
        pytest.param(BINARY, bytes(1161), 0, id="one byte too long"),
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
            mallory.bulk.close()
        await goodbye(mallory)
        assert (await ada.ended(within_s=2.5)).reason == "remote"


@pytest.mark.parametrize("fault", ["received", "roomy"])
async def test_our_own_side_raising_ends_the_link_not_the_process(fault: str) -> None:
    ends: list[LinkEnd] = []
    over = asyncio.Event()

    def clumsy(*args: object) -> None:
        raise KeyError(args)

    def careful(*args: object) -> None:
        return

    def end(reason: LinkEnd) -> None:
        ends.append(reason)
        over.set()

    received, roomy = (clumsy, careful) if fault == "received" else (careful, clumsy)
    ada, bob = Side(), Link(LinkConfig(), received=received, ended=end, roomy=roomy)
    await ada.link.accept(await bob.answer(await ada.link.offer()))
    await asyncio.gather(ada.link.opened(PATIENCE_S), bob.opened(PATIENCE_S))
    ada.say(b"boo")
    bob.post(Lane.BULK, b"boo")
    await asyncio.wait_for(over.wait(), PATIENCE_S)
    assert ends == [LinkEnd("failed", "the owner of the link raised")]
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
    ada.say(b"undisturbed")
    bob.say(b"undisturbed")
    assert await bob.hears(1) == await ada.hears(1) == [b"undisturbed"]
    assert unhandled == []
    assert (ada.ends, bob.ends) == ([], [])


async def test_records_packed_into_one_datagram_are_all_read_at_once(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    ssl, path = mallory.dtls._ssl, mallory.path
    assert ssl is not None
    for number in range(20):
        made = DataChunk(flags=7)
        made.tsn, made.stream_id, made.protocol = mallory.sctp._local_tsn + number, Lane.FAST, BINARY
        made.user_data = b"%d" % number
        ssl.send(serialize_packet(5000, 5000, mallory.sctp._remote_verification_tag, made))
    await path._send(ssl.bio_read(4000))
    assert await ada.hears(20) == [b"%d" % number for number in range(20)]
    assert len(ada.heard) == 20


async def test_crumbs_without_end_close_the_link_as_flooded_within_a_second(sides: Sides, stranger: Befriend) -> None:
    ada = sides()
    mallory = await stranger(ada)
    crumbs = Raw(pack("!BBHBBHBBHBBH", *(200, 0, 4) * 4) * 60)
    begun_s = asyncio.get_running_loop().time()
    while not ada.ends:
        await mallory.inject(crumbs)
        await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() - begun_s < PATIENCE_S
    assert (await ada.ended()).reason == "flooded"
