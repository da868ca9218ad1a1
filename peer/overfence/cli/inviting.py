"""An invite on screen: the link, what to do with it, and a code to photograph where there is a terminal."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

from ..errors import Unreachable
from .exits import Exit, Told
from .lines import span
from .sitting import Sitting

LIFE_S = 7 * 24 * 3600
# One waits with an empty screen for this long; after it the invite follows as soon as the server is there.
PATIENCE_S = 4.0
# What they type, the prompt and the status line.
BELOW_QR_ROWS = 4
# Of a link in a list: enough to tell it from others, and of no use to who looks over one's shoulder.
SHOWN_END = 6


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
    draw(sitting, made.qr(), "/invite")
    sitting.tell("They type: overfence chat, and after it the link, in one line")


def draw(sitting: Sitting, qr: str, command: str) -> None:
    """A code to photograph, where there is a terminal with room for it; ``command`` is what shows it."""
    if not sitting.screen.interactive:
        return
    rows, size = qr.splitlines(), shutil.get_terminal_size()
    # Half a code can't be photographed: whole, with the prompt and the status below it, or not at all.
    if max(map(len, rows)) < size.columns and len(rows) + BELOW_QR_ROWS <= size.lines:
        sitting.screen.say("\n".join(rows))
    else:
        sitting.tell(f"(In a larger window, {command} also shows a code to photograph.)")


async def list_open(sitting: Sitting) -> None:
    """The invites that can still be used, numbered for `cancel`."""
    sitting.listed = await sitting.me.invites()
    for number, one in enumerate(sitting.listed, 1):
        who = f"used by {sitting.who(one.used_by)}" if one.used_by else "not used yet"
        left = span((one.expires - datetime.now(UTC)).total_seconds())
        sitting.tell(f"  {number}  {who}, ends in {left}: {shorter(str(one))}")
    if sitting.listed:
        sitting.tell("/cancel N withdraws one: then nobody can use it any more")
    else:
        sitting.tell("none of your invites is open: /invite makes one")


async def cancel(sitting: Sitting, number: int) -> None:
    """Withdraw an invite of the list last shown; raises `UnknownInvite`."""
    if number > len(sitting.listed):
        raise Told("There is no invite of that number: /invites lists them.", Exit.BAD_INPUT)
    await sitting.me.cancel_invite(sitting.listed[number - 1])
    sitting.tell(f"invite {number} is withdrawn: nobody can use it any more")


async def decline(sitting: Sitting, link: str) -> None:
    """Let an invite's maker know that it is not wanted; raises `BadInvite`, `OwnInvite` and the like."""
    await sitting.me.decline(link)
    sitting.tell("declined: they hear that it was, as soon as their server can be reached, and not by whom")


def shorter(link: str) -> str:
    """A link as it can be told from others, without being usable."""
    return f"…{link[-SHOWN_END:]}"
