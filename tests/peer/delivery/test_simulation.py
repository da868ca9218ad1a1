"""The promise: whatever is lost, doubled, reordered, replayed or damaged, whoever crashes, both end with the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.delivery.payload import Ring
from overfence.history import people, postbox
from overfence.identity import Invite
from overfence.sealing import Sessions, seal_envelope

from .conftest import NODE, Crash, Home, World

MOVES = [
    *("say", "say", "say", "errands", "errands", "errands", "fetch", "fetch", "fetch"),
    *("lose", "double", "reorder", "replay", "flip", "unacknowledged", "ask after", "renew address"),
    *("crash soon", "restart", "link", "link arrives", "link arrives", "link breaks", "wait"),
]
LOSSES = ["lose sessions", "lose sessions", "wait a day"]


SEED = st.integers(0, 99)


class Weather:
    """Everything that can happen between two devices."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = Random(seed)  # noqa: S311 (a world that can be repeated)
        self.pair = (world.ada, world.bob)
        self.past: list[tuple[Home, bytes, bytes]] = []  # owner, mailbox, envelope
        self.past_links: list[tuple[Home, Home, bytes]] = []  # to, from, message
        self.said: dict[str, list[str]] = {"Ada": [], "Bob": []}
        self.crashes = 0

    def other(self, home: Home) -> Home:
        return self.world.bob if home is self.world.ada else self.world.ada

    def move(self, what: str, home: Home, size: int) -> None:
        ticked = home.ticked
        try:
            self._move(what, home, size)
        except Crash:
            self.crashes += 1
            home.restart()
            self.other(home).links.pop(home.me.dsk, None)
        for one in self.pair:
            self.never_ahead(one)
        assert home.ticked >= ticked

    def never_ahead(self, home: Home) -> None:
        """Nothing is ticked that the other doesn't hold."""
        other = self.other(home)
        if home.knows(other) and other.knows(home):
            row = home.contact(other)
            mine, theirs = home.log(other, home), other.log(home, home)
            assert theirs == mine[: len(theirs)], "the other holds a beginning of what was written, and nothing else"
            assert people.delivered_upto(home.tx, row.id) <= len(theirs)

    def _move(self, what: str, home: Home, size: int) -> None:
        other = self.other(home)
        boxes = [
            self.world.node.boxes[at.mailbox]
            for at in postbox.mailboxes(home.tx, NODE)
            if at.mailbox in self.world.node.boxes
        ]
        full = [box for box in boxes if box.items]
        if full and what in ("lose", "double", "reorder"):
            box = full[size % len(full)]
            place = size % len(box.items)
        match what:
            case "say" if home.knows(other):
                text = f"{home.name} {len(self.said[home.name])}"
                home.say(home.contact(other).id, text)
                self.said[home.name].append(text)
            case "errands":
                home.errands()
            case "fetch":
                self.remember(home)
                home.fetch(at_most=1 + size % 4)
            case "unacknowledged":
                self.remember(home)
                home.fetch(forget=False)
            case "lose" if full:
                del box.items[place]
            case "double" if full:
                _, put_id, envelope, day = box.items[place]
                box.last += 1
                box.items.append((box.last, put_id, envelope, day))
            case "reorder" if full:
                contents = [item[1:] for item in box.items]
                self.random.shuffle(contents)
                box.items = [(item[0], *content) for item, content in zip(box.items, contents, strict=True)]
            case "replay" if self.past:
                owner, mailbox, envelope = self.past[size % len(self.past)]
                if postbox.mailbox(owner.tx, mailbox) is not None:
                    owner.take_envelope(mailbox, envelope)
                if self.past_links:
                    to, sender, message = self.past_links[size % len(self.past_links)]
                    to.take_message(sender.me.dsk, message)
            case "flip":
                self.flip(home, size)
            case "ask after":
                home.ask_after()
            case "renew address" if home.knows(other):
                row = home.contact(other)
                for old in postbox.mailbox_for(home.tx, row.id)[:-1]:
                    home.do(lambda tx, old=old: postbox.close_mailbox(tx, old.mailbox))  # type: ignore[misc] # mypy: no default in lambdas
            case "crash soon":
                home.crash_in = 1 + size % 4
            case "restart":
                home.restart()
                other.links.pop(home.me.dsk, None)
            case "link":
                self.link()
            case "link arrives":
                self.arrive(home, 1 + size % 5)
            case "link breaks":
                self.cut()
            case "wait":
                self.world.clock.now_s += size
            case "wait a day":
                self.world.clock.now_s += 24 * 3600
            case "lose sessions" if home.knows(other) and people.device(home.tx, other.me.dsk):
                home.do(lambda tx: people.set_sessions(tx, other.me.dsk, Sessions().encode(), b""))
                home.restart()
                other.links.pop(home.me.dsk, None)

    def remember(self, home: Home) -> None:
        for mine in postbox.mailboxes(home.tx, NODE):
            if mine.mailbox in self.world.node.boxes:
                self.past += [(home, mine.mailbox, item[2]) for item in self.world.node.boxes[mine.mailbox].items]

    def link(self) -> None:
        """A link opens; each begins with what it holds, and sends by that."""
        ada, bob = self.pair
        known = people.device(ada.tx, bob.me.dsk) and people.device(bob.tx, ada.me.dsk)
        if not known or ada.links or bob.links:
            return
        for home, other in (self.pair, self.pair[::-1]):
            home.links[other.me.dsk] = []
            home.progress.pop(other.me.dsk, None)

    def cut(self) -> None:
        for home in self.pair:
            home.links.clear()
            home.progress.clear()

    def arrive(self, home: Home, count: int) -> None:
        other = self.other(home)
        queue = other.links.get(home.me.dsk)
        while queue and count:
            message = queue.pop(0)
            self.past_links.append((home, other, message))
            home.take_message(other.me.dsk, message)
            count -= 1

    def flip(self, home: Home, size: int) -> None:
        """A bit of something on its way is flipped: by the node, and by somebody who holds the address's key."""
        other = self.other(home)
        for mine in postbox.mailboxes(home.tx, NODE):
            for _, _, envelope, _ in (
                self.world.node.boxes[mine.mailbox].items if mine.mailbox in self.world.node.boxes else ()
            ):
                damaged = bytearray(envelope)
                damaged[size % len(damaged)] ^= 1 << size % 8
                before = home.fingerprint()
                home.take_envelope(mine.mailbox, bytes(damaged))
                assert home.fingerprint() == before
        queue = other.links.get(home.me.dsk)
        if queue:
            damaged = bytearray(queue[0])
            damaged[size % len(damaged)] ^= 1 << size % 8
            before = home.fingerprint()
            outcome = home.take_message(other.me.dsk, bytes(damaged))
            assert not outcome.ordered
            if not outcome.duplicates:
                assert home.fingerprint() == before

    def calm(self) -> None:
        """From now on nothing is lost, and nobody crashes."""
        self.cut()
        for home in self.pair:
            home.restart()
        self.world.settle(rounds=16)

    def talk_once_more(self) -> None:
        """Each says something, as people do."""
        for home in self.pair:
            self.move("say", home, 0)
        self.world.settle(rounds=16)

    def check(self) -> None:
        ada, bob = self.pair
        self.world.check(ada, bob)
        for home in self.pair:
            other = self.other(home)
            row = home.contact(other)
            said = {text for text in home.texts(other) if text.startswith(home.name)}
            assert said == set(self.said[home.name])
            assert home.texts(other) == other.texts(home), "one timeline"
            assert people.delivered_upto(home.tx, row.id) == len(home.log(other, home)), "everything is ticked"
            heard = [event.header.seq for number, event in home.shown if number == row.id]
            assert heard == sorted(heard), "in order"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.booleans(), st.integers(0, 4000)), min_size=10, max_size=80), SEED)
