"""Trust: the part of a `Chat` that is about who somebody is, and whether one wants to hear of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from .conversation import Contact, refuse_shut
from .delivery import moving, parting, trust
from .delivery.outcome import Outcome
from .history import people
from .history.people import ContactRow
from .identity import SafetyNumber, check_shown, safety_number, verify_code
from .inside import Inside

Shut = Callable[[sqlite3.Connection, ContactRow], set[str]]


class Trusting(Inside):
    """Whom I take for whom, and whom I shut out."""

    # ── who somebody is ───────────────────────────────────────────────────────────────────────────

    def safety_number(self, contact: Contact) -> SafetyNumber:
        """What the two of us compare by another way than this chat; the same digits on both sides."""
        self._store()
        mine, theirs = self._me.identity.account, contact._row.account
        return SafetyNumber(safety_number(mine, theirs), verify_code(mine, theirs))

    async def verify(self, contact: Contact, shown: str | None = None) -> None:
        """Take a contact for who they say they are, from here on.

        ``shown``: the code they show, as text, or their 60 digits in any grouping. Without it you say that you compared
        by eye. Raises `SafetyMismatch` if it belongs to other keys and `BadVerifyCode` if it cannot be compared; then
        nothing is verified, and nothing undone. Raises `ContactRemoved` and `ContactBlocked`.
        """
        if shown is not None:
            check_shown(shown, self._me.identity.account, contact._row.account)

        def write(tx: sqlite3.Connection) -> None:
            _open_row(tx, contact)
            trust.set_verified(tx, contact._row.id, self._me.now_s)

        await self._write(write)
        await self._exchange.refresh({contact._row.id})

    async def unverify(self, contact: Contact) -> None:
        """What was compared counts no more."""
        await self._write(lambda tx: trust.set_verified(tx, contact._row.id, 0))
        await self._exchange.refresh({contact._row.id})

    async def accept_new_key(self, contact: Contact, new_id: str | None = None) -> Contact:
        """Go on with the account that writes for a contact: a contact of its own, not verified, called the same.

        The old one is removed and its history kept. ``new_id`` is the id you looked at; if another waits by now,
        `NoKeyChange` is raised, as if none does. Raises `KeyChangeLost` if what they wrote cannot be read any more,
        and `ContactBlocked`; then nothing has changed.
        """

        def write(tx: sqlite3.Connection) -> tuple[ContactRow, Outcome]:
            # Made in here: a transaction may be done twice.
            outcome = Outcome()
            return parting.accept_new_key(tx, self._me, people.contact(tx, contact._row.id), new_id, outcome), outcome

        row, outcome = await self._write(write)
        await self._exchange.carry_out(outcome)
        return self._contacts[row.id]

    async def keep_old_key(self, contact: Contact, new_id: str | None = None) -> None:
        """Go on with a contact as it was; that other account is not asked about again. Raises `NoKeyChange`."""
        await self._write(lambda tx: trust.keep_old_key(tx, contact._row.id, new_id))
        await self._exchange.refresh({contact._row.id})

    # ── whom I shut out ───────────────────────────────────────────────────────────────────────────

    async def remove(self, contact: Contact) -> None:
        """Remove a contact: its mailboxes close and nothing goes to it any more; what was said stays."""
        await self._shut(contact, parting.remove)

    async def block(self, contact: Contact) -> None:
        """Shut a contact out until `unblock`: its mailboxes close, links end, nothing goes or comes; history stays.

        They are not told; what they write waits at theirs. Raises `ContactBlocked` if it is removed or blocked already.
        """
        await self._shut(contact, parting.block)

    async def unblock(self, contact: Contact) -> None:
        """Let a blocked contact in again, by new mailboxes that it is told of; what it wrote meanwhile comes then."""
        nodes = await self._write(lambda tx: parting.unblock(tx, self._me, people.contact(tx, contact._row.id)))
        await self._errands(nodes, {contact._row.id})

    async def renew_addresses(self, contact: Contact) -> None:
        """Give a contact new mailboxes and a new topic secret, in case others learned of the old.

        The old ones are followed until each of the contact's devices holds the news, and closed then. Raises
        `ContactRemoved` and `ContactBlocked`.
        """
        nodes = await self._write(lambda tx: moving.renew(tx, self._me, _open_row(tx, contact)))
        await self._errands(nodes, {contact._row.id})

    async def _shut(self, contact: Contact, how: Shut) -> None:
        nodes = await self._write(lambda tx: how(tx, people.contact(tx, contact._row.id)))
        await self._errands(nodes, {contact._row.id})


def _open_row(tx: sqlite3.Connection, contact: Contact) -> ContactRow:
    row = people.contact(tx, contact._row.id)
    refuse_shut(row, contact.name)
    return row
