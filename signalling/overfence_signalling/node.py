"""One node: `async with Node.open(config) as node` serves until the block ends, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import os
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from nacl.signing import SigningKey

from . import messages as m
from .admission import Crowd, network_of, node_hello_bytes, node_id
from .connection import Connection, Desk
from .delivery import Delivery
from .errors import BadTls, CannotListen, PortInUse, StorageFailed
from .limits import SWEEP_EVERY_S, NodeLimits
from .logs import log
from .presence import Presence
from .store import Store
from .web import serve

RESTART_RETRY_S = 1.0
FEATURES = ("mailboxes", "topics")


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """How a node is to run: where it listens, where it keeps its mail (None: in memory), what it grants."""

    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: NodeLimits = field(default_factory=NodeLimits)


class Node:
    """A node that is serving. It knows mailboxes and topics by capability, and nobody by name."""

    def __init__(self, config: NodeConfig, store: Store, key: SigningKey, now: Callable[[], float]) -> None:
        self.limits = config.limits
        self.key = bytes(key.verify_key)
        self.id = node_id(self.key)
        self.url = ""
        self.port = 0
        self._signing_key = key
        self._store = store
        self._now = now
        self._started_at = now()
        self._delivery = Delivery(store, config.limits)
        self._presence = Presence(config.limits)
        self._desk = Desk(store, self._delivery, self._presence, config.limits, self._welcome, now)
        self._crowd = Crowd(total=config.limits.connections, per_network=config.limits.connections_per_network)
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def open(cls, config: NodeConfig, *, now: Callable[[], float] = time.time) -> AsyncIterator[Node]:
        """Serve until the block ends; ``now`` tells Unix seconds.

        Raises `PortInUse`, `CannotListen`, `DataInUse`, `DataTooNew`, `DataUnusable`, `BadTls`, `StorageFailed`.
        Ending is bounded (`NodeLimits.stop_deadline_s`): clients are told, what was accepted is committed.
        """
        tls = _tls(config)
        async with AsyncExitStack() as stack:
            listening = _listen(config.host, config.port)
            stack.callback(listening.close)
            store = await Store.open(config.data, config.limits)
            stack.push_async_callback(store.close)
            seed = await store.node_secret() if store.durable else secrets.token_bytes(32)
            node = cls(config, store, SigningKey(seed), now)
            stack.callback(node._presence.close)
            await stack.enter_async_context(serve(node, listening, tls))
            node.port = listening.getsockname()[1]
            node.url = _url(config.host, node.port, tls is not None)
            sweeper = asyncio.create_task(node._sweep_for_ever())
            stack.push_async_callback(_cancel, sweeper)
            log.info("serving", port=node.port, durable=store.durable, tls=tls is not None)
            yield node

    # ── what the doors lead to ────────────────────────────────────────────────────────────────────

    def admit(self, address: str, on_cut: Callable[[], None]) -> Connection | None:
        """A connection for whoever comes from ``address``, or None if there is no place."""
        if not self._crowd.enter(network_of(address)):
            return None
        connection = Connection(self._desk, next(self._numbers), on_cut=on_cut)
        self._connections.add(connection)
        if self._stopping:
            _say_goodbye(connection)
        return connection

    def depart(self, address: str, connection: Connection) -> None:
        """A connection that was admitted is over."""
        self._crowd.leave(network_of(address))
        self._connections.discard(connection)

    def status(self) -> dict[str, object]:
        """What anyone may know of this node: rounded, so that nobody's coming or going shows."""
        return {
            "software": "overfence",
            "version": version("overfence"),
            "protocol": m.VERSION,
            "node": self.id.hex(),
            "durable": self._store.durable,
            "uptime_hours": int((self._now() - self._started_at) // 3600),
            "connections_at_least": self._crowd.size // 10 * 10,
            "store_percent_full": min(100, int(self._store.size_bytes * 10 / self.limits.store_bytes) * 10),
        }

    async def ready(self) -> None:
        """Return when the store answers; raises `StorageFailed`."""
        await self._store.answers()

    async def goodbye(self) -> None:
        """Answer what was asked, if the disk lets it, and tell every connection that it ends."""
        with suppress(StorageFailed, TimeoutError):
            async with asyncio.timeout(self.limits.stop_deadline_s):
                await self._store.answers()
        self._stopping = True
        log.info("stopping", connections=len(self._connections))
        for connection in list(self._connections):
            _say_goodbye(connection)

    # ── its own life ──────────────────────────────────────────────────────────────────────────────

    def _welcome(self, hello: m.ClientHello) -> m.NodeHello:
        unix_s = int(self._now())
        durable = self._store.durable
        signed = node_hello_bytes(nonce=hello.nonce, unix_s=unix_s, version=m.VERSION, durable=durable)
        return m.NodeHello(
            version=m.VERSION,
            features=FEATURES,
            node=self.key,
            signature=self._signing_key.sign(signed).signature,
            unix_s=unix_s,
            limits=m.Limits(mailbox_bytes=self.limits.mailbox_bytes, mailbox_items=self.limits.mailbox_items),
            durable=durable,
        )

    async def sweep(self) -> None:
        """Forget what is past its day. Runs by itself at the start and each hour; raises `StorageFailed`."""
        gone = await self._store.sweep(unix_s=self._now(), followed=self._delivery.followed)
        if gone:
            log.info("swept", rows=gone)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except StorageFailed as error:
                log.error("sweep failed", why=str(error))
            await asyncio.sleep(SWEEP_EVERY_S)


def _say_goodbye(connection: Connection) -> None:
    connection.fail("shutting_down", "the node is stopping", retry_after_s=RESTART_RETRY_S)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(1024)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        raise CannotListen(host, port, str(error)) from None
    return listening


def _url(host: str, port: int, tls: bool) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{'wss' if tls else 'ws'}://{host}:{port}"
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{'wss' if tls else 'ws'}://{shown}:{port}"


def _tls(config: NodeConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise BadTls("a certificate and its key come together")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(os.fspath(config.tls_cert), os.fspath(config.tls_key), password=_no_password)
    except OSError as error:
        raise BadTls(f"{config.tls_cert}, {config.tls_key}: {error.strerror or error}") from None
    return context


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal, and a service would hang there.
    raise BadTls("the key is protected by a password; a node needs one that isn't")
