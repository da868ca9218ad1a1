"""Who somebody is, and whom one shuts out: what is shown of it, and what is asked before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import inviting, news
from .exits import Exit, Told
from .people import find
from .shown import shown_name
from .sitting import Question, Sitting

if TYPE_CHECKING:
    from .. import Contact

# The number is read aloud four groups at a time.
GROUPS_A_LINE = 4


async def verify(sitting: Sitting, contact: Contact, what: str) -> None:
    """Show what to compare, or compare what they show; raises `SafetyMismatch` and `BadVerifyCode`."""
    if not what:
        _show_number(sitting, contact)
        return
    await sitting.me.verify(contact, None if what.lower() == "yes" else what)
    sitting.tell(f"{sitting.who(contact)} is verified: you know who reads what you write")
    sitting.refresh()


def _show_number(sitting: Sitting, contact: Contact) -> None:
    who, number = sitting.who(contact), sitting.me.safety_number(contact)
    groups = number.digits.split()
    rows = [" ".join(groups[at : at + GROUPS_A_LINE]) for at in range(0, len(groups), GROUPS_A_LINE)]
    sitting.tell(f"The safety number of {who} and you. If {who} sees the same, nobody sits between you:")
    sitting.screen.say("\n" + "\n".join(f"  {row}" for row in rows) + "\n")
    sitting.tell("Your code, for them to scan or paste:")
    sitting.screen.say(f"\n{number.code}\n")
    inviting.draw(sitting, number.qr(), "/verify")
    sitting.tell(
        "Compare where you are sure of each other: face to face, or by a voice you know; not in this chat. "
        "/verify with their code or digits behind it compares for you; /verify yes if you compared them yourself"
    )


async def unverify(sitting: Sitting, contact: Contact) -> None:
    """What was compared counts no more."""
    await sitting.me.unverify(contact)
    sitting.tell(f"{sitting.who(contact)} is not verified any more")
    sitting.refresh()


async def trust(sitting: Sitting, contact: Contact, decision: str) -> None:
    """How things stand with a contact, or a decision about their changed key; raises `NoKeyChange` and the like."""
    if not decision:
        _show_trust(sitting, contact)
        return
    new_id = contact.key_changed
    if new_id is None:
        raise Told(f"No changed key of {sitting.who(contact)} waits for a decision.", Exit.BAD_INPUT)
    if decision == "old":
        await sitting.me.keep_old_key(contact, new_id)
        sitting.tell(f"{sitting.who(contact)} stays who they were; that other key is not asked about again")
        sitting.refresh()
        return

    async def accept() -> None:
        who = sitting.who(contact)
        fresh = await sitting.me.accept_new_key(contact, new_id)
        await sitting.welcome(fresh)
        sitting.know(contact)
        sitting.tell(f"{who} goes on under the new key, not verified; the old history is kept")
        sitting.turn_to(fresh)

    sitting.question = Question(contact, accept, f"{sitting.who(contact)} stays who they were; the question stays too")
    sitting.warn(
        f"Go on with the key {new_id[: news.UNNAMED_ID]}…? From then on, whoever holds it is {sitting.who(contact)} "
        f"here. Be sure by another way first. Type {shown_name(contact.name)} to confirm, anything else to wait"
    )


def _show_trust(sitting: Sitting, contact: Contact) -> None:
    who = sitting.who(contact)
    if contact.verified_at is not None:
        at = contact.verified_at
        sitting.tell(f"{who} is verified: you compared on {at.day} {at:%B %Y}. Their id is {contact.id}")
    else:
        sitting.tell(f"{who} is not verified: /verify shows what to compare. Their id is {contact.id}")
    if contact.key_changed is None:
        return
    sitting.warn(news.key_changed(who, contact, contact.key_changed).removesuffix(" /trust says what to do"))
    sitting.tell(
        f"The other id is {contact.key_changed}. /trust new goes on with that one, not verified, and ends the one you "
        "know; /trust old keeps the one you know, and does not ask about that other one again"
    )


def ask_to_remove(sitting: Sitting, contact: Contact) -> None:
    """Ask first: only a new invite brings a contact back."""

    async def remove() -> None:
        who = sitting.who(contact)
        await sitting.me.remove(contact)
        sitting.tell(f"{who} is removed; the history stays")
        sitting.leave(contact)

    sitting.question = Question(contact, remove, f"{sitting.who(contact)} stays your contact")
    sitting.warn(
        f"Remove {sitting.who(contact)}? Nothing more goes either way, and only a new invite brings them back; "
        f"the history stays. Type {shown_name(contact.name)} to confirm, anything else to keep them"
    )


def ask_to_block(sitting: Sitting, contact: Contact) -> None:
    """Ask first: what was on its way stops."""

    async def block() -> None:
        who = sitting.who(contact)
        await sitting.me.block(contact)
        sitting.tell(f"{who} is blocked; /unblock {shown_name(contact.name)} lets them in again")
        sitting.leave(contact)

    sitting.question = Question(contact, block, f"{sitting.who(contact)} is not blocked")
    sitting.warn(
        f"Block {sitting.who(contact)}? Nothing goes or comes until you unblock them; they aren't told, but see that "
        "you never come. The history stays, and what they write meanwhile comes after. "
        f"Type {shown_name(contact.name)} to confirm, anything else to leave it"
    )


async def unblock(sitting: Sitting, name: str) -> None:
    """Let a blocked contact in again."""
    if not sitting.blocked():
        raise Told("Nobody is blocked.", Exit.BAD_INPUT)
    contact = find(name, sitting.blocked(), sitting.me.name)
    await sitting.me.unblock(contact)
    sitting.know(contact)
    sitting.tell(f"{sitting.who(contact)} is let in again; what they wrote meanwhile comes as soon as they are told")
    if sitting.current is None:
        sitting.turn_to(contact)


async def renew(sitting: Sitting, contact: Contact) -> None:
    """New mailboxes and a new topic secret."""
    await sitting.me.renew_addresses(contact)
    who = sitting.who(contact)
    sitting.tell(f"{who} gets new mailboxes of yours; the old ones close once {who} knows them")
