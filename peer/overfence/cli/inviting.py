"""An invite on screen: the link, what to do with it, and a code to photograph where there is a terminal."""

from __future__ import annotations

import shutil

from ..errors import Unreachable
from .lines import span
from .sitting import Sitting

LIFE_S = 7 * 24 * 3600
# One waits with an empty screen for this long; after it the invite follows as soon as the server is there.
PATIENCE_S = 4.0


async def invite(sitting: Sitting) -> None:
    """Make an invite and show it; raises `NoServer` and `Unreachable`, and then one is owed if a server is set."""
    sitting.invite_owed = False
    try:
        made = await sitting.me.invite(expires_s=LIFE_S, timeout_s=PATIENCE_S)
    except Unreachable:
        sitting.invite_owed = True
        raise
    link, say = str(made), sitting.screen.say
    if sitting.their_command is not None:
        sitting.tell("In a second terminal, type:")
        say(f"\n  {sitting.their_command} '{link}'\n")
        return
    sitting.tell(f"Send this link to the one person you want to talk to. It works once, for {span(LIFE_S)}:")
    say(f"\n{link}\n")
    if sitting.screen.interactive:
        code = made.qr()
        if max(map(len, code.splitlines())) < shutil.get_terminal_size().columns:
            say(code)
    sitting.tell("They type: overfence chat, and after it the link, in one line")
