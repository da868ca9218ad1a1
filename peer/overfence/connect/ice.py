"""Finding a way to the other device: the one door to aioice.

aioice is told what it may do on our own object only; other users of it in the process keep theirs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import aioice
from aioice.ice import StunProtocol
from aioice.stun import Message
from aioice.turn import TurnTransport

from .errors import BadIceServer
from .sdp import CANDIDATE_LIMIT, Candidate, CandidateKind

logger = logging.getLogger(__name__)

# What waits here before DTLS reads it. Whoever knows our port can send; past this datagrams are
# dropped, as UDP may.
QUEUE_LIMIT = 1024

# Addresses learned from checks. The other side could otherwise make us probe, and remember, any
# number of them.
REMOTE_LIMIT = 2 * CANDIDATE_LIMIT

# Interfaces we open a socket on; it leaves room for reflexive and relayed candidates.
HOST_LIMIT = CANDIDATE_LIMIT - 8

# A STUN or TURN server that has not answered by then would only delay the call.
GATHER_LIMIT_S = 2.0

_LOOPBACK = ["127.0.0.1", "::1"]
_KINDS: dict[str, CandidateKind] = {"host": "host", "srflx": "srflx", "relay": "relay"}
_SERVER = re.compile(
    r"(?P<scheme>stun|turns?):((?P<user>[^:@\s]+):(?P<secret>[^:@\s]+)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<transport>udp|tcp))?"
)


def read_ice_servers(urls: Sequence[str]) -> dict[str, Any]:
    """What aioice needs to know of `stun:HOST[:PORT]` and `turn[s]:USER:SECRET@HOST[:PORT][?transport=udp|tcp]`
    (RFC 7064, RFC 7065; user and secret percent-encoded). The first of each is used. Raises `BadIceServer`."""
    settings: dict[str, Any] = {}
    for url in urls:
        match = _SERVER.fullmatch(url)
        # The text of the URL stays out of the error: it may hold a secret.
        if match is None or (match["scheme"] == "stun") != (match["user"] is None):
            raise BadIceServer("an ICE server must be stun:HOST:PORT or turn:USER:SECRET@HOST:PORT")
        secure = match["scheme"] == "turns"
        address = match["host"].strip("[]"), int(match["port"] or (5349 if secure else 3478))
        if not 1 <= address[1] <= 65_535:
            raise BadIceServer("an ICE server's port is out of range")
        if match["scheme"] == "stun":
            settings.setdefault("stun_server", address)
        elif "turn_server" not in settings:
            settings |= {
                "turn_server": address,
                "turn_username": unquote(match["user"]),
                "turn_password": unquote(match["secret"]),
                "turn_ssl": secure,
                "turn_transport": match["transport"] or ("tcp" if secure else "udp"),
            }
    return settings


class Path(aioice.Connection):
    """A way to one device: found by checks among the addresses both told, and by nothing else.

    It asks no server that was not configured and never the local network for names. `send` and
    `recv` carry datagrams once `open` has returned.
    """

    def __init__(self, *, controlling: bool, servers: dict[str, Any], relay_only: bool) -> None:
        policy = aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL
        super().__init__(
            ice_controlling=controlling,
            transport_policy=policy,
            local_username=secrets.token_hex(4),
            local_password=secrets.token_hex(16),
            **servers,
        )

    # What the DTLS layer asks of what is under it.
    @property
    def role(self) -> str:
        return "controlling" if self.ice_controlling else "controlled"

    @property
    def is_closed(self) -> bool:
        """Whether consent ran out or `close` was called."""
        return self._closing

    async def _recv(self) -> bytes:
        return await self.recv()

    async def _send(self, data: bytes) -> None:
        await self.send(data)

    def told(self) -> tuple[Candidate, ...]:
        """Our own addresses, best first, as many as a description holds."""
        ours = sorted(self.local_candidates, key=lambda each: -each.priority)
        found = [
            Candidate(each.foundation, each.priority, each.host, each.port, _KINDS[each.type])
            for each in ours
            if each.type in _KINDS
        ]
        return tuple(found[:CANDIDATE_LIMIT])

    async def open(self, *, ufrag: str, pwd: str, candidates: Sequence[Candidate]) -> None:
        """Check until a pair is nominated; raises `ConnectionError` when closed before.

        It never gives up by itself: a browser that hides its addresses tells none, and is found by
        the checks it sends us.
        """
        self.remote_username = ufrag
        self.remote_password = pwd
        for each in candidates:
            if self._worth_trying(each):
                await self.add_remote_candidate(
                    aioice.Candidate(each.foundation, 1, "udp", each.priority, each.ip, each.port, each.kind)
                )
        await self.connect()

    def nominated(self) -> tuple[aioice.Candidate, aioice.Candidate] | None:
        """Local and remote candidate of the pair in use."""
        pair = self._nominated.get(1)
        return (pair.local_candidate, pair.remote_candidate) if pair else None

    def abort(self) -> None:
        """Drop the sockets without another packet, for when `close` takes too long."""
        for protocol in self._protocols:
            transport: Any = protocol.transport
            if isinstance(transport, TurnTransport):
                _abandon(transport)
            else:
                transport.abort()

    def _worth_trying(self, candidate: Candidate) -> bool:
        # A peer on another machine that names a loopback address would point us at our own
        # services; on one machine with interfaces, those reach as well.
        if not ipaddress.ip_address(candidate.ip).is_loopback:
            return True
        return all(ipaddress.ip_address(each.host).is_loopback for each in self.local_candidates)

    # What aioice calls, narrowed.

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - aioice's signature
    ) -> list[aioice.Candidate]:
        found = await self._gather(component, addresses[:HOST_LIMIT])
        if not found and self._transport_policy is aioice.TransportPolicy.ALL:
            # No usable interface: what is left is this machine itself, where no server is.
            self.stun_server = self.turn_server = None
            found = await self._gather(component, _LOOPBACK)
        return found

    async def _gather(self, component: int, addresses: list[str]) -> list[aioice.Candidate]:
        # aioice passes the limit on to asyncio.wait, where a fraction of a second is as good.
        found = await super().get_component_candidates(component, addresses, timeout=GATHER_LIMIT_S)  # type: ignore[arg-type]  # see above
        for protocol in self._protocols:
            self._fence(protocol)
        return found

    def _fence(self, protocol: StunProtocol) -> None:
        """Let only what can be meant for us through: aioice and DTLS raise on some of the rest."""
        arrived = protocol.datagram_received
        known: tuple[Any, ...] = ()

        def receive(data: bytes | str, addr: tuple[Any, ...]) -> None:
            nonlocal known
            if not isinstance(data, bytes) or not data:
                return
            first = data[0]
            if 0 <= first <= 3:  # STUN (RFC 7983)
                try:
                    arrived(data, addr)
                except (struct.error, KeyError, AssertionError) as error:
                    logger.debug("dropped a malformed STUN message (%s)", type(error).__name__)
            elif 20 <= first <= 63 and (addr == known or self._knows(addr[0], addr[1])):  # DTLS
                known = addr
                # Nearly every datagram is one of these: aioice would first try to read it as STUN.
                self.data_received(data, 1)

        protocol.datagram_received = receive  # type: ignore[method-assign]  # on this object only, by intent

    def _knows(self, host: str, port: int) -> bool:
        return any(each.host == host and each.port == port for each in self._remote_candidates)

    def data_received(self, data: bytes, component: int) -> None:
        if self._queue.qsize() < QUEUE_LIMIT:
            super().data_received(data, component)

    def request_received(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        if len(self._remote_candidates) < REMOTE_LIMIT or self._knows(*addr):
            super().request_received(message, addr, protocol)

    async def close_within(self, limit_s: float) -> None:
        """Close, telling a TURN server if it listens, and in any case be closed after `limit_s`."""
        try:
            async with asyncio.timeout(limit_s):
                await self.close()
        except TimeoutError:
            logger.debug("a socket did not close in time and was dropped")
        finally:
            self.abort()


def _abandon(relay: TurnTransport) -> None:
    """Stop waiting for a TURN server's goodbye; its socket closes as the waiting task ends."""
    relay.close()
    pending: set[asyncio.Task[None]] = set(relay._TurnTransport__send_tasks)  # type: ignore[attr-defined]  # no other way in
    for task in {relay._TurnTransport__close_task, *pending}:  # type: ignore[attr-defined]  # no other way in
        task.cancel()
