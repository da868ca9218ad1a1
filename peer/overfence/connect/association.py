"""DTLS and SCTP under a link: the one door to aiortc.

Everything that differs from aiortc's own behaviour is overridden on our classes, so an embedder's
own connections in the same process stay as they are. Names with an underscore are aiortc's; a
test holds that the version installed still has them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from aiortc import RTCCertificate, RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcsctptransport import (
    AbortChunk,
    Chunk,
    DataChunk,
    ForwardTsnChunk,
    InitChunk,
    ReconfigChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
)

from .errors import Reason
from .guard import Inbox, Violation, is_sound_packet
from .ice import Path
from .sdp import CHANNEL_LIMIT_BYTES, SCTP_PORT

logger = logging.getLogger(__name__)

# A lost first packet, or the last one of a burst, is sent again after these. Above the 200 ms a
# browser may delay an acknowledgement.
RTO_FIRST_S = 0.5
RTO_MIN_S = 0.4

# What we keep in flight: little enough for the socket buffer of a busy receiver, where more was
# only dropped and sent again, and far below every receiver's window.
FLIGHT_LIMIT_BYTES = 128 * 1024

_TSN_MODULO = 2**32


@dataclass(frozen=True)
class Hooks:
    """What the association tells the link. None of them raises."""

    heard: Callable[[], None]
    established: Callable[[], None]
    arrived: Callable[[bytes], None]
    acknowledged: Callable[[], None]
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


class Association(RTCSctpTransport):
    """One reliable, ordered, binary channel of id 0, agreed beforehand (§5).

    Nothing the other side sends raises, blocks, grows without bound or kills it silently: a packet
    that is not sound is dropped, a broken rule ends the link with its reason.
    """

    def __init__(self, security: Security, hooks: Hooks) -> None:
        super().__init__(security, port=SCTP_PORT)
        self._hooks = hooks
        self._inbox: Inbox | None = None
        self._unacknowledged_bytes = 0
        self._local_partial_reliability = False
        self._rto = RTO_FIRST_S
        parameters = RTCDataChannelParameters(label="overfence", negotiated=True, id=0)
        self._channel = RTCDataChannel(self, parameters)

    @property
    def unacknowledged_bytes(self) -> int:
        """What the other side's SCTP has not confirmed, wherever it waits."""
        return self._unacknowledged_bytes

    async def open(self, *, max_message_bytes: int) -> None:
        """Begin; `established` is called when it stands."""
        await self.start(RTCSctpCapabilities(maxMessageSize=max_message_bytes), SCTP_PORT)

    def post(self, message: bytes) -> None:
        """Queue a message of at least one byte, to leave in order."""
        self._unacknowledged_bytes += len(message)
        self._channel.send(message)

    # What aiortc calls, narrowed.

    async def _handle_data(self, data: bytes) -> None:
        if not is_sound_packet(data):
            logger.debug("dropped a malformed SCTP packet of %d bytes", len(data))
            return
        self._hooks.heard()
        try:
            await super()._handle_data(data)
        except Violation as violation:
            self._hooks.lost(violation.reason, violation.detail)
        except Exception as error:
            # Whatever else a peer finds to upset the stack with ends this link, visibly, and no other.
            self._hooks.lost("protocol", f"the SCTP stack raised {type(error).__name__}")

    async def _receive_chunk(self, chunk: Chunk) -> None:
        established = self._association_state is self.State.ESTABLISHED
        if isinstance(chunk, AbortChunk):
            self._hooks.lost("remote", "the other side closed the link")
        elif isinstance(chunk, InitChunk) and established:
            # A late copy: obeying it would restart the numbers under the data.
            return
        elif isinstance(chunk, DataChunk | SackChunk) and not established:
            # Overtook the handshake, or is made up; what is real comes again.
            return
        elif isinstance(chunk, ReconfigChunk | ShutdownChunk | ShutdownAckChunk | ShutdownCompleteChunk):
            # The one channel lives as long as the link, so closing it is closing the link.
            if established:
                self._hooks.lost("remote", "the other side closed the channel")
        elif isinstance(chunk, ForwardTsnChunk):
            raise Violation("protocol", "a reliable channel was told to skip messages")
        else:
            await super()._receive_chunk(chunk)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        self._sack_needed = True
        if self._inbox is None:
            return
        for message in self._inbox.take(
            tsn=chunk.tsn,
            stream=chunk.stream_id,
            protocol=chunk.protocol,
            flags=chunk.flags,
            body=chunk.user_data,
        ):
            self._hooks.arrived(message)

    async def _send_sack(self) -> None:
        self._sack_needed = False
        if self._inbox is None:
            return
        sack = SackChunk()
        sack.cumulative_tsn = self._inbox.last_tsn
        sack.advertised_rwnd = self._inbox.room_bytes
        sack.gaps = self._inbox.gaps()
        await self._send_chunk(sack)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        newest = self._sent_queue[-1].tsn if self._sent_queue else self._last_sacked_tsn
        ahead = (chunk.cumulative_tsn - self._last_sacked_tsn) % _TSN_MODULO
        if ahead >= _TSN_MODULO // 2:
            return
        in_flight = (newest - self._last_sacked_tsn) % _TSN_MODULO
        if ahead > in_flight or (chunk.gaps and ahead + chunk.gaps[-1][1] > in_flight):
            raise Violation("protocol", "an acknowledgement of what was never sent")
        done_bytes = 0
        for sent in self._sent_queue:
            if (sent.tsn - chunk.cumulative_tsn - 1) % _TSN_MODULO < _TSN_MODULO // 2:
                break
            done_bytes += len(sent.user_data)
        self._unacknowledged_bytes -= done_bytes
        await super()._receive_sack_chunk(chunk)
        self._cwnd = min(self._cwnd, FLIGHT_LIMIT_BYTES)
        if done_bytes:
            self._hooks.acknowledged()

    async def _send_chunk(self, chunk: Chunk) -> None:
        try:
            await super()._send_chunk(chunk)
        except Exception as error:
            # Often raised inside a task nobody awaits; the link is who must know.
            self._hooks.lost("failed", f"sending raised {type(error).__name__}")

    # A retransmission that is under way while the link ends would otherwise arm its timer for ever.
    def _t3_start(self) -> None:
        if self._association_state is self.State.ESTABLISHED:
            super()._t3_start()

    def _t3_restart(self) -> None:
        if self._association_state is self.State.ESTABLISHED:
            super()._t3_restart()

    def _update_rto(self, R: float) -> None:
        super()._update_rto(R)
        if self._srtt is not None and self._rttvar is not None:
            self._rto = max(RTO_MIN_S, self._srtt + 4 * self._rttvar)

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        before = self._association_state
        super()._set_state(state)
        if state is before:
            return
        if state is self.State.ESTABLISHED and self._inbox is None and self._last_received_tsn is not None:
            self._inbox = Inbox(last_tsn=self._last_received_tsn, message_limit_bytes=CHANNEL_LIMIT_BYTES)
            self._hooks.established()
        elif state is self.State.CLOSED:
            self._hooks.lost("failed", "SCTP gave up")
