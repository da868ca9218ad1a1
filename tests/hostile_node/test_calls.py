"""Calls: what sets up a link passes the node sealed, and a certificate that isn't the one named ends the call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace
from overfence import PathChanged
from overfence.connect.errors import LinkFailed
from overfence.connect.webrtc import Link, LinkConfig
from overfence.sealing import BadEnvelope
from overfence_signalling import Item, Items

from .conftest import Meet
from .middleman import Middleman
from .mischief import cutting_off, flipping, handing_on, item_of, noise
from .people import until


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(flipping(600), id="a bit inside"),
        pytest.param(flipping(-1), id="the last bit"),
        pytest.param(cutting_off(10), id="cut off"),
        pytest.param(noise, id="noise"),
    ],
)
async def test_a_changed_offer_is_refused_and_the_next_one_opens_the_link(
    node: Middleman, meet: Meet, change: Callable[[bytes], bytes]
) -> None:
    def passed_on(items: tuple[Item, ...]) -> Iterable[Item]:
        return [item if item.seq else replace(item, envelope=change(item.envelope)) for item in items]

    with node.does(handing_on("changing calls", "", passed_on)):
        async with meet(by_mail=False) as two:
            await until(
                lambda: bool(two.ada.refusals(BadEnvelope) or two.bob.refusals(BadEnvelope)), "a refusal at either's"
            )
            assert "direct" not in (two.ada.contact.path, two.bob.contact.path)
            await two.ticks_are_true()
            node.behave()
            await until(lambda: two.ada.contact.path == two.bob.contact.path == "direct", "the link", two.clock)
            await two.hear_each_other()


async def test_calls_of_before_disturb_no_link(node: Middleman, meet: Meet) -> None:
    async with meet(by_mail=False) as two:
        await until(lambda: two.ada.contact.path == two.bob.contact.path == "direct", "the link")
        calls = {name: node.record.put_by(name, kept=False) for name in ("Ada", "Bob")}
        assert any(calls.values())
        seen = {person: len(person.events) for person in (two.ada, two.bob)}
        for name, other in (("Ada", "Bob"), ("Bob", "Ada")):
            for put in calls[name] * 3:
                node.visit(other).say(Items(mailbox=put.mailbox, epoch=1, items=(item_of(put),)))
        await two.hear_each_other()
        assert two.ada.contact.path == two.bob.contact.path == "direct"
        for person, known in seen.items():
            assert not [event for event in person.events[known:] if isinstance(event, PathChanged)]


PATIENCE_S = 10.0


@pytest.mark.parametrize("whose", ["offer", "answer"])
async def test_another_certificate_than_the_one_named_ends_the_call(whose: str) -> None:
    """Who could change the text before it is sealed could name another certificate; then the two do not connect."""

    def forged(text: str, kind: str) -> str:
        other = ":".join(["5A"] * 32)
        return re.sub(r"(a=fingerprint:sha-256 )\S+", rf"\g<1>{other}", text) if kind == whose else text

    heard: list[bytes] = []
    links = [
        Link(LinkConfig(), received=lambda _, data: heard.append(data), ended=lambda _: None, roomy=lambda: None)
        for _ in range(2)
    ]
    ada, bob = links
    try:
        answer = await bob.answer(forged(await ada.offer(), "offer"))
        with pytest.raises(LinkFailed):
            await ada.accept(forged(answer, "answer"))
            await ada.opened(PATIENCE_S)
        assert heard == []
    finally:
        for link in links:
            await link.close()
