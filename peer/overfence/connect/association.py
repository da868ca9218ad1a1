"""DTLS and SCTP under a link: the one door to aiortc.

Everything that differs from aiortc's own behaviour is overridden on our classes, so an embedder's
own connections in the same process stay as they are. Names with an underscore are aiortc's; a
test holds that the version installed still has them.

aiortc shakes hands, answers heartbeats and says goodbye. Data goes past it, through `Inbox` and
`Outbox`: its own way costs a task a message, a packet an acknowledgement, and knows no two lanes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from struct import pack, unpack_from
from typing import cast

from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcsctptransport import (
    CHUNK_TYPES,
    AbortChunk,
    Chunk,
    InitChunk,
    ReconfigChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
)
from google_crc32c import value as crc32c
from OpenSSL import SSL
from overfence_reliability import Lane

from .errors import LinkClosed, Reason
from .guard import DATA, FORWARD_TSN, INIT, SACK, Inbox, Meter, Span, Violation, read_packet
from .ice import Path
from .outbox import RTO_FIRST_S, Outbox
from .sdp import SCTP_PORT

logger = logging.getLogger(__name__)

# Chunks of one datagram: with the headers of SCTP, DTLS, UDP and IPv6 around them it fits the
# 1,280 bytes every IPv6 path carries.
_BUNDLE_BYTES = 1176

# What leaves room beside it for an acknowledgement that is not due yet.
_BESIDE_ACK_BYTES = _BUNDLE_BYTES - 64

# The longest record read at once; OpenSSL keeps the rest of a longer one.
_READ_BYTES = 1500

_RECORD_HEADER_BYTES = 13

# Numbers under way that are as much work to look through as a chunk is to take.
_WALK_PER_CHUNK = 32


@dataclass(frozen=True)
class Hooks:
    """What the association tells the link. None of them raises."""

    established: Callable[[], None]
    arrived: Callable[[Lane, bytes], None]
    roomy: Callable[[], None]
    lost: Callable[[Reason, str], None]


class Security(RTCDtlsTransport):
    """DTLS with the one device whose certificate has the fingerprint we were told, or nothing.

    Each has a certificate of its own, so two contacts cannot tell by it that they talk to the
    same device; making one takes less than a millisecond.
    """

    def __init__(self, path: Path, lost: Callable[[Reason, str], None]) -> None:
        self._certificate = RTCCertificate.generateCertificate()
        self._path = path
        self._lost = lost
        self._is_settled = False
        # Of what is under it, DTLS uses `role`, `_recv` and `_send`; a Path has them.
        super().__init__(cast(RTCIceTransport, path), [self._certificate])

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of our certificate, as a description holds it."""
        return next(each.value for each in self._certificate.getFingerprints() if each.algorithm == "sha-256")

    async def open(self, *, as_client: bool, fingerprint: str) -> bool:
        """Shake hands; False, and the link told, if it is not who we were told."""
        self._set_role("client" if as_client else "server")
        await self.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", fingerprint)]))
        return self._state is State.CONNECTED

    def transmit(self, packet: bytes) -> None:
        """Encrypt and send, before returning; raises `ConnectionError` when there is nowhere to."""
        if self._state is not State.CONNECTED or self._ssl is None:
            raise ConnectionError("not connected")
        self._ssl.send(packet)
        _at_once(self._path._send(self._ssl.bio_read(2 * _READ_BYTES)))

    # What aiortc calls, narrowed.

    async def _recv_next(self) -> None:
        if not self._is_settled:
            await super()._recv_next()
            # The last flight of the handshake may still have to be repeated.
            if self.encrypted and self._ssl is not None and self._ssl.DTLSv1_get_timeout() is None:
                self._is_settled = True
                # From here on nothing waits, so a queue and a task's turn for each datagram would be
                # all cost. What is queued already comes by the task, as does the end of the path.
                self._path.data_received = self._take_directly  # type: ignore[method-assign, assignment]  # this object only
        else:
            self._take_datagram(await self._path._recv())

    def _take_directly(self, datagram: bytes, component: int) -> None:
        try:
            self._take_datagram(datagram)
        except ConnectionError:
            self._set_state(State.CLOSED)

    def _take_datagram(self, datagram: bytes) -> None:
        ssl, receiver = self._ssl, self._data_receiver
        if ssl is None or self._state is not State.CONNECTED or len(datagram) < _RECORD_HEADER_BYTES:
            return
        ssl.bio_write(datagram)
        # One record a datagram is the rule, and asking for a second one costs as much as reading the
        # first. But none may stay behind, or a peer could fill our memory with them.
        (length,) = unpack_from("!H", datagram, _RECORD_HEADER_BYTES - 2)
        is_alone = _RECORD_HEADER_BYTES + length == len(datagram)
        while True:
            try:
                packet = ssl.recv(_READ_BYTES)
            except SSL.ZeroReturnError:
                raise ConnectionError("DTLS shut down by the other side") from None
            except SSL.Error:
                break
            if receiver is not None:
                _at_once(receiver._handle_data(packet))
            if is_alone and len(packet) < _READ_BYTES:
                return
        try:
            answer = ssl.bio_read(_READ_BYTES)
        except SSL.Error:
            return  # as a rule there is none
        _at_once(self._path._send(answer))

    def _setup_srtp(self) -> None:
        # No media travels here: without keys, packets that look like media are ignored.
        return

    def _set_state(self, state: State) -> None:
        before = self._state
        super()._set_state(state)
        if state is before:
            return
        if state is State.FAILED:
            self._lost("failed", "the DTLS handshake failed, or the certificate is not the one announced")
        elif state is State.CLOSED:
            # Ours closes first when the path is lost, so an open path means the other side said goodbye.
            reason: Reason = "failed" if self._path.is_closed else "remote"
            self._lost(reason, "DTLS ended")


