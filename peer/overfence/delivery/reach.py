"""The nodes this device has to do with: connected to, each with a postman, and let go of (docs/protocol.md §4, §6)."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from overfence_signalling import Accepted, Ack, Put

from ..connect import nodes
from ..connect.nodes import NodeClient
from ..errors import Unreachable
from ..history import people
from ..history.store import Store
from ..sealing import seal_envelope
from . import outgoing, places, postman
from .me import Me
from .payload import Ring, Sdp
from .places import Newcomers, Place
from .postman import Postman

logger = logging.getLogger(__name__)


class Listener(nodes.Listener, postman.Listener, Protocol):
    """Who hears what nodes say, how errands go, and what becomes of the nodes; called on the loop."""

    def left(self, node: NodeClient) -> None:
        """Nobody has to do with that node any more."""

    def look_again(self) -> None:
        """A node had to wait for its turn: what is wanted is to be looked up once more."""


class Reach:
    """Keeps up a connection to each node that is wanted, and to no other."""

    def __init__(
        self,
        store: Store,
        me: Me,
        listener: Listener,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None],
    ) -> None:
        self._store = store
        self._me = me
        self._listener = listener
        self._spawn = spawn
        self._postmen: dict[str, Postman] = {}
        self._tasks: dict[str, list[asyncio.Task[None] | None]] = {}
        self._newcomers = Newcomers()
        self._looks_at: asyncio.TimerHandle | None = None

    def keep_up(self, wanted: list[Place]) -> None:
        """From now on these, and only these."""
        for url in set(self._postmen) - {place.url for place in wanted}:
            for task in self._tasks.pop(url, []):
                if task is not None:
                    task.cancel()
            self._listener.left(self._postmen.pop(url).node)
        now = asyncio.get_running_loop().time()
        for place in wanted:
            if place.url in self._postmen:
                continue
            if place.contact is not None and not self._newcomers.admits(place.contact, now=now):
                self._look_later()
                continue
            node = NodeClient(place.url, self._listener, random=self._me.random, jitter=random.SystemRandom().random)
            self._postmen[place.url] = man = Postman(node, self._store, self._me, self._listener)
            self._tasks[place.url] = [self._spawn(node.run(time.time)), self._spawn(man.run())]

    def stop(self) -> None:
        """Plan nothing more."""
        if self._looks_at is not None:
            self._looks_at.cancel()

    def nodes(self) -> Iterator[NodeClient]:
        """All of them."""
        return (man.node for man in list(self._postmen.values()))

    def listening_nodes(self) -> Iterator[NodeClient]:
        """Those where every mailbox of ours is followed."""
        return (man.node for man in list(self._postmen.values()) if man.is_listening and man.node.is_connected)

    def node(self, url: str) -> NodeClient | None:
        """The node of that address, if it is one of them."""
        return self._postmen[url].node if url in self._postmen else None

    def wake(self, url: str) -> None:
        """Something new is to be done there."""
        if url in self._postmen:
            self._postmen[url].wake()

    def hurry(self, url: str) -> None:
        """Somebody waits for it: don't wait out a back-off."""
        if url in self._postmen:
            self._postmen[url].node.hurry()

    def reconnected(self, node: NodeClient) -> bool:
        """It has forgotten what it followed for us; False where nobody has to do with it any more."""
        if node.url not in self._postmen:
            return False
        self._postmen[node.url].reconnected()
        return True

    def acknowledge(self, node: NodeClient, ack: Ack) -> None:
        """What it had kept for us is held here now."""
        if node.url in self._postmen:
            self._postmen[node.url].acknowledge(ack)

    def fence(self, node: NodeClient, mailbox: bytes) -> bool:
        """Another process follows that mailbox; True if it was one of ours there."""
        return node.url in self._postmen and self._postmen[node.url].fence(mailbox)

    async def pass_on(self, dsk: bytes, item: Sdp | Ring) -> bool:
        """A call's item, for the moment only: to the device's mailbox if its owner is there, never stored (§5).

        False where it did not get there.
        """

        def seal(tx: sqlite3.Connection) -> tuple[str, bytes, bytes] | None:
            device, addresses = people.device(tx, dsk), people.addresses(tx, dsk)
            message = outgoing.seal_items(tx, self._me, device, item, spare=True) if device and addresses else None
            if message is None:
                return None
            at = addresses[0]
            return at.node, at.mailbox, seal_envelope(at.key, at.mailbox, self._me.dsk, message, self._me.random)

        sealed = await self._store.write(seal)
        node = self.node(sealed[0]) if sealed is not None else None
        if sealed is None or node is None:
            return False
        _, mailbox, envelope = sealed
        put_id = self._me.random(16)
        try:
            answer = await node.ask(lambda ref: Put(ref=ref, mailbox=mailbox, id=put_id, envelope=envelope, ttl_s=0))
        except Unreachable as error:
            logger.info("a call's item was not passed on: %s", error)
            return False
        return isinstance(answer, Accepted) and answer.state == "passed"

    def _look_later(self) -> None:
        if self._looks_at is None:
            self._looks_at = asyncio.get_running_loop().call_later(places.NEW_S, self._look)

    def _look(self) -> None:
        self._looks_at = None
        self._listener.look_again()
