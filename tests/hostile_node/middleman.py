"""A server between people and a real node. It passes on every frame, both ways, until a mischief changes its mind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from overfence_signalling import (
    FRAME_LIMIT_BYTES,
    SOCKET_PATH,
    SUBPROTOCOL,
    CardGet,
    CardSet,
    ClientFrame,
    Enter,
    Frame,
    NodeFrame,
    Open,
    Put,
    decode_client,
    decode_node,
    encode,
    mailbox_address,
)

STRIKES_WITHIN_S = 20.0


class Visit:
    """One person's connection: what they asked, and a way to say anything to them, or in their name."""

    def __init__(self) -> None:
        self.name = ""
        self.asked: dict[int, ClientFrame] = {}  # by ref
        self.to_person: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.to_node: asyncio.Queue[bytes | None] = asyncio.Queue()

    def say(self, *frames: Frame) -> None:
        """Say this to the person; nobody else has said it."""
        self.say_bytes(*(encode(frame) for frame in frames))

    def say_bytes(self, *frames: bytes) -> None:
        """The same, of what may be no frame at all."""
        for frame in frames:
            self.to_person.put_nowait(frame)

    def ask(self, *frames: Frame) -> None:
        """Ask this of the real node, in the person's name."""
        for frame in frames:
            self.to_node.put_nowait(encode(frame))

    def cut(self) -> None:
        """End the connection."""
        self.to_person.put_nowait(None)


class Mischief:
    """One way to be bad: it passes on what it is shown, or anything else. ``struck`` says how often it was bad."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.struck = 0
        self._struck = asyncio.Event()

    def strike(self) -> None:
        """It was bad just now."""
        self.struck += 1
        self._struck.set()

    async def strikes(self) -> None:
        """Return once it was."""
        async with asyncio.timeout(STRIKES_WITHIN_S):
            await self._struck.wait()

    def asked(self, by: Visit, frame: ClientFrame) -> Sequence[Frame]:
        """What goes on to the node."""
        return (frame,)

    def told(self, to: Visit, frame: NodeFrame) -> Sequence[Frame]:
        """What goes on to the person."""
        return (frame,)


M = TypeVar("M", bound=Mischief)


@dataclass
class Record:
    """What a node can keep of what passes, for as long as it likes."""

    owners: dict[bytes, str] = field(default_factory=dict)  # mailbox → who opened it
    puts: list[tuple[str, Put]] = field(default_factory=list)  # by whom
    cards: dict[bytes, list[bytes]] = field(default_factory=dict)  # mailbox → its cards, oldest first
    entries: list[tuple[str, Enter]] = field(default_factory=list)  # by whom
    asked_for_cards: list[str] = field(default_factory=list)  # who

    def note(self, by: Visit, frame: ClientFrame) -> None:
        """A frame passes."""
        match frame:
            case Open(mk=mk) | CardSet(mk=mk):
                mailbox = mailbox_address(mk)
                by.name = by.name or self.owners.get(mailbox, "")
                self.owners[mailbox] = by.name
                if isinstance(frame, CardSet):
                    self.cards.setdefault(mailbox, []).append(frame.card)
            case Put():
                self.puts.append((by.name, frame))
            case Enter():
                self.entries.append((by.name, frame))
            case CardGet():
                self.asked_for_cards.append(by.name)
            case _:
                pass

    def of(self, name: str) -> list[bytes]:
        """Someone's mailboxes, oldest first."""
        return [mailbox for mailbox, owner in self.owners.items() if owner == name]

    def put_by(self, name: str, *, kept: bool = True) -> list[Put]:
        """What someone left in mailboxes, oldest first; or, not kept, passed on for the moment."""
        return [put for by, put in self.puts if by == name and (put.ttl_s > 0) is kept]


class Middleman:
    """What people take for their server."""

    def __init__(self, node_url: str) -> None:
        self.url = ""
        self.visits: list[Visit] = []
        self.record = Record()
        self._node_url = node_url
        self._mischiefs: list[Mischief] = []
        self._expected: list[str] = []

    @classmethod
    @asynccontextmanager
    async def before(cls, node_url: str) -> AsyncIterator[Middleman]:
        """Serve until the block ends, with that node behind."""
        middleman = cls(node_url)
        app = web.Application()
        app.router.add_get(SOCKET_PATH, middleman._visited)
        async with TestServer(app) as server:
            middleman.url = f"ws://127.0.0.1:{server.port}"
            yield middleman
            middleman.cut()

    @contextmanager
    def does(self, mischief: M) -> Iterator[M]:
        """For the length of the block; several at once see what those before them let pass."""
        self._mischiefs.append(mischief)
        try:
            yield mischief
        finally:
            if mischief in self._mischiefs:
                self._mischiefs.remove(mischief)

    def behave(self) -> None:
        """From here on everything is passed on."""
        self._mischiefs.clear()

    def expect(self, name: str) -> None:
        """The next who comes is that person."""
        self._expected.append(name)

    def visit(self, name: str) -> Visit:
        """Someone's present connection."""
        return [visit for visit in self.visits if visit.name == name][-1]

    def cut(self, name: str = "") -> None:
        """End someone's connections, or everybody's; they come back by themselves."""
        for visit in self.visits:
            if name in ("", visit.name):
                visit.cut()

    async def _visited(self, request: web.Request) -> web.WebSocketResponse:
        person = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), compress=False, max_msg_size=FRAME_LIMIT_BYTES + 1, timeout=1.0
        )
        await person.prepare(request)
        visit = Visit()
        visit.name = self._expected.pop(0) if self._expected else ""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                self._node_url + SOCKET_PATH, protocols=(SUBPROTOCOL,), max_msg_size=FRAME_LIMIT_BYTES, compress=0
            ) as node,
        ):
            self.visits.append(visit)
            tasks = [
                asyncio.create_task(work)
                for work in (
                    self._hear_person(visit, person),
                    self._hear_node(visit, node),
                    _write(visit.to_person, person),
                    _write(visit.to_node, node),
                )
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.visits.remove(visit)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await person.close()
        return person

    async def _hear_person(self, visit: Visit, person: web.WebSocketResponse) -> None:
        async for message in person:
            frame = decode_client(message.data)
            self.record.note(visit, frame)
            ref = getattr(frame, "ref", None)
            if ref is not None:
                visit.asked[ref] = frame
            frames: list[Frame] = [frame]
            for mischief in self._mischiefs:
                frames = [out for one in frames for out in mischief.asked(visit, decode_client(encode(one)))]
            visit.ask(*frames)

    async def _hear_node(self, visit: Visit, node: aiohttp.ClientWebSocketResponse) -> None:
        async for message in node:
            frames: list[Frame] = [decode_node(message.data)]
            for mischief in self._mischiefs:
                frames = [out for one in frames for out in mischief.told(visit, decode_node(encode(one)))]
            visit.say(*frames)


async def _write(
    queue: asyncio.Queue[bytes | None], socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse
) -> None:
    with suppress(ConnectionError, aiohttp.ClientError):
        while (frame := await queue.get()) is not None:
            await socket.send_bytes(frame)
