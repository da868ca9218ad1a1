"""Two homes, the mailboxes between them, and a clock: everything a conversation needs but a network."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b, shake_256
from typing import TypeVar

import pytest
from overfence.delivery import incoming, meeting, moving, outgoing, planning, prekeys, rekeying
from overfence.delivery.me import Me
from overfence.delivery.outcome import Outcome
from overfence.delivery.payload import AnyItem
from overfence.delivery.sync import Supply
from overfence.history import pages, people, postbox, rows
from overfence.history.event import Event, Text
from overfence.history.migrations import migrations
from overfence.history.people import ContactState
from overfence.identity import Device, DeviceList, Identity, Invite
from overfence.sealing import BadCard, Prekeys, PrekeySecret, Sessions, WeakKey, open_card, seal_envelope
from overfence_signalling import day_of
from sqlite_utils import Database

T = TypeVar("T")
NODE = "ws://127.0.0.1:1"
START_S = 1_800_000_000
# What a message that cannot be read may change: another session is to be begun, another card to be shown (§3).
PLAN_OF_A_RESET = {"devices": {"unread", "begin_s", "resets"}, "mailboxes": {"prekey", "card_set"}}


class Crash(Exception):
    """The process ends here; what was not committed is gone."""


class Clock:
    """Unix seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = START_S


@dataclass
class Box:
    """A mailbox at the node: what lies in it, and its card."""

    items: list[tuple[int, bytes, bytes, int]] = field(default_factory=list)  # seq, put id, envelope, day
    seen: set[bytes] = field(default_factory=set)
    last: int = 0
    card: bytes | None = None


