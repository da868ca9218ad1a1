"""This device, as everything that seals and opens sees it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from ..history import logbook, people, postbox, rows
from ..history.event import Address, Addresses, Content, Devices, Fact, Profile, Topic, kind_of
from ..identity import KEY_BYTES, DeviceList, Identity
from ..sealing import Random, mailbox_address
from .wariness import Wariness

# A log that follows one that forked begins with so many.
FACTS_OF_A_LOG = 4


@dataclass(eq=False)
class Me:
    """Keys, name, server, randomness and the wall clock (unix milliseconds) of this device.

    Only ``device_list`` ever changes: when the account signs another.
    """

    identity: Identity
    device_list: DeviceList
    name: str
    server: str | None
    random: Random
    clock_ms: Callable[[], int]
    wary: Wariness = field(default_factory=Wariness, compare=False)

    @property
    def dsk(self) -> bytes:
        """This device's signing key: its name in logs."""
        return self.identity.dsk

    def authors(self, tx: sqlite3.Connection) -> set[bytes]:
        """Every device that ever wrote for my account."""
        return {self.dsk} | people.authors(tx, self.identity.account)

    @property
    def now_s(self) -> int:
        """Unix seconds."""
        return self.clock_ms() // 1000

    @property
    def consent(self) -> bytes:
        """This device's signature that it belongs to its account."""
        return self.identity.sign_device("device", self.identity.account + self.identity.dik)

    def addresses(self, tx: sqlite3.Connection, contact: int) -> tuple[Address, ...]:
        """Where that contact can write to this device, the server of now first."""
        boxes = sorted(postbox.mailbox_for(tx, contact), key=lambda box: box.node != self.server)
        return tuple(Address(box.node, box.mailbox, box.key) for box in boxes)

    def new_mailbox(self, tx: sqlite3.Connection, node: str, contact: int | None) -> postbox.Mailbox:
        """Draw a mailbox; its node hears of it when next reached."""
        mk = self.random(32)
        postbox.add_mailbox(tx, mailbox_address(mk), mk, self.random(32), node, contact)
        made = postbox.mailbox(tx, mailbox_address(mk))
        if made is None:
            raise AssertionError("a row just inserted")
        return made

    def write_facts(self, tx: sqlite3.Connection, contact: people.ContactRow) -> None:
        """Begin my log with what is true of my account: name, addresses, devices, topic secret (§6)."""
        facts: tuple[Fact, ...] = (
            Profile(self.name),
            Addresses(self.addresses(tx, contact.id)),
            Devices(self.device_list.raw),
        )
        if contact.topics:
            facts += (Topic(contact.topics[:KEY_BYTES]),)
        for fact in facts:
            self.write(tx, contact, kind_of(fact), fact)

    def keep_up(self, tx: sqlite3.Connection, contact: people.ContactRow, *, renamed: bool) -> None:
        """At each start: a mailbox at the server of now, and facts that have changed since (§6)."""
        boxes = postbox.mailbox_for(tx, contact.id)
        if self.server is not None and all(box.node != self.server for box in boxes):
            self.new_mailbox(tx, self.server, contact.id)
            self.write(tx, contact, "addresses", Addresses(self.addresses(tx, contact.id)))
        if renamed:
            self.write(tx, contact, "profile", Profile(self.name))

    def write(self, tx: sqlite3.Connection, contact: people.ContactRow, kind: str, content: Content) -> rows.Entry:
        """Append to my log in the conversation with ``contact``; raises `TooLong`."""
        return logbook.append(
            tx,
            contact.conv,
            self.dsk,
            contact.log,
            kind=kind,
            content=content,
            at_ms=self.clock_ms(),
            salt=self.random(16),
        )
