"""Whom one trusts and whom one shuts out, between two chats and a real server."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from overfence import (
    Chat,
    ChatEvent,
    Contact,
    ContactChanged,
    InviteDeclined,
    InviteExpired,
    KeyChanged,
    OwnInvite,
)
from overfence.connect.nodes import Listener, NodeClient, NodeRefused
from overfence.errors import (
    ContactBlocked,
    ContactRemoved,
    InviteAccepted,
    KeyChangePending,
    NoKeyChange,
    NotDelivered,
    SafetyMismatch,
    UnknownInvite,
)
from overfence.identity import BadVerifyCode, Invite, fingerprint
from overfence_signalling import CardGet, Changes, Items, Snapshot

from .conftest import PATIENCE_S, Open, Server, acquaint, hears, meets, texts, until

Kind = TypeVar("Kind", bound=ChatEvent)


async def told(events: AsyncIterator[ChatEvent], kind: type[Kind]) -> Kind:
    """The next event of that kind."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError("the chat was closed")


# ── safety numbers ────────────────────────────────────────────────────────────────────────────────


async def test_two_people_compare_their_safety_number(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        at_ada, at_bob = ada.safety_number(of_bob), bob.safety_number(of_ada)
        assert str(at_ada) == at_ada.digits == at_bob.digits
        assert at_ada.code != at_bob.code
        assert not of_bob.verified and of_bob.verified_at is None
        events = ada.events()
        await ada.verify(of_bob, at_bob.code)
        assert of_bob.verified
        assert (await told(events, ContactChanged)).contact is of_bob
        assert of_bob.verified_at is not None
        await bob.verify(of_ada, at_ada.digits.replace(" ", ""))
        assert of_ada.verified
        await bob.unverify(of_ada)
        assert not of_ada.verified
        await bob.verify(of_ada)
        assert of_ada.verified
    async with open_chat("Ada") as ada:
        assert ada.contact("Bob").verified


async def test_what_belongs_to_other_keys_verifies_nobody_and_undoes_nothing(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob, open_chat("Eve") as eve:
        of_bob, of_ada = await acquaint(ada, bob)
        of_eve, ada_of_eve = await acquaint(ada, eve)
        for shown in (eve.safety_number(ada_of_eve).code, ada.safety_number(of_eve).digits):
            with pytest.raises(SafetyMismatch):
                await ada.verify(of_bob, shown)
        for shown in (ada.safety_number(of_bob).code, "nothing of the sort"):
            with pytest.raises(BadVerifyCode):
                await ada.verify(of_bob, shown)
        assert not of_bob.verified
        await ada.verify(of_bob, bob.safety_number(of_ada).code)
        with pytest.raises(SafetyMismatch):
            await ada.verify(of_bob, ada.safety_number(of_eve).digits)
        assert of_bob.verified
        await ada.remove(of_bob)
        with pytest.raises(ContactRemoved):
            await ada.verify(of_bob)


# ── a changed key ─────────────────────────────────────────────────────────────────────────────────


def way_in(folder: Path, ada: Chat, server: Server) -> str:
    """What Bob's home holds of Ada's mailbox for him, in the shape of an invite: for a home under another account."""
    with sqlite3.connect(folder / "Bob" / "history.db") as kept:
        dsk, node, mailbox, key = kept.execute("SELECT dsk, node, mailbox, key FROM addresses").fetchone()
        (dik,) = kept.execute("SELECT dik FROM devices WHERE dsk = ?", (dsk,)).fetchone()
        (account,) = kept.execute("SELECT account FROM contacts").fetchone()
    kept.close()
    assert node == server.url
    return str(Invite(account, node, mailbox, key, int(datetime.now(UTC).timestamp()) + 3600, fingerprint(dsk, dik)))


@asynccontextmanager
async def bobs_new_key(
    open_chat: Open, tmp_path: Path, ada: Chat, server: Server
) -> AsyncIterator[tuple[Chat, Contact]]:
    """Bob comes back without his old key, and writes from the mailbox that only he knows."""
    async with open_chat("Bob again") as again:
        of_ada = await again.accept(way_in(tmp_path, ada, server))
        await again.conversation(of_ada).send("it is me")
        yield again, of_ada


async def test_a_verified_contacts_changed_key_stops_sending_until_it_is_decided(
    open_chat: Open, server: Server, tmp_path: Path
) -> None:
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, _ = await acquaint(ada, bob)
            await until(lambda: of_bob.online, "Bob in sight")
        await ada.verify(of_bob)
        events = ada.events()
        async with bobs_new_key(open_chat, tmp_path, ada, server) as (again, of_ada):
            changed = await told(events, KeyChanged)
            assert (changed.contact, changed.new_id) == (of_bob, again.user_id)
            assert of_bob.key_changed == again.user_id
            with pytest.raises(KeyChangePending):
                await ada.conversation(of_bob).send("who are you?")
            assert await texts(ada, of_bob) == []
            with pytest.raises(NoKeyChange):
                await ada.accept_new_key(of_bob, new_id=ada.user_id)
            new = await ada.accept_new_key(of_bob, new_id=changed.new_id)
            assert (new.id, new.state, new.verified, of_bob.state) == (again.user_id, "accepted", False, "removed")
            assert await hears(ada, new, 1) == ["it is me"]
            await (await ada.conversation(new).send("so it is")).delivered()
            assert await texts(again, of_ada) == ["it is me", "so it is"]
            assert of_ada.state == "accepted"
            await until(lambda: new.path == "direct", "a link to the new key")
            with pytest.raises(ContactRemoved):
                await ada.conversation(of_bob).send("old key?")


async def test_the_question_survives_a_restart_and_the_old_key_can_be_kept(
    open_chat: Open, server: Server, tmp_path: Path
) -> None:
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, _ = await acquaint(ada, bob)
        await ada.verify(of_bob)
        events = ada.events()
        async with bobs_new_key(open_chat, tmp_path, ada, server):
            await told(events, KeyChanged)
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = ada.contact("Bob"), bob.contact("Ada")
        assert of_bob.key_changed is not None
        with pytest.raises(KeyChangePending):
            await ada.conversation(of_bob).send("who are you?")
        await ada.keep_old_key(of_bob)
        assert of_bob.key_changed is None and of_bob.verified
        await (await ada.conversation(of_bob).send("you are you")).delivered()
        assert await texts(bob, of_ada) == ["you are you"]
        async with open_chat("Bob again") as again:
            await again.conversation(again.contacts()[0]).send("me again")
            # It has arrived, and did not raise the question anew: what comes after it is there.
            await (await bob.conversation(of_ada).send("one more")).delivered()
            assert of_bob.key_changed is None


async def test_for_an_unverified_contact_it_is_a_warning_and_sending_goes_on(
    open_chat: Open, server: Server, tmp_path: Path
) -> None:
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, _ = await acquaint(ada, bob)
        events = ada.events()
        async with bobs_new_key(open_chat, tmp_path, ada, server):
            await told(events, KeyChanged)
            message = await ada.conversation(of_bob).send("to the old key")
            async with open_chat("Bob") as bob:
                await message.delivered()
                assert await texts(bob, bob.contact("Ada")) == ["to the old key"]


# ── block ─────────────────────────────────────────────────────────────────────────────────────────


async def test_blocked_nothing_goes_or_comes_and_unblocked_everything_said_meanwhile_does(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, of_ada = await acquaint(ada, bob)
        await until(lambda: of_bob.path == of_ada.path == "direct", "the link")
        await (await bob.conversation(of_ada).send("before")).delivered()
        await ada.block(of_bob)
        assert of_bob.state == "blocked" and of_bob in ada.contacts()
        with pytest.raises(ContactBlocked):
            await ada.conversation(of_bob).send("psst")
        with pytest.raises(ContactBlocked):
            await ada.block(of_bob)
        await until(lambda: of_bob.path != "direct" and not of_bob.online, "the end of the link at Ada's")
        await until(lambda: of_ada.path != "direct" and not of_ada.online, "the end of the link at Bob's")
        message = await bob.conversation(of_ada).send("can you hear me?")
        with pytest.raises(NotDelivered):
            await message.delivered(timeout=1)
        assert await texts(ada, of_bob) == ["before"]
        await ada.unblock(of_bob)
        assert ada.contact("Bob").state == "accepted"
        await message.delivered(timeout=PATIENCE_S)
        assert await texts(ada, of_bob) == ["before", "can you hear me?"]
        await until(lambda: of_bob.path == of_ada.path == "direct", "the link, again")
        await (await ada.conversation(of_bob).send("yes")).delivered()


async def test_a_block_holds_across_restarts_of_both(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        of_bob, _ = await acquaint(ada, bob)
        await ada.block(of_bob)
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        assert ada.contact("Bob").state == "blocked"
        message = await bob.conversation(bob.contact("Ada")).send("hello?")
        with pytest.raises(NotDelivered):
            await message.delivered(timeout=1)
        assert not ada.contact("Bob").online and not bob.contact("Ada").online
        with pytest.raises(ContactBlocked):
            await ada.accept(str(await bob.invite()))
    async with open_chat("Ada") as ada:
        await ada.unblock(ada.contact("Bob"))
        async with open_chat("Bob") as bob:
            assert await hears(ada, ada.contact("Bob"), 1) == ["hello?"]


async def test_what_a_block_called_back_goes_out_after_it(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, _ = await acquaint(ada, bob)
        await server.stop()
        # Sealed and about to be left at the server, when the block forgets it.
        await ada.conversation(of_bob).send("1")
        await ada.block(of_bob)
        await server.start()
        await ada.unblock(of_bob)
        await ada.conversation(of_bob).send("2")
        async with open_chat("Bob") as bob:
            assert await hears(bob, bob.contact("Ada"), 2) == ["1", "2"]


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────


async def is_closed(at: NodeClient, link: str) -> bool:
    """Whether the mailbox a link names is gone from the server."""
    try:
        await at.ask(lambda ref: CardGet(ref=ref, mailbox=Invite.parse(link).mailbox))
    except NodeRefused as error:
        return error.code == "no_mailbox"
    return False


class Nobody(Listener):
    """Listens to a node and does nothing about it."""

    def connected(self, node: NodeClient) -> None:
        pass

    def disconnected(self, node: NodeClient, why: str, retry_in_s: float) -> None:
        pass

    def items(self, node: NodeClient, items: Items) -> None:
        pass

    async def room(self, node: NodeClient) -> None:
        pass

    def snapshot(self, node: NodeClient, snapshot: Snapshot) -> None:
        pass

    def changes(self, node: NodeClient, changes: Changes) -> None:
        pass

    def fenced(self, node: NodeClient, mailbox: bytes) -> None:
        pass


async def test_addresses_are_renewed_and_the_old_mailbox_is_closed_once_they_know(
    open_chat: Open, tmp_path: Path, server: Server
) -> None:
    eye = NodeClient(server.url, Nobody(), random=os.urandom, jitter=random.random)
    watching = asyncio.create_task(eye.run(time.time))
    async with open_chat("Ada") as ada:
        async with open_chat("Bob") as bob:
            of_bob, of_ada = await acquaint(ada, bob)
            # A call that Bob's leaving cuts off would hold up the next one for as long as calls are waited for.
            await until(lambda: of_bob.path == of_ada.path == "direct", "the link")
        old = way_in(tmp_path, ada, server)
        await ada.renew_addresses(of_bob)
        await until(lambda: eye.is_connected, "the onlooker")
        assert not await is_closed(eye, old)
        async with open_chat("Bob") as bob:
            of_ada = bob.contact("Ada")
            await until(lambda: is_closed(eye, old), "the end of the old mailbox")
            await (await bob.conversation(of_ada).send("found you")).delivered()
            await until(lambda: of_bob.path == of_ada.path == "direct", "the link, under the new secret")
        new = way_in(tmp_path, ada, server)
        assert Invite.parse(new).mailbox != Invite.parse(old).mailbox
        assert not await is_closed(eye, new)
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        await (await ada.conversation(ada.contact("Bob")).send("still here")).delivered()
        assert await texts(bob, bob.contact("Ada")) == ["found you", "still here"]
    watching.cancel()
    await asyncio.wait([watching])


# ── invites ───────────────────────────────────────────────────────────────────────────────────────


async def test_open_invites_are_listed_and_cancelled(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        invite = await ada.invite(expires_s=3600)
        [listed] = await ada.invites()
        assert (str(listed), listed.used_by) == (str(invite), None)
        assert 3500 < (listed.expires - datetime.now(UTC)).total_seconds() <= 3600
        await ada.cancel_invite(listed)
        assert await ada.invites() == []
        of_ada = await bob.accept(str(invite))
        await until(lambda: of_ada.state == "refused", "that it is gone")
        for again in (str(invite), invite):
            with pytest.raises(UnknownInvite):
                await ada.cancel_invite(again)


async def test_an_invite_is_declined_and_its_maker_hears_of_it(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Eve", server="ws://127.0.0.1:1") as eve:
        invite = await ada.invite()
        events = ada.events()
        # Eve has another server, which is away: she goes to the invite's own for this.
        await eve.decline(str(invite))
        assert (await told(events, InviteDeclined)).invite == invite
        assert await ada.invites() == [] and ada.contacts() == [] and eve.contacts() == []
        with pytest.raises(OwnInvite):
            await ada.decline(str(await ada.invite()))


async def test_a_decline_waits_for_the_invites_server(open_chat: Open, server: Server) -> None:
    async with open_chat("Ada") as ada:
        invite = await ada.invite()
    await server.stop()
    async with open_chat("Eve") as eve:
        await eve.decline(str(invite))
    await server.start()
    async with open_chat("Ada") as ada:
        events = ada.events()
        async with open_chat("Eve"):
            await told(events, InviteDeclined)


async def test_what_was_accepted_or_is_over_cannot_be_declined(open_chat: Open) -> None:
    async with open_chat("Ada") as ada, open_chat("Bob") as bob:
        invite = await ada.invite()
        await bob.accept(str(invite))
        await meets(ada, bob)
        short = await ada.invite(expires_s=0)
        with pytest.raises(InviteExpired):
            await bob.decline(str(short))
        other = await ada.invite()
        waiting = await bob.accept(str(other))
        assert waiting.state == "accepted"
        with pytest.raises(InviteAccepted):
            await bob.decline(str(other))
