"""Cards that a node swaps, changes, keeps back, or shows long after their time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from overfence.sealing import BadCard, UnknownPrekey

from .conftest import Come, Meet
from .middleman import Middleman
from .mischief import changing_card, cutting_off, flipping, noise, showing_card
from .people import Clock, beginning_anew, until


@pytest.mark.parametrize(
    "change",
    [pytest.param(flipping(at), id=f"byte {at}") for at in (0, 23, 24, 40, 700, -65, -1)]
    + [pytest.param(cutting_off(size), id=f"{size} bytes fewer") for size in (1, 64, 1_000, 9_000)]
    + [pytest.param(noise, id="noise")],
)
async def test_a_changed_card_is_refused_and_the_right_one_taken_later(
    node: Middleman, meet: Meet, clock: Clock, change: Callable[[bytes], bytes]
) -> None:
    async with meet() as two:
        with node.does(changing_card("Ada", change)) as mischief:
            await beginning_anew(node, two.ada, clock)
            refused = await two.ada.refuses(BadCard, clock)
            assert refused.contact is two.ada.contact
            assert mischief.struck
            await two.ticks_are_true()
        await two.hear_each_other()


async def test_another_mailboxs_card_is_refused(node: Middleman, meet: Meet, come: Come, clock: Clock) -> None:
    async with meet() as two, come("Eve") as eve:
        eve.other = await eve.chat.accept(str(await two.ada.chat.invite()))
        await until(lambda: eve.contact.state == "accepted", "Ada's answer to Eve")
        bobs = node.record.put_by("Ada")[0].mailbox
        for mailbox, cards in list(node.record.cards.items()):
            if mailbox == bobs:
                continue
            await clock.move(seconds=61)
            known = len(two.ada.refusals(BadCard))
            with node.does(showing_card("Ada", cards[-1])):
                await beginning_anew(node, two.ada, clock)
                await until(lambda known=known: len(two.ada.refusals(BadCard)) > known, "its refusal", clock)  # type: ignore[misc] # mypy: no default in lambdas
            await two.hear_each_other()
        assert eve.heard == []


async def test_a_withheld_card_delays_and_loses_nothing(node: Middleman, meet: Meet, clock: Clock) -> None:
    async with meet() as two:
        with node.does(showing_card("Ada", None)) as mischief:
            await beginning_anew(node, two.ada, clock)
            await mischief.strikes()
            await two.ticks_are_true()
            await two.hear_each_other()
        await two.hear_each_other()


async def test_a_card_whose_prekey_is_gone_is_refused_by_its_owner(node: Middleman, meet: Meet, clock: Clock) -> None:
    async with meet() as two:
        await beginning_anew(node, two.ada, clock)
        await two.hear_each_other()
        bobs = node.record.put_by("Ada")[-1].mailbox
        await until(lambda: len(node.record.cards[bobs]) > 1, "Bob's next card", clock)
        await clock.move(hours=49)
        await two.hear_each_other()
        with node.does(showing_card("Ada", node.record.cards[bobs][0])) as mischief:
            await beginning_anew(node, two.ada, clock)
            await mischief.strikes()
            refused = await two.bob.refuses(UnknownPrekey, clock)
            assert refused.contact is two.bob.contact
            await two.ticks_are_true()
        await two.hear_each_other()


async def test_an_invites_card_that_is_withheld_is_asked_for_again(node: Middleman, come: Come) -> None:
    async with come("Ada") as ada, come("Bob") as bob:
        with node.does(showing_card("Bob", None)) as mischief:
            bob.other = await bob.chat.accept(str(await ada.chat.invite()))
            await bob.says("as soon as I can")
            await mischief.strikes()
            assert bob.contact.state == "waiting"
        await until(lambda: ada.heard == ["as soon as I can"], "the word")