class Node:
    """What a server keeps, by capability, with none of its rules."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.boxes: dict[bytes, Box] = {}

    def put(self, mailbox: bytes, put_id: bytes, envelope: bytes) -> bool:
        """False where there is no such mailbox."""
        box = self.boxes.get(mailbox)
        if box is None:
            return False
        if put_id not in box.seen:
            box.seen.add(put_id)
            box.last += 1
            box.items.append((box.last, put_id, envelope, day_of(self.clock.now_s)))
        return True


class Home:
    """One device: its database in memory, and the errands that `Exchange` and `Postman` do for it."""

    def __init__(self, name: str, node: Node, seed: int = 1, *, server: str | None = NODE) -> None:
        self.name = name
        self.node = node
        self.drawn = 0
        self.seed = seed
        self.identity = Identity.create(self.random)
        device = Device(self.identity.dsk, self.identity.dik)
        listed = DeviceList.sign(self.identity, [device], START_S)
        self.me = Me(self.identity, listed, name, server, self.random, lambda: node.clock.now_s * 1000)
        self.tx = sqlite3.connect(":memory:", isolation_level=None)
        migrations.apply(Database(self.tx, execute_plugins=False))
        self.links: dict[bytes, list[bytes]] = {}  # device → messages on their way to it by link
        self.progress: dict[bytes, Supply] = {}
        self.shown: list[tuple[int, Event]] = []
        self.dropped: list[str] = []
        self.notices: list[str] = []
        self.crash_in = 0  # transactions until one is rolled back at its end; 0: never
        self.ticked = 0

    def random(self, count: int) -> bytes:
        self.drawn += 1
        return shake_256(f"{self.name} {self.seed} {self.drawn}".encode()).digest(count)

    # ── as the store does it ──────────────────────────────────────────────────────────────────────

    def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self.tx.execute("BEGIN IMMEDIATE")
        try:
            result = work(self.tx)
            if self.crash_in:
                self.crash_in -= 1
                if not self.crash_in:
                    raise Crash
        except BaseException:
            self.tx.execute("ROLLBACK")
            raise
        self.tx.execute("COMMIT")
        return result

    def restart(self) -> None:
        """The process is gone: links, and everything that was not in the database."""
        self.crash_in = 0
        self.links.clear()
        self.progress.clear()

    # ── what a person does ────────────────────────────────────────────────────────────────────────

    def invite(self, life_s: int = 3600) -> Invite:
        invite = self.do(lambda tx: meeting.make_invite(tx, self.me, NODE, self.me.now_s + life_s))
        self.errands()
        return invite

    def accept(self, invite: Invite) -> people.ContactRow:
        return self.do(lambda tx: meeting.accept(tx, self.me, invite))

    def say(self, to: int, text: str) -> Event:
        return self.do(lambda tx: self.me.write(tx, people.contact(tx, to), "text", Text(text))).event

    # ── as the postman does it ────────────────────────────────────────────────────────────────────

    def errands(self) -> None:
        """Open, close and furnish mailboxes, knock, begin anew, and hand over what waits."""
        self.do(lambda tx: planning.tidy(tx, self.me))
        self.do(lambda tx: prekeys.tend(tx, self.me))
        for box in postbox.mailboxes(self.tx, NODE):
            if box.closing:
                self.node.boxes.pop(box.mailbox, None)
                self.do(lambda tx, at=box.mailbox: postbox.forget_mailbox(tx, at))  # type: ignore[misc] # mypy: no default in lambdas
                continue
            kept = self.node.boxes.setdefault(box.mailbox, Box())
            if not box.card_set:
                self.furnish(box, kept)
        for contact, invite, made in meeting.knocks(self.tx):
            if not made:
                self.knock(contact, invite)
        for beginning in rekeying.due(self.tx, self.me, NODE)[0]:
            self.begin(beginning)
        self.seal_all()
        self.post_all()

    def furnish(self, box: postbox.Mailbox, kept: Box) -> None:
        """The mailbox's card, at the node and noted as being there."""
        listed = self.me.device_list
        kept.card, prekey = self.do(lambda tx: meeting.card_for(tx, self.me, box))
        self.do(lambda tx: prekeys.card_is_set(tx, box.mailbox, prekey, listed, self.me.now_s))

    def begin(self, beginning: rekeying.Due) -> None:
        """Begin a session anew: on the prekeys the device sent, or on those of its card."""
        address, box, card = beginning.address, self.node.boxes.get(beginning.address.mailbox), None
        try:
            if beginning.prekeys is None and box is not None and box.card is not None:
                card = open_card(address.key, address.mailbox, box.card)
            self._act(self.do(lambda tx: rekeying.begin(tx, self.me, beginning, card)))
        except (BadCard, WeakKey) as error:
            problem = error
            self._act(self.do(lambda tx: rekeying.failed(tx, self.me, beginning, card, problem)))

    def knock(self, contact: people.ContactRow, invite: Invite) -> None:
        if self.me.now_s >= invite.expires_s:
            self.do(lambda tx: meeting.give_up(tx, contact, ContactState.EXPIRED))
            return
        box = self.node.boxes.get(invite.mailbox)
        if box is None:
            self.do(lambda tx: meeting.give_up(tx, contact, ContactState.REFUSED))
        elif box.card is not None:
            card = open_card(invite.key, invite.mailbox, box.card)
            self._act(self.do(lambda tx: meeting.knock(tx, self.me, contact, invite, card)))
            self.progress.pop(card.device.dsk, None)

    def seal_all(self) -> None:
        """As each device's pump does it."""
        for device in people.devices(self.tx):
            while self.seal_one(device.dsk):
                pass

    def seal_one(self, dsk: bytes) -> bool:
        progress = self.progress.get(dsk) or self.do(lambda tx: outgoing.load_supply(tx, self.me, dsk))
        assert progress is not None
        self.progress[dsk] = progress
        direct = dsk in self.links
        sealed = self.do(lambda tx: outgoing.seal_next(tx, self.me, dsk, progress, direct=direct))
        if sealed is None:
            return False
        progress.send(sealed.key, sealed.last, now=self.node.clock.now_s, again=direct)
        if direct:
            self.links[dsk].append(sealed.message)
        return True

    def post_all(self) -> None:
        for put in postbox.waiting_puts(self.tx, NODE, self.me.now_s, 1000):
            self.post_one(put)

    def post_one(self, put: postbox.Waiting) -> None:
        if self.node.put(put.mailbox, put.id, put.envelope):
            self.do(lambda tx: postbox.put_accepted(tx, put, self.me.now_s + 60))
        elif put.mailbox not in {address.mailbox for address in people.addresses(self.tx, put.dsk)}:
            self.do(lambda tx: postbox.forget_puts_from(tx, put))
            self.progress.pop(put.dsk, None)

    def ask_after(self) -> None:
        """A minute later: what was taken and never confirmed is sealed again."""
        lapsed = set()
        for put in postbox.due_puts(self.tx, NODE, 2**50, 1000):
            box = self.node.boxes.get(put.mailbox)
            if box is None or all(put.id != held for _, held, _, _ in box.items):
                self.do(lambda tx, at=put: postbox.forget_puts_from(tx, at))  # type: ignore[misc] # mypy: no default in lambdas
                self.progress.pop(put.dsk, None)
                lapsed.add(put.dsk)
        for dsk in lapsed:
            self.do(lambda tx, dsk=dsk: planning.lapsed(tx, self.me, dsk))  # type: ignore[misc] # as above

    # ── as the one way in does it ─────────────────────────────────────────────────────────────────

    def fetch(self, *, at_most: int = 1000, forget: bool = True) -> None:
        """Take in what lies in my mailboxes; what was taken in is acknowledged, unless the word gets lost."""
        for mine in postbox.mailboxes(self.tx, NODE):
            box = self.node.boxes.get(mine.mailbox)
            if box is None:
                continue
            for seq, _, envelope, day in box.items[:at_most]:
                self.take_envelope(mine.mailbox, envelope, day, seq)
            current = postbox.mailbox(self.tx, mine.mailbox)
            if forget and current is not None:
                box.items = [item for item in box.items if item[0] > current.seq]

    def take_envelope(self, address: bytes, envelope: bytes, day: int | None = None, seq: int = 0) -> Outcome:
        """One envelope, in the transaction that also moves the mailbox's cursor."""

        def work(tx: sqlite3.Connection) -> Outcome:
            outcome = Outcome()
            box = postbox.mailbox(tx, address)
            assert box is not None
            if 0 < seq <= box.seq:
                return outcome
            if box.contact is None:
                meeting.take_knock(tx, self.me, box, envelope, day or day_of(self.me.now_s), outcome)
            else:
                incoming.take_envelope(tx, self.me, box, envelope, outcome)
            if seq:
                postbox.set_cursor(tx, address, 1, seq)
            return self._finish(tx, outcome)

        return self._act(self.do(work))

    def take_message(self, sender: bytes, message: bytes) -> Outcome:
        """One message of a link."""

        def work(tx: sqlite3.Connection) -> Outcome:
            outcome = Outcome()
            incoming.take_message(tx, self.me, sender, message, outcome)
            return self._finish(tx, outcome)

        return self._act(self.do(work))

    def act(self, work: Callable[[sqlite3.Connection, Outcome], None]) -> Outcome:
        """Something this device does by itself, and what that leads to."""

        def whole(tx: sqlite3.Connection) -> Outcome:
            outcome = Outcome()
            work(tx, outcome)
            return outcome

        return self._act(self.do(whole))

    def _finish(self, tx: sqlite3.Connection, outcome: Outcome) -> Outcome:
        meeting.close_used_invites(tx, outcome)
        moving.close_replaced_for(tx, self.me, outcome)
        outcome.owed.update(dict.fromkeys(outcome.duplicates))
        incoming.answer(tx, self.me, outcome, frozenset(self.links))
        return outcome

    def _act(self, outcome: Outcome) -> Outcome:
        self.dropped += [f"{type(refused.error).__name__}: {refused.error}" for refused in outcome.dropped]
        self.notices += outcome.notices
        if outcome.relisted is not None:
            self.me.device_list = outcome.relisted
        self.shown += [(contact, entry.event) for contact, entry in outcome.ordered]
        for dsk, key, run in outcome.told:
            self.ticked = max(self.ticked, run.end)
            if dsk in self.progress:
                self.progress[dsk].told(key, run, now=self.node.clock.now_s)
        for dsk in outcome.lowered:
            self.progress.pop(dsk, None)
        for dsk, message in outcome.to_link:
            if dsk in self.links:
                self.links[dsk].append(message)
        return outcome

    # ── what can be seen from outside ─────────────────────────────────────────────────────────────

    def seal(self, to: Home, *items: AnyItem) -> bytes:
        """These very items, sealed for the other: what a peer with ideas of its own may send."""

        def work(tx: sqlite3.Connection) -> bytes:
            device = people.device(tx, to.me.dsk)
            assert device is not None
            message = outgoing.seal_items(tx, self.me, device, *items)
            assert message is not None
            return message

        return self.do(work)

    def offer_on(self, to: Home, prekey_id: bytes) -> bytes:
        """A first message to the other, whose handshake names this prekey."""
        secret = PrekeySecret(prekey_id, self.random(32), self.random(64))
        sessions, peer = Sessions(), Device(to.me.dsk, to.identity.dik)
        prekeys = Prekeys.sign(to.identity, secret)
        sessions.initiate(self.identity, peer, to.identity.account, prekeys, now_s=self.clock_s, random=self.random)
        return sessions.seal(b"", random=self.random)

    @property
    def clock_s(self) -> int:
        """Unix seconds."""
        return self.node.clock.now_s

    def envelope(self, to: Home, message: bytes) -> tuple[bytes, bytes]:
        """The mailbox the other takes it by, and the message in an envelope for it."""
        [address, *_] = people.addresses(self.tx, to.me.dsk)
        return address.mailbox, seal_envelope(address.key, address.mailbox, self.me.dsk, message, self.random)

    def contact(self, of: Home) -> people.ContactRow:
        row = people.contact_of(self.tx, of.identity.account)
        assert row is not None
        return row

    def knows(self, other: Home) -> bool:
        return people.contact_of(self.tx, other.identity.account) is not None

    def log(self, other: Home, author: Home) -> list[bytes]:
        """The ids of what this home holds of an author's log in the conversation with another, 1 to the run's end."""
        conv, log = self.contact(other).conv, author.contact(self if author is other else other).log
        run = rows.run_of(self.tx, conv, author.me.dsk, log)
        found = self.tx.execute(
            "SELECT id FROM events WHERE conv = ? AND device = ? AND log = ? AND seq <= ? ORDER BY seq",
            (conv, author.me.dsk, log, run.end),
        )
        return [row[0] for row in found]

    def texts(self, other: Home) -> list[str]:
        """The timeline, as a person reads it."""
        page = pages.page(self.tx, self.contact(other).conv, 10_000, None)
        return [content.text for entry in page if isinstance(content := entry.event.content(), Text)]

    @property
    def shown_ids(self) -> list[bytes]:
        """What was told as new, in the order it was."""
        return [event.id for _, event in self.shown]

    def unticked(self, other: Home) -> int:
        """How many things said here no device of the other's has confirmed."""
        row = self.contact(other)
        return pages.unticked(self.tx, row.conv, {self.me.dsk}, people.ticked(self.tx, row.id))

    def fingerprint(self) -> bytes:
        """Changes when anything in the database does, but for the plan of a reset."""
        # Not `iterdump`: it would also make the words table's shadow tables part of the promise.
        hashed = blake2b()
        for (table,) in self.tx.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
            columns = [row[1] for row in self.tx.execute(f"PRAGMA table_info({table})")]
            kept = ", ".join(column for column in columns if column not in PLAN_OF_A_RESET.get(table, ()))
            for row in self.tx.execute(f"SELECT {kept} FROM {table}"):  # noqa: S608 (the schema's own names)
                hashed.update(repr((table, row)).encode())
        return hashed.digest()


