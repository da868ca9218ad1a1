"""A session that served for a day, or carried 10,000 messages, is followed by another: post-quantum healing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from overfence.delivery.payload import FreshPrekeys
from overfence.history import people
from overfence.sealing import Sessions
from overfence.sealing.sessions import RENEW_AFTER_MESSAGES, RENEW_AFTER_S, RENEW_EVERY_S

from .conftest import Home, World

DAY_S = 24 * 3600


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def sessions(home: Home, of: Home) -> Sessions:
    device = people.device(home.tx, of.me.dsk)
    assert device is not None
    return Sessions.decode(device.sessions)


def sid(home: Home, of: Home) -> bytes | None:
    return sessions(home, of).sending_sid


def in_turn(world: World) -> tuple[Home, Home]:
    """The one with the smaller key, who begins, and the other."""
    first, second = sorted((world.ada, world.bob), key=lambda home: home.me.dsk)
    return first, second


def chat(world: World, rounds: int = 1) -> None:
    ada, bob = world.ada, world.bob
    ada.say(ada.contact(bob).id, "yes")
    bob.say(bob.contact(ada).id, "no")
    world.settle(rounds=rounds)


def test_a_session_in_use_is_renewed_after_a_day_and_not_before(world: World) -> None:
    first, second = in_turn(world)
    chat(world)
    before = sid(first, second)
    world.clock.now_s += RENEW_AFTER_S - 3600
    chat(world, rounds=3)
    assert sid(first, second) == before
    world.clock.now_s += 3600
    chat(world, rounds=4)
    assert sid(first, second) == sid(second, first) != before
    renewed = sid(first, second)
    chat(world, rounds=3)
    assert sid(first, second) == renewed, "once a day"
    world.clock.now_s += RENEW_AFTER_S
    chat(world, rounds=4)
    assert sid(first, second) not in (before, renewed)
    world.check(first, second)
    assert not first.dropped + second.dropped


def test_one_that_rests_is_left_alone(world: World) -> None:
    first, second = in_turn(world)
    before = sid(first, second)
    world.clock.now_s += 5 * RENEW_AFTER_S
    world.settle(rounds=3)
    assert sid(first, second) == before


def test_ten_thousand_messages_wear_a_session_out_but_not_within_an_hour(world: World) -> None:
    first, second = in_turn(world)
    chat(world)
    before = sid(first, second)
    worn = sessions(first, second)
    worn.held[-1].carried = RENEW_AFTER_MESSAGES
    device = people.device(first.tx, second.me.dsk)
    assert device is not None
    people.set_sessions(first.tx, second.me.dsk, worn.encode(), device.introduced)
    chat(world, rounds=3)
    assert sid(first, second) == before
    world.clock.now_s += RENEW_EVERY_S
    chat(world, rounds=3)
    assert sid(first, second) not in (None, before)


def test_the_handshake_uses_prekeys_that_came_inside_the_session(world: World) -> None:
    first, second = in_turn(world)
    chat(world)
    sent = people.rekeying(first.tx, second.me.dsk).prekeys
    assert sent is not None
    assert people.rekeying(second.tx, first.me.dsk).prekeys is None, "only who begins needs them"
    for box in world.node.boxes.values():
        box.card = None
    world.clock.now_s += RENEW_AFTER_S
    before = sid(first, second)
    chat(world, rounds=4)
    assert sid(first, second) != before
    assert people.rekeying(first.tx, second.me.dsk).prekeys not in (None, sent), "and fresh ones came in the new"


def test_a_handshake_nobody_answers_moves_no_traffic_and_is_tried_again_after_an_hour(world: World) -> None:
    first, second = in_turn(world)
    chat(world)
    before, told = sid(first, second), first.clock_s
    world.clock.now_s += RENEW_AFTER_S
    first.say(first.contact(second).id, "worn")
    first.errands()
    first.errands()
    assert sessions(first, second).unanswered
    for box in world.node.boxes.values():
        box.items.clear()  # the node loses everything
    begun = sessions(first, second).begun_s
    for _ in range(20):
        world.clock.now_s += 100
        first.say(first.contact(second).id, "on")
        first.errands()
        assert sid(first, second) == before, "traffic moves only after the answer"
    assert sessions(first, second).begun_s == begun
    world.clock.now_s += RENEW_EVERY_S
    first.errands()
    assert sessions(first, second).begun_s > begun
    world.settle(rounds=4)
    assert sid(first, second) == sid(second, first) != before
    assert second.texts(first).count("on") == 20 and "worn" in second.texts(first)
    assert told < first.clock_s


def test_nothing_is_renewed_before_the_other_confirmed_anything(world: World) -> None:
    ada, eve = world.ada, world.eve
    eve.accept(ada.invite())
    for _ in range(3):
        eve.errands()
        ada.fetch()
    first, second = sorted((ada, eve), key=lambda home: home.me.dsk)
    first.tx.execute("UPDATE told SET most = 0, end = 0 WHERE dsk = ?", (second.me.dsk,))
    before = people.rekeying(first.tx, second.me.dsk).begin_s
    world.clock.now_s += 3 * DAY_S
    first.say(first.contact(second).id, "yes")
    first.seal_all()
    assert people.rekeying(first.tx, second.me.dsk).begin_s == before == 0


def test_prekeys_of_another_are_refused(world: World) -> None:
    first, second = in_turn(world)
    eve = world.eve
    eve.accept(first.invite())
    world.settle(rounds=4)
    stranger = first if first.me.dsk > eve.me.dsk else eve
    [other] = {first, eve} - {stranger}
    sent = people.rekeying(other.tx, stranger.me.dsk).prekeys
    assert sent is not None
    kept = people.rekeying(first.tx, second.me.dsk).prekeys
    for raw in (sent, sent[:-1], b""):
        first.take_message(second.me.dsk, second.seal(first, FreshPrekeys(raw)))
        assert people.rekeying(first.tx, second.me.dsk).prekeys == kept
        assert first.dropped[-1].startswith("BadCard")


def test_sessions_as_the_first_version_wrote_them_are_read(world: World) -> None:
    import msgspec

    held = sessions(world.ada, world.bob)
    fields = msgspec.msgpack.decode(held.encode())
    old = msgspec.msgpack.encode([1, [session[:-2] for session in fields[1]], *fields[2:]])
    assert Sessions.decode(old).encode() == Sessions.decode(replace_counts(held)).encode()


def replace_counts(held: Sessions) -> bytes:
    return replace(held, held=[replace(session, carried=0, begun_s=0) for session in held.held]).encode()
