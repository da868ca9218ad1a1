"""A node that meddles with invites: it knows the mailbox, and not the key, unless somebody gave it the link."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import pytest
from overfence import ContactAdded, ContactChanged
from overfence.sealing import BadEnvelope
from overfence_signalling import Items, Put

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import doubling, item_of, withholding
from .people import Clock, Two, until


@pytest.mark.parametrize("size", [0, 1, 100, 1_400, 61_440])
async def test_an_invite_answered_by_the_node_is_refused_and_still_works(
    node: Middleman, come: Come, clock: Clock, size: int
) -> None:
    async with come("Ada") as ada, come("Bob") as bob:
        link = str(await ada.chat.invite())
        [mailbox] = node.record.of("Ada")
        forged = Put(ref=0, mailbox=mailbox, id=os.urandom(16), envelope=os.urandom(size))
        node.visit("Ada").say(Items(mailbox=mailbox, epoch=1, items=(item_of(forged),)))
        refused = await ada.refuses(BadEnvelope)
        assert refused.contact is None
        assert not ada.chat.contacts()
        bob.other = await bob.chat.accept(link)
        await bob.says("it is me")
        await until(lambda: bob.contact.state == "accepted" and ada.heard == ["it is me"], "the meeting", clock)
        await Two(ada, bob, clock).hear_each_other()


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_node_that_has_the_link_is_a_guest_and_the_other_is_told(
    node: Middleman, come: Come, clock: Clock, is_answered: bool
) -> None:
    """Who holds the link is let in, once. The one it was meant for is told, keeps the text, and is nobody's contact.

    Until the thief has confirmed Ada's answer the invite's mailbox is there, and tells; afterwards it is gone.
    """
    async with come("Ada") as ada, come("Bob") as bob, come("Node") as mallory, AsyncExitStack() as mischiefs:
        link = str(await ada.chat.invite())
        if not is_answered:
            mischiefs.enter_context(node.does(withholding("Node")))
        mallory.other = await mallory.chat.accept(link)
        await until(lambda: bool(ada.chat.contacts()), "that the thief is in")
        await until(lambda: not is_answered or mallory.contact.state == "accepted", "the answer")
        bob.other = await bob.chat.accept(link)
        await bob.says("for Ada's eyes")
        await bob.sees(ContactChanged, lambda event: event.contact.state == "refused")
        assert [contact.id for contact in ada.chat.contacts()] == [mallory.chat.user_id]
        assert await bob.reads() == ["for Ada's eyes"] and await bob.ticked() == []
        assert mallory.heard == ada.heard == []
        bob.other = await bob.chat.accept(str(await ada.chat.invite()))
        await until(lambda: bob.contact.state == "accepted", "a fresh invite")
        await until(lambda: ada.heard == ["for Ada's eyes"], "what was said before")
        ada.other = ada.chat.contact(bob.chat.user_id)
        await Two(ada, bob, clock).hear_each_other()
        assert mallory.heard == []


@pytest.mark.parametrize("hours", [0, 5, 23, 30, 24 * 40])
async def test_a_replayed_handshake_makes_no_second_contact(
    node: Middleman, meet: Meet, clock: Clock, hours: int
) -> None:
    async with meet() as two:
        first = node.record.put_by("Bob")[0]
        [*_, latest] = node.record.put_by("Bob")
        assert first.mailbox != latest.mailbox
        await two.hear_each_other()
        await clock.move(hours=hours)
        for seq, mailbox in enumerate((first.mailbox, latest.mailbox), 9_000):
            node.visit("Ada").say(Items(mailbox=mailbox, epoch=seq, items=(item_of(first, seq),)))
        refused = await two.ada.refuses(BadEnvelope)
        assert refused.contact is two.ada.contact, "the contact's mailbox has another key than the invite's"
        assert [contact.id for contact in two.ada.chat.contacts()] == [two.bob.chat.user_id]
        assert len([event for event in two.ada.events if isinstance(event, ContactAdded)]) == 1
        await two.hear_each_other()


async def test_a_handshake_replayed_at_once_in_the_invites_own_mailbox(
    node: Middleman, come: Come, clock: Clock
) -> None:
    async with come("Ada") as ada, come("Bob") as bob:
        link = str(await ada.chat.invite())
        with node.does(doubling("Ada")) as mischief:
            bob.other = await bob.chat.accept(link)
            await bob.says("once")
            await until(lambda: bool(ada.heard), "the word")
            await mischief.strikes()
            await Two(ada, bob, clock).hear_each_other()
        assert len(ada.chat.contacts()) == 1
