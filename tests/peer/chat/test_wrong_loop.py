"""A Chat belongs to the loop and thread that opened it: from anywhere else it says so, and nothing is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from overfence import Chat
from overfence.errors import OverfenceError, WrongLoop
from overfence.identity import Invite, fingerprint

Call = Callable[[Chat], Coroutine[Any, Any, object]]


async def contacts(chat: Chat) -> object:
    return chat.contacts()


async def events(chat: Chat) -> object:
    return chat.events()


async def messages(chat: Chat) -> object:
    return chat.conversation(FRIEND[0]).messages()


FRIEND: list[Any] = []
CALLS: dict[str, Call] = {
    "contacts": contacts,
    "events": events,
    "messages": messages,
    "search": lambda chat: chat.search("x"),
    "send": lambda chat: chat.conversation(FRIEND[0]).send("x"),
    "send_app": lambda chat: chat.conversation(FRIEND[0]).send_app("app/x", b""),
    "history": lambda chat: chat.conversation(FRIEND[0]).history(),
    "queued": lambda chat: chat.conversation(FRIEND[0]).queued(),
    "rename": lambda chat: chat.rename(FRIEND[0], "x"),
    "remove": lambda chat: chat.remove(FRIEND[0]),
    "accept": lambda chat: chat.accept(LINK[0]),
}
LINK: list[str] = []


async def befriend(chat: Chat) -> None:
    link = Invite(bytes(32), "ws://127.0.0.1:9", bytes(16), bytes(32), 2**40, fingerprint(bytes(32), bytes(32)))
    LINK[:] = [str(link)]
    FRIEND[:] = [await chat.accept(str(link))]


async def untouched(chat: Chat) -> None:
    [friend] = chat.contacts()
    assert friend is FRIEND[0]
    assert (friend.state, friend.name) == ("waiting", friend.id[:8])
    assert await chat.conversation(friend).history() == []


async def refused(name: str, call: Coroutine[Any, Any, object]) -> str | None:
    try:
        await call
    except WrongLoop:
        return None
    except Exception as error:
        return f"{name}: {error!r}"
    return f"{name}: done"


async def test_from_another_thread_and_loop(tmp_path: Path) -> None:
    async with Chat.open(tmp_path / "Ada", name="Ada") as chat:
        await befriend(chat)

        def elsewhere() -> list[str | None]:
            return [asyncio.run(refused(name, call(chat))) for name, call in CALLS.items()]

        assert [wrong for wrong in await asyncio.to_thread(elsewhere) if wrong] == []
        await untouched(chat)


def test_from_another_loop_in_the_same_thread(tmp_path: Path) -> None:
    with asyncio.Runner() as home, asyncio.Runner() as other:
        chat = Chat.open(tmp_path / "Ada", name="Ada")
        home.run(chat.__aenter__())
        home.run(befriend(chat))
        assert [wrong for name, call in CALLS.items() if (wrong := other.run(refused(name, call(chat))))] == []
        home.run(untouched(chat))
        home.run(chat.__aexit__(None, None, None))


def test_from_no_loop_at_all(tmp_path: Path) -> None:
    with asyncio.Runner() as home:
        chat = Chat.open(tmp_path / "Ada", name="Ada")
        home.run(chat.__aenter__())
        try:
            with pytest.raises(WrongLoop):
                chat.contacts()
        finally:
            home.run(chat.__aexit__(None, None, None))


async def test_before_the_block_nothing_is_there_and_it_says_so(tmp_path: Path) -> None:
    chat = Chat.open(tmp_path / "Ada", name="Ada")
    assert not (tmp_path / "Ada").exists()
    with pytest.raises(OverfenceError):
        chat.contacts()


async def test_waiting_for_a_tick_elsewhere_is_refused_too(tmp_path: Path) -> None:
    async with Chat.open(tmp_path / "Ada", name="Ada") as chat:
        await befriend(chat)
        message = await chat.conversation(FRIEND[0]).send("x")

        def elsewhere() -> str | None:
            return asyncio.run(refused("delivered", message.delivered(timeout=0.2)))

        assert await asyncio.to_thread(elsewhere) is None
