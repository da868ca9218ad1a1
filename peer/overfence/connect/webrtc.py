"""A link: the direct path to one device, one per call (§5). Nothing about chat, nothing about order across links."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from .association import Association, Hooks, Security
from .errors import LinkClosed, LinkEnd, LinkFailed, MessageTooLong, OutOfTurn, Reason
from .heartbeat import Beat, Heartbeat, Kind
from .ice import Path, read_ice_servers
from .sdp import MESSAGE_LIMIT_BYTES, Description
from .sdp import Kind as SdpKind

__all__ = ["CandidatePair", "Link", "LinkConfig", "LinkEnd"]

logger = logging.getLogger(__name__)

# A goodbye to a TURN server that is gone must not hold up the next call.
CLOSE_LIMIT_S = 1.0

# Pings answered at most this often, so a peer that asks without ever acknowledging cannot fill
# our queue with answers. An honest one asks once a second.
PONG_EVERY_S = 0.25


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
    """One direct path to one device: opens once, carries whole messages in order, ends once.

    `received` gets each message, `ended` gets the one end (also that of our own `close`); both are
    called on the loop. Call `close` when done, whatever happened before.
    """

    def __init__(
        self, config: LinkConfig, *, received: Callable[[bytes], None], ended: Callable[[LinkEnd], None]
    ) -> None:
        self._servers = read_ice_servers(config.ice_servers)
        self._relay_only = config.relay_only
        self._received = received
        self._ended = ended
        self._state = _State.NEW
        self._end: LinkEnd | None = None
        self._pair: CandidatePair | None = None
        self._heartbeat = Heartbeat()
        self._ponged_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()
        self._moved = asyncio.Event()
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

    def send(self, data: bytes) -> None:
        """Send one message of at most 65,536 bytes. Raises `LinkClosed`, `MessageTooLong`. `room` is the brake."""
        if len(data) > MESSAGE_LIMIT_BYTES:
            raise MessageTooLong(len(data), MESSAGE_LIMIT_BYTES)
        if self._state is not _State.OPEN:
            raise LinkClosed(self._end)
        self._post(Kind.DATA, data)

    @property
    def unacknowledged_bytes(self) -> int:
        """What the other device's transport has not confirmed to have; 0 once the link is over."""
        if self._association is None or self._end is not None:
            return 0
        return self._association.unacknowledged_bytes

    async def room(self, limit_bytes: int) -> None:
        """Return once at most `limit_bytes` are unacknowledged; raises `LinkClosed`."""
        while self._state is _State.OPEN and self.unacknowledged_bytes > limit_bytes:
            self._moved.clear()
            await self._moved.wait()
        if self._state is not _State.OPEN:
            raise LinkClosed(self._end)

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
                heard=self._heard,
                established=self._established,
                arrived=self._arrived,
                acknowledged=self._moved.set,
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
        self._heard()
        self._arm()
        self._settled.set()

    # While open. The kind byte is all there is of frames: `_post` and `_arrived` are the seam.

    def _post(self, kind: Kind, body: bytes = b"") -> None:
        if self._association is None:
            raise LinkClosed(self._end)
        self._association.post(bytes((kind,)) + body)

    def _arrived(self, message: bytes) -> None:
        if self._state is not _State.OPEN:
            return
        match message[0]:
            case Kind.DATA:
                try:
                    self._received(message[1:])
                except Exception:
                    logger.exception("the receiver of a link raised; the link is closed")
                    self._finish("failed", "the receiver raised")
            case Kind.PING:
                now = asyncio.get_running_loop().time()
                if now - self._ponged_at >= PONG_EVERY_S:
                    self._ponged_at = now
                    self._post(Kind.PONG)
            case Kind.PONG:
                pass
            case unknown:
                self._finish("protocol", f"a message of unknown kind {unknown}")

    def _heard(self) -> None:
        # Any packet of an open link counts, so a ping stuck behind a long queue kills nobody.
        self._heartbeat.heard(now=asyncio.get_running_loop().time())

    def _arm(self) -> None:
        due_at = self._heartbeat.next_timer()
        if due_at is not None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._beat)

    def _beat(self) -> None:
        if self._state is not _State.OPEN:
            return
        beat = self._heartbeat.poll(now=asyncio.get_running_loop().time())
        match beat:
            case None:
                pass
            case Beat.PING:
                self._post(Kind.PING)
            case Beat.DEAD:
                self._finish("silent", "nothing was heard for too long")
                return
            case _:
                assert_never(beat)
        self._arm()

    # Ending.

    def _finish(self, reason: Reason, detail: str) -> None:
        if self._end is not None:
            return
        self._end = LinkEnd(reason, detail)
        self._state = _State.ENDED
        if self._timer is not None:
            self._timer.cancel()
        self._settled.set()
        self._moved.set()
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