def _at_once(work: Coroutine[None, None, None]) -> None:
    """Run what is a coroutine only by signature: neither a socket nor our SCTP ever waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise ConnectionError("it would have waited")


class Association(RTCSctpTransport):
    """Two lanes, agreed beforehand (§5): packets of one chunk each, unordered, binary; bulk ones until
    they arrive, fast ones once.

    Nothing the other side sends raises, blocks, grows without bound or kills it silently: a packet
    that is not sound is dropped, a broken rule ends the link with its reason.
    """

    def __init__(self, security: Security, hooks: Hooks) -> None:
        super().__init__(security, port=SCTP_PORT)
        self._security = security
        self._hooks = hooks
        self._meter = Meter()
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._clock = asyncio.get_running_loop()
        self._rto = RTO_FIRST_S

    async def open(self, *, max_message_bytes: int) -> None:
        """Begin; `established` is called when it stands."""
        await self.start(RTCSctpCapabilities(maxMessageSize=max_message_bytes), SCTP_PORT)

    def post(self, lane: Lane, packet: bytes) -> None:
        """Send a packet of 1 to 1,160 bytes: a fast one before this returns, a bulk one when there is
        room. Raises `LinkClosed` before the association stands."""
        if self._outbox is None:
            raise LinkClosed(None)
        self._outbox.post(lane, packet)
        self._flush()

    def room_bytes(self, lane: Lane) -> int:
        """What would leave right now, rather than wait or be dropped."""
        return self._outbox.room_bytes(lane) if self._outbox is not None else 0

    def _flush(self) -> None:
        """Send what is due, and an acknowledgement with it where one is owed."""
        inbox, outbox = self._inbox, self._outbox
        if inbox is None or outbox is None or self._is_over:
            return
        now = self._clock.time()
        chunks = outbox.poll(now=now)
        owed_at = inbox.next_timer()
        if owed_at is not None and (owed_at <= now or (chunks and len(chunks[0]) <= _BESIDE_ACK_BYTES)):
            chunks.insert(0, inbox.acknowledgement())
        bundle = b""
        for chunk in chunks:
            if bundle and len(bundle) + len(chunk) > _BUNDLE_BYTES:
                self._write(bundle)
                bundle = b""
            bundle += chunk
        if bundle:
            self._write(bundle)
        self._arm(inbox, outbox)

    def _write(self, chunks: bytes) -> None:
        head = pack("!HHL", self._local_port, self._remote_port, self._remote_verification_tag)
        checksum = pack("<L", crc32c(head + bytes(4) + chunks))
        try:
            self._security.transmit(head + checksum + chunks)
        except Exception as error:
            # OpenSSL, aioice and the sockets each have their own; the link is who must know.
            self._end("failed", f"sending raised {type(error).__name__}")

    def _arm(self, inbox: Inbox, outbox: Outbox) -> None:
        due_at, other_at = inbox.next_timer(), outbox.next_timer()
        if due_at is None or (other_at is not None and other_at < due_at):
            due_at = other_at
        # One armed too early asks again when it fires: cheaper than arming it anew for each packet.
        if due_at is None or self._is_over or (self._timer is not None and self._timer.when() <= due_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(due_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._flush()

    def _end(self, reason: Reason, detail: str) -> None:
        self._is_over = True
        self._hooks.lost(reason, detail)

    # What aiortc calls, narrowed.

    async def _handle_data(self, data: bytes) -> None:
        if self._is_over:
            return
        chunks = read_packet(data)
        if chunks is None or not self._is_for_us(data, is_init=chunks[0][0] == INIT):
            logger.debug("dropped a malformed SCTP packet of %d bytes", len(data))
            return
        try:
            await self._take(data, chunks)
        except Violation as violation:
            self._end(violation.reason, violation.detail)
        except Exception as error:
            # Whatever else a peer finds to upset the stack with ends this link, visibly, and no other.
            self._end("protocol", f"the SCTP stack raised {type(error).__name__}")

    def _is_for_us(self, data: bytes, *, is_init: bool) -> bool:
        tag, checksum = unpack_from("!L", data, 4)[0], unpack_from("<L", data, 8)[0]
        if tag != (0 if is_init else self._local_verification_tag):
            return False
        return bool(checksum == crc32c(data[:8] + bytes(4) + data[12:]))

    async def _take(self, data: bytes, chunks: list[Span]) -> None:
        now = self._clock.time()
        self._meter.spend(len(chunks), now=now)
        # A packet that is all data frees nothing to send.
        is_answer = chunks[0][0] != DATA or len(chunks) > 1
        before, room_bytes = self._outbox, self.room_bytes(Lane.BULK)
        for chunk in chunks:
            kind, flags, begin, end = chunk
            # Before both ends know each other, data overtook the handshake or is made up; what is
            # real comes again.
            if kind in (DATA, SACK, FORWARD_TSN):
                if self._inbox is not None and self._outbox is not None:
                    self._take_chunk(self._inbox, self._outbox, chunk, data, now)
            elif (made := CHUNK_TYPES.get(kind)) is not None:
                await self._receive_chunk(made(flags=flags, body=data[begin:end]))
        inbox, outbox = self._inbox, self._outbox
        if inbox is None or outbox is None:
            return
        inbox.packet_ended(now=now)
        owed_at = inbox.next_timer()
        if is_answer or (owed_at is not None and owed_at <= now):
            self._flush()
        else:
            self._arm(inbox, outbox)
        if before is outbox and outbox.room_bytes(Lane.BULK) > room_bytes:
            self._hooks.roomy()

    def _take_chunk(self, inbox: Inbox, outbox: Outbox, chunk: Span, data: bytes, now: float) -> None:
        kind, flags, begin, end = chunk
        if kind == DATA:
            tsn, stream, _, protocol = unpack_from("!LHHL", data, begin)
            whole = inbox.take(tsn=tsn, stream=stream, protocol=protocol, flags=flags, body=data[begin + 12 : end])
            if whole is not None:
                self._hooks.arrived(*whole)
        elif kind == SACK:
            cumulative_tsn, window_bytes, gap_count, _ = unpack_from("!LLHH", data, begin)
            gaps = [unpack_from("!HH", data, begin + 12 + 4 * each) for each in range(gap_count)]
            if gaps:
                self._meter.spend(len(outbox) // _WALK_PER_CHUNK, now=now)
            outbox.acknowledge(cumulative_tsn, window_bytes, gaps, now=now)
        else:
            inbox.skip(unpack_from("!L", data, begin)[0])

    async def _receive_chunk(self, chunk: Chunk) -> None:
        is_established = self._inbox is not None
        if isinstance(chunk, AbortChunk):
            self._end("remote", "the other side closed the link")
        elif isinstance(chunk, InitChunk) and is_established:
            # A late copy: obeying it would restart the numbers under the data.
            return
        elif isinstance(chunk, ReconfigChunk | ShutdownChunk | ShutdownAckChunk | ShutdownCompleteChunk):
            # The channels live as long as the link, so closing one is closing the link.
            if is_established:
                self._end("remote", "the other side closed a channel")
        else:
            await super()._receive_chunk(chunk)

    async def _send_chunk(self, chunk: Chunk) -> None:
        self._write(bytes(chunk))

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        before = self._association_state
        super()._set_state(state)
        if state is before:
            return
        if state is self.State.ESTABLISHED and self._inbox is None and self._last_received_tsn is not None:
            self._inbox = Inbox(last_tsn=self._last_received_tsn)
            self._outbox = Outbox(next_tsn=self._local_tsn, window_bytes=self._ssthresh)
            if self._remote_partial_reliability:
                self._hooks.established()
            else:
                self._end("protocol", "the other side cannot skip what was lost")
        elif state is self.State.CLOSED:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
            self._hooks.lost("failed", "SCTP gave up")
