"""A link: the direct path to one device, one per call (§5). Nothing about chat, order, or who is still there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from overfence_reliability import Lane

from .association import Association, Hooks, Security
from .errors import LinkClosed, LinkEnd, LinkFailed, MessageTooLong, OutOfTurn, Reason
from .ice import Path, read_ice_servers
from .sdp import PACKET_LIMIT_BYTES, Description
from .sdp import Kind as SdpKind

__all__ = ["CandidatePair", "Link", "LinkConfig", "LinkEnd"]

logger = logging.getLogger(__name__)

# A goodbye to a TURN server that is gone must not hold up the next call.
CLOSE_LIMIT_S = 1.0


@dataclass(frozen=True)
class LinkConfig:
    """Whom a link may ask for help in finding a way; by default nobody, so no packet leaves for anyone else.

    `ice_servers`: `stun:HOST:PORT` and `turn:USER:SECRET@HOST:PORT`. `relay_only`: only by TURN, so the
    other side does not see our address.
    """

    ice_servers: tuple[str, ...] = field(default=(), repr=False)
    relay_only: bool = False


@dataclass(frozen=True)
class CandidatePair:
    """The way a link took: how each end is reached ("host", "srflx", "prflx", "relay") over which protocol."""

    local_type: str
    remote_type: str
    protocol: str
    local_address: tuple[str, int] = field(repr=False)
    remote_address: tuple[str, int] = field(repr=False)


class _State(Enum):
    NEW = "new"
    OFFERING = "offering"
    CONNECTING = "connecting"
    OPEN = "open"
    ENDED = "over"


class _Step(Enum):
    OFFER = "offer"
    ANSWER = "answer"
    ACCEPT = "accept"
    ESTABLISH = "open"


_NEXT = {
    (_State.NEW, _Step.OFFER): _State.OFFERING,
    (_State.NEW, _Step.ANSWER): _State.CONNECTING,
    (_State.OFFERING, _Step.ACCEPT): _State.CONNECTING,
    (_State.CONNECTING, _Step.ESTABLISH): _State.OPEN,
}


class Link:
    """One direct path to one device: opens once, carries packets of 1 to 1,160 bytes on two lanes, ends once.

    A bulk packet arrives, once, as long as the link lives; a fast one at most once; neither in order.
    `received` gets each, `ended` the one end (also that of our own `close`), `roomy` is told when there
    is more room for bulk; all are called on the loop. Whether the other side is still there is for the
    caller to find out. Call `close` when done, whatever happened before.
    """

    def __init__(
        self,
        config: LinkConfig,
        *,
        received: Callable[[Lane, bytes], None],
        ended: Callable[[LinkEnd], None],
        roomy: Callable[[], None],
    ) -> None:
        self._servers = read_ice_servers(config.ice_servers)
        self._relay_only = config.relay_only
        self._received = received
        self._ended = ended
        self._roomy = roomy
        self._state = _State.NEW
        self._end: LinkEnd | None = None
        self._pair: CandidatePair | None = None
        self._settled = asyncio.Event()
        self._gathering: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._path: Path | None = None
        self._security: Security | None = None
        self._association: Association | None = None

    async def offer(self) -> str:
        """Begin a call: the text for the other side's `answer`. Raises `LinkFailed` when closed meanwhile."""
        self._advance(_Step.OFFER)
        security = await self._gather(controlling=True)
        return self._describe(security, "offer")

    async def answer(self, offer: str) -> str:
        """Take a call: the text for the other side's `accept`. Raises `BadSdp`, which leaves the link unused."""
        theirs = Description.parse(offer, "offer")
        self._advance(_Step.ANSWER)
        security = await self._gather(controlling=False)
        self._connecting = asyncio.create_task(self._connect(theirs, as_client=True))
        return self._describe(security, "answer")

    async def accept(self, answer: str) -> None:
        """Learn who answered the offer; the link opens from here on. Raises `BadSdp`."""
        theirs = Description.parse(answer, "answer")
        self._advance(_Step.ACCEPT)
        as_client = theirs.setup == "passive"
        self._connecting = asyncio.create_task(self._connect(theirs, as_client=as_client))

    async def opened(self, timeout_s: float) -> None:
        """Return once messages can be sent; raises `LinkFailed`. A link that is not open in time has failed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            self._finish("failed", f"not open within {timeout_s:g} s")
        if self._end is not None:
            raise LinkFailed(self._end)

    def post(self, lane: Lane, packet: bytes) -> None:
        """Send a packet of 1 to 1,160 bytes. Raises `LinkClosed`, `MessageTooLong`.

        A fast one leaves before this returns: pacing is the caller's. A bulk one past `room_bytes` waits.
        """
        if len(packet) > PACKET_LIMIT_BYTES:
            raise MessageTooLong(len(packet), PACKET_LIMIT_BYTES)
        if self._state is not _State.OPEN or self._association is None:
            raise LinkClosed(self._end)
        if packet:  # SCTP knows no empty packets, and they would say nothing
            self._association.post(lane, packet)

    def room_bytes(self, lane: Lane) -> int:
        """How much would leave right now instead of waiting; 0 while the link is not open."""
        if self._state is not _State.OPEN or self._association is None:
            return 0
        return self._association.room_bytes(lane)

    @property
    def pair(self) -> CandidatePair | None:
        """The nominated pair since the link opened, also after its end; None before."""
        return self._pair

    @property
    def end(self) -> LinkEnd | None:
        """Why the link is over, None while it is not."""
        return self._end

    async def close(self) -> None:
        """End the link if it has not, and return once no task and no socket of it is left.

        At once as a rule; a STUN or TURN server that does not answer may add three seconds.
        """
        self._finish("closed", "")
        if self._releasing is not None:
            await asyncio.shield(self._releasing)

    # Opening.

    def _advance(self, step: _Step) -> None:
        following = _NEXT.get((self._state, step))
        if following is None:
            raise OutOfTurn(step.value, self._state.value)
        self._state = following

    async def _gather(self, *, controlling: bool) -> Security:
        self._path = path = Path(controlling=controlling, servers=self._servers, relay_only=self._relay_only)
        self._security = security = Security(path, self._finish)
        self._association = Association(
            security,
            Hooks(
                established=self._established,
                arrived=self._arrived,
                roomy=lambda: self._tell(self._roomy),
                lost=self._finish,
            ),
        )
        # A gathering cut short would lose track of the sockets it opened, so it always runs to its
        # own end; closing waits for it.
        self._gathering = asyncio.create_task(path.gather_candidates())
        try:
            await asyncio.shield(self._gathering)
        except OSError as error:
            self._finish("failed", f"gathering addresses raised {type(error).__name__}")
        if self._end is not None:
            raise LinkFailed(self._end)
        return security

    def _describe(self, security: Security, kind: SdpKind) -> str:
        if self._path is None:
            raise OutOfTurn("describe itself", self._state.value)
        return str(
            Description(
                kind=kind,
                ufrag=self._path.local_username,
                pwd=self._path.local_password,
                fingerprint=security.fingerprint,
                setup="actpass" if kind == "offer" else "active",
                candidates=self._path.told(),
            )
        )

    async def _connect(self, theirs: Description, *, as_client: bool) -> None:
        if self._path is None or self._security is None or self._association is None:
            return
        try:
            await self._path.open(ufrag=theirs.ufrag, pwd=theirs.pwd, candidates=theirs.candidates)
            if await self._security.open(as_client=as_client, fingerprint=theirs.fingerprint):
                await self._association.open(max_message_bytes=theirs.max_message_bytes)
        except Exception as error:
            # aioice, OpenSSL and aiortc each have their own; to the caller they are one: not reached.
            self._finish("failed", f"connecting raised {type(error).__name__}")

    def _established(self) -> None:
        if self._end is not None or self._path is None:
            return
        self._advance(_Step.ESTABLISH)
        nominated = self._path.nominated()
        if nominated is not None:
            local, remote = nominated
            self._pair = CandidatePair(
                local.type, remote.type, local.transport, (local.host, local.port), (remote.host, remote.port)
            )
        self._settled.set()

    # While open.

    def _arrived(self, lane: Lane, packet: bytes) -> None:
        self._tell(lambda: self._received(lane, packet))

    def _tell(self, owner: Callable[[], None]) -> None:
        if self._state is not _State.OPEN:
            return
        try:
            owner()
        except Exception:
            # Inside the stack it would end this link without a word.
            logger.exception("the owner of a link raised; the link is closed")
            self._finish("failed", "the owner of the link raised")

    # Ending.

    def _finish(self, reason: Reason, detail: str) -> None:
        if self._end is not None:
            return
        self._end = LinkEnd(reason, detail)
        self._state = _State.ENDED
        self._settled.set()
        loop = asyncio.get_running_loop()
        # Not from here: we may be deep inside the stack that the callback would close.
        loop.call_soon(self._ended, self._end)
        self._releasing = loop.create_task(self._release())

    async def _release(self) -> None:
        if self._gathering is not None:
            await asyncio.wait([self._gathering])
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        pump = self._security._task if self._security is not None else None
        for part in (self._association, self._security):
            if part is None:
                continue
            try:
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await part.stop()
            except Exception as error:
                logger.debug("closing a link: %s", type(error).__name__)
        if self._path is not None:
            await self._path.close_within(CLOSE_LIMIT_S)
        if pump is not None:
            await asyncio.wait([pump])
