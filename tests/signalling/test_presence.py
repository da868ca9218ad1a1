"""Topics over real sockets: a snapshot, then changes, and gone with the connection."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import pytest
from overfence_signalling import Changes, Enter, Leave, Snapshot

from .conftest import Client, Connect, Start, refused


@pytest.fixture
def topic() -> bytes:
    return os.urandom(32)


async def enter(client: Client, topic: bytes, entry: bytes) -> Snapshot:
    snapshot = await client.ask(lambda ref: Enter(ref=ref, topic=topic, entry=entry))
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


async def test_who_is_there_sees_who_comes_changes_and_goes(connect: Connect, topic: bytes) -> None:
    ada, bob = await connect(), await connect()
    assert (await enter(ada, topic, b"ada")).entries == ()
    (seen,) = (await enter(bob, topic, b"bob")).entries
    assert seen.entry == b"ada"
    (came,) = (await ada.next(Changes)).entered
    assert came.entry == b"bob" and came.member != seen.member
    await enter(bob, topic, b"bob is busy")
    changed = await ada.next(Changes)
    assert [(one.member, one.entry) for one in changed.entered] == [(came.member, b"bob is busy")]
    await bob.send(Leave(topic=topic))
    assert (await ada.next(Changes)).left == (came.member,)
    assert not bob.heard, "nobody is told of himself"


async def test_a_connection_that_ends_leaves_all_it_was_in(connect: Connect, topic: bytes) -> None:
    ada, bob = await connect(), await connect()
    other = os.urandom(32)
    for one in (topic, other):
        await enter(ada, one, b"ada")
        await enter(bob, one, b"bob")
        await ada.next(Changes)
    bob.ws._response.connection.transport.abort()  # type: ignore[union-attr]  # as a cable that is pulled
    gone = {(await ada.next(Changes)).topic for _ in range(2)}
    assert gone == {topic, other}
    assert (await enter(await connect(), topic, b"eve")).entries[0].entry == b"ada"


async def test_other_topics_hear_nothing(connect: Connect, topic: bytes) -> None:
    ada, bob, cyd = await connect(), await connect(), await connect()
    await enter(ada, topic, b"ada")
    await enter(cyd, topic, b"cyd")
    await ada.next(Changes)
    await enter(bob, os.urandom(32), b"bob")
    await bob.send(Leave(topic=topic))
    await enter(cyd, topic, b"cyd again")
    await ada.next(Changes)
    assert not ada.heard


async def test_a_full_room_comes_in_pages(start: Start, topic: bytes) -> None:
    async with start() as node, AsyncExitStack() as stack:
        for number in range(40):
            member = await stack.enter_async_context(Client.to(node))
            await enter(member, topic, bytes([number]) * 1_024)
        async with Client.to(node) as late:
            first = await enter(late, topic, b"")
            assert first.more
            second = await late.next(Snapshot)
            assert not second.more and second.ref == first.ref
            everyone = [one.entry[0] for page in (first, second) for one in page.entries]
            assert sorted(everyone) == list(range(40))


async def test_each_connection_has_so_many_topics(start: Start) -> None:
    bounds = {"topics_per_connection": 2, "entries_per_topic": 1}
    async with start(**bounds) as node, Client.to(node) as ada, Client.to(node) as bob:
        for number in (1, 2):
            await enter(ada, bytes([number]) * 32, b"")
        assert refused(await ada.ask(lambda ref: Enter(ref=ref, topic=b"3" * 32, entry=b""))) == "too_many"
        assert refused(await bob.ask(lambda ref: Enter(ref=ref, topic=b"\x01" * 32, entry=b""))) == "too_many"
        await ada.send(Leave(topic=b"\x01" * 32))
        await enter(bob, b"\x01" * 32, b"")
