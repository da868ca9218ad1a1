"""An embedder's own aiortc in the same process stays as it was, and what we lean on in aiortc is there."""

from __future__ import annotations

import asyncio

import aioice
import aiortc.rtcsctptransport as foreign
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
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
    ada.link.send(b"ours")
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
            "_handle_data _receive_chunk _receive_data_chunk _send_sack _receive_sack_chunk _send_chunk"
            " _t3_start _t3_restart _update_rto _set_state",
        ),
        (Security, RTCDtlsTransport, "_setup_srtp _set_state"),
        (Path, aioice.Connection, "get_component_candidates data_received request_received"),
    ],
)
def test_what_we_override_is_still_called_that(ours: type, theirs: type, names: str) -> None:
    for name in names.split():
        assert callable(vars(theirs)[name])
        assert vars(ours)[name] is not vars(theirs)[name]
