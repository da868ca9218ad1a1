"""One connection to one node: kept up, asked and answered (docs/protocol.md §4)."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import aiohttp
from overfence_signalling import (
    FRAME_LIMIT_BYTES,
    SOCKET_PATH,
    SUBPROTOCOL,
    VERSION,
    Accepted,
    BadFrame,
    Card,
    CardGet,
    Changes,
    ClientFrame,
    ClientHello,
    Done,
    Error,
    Fenced,
    Items,
    NodeFrame,
    NodeHello,
    Opened,
    Snapshot,
    decode_node,
    encode,
    hello_is_genuine,
    node_id,
)

from ..errors import Unreachable
from .backoff import Backoff

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
# A network that was there a moment ago mostly comes back soon, and nothing tells: so it is knocked at quickly, for a
# while. A host that answers "nobody here" is left alone by the usual back-off at once.
KNOCK_TIMEOUT_S = 1.5
KNOCK_AGAIN_S = 0.3
KNOCK_FOR_S = 60.0
# What a server takes to answer anything, when there is reason to doubt the network.
PROBE_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 20.0
# Presence and mail heal faster the sooner we are back, and a node serves a returning crowd spread over this.
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 30.0
RETRY_AFTER_LIMIT_S = 3600.0
# A connection that lasted this long was a good one; one that breaks at once keeps its back-off growing.
STEADY_S = 10.0

# Of a server's own words: they may be long, and hold what a terminal obeys.
WORDS_LIMIT = 120

Answer = Opened | Accepted | Card | Done | Snapshot | Error


class NodeRefused(Unreachable):
    """The node answered with a refusal; `code` says which. What was to be said stays queued."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"the server refused: {_printable(f'{error.code} {error.text}')}")
        self.code = error.code
        after_s = error.retry_after_s
        known = after_s is not None and math.isfinite(after_s)
        # The node's word, within reason: it may be broken, or mean to keep us silent.
        self.retry_after_s = min(max(after_s or 0.0, 0.0), RETRY_AFTER_LIMIT_S) if known else None


class BadNode(Unreachable):
    """What answers at this address is no node of this protocol, or not the one that signs; nothing was told to it."""


class Listener(Protocol):
    """Who hears what a node says of its own accord; called on the loop. `BadNode` from `items` ends the connection."""

    def connected(self, node: NodeClient) -> None: ...
    def disconnected(self, node: NodeClient, why: str, retry_in_s: float) -> None: ...
    def items(self, node: NodeClient, items: Items) -> None: ...
    async def room(self, node: NodeClient) -> None: ...
    def snapshot(self, node: NodeClient, snapshot: Snapshot) -> None: ...
    def changes(self, node: NodeClient, changes: Changes) -> None: ...
    def fenced(self, node: NodeClient, mailbox: bytes) -> None: ...