class World:
    """Ada, Bob and Eve around one node."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = Clock()
        self.node = Node(self.clock)
        self.ada, self.bob, self.eve = (Home(name, self.node, seed) for name in ("Ada", "Bob", "Eve"))
        self.homes = [self.ada, self.bob, self.eve]

    def settle(self, *, rounds: int = 12) -> None:
        """From now on nothing is lost; a minute passes each round, so that what was lost is noticed."""
        for _ in range(rounds):
            for home in self.homes:
                home.errands()
            for home in self.homes:
                home.fetch()
            for home in self.homes:
                home.ask_after()
            self.clock.now_s += 61

    def acquaint(self) -> None:
        """Ada invites Bob, he accepts, both have heard of it."""
        self.bob.accept(self.ada.invite())
        self.settle(rounds=4)

    def check_shown_once(self) -> None:
        """Nothing was told as new twice, under whatever id."""
        for home in self.homes:
            first = [event.first_id for _, event in home.shown]
            assert len(set(first)) == len(first), f"shown twice to {home.name}"

    def check(self, *pair: Home) -> None:
        """Both hold the same logs, each event once, and only what is held was ticked."""
        one, other = pair
        for author in pair:
            assert one.log(other, author) == other.log(one, author)
        for home, peer in ((one, other), (other, one)):
            contact = home.contact(peer)
            assert people.delivered_upto(home.tx, contact.id) <= len(peer.log(home, home))
            rows = home.tx.execute("SELECT count(*), count(DISTINCT id) FROM events WHERE conv = ?", (contact.conv,))
            every, distinct = rows.fetchone()
            assert every == distinct
            heard = [event for number, event in home.shown if number == contact.id]
            assert len({event.id for event in heard}) == len(heard), "shown twice"


@pytest.fixture
def world() -> World:
    return World()
