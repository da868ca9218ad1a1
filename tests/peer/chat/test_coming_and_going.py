"""Homes that close and open, and a server that comes and goes: what was said is delivered once, in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from overfence import Chat, Delivered, Notice, ServerChanged
from overfence.errors import (
    BadName,
    ChatClosed,
    HistoryDamaged,
    HistoryTooNew,
    HomeInUse,
    NameNeeded,
    NoServer,
    NotDelivered,
    Unreachable,
)
from overfence_signalling import NodeLimits

from .conftest import Heard, Open, Server, acquaint, hears, meets, texts, until


async def test_what_was_missed_is_caught_up_once_and_in_order(open_chat: Open) -> None:
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, of_ada = await acquaint(ada, bob)
            await (await ada.conversation(of_bob).send("0")).delivered()
        for number in range(1, 40):
            last = await ada.conversation(of_bob).send(f"{number}")
        with pytest.raises(NotDelivered):
            await last.delivered(timeout=0.3)
        assert await ada.conversation(of_bob).queued() == 39
        async with open_chat("Bob") as bob:
            of_ada = bob.contact("Ada")
            async with Heard(bob, of_ada) as at_bob:
                await last.delivered()
                assert await texts(bob, of_ada) == [f"{number}" for number in range(40)]
                await until(lambda: len(at_bob.texts) >= 39)
                assert at_bob.texts == [f"{number}" for number in range(1, 40)]
        assert await ada.conversation(of_bob).queued() == 0
        async with open_chat("Bob") as bob:
            of_ada = bob.contact("Ada")
            async with Heard(bob, of_ada) as at_bob:
                await (await ada.conversation(of_bob).send("40")).delivered()
                await until(lambda: at_bob.texts == ["40"], "only what is new")
            assert await texts(bob, of_ada) == [f"{number}" for number in range(41)]


async def test_both_restart_again_and_again(open_chat: Open) -> None:
    said: list[str] = []
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await acquaint(ada, bob)
    for round_ in range(4):
        async with open_chat("Ada") as ada:
            await ada.conversation(ada.contact("Bob")).send(f"Ada {round_}")
        async with open_chat("Bob") as bob:
            await bob.conversation(bob.contact("Ada")).send(f"Bob {round_}")
        said += [f"Ada {round_}", f"Bob {round_}"]
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        at_ada, at_bob = await asyncio.gather(hears(ada, ada.contact("Bob"), 8), hears(bob, bob.contact("Ada"), 8))
        assert sorted(at_ada) == sorted(said)
        assert at_ada == at_bob
        for chat, other in ((ada, "Bob"), (bob, "Ada")):
            await until(lambda chat=chat, other=other: none_queued(chat, other))  # type: ignore[misc] # mypy: no default in lambdas
            mine = [one for one in await chat.conversation(chat.contact(other)).history() if one.mine]
            assert {one.state for one in mine} == {"delivered"}


async def none_queued(chat: Chat, other: str) -> bool:
    return await chat.conversation(chat.contact(other)).queued() == 0


async def test_the_server_stops_and_the_link_carries_on(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await until(lambda: of_bob.path == of_ada.path == "direct", "the link")
        happenings = ada.events()
        await server.stop()
        async for happening in happenings:
            if isinstance(happening, ServerChanged):
                assert not happening.connected
                assert happening.retry_in_s is not None
                break
        await (await ada.conversation(of_bob).send("without a server")).delivered()
        await (await bob.conversation(of_ada).send("indeed")).delivered()
        await server.start()
        async for happening in happenings:
            if isinstance(happening, ServerChanged) and happening.connected:
                break
        assert await texts(ada, of_bob) == await texts(bob, of_ada) == ["without a server", "indeed"]


async def test_the_server_is_away_while_one_writes_and_the_other_sleeps(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await acquaint(ada, bob)
    await server.stop()
    async with open_chat("Ada") as ada:
        of_bob = ada.contact("Bob")
        message = await ada.conversation(of_bob).send("when you can")
        assert message.state == "sent"
        with pytest.raises(NotDelivered):
            await message.delivered(timeout=0.3)
        await server.start()
        async with open_chat("Bob") as bob:
            await message.delivered()
            assert await texts(bob, bob.contact("Ada")) == ["when you can"]


async def test_offline_it_queues_and_delivers_once_there_is_a_server(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await acquaint(ada, bob)
    async with open_chat("Ada", server=None) as ada:
        assert ada.server is None
        of_bob = ada.contact("Bob")
        talk = ada.conversation(of_bob)
        await talk.send("1")
        await talk.send("2")
        assert await talk.queued() == 2
        with pytest.raises(NoServer):
            await ada.invite()
    async with open_chat("Bob") as bob, open_chat("Ada") as ada:
        assert await hears(bob, bob.contact("Ada"), 2) == ["1", "2"]
        await until(lambda: none_queued(ada, "Bob"))


async def test_a_home_that_was_never_online_takes_an_invite_and_writes(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada:
        link = str(await ada.invite())
        await server.stop()
        async with open_chat("Bob") as bob:
            of_ada = await bob.accept(link)
            await bob.conversation(of_ada).send("as soon as I can")
            assert of_ada.state == "waiting"
        await server.start()
        async with open_chat("Bob") as bob:
            of_ada = bob.contact(ada.user_id)
            await until(lambda: of_ada.state == "accepted", "the answer")
            assert await texts(ada, await meets(ada, bob)) == ["as soon as I can"]


async def test_an_invite_needs_a_server_that_answers(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await server.stop()
        with pytest.raises(Unreachable):
            await ada.invite(timeout_s=0.3)
        await server.start()
        of_ada = await bob.accept(str(await ada.invite(timeout_s=15)))
        await until(lambda: of_ada.state == "accepted", "the answer")


async def test_what_a_full_mailbox_refuses_waits_here_and_arrives_once(open_chat: Open, server: Server) -> None:
    await server.stop()
    server.limits = NodeLimits(mailbox_bytes=12_000)
    await server.start()
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, _ = await acquaint(ada, bob)
        await until(lambda: of_bob.path == "mailbox", "Bob's leaving")
        happenings, talk = ada.events(), ada.conversation(of_bob)
        said = [f"{number}" * 1000 for number in range(20)]
        for text in said:
            await talk.send(text)
        async for happening in happenings:
            if isinstance(happening, Notice) and "mailbox of Bob is full" in happening.text:
                break
        assert await talk.queued() == len(said)
        async with open_chat("Bob") as bob:
            assert await hears(bob, bob.contact("Ada"), len(said)) == said
            await until(lambda: none_queued(ada, "Bob"), "the ticks")


async def test_a_new_name_reaches_the_other(open_chat: Open, tmp_path: Path, server: Server) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await acquaint(ada, bob)
    async with open_chat("Bob") as bob:
        of_ada = bob.contact("Ada")
        async with Chat.open(tmp_path / "Ada", name="Ada Lovelace", server=server.url) as ada:
            await until(lambda: of_ada.name == "Ada Lovelace", "the new name")
            assert ada.name == "Ada Lovelace"
        async with Chat.open(tmp_path / "Ada", server=server.url) as ada:
            assert ada.name == "Ada Lovelace"


async def test_a_closed_chat_says_so_and_its_feeds_end(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, _ = await acquaint(ada, bob)
        talk, feed, happenings = ada.conversation(of_bob), ada.conversation(of_bob).messages(), ada.events()
        message = await talk.send("last words")
        await message.delivered()
    assert [one async for one in feed] == []
    assert Delivered(of_bob, message.seq, message.log) in [one async for one in happenings]
    for call in (
        talk.send("too late"),
        talk.history(),
        talk.queued(),
        ada.invite(),
        ada.search("x"),
        ada.remove(of_bob),
    ):
        with pytest.raises(ChatClosed):
            await call
    with pytest.raises(ChatClosed):
        ada.contacts()
    assert message.text == "last words"


def everything_in(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(home.iterdir())}


async def test_a_home_in_use_is_refused_and_goes_on(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, _ = await acquaint(ada, bob)
        with pytest.raises(HomeInUse):
            async with open_chat("Ada"):
                pass
        await (await ada.conversation(of_bob).send("still here")).delivered()


async def test_a_newer_or_damaged_home_is_refused_byte_for_byte(open_chat: Open, tmp_path: Path) -> None:
    async with open_chat("Ada"):
        pass
    file = tmp_path / "Ada" / "history.db"
    whole = file.read_bytes()
    for raw, reason in (
        (whole[:60] + (99).to_bytes(4, "big") + whole[64:], HistoryTooNew),
        (whole[: len(whole) // 3], HistoryDamaged),
        (b"something else entirely", HistoryDamaged),
    ):
        file.write_bytes(raw)
        before = everything_in(tmp_path / "Ada")
        with pytest.raises(reason):
            async with open_chat("Ada"):
                pass
        assert everything_in(tmp_path / "Ada") == before
    file.write_bytes(whole)
    async with open_chat("Ada") as ada:
        assert ada.name == "Ada"


async def test_a_new_home_needs_a_name_that_shows(tmp_path: Path) -> None:
    with pytest.raises(NameNeeded):
        async with Chat.open(tmp_path / "new"):
            pass
    for name in ("", "   ", "x" * 65, "\x1b[31mred", "\u202e"):
        with pytest.raises(BadName):
            async with Chat.open(tmp_path / "new", name=name):
                pass
    assert not (tmp_path / "new").exists()


async def test_a_home_whose_history_is_gone_says_so(open_chat: Open, tmp_path: Path) -> None:
    """The identity is here, the history is not: whoever opens it must not think that nobody ever wrote."""
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await acquaint(ada, bob)
        home = ada.home
    for file in home.glob("history.db*"):
        file.unlink()
    async with open_chat("Ada") as ada:
        events = ada.events()
        assert "history in this home is empty" in str(await asyncio.wait_for(anext(aiter(events)), 5))
    async with open_chat("Ada") as ada:
        assert not [event for event in await nothing_more(ada) if isinstance(event, Notice)], "told once"


async def nothing_more(chat: Chat) -> list[object]:
    """What a feed opened now already holds."""
    feed = chat.events()
    return [await anext(aiter(feed)) for _ in range(feed.unread)]
