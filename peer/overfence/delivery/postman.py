"""Everything that is to be said to one node, read from the database, so that a crash forgets none of it (§4)."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from overfence_signalling import TTL_LIMIT_S, Accepted, Ack, Card, CardGet, CardSet, Close, Open, Opened, Put

from ..connect.nodes import NodeClient, NodeRefused
from ..errors import OverfenceError, StorageFailed, Unreachable
from ..history import people, postbox
from ..history.people import ContactRow, ContactState
from ..history.store import Store
from ..identity import DeviceList, Invite
from ..sealing import BadCard, WeakKey, open_card
from ..sealing import Card as OpenCard
from . import meeting, planning, prekeys, rekeying
from .me import Me
from .outcome import Outcome
from .rekeying import Due

logger = logging.getLogger(__name__)

# Puts asked at once; each is at most 60 KiB, so a slow line holds 2 MiB of ours.
PIPELINE = 32
# An accepted envelope is asked after again after a minute, doubling to a day (§6).
ASK_AFTER_S = 60
ASK_AFTER_LIMIT_S = 24 * 3600
# A mailbox that isn't there (yet): its owner may be about to open it.
RETRY_S = 2.0
RETRY_LIMIT_S = 3600.0
# A card that is not the invite's maker's is asked for again.
BAD_CARD_RETRY_S = 30.0


@dataclass(frozen=True)
class _Errands:
    """What the database says is to be done at this node."""

    boxes: list[postbox.Mailbox]
    cards: list[tuple[postbox.Mailbox, bytes, bytes]]
    listed: DeviceList  # in these cards
    knocks: list[tuple[ContactRow, Invite]]
    beginnings: list[Due]
    begin_s: int | None  # when the next of these is due
    puts: list[postbox.Waiting]


class Listener(Protocol):
    """Who hears how errands go; called on the loop."""

    def knocked(self, contact: int) -> None:
        """A contact can be written to now."""

    def lapsed(self, dsk: bytes, at_once: bool) -> None:
        """A device lacks what left a mailbox unconfirmed; `at_once`: it has another mailbox now."""

    def full(self, dsk: bytes) -> None:
        """A device's mailbox takes no more until its owner has been there."""

    def refused(self, error: OverfenceError, contact: int | None) -> None:
        """What the node gave us is not what it should be."""

    async def carry_out(self, outcome: Outcome) -> None:
        """Act on what a transaction led to; it is durable."""

    def published(self, mailbox: bytes) -> None:
        """A mailbox of mine can be written to."""

    def listening(self, node: NodeClient) -> None:
        """Every mailbox there is followed."""


