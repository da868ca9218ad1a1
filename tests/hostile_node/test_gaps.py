"""What a node can still do that is not told, or not made good once it behaves again."""

from __future__ import annotations

import os

from overfence.sealing import BadCard, BadEntry
from overfence_signalling import Changes, Fenced, TopicEntry

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import changing_card, no_card, noise, numbering, showing_card
from .people import Clock, Two, until


async def test_a_number_far_ahead_does_not_make_a_mailbox_deaf(node: Middleman, meet: Meet) -> None:
    """The true numbers that follow are below the cursor then: they are acknowledged unread."""
    async with meet() as two:
        with node.does(numbering("Bob", lambda seq: seq + 1_000_000, lambda epoch: epoch)) as mischief:
            await two.ada.says("one")
            await mischief.strikes()
            await until(lambda: "one" in two.bob.heard, "it")
        node.cut("Bob")
        await two.hear_each_other()


async def test_a_fence_that_nobody_raised_does_not_last_for_ever(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        for mailbox in node.record.of("Bob"):
            node.visit("Bob").say(Fenced(mailbox=mailbox))
        await two.ada.says("one")
        node.cut("Bob")
        await two.hear_each_other()


async def test_an_invites_changed_card_is_told_and_the_right_one_taken_later(
    node: Middleman, come: Come, clock: Clock
) -> None:
    async with come("Ada") as ada, come("Bob") as bob:
        with node.does(changing_card("Bob", noise)) as mischief:
            bob.other = await bob.chat.accept(str(await ada.chat.invite()))
            await bob.says("as soon as I can")
            await mischief.strikes()
            refused = await bob.refuses(BadCard)
            assert refused.contact is bob.contact
        await until(lambda: ada.heard == ["as soon as I can"], "the word", clock)
        await Two(ada, bob, clock).hear_each_other()


async def test_another_invites_card_is_told_and_the_right_one_taken_later(
    node: Middleman, come: Come, clock: Clock
) -> None:
    async with come("Eve") as eve, come("Ada") as ada, come("Bob") as bob:
        await eve.chat.invite()
        [card] = node.record.cards[node.record.of("Eve")[0]]
        with node.does(showing_card("Bob", card)) as mischief:
            bob.other = await bob.chat.accept(str(await ada.chat.invite()))
            await mischief.strikes()
            await bob.refuses(BadCard)
        await until(lambda: bool(ada.chat.contacts()), "the meeting", clock)
        await Two(ada, bob, clock).hear_each_other()


async def test_an_invite_that_is_denied_once_is_not_lost(node: Middleman, come: Come, clock: Clock) -> None:
    """A node that says once that there is no such mailbox makes the guest give up a good invite."""
    async with come("Ada") as ada, come("Bob") as bob:
        link = str(await ada.chat.invite())
        with node.does(no_card("Bob", "no_mailbox")) as mischief:
            bob.other = await bob.chat.accept(link)
            await bob.says("as soon as I can")
            await mischief.strikes()
        await bob.chat.accept(link)
        await until(lambda: ada.heard == ["as soon as I can"], "the word", clock)
        await Two(ada, bob, clock).hear_each_other()


async def test_an_entry_that_does_not_open_is_told(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        await until(lambda: any(by == "Ada" for by, _ in node.record.entries), "Ada's entries")
        members = (TopicEntry(member=77, entry=os.urandom(100)),)
        for _, enter in node.record.entries:
            node.visit("Ada").say(Changes(topic=enter.topic, entered=members))
        refused = await two.ada.refuses(BadEntry)
        assert refused.contact is two.ada.contact
        await two.hear_each_other()
