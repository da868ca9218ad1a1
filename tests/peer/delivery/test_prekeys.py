"""How long the secrets of prekeys live, and that they are gone from the disk then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from overfence.delivery import prekeys
from overfence.delivery.payload import Ring
from overfence.history import people, postbox
from overfence.history.store import Store
from overfence.sealing import PrekeySecret

from .conftest import Home, World

HOUR_S, DAY_S = 3600, 24 * 3600


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def secrets(home: Home) -> set[bytes]:
    return {prekey_id for (prekey_id,) in home.tx.execute("SELECT prekey_id FROM prekeys")}


def on_card(home: Home) -> set[bytes]:
    return {box.prekey for box in postbox.mailboxes(home.tx) if box.prekey and not box.closing}


def test_a_used_one_goes_a_day_after_its_successor_was_published(world: World) -> None:
    ada, eve = world.ada, world.eve
    invite = ada.invite()
    [box] = [box for box in postbox.mailboxes(ada.tx) if box.mailbox == invite.mailbox]
    used = box.prekey
    assert used is not None
    eve.accept(invite)
    eve.errands()
    ada.fetch()
    # The successor is not at the node yet: it could not be had, so the old one stays.
    world.clock.now_s += 3 * DAY_S
    ada.do(lambda tx: prekeys.tend(tx, ada.me))
    assert used in secrets(ada)
    ada.errands()
    world.clock.now_s += DAY_S - HOUR_S
    ada.errands()
    assert used in secrets(ada)
    world.clock.now_s += 2 * HOUR_S
    ada.errands()
    assert used not in secrets(ada)


def test_an_unused_one_goes_thirty_days_after_and_any_after_sixty(world: World) -> None:
    ada = world.ada
    before = on_card(ada)
    world.clock.now_s += 7 * DAY_S + HOUR_S
    ada.errands()
    after = on_card(ada)
    assert after and not after & before, "a card is replaced each week, though nobody used it"
    assert before <= secrets(ada)
    world.clock.now_s += 29 * DAY_S
    ada.errands()
    assert before <= secrets(ada)
    world.clock.now_s += 2 * DAY_S
    ada.errands()
    assert not before & secrets(ada)
    # Away for ten weeks: even the one on the card is too old, and another is shown.
    stale = on_card(ada)
    world.clock.now_s += 61 * DAY_S
    ada.do(lambda tx: prekeys.tend(tx, ada.me))
    assert not stale & secrets(ada)
    ada.errands()
    assert on_card(ada) and not on_card(ada) & stale


def test_a_prekey_that_is_not_known_brings_a_new_card_once_an_hour(world: World) -> None:
    ada, bob = world.ada, world.bob
    [box] = [box for box in postbox.mailboxes(ada.tx) if box.contact == ada.contact(bob).id]
    cards = {box.prekey}
    for _ in range(12):
        world.clock.now_s += 10 * 60
        message = bob.offer_on(ada, b"unknown!")
        mailbox, envelope = bob.envelope(ada, message)
        ada.take_envelope(mailbox, envelope)
        ada.errands()
        cards |= {one.prekey for one in postbox.mailboxes(ada.tx) if one.mailbox == box.mailbox}
    assert 2 <= len(cards) <= 4


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_deleted_secret_is_gone_from_the_file(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "history.db")
    kept, gone = (PrekeySecret(bytes((n,)) * 8, bytes((n,)) * 32, bytes((n + 1,)) * 64) for n in (0x51, 0xA7))
    for secret in (kept, gone):
        await store.write(
            lambda tx, secret=secret: postbox.add_prekey(tx, secret.prekey_id, secret.encode(), 1_000_000, b"place")  # type: ignore[misc] # mypy: no default in lambdas
        )
    await store.write(lambda tx: tx.execute("UPDATE prekeys SET made_s = 0 WHERE prekey_id = ?", (gone.prekey_id,)))
    await store.write(
        lambda tx: postbox.drop_old_prekeys(tx, used_before_s=0, unused_before_s=0, made_before_s=500_000)
    )
    await store.close()
    on_disk = bytes_in(tmp_path)
    assert kept.spk_secret in on_disk and kept.kpk_seed in on_disk
    assert gone.spk_secret not in on_disk and gone.kpk_seed not in on_disk


async def test_the_log_beside_the_file_is_emptied_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    """It held what the ratchet deleted: every state of every session since the last time."""
    store = await Store.open(tmp_path / "history.db")
    for number in range(20):
        await store.write(lambda tx, text=f"state {number:04}" * 20: people.set_setting(tx, "sessions", text))  # type: ignore[misc] # mypy: no default in lambdas
    assert bytes_in(tmp_path).count(b"state 0003" * 20) > 0
    async with asyncio.timeout(30):
        while b"state 0003" * 20 in bytes_in(tmp_path):  # noqa: ASYNC110 (a file tells nobody that it was cut)
            await asyncio.sleep(0.1)
    assert b"state 0019" * 20 in bytes_in(tmp_path)
    await store.close()


def test_a_skipped_key_is_forgotten_though_nothing_more_is_heard(world: World) -> None:
    ada, bob = world.ada, world.bob
    lost = ada.seal(bob, Ring())
    ada.say(ada.contact(bob).id, "after it")
    world.settle(rounds=2)
    copy = bob.tx.serialize()
    assert bob.take_message(ada.me.dsk, lost).calls, "thirty days long it can still come"
    bob.tx.deserialize(copy)
    world.clock.now_s += 31 * DAY_S
    bob.errands()
    assert not bob.take_message(ada.me.dsk, lost).calls


def test_one_whose_card_nobody_can_get_any_more_goes_like_a_replaced_one(world: World) -> None:
    """An invite's mailbox is closed before its used prekey has a successor there; a device is revoked."""
    ada = world.ada
    invite = ada.invite()
    [box] = [box for box in postbox.mailboxes(ada.tx) if box.mailbox == invite.mailbox]
    used = box.prekey
    assert used is not None
    ada.do(lambda tx: postbox.prekey_used(tx, used, ada.me.now_s))
    ada.do(lambda tx: postbox.close_mailbox(tx, invite.mailbox))
    ada.errands()
    assert used in secrets(ada)
    world.clock.now_s += DAY_S + HOUR_S
    ada.errands()
    assert used not in secrets(ada)


def test_telling_prekeys_again_makes_no_new_ones(world: World) -> None:
    """Who answers over and over, and whose node takes nothing, must not fill our disk with secrets."""
    first, second = sorted((world.ada, world.bob), key=lambda home: home.me.dsk)
    device = people.device(second.tx, first.me.dsk)
    assert device is not None
    told = {second.do(lambda tx: prekeys.fresh(tx, second.me, device)).raw for _ in range(5)}
    assert len(told) == 1
    world.clock.now_s += 8 * DAY_S
    assert second.do(lambda tx: prekeys.fresh(tx, second.me, device)).raw not in told