def test_both_end_with_the_same_whatever_happens(moves: list[tuple[str, bool, int]], seed: int) -> None:
    world = World(seed)
    weather = Weather(world, seed)
    invite = world.ada.invite(life_s=30 * 86_400)
    world.bob.accept(invite)
    for what, ada, size in moves:
        weather.move(what, world.ada if ada else world.bob, size)
    weather.calm()
    weather.check()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.booleans(), st.integers(0, 4000)), min_size=10, max_size=80), SEED)
def test_so_do_two_who_accepted_each_other(moves: list[tuple[str, bool, int]], seed: int) -> None:
    world = World(seed)
    weather = Weather(world, seed)
    from_ada, from_bob = world.ada.invite(life_s=30 * 86_400), world.bob.invite(life_s=30 * 86_400)
    world.bob.accept(from_ada)
    world.ada.accept(from_bob)
    for what, ada, size in moves:
        weather.move(what, world.ada if ada else world.bob, size)
    weather.calm()
    weather.check()


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(MOVES + LOSSES), st.booleans(), st.integers(0, 4000)), min_size=10, max_size=80),
    SEED,
)
def test_so_do_two_who_lose_their_sessions_again_and_again(moves: list[tuple[str, bool, int]], seed: int) -> None:
    world = World(seed)
    world.acquaint()
    weather = Weather(world, seed)
    for what, ada, size in moves:
        weather.move(what, world.ada if ada else world.bob, size)
    weather.calm()
    # With nothing to say, nobody notices that the sessions are gone.
    weather.talk_once_more()
    weather.check()
    topics = [
        {row.topics[:32], row.topics[32:]} for row in (world.ada.contact(world.bob), world.bob.contact(world.ada))
    ]
    assert topics[0] & topics[1], "they meet in a topic"


