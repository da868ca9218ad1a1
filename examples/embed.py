"""Two people in one program. Start a node first: overfence serve"""

import asyncio
import sys

from overfence import Chat, ContactAdded, Conversation


async def welcome(me: Chat) -> None:
    async for event in me.events():  # contacts, presence, paths, servers, ticks
        if isinstance(event, ContactAdded):
            await me.conversation(event.contact).send("Come in!")
            return


async def first_words(talk: Conversation) -> str | None:
    async for message in talk.messages():  # live; talk.history() has the past
        return message.text
    return None  # the Chat was closed


async def main(server: str) -> None:
    async with (
        Chat.open("ada-home", name="Ada", server=server) as ada,
        Chat.open("bob-home", name="Bob", server=server) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(welcome(ada))
        invite = await ada.invite()  # str(invite) is a link, invite.qr() draws it
        friend = await bob.accept(str(invite))  # a contact at once, and writable
        talk = bob.conversation(friend)
        answering = tasks.create_task(first_words(talk))
        message = await talk.send("Is anybody there?")  # returns once it is safe on this disk
        await message.delivered(timeout=10)  # returns once it is safe on hers
        answer = await answering
        print(f"{friend.name} holds it, and says: {answer}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8400"))
