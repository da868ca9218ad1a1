"""Two people talk, by the public API alone, with a real node between them and a real link."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from overfence import (
    BadInvite,
    Chat,
    ContactAdded,
    ContactChanged,
    Delivered,
    OwnInvite,
    PathChanged,
    PresenceChanged,
)
from overfence.errors import BadKind, ContactRemoved, EmptyMessage, NotDelivered, TooLong, UnknownContact

from .conftest import Heard, Open, Server, acquaint, hears, meets, texts, until


async def test_a_first_conversation(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        happenings, at_bob_happens = ada.events(), bob.events()
        of_ada = await bob.accept(str(await ada.invite()))
        assert (of_ada.state, of_ada.id) == ("waiting", ada.user_id)
        early = await bob.conversation(of_ada).send("may I?")
        assert (early.state, early.mine, early.text, early.sender) == ("sent", True, "may I?", "Bob")
        await early.delivered()
        await until(lambda: of_ada.state == "accepted")
        assert await meets(bob, ada) is of_ada
        of_bob = await meets(ada, bob)
        assert ada.contact("bob") is of_bob
        assert (of_bob.id, of_bob.state) == (bob.user_id, "accepted")
        assert await hears(ada, of_bob, 1) == ["may I?"]

        async with Heard(bob, of_ada) as at_bob:
            answer = await ada.conversation(of_bob).send("come in")
            await answer.delivered()
            await until(lambda: at_bob.texts == ["come in"])
            [message] = at_bob.messages
            assert (message.id, message.mine, message.sender, message.state) == (answer.id, False, "Ada", "received")
            assert message.at.tzinfo is not None
            assert abs(message.at - datetime.now(UTC)) < timedelta(minutes=1)
        assert await texts(ada, of_bob) == await texts(bob, of_ada) == ["may I?", "come in"]
        [mine] = [one for one in await ada.conversation(of_bob).history() if one.mine]
        assert (mine.id, mine.state) == (answer.id, "delivered")
        assert await ada.conversation(of_bob).queued() == 0

        await until(lambda: of_bob.path == of_ada.path == "direct", "the link")
        assert of_bob.online
        assert of_bob.pair is not None
        await (await ada.conversation(of_bob).send("straight over the fence")).delivered()
    told = [happening async for happening in happenings]
    kinds = {type(happening) for happening in told}
    assert {ContactAdded, Delivered, PathChanged, PresenceChanged} <= kinds
    assert ContactChanged in {type(happening) async for happening in at_bob_happens}
    assert [one.upto for one in told if isinstance(one, Delivered)] == sorted(
        {one.upto for one in told if isinstance(one, Delivered)}
    ), "a tick never goes back, and none is told twice"


async def test_many_at_once_arrive_once_each_and_in_order(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        async with Heard(ada, of_bob) as at_ada, Heard(bob, of_ada) as at_bob:
            from_ada, from_bob = ([f"{name} {n}" for n in range(300)] for name in ("Ada", "Bob"))
            sent = await asyncio.gather(
                *(ada.conversation(of_bob).send(text) for text in from_ada),
                *(bob.conversation(of_ada).send(text) for text in from_bob),
            )
            await asyncio.gather(*(message.delivered(20) for message in sent))
            await until(lambda: len(at_ada.texts) >= 300 and len(at_bob.texts) >= 300)
            assert (at_ada.texts, at_bob.texts) == (from_bob, from_ada)
        assert await texts(ada, of_bob) == await texts(bob, of_ada)


async def test_each_of_two_readers_hears_everything(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        async with Heard(bob, of_ada) as one, Heard(bob, of_ada) as other:
            await (await ada.conversation(of_bob).send("for all to hear")).delivered()
            await until(lambda: one.texts == other.texts == ["for all to hear"])


async def test_an_embedders_events_travel_beside_the_texts(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        async with Heard(bob, of_ada) as at_bob:
            await ada.conversation(of_bob).send_app("app/board", bytes(range(256)))
            await ada.conversation(of_bob).send("see the board")
            await until(lambda: len(at_bob.messages) == 2)
            board, text = at_bob.messages
            assert (board.kind, board.data, board.text) == ("app/board", bytes(range(256)), None)
            assert (text.kind, text.data, text.text) == ("text", None, "see the board")
        assert [message.kind for message in await bob.conversation(of_ada).history()] == ["app/board", "text"]
        for kind in ("text", "profile", "app/", "apps/x", "app/" + "x" * 70, "app/\n"):
            with pytest.raises(BadKind):
                await ada.conversation(of_bob).send_app(kind, b"")


async def test_a_text_too_long_or_empty_is_not_sent_and_the_chat_goes_on(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        draft = "x" * 20_000
        with pytest.raises(TooLong) as caught:
            await ada.conversation(of_bob).send(draft)
        assert caught.value.limit_bytes == 16 * 1024 - 64 < caught.value.size_bytes
        assert len(draft) == 20_000, "the caller still has it"
        with pytest.raises(TooLong):
            await ada.conversation(of_bob).send_app("app/blob", bytes(20_000))
        with pytest.raises(EmptyMessage):
            await ada.conversation(of_bob).send("")
        assert await ada.conversation(of_bob).queued() == 0
        half, rest = draft[:10_000], draft[10_000:]
        await ada.conversation(of_bob).send(half)
        await (await ada.conversation(of_bob).send(rest)).delivered()
        assert await texts(bob, of_ada) == [half, rest]


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800 alone", "😀\u202e", " ", "\n" * 1000])
async def test_odd_texts_arrive(open_chat: Open, text: str) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await (await ada.conversation(of_bob).send(text)).delivered()
        assert await texts(bob, of_ada) == [text.encode("utf-8", "replace").decode()]


async def test_the_history_is_paged_to_its_beginning(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        for number in range(23):
            chat, contact = ((ada, of_bob), (bob, of_ada))[number % 2]
            await (await chat.conversation(contact).send(f"{number}")).delivered()
        talk = bob.conversation(of_ada)
        pages = [await talk.history(limit=10)]
        while pages[0]:
            pages.insert(0, await talk.history(limit=10, before=pages[0][0]))
        assert [len(page) for page in pages] == [0, 3, 10, 10]
        assert [message.text for page in pages for message in page] == [f"{number}" for number in range(23)]


async def test_search_finds_in_all_conversations(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob, open_chat("Eve") as eve:
        of_bob, _ = await acquaint(ada, bob)
        of_eve, of_ada = await acquaint(ada, eve)
        await ada.conversation(of_bob).send("apples from the garden")
        await (await ada.conversation(of_eve).send("pears from the market")).delivered()
        await (await eve.conversation(of_ada).send('no "apples" then?')).delivered()
        found = await ada.search("apples")
        assert [(message.contact, message.mine) for message in found] == [(of_eve, False), (of_bob, True)]
        assert [message.text for message in await ada.search("from gard")] == ["apples from the garden"]
        assert await ada.search('"no such thing" OR NEAR(') == []
        assert len(await ada.search("from", limit=1)) == 1


async def test_a_contact_is_called_what_i_call_it(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await ada.rename(of_bob, "  Bob the  builder ")
        assert of_bob.name == "Bob the builder"
        assert ada.contact("BOB THE BUILDER") is of_bob
        with pytest.raises(UnknownContact):
            ada.contact("bob")
        assert of_ada.name == "Ada"
        await ada.rename(of_bob, "")
        assert of_bob.name == "Bob"
        assert ada.contact(bob.user_id[:6]) is of_bob
        with pytest.raises(UnknownContact):
            ada.contact("nobody")


async def test_somebody_removed_is_not_heard_any_more(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await (await bob.conversation(of_ada).send("before")).delivered()
        await ada.remove(of_bob)
        assert of_bob.state == "removed"
        assert ada.contacts() == []
        with pytest.raises(ContactRemoved):
            await ada.conversation(of_bob).send("too late")
        after = await bob.conversation(of_ada).send("are you there?")
        with pytest.raises(NotDelivered):
            await after.delivered(timeout=1.0)
        assert await texts(ada, of_bob) == ["before"], "what was said stays"
        assert await bob.conversation(of_ada).queued() == 1
        await until(lambda: not of_ada.online and of_ada.path != "direct", "Ada's absence at Bob's")


async def test_somebody_removed_comes_back_by_a_fresh_invite(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await ada.remove(of_bob)
        await bob.remove(of_ada)
        again = await bob.accept(str(await ada.invite()))
        await until(lambda: again.state == "accepted", "the answer")
        await (await bob.conversation(again).send("I am back")).delivered()
        assert (await texts(ada, await meets(ada, bob)))[-1:] == ["I am back"]


async def test_a_guest_refused_once_is_heard_at_once_after_a_fresh_invite(open_chat: Open) -> None:
    async with open_chat("Ada") as ada:
        invite = str(await ada.invite())
    async with open_chat("Bob") as bob, open_chat("Eve") as eve:
        knocks = {}
        for guest in (bob, eve):
            knocks[guest.name] = await guest.accept(invite)
            for _ in range(3):
                await guest.invite()  # when this is at the node, so is what was to be said before
        async with open_chat("Ada") as ada:
            await until(lambda: sorted(knock.state for knock in knocks.values()) == ["accepted", "refused"])
            late = next(guest for guest in (bob, eve) if knocks[guest.name].state == "refused")
            message = await late.conversation(knocks[late.name]).send("me too")
            assert await texts(late, knocks[late.name]) == ["me too"], "the text is kept"
            again = await late.accept(str(await ada.invite()))
            assert again is knocks[late.name]
            await message.delivered(10)
            assert await texts(ada, await meets(ada, late)) == ["me too"]


async def test_two_accept_each_other(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        from_ada, from_bob = str(await ada.invite()), str(await bob.invite())
        of_bob, of_ada = await asyncio.gather(ada.accept(from_bob), bob.accept(from_ada))
        sent = [await ada.conversation(of_bob).send("from Ada"), await bob.conversation(of_ada).send("from Bob")]
        await asyncio.gather(*(message.delivered() for message in sent))
        await until(lambda: of_bob.state == of_ada.state == "accepted")
        await until(lambda: of_bob.path == of_ada.path == "direct", "the link")
        assert await texts(ada, of_bob) == await texts(bob, of_ada)
        assert len(ada.contacts()) == len(bob.contacts()) == 1


async def test_what_is_no_invite_makes_no_contact(open_chat: Open) -> None:
    async with open_chat("Ada") as ada:
        link = str(await ada.invite())
        other = "B" if link[30] == "A" else "A"
        for text in ("", "hello", "overfence:", link[:-4], link[:30] + other + link[31:], "overfence:" + "A" * 200):
            with pytest.raises(BadInvite):
                await ada.accept(text)
        with pytest.raises(OwnInvite):
            await ada.accept(link)
        assert ada.contacts() == []


async def test_a_slow_reader_hears_everything_in_the_end(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        feed = bob.conversation(of_ada).messages()
        for number in range(50):
            last = await ada.conversation(of_bob).send(f"{number}")
        await last.delivered()
    assert [message.text async for message in feed] == [f"{number}" for number in range(50)]


async def test_the_node_never_saw_who_or_what(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await bob.accept(str(await ada.invite()))
        await (await ada.conversation(of_bob).send("canary")).delivered()
        assert isinstance(ada, Chat)
        assert of_ada.name == "Ada"
    await server.stop()
    kept = b"".join(path.read_bytes() for path in server.files())
    for canary in (b"canary", b"Ada", b"Bob", ada.user_id.encode(), bob.user_id.encode()):
        assert canary not in kept
    await server.start()
