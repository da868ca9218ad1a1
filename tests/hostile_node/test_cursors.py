"""A node that lies about what it keeps: its numbers, its epochs, and what became of a put."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest
from overfence_signalling import Items, PutAnswer

from .conftest import Meet
from .middleman import Middleman
from .mischief import answering, forgetting_acks, item_of, numbering, opening, throwing_away
from .people import Clock, until

SAME: Callable[[int], int] = lambda known: known  # noqa: E731 (a name for an argument)


@pytest.mark.parametrize("state", ["stored", "held", "taken", "passed", "absent"])
async def test_what_is_thrown_away_is_not_ticked_and_comes_again(
    node: Middleman, meet: Meet, clock: Clock, state: PutAnswer
) -> None:
    async with meet() as two:
        with node.does(throwing_away("Ada", state)) as mischief:
            await two.ada.says("one", "two")
            await mischief.strikes()
            for minute in range(5):
                await clock.move(seconds=61)
                await two.bob.says(f"nothing in minute {minute}")
            assert two.bob.heard == ["hello"]
            await two.ticks_are_true()
        await two.hear_each_other()


@pytest.mark.parametrize("state", ["stored", "held", "taken", "passed", "absent"])
async def test_another_answer_than_the_true_one_loses_nothing(node: Middleman, meet: Meet, state: PutAnswer) -> None:
    async with meet() as two:
        with node.does(answering("", state)) as mischief:
            await two.ada.says("one", "two")
            await two.bob.says("three")
            await two.hear_each_other()
            assert bool(mischief.struck) is (state != "stored"), "of so many puts each is stored at first"
        await two.hear_each_other()


@pytest.mark.parametrize(
    ("renumber", "epoch"),
    [
        pytest.param(lambda seq: 1, SAME, id="always the first"),
        pytest.param(lambda seq: max(1, seq - 3), SAME, id="back by three"),
        pytest.param(lambda seq: seq + 3, SAME, id="ahead by three"),
        pytest.param(lambda seq: 0, SAME, id="never stored"),
        pytest.param(SAME, lambda _: secrets.randbelow(2**53), id="an epoch at random"),
        pytest.param(lambda seq: secrets.randbelow(2**53), lambda _: secrets.randbelow(2**53), id="all at random"),
    ],
)
async def test_numbers_that_lie_lose_nothing(
    node: Middleman, meet: Meet, renumber: Callable[[int], int], epoch: Callable[[int], int]
) -> None:
    async with meet() as two:
        with node.does(numbering("Bob", renumber, epoch)) as mischief:
            for number in range(4):
                await two.ada.says(f"{number}")
            await mischief.strikes()
            await two.ticks_are_true()
        node.cut("Bob")
        await two.hear_each_other()


@pytest.mark.parametrize("head", [0, 1, 2**53 - 1])
async def test_another_head_and_epoch_than_the_true_ones_lose_nothing(node: Middleman, meet: Meet, head: int) -> None:
    async with meet() as two:
        with node.does(opening("Bob", head, lambda _: 99)) as mischief:
            node.cut("Bob")
            await two.ada.says("one", "two")
            await mischief.strikes()
            await two.hear_each_other()
        node.cut("Bob")
        await two.hear_each_other()


async def test_what_comes_again_for_ever_is_shown_once_and_hardly_answered(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        with node.does(forgetting_acks("Bob")) as mischief:
            await two.ada.says("one", "two")
            await until(lambda: len(two.bob.heard) == 3, "both")
            await two.hear_each_other()
            answers = len(node.record.put_by("Bob"))
            puts = [put for put in node.record.put_by("Ada") if put.mailbox == node.record.put_by("Ada")[-1].mailbox]
            for epoch in range(20):
                acks = mischief.struck
                node.visit("Bob").say(
                    *(Items(mailbox=put.mailbox, epoch=epoch, items=(item_of(put, 1),)) for put in puts)
                )
                # One by one: what comes together is answered together.
                await until(lambda acks=acks: mischief.struck > acks, "an ack")  # type: ignore[misc] # mypy: no default in lambdas
            await two.hear_each_other()
            assert len(node.record.put_by("Bob")) <= answers + 6, "at most one a minute, and what was said"
        node.cut("Bob")
        await two.hear_each_other()
