"""What a node could once do untold, or for good: each is told now, and made good once it behaves again."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from overfence import ContactChanged
from overfence.errors import StaleDeviceList
from overfence.history import people, postbox
from overfence.identity import DeviceList, load_or_create
from overfence.sealing import BadCard, BadEntry
from overfence_signalling import Changes, Fenced, TopicEntry

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import changing_card, no_card, noise, numbering, showing_card
from .people import Clock, Two, beginning_anew, until


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
    """A node says that there is no such mailbox: the guest sees it refused, and accepts the same link once more."""
    async with come("Ada") as ada, come("Bob") as bob:
        link = str(await ada.chat.invite())
        with node.does(no_card("Bob", "no_mailbox")) as mischief:
            bob.other = await bob.chat.accept(link)
            await bob.says("as soon as I can")
            await mischief.strikes()
            await bob.sees(ContactChanged, lambda event: event.contact.state == "refused")
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


async def test_a_card_with_an_older_device_list_is_refused_as_stale(
    node: Middleman, meet: Meet, clock: Clock, tmp_path: Path
) -> None:
    """Ada has signed a newer list since, and Bob knows it: nobody begins with what the older one lists."""
    async with meet() as two:
        await two.hear_each_other()
        await two.ada.leave()
        sign_anew(tmp_path / "Ada")
        await two.ada.comes()
        await beginning_anew(node, two.ada, clock)  # the new session shows Bob the new list
        await two.hear_each_other()
        adas = node.record.put_by("Bob")[-1].mailbox
        assert len(node.record.cards[adas]) > 1
        with node.does(showing_card("Bob", node.record.cards[adas][0])) as mischief:
            await beginning_anew(node, two.bob, clock)
            await mischief.strikes()
            refused = await two.bob.refuses(StaleDeviceList)
            assert refused.contact is two.bob.contact
        await two.hear_each_other()


def sign_anew(home: Path) -> None:
    """The account of a home that is closed signs the same device into a newer list, for its cards to show."""
    identity, _ = load_or_create(home / "identity", os.urandom)
    with closing(sqlite3.connect(home / "history.db", isolation_level=None)) as tx:
        known = people.setting(tx, "device_list")
        assert isinstance(known, bytes)
        listed = DeviceList.parse(known)
        people.set_setting(tx, "device_list", DeviceList.sign(identity, listed.devices, listed.seq + 5).raw)
        for box in postbox.mailboxes(tx):
            postbox.set_card(tx, box.mailbox, None, at_node=False)
