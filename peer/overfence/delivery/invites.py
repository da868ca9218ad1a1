"""Invites of mine that are open, and how one is withdrawn or declined (docs/protocol.md §4.5). In a transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..errors import InviteAccepted, UnknownInvite, UnprovenGuest
from ..history import people, postbox
from ..history.people import ContactState
from ..identity import Invite, fingerprint
from ..sealing import decline_message, declines, seal_nameless
from .me import Me
from .outcome import Outcome

_DECLINED = "declined "


@dataclass(frozen=True)
class Open:
    """An invite of mine whose mailbox is there; ``guest`` is the contact that used it and has yet to confirm."""

    invite: Invite
    guest: int | None


def invite_of(me: Me, box: postbox.Mailbox, expires_s: int) -> Invite:
    """The invite as it was made."""
    return Invite(me.identity.account, box.node, box.mailbox, box.key, expires_s, fingerprint(me.dsk, me.identity.dik))


def open_invites(tx: sqlite3.Connection, me: Me) -> list[Open]:
    """My invites that can still be used, or were just used; the first to end first."""
    found = []
    for box, kept in postbox.invites(tx):
        guest = people.contact_of(tx, kept.guest) if kept.guest is not None else None
        if guest is not None or kept.expires_s > me.now_s:
            found.append(Open(invite_of(me, box, kept.expires_s), guest.id if guest else None))
    return found


def cancel(tx: sqlite3.Connection, mailbox: bytes) -> str:
    """Nobody can use the invite any more; who has, stays. The node that is to hear of it. Raises `UnknownInvite`."""
    box = postbox.mailbox(tx, mailbox)
    if box is None or box.closing or postbox.invite(tx, mailbox) is None:
        raise UnknownInvite("no open invite of yours has that link")
    postbox.close_mailbox(tx, mailbox)
    return box.node


def decline(tx: sqlite3.Connection, me: Me, invite: Invite) -> None:
    """Leave word at the invite's node that it is not wanted, in nobody's name. Raises `InviteAccepted`."""
    known = people.contact_of(tx, invite.account)
    if known is not None and known.invite == str(invite) and known.state is not ContactState.REMOVED:
        raise InviteAccepted("you have accepted this invite; to end that, remove the contact")
    put_id = me.random(16)
    message = decline_message(invite.key, invite.mailbox)
    envelope = seal_nameless(invite.key, invite.mailbox, message, me.random)
    # No device of theirs is known, nor asked after: the word is under my own, which never has an address.
    postbox.add_put(tx, put_id, dsk=me.dsk, node=invite.node, mailbox=invite.mailbox, envelope=envelope, covers=None)
    people.set_setting(tx, _DECLINED + put_id.hex(), str(invite.expires_s))


def forget_declined(tx: sqlite3.Connection, now_s: int) -> None:
    """What could not be said before its invite ended need not be said."""
    rows = tx.execute("SELECT key, value FROM settings WHERE key LIKE ? || '%'", (_DECLINED,)).fetchall()
    for key, expires_s in rows:
        if now_s >= int(expires_s):
            postbox.forget_puts(tx, [bytes.fromhex(key.removeprefix(_DECLINED))])
            people.forget_setting(tx, key)


def take_decline(tx: sqlite3.Connection, me: Me, box: postbox.Mailbox, message: bytes, outcome: Outcome) -> None:
    """Somebody who holds the link does not want the invite: it is closed, unless it was used."""
    kept = postbox.invite(tx, box.mailbox)
    if kept is None or kept.guest is not None or box.closing or not declines(message, box.key, box.mailbox):
        outcome.drop(UnprovenGuest("an invite declined that was used, or without holding it"))
        return
    postbox.close_mailbox(tx, box.mailbox)
    outcome.nodes.add(box.node)
    outcome.declined.append(invite_of(me, box, kept.expires_s))
