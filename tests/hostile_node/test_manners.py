"""A node that is not who it was, refuses everything, answers what nobody asked, or hangs up at the worst moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace
from nacl.signing import SigningKey
from overfence import Notice, ServerChanged
from overfence_signalling import (
    VERSION,
    Accepted,
    Card,
    Changes,
    ClientFrame,
    ClientHello,
    Code,
    Done,
    Error,
    Fenced,
    Frame,
    Items,
    NodeHello,
    Open,
    Opened,
    Put,
    Snapshot,
    node_hello_bytes,
)

from .conftest import Meet
from .middleman import Middleman, Mischief, Visit
from .mischief import Refusing, Telling, babbling, greeting, hanging_up_on
from .people import until


class Noting(Mischief):
    """Keeps the nonces, as whoever signs must."""

    def __init__(self, nonces: list[bytes]) -> None:
        super().__init__("noting")
        self._nonces = nonces

    def asked(self, by: Visit, frame: ClientFrame) -> Sequence[Frame]:
        if isinstance(frame, ClientHello):
            self._nonces.append(frame.nonce)
        return (frame,)


def is_lost(event: ServerChanged) -> bool:
    return not event.connected


def signed_by(key: SigningKey, hello: NodeHello, nonce: bytes, *, unix_s: int) -> NodeHello:
    signed = node_hello_bytes(nonce=nonce, unix_s=unix_s, version=VERSION, durable=hello.durable)
    return replace(hello, node=bytes(key.verify_key), unix_s=unix_s, signature=key.sign(signed).signature)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda hello: replace(hello, node=bytes(SigningKey(bytes(32)).verify_key)), id="another key"),
        pytest.param(lambda hello: replace(hello, signature=bytes(64)), id="no signature"),
        pytest.param(lambda hello: replace(hello, unix_s=hello.unix_s - 86_400), id="an older date"),
        pytest.param(lambda hello: replace(hello, durable=not hello.durable), id="another promise"),
    ],
)
async def test_a_greeting_that_does_not_verify_ends_the_connection(node: Middleman, meet: Meet, change: object) -> None:
    async with meet() as two:
        with node.does(greeting("", change)):  # type: ignore[arg-type] # parametrized
            before = len(two.ada.events)
            node.cut("Ada")
            await two.ada.sees(ServerChanged, lambda event: is_lost(event) and "no Overfence server" in event.detail)
            assert not any(isinstance(event, ServerChanged) and event.connected for event in two.ada.events[before:])
            await two.ada.says("one", "two")
            await two.ticks_are_true()
        await two.hear_each_other()


async def test_a_node_that_signs_with_another_key_is_another_node_and_nothing_is_lost(
    node: Middleman, meet: Meet
) -> None:
    key = SigningKey(bytes(range(32)))
    async with meet() as two:
        nonces: list[bytes] = []

        def lie(hello: NodeHello) -> NodeHello:
            return signed_by(key, hello, nonces[-1], unix_s=hello.unix_s - 2 * 86_400)

        with node.does(Noting(nonces)), node.does(greeting("", lie)):
            node.cut()
            await two.ada.sees(Notice, lambda event: "clock" in event.text)
            await two.ada.says("one")
            await two.bob.says("two")
            await two.hear_each_other()
        node.cut()
        await two.hear_each_other()


@pytest.mark.parametrize("code", get_args(Code))
async def test_a_node_that_refuses_everything_loses_nothing(node: Middleman, meet: Meet, code: Code) -> None:
    async with meet() as two:
        with node.does(Refusing("", code)) as mischief:
            node.cut()
            await two.ada.says("one", "two")
            await two.bob.says("three")
            await until(lambda: mischief.struck > 4, "refusals")
            await two.ticks_are_true()
        await two.hear_each_other()


@pytest.mark.parametrize("code", get_args(Code))
async def test_an_error_out_of_the_blue_ends_the_connection_and_is_told(
    node: Middleman, meet: Meet, code: Code
) -> None:
    async with meet() as two:
        await two.ada.says("one")
        node.visit("Ada").say(Error(code=code, text="because"))
        await two.ada.sees(ServerChanged, lambda event: is_lost(event) and code in event.detail)
        await two.hear_each_other()


@pytest.mark.parametrize("raw", [b"", b"\xc1", msgspec.msgpack.encode({"t": "surprise"}), bytes(70_000)])
async def test_what_is_no_frame_ends_the_connection_and_is_told(node: Middleman, meet: Meet, raw: bytes) -> None:
    async with meet() as two:
        await two.ada.says("one")
        node.visit("Ada").say_bytes(raw)
        await two.ada.sees(ServerChanged, is_lost)
        await two.hear_each_other()


async def test_what_nobody_asked_for_is_passed_over(node: Middleman, meet: Meet) -> None:
    async with meet() as two:
        nowhere, ref = bytes(16), 2**40
        words = (
            Accepted(ref=ref, state="taken"),
            Opened(ref=ref, mailbox=nowhere, epoch=1, head=9),
            Card(ref=ref, card=b"x"),
            Done(ref=ref),
            Snapshot(ref=ref, topic=bytes(32)),
            Changes(topic=bytes(32), left=(1, 2)),
            Items(mailbox=nowhere, epoch=1, items=()),
            Error(code="storage", ref=ref),
            Fenced(mailbox=nowhere),
        )
        with node.does(babbling("", *words)) as mischief:
            await two.ada.says("one", "two")
            await two.hear_each_other()
            assert mischief.struck
        await two.hear_each_other()


@pytest.mark.parametrize("answer", [Done(ref=0), Card(ref=0), Opened(ref=0, mailbox=bytes(16), epoch=0, head=0)])
async def test_an_answer_of_the_wrong_kind_is_none(node: Middleman, meet: Meet, answer: Done | Card | Opened) -> None:
    async with meet() as two:
        with node.does(
            Telling("another kind of answer", "", Accepted, lambda _, frame: (replace(answer, ref=frame.ref),))
        ) as mischief:
            await two.ada.says("one", "two")
            await mischief.strikes()
            await two.ticks_are_true()
        await two.hear_each_other()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [Open, Put])
async def test_hanging_up_in_the_middle_loses_nothing(
    node: Middleman, meet: Meet, kind: type[Open] | type[Put], after: bool
) -> None:
    async with meet() as two:
        with node.does(hanging_up_on("Ada", kind, after=after)) as mischief:
            await two.ada.says("one")
            node.cut("Ada")
            await two.ada.says("two", "three")
            await mischief.strikes()
            await two.hear_each_other()
        await two.hear_each_other()


async def test_a_fence_that_nobody_raised_is_told_and_holds_until_the_home_opens_again(
    node: Middleman, meet: Meet
) -> None:
    async with meet() as two:
        for mailbox in node.record.of("Bob"):
            node.visit("Bob").say(Fenced(mailbox=mailbox))
        await two.bob.sees(Notice, lambda event: "open elsewhere" in event.text)
        await two.bob.says("I can still write")
        await until(lambda: "I can still write" in two.ada.heard, "that")
        await two.ada.says("one")
        await two.ticks_are_true()
        await two.bob.leave()
        await two.bob.comes()
        await two.hear_each_other()
