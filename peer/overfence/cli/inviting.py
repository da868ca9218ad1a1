"""An invite on screen: the link, what to do with it, and a code to photograph where there is a terminal."""

from __future__ import annotations

import shutil

from ..errors import Unreachable
from .lines import span
from .sitting import Sitting

LIFE_S = 7 * 24 * 3600
# One waits with an empty screen for this long; after it the invite follows as soon as the server is there.
PATIENCE_S = 4.0
# What they type, the prompt and the status line.
BELOW_QR_ROWS = 4


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
        say(f"\n  {sitting.their_command()} '{link}'\n")
        return
    sitting.tell(f"Send this link to the one person you want to talk to. It works once, for {span(LIFE_S)}:")
    say(f"\n{link}\n")
    if sitting.screen.interactive:
        rows, size = made.qr().splitlines(), shutil.get_terminal_size()
        # Half a code can't be photographed: whole, with the prompt and the status below it, or not at all.
        if max(map(len, rows)) < size.columns and len(rows) + BELOW_QR_ROWS <= size.lines:
            say("\n".join(rows))
        else:
            sitting.tell("(In a larger window, /invite also shows a code to photograph.)")
    sitting.tell("They type: overfence chat, and after it the link, in one line")
