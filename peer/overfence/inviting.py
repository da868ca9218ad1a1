"""Invites: the part of a `Chat` by which people come to be contacts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from .conversation import Contact
from .delivery import invites, meeting
from .delivery.meeting import InviteExpired, OwnInvite
from .errors import NoServer, Unreachable
from .happenings import ContactAdded
from .history import postbox
from .identity import Invite
from .inside import Inside

INVITE_LIFE_S = 7 * 24 * 3600


@dataclass(frozen=True)
class OpenInvite:
    """An invite of mine that is still open; ``used_by`` came by it and has not confirmed yet."""

    invite: Invite
    expires: datetime
    used_by: Contact | None

    def __str__(self) -> str:
        return str(self.invite)


class Inviting(Inside):
    """How people become contacts of mine, and I of theirs."""

    async def invite(self, expires_s: int = INVITE_LIFE_S, timeout_s: float = 10.0) -> Invite:
        """A link that makes one person a contact. Raises `NoServer`, and `Unreachable` if no node has it in time."""
        if self.server is None:
            raise NoServer("an invite needs a server, and none is configured")
        server = self.server
        invite = await self._write(lambda tx: meeting.make_invite(tx, self._me, server, self._me.now_s + expires_s))
        published = self._awaited[invite.mailbox] = asyncio.Event()
        self._exchange.errand(server)
        try:
            async with asyncio.timeout(timeout_s):
                await published.wait()
        except TimeoutError:
            await self._write(lambda tx: postbox.close_mailbox(tx, invite.mailbox))
            raise Unreachable(f"the server at {server} cannot be reached, so nobody could use an invite yet") from None
        finally:
            del self._awaited[invite.mailbox]
        return invite

    async def accept(self, link: str) -> Contact:
        """Accept somebody's invite: a contact at once, ``waiting`` until they answer, and writable.

        Raises `BadInvite`, `InviteExpired`, `OwnInvite`, `ContactBlocked`.
        """
        invite = Invite.parse(link)
        row = await self._write(lambda tx: meeting.accept(tx, self._me, invite))
        contact = self._contacts.get(row.id)
        if contact is None:
            contact = self._contacts[row.id] = Contact(row)
            self._tell(ContactAdded(contact))
        contact._row = row
        await self._exchange.refresh({row.id})
        self._exchange.errand(invite.node)
        if self.server is not None:
            self._exchange.errand(self.server)
        return contact

    async def invites(self) -> list[OpenInvite]:
        """My invites that can still be used, or just were; the first to end first."""
        found = await self._read(lambda tx: invites.open_invites(tx, self._me))
        return [
            OpenInvite(
                one.invite,
                datetime.fromtimestamp(one.invite.expires_s, UTC).astimezone(),
                None if one.guest is None else self._contacts.get(one.guest),
            )
            for one in found
        ]

    async def cancel_invite(self, invite: Invite | OpenInvite | str) -> None:
        """Nobody can use that invite of mine any more; whoever has, stays. Raises `BadInvite`, `UnknownInvite`."""
        meant = Invite.parse(str(invite))
        self._exchange.errand(await self._write(lambda tx: invites.cancel(tx, meant.mailbox)))

    async def decline(self, link: str) -> None:
        """Tell whoever made an invite that it is not wanted, and nothing about who says so; it closes there.

        Anybody who holds the link can do so. If its node cannot be reached, it is said once it can be. Raises
        `BadInvite`, `OwnInvite`, `InviteExpired`, and `InviteAccepted` if it was accepted here.
        """
        invite = Invite.parse(link)
        if invite.account == self._me.identity.account:
            raise OwnInvite("this is your own invite: cancel it instead")
        if self._me.now_s >= invite.expires_s:
            raise InviteExpired("this invite has expired: there is nothing to decline")
        await self._write(lambda tx: invites.decline(tx, self._me, invite))
        await self._errands([], set())
        self._exchange.errand(invite.node)
