"""All of one device's delivery: nodes, mailboxes, presence, links and pumps, and the one way in for what arrives."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from overfence_reliability import Priority, Run
from overfence_signalling import Changes, Items, Snapshot

from ..connect.backoff import Backoff
from ..connect.errors import LinkClosed
from ..connect.line import BufferFull
from ..connect.nodes import BadNode, NodeClient
from ..connect.webrtc import LinkConfig
from ..errors import OverfenceError, StorageFailed
from ..history import people, rows
from ..history.people import ContactRow, ContactState
from ..history.store import Store
from . import incoming, places, planning, prekeys
from .arrivals import Arrivals
from .direct import Circumstances, Direct
from .me import Me
from .news import Declined, Happening, Heard, KeyClaimed, NodeMoved, Published, Told, Trouble
from .outcome import Outcome, Refused, bare
from .pace import Pace
from .payload import Ring, Sdp
from .places import Place
from .presence import Presence
from .pump import Pump
from .reach import Reach
from .routes import Way, contact_moved
from .sync import LogKey

logger = logging.getLogger(__name__)

DATE_CHECK_S = 60.0
STORAGE_RETRY_S = 1.0
# What a mailbox took and its owner never confirmed is offered again: after a minute, doubling to a day (§6).
OFFER_AGAIN_FIRST_S = 60.0
OFFER_AGAIN_LAST_S = 24 * 3600.0
# A contact that says again and again that it lost what it had, or moved, makes us seal a thousand messages so often.
LOWERED_EVERY_S = 30.0
# Each offer of a contact's makes us gather, bind sockets and make a certificate.
CALL_EVERY_S = 1.0


@dataclass
class _Device:
    """The moving parts of one device of a contact."""

    contact: int
    pump: Pump
    direct: Direct
    again: Backoff
    offers: Pace[Sdp | Ring]
    why: str = ""
    is_full: bool = False
    lowered_at: float = float("-inf")

    def lose(self) -> None:
        """It holds less than it did, or elsewhere; all of that is sealed anew, now or some time after the last."""
        loop = asyncio.get_running_loop()
        wait_s = max(0.0, self.lowered_at + LOWERED_EVERY_S - loop.time())
        self.lowered_at = loop.time() + wait_s
        loop.call_later(wait_s, self.pump.lost)


class Exchange:
    """Runs until cancelled; everything it must not forget is in the store before it is acted on."""

    def __init__(self, store: Store, me: Me, config: LinkConfig, publish: Callable[[Happening], None]) -> None:
        self._store = store
        self._me = me
        self._around = Circumstances(config, me.random, random.SystemRandom().random, self._spawn, self)
        self._publish = publish
        self._presence = Presence(me, self._presence_changed, self.refused)
        self._reach = Reach(store, me, self, self._spawn)
        self._devices: dict[bytes, _Device] = {}
        self._contacts: dict[int, ContactRow] = {}
        # My account's conversation with itself, where it has several devices.
        self._own: int | None = None
        self._told_of_another = False
        self._arrivals = Arrivals(
            store,
            me,
            direct=self._open_links,
            act=self._act,
            acknowledge=self._reach.acknowledge,
            trouble=self._trouble,
        )
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._reach.keep_up(await self._store.write(self._wanted))
                await self.refresh()
                await self._store.write(self._say_what_is_held)
                self._spawn(self._arrivals.run())
                self._spawn(self._follow_the_date())
        finally:
            self._tasks = None
            self._reach.stop()
            for device in self._devices.values():
                device.offers.stop()
                await device.direct.close()

    def wake(self, contact: int) -> None:
        """My log for that contact has grown: its devices are to have it, and my account's others."""
        for device in self._devices.values():
            if device.contact in (contact, self._own):
                device.pump.wake()

    def errand(self, url: str) -> None:
        """Something new is to be done at a node."""
        self._reach.wake(url)
        self._reach.hurry(url)

    async def refresh(self, numbers: set[int] | None = None) -> None:
        """Look again at contacts (all, or these): who they are, which devices and nodes they have."""
        rows, devices, wanted = await self._store.write(self._look)
        self._reach.keep_up(wanted)
        for device in devices:
            self._meet(device)
        self._own = next((row.id for row in rows if row.account == self._me.identity.account), None)
        for row in rows:
            if numbers is None or row.id in numbers:
                self._contacts[row.id] = row
                self._tell_contact(row.id)
                if row.state.is_shut:
                    self._part(row.id)
                else:
                    self._enter_topics(row)
                    self.wake(row.id)

    async def carry_out(self, outcome: Outcome) -> None:
        """Act on what a transaction of the API's led to, as on what arrives; it is durable."""
        await self._act(outcome)

    # ── starting things ───────────────────────────────────────────────────────────────────────────

    def _say_what_is_held(self, tx: sqlite3.Connection) -> None:
        """After a start everybody is told: a word of ours may have been lost, or our disk set back (§6.4)."""
        outcome = Outcome(owed={device.dsk: None for device in people.devices(tx)})
        incoming.answer(tx, self._me, outcome, frozenset())

    def _look(self, tx: sqlite3.Connection) -> tuple[list[ContactRow], list[people.DeviceRow], list[Place]]:
        return people.contacts(tx), people.devices(tx), self._wanted(tx)

    def _wanted(self, tx: sqlite3.Connection) -> list[Place]:
        return places.wanted(tx, self._me, own_only=self._around.config.relay_only)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._tasks is not None:
            living = _outlive(work)
            # While it ends, a task group takes no more.
            with suppress(RuntimeError):
                task = self._tasks.create_task(living)
                # One that is cancelled before its first step would leave its work unawaited.
                task.add_done_callback(lambda _: work.close())
                return task
            living.close()
        work.close()
        return None

    def _part(self, contact: int) -> None:
        for device in self._devices.values():
            if device.contact == contact:
                device.pump.lost()  # what was on its way was called back
                self._spawn(device.direct.drop())
        for node in self._reach.nodes():
            self._spawn(self._presence.leave(node, contact))

    def _meet(self, row: people.DeviceRow) -> None:
        known = self._devices.get(row.dsk)
        if known is not None:
            known.contact = row.contact
            return
        dsk = row.dsk
        direct = Direct(dsk, self._around, offers=self._me.dsk < dsk, say=lambda item: self._reach.pass_on(dsk, item))
        pump = Pump(dsk, self._store, self._me, line=lambda: direct.line, posted=self._reach.wake)
        again = Backoff(first_s=OFFER_AGAIN_FIRST_S, last_s=OFFER_AGAIN_LAST_S, jitter=random.SystemRandom().random)
        offers: Pace[Sdp | Ring] = Pace(CALL_EVERY_S, direct.heard)
        self._devices[dsk] = _Device(row.contact, pump, direct, again, offers)
        self._spawn(pump.run())
        if self._presence.is_here(row.contact, dsk):
            direct.present(True)

    def _enter_topics(self, row: ContactRow) -> None:
        if row.state is not ContactState.ACCEPTED:
            return
        for node in self._reach.listening_nodes():
            if row.topics:
                self._spawn(self._presence.enter(node, row.id, row.topics))

    async def _follow_the_date(self) -> None:
        while True:
            # A failing disk is told where something was to be kept.
            with suppress(StorageFailed):
                await self._store.write(lambda tx: planning.tidy(tx, self._me))
                for url in await self._store.write(lambda tx: prekeys.tend(tx, self._me)):
                    self._reach.wake(url)
            await asyncio.sleep(DATE_CHECK_S)
            if self._presence.is_stale:
                for row in self._contacts.values():
                    self._enter_topics(row)

    # ── what nodes say ────────────────────────────────────────────────────────────────────────────

    def connected(self, node: NodeClient) -> None:
        if not self._reach.reconnected(node):
            return
        self._publish(NodeMoved(node.url, True, "connected", None))
        if abs(node.clock_off_s) > 300:
            self._publish(Trouble(f"this machine's clock and the server's differ by {abs(node.clock_off_s)} seconds"))
        for row in self._contacts.values():
            self._tell_contact(row.id)

    def left(self, node: NodeClient) -> None:
        self._presence.lost(node)

    def look_again(self) -> None:
        self._spawn(self.refresh(set()))

    def disconnected(self, node: NodeClient, why: str, retry_in_s: float) -> None:
        self._presence.lost(node)
        self._publish(NodeMoved(node.url, False, why, retry_in_s))
        for number in self._contacts:
            self._tell_contact(number)

    def items(self, node: NodeClient, items: Items) -> None:
        if not self._arrivals.by_mail(node, items):
            raise BadNode("the server sends more than was asked for")

    async def room(self, node: NodeClient) -> None:
        await self._arrivals.room(node)

    def snapshot(self, node: NodeClient, snapshot: Snapshot) -> None:
        self._presence.snapshot(node, snapshot)

    def changes(self, node: NodeClient, changes: Changes) -> None:
        # Who left goes first: a device that restarted is then seen to come.
        self._presence.left(node, changes.topic, changes.left)
        self._presence.entered(node, changes.topic, changes.entered)

    def fenced(self, node: NodeClient, mailbox: bytes) -> None:
        if not self._reach.fence(node, mailbox) or self._told_of_another:
            return
        self._told_of_another = True
        self._publish(Trouble("this home is open elsewhere: another process took over its mailboxes"))

    # ── how errands go ───────────────────────────────────────────────────────────────────────────

    def knocked(self, contact: int) -> None:
        for device in self._devices.values():
            if device.contact == contact:
                device.pump.lost()  # begun anew: what an older session sent counts for nothing
        self._spawn(self.refresh({contact}))

    def lapsed(self, dsk: bytes, at_once: bool) -> None:
        device = self._devices.get(dsk)
        if device is not None:
            # A node that only says "taken" must not make us seal for ever: 1 minute, doubling to a day (§6).
            wait_s = 0.0 if at_once else device.again.next_s()
            asyncio.get_running_loop().call_later(wait_s, device.pump.lost)

    def full(self, dsk: bytes) -> None:
        device = self._devices.get(dsk)
        if device is not None and not device.is_full:
            device.is_full = True
            name = self._contacts[device.contact].name if device.contact in self._contacts else ""
            self._trouble(
                f"the mailbox of {name or 'a contact'} is full: what you write waits here until they are back"
            )

    def refused(self, error: OverfenceError, contact: int | None) -> None:
        kind = type(error).__name__
        logger.info("refused: %s: %s", kind, error)
        if self._me.wary.is_news(contact, kind, now_s=self._me.now_s):
            self._publish(Refused(bare(error), contact))

    def published(self, mailbox: bytes) -> None:
        self._publish(Published(mailbox))

    def listening(self, node: NodeClient) -> None:
        # Only now: whoever sees us in a topic calls at once, and the call comes by mailbox.
        for row in self._contacts.values():
            self._enter_topics(row)

    # ── what else happens ─────────────────────────────────────────────────────────────────────────

    def _presence_changed(self, contact: int, dsk: bytes, here: bool) -> None:
        device = self._devices.get(dsk)
        if device is not None and device.contact == contact:
            device.direct.present(here)
            self._tell_contact(device.contact)

    def line_changed(self, dsk: bytes, why: str) -> None:
        device = self._devices[dsk]
        device.why = why
        if device.direct.line is not None:
            device.why = ""
            device.pump.line_opened()
            self._spawn(self._send_have(dsk))
        else:
            device.pump.lost()
            for node in self._reach.nodes():
                # What silenced the line may have silenced the server too: the sooner that is known, the better.
                self._spawn(node.probe())
        self._tell_contact(device.contact)

    def call_failed(self, dsk: bytes, why: str) -> None:
        self._devices[dsk].why = why
        self._tell_contact(self._devices[dsk].contact)

    def _tell_contact(self, number: int) -> None:
        row = self._contacts.get(number)
        if row is None:
            return
        devices = {dsk: device for dsk, device in self._devices.items() if device.contact == number}
        ways = [
            Way(device.direct.line is not None, device.direct.pair, device.why, device.direct.retry_in_s)
            for device in devices.values()
        ]
        in_sight = any(self._presence.is_here(number, dsk) for dsk in devices)
        has_node = any(node.is_connected for node in self._reach.nodes())
        self._publish(contact_moved(row, ways, in_sight=in_sight, has_node=has_node))

    async def _send_have(self, dsk: bytes) -> None:
        def seal(tx: sqlite3.Connection) -> Outcome:
            outcome = Outcome(owed={dsk: None})
            incoming.answer(tx, self._me, outcome, frozenset({dsk}))
            return outcome

        self._send(await self._store.write(seal))

    # ── the one way in ────────────────────────────────────────────────────────────────────────────

    def arrived(self, dsk: bytes, message: bytes, release: Callable[[], None]) -> None:
        self._arrivals.by_line(dsk, message, release)

    def _open_links(self) -> frozenset[bytes]:
        return frozenset(dsk for dsk, device in self._devices.items() if device.direct.line is not None)

    def _trouble(self, text: str) -> None:
        self._publish(Trouble(text))

    async def _act(self, outcome: Outcome) -> None:
        for refused in outcome.dropped:
            self.refused(refused.error, refused.contact)
        for text in outcome.notices:
            self._publish(Trouble(text))
        for invite in outcome.declined:
            self._publish(Declined(invite))
        for dsk in outcome.wasted:
            if dsk in self._devices and self._devices[dsk].direct.wasted():
                self._arrivals.drop(dsk)
        self._send(outcome)
        if outcome.relisted is not None:
            self._me.device_list = outcome.relisted  # before the cards are made that show it
        for url in outcome.nodes:
            self._reach.wake(url)
        # Ticks before anything is awaited: who asks the history meanwhile sees the same.
        known = set(self._devices)
        for dsk, key, run in outcome.told:
            if dsk in known:
                self._told(dsk, key, run)
        while outcome.contacts:
            # What is durable must be told, whatever the disk says meanwhile.
            try:
                await self.refresh(outcome.contacts)
                break
            except StorageFailed:
                await asyncio.sleep(STORAGE_RETRY_S)
        for number in outcome.key_changes:
            # Whoever holds the mailbox could make accounts without end: told once a minute.
            if self._me.wary.is_news(number, "KeyClaimed", now_s=self._me.now_s):
                self._publish(KeyClaimed(number))
        for dsk, key, run in outcome.told:
            if dsk not in known:
                self._told(dsk, key, run)
        for dsk in outcome.revoked & self._devices.keys():
            self._spawn(self._devices[dsk].direct.drop())
        for dsk in outcome.lowered & self._devices.keys():
            self._devices[dsk].lose()
        by_contact: dict[int, list[rows.Entry]] = {}
        for contact, entry in outcome.ordered:
            by_contact.setdefault(contact, []).append(entry)
        for contact, entries in by_contact.items():
            self._publish(Heard(contact, entries))
            if self._own is not None:
                self.wake(contact)  # what one of us heard, the others are to have
        # Only the last of each device: what it said before is out of date.
        for dsk, item in dict(outcome.calls).items():
            if dsk in self._devices:
                self._hear_call(self._devices[dsk], item)

    def _hear_call(self, device: _Device, item: Sdp | Ring) -> None:
        if isinstance(item, Sdp) and item.kind == "answer":
            device.direct.heard(item)  # to a call of ours, and of no use to any other
        else:
            device.offers.hear(item)

    def _told(self, dsk: bytes, key: LogKey, run: Run) -> None:
        device = self._devices.get(dsk)
        if device is not None:
            device.again.succeeded()
            device.is_full = False
            device.pump.told(key, run)
            self._publish(Told(device.contact, key.device, key.log, run.end))

    def _send(self, outcome: Outcome) -> None:
        for dsk, message in outcome.to_link:
            device = self._devices.get(dsk)
            line = device.direct.line if device else None
            if line is not None:
                # A have that is lost with its line is made anew from the database when it is next owed.
                with suppress(LinkClosed, BufferFull):
                    line.send(message, Priority.CONTROL)


async def _outlive(work: Coroutine[Any, Any, None]) -> None:
    """A mistake in one task of ours ends that task, is told, and leaves everybody else's chat alone."""
    try:
        await work
    except Exception:
        logger.exception("a task of Overfence failed")