class NodeClient:
    """A connection to ``url`` that comes back by itself for as long as `run` runs."""

    def __init__(
        self, url: str, listener: Listener, *, random: Callable[[int], bytes], jitter: Callable[[], float]
    ) -> None:
        self.url = url
        self.id = b""
        self.durable = True
        self.clock_off_s = 0
        self._listener = listener
        self._random = random
        self._backoff = Backoff(first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S, jitter=jitter)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._ref = 0
        self._hurry = asyncio.Event()
        self._listening: asyncio.Timeout | None = None
        self._seen_at = -math.inf

    @property
    def is_connected(self) -> bool:
        """Whether `ask` has somebody to ask."""
        return self._socket is not None

    async def run(self, clock_s: Callable[[], float]) -> None:
        """Connect, listen, and come back after every loss, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            is_near = loop.time() - self._seen_at < KNOCK_FOR_S
            error = await self._once(clock_s, KNOCK_TIMEOUT_S if is_near else CONNECT_TIMEOUT_S)
            knocks = is_near and isinstance(error, TimeoutError)
            wait_s = KNOCK_AGAIN_S if knocks else self._backoff.next_s()
            self._listener.disconnected(self, _words(error), wait_s)
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hurry.wait()

    def hurry(self) -> None:
        """Don't wait out the back-off: somebody wants something now."""
        self._hurry.set()

    async def probe(self) -> None:
        """There is reason to doubt the network: leave a connection on which nothing is answered, and come back."""
        listening = self._listening
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self.ask(lambda ref: CardGet(ref=ref, mailbox=bytes(16)))
        except NodeRefused:
            return
        except (Unreachable, TimeoutError):
            if listening is not None and listening is self._listening:
                listening.reschedule(asyncio.get_running_loop().time())

    async def ask(self, make: Callable[[int], ClientFrame]) -> Answer:
        """Say ``make(ref)`` and return its answer. Raises `Unreachable` or `NodeRefused`."""
        if self._socket is None:
            raise Unreachable(f"no connection to {self.url}")
        self._ref += 1
        ref = self._ref
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[ref] = answer
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._socket.send_bytes(encode(make(ref)))
                found = await answer
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer") from None
        except (ConnectionError, aiohttp.ClientError) as error:
            raise Unreachable(f"the connection to {self.url} broke: {error}") from None
        finally:
            self._waiting.pop(ref, None)
        if isinstance(found, Error):
            raise NodeRefused(found)
        return found

    async def say(self, frame: ClientFrame) -> None:
        """Say what is never answered; lost with the connection, if that is lost."""
        if self._socket is not None:
            with suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await self._socket.send_bytes(encode(frame))

    async def _once(self, clock_s: Callable[[], float], knock_s: float) -> Exception:
        """Connect and listen until it ends; why it did."""
        loop = asyncio.get_running_loop()
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=knock_s)
        try:
            async with aiohttp.ClientSession(trace_configs=[trace], timeout=limits) as session:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    socket = await session.ws_connect(
                        self.url.rstrip("/") + SOCKET_PATH,
                        protocols=(SUBPROTOCOL,),
                        max_msg_size=FRAME_LIMIT_BYTES,
                        heartbeat=20,
                        compress=0,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                    )
                steady_at = loop.time() + STEADY_S
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        await self._greet(socket, clock_s)
                    self._socket = socket
                    self._listener.connected(self)
                    async with asyncio.timeout(None) as self._listening:
                        await self._listen(socket)
                finally:
                    self._left(steady_at)
                    await socket.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, BadNode, BadFrame) as error:
            return error
        return ConnectionResetError("the connection closed")

    def _left(self, steady_at: float) -> None:
        now = asyncio.get_running_loop().time()
        if now >= steady_at:
            self._backoff.succeeded()
        if self._socket is not None:
            self._seen_at = now
        self._socket = self._listening = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unreachable(f"the connection to {self.url} broke"))

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse, clock_s: Callable[[], float]) -> None:
        nonce = self._random(32)
        await socket.send_bytes(encode(ClientHello(version=VERSION, nonce=nonce)))
        frame = await self._receive(socket)
        if isinstance(frame, Error):
            raise BadNode(f"the server refused: {_printable(f'{frame.code} {frame.text}')}")
        if not isinstance(frame, NodeHello) or not hello_is_genuine(frame, nonce=nonce):
            raise BadNode("what answers there is no Overfence server")
        self.id = node_id(frame.node)
        self.durable = frame.durable
        self.clock_off_s = round(frame.unix_s - clock_s())

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            # While what it sent before waits for our disk, it is not read: the node keeps the rest.
            await self._listener.room(self)
            frame = await self._receive(socket)
            match frame:
                case Items():
                    self._listener.items(self, frame)
                case Changes():
                    self._listener.changes(self, frame)
                case Fenced():
                    self._listener.fenced(self, frame.mailbox)
                case Error(ref=None):
                    raise BadNode(f"the server said: {_printable(f'{frame.code} {frame.text}')}")
                case NodeHello():
                    raise BadNode("the server greeted twice")
                case _:
                    if isinstance(frame, Snapshot):
                        self._listener.snapshot(self, frame)
                    answer = self._waiting.get(frame.ref) if frame.ref is not None else None
                    if answer is not None and not answer.done():
                        answer.set_result(frame)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> NodeFrame:
        message = await socket.receive()
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                return decode_node(message.data)
            case aiohttp.WSMsgType.TEXT:
                raise BadNode("the server sent text")
            case _:
                raise ConnectionResetError("the connection closed")


async def _refuse_redirect(*_: object) -> None:
    # Followed, any server could make us knock at any door of our own network.
    raise BadNode("the server sends us elsewhere")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error}"
    return _printable(str(error)) or type(error).__name__


def _printable(words: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in words[: 2 * WORDS_LIMIT]).strip()
    return plain if len(plain) <= WORDS_LIMIT else plain[: WORDS_LIMIT - 1] + "…"
