"""Two links that meet, and strangers who keep to no rule of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiortc import RTCCertificate, RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcsctptransport import Chunk, RTCSctpCapabilities, RTCSctpTransport, serialize_packet
from overfence.connect.association import Association, Hooks
from overfence.connect.errors import LinkEnd, Reason
from overfence.connect.ice import Path
from overfence.connect.sdp import Description
from overfence.connect.webrtc import Link, LinkConfig
from overfence_reliability import Lane

PATIENCE_S = 10.0


class Side:
    """A link and what it told its owner."""

    def __init__(self, config: LinkConfig | None = None) -> None:
        self.heard: list[bytes] = []
        self.lanes: list[Lane] = []
        self.ends: list[LinkEnd] = []
        self.over = asyncio.Event()
        self.roomy = asyncio.Event()
        self._arrived = asyncio.Event()
        self.link = Link(config or LinkConfig(), received=self._receive, ended=self._end, roomy=self.roomy.set)

    def say(self, *packets: bytes) -> None:
        for packet in packets:
            self.link.post(Lane.BULK, packet)

    def _receive(self, lane: Lane, data: bytes) -> None:
        self.lanes.append(lane)
        self.heard.append(data)
        self._arrived.set()

    def _end(self, end: LinkEnd) -> None:
        self.ends.append(end)
        self.over.set()

    async def hears(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.heard

    async def ended(self, within_s: float = PATIENCE_S) -> LinkEnd:
        async with asyncio.timeout(within_s):
            await self.over.wait()
        [end] = self.ends
        return end


def channels(sctp: RTCSctpTransport, heard: list[bytes]) -> tuple[RTCDataChannel, RTCDataChannel]:
    """The two lanes as somebody with plain aiortc opens them."""
    fast = RTCDataChannel(sctp, RTCDataChannelParameters(negotiated=True, id=0, ordered=False, maxRetransmits=0))
    bulk = RTCDataChannel(sctp, RTCDataChannelParameters(negotiated=True, id=1, ordered=False))
    for channel in (fast, bulk):
        channel.on("message", heard.append)
    return fast, bulk


class Stranger:
    """Somebody with plain aiortc and no manners, connected to one of our links."""

    def __init__(self) -> None:
        self.path = Path(controlling=False, servers={}, relay_only=False)
        self.certificate = RTCCertificate.generateCertificate()
        self.dtls = RTCDtlsTransport(cast(RTCIceTransport, self.path), [self.certificate])
        self.sctp = RTCSctpTransport(self.dtls)
        self.heard: list[bytes] = []
        self.fast, self.bulk = channels(self.sctp, self.heard)

    async def answer(self, offer: str, *, fingerprint: str | None = None) -> str:
        theirs = Description.parse(offer, "offer")
        await self.path.gather_candidates()
        self._task = asyncio.create_task(self._connect(theirs))
        ours = self.certificate.getFingerprints()[0].value
        return str(
            Description(
                kind="answer",
                ufrag=self.path.local_username,
                pwd=self.path.local_password,
                fingerprint=fingerprint or ours,
                setup="active",
                candidates=self.path.told(),
                max_message_bytes=262_144,
            )
        )

    async def _connect(self, theirs: Description) -> None:
        await self.path.open(ufrag=theirs.ufrag, pwd=theirs.pwd, candidates=theirs.candidates)
        self.dtls._set_role("client")
        await self.dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", theirs.fingerprint)]))
        if self.dtls.state == "connected":
            await self.sctp.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000)

    async def inject(self, chunk: Chunk) -> None:
        await self.dtls._send_data(serialize_packet(5000, 5000, self.sctp._remote_verification_tag, chunk))

    async def speak(self, protocol: int, data: bytes, stream: int = 1, ordered: bool = False) -> None:
        await self.sctp._send(stream, protocol, data, ordered=ordered)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.sctp.stop()
        await self.dtls.stop()
        await self.path.close_within(1.0)


class Wire:
    """A DTLS connection in memory: what one end sends, the other handles, in order."""

    state = "connected"

    def __init__(self, role: str) -> None:
        self._role = role
        self.sent: list[bytes] = []
        self.receiver: RTCSctpTransport | None = None

    def _register_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self.receiver = None

    def transmit(self, packet: bytes) -> None:
        self.sent.append(packet)

    async def _send_data(self, data: bytes) -> None:
        self.sent.append(data)


class Pair:
    """Our association and a plain one, joined by two wires that a test moves by hand."""

    def __init__(self) -> None:
        self.ends: list[tuple[Reason, str]] = []
        self.heard: list[bytes] = []
        self.they_heard: list[bytes] = []
        self.opened = 0
        self.our_wire, self.their_wire = Wire("server"), Wire("client")
        hooks = Hooks(
            established=self._open,
            arrived=lambda _lane, packet: self.heard.append(packet),
            roomy=lambda: None,
            lost=lambda reason, detail: self.ends.append((reason, detail)),
        )
        self.ours = Association(self.our_wire, hooks)  # type: ignore[arg-type]  # as much of DTLS as SCTP uses
        self.theirs = RTCSctpTransport(self.their_wire)  # type: ignore[arg-type]  # as above
        self.fast, self.bulk = channels(self.theirs, self.they_heard)
        self.packets: list[bytes] = []

    def _open(self) -> None:
        self.opened += 1

    async def establish(self) -> None:
        await self.ours.open(max_message_bytes=262_144)
        await self.theirs.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000)
        await self.settle()
        assert self.opened == 1

    async def settle(self) -> None:
        """Carry packets until neither side has more to say."""
        for _ in range(10_000):
            await asyncio.sleep(0)  # lets the tasks that aiortc starts run
            moved = False
            for source, target in ((self.our_wire, self.theirs), (self.their_wire, self.ours)):
                packets, source.sent[:] = source.sent[:], []
                for packet in packets:
                    moved = True
                    self.packets.append(packet)
                    await target._handle_data(packet)
            if not moved:
                return
        raise AssertionError("the two sides never fell silent")

    def packet(self, chunk: Chunk) -> bytes:
        return serialize_packet(5000, 5000, self.theirs._remote_verification_tag, chunk)

    async def stop(self) -> None:
        await self.ours.stop()
        await self.theirs.stop()


Meet = Callable[..., Awaitable[tuple[Side, Side]]]


@pytest.fixture
async def sides() -> AsyncIterator[Callable[..., Side]]:
    made: list[Side] = []

    def make(config: LinkConfig | None = None) -> Side:
        made.append(Side(config))
        return made[-1]

    yield make
    for side in made:
        await side.link.close()


@pytest.fixture
def meet(sides: Callable[..., Side]) -> Meet:
    async def run() -> tuple[Side, Side]:
        ada, bob = sides(), sides()
        await ada.link.accept(await bob.link.answer(await ada.link.offer()))
        await asyncio.gather(ada.link.opened(PATIENCE_S), bob.link.opened(PATIENCE_S))
        return ada, bob

    return run


@pytest.fixture
async def stranger() -> AsyncIterator[Callable[[Side], Awaitable[Stranger]]]:
    met: list[Stranger] = []

    async def run(side: Side) -> Stranger:
        one = Stranger()
        met.append(one)
        await side.link.accept(await one.answer(await side.link.offer()))
        await side.link.opened(PATIENCE_S)
        return one

    yield run
    for one in met:
        await one.close()


@pytest.fixture
async def associations() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.establish()
    yield pair
    await pair.stop()


@pytest.fixture
def new_pair() -> type[Pair]:
    """For tests that run many event loops of their own."""
    return Pair


@pytest.fixture
def new_stranger() -> type[Stranger]:
    return Stranger
