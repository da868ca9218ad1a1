"""Two people in one program, again and again. Start a node first: overfence serve"""

import asyncio
import sys
from collections.abc import AsyncIterator

from overfence import Chat, Conversation, Message

PATIENCE_S = 30


async def answer(me: Chat, heard: AsyncIterator[Message]) -> None:
    async for message in heard:  # from anybody, whoever has just become a contact included
        await me.conversation(message.contact).send("Come in!")
        return


async def first_words(talk: Conversation) -> str | None:
    async for message in talk.messages():  # live; talk.history() has the past
        return message.text
    return None  # the Chat was closed


async def main(server: str) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Chat.open("ada-home", name="Ada", server=server) as ada,
        Chat.open("bob-home", name="Bob", server=server) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer(ada, ada.messages()))
        known = bob.contacts()  # empty the first time; later, Ada is there already
        if not known:
            invite = await ada.invite()  # str(invite) is a link, invite.qr() draws it
            known = [await bob.accept(str(invite))]  # a contact at once, and writable
        talk = bob.conversation(known[0])
        answering = tasks.create_task(first_words(talk))
        message = await talk.send("Is anybody there?")  # returns once it is safe on this disk
        await message.delivered(timeout=10)  # returns once it is safe on hers
        answer_text = await answering  # with her first words came her name
        print(f"{known[0].name} holds it, and says: {answer_text}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8400"))
