"""An embedder's own aiortc in the same process stays as it was, and what we lean on in aiortc is there."""

from __future__ import annotations

import asyncio
from typing import cast

import aioice
import aiortc.rtcsctptransport as foreign
import pytest
from aiortc import RTCCertificate, RTCConfiguration, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcsctptransport import RTCSctpTransport
from overfence.connect.association import Association, Security
from overfence.connect.ice import Path

from .conftest import PATIENCE_S, Meet


async def test_a_foreign_connection_beside_ours_is_plain_aiortc(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = await meet()
    # Plain aiortc finds no address on a loopback machine; for this test it is given one.
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    one, two = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    channel, other = (each.createDataChannel("theirs", negotiated=True, id=0) for each in (one, two))
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    other.on("message", heard.put_nowait)
    channel.on("open", lambda: channel.send(b"foreign"))
    await one.setLocalDescription(await one.createOffer())
    await two.setRemoteDescription(one.localDescription)
    await two.setLocalDescription(await two.createAnswer())
    await one.setRemoteDescription(two.localDescription)
    ada.say(b"ours")
    assert await asyncio.wait_for(heard.get(), PATIENCE_S) == b"foreign"
    assert await bob.hears(1) == [b"ours"]
    assert (foreign.SCTP_RTO_MIN, foreign.SCTP_RTO_INITIAL, foreign.SCTP_RTO_MAX) == (1, 3.0, 60)
    assert one.sctp is not None
    assert type(one.sctp) is RTCSctpTransport
    assert type(one.sctp.transport) is RTCDtlsTransport
    assert type(one.sctp.transport.transport._connection) is aioice.Connection
    assert one.sctp._rto >= 1
    await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (
            Association,
            RTCSctpTransport,
            "_handle_data _receive_chunk _send_chunk _set_state",
        ),
        (Security, RTCDtlsTransport, "_recv_next _setup_srtp _set_state"),
        (Path, aioice.Connection, "get_component_candidates data_received request_received"),
    ],
)
def test_what_we_override_is_still_called_that(ours: type, theirs: type, names: str) -> None:
    for name in names.split():
        assert callable(vars(theirs)[name])
        assert vars(ours)[name] is not vars(theirs)[name]


async def test_what_we_read_of_aiortc_is_still_called_that(meet: Meet) -> None:
    path = Path(controlling=True, servers={}, relay_only=False)
    plain = RTCSctpTransport(RTCDtlsTransport(cast(RTCIceTransport, path), [RTCCertificate.generateCertificate()]))
    ours = "association_state last_received_tsn local_port local_tsn local_verification_tag"
    theirs = "partial_reliability port verification_tag"
    for name in ["_rto", *(f"_{each}" for each in ours.split()), *(f"_remote_{each}" for each in theirs.split())]:
        assert hasattr(plain, name)
    ada, _ = await meet()
    assert ada.link._association is not None
    assert ada.link._association._ssthresh > 0
