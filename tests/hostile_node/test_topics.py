"""Topic entries that a node makes up, replays, or takes from elsewhere: nobody comes who isn't there."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from overfence import PresenceChanged
from overfence_signalling import Changes, TopicEntry

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import crowding
from .people import Clock, Two, until


def as_members(entries: Iterable[bytes]) -> tuple[TopicEntry, ...]:
    return tuple(TopicEntry(member=member, entry=entry) for member, entry in enumerate(entries, 1_000_000))


def entries_of(node: Middleman, name: str) -> list[bytes]:
    return [enter.entry for by, enter in node.record.entries if by == name]


async def nobody_comes(node: Middleman, two: Two, members: tuple[TopicEntry, ...]) -> None:
    """With these in every topic, from the start and later, Ada sees nobody, and the two write to each other."""
    with node.does(crowding("Ada", lambda _: members)) as mischief:
        before = len(two.ada.events)
        node.cut("Ada")
        await mischief.strikes()
        for _, enter in node.record.entries:
            for at in range(0, len(members), 50):
                node.visit("Ada").say(Changes(topic=enter.topic, entered=members[at : at + 50]))
        await two.hear_each_other()
        assert not two.ada.contact.online
        assert not [event for event in two.ada.events[before:] if isinstance(event, PresenceChanged)]
    node.cut("Ada")
    await two.hear_each_other()


@pytest.mark.parametrize("size", [0, 1, 24, 40, 100, 1024])
async def test_random_bytes_are_nobody(node: Middleman, meet: Meet, size: int) -> None:
    async with meet() as two:
        await nobody_comes(node, two, as_members(os.urandom(size) for _ in range(30)))


async def test_a_thousand_members_are_nobody(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        with node.does(crowding("Bob", lambda _: ())):
            members = as_members(os.urandom(120) for _ in range(1000))
            node.visit("Ada")
            for _, enter in node.record.entries:
                for at in range(0, 1000, 100):
                    node.visit("Ada").say(Changes(topic=enter.topic, entered=members[at : at + 100]))
            await two.hear_each_other()
            assert not two.ada.contact.online


async def test_ones_own_entry_under_another_number_is_nobody(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        await until(lambda: bool(entries_of(node, "Ada")), "Ada's entries")
        await nobody_comes(node, two, as_members(entries_of(node, "Ada") * 20))


async def test_another_topics_entries_are_nobody(node: Middleman, meet: Meet, come: Come) -> None:
    async with meet() as two, come("Eve") as eve:
        eve.other = await eve.chat.accept(str(await two.ada.chat.invite()))
        await until(lambda: bool(entries_of(node, "Eve")), "Eve's entries")
        theirs = {enter.topic for by, enter in node.record.entries if by == "Bob"}
        foreign = [enter.entry for _, enter in node.record.entries if enter.topic not in theirs]
        assert foreign
        with node.does(crowding("Bob", lambda _: as_members(foreign))) as mischief:
            node.cut("Bob")
            await mischief.strikes()
            await two.hear_each_other()
            assert not two.bob.contact.online


async def test_yesterdays_entries_are_nobody(node: Middleman, meet: Meet, clock: Clock) -> None:
    async with meet() as two:
        await until(lambda: bool(entries_of(node, "Bob")), "Bob's entries")
        yesterdays = as_members(entries_of(node, "Bob"))
        await clock.move(hours=24)
        await nobody_comes(node, two, yesterdays)


async def test_todays_entry_of_one_who_left_is_a_hint_and_no_more(node: Middleman, meet: Meet) -> None:
    """The node can say that Bob is still here, for a day. No link comes of it, and messages go by mailbox."""
    async with meet() as two:
        await until(lambda: bool(entries_of(node, "Bob")), "Bob's entries")
        members = as_members(entries_of(node, "Bob"))
        for _, enter in node.record.entries:
            node.visit("Ada").say(Changes(topic=enter.topic, entered=members))
        await two.ada.sees(PresenceChanged, lambda event: event.online)
        await two.hear_each_other()
