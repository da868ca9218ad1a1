"""The node's doors: the WebSocket clients speak through, its health, and a page that says what it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Protocol

from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from .connection import Connection
from .errors import StorageFailed
from .limits import CROWDED_RETRY_S, NodeLimits
from .messages import FRAME_LIMIT_BYTES, SUBPROTOCOL, Code, Error, encode

SOCKET_PATH = "/ws"
# How long a client that was told why it is closed has to say goodbye, before the socket is simply dropped.
GOODBYE_S = 1.0
READY_S = 2.0

PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/node.css": ("node.css", "text/css"),
    "/node.js": ("node.js", "text/javascript"),
}
PAGE_MISSING = b"This is an Overfence node. Its page wasn't installed.\n"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "overfence",
}


class House(Protocol):
    """What the doors lead to."""

    @property
    def limits(self) -> NodeLimits:
        """The node's bounds."""

    def admit(self, address: str, on_cut: Callable[[], None]) -> Connection | None:
        """A connection for whoever comes from ``address``, or None if there is no place."""

    def depart(self, address: str, connection: Connection) -> None:
        """A connection that was admitted is over."""

    def status(self) -> dict[str, object]:
        """What anyone may know of this node."""

    async def ready(self) -> None:
        """Return when the store answers; raises `StorageFailed`."""

    async def goodbye(self) -> None:
        """Tell every connection that it ends, now that nobody new comes."""


class _Socket(web.WebSocketResponse):
    """A WebSocket that says why, in a frame of ours, before it closes on what it can't even read."""

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        reasons: dict[int, tuple[Code, str]] = {
            WSCloseCode.MESSAGE_TOO_BIG: ("too_large", f"a frame is at most {FRAME_LIMIT_BYTES} bytes"),
            WSCloseCode.PROTOCOL_ERROR: ("malformed", "not a WebSocket frame"),
            WSCloseCode.INVALID_TEXT: ("malformed", "frames are binary"),
        }
        if code in reasons and not self.closed:
            error_code, text = reasons[code]
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self.send_bytes(encode(Error(code=error_code, text=text)))
        return await super().close(code=code, message=message, drain=drain)


@asynccontextmanager
async def serve(house: House, listening: socket.socket, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Keep the doors open while the block runs; after it, clients have `NodeLimits.stop_deadline_s` to go."""
    limits = house.limits
    front = _Front(limits.request_deadline_s)
    runner = web.AppRunner(
        _application(house, front), access_log=None, handle_signals=False, shutdown_timeout=limits.stop_deadline_s
    )
    await runner.setup()
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: front.received(runner.server),
            sock=listening,
            ssl=tls,
            ssl_handshake_timeout=limits.request_deadline_s if tls else None,
        )
        try:
            yield
        finally:
            await _stop_listening(server, listening)
            await house.goodbye()
    finally:
        front.close()
        await runner.cleanup()


async def _stop_listening(server: asyncio.Server, listening: socket.socket) -> None:
    # asyncio loses a connection that it has accepted but not yet begun to serve when the server closes: let it begin.
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().remove_reader(listening)
    for _ in range(2):
        await asyncio.sleep(0)
    server.close()


class _Front:
    """Whoever connects has asked for something within a deadline, or is dropped."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def received(self, server: web.Server | None) -> web.RequestHandler:
        if server is None:
            raise ConnectionAbortedError("the node is stopping")
        visitor = server()
        loop = asyncio.get_running_loop()
        self._silent[visitor] = loop.call_later(self._deadline_s, self._drop, visitor)
        return visitor

    async def asked(self, request: web.Request, response: web.StreamResponse) -> None:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        response.headers.update(HEADERS)
        if not isinstance(response, web.WebSocketResponse):
            # One request a connection: nobody dribbles a second one past the deadline.
            response.force_close()

    def close(self) -> None:
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()

    def _drop(self, visitor: web.RequestHandler) -> None:
        del self._silent[visitor]
        if visitor.transport is not None:
            visitor.transport.abort()


def _application(house: House, front: _Front) -> web.Application:
    app = web.Application(client_max_size=1024)
    doors = _Doors(house)
    app.on_response_prepare.append(front.asked)
    app.router.add_get(SOCKET_PATH, doors.socket)
    app.router.add_get("/livez", doors.live)
    app.router.add_get("/readyz", doors.ready)
    app.router.add_get("/status.json", doors.status)
    for path, (name, kind) in PAGE_FILES.items():
        app.router.add_get(path, _page(name, kind))
    return app


def _page(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    # Installed, the page is a package of its own; in a checkout it lies beside the source roots.
    beside = Path(__file__).parents[2] / "web" / name
    try:
        body = resources.files("overfence_web").joinpath(name).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        body = beside.read_bytes() if beside.is_file() else PAGE_MISSING
        kind = kind if body is not PAGE_MISSING else "text/plain"

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return serve


class _Doors:
    """One handler a path."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def live(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READY_S):
                await self._house.ready()
        except (StorageFailed, TimeoutError):
            return web.Response(status=503, text="the store doesn't answer\n")
        return web.Response(text="ready\n")

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self._house.status())

    async def socket(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if SUBPROTOCOL not in (name.strip() for name in offered):
            return web.Response(status=400, text=f"This is a WebSocket of subprotocol {SUBPROTOCOL}.\n")
        socket = _Socket(
            protocols=[SUBPROTOCOL],
            compress=False,
            # aiohttp refuses a message of exactly its limit.
            max_msg_size=FRAME_LIMIT_BYTES + 1,
            heartbeat=self._house.limits.heartbeat_s,
            timeout=GOODBYE_S,
            decode_text=False,
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        cut: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        address = request.remote or ""
        connection = self._house.admit(address, lambda: cut.append(loop.call_later(GOODBYE_S, transport.abort)))
        if connection is None:
            error = Error(code="too_many", text="too many connections", retry_after_s=CROWDED_RETRY_S)
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(encode(error))
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
            return socket
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(socket, connection, transport))
                tasks.create_task(self._read(socket, connection))
        finally:
            connection.close()
            self._house.depart(address, connection)
            for timer in cut:
                timer.cancel()
        return socket

    async def _read(self, socket: _Socket, connection: Connection) -> None:
        try:
            while not connection.ended:
                message = await socket.receive()
                if message.type is WSMsgType.BINARY:
                    connection.receive(message.data)
                    await connection.room()
                elif message.type is WSMsgType.TEXT:
                    connection.fail("malformed", "frames are binary")
                else:
                    break
        finally:
            connection.close()

    async def _write(self, socket: _Socket, connection: Connection, transport: asyncio.Transport) -> None:
        outbox = connection.outbox
        try:
            while burst := await outbox.next():
                async with asyncio.timeout(self._house.limits.write_deadline_s):
                    for frame in burst:
                        await socket.send_bytes(frame)
            async with asyncio.timeout(GOODBYE_S * 2):
                await socket.close()
        except (ClientConnectionResetError, ConnectionError):
            # The client went; what it didn't get it asks for again, or it waits in the store.
            connection.close()
        except TimeoutError:
            transport.abort()
        finally:
            connection.close()
