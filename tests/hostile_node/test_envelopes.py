"""Envelopes that a node changes, copies, delays or takes elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from overfence import Refused
from overfence.sealing import BadEnvelope
from overfence_signalling import Items

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import Reordering, changing_envelopes, cutting_off, doubling, flipping, item_of, noise, withholding
from .people import Clock, until


@pytest.mark.parametrize(
    "change",
    [pytest.param(flipping(at), id=f"byte {at}") for at in (0, 23, 24, 31, 32, 200, -17, -16, -1)]
    + [pytest.param(cutting_off(size), id=f"{size} bytes fewer") for size in (1, 16, 300, 60_000)]
    + [pytest.param(noise, id="noise")],
)
async def test_a_changed_envelope_is_refused(node: Middleman, meet: Meet, change: Callable[[bytes], bytes]) -> None:
    async with meet() as two:
        with node.does(changing_envelopes("Bob", change)) as mischief:
            await two.ada.says("one", "two")
            await mischief.strikes()
            refused = await two.bob.refuses(BadEnvelope)
            assert refused.contact is two.bob.contact
            assert two.bob.heard == ["hello"]
            await two.ticks_are_true()
        await two.hear_each_other()


async def test_an_envelope_delivered_to_its_own_sender_is_refused(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        await two.ada.says("to Bob")
        await until(lambda: "to Bob" in two.bob.heard, "the word at Bob's")
        to_ada = node.record.put_by("Bob")[-1].mailbox
        items = tuple(item_of(put, seq) for seq, put in enumerate(node.record.put_by("Ada"), 1000))
        node.visit("Ada").say(Items(mailbox=to_ada, epoch=7, items=items))
        refused = await two.ada.refuses(BadEnvelope)
        assert refused.contact is two.ada.contact
        assert two.ada.heard == ["hello to you"]
        await two.hear_each_other()


async def test_an_envelope_delivered_to_somebody_else_is_refused(node: Middleman, meet: Meet, come: Come) -> None:
    async with meet() as two, come("Eve") as eve:
        eve.other = await eve.chat.accept(str(await two.ada.chat.invite()))
        await until(lambda: eve.contact.state == "accepted", "Ada's answer to Eve")
        await until(lambda: eve.contact.name == "Ada", "her name")
        await two.bob.says("to Ada only")
        await until(lambda: "to Ada only" in two.ada.heard, "the word at Ada's")
        items = tuple(item_of(put) for put in node.record.put_by("Bob"))
        for mailbox in node.record.of("Eve"):
            node.visit("Eve").say(Items(mailbox=mailbox, epoch=1, items=items))
        refused = await eve.refuses(BadEnvelope)
        assert refused.contact is eve.contact
        assert eve.heard == []
        await two.hear_each_other()


async def test_an_envelope_that_comes_many_times_is_shown_once(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        with node.does(doubling("Bob")) as mischief:
            for number in range(5):
                await two.ada.says(f"{number}")
            await until(lambda: len(two.bob.heard) == 6, "all five")
            await two.ticks_are_true()
        assert mischief.struck
        await two.hear_each_other()
        assert not any(isinstance(event, Refused) for event in two.bob.events), "arriving twice is no failure"


async def test_envelopes_of_long_ago_bring_nothing_new(node: Middleman, meet: Meet, clock: Clock) -> None:
    async with meet() as two:
        await two.ada.says("long ago")
        await until(lambda: "long ago" in two.bob.heard, "it")
        for hours in (1, 30, 24 * 29, 24 * 40):
            await clock.move(hours=hours)
            for put in node.record.put_by("Ada"):
                node.visit("Bob").say(Items(mailbox=put.mailbox, epoch=hours, items=(item_of(put, 5000 + hours),)))
            await two.hear_each_other()


async def test_envelopes_out_of_order_are_shown_in_order(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        with node.does(Reordering("Bob", 6)) as mischief:
            for number in range(12):
                before = len(node.record.put_by("Ada"))
                await two.ada.says(f"{number}")
                # Each in an envelope of its own.
                await until(lambda before=before: len(node.record.put_by("Ada")) > before, "a put")  # type: ignore[misc] # mypy: no default in lambdas
            await mischief.strikes()
            await two.ticks_are_true()
            await until(lambda: len(two.bob.heard) == 13, "all twelve")
        await two.hear_each_other()


async def test_what_is_withheld_for_days_arrives_once_it_is_not(node: Middleman, meet: Meet, clock: Clock) -> None:
    async with meet() as two:
        with node.does(withholding("Bob")) as mischief:
            await two.ada.says("one", "two")
            await mischief.strikes()
            for day in range(3):
                await clock.move(hours=24)
                await two.bob.says(f"are you there, day {day}?")
            assert two.bob.heard == ["hello"]
            await two.ticks_are_true()
        node.cut("Bob")
        await two.hear_each_other()
