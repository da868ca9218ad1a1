"""One client: what it asks, what it may, and what it is answered (docs/protocol.md §4). Knows no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from . import messages as m
from .admission import Allowance, refuse_hello
from .delivery import Delivery
from .errors import StorageBusy, StorageFailed
from .limits import BUSY_RETRY_S, FULL_RETRY_S, STORAGE_RETRY_S, NodeLimits
from .mailboxes import Cursor, Full, PutState, day_of, mailbox_address
from .outbox import Outbox
from .presence import Presence
from .store import Followed, Kept, Store
from .topics import Refused

# An answer that carries no card, rounded up.
ANSWER_BYTES = 128


@dataclass(frozen=True)
class Desk:
    """What a node's connections share."""

    store: Store
    delivery: Delivery
    presence: Presence
    limits: NodeLimits
    welcome: Callable[[m.ClientHello], m.NodeHello]
    unix_s: Callable[[], float]


class Connection:
    """Every request is answered once, by its ``ref``; what breaks the protocol ends this connection and no other."""

    def __init__(self, desk: Desk, number: int, *, on_cut: Callable[[], None]) -> None:
        self.number = number
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self._on_cut = on_cut
        limits = desk.limits
        self.outbox = Outbox(limit_bytes=limits.outbox_bytes, easy_bytes=limits.outbox_easy_bytes, on_easy=self._eased)
        self._allowance = Allowance(per_s=limits.requests_per_s, burst=limits.requests_burst, now=self._loop.time())
        self._mailboxes: set[bytes] = set()
        self._waiting = 0
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._greeted = False
        self.ended = False
        self._hello_timer = self._loop.call_later(
            limits.hello_deadline_s, self.fail, "hello_expected", "no hello came in time"
        )

    # ── what the socket tells ─────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes) -> None:
        """A binary frame came."""
        if self.ended:
            return
        try:
            frame = m.decode_client(data)
        except m.BadFrame as bad:
            self.fail(bad.code, str(bad))
            return
        if isinstance(frame, m.ClientHello):
            self._hello(frame)
        elif not self._greeted:
            self.fail("hello_expected", "the first frame is a hello")
        else:
            self._handle(frame)

    async def room(self) -> None:
        """Wait until this client may ask more: it reads its answers, and not too many are open."""
        while not self.ended and not self._has_room:
            self._room.clear()
            await self._room.wait()

    def fail(self, code: m.Code, text: str, *, retry_after_s: float | None = None) -> None:
        """Tell the client why this connection ends, behind what waits for it, and end it."""
        self._end(m.encode(m.Error(code=code, text=text, retry_after_s=retry_after_s)))

    def close(self) -> None:
        """The socket is gone, or is to go: leave everything."""
        self._end(None)

    # ── what the node tells ───────────────────────────────────────────────────────────────────────

    @property
    def easy(self) -> bool:
        """Whether this client reads well enough to be sent stored items."""
        return self.outbox.easy

    def promise(self, size_bytes: int) -> None:
        """Count bytes that are going to be said; a negative number takes it back."""
        self.outbox.promise(size_bytes)

    def say(self, frame: m.Frame) -> None:
        """Send a frame, behind those that wait."""
        self.send(m.encode(frame))

    def send(self, frame: bytes) -> None:
        """Send an encoded frame. A client with too much unread is closed: nobody waits for it."""
        if not self.outbox.push(frame):
            error = m.Error(code="slow_reader", text="too much was unread", retry_after_s=BUSY_RETRY_S)
            self._end(m.encode(error), drop_waiting=True)
            self._on_cut()

    # ── requests ──────────────────────────────────────────────────────────────────────────────────

    def _hello(self, hello: m.ClientHello) -> None:
        if self._greeted:
            self.fail("malformed", "a second hello")
            return
        refusal = refuse_hello(hello)
        if refusal is not None:
            self.fail(refusal.code, refusal.text)
            return
        self._greeted = True
        self._hello_timer.cancel()
        self.say(self._desk.welcome(hello))

    def _handle(self, frame: m.ClientFrame) -> None:
        match frame:
            case m.Ack():
                self._desk.delivery.acknowledge(
                    self, frame.mailbox, epoch=frame.epoch, seq=frame.seq, unix_s=self._desk.unix_s()
                )
            case m.Leave():
                self._desk.presence.leave(self, frame.topic)
            case m.ClientHello():
                raise AssertionError("handled before")
            case _:
                wait_s = self._allowance.take(now=self._loop.time())
                if wait_s:
                    self._refuse(frame.ref, "rate_limited", "too many requests", retry_after_s=wait_s)
                else:
                    self._request(frame)

    def _request(self, frame: m.Open | m.Put | m.CardSet | m.CardGet | m.Close | m.Enter) -> None:
        match frame:
            case m.Put():
                self._put(frame)
            case m.Open():
                self._open(frame)
            case m.CardSet():
                self._card_set(frame)
            case m.CardGet():
                self._card_get(frame)
            case m.Close():
                self._close_mailbox(frame)
            case m.Enter():
                self._enter(frame)
            case _:
                assert_never(frame)

    def _put(self, frame: m.Put) -> None:
        desk = self._desk
        size_bytes = len(frame.envelope)
        if frame.ttl_s == 0:
            item = m.Item(seq=0, id=frame.id, envelope=frame.envelope, day=day_of(desk.unix_s()))
            passed = desk.delivery.pass_on(frame.mailbox, item)
            self.say(m.Accepted(ref=frame.ref, state="passed" if passed else "absent", durable=False))
            return

        def then(result: Kept | Full | StorageFailed | None) -> None:
            self._answered(size_bytes)
            match result:
                case Kept(state=PutState.NEW, item=m.Item() as item):
                    desk.delivery.stored(frame.mailbox, item)
                    self._accept(frame.ref, "stored")
                case Kept(state=PutState.HELD):
                    self._accept(frame.ref, "held")
                case Kept():
                    self._accept(frame.ref, "taken")
                case None:
                    self._refuse(frame.ref, "no_mailbox", "there is no such mailbox")
                case _:
                    self._refuse_stored(frame.ref, result)

        self._asked(size_bytes)
        desk.store.put(frame.mailbox, frame.id, frame.envelope, ttl_s=frame.ttl_s, unix_s=desk.unix_s(), then=then)

    def _open(self, frame: m.Open) -> None:
        address = mailbox_address(frame.mk)
        if not self._may_own(frame.ref, address):
            return

        def then(result: Followed | Full | StorageFailed) -> None:
            self._answered()
            if not isinstance(result, Followed):
                self._refuse_stored(frame.ref, result)
            elif not self.ended:
                self.say(m.Opened(ref=frame.ref, mailbox=address, epoch=result.epoch, head=result.head))
                self._desk.delivery.follow(self, address, result)

        self._asked()
        cursor = Cursor(frame.epoch, frame.seq)
        self._desk.store.follow(address, cursor, unix_s=self._desk.unix_s(), then=then)

    def _card_set(self, frame: m.CardSet) -> None:
        address = mailbox_address(frame.mk)
        if not self._may_own(frame.ref, address):
            return

        def then(result: Full | StorageFailed | None) -> None:
            self._answered(len(frame.card))
            if result is None:
                self.say(m.Done(ref=frame.ref))
            else:
                self._refuse_stored(frame.ref, result)

        self._asked(len(frame.card))
        self._desk.store.set_card(address, frame.card, unix_s=self._desk.unix_s(), then=then)

    def _card_get(self, frame: m.CardGet) -> None:
        def then(result: tuple[bytes | None] | StorageFailed | None) -> None:
            self._answered(answer_bytes=m.CARD_LIMIT_BYTES)
            if result is None:
                self._refuse(frame.ref, "no_mailbox", "there is no such mailbox")
            elif isinstance(result, StorageFailed):
                self._refuse_stored(frame.ref, result)
            else:
                self.say(m.Card(ref=frame.ref, card=result[0]))

        self._asked(answer_bytes=m.CARD_LIMIT_BYTES)
        self._desk.store.card(frame.mailbox, then=then)

    def _close_mailbox(self, frame: m.Close) -> None:
        address = mailbox_address(frame.mk)

        def then(result: bool | StorageFailed) -> None:
            self._answered()
            if isinstance(result, StorageFailed):
                self._refuse_stored(frame.ref, result)
                return
            self._desk.delivery.closed(address, self)
            self._mailboxes.discard(address)
            self.say(m.Done(ref=frame.ref))

        self._asked()
        self._desk.store.delete(address, then=then)

    def _enter(self, frame: m.Enter) -> None:
        result = self._desk.presence.enter(self, frame.topic, frame.entry, ref=frame.ref)
        if isinstance(result, Refused):
            self._refuse(frame.ref, "too_many", result.value)
            return
        for page in result:
            self.say(page)

    # ── answers ───────────────────────────────────────────────────────────────────────────────────

    def _accept(self, ref: int, state: m.PutAnswer) -> None:
        self.say(m.Accepted(ref=ref, state=state, durable=self._desk.store.durable))

    def _refuse(self, ref: int, code: m.Code, text: str, *, retry_after_s: float | None = None) -> None:
        self.say(m.Error(ref=ref, code=code, text=text, retry_after_s=retry_after_s))

    def _refuse_stored(self, ref: int, why: Full | StorageFailed) -> None:
        match why:
            case Full.MAILBOX:
                self._refuse(ref, "mailbox_full", "this mailbox is full", retry_after_s=FULL_RETRY_S)
            case Full.NODE:
                self._refuse(ref, "node_full", "this node's disk is full", retry_after_s=FULL_RETRY_S)
            case StorageBusy():
                self._refuse(ref, "storage", "the disk is behind", retry_after_s=BUSY_RETRY_S)
            case _:
                self._refuse(ref, "storage", "the disk refused", retry_after_s=STORAGE_RETRY_S)

    def _may_own(self, ref: int, address: bytes) -> bool:
        if address not in self._mailboxes and len(self._mailboxes) >= self._desk.limits.mailboxes_per_connection:
            self._refuse(ref, "too_many", "too many mailboxes on one connection")
            return False
        self._mailboxes.add(address)
        return True

    @property
    def _has_room(self) -> bool:
        limits = self._desk.limits
        few = self._waiting < limits.requests_waiting and self._waiting_bytes < limits.requests_waiting_bytes
        return few and self.outbox.easy

    def _asked(self, size_bytes: int = 0, *, answer_bytes: int = ANSWER_BYTES) -> None:
        """A request went to the store. Its answer's place is kept: a client that reads is never closed for asking."""
        self._waiting += 1
        self._waiting_bytes += size_bytes
        self.outbox.promise(answer_bytes)

    def _answered(self, size_bytes: int = 0, *, answer_bytes: int = ANSWER_BYTES) -> None:
        self._waiting -= 1
        self._waiting_bytes -= size_bytes
        self.outbox.promise(-answer_bytes)
        self._room.set()

    def _eased(self) -> None:
        self._room.set()
        self._desk.delivery.eased(self)

    def _end(self, last: bytes | None, *, drop_waiting: bool = False) -> None:
        if self.ended:
            return
        self.ended = True
        self._hello_timer.cancel()
        self._desk.delivery.gone(self)
        self._desk.presence.gone(self)
        self.outbox.end(last, drop_waiting=drop_waiting)
        self._room.set()
