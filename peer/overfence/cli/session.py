"""`overfence chat`: opens the home, greets, and sits until the end of input, /quit or a signal."""

from __future__ import annotations

import asyncio
import getpass
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import OverfenceError
from . import draft, inviting, obeying
from .exits import Exit, Told, explain
from .hearing import Hearing
from .screen import Interrupted, Screen, open_screen
from .settings import Settings
from .shown import shown_name
from .sitting import Sitting

if TYPE_CHECKING:
    from .. import Chat, Contact

# A pipe has ended, and nobody is there to look: how long what it said may take to be delivered.
LAST_CALL_S = 5.0
STOPS = {
    signal.SIGINT: Exit.INTERRUPTED,
    signal.SIGTERM: Exit.TERMINATED,
    signal.SIGHUP: Exit.TERMINATED,
}


@dataclass(frozen=True)
class Start:
    """How a sitting begins: what the command line said."""

    link: str | None = None
    name: str | None = None
    server: str | None = None
    # What the invited person types before the link; None: as everyone does.
    their_command: Callable[[], str] | None = None


async def run(settings: Settings, start: Start) -> Exit:
    """Chat until the person leaves."""
    screen = open_screen()
    server = settings.server(start.server)
    is_new = not (settings.home / "identity").exists()
    if start.link is not None and (is_new or server is None):
        # Looked at before a home is made: a link that leads nowhere leaves none behind.
        named = _node_of(start.link, is_new)
        server = server or named
    async with AsyncExitStack() as stack:
        me = await _open(stack, settings, screen, start.name, server)
        if is_new:
            _greet(screen, settings, me)
            if server is not None:
                settings.remember(server)
        return await _sit(Sitting(me, screen, start.their_command), settings.home, start.link)


async def _open(
    stack: AsyncExitStack, settings: Settings, screen: Screen, name: str | None, server: str | None
) -> Chat:
    """The chat in this home until the stack ends; a new home's name is asked for."""
    from .. import Chat
    from ..errors import BadName, NameNeeded, StorageFailed

    while True:
        try:
            return await stack.enter_async_context(Chat.open(settings.home, name=name, server=server))
        except NameNeeded:
            name = await _ask_name(screen)
        except BadName as error:
            if not screen.interactive:
                raise
            screen.say(explain(error)[0])
            name = await _ask_name(screen)
        except StorageFailed as error:
            if settings.home.is_dir():
                raise
            raise Told(f"No home can be made there: {error}. Choose another with --home.", Exit.BAD_INPUT) from None


async def _ask_name(screen: Screen) -> str:
    try:
        login = getpass.getuser()
    except (OSError, KeyError):
        login = ""
    if not screen.interactive:
        if not login:
            raise Told("Say with --name what others should see you as.", Exit.USAGE)
        return login
    screen.prompt = f"What should others see you as? [{login}] " if login else "What should others see you as? "
    typed = await screen.read()
    if typed is None:
        raise Interrupted
    return typed.strip() or login


def _greet(screen: Screen, settings: Settings, me: Chat) -> None:
    screen.say(f"Welcome, {shown_name(me.name)}. Your keys, contacts and messages lie in {settings.home}")
    if me.server is not None:
        screen.say(f"Your server is {me.server}: it introduces you, and keeps sealed messages while people are away.")


def _node_of(link: str, is_new: bool) -> str:
    """The server an invite was made at: whoever has none of their own yet uses that. Raises `BadInvite`, and for
    somebody new `InviteExpired`."""
    from .. import InviteExpired
    from ..identity import Invite

    invite = Invite.parse(link)
    if is_new and time.time() >= invite.expires_s:
        raise InviteExpired("this invite has expired: ask for a new one")
    return invite.node


async def _sit(sitting: Sitting, home: Path, link: str | None) -> Exit:
    code = Exit.OK
    async with asyncio.TaskGroup() as tasks:
        hearing = Hearing(sitting, tasks)
        await hearing.begin()
        doing = tasks.create_task(_do(sitting, hearing, home, link))

        def stop(why: Exit) -> None:
            nonlocal code
            code = why
            doing.cancel()

        loop = asyncio.get_running_loop()
        for number, why in STOPS.items():
            loop.add_signal_handler(number, stop, why)
        try:
            await asyncio.wait({doing})
            code = code if doing.cancelled() else doing.result()
            await sitting.farewell(home)
        finally:
            for number in STOPS:
                loop.remove_signal_handler(number)
        hearing.end()
    return code


async def _do(sitting: Sitting, hearing: Hearing, home: Path, link: str | None) -> Exit:
    sitting.refresh()
    unsent = await _resume(sitting, home)
    hearing.past_is_shown()
    try:
        await _first_step(sitting, link)
        await obeying.obey_lines(sitting, unsent)
    except Interrupted:
        return Exit.INTERRUPTED
    if not sitting.screen.interactive:
        await _last_call(sitting)
        return sitting.failed or Exit.OK
    return Exit.OK


async def _resume(sitting: Sitting, home: Path) -> str:
    """Goes on where the last sitting ended; returns the line that was left unfinished."""
    kept = draft.load(home) if sitting.screen.interactive else draft.Draft("", "")
    latest: list[tuple[bool, float, Contact]] = []
    for contact in sitting.people():
        await sitting.recall_unticked(contact)
        last = await sitting.me.conversation(contact).history(limit=1)
        # The kept line was meant for one person, and must not go to another by one press of Enter.
        latest.append((contact.id == kept.to, last[-1].at.timestamp() if last else 0.0, contact))
    if latest:
        await sitting.open_with(max(latest, key=lambda one: one[:2])[2])
    if kept.to and (sitting.current is None or sitting.current.id != kept.to):
        return ""
    return kept.text


async def _first_step(sitting: Sitting, link: str | None) -> None:
    try:
        if link is not None:
            await obeying.accept(sitting, link)
        elif not sitting.people():
            await inviting.invite(sitting)
            sitting.tell("They appear here as soon as they have accepted. /help lists what you can do.")
    except OverfenceError as error:
        # A script gets the exit code; a person can try again right here.
        if link is not None and not sitting.screen.interactive:
            raise
        owed = " The link appears here as soon as the server can be reached." if sitting.invite_owed else ""
        sitting.warn(explain(error)[0] + owed)


async def _last_call(sitting: Sitting) -> None:
    await sitting.all_shown()
    if sitting.me.server is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_CALL_S):
            while True:
                sitting.delivered.clear()
                if not await sitting.on_the_way():
                    return
                await sitting.delivered.wait()