@pytest.mark.parametrize("crasher", ["Ada", "Bob"])
def test_a_crash_between_any_two_steps_of_accepting_completes_on_restart(crasher: str) -> None:
    """The crash is moved, transaction by transaction, from the invite to the last tick."""
    for step in range(1, 80):
        world = World()
        home = world.ada if crasher == "Ada" else world.bob
        invite = world.ada.invite()
        home.crash_in = step
        crashed = accept_and_say(world, invite)
        home.crash_in = 0
        world.settle()
        world.check(world.ada, world.bob)
        assert world.ada.texts(world.bob) == ["hello"]
        assert (world.ada.contact(world.bob).state, world.bob.contact(world.ada).state) == ("accepted", "accepted")
        assert len(people.contacts(world.ada.tx)) == len(people.contacts(world.bob.tx)) == 1
        if not crashed:
            assert step > 8, "the crashes did not reach the steps they were meant for"
            return
    raise AssertionError("it never came to its end")


def accept_and_say(world: World, invite: Invite) -> bool:
    """Everything from accepting to the last tick, each step tried again after a crash; whether there was one."""
    ada, bob = world.ada, world.bob
    crashed = False

    def survive(step: Callable[[], object]) -> None:
        nonlocal crashed
        for _ in range(2):
            try:
                step()
                return
            except Crash:
                crashed = True
                for home in (ada, bob):
                    home.restart()

    survive(lambda: bob.accept(invite))
    survive(lambda: bob.say(bob.contact(ada).id, "hello"))
    for _ in range(3):
        for step in (bob.errands, ada.errands, ada.fetch, ada.errands, bob.fetch):
            survive(step)
    return crashed


@settings(max_examples=40)
@given(st.integers(0, 200), st.integers(0, 10_000))
def test_an_acknowledgement_never_covers_what_is_not_stored(seed: int, size: int) -> None:
    """Ada crashes while she takes in; what the node was told is taken is in her database."""
    world = World(seed)
    world.acquaint()
    ada, bob = world.ada, world.bob
    for number in range(3):
        bob.say(bob.contact(ada).id, f"{number}")
    bob.errands()
    ada.crash_in = 1 + size % 3
    for _ in range(4):
        try:
            ada.fetch(at_most=1)
        except Crash:
            ada.restart()
        for box in postbox.mailboxes(ada.tx, NODE):
            left = {item[0] for item in world.node.boxes[box.mailbox].items}
            assert all(seq > box.seq for seq in left) or not left
    ada.crash_in = 0
    world.settle(rounds=4)
    assert ada.texts(bob) == ["0", "1", "2"]


@given(st.data())
def test_any_bit_of_an_envelope_flipped_changes_nothing(data: st.DataObject) -> None:
    world = ACQUAINTED
    ada, bob = world.ada, world.bob
    mailbox, envelope = ENVELOPE
    damaged = bytearray(envelope)
    for bit in data.draw(st.sets(st.integers(0, 8 * len(envelope) - 1), min_size=1, max_size=3)):
        damaged[bit // 8] ^= 1 << bit % 8
    before = ada.fingerprint()
    ada.take_envelope(mailbox, bytes(damaged))
    assert ada.fingerprint() == before
    # And of the message within it, by somebody who can seal envelopes for that mailbox.
    message = bytearray(MESSAGE)
    for bit in data.draw(st.sets(st.integers(0, 8 * len(message) - 1), min_size=1, max_size=3)):
        message[bit // 8] ^= 1 << bit % 8
    [address, *_] = people.addresses(bob.tx, ada.me.dsk)
    forged = seal_envelope(address.key, mailbox, bob.me.dsk, bytes(message), bob.random)
    outcome = ada.take_envelope(mailbox, forged)
    # A number that was used is dropped unread, and answered with a have: nothing else may come of it.
    assert (outcome.duplicates and not outcome.ordered and not outcome.calls) or ada.fingerprint() == before


def _acquainted() -> tuple[World, bytes, tuple[bytes, bytes]]:
    world = World()
    world.acquaint()
    message = world.bob.seal(world.ada, Ring())
    return world, message, world.bob.envelope(world.ada, message)


ACQUAINTED, MESSAGE, ENVELOPE = _acquainted()