class Postman:
    """Does the errands at one node whenever it is connected: opens, cards, knocks, puts, closes, in that order."""

    def __init__(self, node: NodeClient, store: Store, me: Me, listener: Listener) -> None:
        self.node = node
        self._store = store
        self._me = me
        self._listener = listener
        self.is_listening = False
        self._wake = asyncio.Event()
        self._opened: set[bytes] = set()
        self._fenced: set[bytes] = set()
        self._acks: dict[bytes, Ack] = {}
        self._to_acknowledge = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._again_s: float = ASK_AFTER_S

    def wake(self) -> None:
        """Something new is to be done."""
        self._wake.set()

    def reconnected(self) -> None:
        """The node has forgotten what it followed for us."""
        self._opened.clear()
        self._acks.clear()
        # Said by that connection's node, which may have lied; if another process is there, it is said again.
        self._fenced.clear()
        self.is_listening = False
        self.wake()

    def fence(self, mailbox: bytes) -> bool:
        """Another connection follows that mailbox; True where that is news, and of one that was opened here."""
        if mailbox not in self._opened or mailbox in self._fenced:
            return False
        self._fenced.add(mailbox)
        return True

    def acknowledge(self, ack: Ack) -> None:
        """Up to there a mailbox is durable here; only the latest word on each is kept."""
        self._acks[ack.mailbox] = ack
        self._to_acknowledge.set()

    async def run(self) -> None:
        """Do errands until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._do_errands())
            tasks.create_task(self._say_acks())

    async def _say_acks(self) -> None:
        # Apart from everything else: a node that stops reading holds up only this.
        while True:
            await self._to_acknowledge.wait()
            self._to_acknowledge.clear()
            while self._acks:
                await self.node.say(self._acks.pop(next(iter(self._acks))))

    async def _do_errands(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self.node.is_connected:
                continue
            self._again_s = ASK_AFTER_S
            try:
                if await self._round():
                    self._wake.set()
            except NodeRefused as error:
                self._again_s = error.retry_after_s or RETRY_S
                logger.info("%s", error)
            except Unreachable as error:
                logger.debug("%s", error)
                self._again_s = RETRY_S
            except StorageFailed as error:
                logger.error("errands wait: %s", error)
                self._again_s = RETRY_S
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._again_s, self._wake.set)

    async def _round(self) -> bool:
        errands = await self._store.write(self._read)
        for box in errands.boxes:
            if box.closing:
                self._opened.discard(box.mailbox)
                await self.node.ask(_close(box))
                await self._store.write(_is_closed(box))
        # Together, so that a hundred contacts cost one round trip, not a hundred.
        await asyncio.gather(*(self._open(box) for box in errands.boxes if not box.closing))
        if not self.is_listening:
            self.is_listening = True
            self._listener.listening(self.node)
        for box, card, prekey in errands.cards:
            await self.node.ask(_card_set(box, card))
            await self._store.write(_card_is_set(box, prekey, errands.listed, self._me.now_s))
            self._listener.published(box.mailbox)
        for contact, invite in errands.knocks:
            await self._knock(contact, invite)
        for beginning in errands.beginnings:
            await self._begin(beginning)
        if errands.begin_s is not None:
            self._again_s = min(self._again_s, max(1.0, errands.begin_s - self._me.now_s))
        # A handshake just sealed is among the puts that are read anew.
        return await self._put(errands.puts) or bool(errands.beginnings)

    async def _open(self, box: postbox.Mailbox) -> None:
        if box.mailbox in self._opened or box.mailbox in self._fenced:
            return
        self._opened.add(box.mailbox)
        try:
            answer = await self.node.ask(lambda ref: Open(ref=ref, mk=box.mk, epoch=box.epoch, seq=box.seq))
            if isinstance(answer, Opened) and answer.epoch == box.epoch and answer.head < box.seq:
                # It counted us further than it ever got: from the beginning then, since what comes twice does no harm.
                await self._store.write(lambda tx: postbox.set_cursor(tx, box.mailbox, answer.epoch, 0))
                await self.node.ask(lambda ref: Open(ref=ref, mk=box.mk))
        except NodeRefused as error:
            # One mailbox too many there must not keep the others, nor what is to be sent, from going on.
            self._opened.discard(box.mailbox)
            self._again_s = error.retry_after_s or RETRY_S
            logger.info("%s", error)
        except Unreachable:
            self._opened.discard(box.mailbox)
            raise

    def _read(self, tx: sqlite3.Connection) -> _Errands:
        url, now_s = self.node.url, self._me.now_s
        # What arrived before the end still counts, for as long as a node keeps it (§4).
        postbox.close_expired_invites(tx, now_s - TTL_LIMIT_S)
        cards, listed = [], self._me.device_list
        for box in postbox.mailboxes(tx, url):
            if not box.card_set and not box.closing and box.mailbox not in self._fenced:
                cards.append((box, *meeting.card_for(tx, self._me, box)))
        knocks = []
        for contact, invite, knocked in meeting.knocks(tx):
            if knocked and now_s > invite.expires_s + TTL_LIMIT_S:
                meeting.give_up(tx, contact, ContactState.EXPIRED)
            elif not knocked and invite.node == url:
                knocks.append((contact, invite))
        puts = postbox.waiting_puts(tx, url, now_s, PIPELINE) or postbox.due_puts(tx, url, now_s, PIPELINE)
        beginnings, begin_s = rekeying.due(tx, self._me, url)
        return _Errands(postbox.mailboxes(tx, url), cards, listed, knocks, beginnings, begin_s, puts)

    async def _knock(self, contact: ContactRow, invite: Invite) -> None:
        if self._me.now_s >= invite.expires_s:
            await self._store.write(lambda tx: meeting.give_up(tx, contact, ContactState.EXPIRED))
            self._listener.knocked(contact.id)
            return
        try:
            answer = await self.node.ask(lambda ref: CardGet(ref=ref, mailbox=invite.mailbox))
            if not isinstance(answer, Card) or answer.card is None:
                # Made while its maker was offline: the card comes when they are back.
                self._again_s = RETRY_S
                return
            card = open_card(invite.key, invite.mailbox, answer.card)
            outcome = await self._store.write(lambda tx: meeting.knock(tx, self._me, contact, invite, card))
            await self._listener.carry_out(outcome)
        except (BadCard, WeakKey) as error:
            # The node's doing, or a fault on the way; the invite lives until it expires.
            self._listener.refused(error, contact.id)
            self._again_s = BAD_CARD_RETRY_S
            return
        except NodeRefused as error:
            if error.code != "no_mailbox":
                raise
            # The invite's mailbox is closed: it was used, or withdrawn.
            await self._store.write(lambda tx: meeting.give_up(tx, contact, ContactState.REFUSED))
        self._listener.knocked(contact.id)

    async def _begin(self, beginning: Due) -> None:
        """Begin a session with a device, on its card where it sent no prekeys; what fails is tried again later."""
        card = None
        try:
            card = None if beginning.prekeys else await self._card_of(beginning)
            outcome = await self._store.write(lambda tx: rekeying.begin(tx, self._me, beginning, card))
            await self._listener.carry_out(outcome)
        except (BadCard, WeakKey) as error:
            problem = error
            outcome = await self._store.write(lambda tx: rekeying.failed(tx, self._me, beginning, card, problem))
            await self._listener.carry_out(outcome)
        except NodeRefused as error:
            logger.info("a session could not be begun: %s", error)
            await self._store.write(lambda tx: planning.tried(tx, self._me, beginning.device.dsk))

    async def _card_of(self, beginning: Due) -> OpenCard | None:
        answer = await self.node.ask(lambda ref: CardGet(ref=ref, mailbox=beginning.address.mailbox))
        if not isinstance(answer, Card) or answer.card is None:
            return None  # withheld, or not there yet
        return open_card(beginning.address.key, beginning.address.mailbox, answer.card)

    async def _put(self, puts: list[postbox.Waiting]) -> bool:
        if not puts:
            return False
        answers = await asyncio.gather(*(self._put_one(put) for put in puts))
        lapsed = await self._store.write(lambda tx: self._settle_all(tx, puts, answers))
        for dsk, moved in lapsed:
            self._listener.lapsed(dsk, moved)
        for put, answer in zip(puts, answers, strict=True):
            if isinstance(answer, NodeRefused):
                self._again_s = RETRY_S
                if answer.code == "mailbox_full":
                    self._listener.full(put.dsk)
            elif isinstance(answer, Unreachable):
                raise answer
        return True

    async def _put_one(self, put: postbox.Waiting) -> str | Unreachable:
        try:
            answer = await self.node.ask(
                lambda ref: Put(ref=ref, mailbox=put.mailbox, id=put.id, envelope=put.envelope)
            )
        except Unreachable as error:
            return error
        return answer.state if isinstance(answer, Accepted) else Unreachable("an answer to something else")

    def _settle_all(
        self, tx: sqlite3.Connection, puts: list[postbox.Waiting], answers: list[str | Unreachable]
    ) -> set[tuple[bytes, bool]]:
        """The devices whose events must be sealed again, each with whether that is because it has moved."""
        told = zip(puts, answers, strict=True)
        lapsed = {(put.dsk, state != "taken") for put, state in told if self._settle(tx, put, state)}
        for dsk in {dsk for dsk, moved in lapsed if not moved}:
            # However many envelopes it was: one offer that went unconfirmed.
            planning.lapsed(tx, self._me, dsk)
        return lapsed

    def _settle(self, tx: sqlite3.Connection, put: postbox.Waiting, state: str | Unreachable) -> bool:
        """Record an answer; True where the events in it must be sealed again."""
        if isinstance(state, NodeRefused):
            current = {address.mailbox for address in people.addresses(tx, put.dsk)}
            if state.code == "no_mailbox" and put.mailbox not in current:
                # The device moved to another mailbox meanwhile, as an invite's maker does.
                postbox.forget_puts_from(tx, put)
                return True
            # Later, and behind the others: one full or closed mailbox holds up nobody else's.
            wait_s = state.retry_after_s or min(RETRY_S * 2 ** min(put.tries, 20), RETRY_LIMIT_S)
            postbox.put_refused(tx, put.id, self._me.now_s + math.ceil(wait_s))
            return False
        if isinstance(state, Unreachable):
            return False
        if state == "taken" and put.log is not None:
            if not postbox.is_waiting(tx, put.id):
                return False  # confirmed while it was asked after, or lost with one before it
            postbox.forget_puts_from(tx, put)
            return True
        due_s = self._me.now_s + min(ASK_AFTER_S << min(put.tries, 20), ASK_AFTER_LIMIT_S)
        postbox.put_accepted(tx, put, due_s)
        return False


def _close(box: postbox.Mailbox) -> Callable[[int], Close]:
    return lambda ref: Close(ref=ref, mk=box.mk)


def _is_closed(box: postbox.Mailbox) -> Callable[[sqlite3.Connection], None]:
    return lambda tx: postbox.forget_mailbox(tx, box.mailbox)


def _card_set(box: postbox.Mailbox, card: bytes) -> Callable[[int], CardSet]:
    return lambda ref: CardSet(ref=ref, mk=box.mk, card=card)


def _card_is_set(
    box: postbox.Mailbox, prekey: bytes, listed: DeviceList, now_s: int
) -> Callable[[sqlite3.Connection], None]:
    return lambda tx: prekeys.card_is_set(tx, box.mailbox, prekey, listed, now_s)
